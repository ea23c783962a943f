"""How much is remembered, and by how much one sender may fill it.

A memory holds each nonce until its message is too old to be accepted, and refuses when it is full: it never forgets
one that could come again (S0.34). The size is the window times the rate of messages that is to be carried. A sender may
hold as many as ``SHARE`` times what is free, so that one that floods leaves room, and two share what there is; this
is the dynamic threshold of switches (Choudhury and Hahne, IEEE/ACM Transactions on Networking 6(2), 1998).
"""

from __future__ import annotations

import math
from typing import Final

from hauberk_replay._refusals import refused
from hauberk_replay._window import Window

SHARE: Final = 4
"""Alone, a sender may hold SHARE / (SHARE + 1) of all: four fifths."""


def span_of(window: Window) -> float:
    """Return how many seconds of messages are forgotten at once."""
    return max((window.max_age + window.skew) / 2, 1.0)


def capacity(window: Window, rate: float) -> int:
    """Return how many nonces must find room, for one sender at this rate alone (messages per second)."""
    seconds = window.max_age + window.skew + span_of(window)
    return math.ceil(seconds * rate * (SHARE + 1) / SHARE) + 1


def capacity_of_span(window: Window, rate: float) -> int:
    """Return how many nonces of one span must find room, likewise."""
    return math.ceil(span_of(window) * rate * (SHARE + 1) / SHARE) + 1


def check_room(held: int, held_of_sender: int, most: int) -> None:
    """Check that one more finds room.

    Args:
        held: What all hold.
        held_of_sender: What this sender holds.
        most: What may be held.

    Raises:
        Refused: ``replay.full``.
    """
    if held_of_sender >= SHARE * (most - held):
        raise refused("replay.full", f"{held} of {most} are held, {held_of_sender} by this sender", retry_after=1.0)

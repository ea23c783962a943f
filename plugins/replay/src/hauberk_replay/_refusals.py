"""What is said of a message that is not accepted: a code, a text, what to do, and a number for the wire."""

from __future__ import annotations

from typing import Final

from hauberk.refusals import FAILED_HOOK, IDENTITY, LIMITS, Refused

_CLOCKS: Final = "set the clocks of both hosts by NTP"
_ANEW: Final = "seal and send it anew: what is repeated must not be the same bytes"

_REFUSALS: Final[dict[str, tuple[str, str, int]]] = {
    "replay.too_old": ("the message is older than may be", _CLOCKS, IDENTITY),
    "replay.expired": ("the message says that it holds no more", "give it a longer ttl, or send it sooner", IDENTITY),
    "replay.from_the_future": ("the message was made later than now", _CLOCKS, IDENTITY),
    "replay.detected": ("the message came before", _ANEW, IDENTITY),
    "replay.not_remembered": ("the message is from before what is remembered", _ANEW, IDENTITY),
    "replay.full": ("more messages than can be remembered", "send less, or raise [replay] rate", LIMITS),
    "replay.store_down": (
        "the memory of messages cannot be asked",
        "see why in the event, and docs/replay.md for what to do without it",
        FAILED_HOOK,
    ),
}


def refused(code: str, about: str, *, retry_after: float | None = None) -> Refused:
    """Return the refusal of a code.

    Args:
        code: One of the plugin's.
        about: What is said of this message; neither its content nor its nonce.
        retry_after: When it is worth trying again (seconds).
    """
    text, hint, number = _REFUSALS[code]
    return Refused(code, f"{text}: {about}", plugin="replay", hint=hint, jsonrpc=number, retry_after=retry_after)

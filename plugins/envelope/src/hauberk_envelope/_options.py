"""What ``[envelope]`` may hold.

The table is about sessions with other guards; a server can have one of its own, ``[server.NAME.envelope]``. Programs
that seal messages between agents (`hauberk_envelope.agents`) do not read it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

from msgspec import Meta, field

from hauberk import config
from hauberk.config import Narrow
from hauberk_envelope._limits import LIMITS

MOST_MESSAGES: Final = 1 << 20
"""Messages under one key, at most."""
Name = Annotated[str, Meta(min_length=1, max_length=LIMITS.agent_chars)]


ANYBODY: Final = "*"
"""In a list of who may be talked to: every agent, and all of them at once."""


def _fewer(general: list[str], specific: list[str]) -> list[str]:
    """Return who may be talked to by both lists."""
    if ANYBODY in general:
        return specific
    return general if ANYBODY in specific else [name for name in general if name in specific]


Recipients = Annotated[tuple[str, ...], Narrow.by(_fewer)]


class Options(config.Options, frozen=True, kw_only=True):
    """``[envelope]``."""

    seal: Annotated[Literal["require", "off"], Narrow.strictest("require", "off")] = "require"
    """Whether the messages of a session are sealed; ``off`` is for a server whose other end has no guard that seals."""
    sign: Annotated[Literal["session", "message"], Narrow.strictest("message", "session")] = "session"
    """What is signed: ``message`` puts a signature on each message, for who has to show it to somebody else."""
    agent: Name | None = None
    """Who we are, where ``own_keys`` holds the keys of several agents."""
    own_keys: Path | None = None
    """The directory of our own secret keys; without it, ``keys/own`` beside the user's ``hauberk.toml``."""
    keys_directory: Path | None = None
    """The directory of the keys that are trusted (S0.24); without it, ``keys/agents`` beside ``hauberk.toml``."""
    peer: Name | None = None
    """The agent at the other end of a server that we call; needed there."""
    server_name: Annotated[str, Meta(min_length=1, max_length=256)] | None = None
    """What a server that we call is called by its own guard; without it, as it is here."""
    can_communicate_with: Annotated[dict[str, Recipients], Narrow.COMMON] = field(default_factory=dict)
    """By the name of the agent that asks, those that it may talk to; ``*`` is all. Nobody else may (S0.28)."""
    privileged_agents: Annotated[tuple[str, ...], Narrow.COMMON] = ()
    """Agents that may talk to all."""
    key_rotation_days: Annotated[int, Meta(ge=1, le=LIMITS.most_days), Narrow.MIN] = LIMITS.rotation_days
    """From when on a key is old, which is reported (S0.26)."""
    key_grace_days: Annotated[int, Meta(ge=0, le=LIMITS.most_days), Narrow.MIN] = LIMITS.grace_days
    """How much older a key may get before production refuses it."""
    rekey_messages: Annotated[int, Meta(ge=1, le=MOST_MESSAGES), Narrow.MIN] = MOST_MESSAGES
    """How many messages are sealed with one key before the next one is used (S0.27)."""
    match_certificates: Annotated[bool, Narrow.OR] = True
    """Whether a client with a certificate must have the same name in it as its agent; without, another one may carry
    its messages (S0.16)."""

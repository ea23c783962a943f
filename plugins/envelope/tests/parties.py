"""Agents that know each other, for tests."""

from __future__ import annotations

import hashlib
import itertools
import uuid
from collections.abc import Callable
from typing import Any, Final

import msgspec

from hauberk.refusals import Refused
from hauberk_envelope._identity import Identity
from hauberk_envelope._message import Metadata, SecureAgentMessage
from hauberk_envelope._sealing import Opened, _signed, open_message, seal_message
from hauberk_envelope._secret import ProvisionedSecret
from hauberk_envelope._trust import Rules, Trust

NOW: Final = 1_790_000_000.0
DAY: Final = 86_400.0


def identity(agent: str, *, seed: str = "", begin: float = NOW - DAY, days: float = 365) -> Identity:
    """Return an identity whose secrets are made of its name."""
    name = seed or agent
    return Identity(
        agent=agent,
        signing=hashlib.sha256(f"signing {name}".encode()).digest(),
        agreement=hashlib.sha256(f"agreement {name}".encode()).digest(),
        not_before=int(begin),
        not_after=int(begin + days * DAY),
    )


ALICE: Final = identity("alice")
BOB: Final = identity("bob")
CAROL: Final = identity("carol")
MALLORY: Final = identity("mallory")
"""Whom nobody trusts."""
SECRET: Final = ProvisionedSecret(hashlib.sha256(b"provisioned").digest())
RULES: Final = Rules(
    can_communicate_with={
        "alice": frozenset({"bob", "carol"}),
        "bob": frozenset({"alice"}),
        "carol": frozenset({"*"}),
    }
)


def trust(*identities: Identity, rules: Rules = RULES) -> Trust:
    """Return a directory of these, or of alice, bob and carol."""
    known = identities or (ALICE, BOB, CAROL)
    return Trust({one.key_id: one.public for one in known}, rules=rules)


TRUST: Final = trust()


def counting(seed: bytes = b"") -> Callable[[int], bytes]:
    """Return a source of bytes that are never the same and the same in every run."""
    count = itertools.count()

    def random(size: int) -> bytes:
        return hashlib.shake_256(seed + next(count).to_bytes(8, "big")).digest(size)

    return random


ABOUT: Final = Metadata(
    message_id=uuid.UUID("0b51d5a4-9c3e-4f57-8a55-1a2b3c4d5e6f"),
    priority=200,
    message_type="TaskRequest",
    ttl=120,
    requires_ack=True,
    custom_fields={"task": "t-1", "steps": [1, 2.5, None, True], "né": "ж"},
)


def sealed(
    content: bytes = b"hello", *, sender: Identity = ALICE, to: Identity | None = BOB, **more: Any
) -> SecureAgentMessage:
    """Return a message from alice to bob."""
    more = {"metadata": ABOUT, "now": NOW, "random": counting(), **more}
    return seal_message(content, sender=sender, to=to.public if to else None, **more)


def opened(
    message: SecureAgentMessage | bytes, *, me: Identity = BOB, known: Trust = TRUST, now: float = NOW, **more: Any
) -> Opened:
    """Return what bob opens."""
    return open_message(message, recipients=[me], trust=known, now=now, **more)


def changed(message: SecureAgentMessage, **members: Any) -> SecureAgentMessage:
    """Return a message with other members."""
    return msgspec.structs.replace(message, **members)


def signed(message: SecureAgentMessage, sender: Identity) -> SecureAgentMessage:
    """Return a message with a signature that holds, by whoever this is."""
    return changed(message, signature=sender.sign(_signed(message.header(), message.encrypted_content)))


def code(function: Callable[..., object], *given: object, **more: object) -> str:
    """Return the code that refuses something, or nothing."""
    try:
        function(*given, **more)
    except Refused as exc:
        return exc.code
    return ""

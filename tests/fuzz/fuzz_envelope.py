"""Fuzz what opens: messages between agents that were cut, glued, signed again or made up, and key files.

    python tests/fuzz/fuzz_envelope.py --runs 100000 --seed 7

A message that opens is one that was sealed, byte for byte; everything else is refused, and all refusals are one to the
other side. A key file reads back as itself, or is refused with words.
"""

from __future__ import annotations

import hashlib
import random
import re
import sys
import uuid
from collections import Counter
from pathlib import Path
from typing import Any, Final

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import msgspec
from tests.fuzz import driver

from hauberk.refusals import ConfigError, Refused
from hauberk_envelope import _keyfiles
from hauberk_envelope._identity import Identity
from hauberk_envelope._message import Metadata, SecureAgentMessage
from hauberk_envelope._sealing import _signed, open_message, seal_message
from hauberk_envelope._secret import ProvisionedSecret
from hauberk_envelope._trust import Rules, Trust

NOW: Final = 1_790_000_000.0
TOLD: Final = {"code": -32004, "message": "refused", "data": {"code": "core.refused"}}
_HOSTILE: Final = (b'"', b"\\", b"{", b"}", b"[", b",", b":", b"null", b"true", b"1e9", b"-1", b"\xff", b"\x00", b"==")


def _identity(agent: str) -> Identity:
    keys = (hashlib.sha256(f"{use} {agent}".encode()).digest() for use in ("signing", "agreement"))
    signing, agreement = keys
    return Identity(agent=agent, signing=signing, agreement=agreement, not_before=NOW - 1000, not_after=NOW + 10**6)


ALICE: Final = _identity("alice")
BOB: Final = _identity("bob")
SECRET: Final = ProvisionedSecret(hashlib.sha256(b"provisioned").digest())
TRUST: Final = Trust(
    {one.key_id: one.public for one in (ALICE, BOB)}, rules=Rules(privileged_agents=frozenset({"alice"}))
)


def _sealed(number: int, *, everybody: bool) -> SecureAgentMessage:
    about = Metadata(message_id=uuid.UUID(int=number), ttl=number + 1, custom_fields={"n": [number, None, "é"]})
    source = random.Random(number).randbytes
    to, secret = (None, SECRET) if everybody else (BOB.public, None)
    return seal_message(b"x" * number, sender=ALICE, to=to, now=NOW, secret=secret, metadata=about, random=source)


MESSAGES: Final = tuple(_sealed(number, everybody=number % 3 == 0) for number in range(12))
WIRES: Final = tuple(message.encode() for message in MESSAGES)
_KNOWN: Final = frozenset(WIRES)
_FIELDS: Final = tuple(name for name in SecureAgentMessage.__struct_fields__ if name != "signature")
FILES: Final = (
    _keyfiles.public_text(ALICE.public).encode(),
    _keyfiles.public_text(BOB.public).encode(),
    _keyfiles.revocation_text(BOB.key_id, now=NOW, reason="retired").encode(),
)


def check_bytes(rnd: random.Random) -> str:
    """Open a message whose bytes may be wounded."""
    data = wounded(rnd, rnd.choice(WIRES), WIRES)
    end = _end(data)
    assert (end == "opens") == (data in _KNOWN), data
    return end


def check_signed(rnd: random.Random) -> str:
    """Open a message with members of others, that its sender signed all the same."""
    message, other = rnd.choice(MESSAGES), rnd.choice(MESSAGES)
    names = rnd.sample(_FIELDS, rnd.randrange(len(_FIELDS)))
    mixed = msgspec.structs.replace(message, **{name: getattr(other, name) for name in names})
    signer = rnd.choice((ALICE, BOB))
    mixed = msgspec.structs.replace(mixed, signature=signer.sign(_signed(mixed.header(), mixed.encrypted_content)))
    end = _end(mixed)
    assert (end == "opens") == (mixed in MESSAGES), mixed
    return f"signed, {end}"


def check_file(rnd: random.Random) -> str:
    """Read a key file that may be wounded."""
    data = wounded(rnd, rnd.choice(FILES), FILES)
    try:
        public = _keyfiles.parse_public(data, "it")
    except ConfigError as error:
        said = str(error)
        assert "hint:" in said
        assert len(said) < 1000, said
        try:
            _keyfiles.parse_revocation(data, "it")
        except ConfigError:
            return "no key file"
        return "a revocation"
    assert public in (ALICE.public, BOB.public), data
    return "a public key"


def _end(message: SecureAgentMessage | bytes) -> str:
    """Return what becomes of a message; nothing but a refusal is raised."""
    try:
        opened = open_message(message, recipients=[BOB], trust=TRUST, now=NOW, secrets=[SECRET])
    except Refused as refused:
        return _code(refused)
    assert opened.sender == ALICE.public
    assert opened.content == b"x" * len(opened.content)
    return "opens"


def _code(refused: Refused) -> str:
    """Return the code of a refusal that is one to the other side, and shows nothing of the message."""
    assert refused.error_object(trusted=False) == TOLD
    assert refused.code.startswith("envelope."), refused.code
    assert len(str(refused)) < 500
    assert re.fullmatch(r"[ -~\n]*", str(refused)), refused
    return refused.code


def wounded(rnd: random.Random, data: bytes, others: tuple[bytes, ...]) -> bytes:
    """Return bytes, some of them changed."""
    for _ in range(rnd.randrange(4)):
        at = rnd.randrange(len(data) + 1)
        match rnd.randrange(6):
            case 0:
                data = data[:at] + bytes([rnd.randrange(256)]) + data[at + 1 :]
            case 1:
                data = data[:at] + rnd.choice(_HOSTILE) + data[at:]
            case 2:
                data = data[:at] + data[at + rnd.randrange(1, 80) :]
            case 3:
                data = data[:at] + rnd.choice(others)[at:]
            case 4:
                flipped = data[at : at + 1] or b"\0"
                data = data[:at] + bytes([flipped[0] ^ 1 << rnd.randrange(8)]) + data[at + 1 :]
            case _:
                data = data[:at]
    return data


CHECKS: Final[tuple[Any, ...]] = (check_bytes, check_signed, check_file)


def run(runs: int, seed: int) -> Counter[str]:
    """Run each in turn."""
    rnd = random.Random(seed)
    return Counter(CHECKS[number % len(CHECKS)](rnd) for number in range(runs))


if __name__ == "__main__":
    driver.main("what opens", run, runs=100_000)

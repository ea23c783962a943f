"""Make the vectors of messages between agents: ``python -m plugins.envelope.tests.vectors.generate > messages.json``.

Everything in them is made of fixed secrets and a fixed time. Each vector that does not open has one reason why; where
a change to the header breaks both signature and tag, it is signed again, so that what is left is one.
"""

from __future__ import annotations

import base64
import hashlib
import json
import sys
import uuid
from collections.abc import Iterator
from typing import Any

import msgspec
from plugins.envelope.tests.parties import (
    ABOUT,
    ALICE,
    BOB,
    CAROL,
    DAY,
    MALLORY,
    NOW,
    SECRET,
    changed,
    counting,
    identity,
    sealed,
    signed,
)

from hauberk import keys
from hauberk_envelope import _keyfiles
from hauberk_envelope._identity import Identity
from hauberk_envelope._message import Metadata, SecureAgentMessage
from hauberk_envelope._secret import ProvisionedSecret

RAW_SECRET = hashlib.sha256(b"provisioned").digest()
OTHER = ProvisionedSecret(hashlib.sha256(b"another").digest())
EARLIER = identity("dave", begin=NOW - 200 * DAY, days=100)
LATER = identity("erin", begin=NOW + DAY)
OLD = identity("frank", begin=NOW - 121 * DAY)
REVOKED = identity("grace")
TRUSTED = (ALICE, BOB, CAROL, EARLIER, LATER, OLD, REVOKED)
RULES = {
    "alice": ["bob", "carol"],
    "bob": ["alice"],
    "carol": ["*"],
    "dave": ["bob"],
    "erin": ["bob"],
    "frank": ["bob"],
    "grace": ["bob"],
}
PLAIN = Metadata(message_id=uuid.UUID("00000000-0000-4000-8000-000000000001"))


def secret_text(one: Identity) -> str:
    """Return the secret file of an identity."""
    signing, agreement = one.secrets()
    public = one.public
    return _keyfiles._written(
        "the secret keys of an agent: give this file to nobody",
        agent=public.agent,
        key_id=public.key_id,
        signing_secret=keys.key_line(signing),
        agreement_secret=keys.key_line(agreement),
        not_before=_keyfiles.time_text(public.not_before),
        not_after=_keyfiles.time_text(public.not_after),
    )


def vector(name: str, message: SecureAgentMessage | bytes, *faults: str, **more: Any) -> dict[str, Any]:
    """Return one vector."""
    data = message if isinstance(message, bytes) else message.encode()
    return {"name": name, "faults": list(faults), "message": data.decode("latin-1"), **more}


def opening() -> Iterator[dict[str, Any]]:
    """Yield what opens."""

    def opens(name: str, content: bytes, **more: Any) -> dict[str, Any]:
        return vector(name, sealed(content, random=counting(name.encode()), **more), content=content.hex())

    yield opens("agreement", b"hello")
    yield opens("agreement, no content", b"")
    yield opens("agreement, plain metadata", b"hello", metadata=PLAIN)
    yield opens("agreement, every byte", bytes(range(256)))
    yield opens("agreement, last microsecond of a second", b"x", now=NOW - 1e-6)
    yield opens("provisioned secret, one recipient", b"hello", secret=SECRET)
    yield opens("provisioned secret, everybody", b"hello", sender=CAROL, to=None, secret=SECRET)
    fields = {"é": '\u0000\u001f"\\/', "\U0001d4b3": [], "\ufb00": {}, "n": [0, -1, 1.5, 2**53, True, None]}
    about = msgspec.structs.replace(ABOUT, custom_fields=fields, priority=0, ttl=1)
    yield opens("custom fields whose keys sort by UTF-16", b"hello", metadata=about)


def forged() -> Iterator[dict[str, Any]]:
    """Yield what somebody changed or made."""
    base = sealed(random=counting(b"forged"))
    content = bytearray(base.encrypted_content)
    content[0] ^= 1
    tag = bytearray(base.encrypted_content)
    tag[-1] ^= 0x80
    signature = bytearray(base.signature)
    signature[0] ^= 1
    yield vector("signature, a bit changed", changed(base, signature=bytes(signature)), "signature")
    yield vector("signature by another agent", signed(base, CAROL), "signature")
    yield vector("signature over the header alone", changed(base, signature=ALICE.sign(base.header())), "signature")
    yield vector("signature of the sender's statement", changed(base, signature=ALICE.public.signature), "signature")
    yield vector("content, a bit changed", signed(changed(base, encrypted_content=bytes(content)), ALICE), "tag")
    yield vector("tag, a bit changed", signed(changed(base, encrypted_content=bytes(tag)), ALICE), "tag")
    yield vector("tag, a byte less", signed(changed(base, encrypted_content=bytes(tag[:-1])), ALICE), "tag")
    for name, value in (("priority", 201), ("ttl", 121), ("message_type", "Shutdown"), ("requires_ack", False)):
        about = msgspec.structs.replace(ABOUT, **{name: value})
        yield vector(f"{name}, another", signed(changed(base, metadata=about), ALICE), "tag")
    yield vector("timestamp, another", signed(changed(base, timestamp="2026-09-21T14:13:21.000000Z"), ALICE), "tag")
    yield vector("nonce, another", signed(changed(base, nonce=bytes(24)), ALICE), "tag")
    stolen = changed(base, sender="carol", sender_key=CAROL.key_id)
    yield vector("taken over by another agent", signed(stolen, CAROL), "tag")
    other = sealed(random=counting(b"other"))
    yield vector("key of another message", signed(changed(base, ephemeral=other.ephemeral), ALICE), "tag")
    yield vector("key of small order", signed(changed(base, ephemeral=bytes(32)), ALICE), "weak")


def foreign() -> Iterator[dict[str, Any]]:
    """Yield what is from, or for, somebody else."""
    random = counting(b"foreign")
    yield vector("sender that is not known", sealed(sender=MALLORY, random=random), "sender")
    renamed = sealed(sender=identity("alice", seed="carol"), random=random)
    yield vector("sender under another's name", renamed, "name")
    yield vector("sender whose key expired", sealed(sender=EARLIER, random=random), "validity")
    yield vector("sender whose key is not valid yet", sealed(sender=LATER, random=random), "validity")
    yield vector("sender whose key was revoked", sealed(sender=REVOKED, random=random), "revoked")
    own = {"can_communicate_with": {"bob": ["bob"]}}
    yield vector("sender is the recipient", sealed(sender=BOB, to=BOB, random=random), "own", world=own)
    old = sealed(sender=OLD, random=random)
    yield vector("sender who did not rotate, in development", old, content=b"hello".hex())
    yield vector("sender who did not rotate, in production", old, "rotation", world={"production": True})
    yield vector("recipient is another", sealed(to=CAROL, random=random), "recipient")
    yield vector("recipient has another key", sealed(to=identity("bob", seed="bob 2"), random=random), "recipient")
    unknown = sealed(sender=CAROL, to=None, secret=OTHER, random=random)
    yield vector("secret that the recipient does not have", unknown, "recipient")
    carols = {"own": secret_text(CAROL)}
    yield vector(
        "sender that may not talk to the recipient", sealed(sender=BOB, to=CAROL, random=random), "rule", world=carols
    )
    everybody = sealed(to=None, secret=SECRET, random=random)
    yield vector("sender that may not talk to everybody", everybody, "rule")


def misshapen() -> Iterator[dict[str, Any]]:
    """Yield what is not in the one form; whatever can be, is signed."""
    base = sealed(random=counting(b"misshapen"))
    data = base.encode()
    yield vector("plain text", b"hello", "form")
    yield vector("plain JSON", b'{"jsonrpc":"2.0","id":1,"method":"ping"}', "plain")
    yield vector("version below", data.replace(b"message-v1", b"message-v0"), "version")
    yield vector("version above", data.replace(b"message-v1", b"message-v2"), "version")
    for name, old, new in (
        ("line feed at the end", b'v1"}', b'v1"}\n'),
        ("blank", b'"ttl":120', b'"ttl": 120'),
        ("number with a fraction", b'"priority":200', b'"priority":200.0'),
        ("escape that is not needed", b'"task":"t-1"', b'"task":"t\\u002d1"'),
        ("member twice", b'"to":"bob"', b'"to":"bob","to":"bob"'),
        ("member that is unknown", b'"to":"bob"', b'"to":"bob","tp":1'),
        ("member that is missing", b',"ttl":120', b""),
        ("boolean as a number", b'"requires_ack":true', b'"requires_ack":1'),
        ("UUID in capitals", b"0b51d5a4", b"0B51D5A4"),
        ("priority beyond a byte", b'"priority":200', b'"priority":256'),
        ("time to live of nothing", b'"ttl":120', b'"ttl":0'),
        ("type that is none", b'"TaskRequest"', b'"TaskDemand"'),
    ):
        yield vector(name, data.replace(old, new), "form")
    reversed_ = dict(reversed(json.loads(data).items()))
    yield vector(
        "members in another order", json.dumps(reversed_, separators=(",", ":"), ensure_ascii=False).encode(), "form"
    )
    signature = base64.b64encode(base.signature)
    digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    loose = signature[:-3] + digits[digits.index(signature[-3]) + 1 :][:1] + b"=="
    yield vector("base64 with bits that nothing uses", data.replace(signature, loose), "form")
    for name, members in (
        ("nonce of 23 bytes", {"nonce": bytes(23)}),
        ("nonce of 25 bytes", {"nonce": bytes(25)}),
        ("key of 31 bytes", {"ephemeral": bytes(31)}),
        ("content without a whole tag", {"encrypted_content": bytes(15)}),
        ("neither key nor secret", {"ephemeral": None}),
        ("both key and secret", {"secret_id": SECRET.secret_id}),
        ("recipient without a key", {"recipient_key": None}),
        ("everybody, by agreement", {"recipient": None, "recipient_key": None}),
        ("timestamp without fractions", {"timestamp": "2026-09-21T14:13:20Z"}),
        ("timestamp of another zone", {"timestamp": "2026-09-21T14:13:20.000000+00:00"}),
        ("timestamp in a leap second", {"timestamp": "2026-09-21T14:13:60.000000Z"}),
    ):
        yield vector(name, signed(changed(base, **members), ALICE), "form")
    yield vector("signature of 63 bytes", changed(base, signature=base.signature[:-1]), "form")


def document() -> dict[str, Any]:
    """Return the file."""
    revocation = _keyfiles.revocation_text(REVOKED.key_id, now=NOW, reason="compromised")
    return {
        "about": "docs/envelope-spec.md; a message's characters are its bytes",
        "world": {
            "now": NOW,
            "production": False,
            "own": secret_text(BOB),
            "trusted": [_keyfiles.public_text(one.public) for one in TRUSTED],
            "revoked": [revocation],
            "secrets": [keys.key_line(RAW_SECRET)],
            "can_communicate_with": RULES,
        },
        "vectors": [*opening(), *forged(), *foreign(), *misshapen()],
    }


def text() -> str:
    """Return the text of the file."""
    return json.dumps(document(), indent=1) + "\n"


if __name__ == "__main__":
    sys.stdout.write(text())

"""Two ends of a session, for tests."""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec
import orjson

from hauberk.bounds import Bounds
from hauberk.message import Frame
from hauberk_envelope import _x25519
from hauberk_envelope._identity import Identity
from hauberk_envelope.session._noise import Initiator, Keys, Pair, Responder
from hauberk_envelope.session._session import Session, Terms

NOW = 1_795_000_000.0
BOUNDS = Bounds()
REVISION = "io.modelcontextprotocol/protocolVersion"
CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"


def identity(agent: str, fill: int) -> Identity:
    """Return an identity whose secrets are made of a number."""
    return Identity(
        agent=agent,
        signing=bytes([fill]) * 32,
        agreement=bytes([fill + 1]) * 32,
        not_before=NOW - 1000,
        not_after=NOW + 1_000_000,
    )


ALICE, BOB, EVE = identity("alice", 10), identity("bob", 20), identity("eve", 30)


def pair(secret: bytes) -> Pair:
    """Return a key pair of X25519."""
    loaded = _x25519.load(secret)
    return Pair(_x25519.public_of(loaded), lambda public: _x25519.agree(loaded, public))


@cache
def agreed(seed: int = 1, prologue: bytes = b"p") -> Keys:
    """Return the keys of a handshake between Alice and Bob; another seed, another handshake."""
    a = Pair(ALICE.public.agreement, ALICE.agree)
    b = Pair(BOB.public.agreement, BOB.agree)
    first = Initiator(a, b.public, prologue, pair(bytes([seed]) * 32))
    second = Responder(b, a.public, prologue, pair(bytes([seed + 1]) * 32))
    second.read(first.write(b""))
    message, keys = second.write(b"")
    assert first.read(message)[1] == keys
    return keys


def ends(terms: Terms | None = None, seed: int = 1) -> tuple[Session, Session]:
    """Return both ends of a new session: Alice's, who began, and Bob's."""
    keys, terms = agreed(seed), terms or Terms()
    return (
        Session(keys, initiator=True, me=ALICE, peer=BOB.public, terms=terms),
        Session(keys, initiator=False, me=BOB, peer=ALICE.public, terms=terms),
    )


def call(text: str = "hello", *, id: Any = 1, **meta: Any) -> dict[str, Any]:
    """Return a call of a tool."""
    params = {"name": "echo", "arguments": {"text": text}} | ({"_meta": meta} if meta else {})
    return {"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}


def seal(end: Session, data: dict[str, Any], now: float = NOW) -> bytes:
    """Seal a message, as a guard would."""
    kind: Any = "result" if "result" in data else "error" if "error" in data else "notification"
    meta = None
    if "method" in data and "id" in data:
        kind = "request"
        found = data.get("params", {}).get("_meta", {})
        meta = {name: found[name] for name in (REVISION, CAPABILITIES) if name in found} or None
    return sealed(end, kind, data.get("method", ""), data.get("id"), meta, orjson.dumps(data), now)


def sealed(end: Session, kind: Any, method: str, id: Any, meta: Any, data: Any, now: float = NOW) -> bytes:
    """Seal bytes as a message of a kind, method and id."""
    return end.seal(Frame(data, "server", "", kind, method, id, None, [], meta), now).data


class Opened(msgspec.Struct, frozen=True):
    """What came out of a frame."""

    data: bytes
    kind: Any
    method: str
    id: Any
    meta: Any
    count: int
    time: float


def opened(end: Session, frame: bytes, now: float = NOW) -> Opened:
    """Open a frame."""
    found = end.open(Frame(frame, "server"), now, BOUNDS)
    proof: Any = found.proof
    assert (proof.key_id, proof.sender) == (end.receives, end.peer.key_id)
    return Opened(found.data, found.kind, found.method, found.id, found.meta, proof.nonce, proof.issued)

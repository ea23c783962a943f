"""Make the vectors of sessions: ``python -m plugins.envelope.tests.vectors.generate_sessions > sessions.json``.

Everything in them is made of fixed secrets and a fixed time. A frame that does not open has one reason why.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pybase64
from plugins.envelope.tests.ends import ALICE, BOB, CAPABILITIES, NOW, REVISION, call, pair, seal

from hauberk_envelope._trust import Rules, Trust
from hauberk_envelope.session._agreement import Offer, Party, answer
from hauberk_envelope.session._direction import HEAD
from hauberk_envelope.session._layout import EXTENSION
from hauberk_envelope.session._session import Session

TRUST = Trust(
    {one.key_id: one.public for one in (ALICE, BOB)}, rules=Rules(can_communicate_with={"alice": frozenset({"bob"})})
)
EPHEMERAL = bytes([50]) * 32, bytes([60]) * 32
MESSAGES: list[dict[str, Any]] = [
    call("a call!", id=7),
    call("é", id="a,b", **{REVISION: "2026-07-28", CAPABILITIES: {"sampling": {}}, "other": "is not visible"}),
    {"jsonrpc": "2.0", "method": "notifications/initialized"},
    {"jsonrpc": "2.0", "id": 1, "result": {"content": []}},
    {"jsonrpc": "2.0", "id": 1, "error": {"code": -1, "message": "no"}},
]
Change = Callable[[bytes], bytes]


def agreed(sign: Any) -> tuple[dict[str, Any], Session, Session]:
    """Return what was said, and both ends."""
    parties = [Party(one, TRUST, sign=sign) for one in (ALICE, BOB)]
    offer = Offer(parties[0], BOB.public, "files", NOW, lambda: pair(EPHEMERAL[0]))
    result, bob = answer(parties[1], offer.params, "files", NOW, lambda: pair(EPHEMERAL[1]))
    return {"params": offer.params, "result": result}, offer.accept(result, NOW), bob


def frames(alice: Session, bob: Session) -> Iterator[dict[str, Any]]:
    """Yield frames that open, in order, of both directions; some begin another epoch."""
    for n, message in enumerate([*MESSAGES, *MESSAGES[:2]]):
        if n in (2, 5):
            alice.rekey()
        yield {"by": "initiator", "message": json.dumps(message, **_COMPACT), "frame": seal(alice, message).decode()}
    for message in MESSAGES[:2]:
        yield {"by": "responder", "message": json.dumps(message, **_COMPACT), "frame": seal(bob, message).decode()}


_COMPACT: Any = {"separators": (",", ":"), "ensure_ascii": False}


def _seal_of(frame: bytes) -> tuple[int, bytearray]:
    start = frame.index(EXTENSION.encode()) + len(EXTENSION) + 3
    return start, bytearray(pybase64.b64decode(frame[start:-4]))


def _bit(at: int) -> Change:
    def change(frame: bytes) -> bytes:
        start, data = _seal_of(frame)
        data[at] ^= 1
        return frame[:start] + pybase64.b64encode(bytes(data)) + frame[-4:]

    return change


def _put(old: bytes, new: bytes) -> Change:
    return lambda frame: frame.replace(old, new, 1)


def _padding(frame: bytes) -> bytes:
    """Return the frame with a bit in the padding that stands for nothing."""
    at = frame.index(b"=") - 1
    return frame[:at] + bytes([frame[at] + 1]) + frame[at + 1 :]


CHANGES: dict[str, Change] = {
    "another version": _bit(0),
    "another epoch": _bit(HEAD.size - 17),
    "another counter": _bit(HEAD.size - 9),
    "another time": _bit(HEAD.size - 1),
    "another ciphertext": _bit(HEAD.size),
    "another tag": _bit(-1),
    "another method": _put(b'"tools/call"', b'"tools/list"'),
    "another id": _put(b'"id":7', b'"id":8'),
    "an id that is a string": _put(b'"id":7', b'"id":"7"'),
    "a revision besides": _put(b'"_meta":{', b'"_meta":{"' + REVISION.encode() + b'":"2026-07-28",'),
    "a parameter besides": _put(b'"params":{', b'"params":{"name":"echo",'),
    "a member besides": _put(b'{"jsonrpc"', b'{"x":1,"jsonrpc"'),
    "a member twice": _put(b'"id":7', b'"id":7,"id":7'),
    "padding that says something": _padding,
    "no padding": _put(b"=", b""),
    "nothing in the seal": lambda frame: frame[: _seal_of(frame)[0]] + frame[-4:],
    "no seal": lambda _: json.dumps(MESSAGES[0], **_COMPACT).encode(),
}


def document() -> dict[str, Any]:
    """Return all vectors."""
    found: dict[str, Any] = {
        "format": "docs/envelope-sessions.md",
        "initiator": _party(ALICE, EPHEMERAL[0]),
        "responder": _party(BOB, EPHEMERAL[1]),
        "server": "files",
        "sessions": [],
    }
    for sign in ("session", "message"):
        said, alice, bob = agreed(sign)
        found["sessions"].append({"sign": sign, **said, "id": alice.id, "frames": list(frames(alice, bob))})
    first = found["sessions"][0]["frames"][0]["frame"].encode()
    found["refused"] = [{"why": why, "frame": change(first).decode()} for why, change in CHANGES.items()]
    swapped = found["sessions"][0]["frames"]
    found["refused"] += [
        {"why": "not the next one", "frame": swapped[1]["frame"]},
        {"why": "of the other direction", "frame": swapped[7]["frame"]},
        {"why": "of another session", "frame": found["sessions"][1]["frames"][0]["frame"]},
    ]
    return found


def _party(one: Any, ephemeral: bytes) -> dict[str, Any]:
    signing, agreement = one.secrets()
    return {
        "agent": one.agent,
        "key_id": one.key_id,
        "signing_secret": signing.hex(),
        "agreement_secret": agreement.hex(),
        "ephemeral_secret": ephemeral.hex(),
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(document(), indent=1, ensure_ascii=False) + "\n")

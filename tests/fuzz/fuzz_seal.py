"""Fuzz the frames of sealed sessions: what opens is the message that was sealed, and all else is refused with a code.

    python tests/fuzz/fuzz_seal.py --runs 1000000 --seed 7

A frame with a wound may open if whoever stands between might have written it so: it says the same, member by member.
"""

from __future__ import annotations

import collections
import json
import random
import sys
from pathlib import Path
from typing import Any, Final

import orjson

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.fuzz import driver
from tests.fuzz.wounds import wounded

from hauberk.bounds import Bounds
from hauberk.message import Frame
from hauberk.outside import VISIBLE
from hauberk.refusals import Refused
from hauberk_envelope._identity import Identity
from hauberk_envelope.session._layout import EXTENSION
from hauberk_envelope.session._noise import Keys
from hauberk_envelope.session._session import Session, Terms

NOW: Final = 1_795_000_000.0
BOUNDS: Final = Bounds(line_bytes=64 * 1024)
KEYS: Final = Keys(bytes(range(32)), bytes(range(32, 64)), bytes(range(64, 96)))
ONE, OTHER = (
    Identity(agent=agent, signing=bytes([n]) * 32, agreement=bytes([n + 1]) * 32, not_before=0, not_after=10_000_000)
    for n, agent in ((1, "one"), (3, "other"))
)
ATOMS: Final = (
    *(b"{", b"}", b"[", b"]", b":", b",", b'"', b"\\", b" ", b"\n", b"\x00", b"=", b"==", b"A", b"/", b"\\/"),
    *(b"null", b"1.0", b"07", b"-0", b"1e1", b"18446744073709551616", b"\xff", b"\xed\xa0\x80", "é".encode()),
    *(b'"id":2,', b'"method":"ping",', b'"result":{},', b'"error":{},', b'"params":{},', b'"_meta":{},', b'"Id":1,'),
    *(f'"{EXTENSION}":"AAAA",'.encode(), f'"{EXTENSION}":"'.encode(), b'"}}}', b"[" * 200, b"\\u0041"),
    f'"{VISIBLE[0]}":"x",'.encode(),
)
METHODS: Final = ("ping", "tools/call", "notifications/message", 'a"b\\é', "x" * 300)
IDS: Final = (0, 1, 7, -7, 2**63, 2**64 - 1, "7", "a,b", 'q"\\', "é", "", None)


def ends(*, signed: bool) -> tuple[Session, Session]:
    """Return both ends of a session."""
    terms = Terms(signed=signed)
    return (
        Session(KEYS, initiator=True, me=ONE, peer=OTHER.public, terms=terms),
        Session(KEYS, initiator=False, me=OTHER, peer=ONE.public, terms=terms),
    )


def sealed(rnd: random.Random, end: Session) -> tuple[bytes, tuple[Any, ...]]:
    """Return a frame of an end, and what opening it must give."""
    kind: Any = rnd.choice(("request", "request", "notification", "result", "error"))
    method = rnd.choice(METHODS) if kind in ("request", "notification") else ""
    id = None if kind == "notification" else rnd.choice(IDS)
    meta = None
    if kind == "request" and rnd.randrange(2):
        meta = {name: rnd.choice(("2026-07-28", {}, {"a": [1.5]}, "é")) for name in VISIBLE[: rnd.randint(1, 2)]}
    data = rnd.randbytes(rnd.choice((0, 1, 2, 3, 50, 6000)))
    frame = Frame(data, "server", "", kind, method, id, None, [], meta)
    return end.seal(frame, NOW).data, (data, kind, method, id, meta)


def mutated(rnd: random.Random, frame: bytes) -> bytes:
    """Return a frame with a few wounds, many of them in its head, or as another program writes it."""
    if not rnd.randrange(4):
        return spelled(rnd, frame)
    if not rnd.randrange(4):
        return wounded(rnd, frame[:130], ATOMS, most=1) + frame[130:]
    return wounded(rnd, frame, ATOMS)


def spelled(rnd: random.Random, frame: bytes) -> bytes:
    """Return a frame as another program writes it."""
    try:
        members = list(json.loads(frame).items())
    except (ValueError, AttributeError):
        return frame
    rnd.shuffle(members)
    text = json.dumps(
        dict(members), ensure_ascii=bool(rnd.randrange(2)), separators=rnd.choice(((",", ":"), (", ", ": ")))
    )
    return text.encode(errors="replace")


def check(rnd: random.Random, *, wound: bool) -> str:
    """Seal a message, wound its frame, open it; return how that ended.

    Raises:
        AssertionError: What came out is not what went in, or was not sealed so.
    """
    one, other = ends(signed=rnd.randrange(8) == 0)
    frame, expected = sealed(rnd, one)
    came = mutated(rnd, frame) if wound else frame
    try:
        found = other.open(Frame(came, "server"), NOW, BOUNDS)
    except Refused as refused:
        code = refused.code
    else:
        code = ""
    if code:
        assert code.startswith("envelope."), code
        assert other.over == code
        assert came != frame
        return code
    assert (found.data, found.kind, found.method, found.id, found.meta) == expected
    assert came == frame or orjson.loads(came) == orjson.loads(frame), came
    return "opened" if came == frame else "opened, written anew"


def run(runs: int, seed: int) -> collections.Counter[str]:
    """Check ``runs`` frames made from ``seed``; return how often each end came."""
    rnd = random.Random(seed)
    return collections.Counter(check(rnd, wound=bool(rnd.randrange(8))) for _ in range(runs))


if __name__ == "__main__":
    driver.main("frames of sealed sessions", run)

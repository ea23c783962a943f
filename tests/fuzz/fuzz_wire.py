"""Fuzz what sockets bring: frames however they are cut, the ping and its answer, and addresses.

    python tests/fuzz/fuzz_wire.py --runs 1000000 --seed 7

Frames must be what splitting the whole at its line feeds gives. A ping is taken for one only if it is the frame that
a guard makes, an answer for one only if it is to that ping. An address is refused with words, or reads back as itself.
"""

from __future__ import annotations

import json
import random
import sys
from collections import Counter
from pathlib import Path
from typing import Any, Final

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.fuzz import driver

from hauberk.bounds import Bounds
from hauberk.carriers import ping
from hauberk.carriers.address import parse
from hauberk.edge import Framer, Overlong
from hauberk.refusals import IDENTITY, ConfigError, Refused

LIMIT: Final = 1024
BOUNDS: Final = Bounds(line_bytes=LIMIT)
_BUFFER: Final = bytearray(4096)
_VIEW: Final = memoryview(_BUFFER)
_PIECES: Final = (
    *(b"\n", b"\n\n", b"\r\n", b" ", b"\t", b"\x00", b"\xff", b"{", b"}", b"[", b'"', b",", b":", b"null"),
    *(
        b'{"jsonrpc":"2.0","id":1,"method":"ping"}',
        b"\xef\xbb\xbf",
        b"x" * 300,
        b"y" * 1023,
        b"z" * 1024,
        b"\xe2\x80\xa8",
    ),
)
_WORDS: Final = (
    *("tls://", "unix://", "TLS://", "https://", "/", "//", ":", "@", "?", "#", "%2f", "[", "]", "[::1]", "::1"),
    *("127.0.0.1", "localhost", "files.example", "xn--bcher-kva.example", "bücher.example", "faß.example", "1.2.3"),
    *("8443", "0", "65536", "-1", "٣", " ", "\0", "\n", "..", ".", "/run/x.sock", "a" * 110, "0x7f.1", "tls"),
)
_REFUSED: Final = Refused("tls.revoked", "the certificate was revoked", jsonrpc=IDENTITY, public=True)


def check_frames(rnd: random.Random) -> str:
    """Feed bytes in pieces of any size."""
    whole = b"".join(rnd.choice(_PIECES) for _ in range(rnd.randrange(12)))
    framer = Framer(BOUNDS)
    got: list[bytes | Overlong] = []
    at = 0
    while at < len(whole):
        piece = whole[at : at + rnd.choice((1, 2, 7, 64, 1000, 4096))]
        _BUFFER[: len(piece)] = piece
        line = framer.only(_BUFFER, _VIEW, len(piece))
        got += framer.take(_BUFFER, _VIEW, len(piece)) if line is None else [line]
        at += len(piece)
    if (rest := framer.close()) is not None:
        got.append(rest)
    expected = [line for line in whole.split(b"\n") if line.strip()]
    assert len(got) == len(expected), whole
    for one, line in zip(got, expected, strict=True):
        if isinstance(one, Overlong):
            assert len(line) > LIMIT
            assert one.size == len(line)
        else:
            assert one == line
            assert len(line) <= LIMIT
    return "frames"


def check_ping(rnd: random.Random) -> str:
    """Take a ping, or an answer, that may be wounded."""
    id, frame = ping.request()
    answers = (ping.accepted(id), ping.denied(id, _REFUSED), ping.denied(None, _REFUSED))
    said = wounded(rnd, rnd.choice((frame, *answers)))
    if (found := ping.id_of(said)) is not None:
        value = json.loads(said)
        assert value == {"jsonrpc": "2.0", "id": found, "method": "ping"}, said
        return "a ping"
    try:
        code = ping.denial(said, id)
    except ValueError:
        return "no answer"
    read = json.loads(said)
    assert read.get("id", id) in {id, None}, said
    assert "method" not in read
    if code is None:
        assert read["id"] == id
        return "accepted"
    assert "error" in read
    return "denied"


def wounded(rnd: random.Random, data: bytes) -> bytes:
    """Return bytes, some of them changed."""
    for _ in range(rnd.randrange(4)):
        at = rnd.randrange(len(data) + 1)
        match rnd.randrange(4):
            case 0:
                data = data[:at] + bytes([rnd.randrange(256)]) + data[at + 1 :]
            case 1:
                data = data[:at] + rnd.choice(_PIECES) + data[at:]
            case 2:
                data = data[:at] + data[at + rnd.randrange(1, 8) :]
            case _:
                data = data[:at]
    return data


def check_address(rnd: random.Random) -> str:
    """Read an address."""
    text = "".join(rnd.choice(_WORDS) for _ in range(rnd.randrange(7)))
    if rnd.random() < 0.5:
        text = f"tls://{rnd.choice(_WORDS)}:{rnd.choice(_WORDS)}"
    try:
        address = parse(text, listening=rnd.random() < 0.5)
    except ConfigError as error:
        if not error.hint:
            raise AssertionError(text) from error
        return "no address"
    assert parse(str(address), listening=True) == address, text
    assert str(address).isprintable()
    return address.carrier


CHECKS: Final[tuple[Any, ...]] = (check_frames, check_ping, check_address)


def run(runs: int, seed: int) -> Counter[str]:
    """Run each in turn."""
    rnd = random.Random(seed)
    return Counter(CHECKS[number % len(CHECKS)](rnd) for number in range(runs))


if __name__ == "__main__":
    driver.main("what sockets bring", run)

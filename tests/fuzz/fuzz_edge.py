"""Fuzz the strict edge: `read` returns or refuses, and agrees with a slow reader made of Python's own parser.

    python tests/fuzz/fuzz_edge.py --runs 1000000 --seed 7

With atheris installed, coverage guides it; else a driver of its own mutates frames and writes random JSON text, the
same for a seed on every machine.
"""

from __future__ import annotations

import collections
import importlib
import json
import math
import random
import re
import sys
import types
from pathlib import Path
from typing import Any, Final

import orjson

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.fuzz import driver
from tests.fuzz.wounds import wounded

from hauberk import edge
from hauberk.bounds import Bounds
from hauberk.refusals import Refused

BOUNDS: Final = Bounds(line_bytes=64 * 1024)
STRINGS: Final = re.compile(r'"(?:[^"\\]|\\.)*"')
BRACKETS: Final = re.compile(r"[\[\]{}]")


class Rejected(Exception):
    """The reference reader says no."""


# --- the oracle ---


def reference(line: bytes) -> dict[str, Any]:
    """Read a frame slowly, with nothing that `read` is made of."""
    try:
        text = line.decode()
    except UnicodeDecodeError:
        raise Rejected from None
    if depth(text) > edge.MAX_DEPTH:
        raise Rejected
    try:
        value = DECODER.decode(text)
        json.dumps(value, ensure_ascii=False).encode()
    except ValueError:
        raise Rejected from None
    if type(value) is not dict:
        raise Rejected
    return value


def depth(text: str) -> int:
    """Count how deep brackets outside of strings go, in valid JSON."""
    deepest = now = 0
    for bracket in BRACKETS.findall(STRINGS.sub("", text)):
        now += 1 if bracket in "[{" else -1
        deepest = max(deepest, now)
    return deepest


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) != len(pairs):
        raise Rejected
    return dict(pairs)


def _integer(digits: str) -> int:
    if len(digits) > 20 or not -(2**63) <= int(digits) < 2**64:
        raise Rejected
    return int(digits)


def _finite(digits: str) -> float:
    if math.isinf(float(digits)):
        raise Rejected
    return float(digits)


def _constant(_name: str) -> None:
    raise Rejected


DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_unique, parse_int=_integer, parse_float=_finite, parse_constant=_constant
)


def check(line: bytes) -> str:
    """Read one frame both ways; return the code of the refusal, or ``"read"``.

    Raises:
        AssertionError: They differ, or what was read does not come out again as compact JSON of the same value.
    """
    code = "read"
    try:
        message, own = edge.read(line, bounds=BOUNDS)
    except Refused as refused:
        code = refused.code
    try:
        expected = reference(line)
    except Rejected:
        assert code != "read", f"read and should be refused: {line!r}"
        return code
    if code == "core.line_too_long":
        return code
    assert code == "read", f"refused as {code} and should be read: {line!r}"
    # Bytes tell 1, 1.0 and true apart, where Python's equality does not.
    assert orjson.dumps(expected) == own == orjson.dumps(message), line
    assert orjson.loads(own) == message, line
    assert orjson.dumps(reference(own)) == own, line
    assert not re.search(r"\s", STRINGS.sub("", own.decode())), line
    return code


# --- frames ---

SEEDS: Final = (
    b'{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"a","arguments":{"path":"/x","n":[1,2.5,-3]}}}',
    b'{"jsonrpc": "2.0", "id": "a", "result": {"content": [{"type": "text", "text": "h\\u00e9"}], "isError": false}}',
    '{"jsonrpc":"2.0","method":"notifications/message","params":{"data":"é ü 漢 😀","level":"info"}}'.encode(),
    b'{"a":1,"b":{"a":1,"c":[{},[],"",null,true,false]},"d":1e5,"e":-0.0,"f":18446744073709551615}',
    b'[{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","id":2,"method":"ping"}]',
    b'{"k":"\\\\\\"","\\\\":"\\u0022\\/\\b","u":"\\ud83d\\ude00"}',
)
ATOMS: Final = (
    *(b"{", b"}", b"[", b"]", b":", b",", b'"', b"\\", b"\\\\", b'\\"', b" ", b"\t", b"\n", b"\r", b"\x0b", b"\x0c"),
    *(b"0", b"-0", b"-", b"1.0", b"1E400", b"1e5", b"-1e-7", b"1E-400", b"0.1e1", b"01", b"1.", b".5", b"+1"),
    *(b"9223372036854775807", b"-9223372036854775808", b"-9223372036854775809", b"18446744073709551615"),
    *(b"18446744073709551616", b"9" * 400, b"9" * 5000, b"0." + b"3" * 400, b"9007199254740993", b"1e308", b"2e308"),
    *(b"NaN", b"Infinity", b"-Infinity", b"null", b"true", b"false", b"nul", b"True"),
    *(b'"a":1,', b'"\\u0061":1,', b'"a":', b',"a":1', b'"a" :', b'"":', b'{"a":1,"a":1}', b'"id":1,'),
    *(b"\\u0000", b"\\ud800", b"\\udc00", b"\\ud83d\\ude00", b"\\u00e9", b"\\uD83D", b"\\x41", b"\\u12"),
    *(b"\xef\xbb\xbf", b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", "é".encode(), b"\xe2\x80\xa8"),
    *(b"\x00", b"\x01", b"\x1f", b"\x7f", b"//", b"/**/", b"#", b"'"),
    *(b"[" * 130, b"]" * 130, b'{"a":' * 130, b"}" * 130, b"[" * 1100, b"[]," * 130, b'"[",' * 130),
)
NUMBERS: Final = (*(atom.decode() for atom in ATOMS[16:41]), "1.50", "12345.678", "1e16", "1E+2", "5e-324", "100")
BLANKS: Final = ("", "", "", " ", "\n", "\t\r ")
KEYS: Final = ("a", "\\u0061", "b", "id", "\\u0069d", "", "\\ud83d\\ude00", "😀", "a b", "ab", '\\"', "\\\\")
CHARS: Final = (*KEYS, "é", "\\u00e9", "\\/", "/", "\\n", "\u2028", "\\u0000", "x" * 90, "[", "]", "{", ",", ":", "1.0")


def mutated(rnd: random.Random) -> bytes:
    """Return a frame with a few wounds, or the head of one with the tail of another."""
    frame = rnd.choice(SEEDS)
    if not rnd.randrange(8):
        other = rnd.choice(SEEDS)
        frame = frame[: rnd.randint(0, len(frame))] + other[rnd.randrange(len(other)) :]
    return wounded(rnd, frame, ATOMS, least=0, most=4)


def written(rnd: random.Random) -> bytes:
    """Return JSON text as odd as the grammar allows, and mostly within the rules."""
    text = _object(rnd, rnd.randint(1, 5))
    if not rnd.randrange(8):  # around the limit of depth, in a line of any size
        levels = rnd.choice((100, 124, 125, 126, 127, 128, 129, 130, 1030 if not rnd.randrange(5) else 120))
        kinds = [char == "1" for char in f"{rnd.getrandbits(levels):0{levels}b}"]
        text = "".join('{"a":' if kind else "[" for kind in kinds) + text
        text += "".join("}" if kind else "]" for kind in reversed(kinds))
        text = '{"a":' + text + "}"
    return (rnd.choice(BLANKS) + text + rnd.choice(BLANKS)).encode()


def _value(rnd: random.Random, levels: int) -> str:
    match rnd.randrange(8 if levels else 5):
        case 0 | 1:
            return _string(rnd, CHARS)
        case 2:
            return rnd.choice(NUMBERS) if not rnd.randrange(6) else str(rnd.randint(-(2**63), 2**64 - 1))
        case 3:
            return repr(rnd.uniform(-1, 1) * 10 ** rnd.randint(-30, 30))
        case 4:
            return rnd.choice(("null", "true", "false", "-0", "1.50", "1E5"))
        case 5:
            return _joined(rnd, "[]", [_value(rnd, levels - 1) for _ in range(rnd.randint(0, 4))])
        case _:
            return _object(rnd, levels - 1)


def _object(rnd: random.Random, levels: int) -> str:
    keys = [_string(rnd, KEYS if rnd.randrange(3) else CHARS) for _ in range(rnd.randint(0, 5))]
    if rnd.randrange(20):  # else keys may be equal; written in two ways they may be in any case
        keys = sorted(set(keys))
    members = [f"{key}{rnd.choice(BLANKS)}:{rnd.choice(BLANKS)}{_value(rnd, levels)}" for key in keys]
    return _joined(rnd, "{}", members)


def _string(rnd: random.Random, chars: tuple[str, ...]) -> str:
    return '"' + "".join(rnd.choice(chars) for _ in range(rnd.randint(0, 3))) + '"'


def _joined(rnd: random.Random, ends: str, parts: list[str]) -> str:
    comma = rnd.choice((",", ", ", " ,"))
    return ends[0] + rnd.choice(BLANKS) + comma.join(parts) + rnd.choice(BLANKS) + ends[1]


# --- drivers ---


def run(runs: int, seed: int) -> collections.Counter[str]:
    """Check ``runs`` frames made from ``seed``; return how often each code came."""
    rnd = random.Random(seed)
    return collections.Counter(check(rnd.choice((mutated, written))(rnd)) for _ in range(runs))


def run_guided(runs: int, seed: int) -> None:
    """Let atheris choose the frames, helped by ours; it ends the process."""
    atheris = importlib.import_module("atheris")
    for value in vars(edge).values():
        if isinstance(value, types.FunctionType):
            atheris.instrument_func(value)

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        rnd = random.Random(seed)
        if rnd.randrange(3):
            return bytes(atheris.Mutate(data, most))
        return rnd.choice((mutated, written))(rnd)[:most]

    atheris.Setup([sys.argv[0], f"-runs={runs}", f"-seed={seed}"], check_only, custom_mutator=mutate)
    atheris.Fuzz()


def check_only(line: bytes) -> None:
    """Check one frame for atheris, which wants no answer."""
    check(line)


if __name__ == "__main__":
    driver.main("the strict edge", run, guided=run_guided)

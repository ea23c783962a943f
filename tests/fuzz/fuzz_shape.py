"""Fuzz how bulkhead measures a frame: of what parses, depth and width are those of the value; nothing raises.

python tests/fuzz/fuzz_shape.py --runs 1000000 --seed 7
"""

from __future__ import annotations

import collections
import random
import sys
from pathlib import Path
from typing import Any, Final

import orjson

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.fuzz import driver
from tests.fuzz.wounds import wounded

from hauberk_bulkhead._shape import fault

ATOMS: Final = (
    *(b"{", b"}", b"[", b"]", b":", b",", b'"', b"\\", b'\\"', b"\\\\", b" ", b"\n", b"\x00", b"\xff", b"\xc3\xa9"),
    *(b"null", b"1", b'"a"', b'"[{"', b'"]}"', b'"\\"["', b'"\\\\"', b'{"a":', b"[[[", b"]]]", b",,,,", b"[1,2,3,4]"),
)
DEPTH: Final = 4
WIDTH: Final = 5


def check(data: bytes) -> str:
    """Measure one frame; return what was found of it.

    Raises:
        AssertionError: The parser's value has another depth or width.
    """
    found = fault(data, DEPTH, WIDTH)
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        return "no JSON"
    if data.count(b'":') != _members(value):
        return "a key twice"  # of which the parser keeps one
    deep, wide = _depth(value) > DEPTH, _width(value) > WIDTH
    assert (found is not None) is (deep or wide), data
    assert found is None or (deep if found == "depth" else wide), data
    return found or "fits"


def _inner(value: Any) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []


def _depth(value: Any) -> int:
    return 1 + max(map(_depth, _inner(value)), default=0) if isinstance(value, dict | list) else 0


def _width(value: Any) -> int:
    return max([len(_inner(value)), *map(_width, _inner(value))])


def _members(value: Any) -> int:
    return (len(value) if isinstance(value, dict) else 0) + sum(map(_members, _inner(value)))


def written(rnd: random.Random) -> bytes:
    """Return JSON whose strings look like structure."""
    return orjson.dumps(_value(rnd, 6))


def _value(rnd: random.Random, levels: int) -> Any:
    match rnd.randrange(6 if levels else 3):
        case 0:
            return rnd.choice((None, True, 1, -0.5))
        case 1 | 2:
            return "".join(rnd.choice(('"', "\\", "[", "{", "]", "}", ",", "a", "é")) for _ in range(rnd.randint(0, 6)))
        case 3:
            return {str(number): _value(rnd, levels - 1) for number in range(rnd.randint(0, 7))}
        case _:
            return [_value(rnd, levels - 1) for _ in range(rnd.randint(0, 7))]


def mutated(rnd: random.Random) -> bytes:
    """Return such JSON with a few wounds."""
    return wounded(rnd, written(rnd), ATOMS, most=4)


def run(runs: int, seed: int) -> collections.Counter[str]:
    """Check ``runs`` frames made from ``seed``; return how often each answer came."""
    rnd = random.Random(seed)
    return collections.Counter(check(written(rnd) if number % 4 else mutated(rnd)) for number in range(runs))


if __name__ == "__main__":
    driver.main("how bulkhead measures a frame", run)

"""Fuzz the reader of ``hauberk.lock``: it reads what `write` writes, to the byte, and says of all else what is wrong.

    python tests/fuzz/fuzz_lock.py --runs 1000000 --seed 7

With atheris installed, coverage guides it; else a driver of its own mutates locks, the same for a seed on every
machine.
"""

from __future__ import annotations

import collections
import hashlib
import importlib
import random
import re
import sys
import types
from pathlib import Path
from typing import Any, Final

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.fuzz import driver
from tests.fuzz.wounds import wounded

from hauberk import canon
from hauberk.refusals import ConfigError
from hauberk_pins import _items, _lock, _visible
from hauberk_pins._items import Item, Lock

KINDS: Final = ("origin", "server", "tool", "prompt", "resource", "template")


def check(data: bytes) -> str:
    """Read one lock; return ``"read"``, or what was wrong without the place.

    Raises:
        AssertionError: What was read is not what stands there.
    """
    try:
        lock = _lock.read(data, "lock")
    except ConfigError as error:
        return re.sub(r"\d+", "N", error.message.removeprefix("cannot use 'lock': "))
    text = data.decode()
    assert _lock.write(lock) == text
    assert _lock.read(text.encode(), "lock") == lock
    names = [(server, key) for server, items in lock.servers.items() for key in items]
    heads = re.findall(r"^  (?:" + "|".join(KINDS) + r') "', text, re.MULTILINE)
    assert len(heads) == len(names), data
    for server, items in lock.servers.items():
        for key, one in items.items():
            assert key == one.key
            assert one.hash == f"sha256:{hashlib.sha256(canon.dumps(one.value)).hexdigest()}", (server, key)
            assert one.hash in text
    assert not _visible.hidden().search(text.replace("\n", "")), data
    return "read"


# --- locks ---

ATOMS: Final = (
    *(b"{", b"}", b"[", b"]", b":", b",", b'"', b"\\", b" ", b"  ", b"    ", b"\n", b"\n\n", b"\r\n", b"\t", b"\x00"),
    *(b"null", b"true", b"1", b"1.0", b"-0", b"1e400", b"NaN", b"18446744073709551616", b"9" * 400, b'"name": "a"'),
    *(
        b"\xff",
        b"\xc0\x80",
        b"\xed\xa0\x80",
        "é".encode(),
        "\u202e".encode(),
        "\u200b".encode(),
        b"\\u202e",
        b"\\ud800",
    ),
    *(b"generation 1", b"server ", b"  tool ", b'  tool "a" ', b"sha256:", b"sha256:" + b"0" * 64, b'\\n"\n      "'),
    *(b"[" * 200, b"]" * 200, b'{"a": ' * 200, _lock.HEAD.encode(), b"#", b"<<<<<<< HEAD\n"),
)
WORDS: Final = (
    "a",
    "b",
    "name",
    "",
    "é",
    "漢",
    "😀",
    "\u202e",
    "\u200b",
    "\n",
    "a\nb",
    '"',
    "\\",
    '\\n"\n "',
    "x" * 40,
)


def lock_of(rnd: random.Random) -> Lock:
    """Return a lock with odd names and values."""
    servers = {_word(rnd): _items_of(rnd) for _ in range(rnd.randint(0, 3))}
    return Lock(rnd.randint(0, 10 ** rnd.randint(0, 17)), {name: items for name, items in servers.items() if items})


def _items_of(rnd: random.Random) -> dict[tuple[str, str], Item]:
    made = [_items.item(rnd.choice(KINDS), _word(rnd), _value(rnd, 3)) for _ in range(rnd.randint(0, 3))]
    return {one.key: one for one in made}


def _word(rnd: random.Random) -> str:
    return "".join(rnd.choice(WORDS) for _ in range(rnd.randint(0, 3)))


def _value(rnd: random.Random, levels: int) -> Any:
    match rnd.randrange(7 if levels else 5):
        case 0:
            return rnd.choice((None, True, False, -0.0, 1e21, 5e-324, 0.1, 2**64 - 1, -(2**63)))
        case 1:
            return rnd.randint(-(2**63), 2**64 - 1)
        case 2 | 3 | 4:
            return _word(rnd)
        case 5:
            return [_value(rnd, levels - 1) for _ in range(rnd.randint(0, 3))]
        case _:
            return {_word(rnd): _value(rnd, levels - 1) for _ in range(rnd.randint(0, 3))}


def written(rnd: random.Random) -> bytes:
    """Return a lock as it is written."""
    return _lock.write(lock_of(rnd)).encode()


def mutated(rnd: random.Random) -> bytes:
    """Return a lock with a few wounds."""
    return wounded(rnd, written(rnd), ATOMS)


# --- drivers ---


def run(runs: int, seed: int) -> collections.Counter[str]:
    """Check ``runs`` locks made from ``seed``; return how often each answer came."""
    rnd = random.Random(seed)
    counts = collections.Counter(check(mutated(rnd)) for _ in range(runs - runs // 4))
    for _ in range(runs // 4):
        answer = check(written(rnd))
        assert answer == "read", answer
        counts[answer] += 1
    return counts


def run_guided(runs: int, seed: int) -> None:
    """Let atheris choose the locks, helped by ours; it ends the process."""
    atheris = importlib.import_module("atheris")
    for value in [*vars(_lock).values(), *vars(_visible).values()]:
        if isinstance(value, types.FunctionType):
            atheris.instrument_func(value)

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        rnd = random.Random(seed)
        return bytes(atheris.Mutate(data, most)) if rnd.randrange(3) else mutated(rnd)[:most]

    atheris.Setup([sys.argv[0], f"-runs={runs}", f"-seed={seed}"], check_only, custom_mutator=mutate)
    atheris.Fuzz()


def check_only(data: bytes) -> None:
    """Check one lock for atheris, which wants no answer."""
    check(data)


if __name__ == "__main__":
    driver.main("the reader of hauberk.lock", run, guided=run_guided)

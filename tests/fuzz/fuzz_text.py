"""Fuzz what a model reads: whatever the JSON, scanning ends, finds what it must, and cuts nothing else.

    python tests/fuzz/fuzz_text.py --runs 100000 --seed 7

Values are made from poison, ordinary text and odd characters, at any depth; the same for a seed on every machine.
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

from hauberk.refusals import Refused
from hauberk_sieve.text import Finding, Packs, Rule, Scanner, walk
from hauberk_sieve.text._judge import judge
from hauberk_sieve.text._packs import PLACES

RULES: Final = Packs.load().rules
SCANNERS: Final = {place: Scanner(RULES, place) for place in PLACES}
POISON: Final = tuple((rule, example) for rule in RULES for example in rule.catches)
BENIGN: Final = tuple(example for rule in RULES for example in rule.spares)
ODD: Final = tuple(
    "a1 \n\t\x00\x1b[]()!<>{}m\x9b\x9d\xad&#;=?/:.\u200b\u200c\u200d\u2060\u202a\u202c\u202e\u2066\u2069\u05d0"
    "\u0645\ufe0f\U000e0041\U000e007f\U0001f3f4\U0001f468\ufff9\ue000\ufeff\u0430\uff49\U0001d422"
)
KEYS: Final = ("type", "text", "mimeType", "data", "blob", "uri", "name", "description", "default", "items", "_meta")


def value(rnd: random.Random, levels: int) -> Any:
    """Return any JSON value."""
    match rnd.randrange(8 if levels else 5):
        case 0 | 1:
            return text(rnd)
        case 2:
            return rnd.choice((None, True, False, 0, -1, 2**64 - 1, 1.5, 1e300, rnd.randrange(0x110000)))
        case 3:
            return rnd.choice(BENIGN)
        case 4:
            return [rnd.randrange(0x300) for _ in range(rnd.randrange(12))]
        case 5:
            return [value(rnd, levels - 1) for _ in range(rnd.randrange(4))]
        case _:
            return {key(rnd): value(rnd, levels - 1) for _ in range(rnd.randrange(5))}


def key(rnd: random.Random) -> str:
    """Return a key: one of the protocol's, or any."""
    return rnd.choice(KEYS) if rnd.randrange(8) else text(rnd)


def text(rnd: random.Random) -> str:
    """Return poison, a piece of it, or odd characters."""
    match rnd.randrange(4):
        case 0:
            return rnd.choice(POISON)[1]
        case 1:
            example = rnd.choice(POISON)[1]
            at = rnd.randrange(len(example) + 1)
            return example[:at] + rnd.choice(ODD) + example[at:]
        case _:
            return "".join(rnd.choice(ODD) for _ in range(rnd.randrange(9)))


def check(rnd: random.Random) -> str:
    """Scan one result; return what became of it.

    Raises:
        AssertionError: A planted leaf was not found, or something else than a leaf that was cut has changed.
    """
    place = rnd.choice(PLACES)
    rule, example = rnd.choice(POISON)
    held: dict[str, Any] = {"structuredContent": value(rnd, 4), "content": [{"type": "text", "text": example}]}
    before = orjson.dumps(held)
    scanner = SCANNERS[place]
    found = scanner.scan(walk(held, ("result",)))
    if place in rule.where:
        assert any(_is(one, rule) for one in found.findings), (rule.id, held)
    try:
        outcome = judge(scanner, found, {"jsonrpc": "2.0", "id": 1, "result": held}, "tools/call", promised=False)
    except Refused as refused:
        return refused.code
    assert orjson.dumps(held) == before, "the message was changed in place"
    after = outcome.data["result"]
    kept = {leaf for leaf in walk(held, ("result",)).located() if leaf.path not in outcome.done}
    assert kept <= set(walk(after, ("result",)).located()), held
    assert all(one.action == "alert" for one in scanner.scan(walk(after)).findings), after
    return "cut" if outcome.done else "passed"


def _is(finding: Finding, rule: Rule) -> bool:
    return finding.rule.id == rule.id and finding.leaf.path == ("result", "content", 0, "text")


def run(runs: int, seed: int) -> collections.Counter[str]:
    """Check ``runs`` results made from ``seed``; return how often each end came."""
    rnd = random.Random(seed)
    return collections.Counter(check(rnd) for _ in range(runs))


if __name__ == "__main__":
    driver.main("what a model reads", run, runs=100_000)

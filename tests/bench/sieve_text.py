"""What a model reads: the rule packs over benign text, against the same patterns one by one with `re` (G22)."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

import orjson
from tests.bench import samples
from tests.bench.measure import Row, micros, ratio, rounds

from hauberk_sieve.text import Packs, Scanner, walk

SIZES = (("1 KiB", 1024), ("16 KiB", 16 * 1024), ("1 MiB", 1024 * 1024))
OTHERS = {
    "Russian": "Файл был записан в папку заметок сегодня в полдень. ",
    "Chinese": "文件今天中午写入笔记文件夹没有问题。",
    "emoji": "done ✅ 👩‍💻 wrote the file — ok… ",
}


def run() -> list[Row]:
    """Measure the default packs for results, over text of several sizes and kinds."""
    scanner = Scanner(Packs.load().rules, "results")
    return [*_sizes(scanner), *_linear(scanner), *_others(scanner), _small(scanner)]


def _sizes(scanner: Scanner) -> list[Row]:
    group, rows = "rule packs over benign text / the same patterns one by one with re", []
    patterns = _patterns()
    for size, length in SIZES[:2]:
        text = samples.text(length)
        times = rounds(
            {"packs": partial(_scan, scanner, text), "re": partial(_one_by_one, patterns, text)},
            repeat=9,
            count=max(1, 20_000 // length),
        )
        what = f"{size} ({micros(times, 'packs'):.1f} µs)"
        rows.append(Row(group, what, ratio(times, "packs", "re"), bar=0.05, aim=0.015))
    return rows


def _patterns() -> list[re.Pattern[str]]:
    """Return what the scanner looks for, as `re` writes it."""
    found: list[re.Pattern[str]] = []
    for rule in Packs.load().rules:
        if "results" in rule.where:
            flags = re.MULTILINE | (re.NOFLAG if rule.case else re.IGNORECASE)
            found.extend(re.compile(pattern, flags) for pattern in rule.patterns)
    return found


def _linear(scanner: Scanner) -> list[Row]:
    """Return what a byte of a long text costs, against one of a short one."""
    (_, short), (_, long) = SIZES[1:]
    texts = {"short": samples.text(short), "long": samples.text(long)}
    times = rounds({name: partial(_scan, scanner, text) for name, text in texts.items()}, repeat=9, count=3)
    group = "rule packs, a byte of 1 MiB / a byte of 16 KiB"
    what = f"benign text ({micros(times, 'long') / 1e3:.2f} ms)"
    return [Row(group, what, ratio(times, "long", "short") * short / long, bar=1.5, aim=1.1)]


def _others(scanner: Scanner) -> list[Row]:
    group, rows = "rule packs over 16 KiB / the same bytes of English", []
    for kind, piece in OTHERS.items():
        text = (piece * 16384)[:8192]
        text = text.encode()[: 16 * 1024].decode("utf-8", "ignore")
        candidates: dict[str, Any] = {"other": text, "English": samples.text(len(text.encode()))}
        times = rounds({name: partial(_scan, scanner, text) for name, text in candidates.items()}, repeat=9, count=20)
        rows.append(Row(group, f"{kind} ({micros(times, 'other'):.0f} µs)", ratio(times, "other", "English"), bar=4.0))
    return rows


def _small(scanner: Scanner) -> Row:
    """Return what an ordinary result costs, against parsing and writing it."""
    result = {"content": [{"type": "text", "text": samples.text(200)}]}
    data = orjson.dumps({"jsonrpc": "2.0", "id": 1, "result": result})
    times = rounds(
        {"scan": lambda: scanner.scan(walk(result)), "codec": lambda: orjson.dumps(orjson.loads(data))},
        repeat=15,
        count=3000,
    )
    what = f"a result of 200 B ({micros(times, 'scan'):.1f} µs)"
    return Row("walk and scan / orjson", what, ratio(times, "scan", "codec"), bar=6.0)


def _one_by_one(patterns: list[re.Pattern[str]], text: str) -> object:
    return [pattern.search(text) for pattern in patterns]


def _scan(scanner: Scanner, text: str) -> object:
    return scanner.scan(walk({"content": [{"type": "text", "text": text}]}))

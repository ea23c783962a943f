"""Every figure that is published comes from a benchmark that is here."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.bench import published
from tests.prose import DOCS, README, ROOT

from hauberk_audit._bounds import BOUNDS

BENCH = ROOT / "tests" / "bench"
MEASURED = re.compile(
    r"\d ?(?:µs|ms|ns)\b|\d ?(?:times|x|\N{MULTIPLICATION SIGN}) (?:faster|slower|as |the |its |less|more)"
    r"|\d ?% (?:faster|slower)"
)
"""How long something takes, or how much longer than something else."""
PROMISED = {"audit/README.md": [f"an entry is written within {BOUNDS.linger * 1000:.0f} ms and on the disk within"]}
"""Bounds of the code, which are no measurements."""
ROW = "| `make bench` |"
"""Of the table of commands on the README: there it is named for no figure."""


def test_published_tables_are_what_a_run_left() -> None:
    """The page of the benchmarks shows the tables of four recorded runs, figure by figure, and no other (X.15)."""
    assert published.TABLE.findall(published.PAGE.read_text("utf-8")) == [published.shown(n) for n in published.NAMES]


@pytest.mark.parametrize("name", published.NAMES)
def test_published_verdicts_follow_from_the_figures(name: str) -> None:
    """No verdict of a recorded run is kinder than its figure and its bar (X.15)."""
    data = published.record(name)
    rows = published.rows_of(data)
    assert len(rows) > 5
    for row, recorded in zip(rows, data["rows"], strict=True):
        if abs(row.value - (row.bar or 0)) > 0.0001:  # a record rounds
            assert row.verdict == recorded["verdict"], recorded


def templates() -> Iterator[list[str]]:
    """Yield the texts in the benchmarks, cut where a value is put in."""
    for source in BENCH.rglob("*.py"):
        for node in ast.walk(ast.parse(source.read_text("utf-8"))):
            parts = node.values if isinstance(node, ast.JoinedStr) else [node]
            values = [part.value if isinstance(part, ast.Constant) else "" for part in parts]
            texts = [value for value in values if isinstance(value, str)]
            if sum(map(len, texts)) > 3:
                yield texts


def is_made(text: str, template: list[str]) -> bool:
    """Whether a text can be made from a template: its parts stand there in order, first and last at the ends."""
    if len(template) == 1:
        return text == template[0]
    at = 0
    for part in template:
        found = text.find(part, at)
        if found < 0:
            return False
        at = found + len(part)
    return text.startswith(template[0]) and text.endswith(template[-1])


@pytest.mark.parametrize("name", published.NAMES)
def test_published_rows_are_still_measured(name: str) -> None:
    """What a row of the page is called stands in a benchmark that is here, so that anybody can measure it (X.15)."""
    known = list(templates())
    for row in published.rows_of(published.record(name)):
        for text in (row.group, row.what):
            assert any(is_made(text, template) for template in known), text


def prose() -> list[Path]:
    """Return the pages that publish nothing themselves."""
    pages = [README, *DOCS.rglob("*.md"), *(ROOT / "plugins").glob("*/README.md"), *(ROOT / "changelog.d").glob("*.md")]
    return [page for page in pages if page != published.PAGE]


def test_page_with_a_measurement_names_the_benchmark() -> None:
    """No page says how long something takes, or how much longer than something, without naming the benchmark (X.15)."""
    found = {}
    for page in prose():
        text = " ".join(page.read_text("utf-8").split())
        for promise in PROMISED.get("/".join(page.parts[-2:]), []):
            assert promise in text
            text = text.replace(promise, "")
        if "`make bench`" not in text.replace(ROW, "") and (hits := MEASURED.findall(text)):
            found[str(page)] = hits
    assert found == {}

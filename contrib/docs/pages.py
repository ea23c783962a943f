"""Where the pages are, and how a part of one is read and renewed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
DOCS: Final = ROOT / "docs"
NOTE: Final = "<!-- Made from the code by `make docs-write`. -->\n"
"""The first line of a page that is made as a whole."""


def cells(line: str) -> list[str]:
    """Return the cells of one row of a table."""
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]


def rows(text: str) -> list[list[str]]:
    """Return the cells of the rows of the first table of a text, without its head."""
    found = re.search(r"(?m)(^\|.*\n)+", text)
    return [] if found is None else [cells(line) for line in found.group().splitlines()[2:]]


def table(head: tuple[str, ...], lines: Iterable[Sequence[str]]) -> str:
    """Return a table."""
    between = tuple("---" for _ in head)
    return "".join(f"| {' | '.join(line)} |\n" for line in (head, between, *lines))


def sections(text: str) -> dict[str, str]:
    """Return what stands under each heading of the second rank, by heading."""
    parts = re.split(r"(?m)^## (.*)\n", text)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def with_table(text: str, heading: str, make: Callable[[list[list[str]]], str]) -> str:
    """Return a page whose table under a heading is made anew from its present rows.

    Raises:
        LookupError: The page has no such heading, or no table stands under it.
    """
    pattern = rf"(?ms)(^## {re.escape(heading)}\n(?:(?!^## ).)*?)((?:^\|[^\n]*\n)+)"
    found = re.search(pattern, text)
    if found is None:
        raise LookupError(f"no table under the heading {heading!r}")
    return text[: found.start(2)] + make(rows(found.group(2))) + text[found.end(2) :]


def plain(docstring: str) -> str:
    """Return the text of a docstring as Markdown: one kind of quotes for code."""
    return docstring.replace("``", "`")

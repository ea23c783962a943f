"""The page of the scans against what is listed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest
from tests.tls_scan import tools
from tests.tls_scan.scanners import LISTED
from tests.tls_scan.scripts import loose_rows, rows

ROOT: Final = Path(__file__).resolve().parents[2]
PAGE: Final = (ROOT / "docs" / "tls-scan.md").read_text(encoding="utf-8")
FINDINGS: Final = [
    f"| `{text.partition(': ')[0]}` | {text.partition(': ')[2]} | {why} |" for text, why in LISTED.items()
]


def shown(first: str) -> list[str]:
    """Return the rows of the table whose head begins so."""
    found = re.search(rf"(?m)^\| {first} \|.*\n\|[ |-]+\n((?:\|.*\n)+)", PAGE)
    assert found is not None, first
    return found[1].splitlines()


@pytest.mark.parametrize(
    ("first", "wanted"), [("tool", FINDINGS), ("script", rows()), ("let loose", loose_rows())], ids=lambda one: one[:6]
)
def test_what_is_listed_is_on_the_page(first: str, wanted: list[str]) -> None:
    """Each thing that is found and left as it is stands on the page with its reason, and nothing else does."""
    assert shown(first) == wanted


def test_the_versions_are_on_the_page() -> None:
    """The page says of which versions of the tools it is."""
    pins = "".join((tools.HERE / name).read_text(encoding="utf-8") for name in ("sslyze.txt", "tlsfuzzer.txt"))
    for package in ("sslyze", "tlslite-ng"):
        found = re.search(rf"(?m)^{package}==(\S+)$", pins)
        assert found is not None
        assert f"{package} {found[1]}" in PAGE
    assert tools.COMMIT[:12] in PAGE

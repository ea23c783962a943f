"""The page on rule packs: what it shows is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hauberk.config import Config
from hauberk.guard import Guard
from hauberk_sieve.text import BUILTIN, Packs, parse, prove
from hauberk_sieve.text._detectors import DETECTORS

PAGE = (Path(__file__).parents[3] / "docs" / "rule-packs.md").read_text("utf-8")
TOML = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.usefixtures("only_sieve")
async def test_configuration_of_the_page_starts() -> None:
    """The table of the page names packs and a rule that are there, and says what it means."""
    async with Guard.load(Config.from_toml(TOML[0])) as guard:
        text = guard.options_for(guard.loaded["sieve"].plugin, "shell").text
    assert text.packs == BUILTIN
    assert [one.rule for one in text.suppress] == ["control.terminal"]


def test_pack_of_the_page_is_one() -> None:
    """The pack of the page is read, and its examples hold."""
    prove(parse(TOML[1].encode(), "page"), "page")


def test_page_names_every_pack_and_detector() -> None:
    """Each pack and each detector is on the page."""
    rows = re.findall(r"(?m)^\| `([a-z]+)` \|", PAGE)
    assert {pack.pack for pack in Packs.load().packs} <= set(rows)
    (detectors,) = re.findall(r"(?m)^\| `detector` \| (.*) \|$", PAGE)
    assert set(re.findall(r"`([a-z-]+)`", detectors)) == set(DETECTORS)

"""The page on what servers may ask back does what it says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from hauberk.testing import guard_from
from hauberk_sieve.addresses._policy import _ACTED_ON

PAGE = (Path(__file__).parents[3] / "docs" / "asks.md").read_text("utf-8")
(TABLE,) = re.findall(r"(?s)```toml\n(.*?)```", PAGE)
URL = {"mode": "url", "message": "sign in", "elicitationId": "1"}


@pytest.mark.parametrize(
    ("name", "method", "params", "passes"),
    [
        ("planner", "elicitation/create", {"message": "where?", "requestedSchema": {}}, True),
        ("planner", "elicitation/create", {**URL, "url": "https://accounts.example.com/x"}, True),
        ("planner", "elicitation/create", {**URL, "url": "https://example.com/x"}, False),
        ("planner", "elicitation/create", {"message": "your password?"}, False),
        ("planner", "roots/list", {}, True),
        ("planner", "sampling/createMessage", {"messages": [], "maxTokens": 1}, False),
        ("files", "roots/list", {}, False),
        ("files", "elicitation/create", {"message": "where?"}, False),
    ],
)
async def test_table_of_the_page_allows_what_it_says(name: str, method: str, params: Any, *, passes: bool) -> None:
    """The server that is named may ask what its table allows, another may not (S3.47)."""
    async with guard_from(TABLE, name=name) as rig:
        await rig.send(rig.from_server, {"jsonrpc": "2.0", "id": 7, "method": method, "params": params})
        assert bool(rig.replies) is passes


@pytest.mark.parametrize(
    ("uri", "passes"),
    [
        ("http://localhost:3000/x", True),
        ("http://localhost/x", False),
        ("file:///srv/notes/a", True),
        ("file:///a", False),
    ],
)
async def test_links_of_the_page_lead_where_it_says(uri: str, *, passes: bool) -> None:
    """The links of the server that is named lead to its origins and folders (A61)."""
    async with guard_from(TABLE, name="planner") as rig:
        await rig.call("look")
        await rig.answer({"content": [{"type": "resource_link", "name": "a", "uri": uri}]})
        assert (rig.replies[-1]["result"]["content"][0]["type"] == "resource_link") is passes


def test_number_of_schemes_is_about_what_the_page_says() -> None:
    """The page names some of the schemes that are refused, and about how many more there are."""
    (row,) = re.findall(r"(?m)^\| (`javascript`.*?) and some (\w+) more", PAGE)
    named = set(re.findall(r"`([\w-]+)`", row[0]))
    assert named <= _ACTED_ON
    assert row[1] == "eighty"
    assert 75 <= len(_ACTED_ON) - len(named) <= 85

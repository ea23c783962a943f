"""Two plugins that hash a definition, each for itself, and mean the same."""

from __future__ import annotations

from typing import Any

import pytest

from hauberk_pins._items import item
from hauberk_sieve.access._facts import Facts
from hauberk_sieve.access._rule import Entry, read
from hauberk_sieve.access._rules import Rules

DEFINITIONS: list[dict[str, Any]] = [
    {"name": "x"},
    {"name": "x", "inputSchema": {"b": 1.0, "a": [True, None, 2**63]}, "x-unknown": "\u20ac\n"},
    {"name": "x", "annotations": {"readOnlyHint": True}, "_meta": {}},
]


@pytest.mark.parametrize("definition", DEFINITIONS)
def test_hash_of_a_pin_is_one_for_a_rule(definition: dict[str, Any]) -> None:
    """What ``hauberk pins list`` shows allows exactly that definition as a ``content_hash`` (S3.37, S3.41)."""
    shown = item("tool", "x", definition).hash
    rules = Rules("deny", [read("allow", Entry(server="s", tool="x", content_hash=shown))])
    allowed = [rules.decide("s", "tool", "x", definition=Facts(one)).allowed for one in DEFINITIONS]
    assert allowed == [one is definition for one in DEFINITIONS]

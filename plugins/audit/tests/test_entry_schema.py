"""The JSON Schema of a line of the log: what a host writes is of it, and what is not is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, FormatChecker  # type: ignore[import-untyped]  # comes with the SDK
from plugins.audit.tests.conftest import Load
from plugins.audit.tests.logs import KEY
from plugins.audit.tests.written import entry

from hauberk.event import Event
from hauberk_audit import _entry_schema
from hauberk_audit._entry import render
from hauberk_audit.writing._chain import GENESIS, Chain

CHECK = Draft202012Validator(_entry_schema.schema(), format_checker=FormatChecker())


def errors(one: dict[str, Any]) -> list[str]:
    """Return what is wrong with an entry."""
    return [str(error.message) for error in CHECK.iter_errors(one)]


def sealed(event: Event) -> dict[str, Any]:
    """Return the entry of an event as a log holds it."""
    found: dict[str, Any] = orjson.loads(Chain(KEY).seal(render(event), 1, GENESIS)[0])
    return found


def test_package_has_the_schema_of_the_code() -> None:
    """The file in the package is what the code says; ``make docs-write`` renews it."""
    Draft202012Validator.check_schema(_entry_schema.schema())
    assert _entry_schema.published() == _entry_schema.document(), "make docs-write"


async def test_entries_of_a_host_are_of_the_schema(load: Load, state: Path) -> None:
    """What a host writes, rotations included, is of the schema."""
    text = "---[audit.rotation]\nentries = 4\ncompress = false\n"
    details = {"reason": "no", "deep": [{"a": {"b": [1.5, None, "x" * 5000, 2**70, b"bytes"]}}]}
    for _ in range(2):
        async with load(text) as guard:
            for number in range(5):
                guard.emit(Event(code="a.b", server="files", sizes={"arguments": number}, details=details))
    files = sorted((state / "audit").glob("audit.jsonl*"))
    lines = [line for path in files if path.suffix != ".chain" for line in path.read_bytes().splitlines()]
    assert len(lines) > 16
    assert [errors(orjson.loads(line)) for line in lines if errors(orjson.loads(line))] == []


@given(
    st.builds(
        Event,
        st.text(),
        st.text(),
        st.floats(0, 4e9),
        host=st.text(),
        tool=st.text(),
        sizes=st.dictionaries(st.text(), st.integers()),
        count=st.integers(0, 2**40),
        probe=st.booleans(),
        details=st.dictionaries(st.text(), st.text() | st.integers() | st.lists(st.text())),
    )
)
def test_every_event_makes_an_entry_of_the_schema(event: Event) -> None:
    """Whatever plugins note, its entry is of the schema."""
    assert errors(sealed(event)) == []


@pytest.mark.parametrize(
    "change",
    [
        {"format": "hauberk-audit/2"},
        {"time": "2025-10-09 12:00"},
        {"severity": "fatal"},
        {"action": "maybe"},
        {"category": "other"},
        {"code": 5},
        {"count": "1"},
        {"details": []},
        {"more": 1},
        {"integrity": {}},
        {"integrity": entry(1)["integrity"] | {"sequence": 0}},
        {"integrity": entry(1)["integrity"] | {"entry_hash": "md5:0"}},
        {"sealed": "x"},
    ],
)
def test_what_is_no_entry_is_told(change: dict[str, Any]) -> None:
    """A member of another form, one too many, or another format is not of the schema."""
    assert errors(entry(1)) == []
    assert errors(entry(1) | change) != []
    for name in ("format", "time", "code", "id", "category", "severity", "action", "integrity"):
        assert errors({key: value for key, value in entry(1).items() if key != name}) != [], name

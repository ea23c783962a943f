"""Entries as text and as events of OCSF: what no viewer acts on, and what other systems take."""

from __future__ import annotations

import csv
import io
import itertools
from pathlib import Path
from typing import Any, Final, get_args

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plugins.audit.tests.written import entry

from hauberk.event import Action, Category, Event, Severity
from hauberk_audit._entry import render
from hauberk_audit.queries._export import as_json, as_line, as_text, cell, lines
from hauberk_audit.queries._ocsf import VERSION, event
from hauberk_audit.queries._reading import Found, parse, sequence_of

LOG = Path("audit.jsonl")
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def found(one: dict[str, Any]) -> Found:
    return Found(LOG, 7, sequence_of(one), one, orjson.dumps(one), LOG, 1, 0)


# --- viewers ---


@given(JSON, st.sampled_from([None, 2]))
def test_json_is_the_same_value_and_acts_on_nothing(value: Any, indent: int | None) -> None:
    """JSON that is printed is the value, and holds nothing that is not printable but ends of lines (A25)."""
    text = as_json(value, indent=indent)
    assert orjson.loads(text) == value
    assert text.replace("\n", "").isprintable()
    assert indent is not None or "\n" not in text


@given(st.dictionaries(st.sampled_from(["time", "code", "tool", "rule", "details", "x\u202e"]), JSON), JSON)
def test_entry_is_printed_on_one_line(members: dict[str, Any], reason: Any) -> None:
    """Whatever an entry holds, its line is one line in which everything can be seen (A25)."""
    one = {**entry(3), **members, "details": {"reason": reason}}
    for text in (as_text(found(one), named=True), as_line(found(one))):
        assert text.isprintable()


def test_line_is_given_as_it_stands() -> None:
    """A line that can be shown is given byte by byte; one that was sealed, or cannot be shown, as JSON."""
    spaced = b'{ "code" : "a.b", "x": 1.0 }'
    one = parse(spaced)
    assert one is not None
    assert as_line(Found(LOG, 1, 0, one, spaced, LOG, 1, 0)).encode() == spaced
    assert as_line(Found(LOG, 1, 0, one, b"", LOG, 1, 0)) == '{"code":"a.b","x":1.0}'
    assert as_line(Found(LOG, 1, 0, one, spaced.replace(b" : ", b"\t:\t"), LOG, 1, 0)) == '{"code":"a.b","x":1.0}'


# --- tables ---


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\\t=1"),
        ("\r=1", "'\\r=1"),
        ("\n=1", "'\\n=1"),
        ("  =1", "'  =1"),
        ("\uff1d1", "'\uff1d1"),
        (-1, "'-1"),
        ("a=1", "a=1"),
        ("", ""),
        (None, ""),
        (5, "5"),
        (True, "true"),
        ({"a": "=1"}, '{"a":"=1"}'),
        ("\x1b[2J\u202e", "\\x1b[2J\\u202e"),
    ],
)
def test_no_cell_is_a_formula(value: Any, text: str) -> None:
    """A cell that a spreadsheet would take for a formula gets an apostrophe before it (S2.39)."""
    assert cell(value) == text


@given(st.lists(st.text(), min_size=1, max_size=5))
def test_table_is_read_as_it_was_written(texts: list[str]) -> None:
    """However a text looks, it stays in its cell, which is quoted, and no cell begins a formula (S2.39, RFC 4180)."""
    rows = [found({**entry(3), "tool": text, "details": {"reason": text}}) for text in texts]
    table = "".join(lines(rows, "csv"))
    read = list(csv.DictReader(io.StringIO(table)))
    assert [row["tool"] for row in read] == [cell(text) for text in texts]
    assert [orjson.loads(row["details"]) for row in read] == [{"reason": text} for text in texts]
    assert all(text.startswith('"') and text.endswith('"') for text in table.split("\r\n")[:-1])
    assert not any(value[:1] in "=+-@\t\r" for row in read for value in row.values() if value)


# --- OCSF: what version 1.8.0 says of the three classes, https://schema.ocsf.io/1.8.0/ ---

CLASSES: Final = {
    2004: ("Findings", "Detection Finding", {1}),
    6002: ("Application Activity", "Application Lifecycle", {3, 4, 8, 99}),
    6003: ("Application Activity", "API Activity", {2, 99}),
}
REQUIRED: Final = {
    *("activity_id", "category_uid", "class_uid", "metadata", "severity_id", "time", "type_uid"),
}
BASE: Final = {
    *(
        REQUIRED
        | {"activity_name", "category_name", "class_name", "count", "message", "severity", "status", "status_id"}
    ),
    *("status_code", "status_detail", "type_name", "unmapped"),
    *("action", "action_id", "disposition", "disposition_id"),
}
MORE: Final = {
    2004: ({"finding_info"}, {"evidences", "is_alert", "resources", "risk_level", "risk_level_id"}),
    6002: ({"app"}, set()),
    6003: ({"actor", "api", "src_endpoint"}, {"dst_endpoint", "resources"}),
}
ENUMS: Final = {
    "severity_id": {1: "Informational", 3: "Medium", 5: "Critical"},
    "action_id": {1: "Allowed", 2: "Denied", 3: "Observed", 99: "Escalated"},
    "disposition_id": {1: "Allowed", 2: "Blocked", 17: "Logged", 19: "Alert"},
    "risk_level_id": {1: "Low", 2: "Medium", 4: "Critical"},
    "status_id": {1: "Success", 2: "Failure"},
}
OBJECTS: Final = {
    "metadata": (
        {"product", "version"},
        {"correlation_uid", "event_code", "log_name", "log_version", "original_time", "profiles", "sequence", "uid"},
    ),
    "actor": (set(), {"app_name", "user"}),
    "api": ({"operation"}, {"service"}),
    "finding_info": ({"uid"}, {"analytic", "desc", "title", "types"}),
    "src_endpoint": ({"name"}, set()),
    "dst_endpoint": ({"svc_name"}, set()),
    "app": ({"name"}, {"vendor_name", "version"}),
}


def check_event(made: dict[str, Any]) -> None:
    """Check that an event is one of version 1.8.0 of the schema."""
    uid = made["class_uid"]
    category, name, activities = CLASSES[uid]
    needed, may = MORE[uid]
    assert REQUIRED | needed <= set(made) <= BASE | needed | may
    assert (made["category_uid"], made["category_name"]) == (uid // 1000, category)
    assert (made["class_name"], made["type_uid"]) == (name, uid * 100 + made["activity_id"])
    assert made["activity_id"] in activities
    for key, values in ENUMS.items():
        if uid == 2004 and key == "status_id":
            values = {1: "New"}  # noqa: PLW2901 - findings have a status of their own
        if key in made:
            assert values[made[key]] == made[key.removesuffix("_id")]
    for holder in (made, *made.get("evidences", ())):
        for key, (must, can) in OBJECTS.items():
            if key in holder:
                assert must <= set(holder[key]) <= must | can, key
    assert (made["metadata"]["version"], made["metadata"]["profiles"]) == (VERSION, ["security_control"])
    assert type(made["time"]) is int
    assert made["metadata"]["product"] == made.get("app", made["metadata"]["product"])


FULL: Final[dict[str, Any]] = {
    "host": "desktop",
    "server": "files",
    "principal": "host:desktop",
    "source": "local",
    "tool": "read_file",
    "exchange": "c1/7",
    "digest": f"sha256:{1:064x}",
    "sizes": {"arguments": 5},
    "rule": "allow[0]",
    "plugin": "sieve",
    "count": 3,
    "probe": True,
    "details": {"reason": "because", "more": [1]},
}


def made_of(**fields: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return an entry of an event, and the OCSF event of that."""
    body = render(Event(id="an-id", time=1_760_000_000.2567, **fields))
    integrity = b',"integrity":{"sequence":7,"prev_hash":"p","key_id":"k","entry_hash":"h"}}'
    one = parse(body + integrity)
    assert one is not None
    return one, event(found(one))


@pytest.mark.parametrize("full", [{}, FULL])
def test_every_event_is_one_of_the_schema(full: dict[str, Any]) -> None:
    """Whatever an entry is, its event has what OCSF 1.8.0 requires, and nothing that it does not know."""
    codes = ("core.started", "core.stopped", "core.answered", "core.error", "policy.changed", "a.b")
    methods = ("", "tools/call", "tools/list")
    for category, severity, action, code, method in itertools.product(
        get_args(Category), get_args(Severity), get_args(Action), codes, methods
    ):
        fields = {"category": category, "severity": severity, "action": action, "code": code, "method": method}
        check_event(made_of(**fields, **full)[1])


def _values(value: Any) -> set[str]:
    if isinstance(value, dict | list):
        inner = value.values() if isinstance(value, dict) else value
        return set().union(*map(_values, inner)) if inner else set()
    return {str(value)}


@pytest.mark.parametrize("category", get_args(Category))
def test_nothing_of_an_entry_is_left_out(category: Category) -> None:
    """Each value of an entry is in its event: where the schema has a place for it, or in ``unmapped``."""
    one, made = made_of(code="core.allowed", category=category, severity="warning", method="tools/call", **FULL)
    words = {"warning": "Medium", "logged": "Observed"}
    assert {words.get(value, value) for value in _values(one)} - {one["time"]} <= _values(made)
    assert made["metadata"]["original_time"] == one["time"]


def test_refusal_is_a_finding_that_was_denied() -> None:
    """A refusal is a Detection Finding: denied, blocked, with rule, actor and operation, time in milliseconds."""
    fields = {"code": "sieve.denied", "category": "refusal", "severity": "warning", "action": "blocked"}
    _, made = made_of(**fields, method="tools/call", **FULL)
    assert (made["class_uid"], made["type_uid"], made["time"]) == (2004, 200401, 1_760_000_000_256)
    assert (made["action_id"], made["disposition_id"], made["severity_id"], made["risk_level"]) == (2, 2, 3, "Medium")
    assert made["finding_info"] == {
        "uid": "an-id",
        "title": "sieve.denied",
        "types": ["refusal"],
        "desc": "because",
        "analytic": {"name": "allow[0]", "type": "Rule", "type_id": 1},
    }
    (evidence,) = made["evidences"]
    assert evidence["actor"] == {"app_name": "desktop", "user": {"uid": "host:desktop"}}
    assert evidence["api"] == {"operation": "tools/call", "service": {"name": "files"}}
    assert made["resources"] == [{"type": "tool", "name": "read_file"}]
    assert made["unmapped"] == {
        "category": "refusal",
        "source": "local",
        "digest": FULL["digest"],
        "sizes": {"arguments": 5},
        "plugin": "sieve",
        "probe": True,
        "details": FULL["details"],
        "integrity": {"prev_hash": "p", "key_id": "k", "entry_hash": "h"},
    }


@pytest.mark.parametrize(
    ("fields", "uid", "activity", "status"),
    [
        ({"category": "decision", "action": "allowed", "method": "tools/call"}, 6003, 99, "Success"),
        ({"category": "decision", "action": "allowed", "method": "resources/read"}, 6003, 2, "Success"),
        ({"category": "outcome", "code": "core.answered", "action": "allowed"}, 6003, 99, "Success"),
        ({"category": "outcome", "code": "core.error", "action": "allowed"}, 6003, 99, "Failure"),
        ({"category": "connection", "code": "core.connected", "action": "allowed"}, 6003, 99, "Success"),
        ({"category": "system", "code": "core.started"}, 6002, 3, "Success"),
        ({"category": "system", "code": "core.stopped"}, 6002, 4, "Success"),
        ({"category": "policy", "code": "policy.loaded"}, 6002, 8, "Success"),
        ({"category": "policy", "code": "policy.changed", "severity": "warning"}, 2004, 1, "New"),
        ({"category": "policy", "code": "pins.hidden", "action": "blocked"}, 2004, 1, "New"),
        ({"category": "policy", "code": "sieve.probing", "action": "escalated"}, 2004, 1, "New"),
    ],
)
def test_classes_of_events(fields: dict[str, Any], uid: int, activity: int, status: str) -> None:
    """What each kind of event becomes, and whether that was a success."""
    _, made = made_of(**{"code": "core.allowed", **fields})
    assert (made["class_uid"], made["activity_id"], made["status"]) == (uid, activity, status)


@given(st.dictionaries(st.sampled_from([*FULL, "time", "id", "severity", "action", "category", "integrity"]), JSON))
def test_changed_entry_is_an_event_all_the_same(members: dict[str, Any]) -> None:
    """Whatever somebody wrote into a log, its export goes on."""
    one = {**entry(3), **members}
    for kind in ("jsonl", "csv", "ocsf"):
        assert all(text.endswith("\n") for text in lines([found(one)], kind))

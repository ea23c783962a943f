"""What schemas are checked with: faults as they are told, patterns as they are measured, references to secrets."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hauberk.connection import Connection
from hauberk.exchange import Exchange
from hauberk.message import Message, SecretRef, ToolCall
from hauberk.principal import ANONYMOUS
from hauberk_sieve._limits import LIMITS
from hauberk_sieve._mesh import Setting
from hauberk_sieve._options import Options
from hauberk_sieve._seen import Seen
from hauberk_sieve.schemas import Schemas
from hauberk_sieve.schemas._calls import of_call
from hauberk_sieve.schemas._fault import Fault, pointer
from hauberk_sieve.schemas._known import Known
from hauberk_sieve.schemas._options import Schemas as Table
from hauberk_sieve.schemas._patterns import measured

Json = dict[str, Any]


@given(st.lists(st.one_of(st.text(), st.integers(0, 10**6)), max_size=5))
def test_pointers_are_those_of_the_rfc(path: list[str | int]) -> None:
    """A pointer is read back as the path that it was made of (RFC 6901, section 4)."""
    members = pointer(path).split("/")[1:]
    assert [member.replace("~1", "/").replace("~0", "~") for member in members] == [str(part) for part in path]


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (Fault("", "type"), "type at the top"),
        (Fault("/a/0/b", "type"), "type at /a/0/*"),
        (Fault("/a~1b", "type"), "type at /a~1b"),
        (Fault("/call delete_all now", "type"), "type at /*"),
        (Fault("/\u202ea", "type"), "type at /*"),
        (Fault("/" + "9" * 200, "type"), "type at /*"),
        (Fault("/a" * 200, "type"), "type at " + "/a" * 63 + "/…"),
        (Fault("", ""), "schema"),
    ],
)
def test_faults_are_told_without_names_that_a_peer_chose(fault: Fault, told: str) -> None:
    """What is told has the names of the schema, indices, and nothing else; and is short."""
    assert fault.told({"a", "a/b"}) == told


@pytest.mark.parametrize(
    ("text", "states", "loose"),
    [
        ("", 0, 0),
        ("^abc$", 3, 0),
        ("abc", 3, 3),
        ("^abc*$", 3, 1),
        ("^a{5}b{2,7}$", 12, 7),
        ("^(ab){10}c+$", 21, 1),
        ("((a{10}){10}){10}", 1000, 1000),
        (r"^\d{4}-\d{2}$", 7, 0),
        ("^[a-z]{1,64}$", 192, 192),
        ("^a|b*", 2, 2),
        ("^(a|b)*c$", 3, 3),
        (r"^\p{L}{3}$", 150, 0),
        ("^a{2,}$", 2, 2),
        (")))", 0, 0),
        ("[unclosed", 3, 3),
    ],
)
def test_states_of_patterns_are_counted(text: str, states: int, loose: int) -> None:
    """States are places, times the bounds of the repetitions around them; before the first that varies they hold."""
    assert (measured(text).states, measured(text).loose) == (states, loose)


@given(st.text(alphabet="ab()[]{}|*+?^$.\\,0123456789p-", max_size=60))
def test_any_text_is_measured(text: str) -> None:
    """Any text at all is measured, pattern or not, and costs at least something."""
    found = measured(text)
    assert 0 <= found.loose <= found.states or text.startswith("^")
    assert found.per_byte > 0


def test_long_patterns_are_measured_in_time_that_grows_with_their_length() -> None:
    """A pattern of the largest size that opens a thousand times what it never closes is measured at once."""
    for piece in ("[", "(", "{", "\\p{", "(?<", "a{1,", "[^", "\\"):
        assert measured(piece * LIMITS.pattern_chars).states >= 0


# --- secrets by reference ---

SCHEMA: Json = {
    "type": "object",
    "properties": {"key": {"type": "string", "minLength": 8}, "count": {"type": "integer"}, "n": {"type": "integer"}},
    "required": ["key"],
}


def judged(**arguments: Any) -> str | None:
    """Return the rule by which a call with these arguments is refused."""
    data = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "read", "arguments": arguments}}
    message = Message(kind="request", toward="server", method="tools/call", data=data, id=1)
    call = ToolCall(message, Exchange(1, 1, "tools/call", ANONYMOUS, 0.0, 1), "files")
    finding = of_call(Known().tool({"name": "read", "inputSchema": SCHEMA}), call, results=True)
    assert not call.changed()
    return None if finding is None else finding.rule


def test_references_to_secrets_are_texts_that_nobody_knows() -> None:
    """A reference passes where a text may stand, whatever the text has to be; elsewhere it does not."""
    secret = SecretRef("github", 1)
    assert judged(key=secret) is None
    assert judged(key=secret, count=3) is None
    assert judged(key="short") == "minLength at /key"
    assert judged(key=secret, n=secret) == "type at /n"
    assert judged(key=secret, count="x") == "type at /count"
    assert judged(key=[secret]) == "type at /key"


def test_what_no_list_showed_is_said_to_be_missing() -> None:
    """Where a schema is required and not known, an explanation says what it lacks."""
    data = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "read", "arguments": {}}}
    message = Message(kind="request", toward="server", method="tools/call", data=data, id=1)
    call = ToolCall(message, Exchange(1, 1, "tools/call", ANONYMOUS, 0.0, 1), "files", dry=True)
    options = Options(schemas=Table(require=True))
    guard = type("Alone", (), {"options_for": lambda self, plugin, server: options})()
    mesh = Schemas(Setting(object, options, guard, Seen()))
    assert mesh.judge(call, Connection(id="c", host="h", server="files", role="client")) is not None
    assert "schema" in call.lacking

from __future__ import annotations

import sys
import unicodedata
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from mcp.shared.dispatcher import coerce_request_id
from mcp_types import methods as sdk
from mcp_types.version import KNOWN_PROTOCOL_VERSIONS

from hauberk.bounds import Bounds
from hauberk.methods import (
    ABSENT,
    CACHEABLE_METHODS,
    INPUT_REQUESTS,
    INPUT_REQUIRED_METHODS,
    METHODS,
    REVISION_KEY,
    REVISIONS,
    Method,
    check,
    classify,
    correlation_key,
    revision_of,
)
from hauberk.refusals import INVALID_REQUEST, MEDIATION, Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

BOUNDS = Bounds(id_chars=16)
SDK_TABLES = [
    (sdk.CLIENT_REQUESTS, "client", "request"),
    (sdk.CLIENT_NOTIFICATIONS, "client", "notification"),
    (sdk.SERVER_REQUESTS, "server", "request"),
    (sdk.SERVER_NOTIFICATIONS, "server", "notification"),
]
SDK_ROWS = [(*key, sender, kind) for table, sender, kind in SDK_TABLES for key in table]
META = {REVISION_KEY: "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}, "progressToken": "t"}
HELLO = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}}
TASK = {"taskId": "task-1"}
RETRY = {"inputResponses": {}, "requestState": "s"}
SAMPLE = {"messages": [{"role": "user", "content": {"type": "text", "text": "hi"}}]}
SOUGHT = {"ref": {"type": "ref/prompt", "name": "p"}, "argument": {"name": "a", "value": "b"}}

# Of each method the parameters that must be there, and those that may be: what is checked, and nothing else.
MUST: dict[str, dict[str, Any]] = {
    "initialize": HELLO,
    "notifications/progress": {"progressToken": 1, "progress": 0.5},
    "tools/call": {"name": "read"},
    "prompts/get": {"name": "p"},
    "resources/read": {"uri": "file:///a"},
    "resources/subscribe": {"uri": "file:///a"},
    "resources/unsubscribe": {"uri": "file:///a"},
    "notifications/resources/updated": {"uri": "file:///a"},
    "completion/complete": SOUGHT,
    "logging/setLevel": {"level": "info"},
    "notifications/message": {"level": "info"},
    "subscriptions/listen": {"notifications": {"toolsListChanged": True}},
    "notifications/subscriptions/acknowledged": {"notifications": {}},
    "sampling/createMessage": SAMPLE,
    "elicitation/create": {"message": "sure?"},
    "notifications/elicitation/complete": {"elicitationId": "e"},
    "tasks/get": TASK,
    "tasks/cancel": TASK,
    "tasks/result": TASK,
    "tasks/update": {**TASK, "inputResponses": {}},
    "notifications/tasks": {**TASK, "status": "working"},
    "notifications/tasks/status": {**TASK, "status": "working"},
}
MAY: dict[str, dict[str, Any]] = {
    "notifications/cancelled": {"requestId": 7},
    "tools/call": {"arguments": {}, **RETRY},
    "prompts/get": {"arguments": {}, **RETRY},
    "resources/read": RETRY,
    **{m: {"cursor": "c"} for m in METHODS if m.endswith("/list") and m != "roots/list"},
}
# What the SDK asks for beyond that, so that it can say whether the parameters above are those of the protocol.
SDK_ALSO: dict[str, dict[str, Any]] = {
    "sampling/createMessage": {"maxTokens": 9},
    "notifications/message": {"data": 1},
    "elicitation/create": {"requestedSchema": {"type": "object", "properties": {}}},
}


def params_of(method: str) -> dict[str, Any]:
    return {**MUST.get(method, {}), **MAY.get(method, {}), "_meta": META}


def sender_of(method: str) -> str:
    sender = METHODS[method].sender
    return "client" if sender == "both" else sender


def checked(method: str, params: Any, bounds: Bounds = BOUNDS) -> None:
    check(method, METHODS[method].kind, sender_of(method), params, {}, bounds)


def refusal(method: str, kind: str, sender: str, params: Any, extra: Mapping[str, Method] | None = None) -> Refused:
    with pytest.raises(Refused) as caught:
        check(method, kind, sender, params, extra or {}, BOUNDS)
    assert caught.value.jsonrpc == MEDIATION
    assert caught.value.rule
    return caught.value


def params_refusal(method: str, params: Any) -> Refused:
    refused = refusal(method, METHODS[method].kind, sender_of(method), params)
    assert refused.code == "core.params"
    return refused


def outcome(function: Callable[..., Any], *args: Any) -> Any:
    try:
        return function(*args)
    except Refused as refused:
        return refused


def misfit(data: dict[str, Any]) -> Refused:
    with pytest.raises(Refused) as caught:
        classify(data, BOUNDS)
    assert caught.value.rule
    return caught.value


# The table


@pytest.mark.parametrize(("method", "revision", "sender", "kind"), SDK_ROWS)
def test_every_method_of_the_sdk_is_here(method: str, revision: str, sender: str, kind: str) -> None:
    """Whatever the SDK can send or read in a revision is in the table, with that revision, side and kind (A57)."""
    ours = METHODS[method]
    assert revision in ours.revisions
    assert ours.sender in (sender, "both")
    assert ours.kind == kind


def test_extras_are_these() -> None:
    """What is here and not in the SDK's tables is known one by one, and says where it is defined."""
    known = {(method, revision) for method, revision, _, _ in SDK_ROWS}
    extras = {(m.name, r) for m in METHODS.values() for r in m.revisions if (m.name, r) not in known}
    assert extras == {
        ("tasks/get", "2025-11-25"),
        ("tasks/result", "2025-11-25"),
        ("tasks/list", "2025-11-25"),
        ("tasks/cancel", "2025-11-25"),
        ("notifications/tasks/status", "2025-11-25"),
        ("tasks/get", "2026-07-28"),
        ("tasks/update", "2026-07-28"),
        ("tasks/cancel", "2026-07-28"),
        ("notifications/tasks", "2026-07-28"),
        ("sampling/createMessage", "2026-07-28"),
        ("elicitation/create", "2026-07-28"),
        ("roots/list", "2026-07-28"),
    }
    for name, _ in extras:
        assert "SEP-" in METHODS[name].source


def test_both_sides_are_named_only_where_both_may_send() -> None:
    """A method that one side alone sends in every revision is that side's; both own tasks in 2025-11-25."""
    sides = {method: {s for m, _, s, _ in SDK_ROWS if m == method} for method, _, _, _ in SDK_ROWS}
    both = {name for name, method in METHODS.items() if method.sender == "both"}
    tasks = {"tasks/get", "tasks/result", "tasks/list", "tasks/cancel", "notifications/tasks/status"}
    assert both == {method for method, found in sides.items() if len(found) > 1} | tasks


@pytest.mark.parametrize("method", METHODS.values(), ids=lambda m: m.name)
def test_rows_are_whole(method: Method) -> None:
    """Each row has a source and revisions that exist, and a notification is called one."""
    assert METHODS[method.name] is method
    assert method.source
    assert method.revisions
    assert set(method.revisions) <= set(REVISIONS)
    assert (method.kind == "notification") == method.name.startswith("notifications/")


def test_sets_are_the_sdks() -> None:
    """Revisions, cacheable results, and who may ask for input by which requests, are as the SDK has them."""
    assert REVISIONS == KNOWN_PROTOCOL_VERSIONS
    assert CACHEABLE_METHODS == sdk.CACHEABLE_METHODS
    assert INPUT_REQUIRED_METHODS == sdk.INPUT_REQUIRED_METHODS
    assert {method for method, _ in sdk.SERVER_REQUESTS} - {"ping"} == INPUT_REQUESTS


def test_table_cannot_be_changed() -> None:
    """No plugin can add a method or change what one is."""
    with pytest.raises(TypeError):
        METHODS["shell/run"] = METHODS["ping"]  # type: ignore[index]
    with pytest.raises(AttributeError):
        METHODS["ping"].sender = "server"  # type: ignore[misc]


# Kinds of message


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"id": 1, "method": "ping"}, ("request", "ping", 1)),
        ({"id": "a", "method": "tools/call", "params": {"name": "n"}}, ("request", "tools/call", "a")),
        ({"id": 2**53 + 1, "method": "ping", "trace": [1]}, ("request", "ping", 2**53 + 1)),
        ({"method": "notifications/initialized"}, ("notification", "notifications/initialized", None)),
        ({"method": "x", "params": None}, ("notification", "x", None)),
        ({"id": 0, "result": {}}, ("result", None, 0)),
        ({"id": "", "result": {}, "extra": 1}, ("result", None, "")),
        ({"id": -1, "error": {"code": -32601, "message": "no", "data": 1}}, ("error", None, -1)),
        ({"id": None, "error": {"code": -32700, "message": "parse"}}, ("error", None, None)),
        ({"error": {"code": -32700, "message": "parse"}}, ("error", None, None)),
    ],
)
def test_classify(members: dict[str, Any], expected: tuple[str, str | None, str | int | None]) -> None:
    """Each of the four kinds is told, the id keeps its type and value, and unknown members are carried (A54)."""
    assert classify({"jsonrpc": "2.0", **members}, BOUNDS) == expected


@pytest.mark.parametrize("id_", [None, True, False, 1.0, 1.5, [], {}, "x" * 17])
@pytest.mark.parametrize("rest", [{"method": "ping"}, {"result": {}}, {"error": {"code": 1, "message": "m"}}])
def test_ids_that_are_none(id_: Any, rest: dict[str, Any]) -> None:
    """An id is an integer or a short string, whatever carries it; none is echoed of one that is not (A54)."""
    if id_ is None and "error" in rest:
        assert classify({"jsonrpc": "2.0", "id": None, **rest}, BOUNDS) == ("error", None, None)
        return
    refused = misfit({"jsonrpc": "2.0", "id": id_, **rest})
    assert (refused.code, refused.jsonrpc) == ("core.id", INVALID_REQUEST)
    assert "id" not in refused.details


def test_result_without_id() -> None:
    """A result that answers nothing is refused."""
    assert misfit({"jsonrpc": "2.0", "result": {}}).code == "core.id"


@pytest.mark.parametrize(
    ("members", "kind"),
    [
        ({"jsonrpc": "1.0", "method": "ping"}, "request"),
        ({"jsonrpc": 2.0, "method": "ping"}, "request"),
        ({"jsonrpc": None, "method": "ping"}, "request"),
        ({"method": None}, "request"),
        ({"method": 5}, "request"),
        ({"method": ["ping"]}, "request"),
        ({}, "response"),
        ({"params": {}}, "response"),
        ({"result": None}, "response"),
        ({"result": []}, "response"),
        ({"result": "ok"}, "response"),
        ({"error": None}, "response"),
        ({"error": "no"}, "response"),
        ({"error": {}}, "response"),
        ({"error": {"code": 1}}, "response"),
        ({"error": {"message": "m"}}, "response"),
        ({"error": {"code": "1", "message": "m"}}, "response"),
        ({"error": {"code": 1.0, "message": "m"}}, "response"),
        ({"error": {"code": True, "message": "m"}}, "response"),
        ({"error": {"code": 1, "message": None}}, "response"),
        ({"result": {}, "error": {"code": 1, "message": "m"}}, "response"),
        ({"result": {}, "error": None}, "response"),
        ({"method": "ping", "result": {}}, "request"),
        ({"method": "ping", "error": {"code": 1, "message": "m"}}, "request"),
    ],
)
def test_envelopes_that_are_none(members: dict[str, Any], kind: str) -> None:
    """What is no JSON-RPC 2.0 message, or two at once, is refused, and whoever waits under its id can be told."""
    refused = misfit({"jsonrpc": "2.0", "id": 7, **members})
    assert (refused.code, refused.jsonrpc) == ("core.envelope", MEDIATION)
    assert refused.details == {"kind": kind, "id": 7}


def test_envelope_without_id() -> None:
    """Where no id is usable, the number is that of an invalid request."""
    refused = misfit({"jsonrpc": "2.0", "method": 5})
    assert (refused.code, refused.jsonrpc, refused.details) == ("core.envelope", INVALID_REQUEST, {"kind": "request"})


@pytest.mark.parametrize(
    "name", ["Method", "METHOD", "ID", "Id", "Params", "param\u017f", "RESULT", "re\u017fult", "Error"]
)
@pytest.mark.parametrize(
    "rest",
    [
        {"method": "ping"},
        {"method": "ping", "id": 1},
        {"id": 1, "result": {}},
        {"error": {"code": 1, "message": "m"}},
    ],
)
def test_look_alike_members(name: str, rest: dict[str, Any]) -> None:
    """A member that a case-insensitive parser would take for another is refused (A51)."""
    assert misfit({"jsonrpc": "2.0", **rest, name: {}}).rule == "no look-alike members"


@pytest.mark.parametrize("name", ["JSONRPC", "\u0131d", "\u0130D"])
def test_look_alike_members_of_other_alphabets(name: str) -> None:
    """So is one that only some languages fold, Turkish included (A51)."""
    assert misfit({"jsonrpc": "2.0", "method": "ping", name: 1}).rule == "no look-alike members"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
MEMBERS = st.sampled_from(["jsonrpc", "id", "method", "params", "result", "error", "Id", "METHOD", "code", "x"])
VALUES = JSON | st.sampled_from(["2.0", "ping", "tools/call", {"code": 1, "message": "m"}])
OBJECTS = st.dictionaries(MEMBERS | st.text(max_size=8), VALUES, max_size=7)


@given(OBJECTS, st.booleans())
def test_classify_is_total(data: dict[str, Any], versioned: bool) -> None:
    """Of any JSON object classify tells one kind, or refuses with a code, a rule and no id that cannot be one."""
    data = {**data, "jsonrpc": "2.0"} if versioned else data
    before = repr(data)
    got = outcome(classify, data, BOUNDS)
    if isinstance(got, Refused):
        assert got.code in {"core.envelope", "core.id"}
        assert got.rule
        assert got.jsonrpc == (MEDIATION if "id" in got.details else INVALID_REQUEST)
        assert type(got.details.get("id", 0)) in (int, str)
    else:
        kind, method, id_ = got
        assert data["jsonrpc"] == "2.0"
        assert [name for name in ("method", "result", "error") if name in data] == [
            {"request": "method", "notification": "method"}.get(kind, kind)
        ]
        assert method == data.get("method")
        assert type(id_) is type(data.get("id"))
        assert id_ == data.get("id")
        assert (id_ is None) <= (kind in {"notification", "error"})
        assert ("id" in data) <= (kind != "notification")
    assert repr(data) == before


# Methods and their parameters


@pytest.mark.parametrize("method", METHODS)
def test_right_messages_pass(method: str) -> None:
    """Each method passes from each side that may send it, with all that is known of it and with unknown fields."""
    row = METHODS[method]
    for sender in ("client", "server") if row.sender == "both" else (row.sender,):
        check(method, row.kind, sender, params_of(method), {}, BOUNDS)
        check(method, row.kind, sender, {**MUST.get(method, {}), "x-new": None}, {}, BOUNDS)


@pytest.mark.parametrize(("method", "revision", "sender", "kind"), SDK_ROWS)
def test_these_parameters_are_the_sdks(method: str, revision: str, sender: str, kind: str) -> None:
    """The SDK reads the parameters that pass here, so nothing that is checked here has another type there."""
    table = next(t for t, s, k in SDK_TABLES if (s, k) == (sender, kind))
    params = {**params_of(method), **SDK_ALSO.get(method, {})}
    if kind == "notification":
        params.pop("_meta")
    frame = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    if kind == "notification":
        frame.pop("id")
    assert table[(method, revision)].model_validate(frame, by_name=False) is not None


@pytest.mark.parametrize("method", METHODS)
def test_wrong_kind(method: str) -> None:
    """A request without an id, tools/call above all, and a notification with one are refused (A40)."""
    other = {"request": "notification", "notification": "request"}[METHODS[method].kind]
    assert refusal(method, other, sender_of(method), params_of(method)).code == "core.kind"


@pytest.mark.parametrize("method", [name for name, row in METHODS.items() if row.sender != "both"])
def test_wrong_direction(method: str) -> None:
    """What only the other side sends is refused: a server that calls tools, a client that says list_changed (A57)."""
    other = {"client": "server", "server": "client"}[METHODS[method].sender]
    assert refusal(method, METHODS[method].kind, other, params_of(method)).code == "core.direction"


@pytest.mark.parametrize("method", ["tools/Call", "", "tools/call ", "shell/run", "rpc.discover", "notifications/x"])
def test_unknown_method(method: str) -> None:
    """What no revision has is refused, look-alikes of a method included (A51)."""
    assert refusal(method, "request", "client", ABSENT).code == "core.method_unknown"


def test_declared_method() -> None:
    """A declared method passes in its own direction and kind, with any parameters but a malformed _meta."""
    mine = Method("ext/run", "client", "request", REVISIONS, "configuration")
    declared = {"ext/run": mine}
    check("ext/run", "request", "client", ABSENT, declared, BOUNDS)
    check("ext/run", "request", "client", {"name": 1, "_meta": {}}, declared, BOUNDS)
    wrong: list[tuple[str, str, Any]] = [
        ("notification", "client", ABSENT),
        ("request", "server", ABSENT),
        ("request", "client", None),
        ("request", "client", {"_meta": 1}),
    ]
    assert [refusal("ext/run", *one, declared).code for one in wrong] == [
        "core.kind",
        "core.direction",
        "core.params",
        "core.params",
    ]


def test_known_method_cannot_be_declared_anew() -> None:
    """The configuration cannot loosen a method of the protocol."""
    loose = {"tools/call": Method("tools/call", "both", "notification", REVISIONS, "configuration")}
    assert refusal("tools/call", "notification", "server", ABSENT, loose).code == "core.kind"


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("params", [None, [], "x", 1, True])
def test_params_are_an_object(method: str, params: Any) -> None:
    """Parameters by position, null and scalars are refused; absent is not null."""
    assert params_refusal(method, params).rule == "params is an object"
    if method not in MUST:
        checked(method, ABSENT)


@pytest.mark.parametrize(("method", "name"), [(method, name) for method, must in MUST.items() for name in must])
def test_required_parameters(method: str, name: str) -> None:
    """What a method cannot do without is there."""
    without = {key: value for key, value in params_of(method).items() if key != name}
    assert name in (params_refusal(method, without).rule or "")
    params_refusal(method, ABSENT)


@pytest.mark.parametrize(("method", "name"), [(method, name) for method in METHODS for name in params_of(method)])
@pytest.mark.parametrize("value", [None, True, b"x"])
def test_typed_parameters(method: str, name: str, value: Any) -> None:
    """No known parameter is null, and none that is known here is a boolean."""
    assert name in (params_refusal(method, {**params_of(method), name: value}).rule or "")


@pytest.mark.parametrize(
    ("method", "name", "value"),
    [
        ("tools/call", "name", ""),
        ("tools/call", "name", 1),
        ("tools/call", "name", ["read"]),
        ("tools/call", "arguments", []),
        ("tools/call", "arguments", "{}"),
        ("tools/call", "requestState", {}),
        ("tools/call", "inputResponses", []),
        ("prompts/get", "arguments", "a"),
        ("resources/read", "uri", {"uri": "file:///a"}),
        ("completion/complete", "ref", "p"),
        ("sampling/createMessage", "messages", {}),
        ("elicitation/create", "message", {}),
        ("tools/list", "cursor", 2),
        ("notifications/cancelled", "requestId", 1.0),
        ("notifications/cancelled", "requestId", "x" * 17),
        ("notifications/progress", "progressToken", 1.5),
        ("notifications/progress", "progressToken", "x" * 17),
        ("notifications/progress", "progress", "0.5"),
        ("tasks/get", "taskId", 1),
        ("tasks/get", "taskId", "x" * 17),
        ("tasks/update", "inputResponses", "x"),
        ("subscriptions/listen", "notifications", ["toolsListChanged"]),
        ("ping", "_meta", []),
        ("ping", "_meta", {"progressToken": True}),
        ("ping", "_meta", {"progressToken": 1.0}),
        ("ping", "_meta", {"progressToken": None}),
        ("ping", "_meta", {"progressToken": "x" * 17}),
        ("tools/call", "_meta", {REVISION_KEY: 20260728}),
        ("tools/call", "_meta", {REVISION_KEY: None}),
    ],
)
def test_malformed_parameters(method: str, name: str, value: Any) -> None:
    """A known parameter of another type, an empty tool name, and a token or task id over the bound are refused."""
    params_refusal(method, {**params_of(method), name: value})


@pytest.mark.parametrize(
    ("method", "name"),
    [
        ("tools/call", "Name"),
        ("tools/call", "NAME"),
        ("tools/call", "Arguments"),
        ("tools/call", "argument\u017f"),
        ("tools/call", "RequestState"),
        ("tools/call", "_Meta"),
        ("prompts/get", "Name"),
        ("prompts/get", "ARGUMENTS"),
        ("resources/read", "Uri"),
        ("resources/read", "URI"),
        ("resources/read", "ur\u0131"),
        ("tasks/get", "TaskId"),
        ("tasks/get", "taskid"),
    ],
)
def test_look_alike_parameters(method: str, name: str) -> None:
    """A parameter that a case-insensitive parser would take for a checked one is refused (A51)."""
    assert params_refusal(method, {**params_of(method), name: "x"}).rule == "no look-alike parameters"


def test_other_names_are_carried() -> None:
    """Only look-alikes of what is checked are refused; a tool's own arguments may be spelt as they like."""
    checked("tools/call", {"name": "n", "arguments": {"Name": 1, "name": 2, "URI": 3}, "uri": 1, "é" * 999: 0, "": 0})


@given(
    st.sampled_from([*METHODS, "x"]),
    st.sampled_from(["request", "notification"]),
    st.sampled_from(["client", "server"]),
    st.just(ABSENT)
    | JSON
    | st.dictionaries(
        st.sampled_from(["name", "Name", "arguments", "uri", "_meta", "cursor", "taskId", "progressToken", "level"])
        | st.text(max_size=8),
        JSON | st.dictionaries(st.sampled_from(["progressToken", REVISION_KEY]), JSON),
    ),
)
def test_check_is_total(method: str, kind: str, sender: str, params: Any) -> None:
    """Whatever the parameters are, check passes or refuses with a code and a rule."""
    before = repr(params)
    got = outcome(check, method, kind, sender, params, {}, BOUNDS)
    if isinstance(got, Refused):
        assert got.code in {"core.method_unknown", "core.kind", "core.direction", "core.params"}
        assert got.rule
        assert got.jsonrpc == MEDIATION
    else:
        assert METHODS[method].kind == kind
        assert METHODS[method].sender in (sender, "both")
        assert isinstance(params, dict) or (params is ABSENT and method not in MUST)
    assert repr(params) == before


def test_default_bounds() -> None:
    """Without bounds of its own, check takes those that the core begins with."""
    check("tasks/get", "request", "client", {"taskId": "x" * 256}, {})
    with pytest.raises(Refused):
        check("tasks/get", "request", "client", {"taskId": "x" * 257}, {})


def test_errors_keep_secrets_and_stay_short() -> None:
    """A refusal shows no value of a message, and of a name that a peer chose no more than a line."""
    secret = "hunter2-hunter2"
    shown = [
        params_refusal("tools/call", {"name": "n", "arguments": secret}),
        params_refusal("tools/call", {"name": "n", "_meta": {"progressToken": [secret]}}),
        params_refusal("tasks/get", {"taskId": secret * 9}),
        misfit({"jsonrpc": secret, "method": "ping"}),
        misfit({"jsonrpc": "2.0", "id": secret * 9, "method": "ping"}),
        misfit({"jsonrpc": "2.0", "id": 1, "error": secret}),
        refusal("m" * 10_000, "request", "client", ABSENT),
    ]
    for refused in shown:
        assert secret not in f"{refused} {refused.rule}"
        assert len(f"{refused} {refused.rule}") < 300


# Ids and revisions


@pytest.mark.parametrize("text", ["7", "+7", " 7", "7\n", "07", "0_7", "\u00a07", "\uff17", "\u0667", " +00_7\t"])
def test_ids_that_are_seven(text: str) -> None:
    """Whatever the SDK takes for 7 is 7: an answer under another spelling never meets another exchange (A54)."""
    assert correlation_key(text) == 7
    assert correlation_key(7) == 7


@pytest.mark.parametrize(
    "text", ["", " ", "7.0", "7e0", "0x7", "--7", "_7", "7__0", "VII", "7a", "\u2077", "\u2166", "\ud800"]
)
def test_ids_that_are_text(text: str) -> None:
    """Every other string is itself."""
    assert correlation_key(text) == text
    assert coerce_request_id(text) == text


SPELLINGS = st.text(st.sampled_from("0123456789+-_ \t\n\u0663\uff17aA\u2166\u00b2\u00a0\u2003"), max_size=12)


@given(st.integers() | st.text() | SPELLINGS | st.text(st.characters(categories=["Nd", "Zs", "Lu", "Ll", "Nl", "No"])))
@example("9" * 5000)
@example("0" * 5000 + "7")
@example(" " * 5000 + "7")
@example("7_" * 5000 + "7")
def test_correlation_is_the_sdks(value: str | int) -> None:
    """Ids are one for the guard exactly where they are one for the SDK, of any length (A54)."""
    assert correlation_key(value) == coerce_request_id(value)
    assert type(correlation_key(value)) is type(coerce_request_id(value))


def test_no_digit_has_case() -> None:
    """The short cut for strings with a cased letter skips no number: no character that int() reads has a case."""
    digits = [chr(c) for c in range(sys.maxunicode + 1) if unicodedata.category(chr(c)) == "Nd"]
    assert len(digits) > 600
    assert not [c for c in digits if c.islower() or c.isupper()]


@pytest.mark.parametrize(
    ("params", "revision"),
    [
        ({"_meta": {REVISION_KEY: "2026-07-28"}}, "2026-07-28"),
        ({"_meta": {REVISION_KEY: "1999-01-01"}}, "1999-01-01"),
        ({"_meta": {REVISION_KEY: 1}}, None),
        ({"_meta": {}}, None),
        ({"_meta": None}, None),
        ({REVISION_KEY: "2026-07-28"}, None),
        ({}, None),
        (ABSENT, None),
        (None, None),
        ([], None),
    ],
)
def test_revision_of(params: Any, revision: str | None) -> None:
    """A request says its revision in one place, by a string (A60)."""
    assert revision_of(params) == revision

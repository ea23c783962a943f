"""A session: every message meets the hooks, every answer its asker, and every refusal whoever waits."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from tests.core.harness import META, Rig, notification, request, rig, ring

from hauberk import Allow, Deny, Frame, Layer, Message, Refused
from hauberk.connection import Role
from hauberk.methods import METHODS

ROLES: tuple[Role, ...] = ("client", "server")
CONTENT = {"type": "text", "text": "x"}
PARAMS: dict[str, Any] = {
    "initialize": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}},
    "notifications/progress": {"progressToken": "p", "progress": 1},
    "notifications/cancelled": {"requestId": 9},
    "tools/call": {"name": "ls"},
    "prompts/get": {"name": "p"},
    "resources/read": {"uri": "file:///x"},
    "resources/subscribe": {"uri": "file:///x"},
    "resources/unsubscribe": {"uri": "file:///x"},
    "notifications/resources/updated": {"uri": "file:///x"},
    "completion/complete": {"ref": {}, "argument": {}},
    "logging/setLevel": {"level": "info"},
    "notifications/message": {"level": "info", "data": 1},
    "subscriptions/listen": {"notifications": {}},
    "notifications/subscriptions/acknowledged": {"notifications": {}},
    "sampling/createMessage": {"messages": [], "maxTokens": 1},
    "elicitation/create": {"message": "?", "requestedSchema": {}},
    "notifications/elicitation/complete": {"elicitationId": "e"},
    "tasks/get": {"taskId": "t"},
    "tasks/cancel": {"taskId": "t"},
    "tasks/result": {"taskId": "t"},
    "tasks/update": {"taskId": "t", "inputResponses": {}},
    "notifications/tasks/status": {"taskId": "t", "status": "working"},
    "notifications/tasks": {"taskId": "t", "status": "working"},
}
SIDES = [(name, side) for name, m in METHODS.items() for side in ("client", "server") if m.sender in (side, "both")]
WRONG = [(name, side) for name, m in METHODS.items() for side in ("client", "server") if m.sender not in (side, "both")]


def made(method: str, *, id: Any = 1, kind: str | None = None) -> dict[str, Any]:
    """Return a valid message of a method, or one of the wrong kind."""
    params = PARAMS.get(method)
    if (kind or METHODS[method].kind) == "notification":
        return notification(method, params)
    return request(method, params, id=id)


def watchers(seen: list[tuple[str, str, str]]) -> list[Any]:
    """Return a plugin in each layer that notes the kind and method of each message or frame that it meets."""

    def note(layer: Layer) -> Any:
        def hook(item: Any, _connection: Any) -> None:
            if type(item) is Frame:
                data = orjson.loads(item.data)
                seen.append((layer.name, "frame", data.get("method", "answer")))
            else:
                seen.append((layer.name, item.kind, item.method))

        return hook

    return [
        ring(layer.name.lower(), layer, on_send=note(layer), on_receive=note(layer)) for layer in Layer if layer != 4
    ]


def way(r: Rig, side: str) -> Any:
    return r.from_client if side == "client" else r.from_server


def other(r: Rig, side: str) -> Any:
    return r.server if side == "client" else r.client


# --- complete mediation ---


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(("method", "side"), SIDES)
async def test_every_method_meets_every_layer(method: str, side: str, role: Role) -> None:
    """Each method of each revision meets the hooks of every layer once, in both roles, and then its peer (S3.39)."""
    seen: list[tuple[str, str, str]] = []
    async with rig(*watchers(seen), role=role) as r:
        if method == "notifications/progress":
            asked = request("ping", {"_meta": {"progressToken": "p"}}, id=9)
            await r.send(way(r, side).opposite, asked)
        if method == "notifications/cancelled":
            await r.send(way(r, side), request("ping", id=9))
        del seen[:]
        data = made(method)
        await r.send(way(r, side), data)
        kind = METHODS[method].kind
        expected = [(name, "frame", method) for name in ("WIRE", "GATE", "SEAL")]
        expected += [(name, kind, method) for name in ("ADMIT", "POLICY", "CONTENT")]
        outward = (role == "client") == (side == "client")
        assert seen == (expected[::-1] if outward else expected)
        assert other(r, side).got[-1] == data


@pytest.mark.parametrize("answer", [{"result": {"x": 1}}, {"error": {"code": -1, "message": "m"}}])
@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(("method", "side"), [(m, s) for m, s in SIDES if METHODS[m].kind == "request"])
async def test_every_answer_meets_every_layer(method: str, side: str, role: Role, answer: dict[str, Any]) -> None:
    """Results and errors of each method meet the hooks of every layer, as answers to that method."""
    seen: list[tuple[str, str, str]] = []
    async with rig(*watchers(seen), role=role) as r:
        await r.send(way(r, side), made(method, id="i"))
        del seen[:]
        await r.send(way(r, side).opposite, {"jsonrpc": "2.0", "id": "i"} | answer)
        kind = next(iter(answer))
        assert sorted(seen) == sorted(
            [(name, "frame", "answer") for name in ("WIRE", "GATE", "SEAL")]
            + [(name, kind, method) for name in ("ADMIT", "POLICY", "CONTENT")]
        )
        assert other(r, "server" if side == "client" else "client").got[-1] == {"jsonrpc": "2.0", "id": "i"} | answer


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(("method", "side"), WRONG)
async def test_a_wrong_direction_is_refused_before_any_hook(method: str, side: str, role: Role) -> None:
    """What only one side may send is refused from the other: requests answered, notifications dropped (A57)."""
    await refused(made(method), side, role, "core.direction")


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(("method", "side"), SIDES)
async def test_a_wrong_kind_is_refused_before_any_hook(method: str, side: str, role: Role) -> None:
    """A request sent as a notification, and the reverse, is refused: a call without an id reaches nobody (A40)."""
    kind = "request" if METHODS[method].kind == "notification" else "notification"
    await refused(made(method, kind=kind), side, role, "core.kind")


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("side", ["client", "server"])
@pytest.mark.parametrize("kind", ["request", "notification"])
@pytest.mark.parametrize("method", ["no/such", "", "tools/Call", "tools/call ", "rpc.discover", "notifications/"])
async def test_an_unknown_method_is_refused_before_any_hook(method: str, kind: str, side: str, role: Role) -> None:
    """A method of no revision is refused whoever sends it (S3.39)."""
    data = request(method, {}) if kind == "request" else notification(method, {})
    await refused(data, side, role, "core.method_unknown")


MALFORMED = [
    {"params": []},
    {"params": None},
    {"params": "x"},
    {"params": {}},
    {"params": {"name": ""}},
    {"params": {"name": 5}},
    {"params": {"name": "ls", "arguments": []}},
    {"params": {"name": "ls", "arguments": None}},
    {"params": {"name": "ls", "Name": "rm"}},
    {"params": {"name": "ls", "argument\u017f": {}}},
    {"params": {"name": "ls", "_meta": []}},
    {"params": {"name": "ls", "_meta": {"progressToken": None}}},
    {"params": {"name": "ls", "_meta": {"progressToken": 1.5}}},
    {"params": {"name": "ls", "_meta": {"progressToken": True}}},
]


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("more", MALFORMED)
async def test_malformed_params_are_refused_before_any_hook(more: Any, role: Role) -> None:
    """Malformed parameters of a known method are refused, and the asker is told (S3.39, A51)."""
    await refused({"jsonrpc": "2.0", "id": 1, "method": "tools/call"} | more, "client", role, "core.params")


async def refused(data: dict[str, Any], side: str, role: Role, code: str) -> None:
    """Assert that a message is refused before any message hook: a request answered once, a notification dropped."""
    seen: list[tuple[str, str, str]] = []
    async with rig(*watchers(seen), role=role) as r:
        await r.send(way(r, side), data)
        assert [entry for entry in seen if entry[1] != "frame"] == []
        assert other(r, side).got == []
        [event] = [event for event in r.recorder.events if event.category == "refusal"]
        assert (event.code, event.action) == (code, "blocked")
        replies = way(r, side).source.got
        if "id" not in data:
            assert replies == []
            return
        trusted = (role == "client") == (side == "client")
        assert [(reply["id"], reply["error"]["code"]) for reply in replies] == [(1, -32006)]
        assert replies[0]["error"]["data"]["code"] == (code if trusted else "core.refused")


# --- the edge, and who is told ---

CALL = b'{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{"name":"ls","arguments":{}}}'
REFUSED_LINES = [
    (b'{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{"name":"ls","name":"rm"}}', 5, -32006, "duplicate_key"),
    (b'{"jsonrpc":"2.0","id":5,"method":"ping","id":6}', None, -32600, "duplicate_key"),
    (b'{"jsonrpc":"2.0","id":5,"method":"ping","params":{"a":18446744073709551616}}', 5, -32006, "number"),
    (b'{"jsonrpc":"2.0","id":5,"method":"ping","params":{"a":1e999}}', 5, -32006, "number"),
    (b'{"jsonrpc":"2.0","id":5,"method":"ping","params":{"a":NaN}}', 5, -32700, "not_json"),
    (b'{"jsonrpc":"2.0","id":5,"method":"ping","params":{"a":"\\ud800"}}', 5, -32700, "not_json"),
    (b'{"jsonrpc":"2.0","id":5,"method":"ping"}{}', None, -32700, "not_json"),
    (b'\xef\xbb\xbf{"jsonrpc":"2.0","id":5,"method":"ping"}', 5, -32700, "not_json"),
    (b'{"jsonrpc":"2.0","id":5,"method":"ping","params":{"a":"\xff"}}', 5, -32700, "not_json"),
    (b'{"jsonrpc":"2.0","id":5,"method":"ping","params":{"a":' + b"[" * 200 + b"]" * 200 + b"}}", 5, -32006, "depth"),
    (b"hello there", None, -32700, "not_json"),
    (b"5", None, -32600, "not_an_object"),
    (b"[]", None, -32600, "batch"),
    (b"[" + CALL + b"]", None, -32600, "batch"),
    (b'{"jsonrpc":"1.0","id":5,"method":"ping"}', 5, -32006, "envelope"),
    (b'{"id":5,"method":"ping"}', 5, -32006, "envelope"),
    (b'{"jsonrpc":"2.0","id":5,"method":7}', 5, -32006, "envelope"),
    (b'{"jsonrpc":"2.0","id":5,"method":"ping","result":{}}', 5, -32006, "envelope"),
    (b'{"jsonrpc":"2.0","id":5,"method":"ping","Method":"tools/call"}', 5, -32006, "envelope"),
    (b'{"jsonrpc":"2.0","id":null,"method":"ping"}', None, -32600, "id"),
    (b'{"jsonrpc":"2.0","id":true,"method":"ping"}', None, -32600, "id"),
    (b'{"jsonrpc":"2.0","id":1.0,"method":"ping"}', None, -32600, "id"),
    (b'{"jsonrpc":"2.0","id":[5],"method":"ping"}', None, -32600, "id"),
    (b'{"jsonrpc":"2.0","id":"' + b"x" * 257 + b'","method":"ping"}', None, -32600, "id"),
]


@pytest.mark.parametrize(("line", "id", "number", "code"), REFUSED_LINES)
async def test_a_line_that_is_refused_at_the_edge_is_answered(line: bytes, id: Any, number: int, code: str) -> None:
    """A client's line that breaks a rule gets one error, with its id or null (A51, A52, A53, A55)."""
    async with rig() as r:
        await r.send(r.from_client, line)
        assert r.reached == []
        assert [(reply["id"], reply["error"]["code"]) for reply in r.replies] == [(id, number)]
        assert r.codes == [f"core.{code}"]
        [event] = r.recorder.of(f"core.{code}")
        assert (event.action, event.category) == ("blocked", "refusal")


@pytest.mark.parametrize("line", [line for line, id, _, _ in REFUSED_LINES if id is None])
async def test_noise_from_a_server_is_dropped(line: bytes) -> None:
    """A log line or other noise on a server's output is dropped with an event, and nobody is answered (A56)."""
    async with rig() as r:
        await r.send(r.from_server, line)
        assert (r.reached, r.replies) == ([], [])
        assert r.recorder.codes[-1].startswith("core.")
        await r.call()
        await r.answer()
        assert "result" in r.replies[0]  # the stream is still in step


@pytest.mark.parametrize("line", [line for line, id, _, _ in REFUSED_LINES if id is not None])
async def test_a_malformed_request_of_a_server_is_answered(line: bytes) -> None:
    """A server that waits for an answer gets one, even to a malformed request."""
    async with rig() as r:
        await r.send(r.from_server, line)
        assert r.replies == []
        assert [(reply["id"], reply["error"]["data"]["code"]) for reply in r.reached] == [(5, "core.refused")]


BROKEN_ANSWERS = [
    b'{"jsonrpc":"2.0","id":1,"result":{"a":1,"a":2}}',
    b'{"jsonrpc":"2.0","id":"1","result":{"a":NaN}}',
    b'{"jsonrpc":"2.0","id":1,"result":{"a":99999999999999999999}}',
    b'{"jsonrpc":"2.0","id":1,"result":' + b"[" * 200 + b"]" * 200 + b"}",
    b'{"jsonrpc":"2.0","id":1,"result":[]}',
    b'{"jsonrpc":"2.0","id":1,"result":null}',
    b'{"jsonrpc":"2.0","id":1,"result":{},"error":{"code":1,"message":"m"}}',
    b'{"jsonrpc":"2.0","id":1,"error":{}}',
    b'{"jsonrpc":"2.0","id":1,"error":{"code":"x","message":"m"}}',
    b'{"jsonrpc":"2.0","id":1,"error":"no"}',
    b'{"jsonrpc":"2.0","id":1}',
    b'{"id":1,"result":{}}',
    b'{"jsonrpc":"2.0","id":1,"result":{},"Result":{}}',
]


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("line", BROKEN_ANSWERS)
async def test_a_malformed_answer_becomes_an_error_for_its_asker(line: bytes, role: Role) -> None:
    """Nobody hangs: the asker of a malformed answer gets an error, and a second answer is dropped."""
    async with rig(role=role) as r:
        await r.call()
        await r.send(r.from_server, line)
        await r.answer()
        assert [(reply["id"], type(reply["id"]), reply["error"]["code"] < 0) for reply in r.replies] == [(1, int, True)]
        assert len(r.reached) == 1
        assert not r.from_client.exchanges.flight
        assert r.recorder.codes[-1] == "core.unmatched"


async def test_a_malformed_answer_of_a_client_becomes_an_error_for_the_server() -> None:
    """The other way round too: a server that asked is told of the client's malformed answer."""
    async with rig() as r:
        await r.send(r.from_server, request("sampling/createMessage", PARAMS["sampling/createMessage"], id=3))
        await r.send(r.from_client, b'{"jsonrpc":"2.0","id":3,"result":{"a":1,"a":1}}')
        assert [(reply["id"], reply["error"]["data"]["code"]) for reply in r.reached] == [(3, "core.refused")]


@pytest.mark.parametrize("data", [{"result": {"a": float("nan")}}, {"result": {"a": (1, 2)}}, {"result": {"a": 2**65}}])
async def test_a_malformed_object_is_answered_too(data: dict[str, Any]) -> None:
    """What another parser let through and JSON does not carry becomes an error for the asker."""
    async with rig(bytes_only=False) as r:
        await r.call()
        await r.send(r.from_server, {"jsonrpc": "2.0", "id": "1"} | data)
        assert [(reply["id"], reply["error"]["data"]["code"]) for reply in r.replies] == [(1, "core.not_json")]


async def test_a_malformed_object_from_the_host_is_answered() -> None:
    """A request that JSON does not carry is refused under its own id."""
    async with rig(bytes_only=False) as r:
        await r.call("ls", {"a": float("inf")}, id="x")
        assert (r.reached, [(reply["id"], reply["error"]["data"]["code"]) for reply in r.replies]) == (
            [],
            [("x", "core.not_json")],
        )


# --- overlong lines ---


async def test_an_overlong_request_is_answered() -> None:
    """A request too long to hold is refused under the id that was found in it, else with null (A53)."""
    async with rig(toml="[core.bounds]\nline_bytes = 2048") as r:
        r.session.overlong(r.from_client, 4096, 9)
        r.session.overlong(r.from_client, 4096, None)
        await r.settle()
        assert [(reply["id"], reply["error"]["code"]) for reply in r.replies] == [(9, -32006), (None, -32600)]
        assert r.codes == ["core.line_too_long"] * 2


async def test_an_overlong_answer_becomes_an_error_for_its_asker() -> None:
    """An answer too long to hold ends the request that it names, under the asker's own id."""
    async with rig() as r:
        await r.call(id="7")
        r.session.overlong(r.from_server, 1 << 30, 7)
        await r.settle()
        assert [(reply["id"], reply["error"]["data"]["code"]) for reply in r.replies] == [("7", "core.line_too_long")]
        assert not r.from_client.exchanges.flight


async def test_an_overlong_answer_of_a_client_becomes_an_error_for_the_server() -> None:
    """A server that asked is told that the client's answer was too long."""
    async with rig() as r:
        await r.send(r.from_server, request("roots/list", id=3))
        r.session.overlong(r.from_client, 1 << 30, 3)
        await r.settle()
        assert [(reply["id"], reply["error"]["data"]["code"]) for reply in r.reached] == [(3, "core.refused")]
        assert r.replies == [request("roots/list", id=3)]


async def test_an_overlong_request_of_a_server_is_answered() -> None:
    """A server's request too long to hold is answered; overlong noise is not."""
    async with rig() as r:
        r.session.overlong(r.from_server, 1 << 30, 3)
        r.session.overlong(r.from_server, 1 << 30, None)
        await r.settle()
        assert [reply["id"] for reply in r.reached] == [3]
        assert r.recorder.codes.count("core.line_too_long") == 2


# --- correlation ---

ALIKE = (7, "7", "+7", "07", " 7", "0_7")


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("asked", ALIKE)
@pytest.mark.parametrize("answered", ALIKE)
async def test_an_asker_gets_its_own_id_back(asked: Any, answered: Any, role: Role) -> None:
    """Whatever spelling of the id the answer has, the asker gets its own, with its own type (A54)."""
    async with rig(role=role) as r:
        await r.call(id=asked)
        await r.answer({"content": [CONTENT]}, id=answered)
        [reply] = r.replies
        assert (reply["id"], type(reply["id"])) == (asked, type(asked))
        assert list(reply) == ["jsonrpc", "id", "result"]


@pytest.mark.parametrize("id", [2**53 + 1, 2**63, -(2**63), 2**64 - 1, 0, -1, "", "é", "x" * 256])
async def test_an_id_is_carried_exactly(id: Any) -> None:
    """Ids beyond the integers of a double, and odd strings, come back as they were (A54)."""
    async with rig() as r:
        await r.call(id=id)
        assert r.reached[0]["id"] == id
        await r.answer(id=id)
        assert (r.replies[0]["id"], type(r.replies[0]["id"])) == (id, type(id))


@pytest.mark.parametrize("again", ALIKE)
async def test_an_id_in_flight_is_not_reused(again: Any) -> None:
    """A second request under an id in flight gets an error with id null; the first is still answered (A54)."""
    async with rig() as r:
        await r.call(id=7)
        await r.call("other", id=again)
        assert [(reply["id"], reply["error"]["code"]) for reply in r.replies] == [(None, -32600)]
        assert r.codes == ["core.id_in_flight"]
        assert len(r.reached) == 1
        await r.answer(id=7)
        assert r.replies[1] == {"jsonrpc": "2.0", "id": 7, "result": {"content": []}}


@pytest.mark.parametrize(
    "line",
    [
        b'{"jsonrpc":"2.0","id":7,"method":"no/such"}',
        b'{"jsonrpc":"2.0","id":"7","method":"tools/call","params":{"name":""}}',
        b'{"jsonrpc":"2.0","id":7,"method":"tools/list","params":{"a":1,"a":2}}',
        b'{"jsonrpc":"2.0","id":7,"method":"ping","result":{}}',
        b'{"jsonrpc":"2.0","id":7,"method":"roots/list"}',
        b'{"jsonrpc":"2.0","id":7,"method":"notifications/initialized"}',
    ],
)
async def test_no_refusal_answers_another_request(line: bytes) -> None:
    """A malformed request under an id in flight is never refused under that id: the first is still answered (A54)."""
    async with rig() as r:
        await r.call(id=7)
        await r.send(r.from_client, line)
        r.session.overlong(r.from_client, 1 << 30, 7)
        assert [(reply["id"], reply["error"]["code"]) for reply in r.replies] == [(None, -32600)] * 2
        await r.answer(id=7)
        assert "result" in r.replies[2]


async def test_both_sides_may_use_one_id() -> None:
    """A server's request and a client's request of the same id are two (A54)."""
    async with rig() as r:
        await r.call(id=1)
        await r.send(r.from_server, request("roots/list", id=1))
        await r.send(r.from_client, {"jsonrpc": "2.0", "id": 1, "result": {"roots": []}})
        await r.answer({"content": [CONTENT]}, id=1)
        assert r.reached[1] == {"jsonrpc": "2.0", "id": 1, "result": {"roots": []}}
        assert r.replies[1] == {"jsonrpc": "2.0", "id": 1, "result": {"content": [CONTENT]}}


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(
    "answer",
    [{"id": id, "result": {}} for id in (1, 2, "x")]
    + [{"id": id, "error": {"code": 1, "message": "m"}} for id in (1, 2, "x", None)],
)
async def test_an_answer_that_nobody_asked_for_is_dropped(answer: dict[str, Any], role: Role) -> None:
    """A second answer, one to an unknown id, and one to no id reach nobody, and are recorded (A57)."""
    async with rig(role=role) as r:
        await r.call()
        await r.answer()
        await r.send(r.from_server, {"jsonrpc": "2.0"} | answer)
        await r.send(r.from_client, {"jsonrpc": "2.0"} | answer)
        assert (len(r.replies), len(r.reached)) == (1, 1)
        assert r.recorder.codes.count("core.unmatched") == 2


async def test_what_the_asker_sends_answers_nothing_of_its_own() -> None:
    """An answer from the side that asked does not end its own request (A57)."""
    async with rig() as r:
        await r.call(id=1)
        await r.send(r.from_client, {"jsonrpc": "2.0", "id": 1, "result": {}})
        assert (len(r.reached), r.replies) == (1, [])
        await r.answer(id=1)
        assert len(r.replies) == 1


async def test_a_full_table_refuses_new_requests() -> None:
    """When too many requests are in flight a new one is refused as busy; an answer makes room (X.6)."""
    async with rig(toml="[core.bounds]\nexchanges = 2") as r:
        for id in (1, 2, 3):
            await r.call(id=id)
        assert r.codes == ["core.busy"]
        assert r.error()["data"]["httpStatus"] == 429
        assert r.error()["data"]["retryAfter"] > 0
        assert r.replies[0]["id"] == 3
        await r.answer(id=1)
        await r.call(id=3)
        assert len(r.reached) == 3


# --- progress ---


async def test_progress_passes_only_for_requests_in_flight() -> None:
    """Progress passes while its request is in flight, and is dropped for a foreign token and afterwards (A58)."""
    async with rig() as r:
        await r.call(_meta={"progressToken": "p"})
        for token in ("p", "q", 5):
            step = notification("notifications/progress", {"progressToken": token, "progress": 1})
            await r.send(r.from_server, step)
        assert [reply["params"]["progressToken"] for reply in r.replies] == ["p"]
        await r.answer()
        await r.send(r.from_server, notification("notifications/progress", {"progressToken": "p", "progress": 2}))
        assert len(r.replies) == 2
        assert r.recorder.codes.count("core.progress_unknown") == 3


async def test_a_token_of_the_other_side_is_foreign() -> None:
    """The one who gave a token out gets no progress to pass for it (A58)."""
    async with rig() as r:
        await r.call(_meta={"progressToken": "p"})
        await r.send(r.from_client, notification("notifications/progress", {"progressToken": "p", "progress": 1}))
        assert len(r.reached) == 1


async def test_one_token_may_serve_two_requests() -> None:
    """A token that two requests in flight share is good until both have ended (A58)."""
    async with rig() as r:
        await r.call(id=1, _meta={"progressToken": 0})
        await r.call(id=2, _meta={"progressToken": "0"})
        await r.answer(id=1)
        await r.send(r.from_server, notification("notifications/progress", {"progressToken": 0, "progress": 1}))
        assert r.replies[-1]["method"] == "notifications/progress"
        await r.answer(id=2)
        await r.send(r.from_server, notification("notifications/progress", {"progressToken": 0, "progress": 1}))
        assert "result" in r.replies[-1]


# --- who is told what ---


@pytest.mark.parametrize("public", [False, True])
async def test_the_host_is_told_why(public: bool) -> None:
    """The host that the guard works for gets code, reason, plugin, rule and hint."""
    deny = Deny("no.way", "that is not done", "rule 3", "ask nicely", public=public)
    async with rig(ring("no", on_tool_call=deny)) as r:
        await r.call()
        assert r.error() == {
            "code": -32003,
            "message": "no.way: that is not done",
            "data": {"code": "no.way", "plugin": "no", "rule": "rule 3", "hint": "ask nicely"},
        }


async def test_a_far_peer_is_told_nothing() -> None:
    """A remote peer learns that it was refused, and neither why nor by what."""
    async with rig(ring("no", on_tool_call=Deny("no.way", "secret", "rule 3", "hint")), role="server") as r:
        await r.call()
        assert r.error() == {"code": -32003, "message": "refused", "data": {"code": "core.refused"}}


async def test_a_far_peer_is_told_of_load() -> None:
    """A remote peer learns the codes of load and admission, with when to come back, and nothing else."""
    deny = Deny("limit.exceeded", "secret", "rule 3", "hint", retry_after=2.5, public=True)
    async with rig(ring("limit", Layer.ADMIT, on_tool_call=deny), role="server") as r:
        await r.call()
        data = {"code": "limit.exceeded", "retryAfter": 2.5, "httpStatus": 429}
        assert r.error() == {"code": -32005, "message": "refused", "data": data}


async def test_a_server_is_told_nothing_of_its_refused_request() -> None:
    """In front of a client the remote peer is the server: it does not learn which check fired."""

    def refuse(message: Message, _connection: Any) -> None:
        if message.method == "sampling/createMessage":
            raise Refused("no.sampling", "secret", rule="r", hint="h")

    async with rig(ring("no", on_receive=refuse)) as r:
        await r.send(r.from_server, request("sampling/createMessage", PARAMS["sampling/createMessage"], id="s"))
        error = {"code": -32003, "message": "refused", "data": {"code": "core.refused"}}
        assert r.reached == [{"jsonrpc": "2.0", "id": "s", "error": error}]
        assert r.replies == []


async def test_a_refusal_can_be_a_result() -> None:
    """With ``refuse_as = "result"`` a model can read why a call was refused, with the revision's own marks."""
    deny = Deny("no.way", "not done", hint="ask nicely")
    async with rig(ring("no", on_tool_call=deny), toml='core.refuse_as = "result"') as r:
        await r.call()
        await r.call(id=2, _meta=META)
        text = {"type": "text", "text": "no.way: not done\nhint: ask nicely"}
        assert [reply["result"] for reply in r.replies] == [
            {"content": [text], "isError": True},
            {"content": [text], "isError": True, "resultType": "complete"},
        ]


async def test_only_calls_are_refused_as_a_result() -> None:
    """With ``refuse_as = "result"`` other requests, and calls that were never understood, still get an error."""

    def refuse(message: Message, _connection: Any) -> None:
        if message.method == "prompts/get":
            raise Refused("no.prompts", "no")

    async with rig(ring("no", on_send=refuse), toml='core.refuse_as = "result"') as r:
        await r.send(r.from_client, request("prompts/get", {"name": "p"}))
        await r.send(r.from_client, request("tools/call", {"name": ""}))
        assert r.codes == ["no.prompts", "core.params"]


async def test_a_refused_answer_can_be_a_result() -> None:
    """With ``refuse_as = "result"`` the answer to a call that may not pass becomes a result, too."""

    def refuse(message: Message, _connection: Any) -> None:
        if message.kind == "result":
            raise Refused("no.answers", "no")

    async with rig(ring("no", on_receive=refuse), toml='core.refuse_as = "result"') as r:
        await r.call()
        await r.answer()
        assert r.replies[0]["result"]["isError"] is True


async def test_a_refused_answer_is_replaced_once() -> None:
    """The asker of a refused answer gets an error under its own id; its exchange ends as refused."""
    outcomes: list[str] = []

    def hook(message: Message, _connection: Any) -> None:
        if message.kind == "request":
            message.exchange.defer(outcomes.append)  # type: ignore[union-attr]
        if message.kind == "result":
            raise Refused("no.answers", "no")

    async with rig(ring("no", on_send=hook, on_receive=hook)) as r:
        await r.call(id="07")
        await r.answer(id=7)
        await r.answer(id=7)
        assert [(reply["id"], reply["error"]["data"]["code"]) for reply in r.replies] == [("07", "no.answers")]
        assert outcomes == ["refused"]


async def test_a_refused_answer_goes_to_its_asker_with_the_asker_s_ticket() -> None:
    """What a carrier gave with a request comes back with the error that answers it."""

    def refuse(message: Message, _connection: Any) -> None:
        raise Refused("no.answers", "no")

    async with rig(ring("no", on_receive=refuse), bytes_only=False) as r:
        await r.send(r.from_client, made("ping"), ticket="request")
        await r.send(r.from_server, {"jsonrpc": "2.0", "id": 1, "result": {}}, ticket="answer")
        assert (r.codes, r.client.tickets) == (["no.answers"], ["request"])


# --- the handshake ---


async def test_initialize_is_refused_after_a_refused_discover() -> None:
    """A client that was refused ``server/discover`` cannot fall back to the older handshake."""

    def refuse(message: Message, _connection: Any) -> None:
        if message.method == "server/discover":
            raise Refused("no.discover", "no")

    for hooks in ({"on_send": refuse}, {"on_receive": refuse}):
        async with rig(ring("no", **hooks)) as r:
            await r.send(r.from_client, request("server/discover", {"_meta": META}))
            await r.answer({"supportedVersions": []})
            await r.send(r.from_client, made("initialize", id=2))
            assert r.codes == ["no.discover", "core.discover_refused"]
            await r.call(id=3)
            assert r.reached[-1]["id"] == 3


async def test_a_server_cannot_forbid_the_handshake() -> None:
    """What a server is refused does not keep the client from its handshake."""
    async with rig() as r:
        await r.send(r.from_server, request("server/discover", {}))
        await r.send(r.from_client, made("initialize", id=2))
        assert r.reached[-1]["method"] == "initialize"


async def test_an_old_server_that_does_not_know_discover_is_no_refusal() -> None:
    """A server's own error to ``server/discover`` is a reason to fall back."""
    async with rig() as r:
        await r.send(r.from_client, request("server/discover", {"_meta": META}))
        await r.send(r.from_server, {"jsonrpc": "2.0", "id": 1, "error": {"code": -32601, "message": "?"}})
        await r.send(r.from_client, made("initialize", id=2))
        assert r.reached[-1]["method"] == "initialize"


@pytest.mark.parametrize(("version", "known"), [("2025-06-18", "2025-06-18"), (5, None)])
async def test_the_revision_is_learnt(version: Any, known: str | None) -> None:
    """The connection knows the revision that the server chose, once the answer has passed."""
    async with rig() as r:
        await r.send(r.from_client, made("initialize"))
        assert r.connection.revision is None
        await r.answer({"protocolVersion": version, "capabilities": {}, "serverInfo": {}})
        assert r.connection.revision == known


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("method", ["tools/list", "resources/list", "prompts/list", "resources/templates/list"])
async def test_no_list_is_cached(method: str, role: Role) -> None:
    """Lists leave the guard stale and private, whatever the server says (A49)."""
    for given in ({"ttlMs": 2**53, "cacheScope": "public"}, {"ttlMs": 1}, {"cacheScope": "public"}, {"ttlMs": None}):
        async with rig(role=role) as r:
            await r.send(r.from_client, request(method, {"_meta": META}))
            await r.answer({"tools": [], **given, "x": 1})
            kept = {"ttlMs": 0, "cacheScope": "private"}
            assert r.replies[0]["result"] == {"tools": [], **{key: kept[key] for key in given}, "x": 1}
            assert list(r.replies[0]["result"]) == ["tools", *given, "x"]


async def test_a_tool_result_may_say_what_it_likes() -> None:
    """Only what the protocol lets clients cache is clamped."""
    async with rig() as r:
        await r.call()
        await r.answer({"content": [], "ttlMs": 5})
        assert r.replies[0]["result"]["ttlMs"] == 5


async def test_headers_are_part_of_a_message() -> None:
    """What a carrier gives as headers stands on the message that came with them."""
    seen: list[Any] = []
    async with rig(ring("watch", on_receive=lambda message, _c: seen.append(dict(message.headers)))) as r:
        r.session.receive_object(r.session.inn, notification("notifications/tools/list_changed"), headers={"A": "b"})
        r.session.receive_object(r.session.inn, notification("notifications/tools/list_changed"))
        assert seen == [{"A": "b"}, {}]


# --- events ---


@pytest.mark.parametrize(
    ("answer", "error", "failed"),
    [
        ({"result": {"content": []}}, 0, False),
        ({"result": {"content": [], "isError": True}}, 0, True),
        ({"error": {"code": -32603, "message": "no"}}, -32603, False),
    ],
)
async def test_exchange_tells_how_it_was_answered(answer: dict[str, Any], error: int, failed: bool) -> None:
    """Who looks when an exchange ends finds the number of the error, or that a call failed, as the server said it."""
    ended: list[Any] = []

    def watch(call: Any, _: Any) -> None:
        exchange = call.exchange
        exchange.defer(lambda outcome: ended.append((outcome, exchange.error, exchange.failed)))

    async with rig(ring(on_tool_call=watch)) as opened:
        await opened.call("ls", id=1)
        await opened.send(opened.from_server, {"jsonrpc": "2.0", "id": 1, **answer})
    assert ended == [("error" if error else "answered", error, failed)]


async def test_each_decision_and_outcome_is_recorded() -> None:
    """One event for the decision and one for the outcome of a call, of the same exchange."""
    async with rig(ring("yes", on_tool_call=Allow("rule 1"))) as r:
        await r.call("ls", {"path": "/"})
        await r.answer({"content": [], "isError": True})
        allowed, answered = r.recorder.events[-2:]
        assert (allowed.code, allowed.category, allowed.rule, allowed.plugin) == (
            "core.allowed",
            "decision",
            "rule 1",
            "yes",
        )
        assert (answered.code, answered.category, answered.details["isError"]) == ("core.answered", "outcome", True)
        assert allowed.exchange == answered.exchange == f"{r.connection.id}.1"
        assert allowed.digest == answered.digest
        assert {event.server for event in (allowed, answered)} == {"files"}
        assert (allowed.principal, allowed.source) == ("host:default", "local")


async def test_requests_of_both_sides_have_names_of_their_own() -> None:
    """No two requests of one session have one name in the record, whichever side sent them."""

    def refuse(message: Message, _connection: Any) -> None:
        raise Refused("no.way", message.method)

    async with rig(ring("no", on_send=refuse, on_receive=refuse)) as r:
        await r.call()
        await r.send(r.from_server, request("roots/list"))
        names = [event.exchange for event in r.recorder.of("no.way")]
        assert names == [f"{r.connection.id}.1", f"{r.connection.id}.2"]

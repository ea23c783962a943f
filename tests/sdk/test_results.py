"""Every result and every notification of the SDK crosses unchanged, in both directions."""

from __future__ import annotations

from typing import Any, Final

import mcp_types as mt
import pytest
from mcp_types import methods as tables
from tests.sdk.kit import Scripted, Seen, dispatching, exact, guard, item, session_of, until, within
from tests.sdk.samples import arms, sample

_PARAMS: Final[dict[str, Any]] = {
    "tools/call": {"name": "t", "arguments": {}},
    "prompts/get": {"name": "p"},
    "resources/read": {"uri": "x://a"},
    "resources/subscribe": {"uri": "x://a"},
    "resources/unsubscribe": {"uri": "x://a"},
    "completion/complete": {"ref": {"type": "ref/prompt", "name": "p"}, "argument": {"name": "a", "value": "v"}},
    "logging/setLevel": {"level": "info"},
    "initialize": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}},
    "subscriptions/listen": {"notifications": {}},
    "sampling/createMessage": {"messages": [], "maxTokens": 1},
    "elicitation/create": {"message": "m", "requestedSchema": {"type": "object", "properties": {}}},
    "tasks/get": {"taskId": "t"},
    "tasks/cancel": {"taskId": "t"},
    "tasks/result": {"taskId": "t"},
}
_TASKS: Final[dict[str, Any]] = {
    "tools/call": mt.CreateTaskResult,
    "tasks/get": mt.GetTaskResult,
    "tasks/cancel": mt.CancelTaskResult,
    "tasks/list": mt.ListTasksResult,
    "tasks/result": mt.GetTaskPayloadResult,
}
"""What the SDK has models of and no table for."""


def _rows(table: Any) -> list[Any]:
    found: dict[str, Any] = {}
    for key, row in table.items():
        method, version = key if isinstance(key, tuple) else (key, "all")
        for arm in arms(row):
            found[f"{method} {arm.__module__.rpartition('.')[2]}.{arm.__name__}"] = (method, version, arm)
    return [pytest.param(method, arm, id=name) for name, (method, _, arm) in found.items()]


_SERVER: Final = [*_rows(tables.SERVER_RESULTS), *_rows(tables.MONOLITH_RESULTS), *_rows(_TASKS)]
_CLIENT: Final = _rows(tables.CLIENT_RESULTS)
_NOTIFICATIONS: Final = [*_rows(tables.SERVER_NOTIFICATIONS), *_rows(tables.MONOLITH_NOTIFICATIONS)]
_FROM_CLIENT: Final = frozenset(method for method, _ in tables.CLIENT_NOTIFICATIONS)
_FROM_SERVER: Final = frozenset(method for method, _ in tables.SERVER_NOTIFICATIONS)
_ASKED_BY_CLIENT: Final = frozenset(method for method, _ in tables.CLIENT_REQUESTS) | frozenset(_TASKS)
_TOKEN: Final = {"_meta": {"progressToken": 7}}


@pytest.mark.parametrize("hooks", [False, True], ids=["bare", "hooks"])
@pytest.mark.parametrize(("method", "model"), [row for row in _SERVER if row.values[0] in _ASKED_BY_CLIENT])
async def test_result_of_a_server(method: str, model: Any, hooks: bool) -> None:
    """Each result that a server may give reaches the host as it was sent, integers and unknown members included."""
    given = {**sample(model), "unknown": [2**64 - 1, 1.0]}
    model.model_validate(given, by_name=False)
    server = Scripted(lambda request: given)
    made = guard(*([Seen()] if hooks else []))
    async with made.wrap(server, server="s") as streams, dispatching(streams) as asker:
        got = await within(asker.send_raw_request(method, _PARAMS.get(method)))
        assert not session_of(made).busy
    assert exact(got) == exact(given)
    assert model.model_validate(got, by_name=False) == model.model_validate(given, by_name=False)


@pytest.mark.parametrize("hooks", [False, True], ids=["bare", "hooks"])
@pytest.mark.parametrize(("method", "model"), _CLIENT)
async def test_result_of_a_client(method: str, model: Any, hooks: bool) -> None:
    """Each result that a client may give to a server that asked reaches it as it was sent."""
    given = {**sample(model), "unknown": [2**64 - 1, 1.0]}
    server = Scripted()
    made = guard(*([Seen()] if hooks else []))
    async with made.wrap(server, server="s") as streams, dispatching(streams, lambda *_: given):
        await server.say(id="ask", method=method, params=_PARAMS.get(method, {}))
        await until(lambda: server.got)
        assert not session_of(made).busy
    (item,) = server.got
    assert isinstance(item.message, mt.JSONRPCResponse)
    assert item.message.id == "ask"
    assert exact(item.message.result) == exact(given)


@pytest.mark.parametrize("hooks", [False, True], ids=["bare", "hooks"])
@pytest.mark.parametrize(("method", "model"), _NOTIFICATIONS)
async def test_notification(method: str, model: Any, hooks: bool) -> None:
    """Each notification reaches the other side as it was sent, from whichever side may send it."""
    params = sample(model)["params"] | {"unknown": [2**64 - 1, 1.0]}
    params |= {"progressToken": 7} if "progress" in method else {}
    params |= {"requestId": 7} if "cancelled" in method else {}
    server = Scripted()
    made = guard(*([Seen()] if hooks else []))
    async with made.wrap(server, server="s") as (read, write):
        await write.send(item(id=7, method="tools/list", params=_TOKEN))
        await server.say(id=7, method="ping", params=_TOKEN)
        await within(read.receive())
        if method in _FROM_SERVER:
            await server.say(method=method, params=params)
            came = await within(read.receive())
            assert came.message.method == method
            assert exact(came.message.params) == exact(params)
        if method in _FROM_CLIENT:
            await write.send(item(method=method, params=params))
            await until(lambda: method in server.methods)
            last: Any = server.got[-1].message
            assert exact(last.params) == exact(params)

"""A call that asks for more input is one call, however many requests it takes (2026-07-28, SEP-2322)."""

from __future__ import annotations

from typing import Any

import mcp_types as mt
import pytest
from mcp import MCPError
from mcp.server import Server
from tests.core.harness import ring
from tests.sdk.everything import Everything
from tests.sdk.kit import Streams, behind, client, guard, guarded, within

from hauberk.connection import Connection
from hauberk.layers import Layer
from hauberk.message import ToolCall
from hauberk.verdict import Approved, Ask, Deny

_TOML = '[core]\napprovers = ["person"]\n'


class _Counted:
    """A judge that asks, an approver, and a quota; each counts."""

    def __init__(self, limit: int = 99) -> None:
        self.judged = 0
        self.approved = 0
        self.charged = 0
        self._limit = limit
        self.plugins = [
            ring("person", on_tool_call=self._judge, approve=self._approve),
            ring("quota", Layer.ADMIT, on_tool_call=self._charge),
        ]

    def _judge(self, call: ToolCall, connection: Connection) -> Ask:
        self.judged += 1
        return Ask("sure?")

    async def _approve(self, call: ToolCall, connection: Connection) -> Approved:
        self.approved += 1
        return Approved(call.digest)

    def _charge(self, call: ToolCall, connection: Connection) -> Deny | None:
        if call.asks and call.approved is None:
            return None
        self.charged += 1
        return Deny("quota.spent", "spent", public=True) if self.charged > self._limit else None


@pytest.mark.parametrize("role", ["client", "server"])
async def test_a_retry_is_the_same_call(role: str) -> None:
    """A retry that echoes the state minted for it is judged again, and neither approved nor charged again."""
    counted, everything = _Counted(), Everything()
    made = guard(*counted.plugins, toml=_TOML)
    if role == "client":
        async with client(made.wrap(everything.server, server="s")) as c:
            await within(c.call_tool("ask", {"q": 1}))
    else:
        async with behind(everything.server, made) as streams, client(Streams(streams)) as c:
            await within(c.call_tool("ask", {"q": 1}))
    assert (counted.judged, counted.approved, counted.charged) == (2, 1, 1)
    assert [arguments for _, arguments in everything.calls] == [{"q": 1}] * 2


@pytest.mark.parametrize("arguments", [{"q": 2}, {"q": 1, "more": 1}, {}])
async def test_a_retry_with_other_arguments_is_another_call(arguments: dict[str, Any]) -> None:
    """The state of one call approves and pays for no other."""
    counted = _Counted()
    async with guarded(Everything().server, *counted.plugins, toml=_TOML) as (c, _):
        first = await within(c.session.call_tool("ask", {"q": 1}, allow_input_required=True))
        assert isinstance(first, mt.InputRequiredResult)
        await within(c.session.call_tool("ask", arguments, input_responses={}, request_state=first.request_state))
    assert (counted.approved, counted.charged) == (2, 2)


async def test_a_state_is_good_once() -> None:
    """A retry that is sent again is a new call."""
    counted = _Counted(limit=1)
    async with guarded(Everything().server, *counted.plugins, toml=_TOML) as (c, _):
        first = await within(c.session.call_tool("ask", {"q": 1}, allow_input_required=True))
        retry = {"input_responses": {}, "request_state": first.request_state}
        await within(c.session.call_tool("ask", {"q": 1}, **retry))
        with pytest.raises(MCPError, match=r"quota\.spent"):
            await within(c.session.call_tool("ask", {"q": 1}, **retry))


async def test_a_server_that_never_has_enough() -> None:
    """A server that asks for input again and again is stopped by the guard's bound, before the SDK gives up."""
    asked = 0

    async def call(ctx: Any, params: mt.CallToolRequestParams) -> mt.InputRequiredResult:
        nonlocal asked
        asked += 1
        return mt.InputRequiredResult(input_requests={"roots": mt.ListRootsRequest()}, request_state=f"{asked}")

    toml = "[core.bounds]\nretries = 3\n"
    server = Server("s", on_call_tool=call)
    async with guarded(server, ring("see", on_tool_call=lambda c, _: None), toml=toml) as (c, _):
        with pytest.raises(MCPError, match=r"core\.rounds"):
            await within(c.call_tool("t"))
    assert asked == 4

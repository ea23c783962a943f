"""A guard without rules is not noticed: the same results as without it, in each mode, to each kind of target."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import mcp_types as mt
import pytest
from mcp import Client, MCPError
from tests.sdk.everything import MODERN, NUMBERS
from tests.sdk.kit import KINDS, MODES, Seen, Told, client, exact, guarded, plain, session_of, settled, target

Step = tuple[str, Callable[[Client, Told], Awaitable[Any]]]


async def _pages(c: Client, _: Told) -> Any:
    pages, cursor = [], None
    while True:
        page = await c.list_tools(cursor=cursor)
        pages.append(plain(page))
        cursor = page.next_cursor
        if cursor is None:
            return pages


async def _stepping(c: Client, told: Told) -> Any:
    answer = await c.call_tool("steps", {}, progress_callback=told.step)
    await settled()
    return [plain(answer), sorted(told.steps)]


async def _logging(c: Client, told: Told) -> Any:
    answer = await c.call_tool("log", {})
    await settled()
    return [plain(answer), sorted(map(exact, told.logs))]


async def _subscribing(c: Client, told: Told) -> Any:
    if c.protocol_version == MODERN:
        events: list[str] = []
        async with c.listen(tools_list_changed=True, resource_subscriptions=["x://a"]) as stream:
            honored = plain(stream.honored)
            answer = plain(await c.call_tool("changed", {}))
            await c.call_tool("close", {})
            events.extend([repr(event) async for event in stream])
        return [honored, answer, events]
    answers = [plain(await c.subscribe_resource("x://a")), plain(await c.unsubscribe_resource("x://a"))]
    return [*answers, plain(await c.set_logging_level("warning")), plain(await c.send_ping())]


async def _failing(c: Client, _: Told) -> Any:
    errors = []
    for name in ("wrong", "none", "fails"):
        try:
            errors.append(plain(await c.call_tool(name, {})))
        except MCPError as error:
            errors.append(plain(error.error))
    return errors


EVERYTHING: list[Step] = [
    ("tools", _pages),
    ("echo", lambda c, _: c.call_tool("echo", {"a": NUMBERS, "text": "é\u2028\ud7ff\U0001f600", "deep": [[[{}]]]})),
    ("contents", lambda c, _: c.call_tool("contents")),
    ("meta", lambda c, _: c.call_tool("echo", {}, meta=cast("mt.RequestParamsMeta", {"x/y": 2**64 - 1}))),
    ("errors", _failing),
    ("prompts", lambda c, _: c.list_prompts()),
    ("prompt", lambda c, _: c.get_prompt("hello", {"city": "Köln"})),
    ("resources", lambda c, _: c.list_resources()),
    ("templates", lambda c, _: c.list_resource_templates()),
    ("resource", lambda c, _: c.read_resource("x://a")),
    ("complete", lambda c, _: c.complete(mt.PromptReference(name="hello"), {"name": "city", "value": "K"}, {"a": "b"})),
    ("progress", _stepping),
    ("log", _logging),
    ("ask", lambda c, _: c.call_tool("ask", {"q": 1})),
    ("subscribe", _subscribing),
]
ASKING_ELSEWHERE: list[Step] = [
    ("ask in a prompt", lambda c, _: c.get_prompt("ask")),
    ("ask in a resource", lambda c, _: c.read_resource("x://ask")),
]
SMALL: list[Step] = [
    ("tools", _pages),
    ("add", lambda c, _: c.call_tool("add", {"a": 2**53, "b": 1})),
    ("numbers", lambda c, _: c.call_tool("numbers")),
    ("errors", _failing),
    ("prompts", lambda c, _: c.list_prompts()),
    ("prompt", lambda c, _: c.get_prompt("hello", {"city": "Köln"})),
    ("resources", lambda c, _: c.list_resources()),
    ("templates", lambda c, _: c.list_resource_templates()),
    ("resource", lambda c, _: c.read_resource("x://by/me")),
    ("complete", lambda c, _: c.complete(mt.PromptReference(name="hello"), {"name": "city", "value": "K"})),
    ("progress", _stepping),
]


async def tour(c: Client, told: Told, kind: str) -> dict[str, str]:
    """Do everything that this target can, and return what came of each step, to the last digit."""
    steps = SMALL if kind == "mcpserver" else EVERYTHING
    if kind != "mcpserver" and c.protocol_version == MODERN:
        steps = steps + ASKING_ELSEWHERE
    capabilities = c.server_capabilities
    found: dict[str, Any] = {
        "hello": [c.protocol_version, plain(capabilities), c.instructions, c.server_info and plain(c.server_info)]
    }
    for name, step in steps:
        answer = await step(c, told)
        found[name] = plain(answer) if hasattr(answer, "model_dump") else answer
    found["asked"] = sorted(map(exact, told.asked))
    return {name: exact(value) for name, value in found.items()}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", KINDS)
async def test_same_results_as_without(kind: str, mode: str) -> None:
    """Through ``guard.wrap`` each target gives what it gives without: values equal, integers and floats exact."""
    async with asyncio.timeout(30):
        async with target(kind) as where, client(where, mode, told := Told()) as bare:
            expected = await tour(bare, told, kind)
        seen = Seen()
        async with target(kind) as where, guarded(where, seen, mode=mode, told=(told := Told())) as (c, made):
            got = await tour(c, told, kind)
            assert not [m for m in told.messages if isinstance(m, Exception)]
            assert not session_of(made).busy
    assert got == expected
    assert "core.internal" not in seen.codes
    assert set(seen.codes) <= {
        "core.started", "policy.loaded", "core.connected", "core.disconnected", "core.stopped", "core.allowed",
        "core.answered", "core.error",
    }  # fmt: skip
    assert seen.codes[-1] == "core.stopped"

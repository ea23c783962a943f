"""No list is served from a cache that the guard did not see (2026-07-28 server/utilities/caching, SEP-2549)."""

from __future__ import annotations

from typing import Any, Final, cast

import mcp_types as mt
import pytest
from mcp.client.caching import CacheConfig, InMemoryResponseCacheStore
from mcp.server import Server
from mcp.server.caching import CacheHint
from mcp_types.methods import CACHEABLE_METHODS
from tests.core.harness import ring
from tests.sdk.kit import Scripted, dispatching, guard, guarded, within

from hauberk.message import Message

_HOUR: Final = CacheHint(ttl_ms=3_600_000, scope="public")
_ASKED: Final = {
    "tools/list": lambda c: c.list_tools(),
    "prompts/list": lambda c: c.list_prompts(),
    "resources/list": lambda c: c.list_resources(),
    "resources/templates/list": lambda c: c.list_resource_templates(),
    "resources/read": lambda c: c.read_resource("x://a"),
}


class _Server:
    """A server that wants everything cached, and counts how often it is asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.tools = ["read", "drop"]
        self.server: Server[Any] = Server(
            "s",
            on_list_tools=self._tools,
            on_list_prompts=self._said("prompts/list", mt.ListPromptsResult(prompts=[])),
            on_list_resources=self._said("resources/list", mt.ListResourcesResult(resources=[])),
            on_list_resource_templates=self._said(
                "resources/templates/list", mt.ListResourceTemplatesResult(resource_templates=[])
            ),
            on_read_resource=self._said("resources/read", mt.ReadResourceResult(contents=[])),
            cache_hints=cast("Any", dict.fromkeys(CACHEABLE_METHODS, _HOUR)),
        )

    def _said(self, method: str, result: Any) -> Any:
        async def answer(ctx: Any, params: Any) -> Any:
            self.asked.append(method)
            return result

        return answer

    async def _tools(self, ctx: Any, params: Any) -> mt.ListToolsResult:
        self.asked.append("tools/list")
        return mt.ListToolsResult(tools=[mt.Tool(name=name, input_schema={"type": "object"}) for name in self.tools])


class _Hide:
    """A rule that a test changes."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.plugin = ring("hide", on_receive=self._hide)

    def _hide(self, message: Message, connection: Any) -> Message | None:
        if message.method != "tools/list" or message.result is None:
            return None
        kept = [tool for tool in message.result["tools"] if tool["name"] not in self.names]
        return message.with_result({**message.result, "tools": kept})


async def _names(client: Any) -> list[str]:
    return [tool.name for tool in (await within(client.list_tools())).tools]


@pytest.mark.parametrize("mode", ["auto", "legacy", "2026-07-28"])
async def test_the_next_list_asks_again(mode: str) -> None:
    """After a rule has changed, at the guard or at the server, the client's next list shows it (A49)."""
    server, hide = _Server(), _Hide()
    async with guarded(server.server, hide.plugin, mode=mode, cache=CacheConfig()) as (client, _):
        assert await _names(client) == ["read", "drop"]
        hide.names.add("drop")
        assert await _names(client) == ["read"]
        server.tools.append("more")
        assert await _names(client) == ["read", "more"]
    assert server.asked == ["tools/list"] * 3


@pytest.mark.parametrize("method", _ASKED)
async def test_nothing_is_kept(method: str) -> None:
    """What a server marks public for an hour leaves the guard private and stale: each call asks it again (A49)."""
    server, store = _Server(), InMemoryResponseCacheStore()
    cache = CacheConfig(store=store, partition="p", target_id="t", share_public=True)
    async with guarded(server.server, _Hide().plugin, cache=cache) as (client, _):
        for _ in range(3):
            await within(_ASKED[method](client))
    assert server.asked == [method] * 3
    assert not store._entries


async def test_a_shared_store_serves_no_hidden_tool() -> None:
    """Of two clients that share a store, one lists what the other may not see: it is not served to it (A49)."""
    server, hide, store = _Server(), _Hide(), InMemoryResponseCacheStore()
    hide.names.add("drop")

    def cache(partition: str) -> CacheConfig:
        return CacheConfig(store=store, partition=partition, target_id="t", share_public=True)

    async with (
        guarded(server.server, _Hide().plugin, cache=cache("all")) as (sees_all, _),
        guarded(server.server, hide.plugin, cache=cache("some")) as (sees_some, _),
    ):
        assert await _names(sees_all) == ["read", "drop"]
        assert await _names(sees_some) == ["read"]
        assert await _names(sees_all) == ["read", "drop"]


@pytest.mark.parametrize("ttl", [1, 2**53, 2**64 - 1, 1.5, -1, True, "9", None])
@pytest.mark.parametrize("hooks", [False, True], ids=["bare", "hooks"])
async def test_whatever_a_server_says(ttl: Any, hooks: bool) -> None:
    """No value of ``ttlMs`` and ``cacheScope`` that a server sends reaches the client's cache (A49)."""
    server = Scripted(lambda request: {"tools": [], "ttlMs": ttl, "cacheScope": "public", "resultType": "complete"})
    made = guard(*([_Hide().plugin] if hooks else []))
    async with made.wrap(server, server="s") as streams, dispatching(streams) as asker:
        got = await within(asker.send_raw_request("tools/list", None))
    assert got == {"tools": [], "ttlMs": 0, "cacheScope": "private", "resultType": "complete"}
    assert type(got["ttlMs"]) is int

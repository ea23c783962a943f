"""A client for the official conformance suite: it plays one scenario, bare or behind a guard.

usage: client.py [--guard CONFIG] URL

The suite says in the environment which scenario it plays (MCP_CONFORMANCE_SCENARIO), for which revision of the protocol
(MCP_CONFORMANCE_PROTOCOL_VERSION), and what it wants sent (MCP_CONFORMANCE_CONTEXT, JSON). Both ways run the same lines
but one: what ``Client`` is given to connect to.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import mcp_types as types
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from hauberk import Guard

Connect = Callable[..., AbstractAsyncContextManager[Client]]
Play = Callable[[Connect], Awaitable[None]]

_VALUES: Final[dict[str, Any]] = {
    "string": "text",
    "integer": 1,
    "number": 1,
    "boolean": True,
    "object": {},
    "array": [],
}
"""A value of each type that an argument may have to be of."""


# --- what a user would do, were he asked ---


async def accept(_context: Any, params: Any) -> types.ElicitResult:
    """Accept, with the default of each field that has one, and yes to each question that has none."""
    fields = getattr(params, "requested_schema", {}).get("properties", {})
    plain = {name: True for name, field in fields.items() if field.get("type") == "boolean"}
    chosen = {name: field["default"] for name, field in fields.items() if "default" in field}
    return types.ElicitResult(action="accept", content=plain | chosen)


async def sample(_context: Any, _params: Any) -> types.CreateMessageResult:
    """Say something."""
    content = types.TextContent(type="text", text="something")
    return types.CreateMessageResult(role="assistant", content=content, model="none")


async def no_roots(_context: Any) -> types.ListRootsResult:
    """Own nothing."""
    return types.ListRootsResult(roots=[])


CALLBACKS: Final[dict[str, Any]] = {
    "elicitation_callback": accept,
    "sampling_callback": sample,
    "list_roots_callback": no_roots,
}


# --- the scenarios ---


async def look(connect: Connect) -> None:
    """List the tools."""
    async with connect() as client:
        await client.list_tools()


async def look_as_of_old(connect: Connect) -> None:
    """List the tools after a handshake, whatever the revision: this scenario's server knows nothing else."""
    async with connect(mode="legacy") as client:
        await client.list_tools()


def calling(*names: str, arguments: dict[str, Any] | None = None, **callbacks: Any) -> Play:
    """Return a scenario that lists the tools and calls these."""

    async def play(connect: Connect) -> None:
        async with connect(**callbacks) as client:
            await client.list_tools()
            for name in names:
                await client.call_tool(name, arguments or {})

    return play


async def call_whatever_is_listed(connect: Connect) -> None:
    """Call each tool that the list still shows, with arguments made up from its schema."""
    async with connect() as client:
        for tool in (await client.list_tools()).tools:
            with contextlib.suppress(Exception):  # the scenario expects that some of them fail
                await client.call_tool(tool.name, made_up(tool.input_schema))


def made_up(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a value for each argument that must be there."""
    fields = schema.get("properties", {})
    return {name: _VALUES.get(fields.get(name, {}).get("type"), "text") for name in schema.get("required", [])}


async def call_as_told(connect: Connect) -> None:
    """Make the calls that the suite asks for, of those tools that the list shows."""
    async with connect() as client:
        listed = {tool.name for tool in (await client.list_tools()).tools}
        for call in context().get("toolCalls", []):
            if call["name"] in listed:
                with contextlib.suppress(Exception):  # as above
                    await client.call_tool(call["name"], call.get("arguments") or {})


async def give_the_schema_back(connect: Connect) -> None:
    """Send the schema of one tool to another one, which looks whether anything is missing."""
    async with connect() as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        schema = tools["json_schema_2020_12_tool"].input_schema
        await client.call_tool("json_schema_echo", {"schema": schema})


async def authorised(connect: Connect) -> None:
    """Get whatever token the server asks for, list the tools, and call the first."""
    async with connect(**CALLBACKS) as client:
        tools = (await client.list_tools()).tools
        if tools:
            with contextlib.suppress(Exception):  # some scenarios never let the call through
                await client.call_tool(tools[0].name, {})


_ADD: Final = {"a": 5, "b": 3}
SCENARIOS: Final[dict[str, Play]] = {
    "initialize": look,
    "tools_call": calling("add_numbers", arguments=_ADD),
    "elicitation-sep1034-client-defaults": calling("test_client_elicitation_defaults", elicitation_callback=accept),
    "sse-retry": calling("test_reconnection"),
    "request-metadata": calling("add_numbers", arguments=_ADD, **CALLBACKS),
    "sep-2322-client-request-state": calling(
        "test_mrtr_echo_state",
        "test_mrtr_unrelated",
        "test_mrtr_no_state",
        "test_mrtr_no_result_type",
        elicitation_callback=accept,
    ),
    "http-standard-headers": calling("add_numbers", arguments=_ADD),
    "http-custom-headers": call_as_told,
    "http-invalid-tool-headers": call_whatever_is_listed,
    "json-schema-ref-no-deref": look_as_of_old,
    "json-schema-2020-12-preservation": give_the_schema_back,
}
"""What each scenario wants done; those of the group ``auth`` all want the same."""


# --- how they are played ---


def context() -> dict[str, Any]:
    """Return what the suite hands over."""
    found: dict[str, Any] = json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT") or "{}")
    return found


def connecting(url: str, guard: Guard | None, auth: Any) -> Connect:
    """Return what connects to the server of a scenario, through a guard if there is one."""
    modern = os.environ.get("MCP_CONFORMANCE_PROTOCOL_VERSION") in MODERN_PROTOCOL_VERSIONS

    @asynccontextmanager
    async def connect(*, mode: str = "auto" if modern else "legacy", **callbacks: Any) -> AsyncIterator[Client]:
        async with contextlib.AsyncExitStack() as stack:
            target: Any = url
            if auth is not None:
                http = await stack.enter_async_context(auth)
                target = streamable_http_client(url, http_client=http)
            if guard is not None:
                target = guard.wrap(target, server="conformance")
            yield await stack.enter_async_context(Client(target, mode=mode, **callbacks))

    return connect


def main() -> None:
    """Play the scenario."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--guard", type=Path, help="a configuration of hauberk; without it nothing stands between")
    parser.add_argument("url")
    arguments = parser.parse_args()
    guard = None if arguments.guard is None else Guard.load(arguments.guard)
    scenario = os.environ["MCP_CONFORMANCE_SCENARIO"]
    if not scenario.startswith("auth/"):
        asyncio.run(_play(SCENARIOS[scenario], connecting(arguments.url, guard, None)))
        return
    from tests.mcp_conformance.tokens import http_client

    auth = http_client(arguments.url, scenario, context())
    asyncio.run(_play(authorised, connecting(arguments.url, guard, auth)))


async def _play(play: Play, connect: Connect) -> None:
    await play(connect)


if __name__ == "__main__":
    main()

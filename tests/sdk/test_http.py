"""Over real Streamable HTTP: the headers that leave equal the body that was judged, whatever made them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import mcp_types as mt
import pytest
from mcp import MCPError
from mcp.server import Server
from mcp.shared.inbound import decode_header_value
from mcp.shared.message import ClientMessageMetadata
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from tests.core.harness import ring
from tests.sdk.everything import MODERN, Everything
from tests.sdk.kit import Scripted, Seen, dispatching, guard, guarded, item, listening, until, within

from hauberk.connection import Connection
from hauberk.message import Message as Crossed
from hauberk.message import SecretRef
from hauberk.refusals import ConfigError
from hauberk.verdict import Deny

_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "token": {"type": "string", "x-mcp-header": "Token"},
        "count": {"type": "integer", "x-mcp-header": "Count"},
        "deep": {"type": "object", "properties": {"flag": {"type": "boolean", "x-mcp-header": "Flag"}}},
        "note": {"type": "string"},
    },
}
_SECRET: Final = "s3cret é"
_ARGUMENTS: Final = {"token": _SECRET, "count": 2**53 + 1, "deep": {"flag": True}, "note": _SECRET}


class _Wire:
    """An application that writes down each request, before it lets another one handle it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.requests: list[tuple[dict[str, str], bytes]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = b""

        async def reading() -> Message:
            nonlocal body
            message = await receive()
            if message["type"] == "http.request":
                body += message.get("body", b"")
                if not message.get("more_body"):
                    headers = {key.decode(): value.decode() for key, value in scope["headers"]}
                    self.requests.append((headers, body))
            return message

        await self._app(scope, reading, send)

    def of(self, method: str) -> list[tuple[dict[str, str], dict[str, Any]]]:
        """Return headers and body of each request of this method."""
        found = [(headers, json.loads(body)) for headers, body in self.requests if body]
        return [(headers, body) for headers, body in found if body.get("method") == method]

    @property
    def text(self) -> str:
        return repr(self.requests)


@asynccontextmanager
async def _serving(server: Server[Any], *, json_response: bool = False) -> AsyncIterator[tuple[str, _Wire]]:
    wire = _Wire(server.streamable_http_app(json_response=json_response))
    async with listening(wire) as url:
        yield url + "/mcp", wire


def _tool_server() -> Server[Any]:
    async def tools(ctx: Any, params: Any) -> mt.ListToolsResult:
        return mt.ListToolsResult(tools=[mt.Tool(name="täst", input_schema=_SCHEMA)])

    async def call(ctx: Any, params: mt.CallToolRequestParams) -> mt.CallToolResult:
        return mt.CallToolResult(content=[], structured_content=params.arguments)

    return Server("s", on_list_tools=tools, on_call_tool=call)


def _redact(message: Crossed, connection: Any) -> Crossed | None:
    """Rewrite every argument that goes into a header, and one that does not."""
    if message.method != "tools/call" or message.kind != "request":
        return None
    arguments = {"token": "[hidden] ö", "count": 7, "deep": {"flag": False}, "note": "[hidden]"}
    return message.with_params({**message.params, "arguments": arguments})


@pytest.mark.parametrize("json_response", [True, False], ids=["json", "sse"])
@pytest.mark.parametrize("mode", ["auto", MODERN])
@pytest.mark.parametrize("listed", [True, False], ids=["listed", "not listed"])
async def test_headers_equal_the_rewritten_body(json_response: bool, mode: str, listed: bool) -> None:
    """A rewritten argument leaves in no header; the server gets headers that equal the body, and takes the call."""
    async with (
        _serving(_tool_server(), json_response=json_response) as (url, wire),
        guarded(url, ring("redact", on_send=_redact), mode=mode) as (client, _),
    ):
        if listed:
            await within(client.list_tools())
        result = await within(client.call_tool("täst", dict(_ARGUMENTS)))
    assert result.structured_content == {"token": "[hidden] ö", "count": 7, "deep": {"flag": False}, "note": "[hidden]"}
    headers, body = wire.of("tools/call")[-1]
    assert body["params"]["arguments"] == result.structured_content
    assert headers["mcp-method"] == "tools/call"
    assert decode_header_value(headers["mcp-name"]) == "täst"
    params = {key: decode_header_value(value) for key, value in headers.items() if key.startswith("mcp-param-")}
    assert params == {"mcp-param-token": "[hidden] ö", "mcp-param-count": "7", "mcp-param-flag": "false"}
    assert "s3cret" not in wire.text
    assert "czNjcmV0" not in wire.text  # the same in base64


async def test_headers_without_a_rewrite() -> None:
    """Where nothing is rewritten the headers are those that the SDK made, to the last byte."""
    async with _serving(_tool_server()) as (url, wire):
        for plugins in ([], [Seen()]):
            async with guarded(url, *plugins, mode="auto") as (client, _):
                await within(client.list_tools())
                result = await within(client.call_tool("täst", dict(_ARGUMENTS)))
                assert result.structured_content == _ARGUMENTS
    for headers, _ in wire.of("tools/call"):
        assert decode_header_value(headers["mcp-param-token"]) == _SECRET
        assert headers["mcp-param-count"] == str(2**53 + 1)
        assert headers["mcp-param-flag"] == "true"


async def test_a_secret_by_reference() -> None:
    """What a reference stands for is in the body and its header alike; hooks, events and records never see it."""
    seen = Seen()

    def refer(message: Crossed, connection: Any) -> Crossed | None:
        if message.method != "tools/call" or message.kind != "request":
            return None
        return message.with_params({**message.params, "arguments": {"token": SecretRef("key")}})

    vault = ring("vault", on_send=refer, resolve=lambda ref, call: "the value")
    async with _serving(_tool_server()) as (url, wire), guarded(url, seen, vault, mode="auto") as (client, _):
        await within(client.list_tools())
        await within(client.call_tool("täst", {"token": "key please"}))
    headers, body = wire.of("tools/call")[-1]
    assert headers["mcp-param-token"] == body["params"]["arguments"]["token"] == "the value"
    assert "the value" not in repr(seen.events)
    assert "key please" not in wire.text


_BAD_SCHEMAS: Final[list[Any]] = [
    {"properties": {"a": {"type": "string", "x-mcp-header": "X\r\nAuthorization: y"}}},
    {"properties": {"a": {"type": "string", "x-mcp-header": "B"}, "b": {"type": "string", "x-mcp-header": "b"}}},
    {"properties": {"a": {"type": "number", "x-mcp-header": "A"}}},
    {"items": {"properties": {"a": {"type": "string", "x-mcp-header": "A"}}}, "x-mcp-header": "A"},
    {"properties": {"a": {"type": ["string"], "x-mcp-header": 7}}},
    [],
    None,
    "x-mcp-header",
]


@pytest.mark.parametrize("schema", _BAD_SCHEMAS)
async def test_a_schema_that_is_none(schema: Any) -> None:
    """A server's annotation that the SDK would not honour makes no header, and breaks no call."""
    listed = [{"name": "t", "inputSchema": schema}, 7, {"name": 7}]
    server = Scripted(lambda request: {"tools": listed} if request.method == "tools/list" else {"content": []})
    metadata = ClientMessageMetadata(headers={"mcp-method": "tools/list", "mcp-protocol-version": MODERN})
    async with guard(Seen()).wrap(server, server="s") as (read, write):
        for id, method, params in ((1, "tools/list", {}), (2, "tools/call", {"name": "t", "arguments": {"a": "v"}})):
            await write.send(item(metadata, id=id, method=method, params=params))
            await within(read.receive())
    sent: Any = server.got[-1].metadata
    assert sent.headers == {"mcp-method": "tools/call", "mcp-name": "t", "mcp-protocol-version": MODERN}


_MODERN_META: Final = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientCapabilities": {},
}
_MIXES: Final = [
    pytest.param({"mcp-protocol-version": "2025-11-25"}, _MODERN_META, id="old header, new body"),
    pytest.param({"mcp-protocol-version": MODERN, "mcp-method": "tools/list"}, _MODERN_META, id="another method"),
    pytest.param(
        {"mcp-protocol-version": MODERN, "Mcp-Param-Token": "old"}, _MODERN_META, id="a header of no argument"
    ),
    pytest.param({"mcp-protocol-version": "2025-11-25"}, {}, id="old"),
]


@pytest.mark.parametrize(("headers", "meta"), _MIXES)
@pytest.mark.parametrize("tool", ["echo", "log"])
async def test_one_wire_for_a_request(headers: dict[str, str], meta: dict[str, Any], tool: str) -> None:
    """A request whose headers say one era and whose body another leaves as its body says; both meet the hooks (A60)."""
    everything, seen = Everything(), Seen()
    deny = ring("deny", on_tool_call=lambda call, c: Deny("deny.log", "no") if call.name == "log" else None)
    async with (
        _serving(everything.server) as (url, wire),
        guard(deny, seen).wrap(url, server="s") as streams,
        dispatching(streams) as asker,
    ):
        params = {"name": tool, "arguments": {}, **({"_meta": meta} if meta else {})}
        with contextlib.suppress(MCPError):  # denied; or the old wire, which without a handshake has no session
            await within(asker.send_raw_request("tools/call", params, {"headers": dict(headers)}))
    assert seen.out() == ["tools/call"]
    if tool == "log":
        assert wire.of("tools/call") == []
        assert everything.calls == []
    else:
        ((left, body),) = wire.of("tools/call")
        assert left["mcp-protocol-version"] == body["params"].get("_meta", {}).get(
            "io.modelcontextprotocol/protocolVersion", "2025-11-25"
        )
        assert not meta or left["mcp-method"] == "tools/call"
        assert "mcp-param-token" not in left
        assert everything.calls == ([("echo", {})] if meta else [])


async def test_a_header_of_an_extension() -> None:
    """``Mcp-Name`` of a method whose rule only the host knows leaves while the body holds it, and else not."""
    toml = '[[core.methods]]\nname = "x/y"\nsender = "client"\nkind = "request"\n'
    server = Scripted(lambda request: {})
    rename = ring(
        "rename", on_send=lambda m, c: m.with_params({"key": "new"}) if m.params.get("key") == "old" else None
    )
    headers = {"mcp-protocol-version": MODERN, "mcp-method": "x/y", "mcp-name": "old"}
    async with guard(rename, toml=toml).wrap(server, server="s") as streams, dispatching(streams) as asker:
        for key in ("old", "other"):
            opts: Any = {"headers": {**headers, "mcp-name": key}}
            await within(asker.send_raw_request("x/y", {"key": key}, opts))
    named: list[Any] = [sent.metadata.headers.get("mcp-name") for sent in server.got]  # type: ignore[union-attr]
    assert named == [None, "other"]


async def test_a_refused_call_leaves_nothing() -> None:
    """A refused call opens no HTTP request."""
    no = ring("no", on_tool_call=Deny("no.way", "no"))
    async with _serving(_tool_server()) as (url, wire), guarded(url, no) as (client, _):
        before = len(wire.requests)
        with pytest.raises(MCPError, match=r"no\.way"):
            await within(client.call_tool("täst", dict(_ARGUMENTS)))
        assert len(wire.requests) == before


async def test_headers_of_a_connection() -> None:
    """Headers that a plugin sets on the connection go with each request of it, the first and the last included."""

    def mint(connection: Connection) -> None:
        connection.headers["x-minted"] = "token 1"

    async with _serving(_tool_server()) as (url, wire):
        async with guarded(url, ring("mint", on_connect=mint), mode="legacy") as (client, _):
            await within(client.list_tools())
        await until(lambda: any(not body for _, body in wire.requests), 200_000)
    assert len(wire.requests) >= 4
    assert all(headers["x-minted"] == "token 1" for headers, _ in wire.requests)


async def test_what_is_dialled_holds_no_secret() -> None:
    """What rules and events see of a URL has no user, password, query or fragment."""
    shown: list[str] = []
    look = ring("look", on_connect=lambda connection: shown.append(connection.target))
    for url in ("http://me:s3cret@127.0.0.1:9/a@b/c?key=s3cret#s3cret", "http://127.0.0.1:9"):
        async with guard(look).wrap(url, server="s"):
            pass
    assert shown == ["http://127.0.0.1:9/a@b/c", "http://127.0.0.1:9"]


def test_what_cannot_be_connected_to() -> None:
    """A target that is none is refused when it is wrapped, and not when it is first used."""
    with pytest.raises(ConfigError, match="cannot connect to int"):
        guard().wrap(7, server="s")

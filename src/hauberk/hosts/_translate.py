"""Between the SDK's message objects and the core's, and the headers that are made from a message's body."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from mcp.shared.inbound import (
    MCP_METHOD_HEADER,
    MCP_NAME_HEADER,
    MCP_PARAM_HEADER_PREFIX,
    MCP_PROTOCOL_VERSION_HEADER,
    NAME_BEARING_METHODS,
    decode_header_value,
    encode_header_value,
    find_invalid_x_mcp_header,
    mcp_param_headers,
    x_mcp_header_map,
)
from mcp.shared.message import ClientMessageMetadata, SessionMessage
from mcp_types import ErrorData, JSONRPCError, JSONRPCNotification, JSONRPCRequest, JSONRPCResponse

from hauberk.message import NO_HEADERS
from hauberk.methods import revision_of

_PARAM_PREFIX: Final = MCP_PARAM_HEADER_PREFIX.lower()


def from_sdk(message: Any) -> dict[str, Any]:
    """Return an SDK message as the JSON-RPC object that it stands for."""
    kind, fields = type(message), message.__dict__  # pydantic's own way to a field costs several times this one
    if kind is JSONRPCRequest:
        found = {"jsonrpc": "2.0", "id": fields["id"], "method": fields["method"]}
    elif kind is JSONRPCResponse:
        return {"jsonrpc": "2.0", "id": fields["id"], "result": fields["result"]}
    elif kind is JSONRPCError:
        error = message.error
        data = {"data": error.data} if "data" in error.model_fields_set else {}
        return {"jsonrpc": "2.0", "id": message.id, "error": {"code": error.code, "message": error.message, **data}}
    else:
        found = {"jsonrpc": "2.0", "method": message.method}
    if (params := fields["params"]) is not None:
        found["params"] = params
    return found


def to_sdk(data: dict[str, Any], item: SessionMessage | None) -> SessionMessage:
    """Return a JSON-RPC object as the SDK's, in the item that carried it where that is of the same kind.

    The fields of that were validated when it was made, and ``data`` holds plain JSON; so what passed is put where
    pydantic keeps it, which costs a tenth of its own assignment.
    """
    if item is None:
        return SessionMessage(_made(data))
    message = item.message
    kind, fields = type(message), message.__dict__
    if kind is JSONRPCResponse:
        if "result" in data:
            fields["result"], fields["id"] = data["result"], data["id"]
            return item
    elif (
        kind is not JSONRPCError
        and data.get("method") == fields["method"]
        and (kind is JSONRPCRequest) is ("id" in data)
        and ("params" in data or fields["params"] is None)
    ):
        if "params" in data:
            fields["params"] = data["params"]
            message.__pydantic_fields_set__.add("params")
        return item
    return SessionMessage(_made(data))


def _made(data: dict[str, Any]) -> Any:
    if "result" in data:
        return JSONRPCResponse(jsonrpc="2.0", id=data["id"], result=data["result"])
    if "error" in data:
        error = data["error"]
        extra = {"data": error["data"]} if "data" in error else {}
        return JSONRPCError(
            jsonrpc="2.0", id=data["id"], error=ErrorData(code=error["code"], message=error["message"], **extra)
        )
    params = {"params": data["params"]} if "params" in data else {}
    if "id" in data:
        return JSONRPCRequest(jsonrpc="2.0", id=data["id"], method=data["method"], **params)
    return JSONRPCNotification(jsonrpc="2.0", method=data["method"], **params)


def headers_of(item: SessionMessage) -> Mapping[str, str]:
    """Return the headers that travel with a message."""
    metadata = item.metadata
    return metadata.headers if isinstance(metadata, ClientMessageMetadata) and metadata.headers else NO_HEADERS


class Headers:
    """``Mcp-Method``, ``Mcp-Name`` and ``Mcp-Param-*`` made again from the body that is written (2026-07-28).

    The SDK makes them above the guard, from the arguments as the host gave them; a rewritten argument would still leave
    in a header. Which arguments go into headers is in the tool's schema, which is learnt from the lists that pass.
    """

    def __init__(self, limit: int) -> None:
        self._limit: Final = limit
        self.used = False
        """Whether any message carried such headers, so that lists are worth learning from."""
        self._maps: Final[OrderedDict[str, Mapping[tuple[str, ...], str]]] = OrderedDict()

    def learn(self, item: SessionMessage) -> None:
        """Take the header maps of the tools in a list that passes."""
        result = getattr(item.message, "result", None)
        tools = result.get("tools") if result else None
        if type(tools) is not list:
            return
        for tool in tools:
            if type(tool) is dict and type(tool.get("name")) is str:
                schema = tool.get("inputSchema")
                bad = find_invalid_x_mcp_header(schema)
                self._maps[tool["name"]] = {} if bad else x_mcp_header_map(schema)
                if len(self._maps) > self._limit:
                    self._maps.popitem(last=False)

    def renewed(self, item: SessionMessage) -> SessionMessage:
        """Return the item with headers that equal its body, its revision included: one request, one wire."""
        metadata, message = item.metadata, item.message
        if not (isinstance(metadata, ClientMessageMetadata) and metadata.headers and type(message) is JSONRPCRequest):
            return item
        params = message.params or {}
        revision = revision_of(params) if "_meta" in params else None
        if revision is None and MCP_METHOD_HEADER not in metadata.headers:
            return item
        self.used = True
        headers = {k: v for k, v in metadata.headers.items() if not k.lower().startswith(_PARAM_PREFIX)}
        headers[MCP_METHOD_HEADER] = message.method
        if revision is not None:
            headers[MCP_PROTOCOL_VERSION_HEADER] = revision
        self._rename(headers, message.method, params)
        if message.method == "tools/call" and (known := self._maps.get(params.get("name", ""))):
            # Where the map is not known no such header leaves; the server then asks for a new list. Of a sealed call
            # nobody sees the name.
            headers.update(mcp_param_headers(known, params.get("arguments") or {}))
        if headers == metadata.headers:
            return item
        return SessionMessage(message, replace(metadata, headers=headers))

    def _rename(self, headers: dict[str, str], method: str, params: dict[str, Any]) -> None:
        """Make ``Mcp-Name`` anew; of a method of an extension, whose rule is the host's, keep what the body holds."""
        key = NAME_BEARING_METHODS.get(method)
        if key is not None and isinstance(name := params.get(key), str):
            headers[MCP_NAME_HEADER] = encode_header_value(name)
        elif (stated := headers.get(MCP_NAME_HEADER)) is not None:
            named = decode_header_value(stated)
            if not any(value == named for value in params.values() if type(value) is str):
                del headers[MCP_NAME_HEADER]

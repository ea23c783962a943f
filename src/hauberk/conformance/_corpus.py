"""What a plugin is given: every method of the protocol, in both directions, as it should be and as it should not.

The secret stands wherever a secret can: in arguments, results, errors and headers; never in a name.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec
import orjson

from hauberk.connection import Connection, Role
from hauberk.event import Event
from hauberk.exchange import Exchange
from hauberk.layers import Layer
from hauberk.message import Frame, Message, ToolCall, Toward
from hauberk.methods import METHODS
from hauberk.principal import Principal

CANARY: Final = "hauberk-canary-5b1e0c77"
_META: Final = {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "progressToken": "p"}
_TEXT: Final = {"type": "text", "text": f"the password is {CANARY}"}
_TOOL: Final = {"name": "read_note", "description": f"Reads. {CANARY}", "inputSchema": {"type": "object"}}
_ARGUMENTS: Final = {"path": "/notes", "token": CANARY, "deep": {"list": [1, {"secret": CANARY}]}}
_HEADERS: Final = {"authorization": f"Bearer {CANARY}"}

PARAMS: Final[dict[str, dict[str, Any]]] = {
    "initialize": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "c", "version": CANARY},
    },
    "tools/call": {"name": "read_note", "arguments": _ARGUMENTS, "_meta": _META},
    "resources/read": {"uri": f"file:///notes?key={CANARY}"},
    "prompts/get": {"name": "greet", "arguments": {"who": CANARY}},
    "completion/complete": {"ref": {"type": "ref/prompt", "name": "p"}, "argument": {"name": "a", "value": CANARY}},
    "logging/setLevel": {"level": "debug"},
    "sampling/createMessage": {"messages": [{"role": "user", "content": _TEXT}], "maxTokens": 1},
    "elicitation/create": {"message": CANARY, "requestedSchema": {"type": "object", "properties": {}}},
    "notifications/message": {"level": "info", "data": CANARY},
    "notifications/progress": {"progressToken": "p", "progress": 1, "message": CANARY},
    "notifications/cancelled": {"requestId": 1, "reason": CANARY},
    "tasks/get": {"taskId": "t"},
}
RESULTS: Final[dict[str, dict[str, Any]]] = {
    "initialize": {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": "s"}},
    "tools/list": {"tools": [_TOOL, {**_TOOL, "name": "write_note"}], "nextCursor": CANARY},
    "tools/call": {"content": [_TEXT], "structuredContent": {"token": CANARY}, "isError": False},
    "resources/read": {"contents": [{"uri": "file:///notes", "text": CANARY}]},
    "resources/list": {"resources": [{"uri": "file:///notes", "name": "notes"}]},
    "prompts/list": {"prompts": [{"name": "greet"}]},
    "prompts/get": {"messages": [{"role": "user", "content": _TEXT}]},
    "sampling/createMessage": {"role": "assistant", "content": _TEXT, "model": "m"},
    "elicitation/create": {"action": "accept", "content": {"pin": CANARY}},
    "roots/list": {"roots": [{"uri": "file:///"}]},
}
_ERRORS: Final[tuple[dict[str, Any], ...]] = (
    {"code": -32603, "message": f"no such token: {CANARY}"},
    {"code": -32000, "message": "failed", "data": {"token": CANARY}},
)
_UNKNOWN: Final = {"unheardOf": {"of": [None, 1.5, "x"]}}
_ODD_RESULTS: Final[tuple[tuple[str, dict[str, Any]], ...]] = (
    ("tools/list", {}),
    ("tools/list", {"tools": "none"}),
    ("tools/list", {"tools": [7, None, {}, {"name": 7}, {"name": "x", "inputSchema": None, "annotations": []}]}),
    ("tools/call", {}),
    ("tools/call", {"content": [{"type": "hologram", "uri": 7}, "text", None], "structuredContent": [1]}),
    ("tools/call", {"content": None, "isError": "perhaps"}),
    ("resources/list", {"resources": [None, {"uri": 7}]}),
    ("prompts/list", {"prompts": {"a": 1}}),
    ("vendor/unheard-of", {"anything": {"at": ["all"]}}),
)
_ODD_REQUESTS: Final[tuple[tuple[str, Any], ...]] = (
    ("vendor/unheard-of", None),
    ("vendor/unheard-of", _UNKNOWN),
    ("tools/list", None),
    ("tools/call", {"name": "read_note"}),
    ("tools/call", {"name": "read_note", "arguments": {}, **_UNKNOWN, "_meta": _UNKNOWN}),
    ("tools/call", {"name": "", "arguments": {"": {"": []}}}),
    ("tools/call", {"name": "név\u0301/*?[]\u200b" * 40, "arguments": {"x": "y" * 10_000}}),
)


def principal(name: str = "user:someone") -> Principal:
    """Return an identity that a channel proved."""
    return Principal(id=name, kind="user", groups=frozenset({"staff"}), method="mtls")


def connection(role: Role, server: str = "files", *, id: str = "c0ffee", who: Principal | None = None) -> Connection:
    """Return a connection on which a principal was proved."""
    made = Connection(id=id, host="default", server=server, role=role, target="server", peer=f"192.0.2.1:{id}")
    made.principal = who or principal()
    made.headers.update(_HEADERS)
    return made


def exchange(method: str, who: Principal, number: int = 1) -> Exchange:
    """Return a request in flight."""
    return Exchange(number, number, method, who, 1000.0, number)


def message(kind: Any, toward: Toward, method: str, body: Any, where: Connection, number: int = 1) -> Message:
    """Return a message of a connection, with its exchange."""
    data: dict[str, Any] = {"jsonrpc": "2.0"}
    if kind in ("request", "result", "error"):
        data["id"] = number
    if kind in ("request", "notification"):
        data |= {"method": method} | ({} if body is None else {"params": body})
    else:
        data[kind] = body
    raw, who = orjson.dumps(data), where.principal
    held = None if kind == "notification" else exchange(method, who, number)
    return Message(
        kind=kind,
        toward=toward,
        method=method,
        data=orjson.loads(raw),
        id=data.get("id"),
        size=len(raw),
        principal=who,
        exchange=held,
        headers=_HEADERS,
    )


def frame(of: Message, where: Connection, *, parsed: bool) -> Frame:
    """Return a message as the layers near the wire get it."""
    data = orjson.dumps(of.data)
    if not parsed:
        return Frame(data, of.toward, where.peer)
    return Frame(data, of.toward, where.peer, of.kind, of.method, of.id)


def call(of: Message, where: Connection) -> ToolCall:
    """Return a request as a judge gets it."""
    assert of.exchange is not None  # noqa: S101 - a request has one
    return ToolCall(of, of.exchange, where.server)


class Sample(msgspec.Struct, frozen=True):
    """One message to make."""

    kind: str
    toward: Toward
    method: str
    body: Any


def usual() -> Iterator[Sample]:
    """Yield each method of the protocol in each direction that it has, with its answers."""
    for known in METHODS.values():
        sides: tuple[Toward, ...] = ("server", "client")
        for toward in sides:
            sender = "client" if toward == "server" else "server"
            if known.sender not in (sender, "both"):
                continue
            yield Sample(known.kind, toward, known.name, PARAMS.get(known.name, {}))
            if known.kind == "request":
                back: Toward = "client" if toward == "server" else "server"
                yield Sample("result", back, known.name, RESULTS.get(known.name, {}))
    for error in _ERRORS:
        yield Sample("error", "client", "tools/call", error)


def strange() -> Iterator[Sample]:
    """Yield messages that the protocol does not know, or that a careless peer writes."""
    for sample in usual():
        yield msgspec.structs.replace(sample, body={**sample.body, **_UNKNOWN})
    for method, params in _ODD_REQUESTS:
        yield Sample("request", "server", method, params)
        yield Sample("notification", "server", method, params)
    for method, result in _ODD_RESULTS:
        yield Sample("result", "client", method, result)
    yield Sample("error", "client", "tools/list", {"code": 1, "message": ""})
    yield Sample("error", "client", "vendor/unheard-of", {"code": 1, "message": "m", "data": [1, None]})


def events() -> Iterator[Event]:
    """Yield events of several kinds, the last of one that nobody has heard of."""
    yield Event("core.started", id="1", time=1000.0, category="system", details={"plugins": ["a"]})
    yield Event("core.connected", id="2", time=1000.0, category="connection", action="allowed", server="files")
    yield Event(
        "core.allowed",
        id="3",
        time=1000.0,
        category="decision",
        action="allowed",
        server="files",
        principal="user:someone",
        source="mtls",
        method="tools/call",
        tool="read_note",
        exchange="c0ffee-1",
        digest="sha256:00",
        sizes={"request": 120},
        rule="files/*",
        plugin="sieve",
    )
    yield Event("vendor.unheard_of", category="policy", severity="critical", count=0, details={"odd": [None, {}]})


FRAMES: Final = (Layer.WIRE, Layer.GATE, Layer.SEAL)
"""The layers whose hooks get bytes."""

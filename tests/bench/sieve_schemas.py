"""A check of a tool's arguments against the bare validators (G14): the fast one, and the one that is the reference."""

from __future__ import annotations

from typing import Any, Final

import jsonschema  # type: ignore[import-untyped]
import jsonschema_rs
import orjson
from tests.bench.measure import Row, micros, ratio, rounds

from hauberk.connection import Connection
from hauberk.exchange import Exchange
from hauberk.message import Message, ToolCall
from hauberk.principal import ANONYMOUS
from hauberk_sieve._mesh import Setting
from hauberk_sieve._options import Options
from hauberk_sieve._seen import Seen
from hauberk_sieve.schemas import Schemas

SMALL: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "path": {"type": "string", "minLength": 1, "maxLength": 4096},
        "line": {"type": "integer", "minimum": 0},
        "mode": {"enum": ["text", "bytes"]},
    },
    "required": ["path"],
    "additionalProperties": False,
}
ARGUMENTS: Final[dict[str, Any]] = {"path": "/srv/notes/milk.txt", "line": 17, "mode": "text"}


class _Guard:
    """Options that are the same for all."""

    def options_for(self, plugin: Any, server: str) -> Options:
        """Return them."""
        return Options(default="allow")


def run() -> list[Row]:
    """Measure the verdict on a call whose arguments are allowed, after another one of its tool was."""
    connection = Connection(id="bench", host="bench", server="bench", role="client")
    seen = Seen()
    tools = [{"name": f"tool_{place}", "inputSchema": {**SMALL, "description": str(place)}} for place in range(20)]
    listed = {"jsonrpc": "2.0", "id": 1, "result": orjson.loads(orjson.dumps({"tools": tools}))}
    seen.take(Message(kind="result", toward="client", method="tools/list", data=listed, id=1), connection)
    mesh = Schemas(Setting(object, Options(default="allow"), _Guard(), seen))
    schema: dict[str, Any] = {**SMALL, "description": "7"}
    fast = jsonschema_rs.Draft202012Validator(schema, validate_formats=True, offline=True)
    slow = jsonschema.Draft202012Validator(schema)
    data = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "tool_7", "arguments": ARGUMENTS}}
    call = _call(data)
    assert mesh.judge(call, connection) is None
    judge = mesh.again(call, connection)
    assert judge is not None
    assert judge(call, connection) is None
    assert fast.is_valid(ARGUMENTS)
    assert slow.is_valid(ARGUMENTS)
    times = rounds(
        {
            "judge": lambda: judge(call, connection),
            "fast": lambda: fast.is_valid(ARGUMENTS),
            "made": lambda: _call(data),
            "made and judged": lambda: judge(_call(data), connection),
        },
        repeat=31,
        count=4000,
    )
    reference = rounds(
        {"judge": lambda: judge(call, connection), "slow": lambda: slow.is_valid(ARGUMENTS)}, repeat=31, count=200
    )
    what = f"small schema ({micros(times, 'judge'):.2f} µs)"
    extra = ratio(times, "made and judged", "fast") - ratio(times, "made", "fast")
    return [
        Row("argument check / bare jsonschema-rs", what, ratio(times, "judge", "fast"), bar=3.0, aim=1.5),
        Row("argument check / bare jsonschema-rs", "the same, of a call that nobody has read", extra),
        Row("argument check / compiled jsonschema", what, ratio(reference, "judge", "slow"), bar=0.05, aim=0.02),
    ]


def _call(data: dict[str, Any]) -> ToolCall:
    checked = orjson.dumps(data)
    message = Message(kind="request", toward="server", method="tools/call", data=data, id=1, size=len(checked))
    return ToolCall(message, Exchange(1, 1, "tools/call", ANONYMOUS, 0.0, 1), "bench", checked=checked)

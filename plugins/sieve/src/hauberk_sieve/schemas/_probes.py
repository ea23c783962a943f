"""What shows that schemas are live: a tool of which the list is told to be bad, and calls of it that are no good."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from hauberk.event import Event
from hauberk.probe import SERVER, Probe, call, client, request, result, server
from hauberk_sieve.schemas._options import Schemas

_UNUSABLE: Final = "sieve.schema_unusable"
_TOOL: Final = "schemas"
_NUMBER: Final = {"type": "object", "properties": {"count": {"type": "integer"}}}
_ELSEWHERE: Final = {"$ref": "https://example.invalid/schema"}
_TEXT: Final = {"content": [], "structuredContent": {"count": "many"}}


def probes(guard: Any, plugin: Any) -> list[Probe]:
    """Return the probes of the table that holds for the doctor's server."""
    options = guard.options_for(plugin, SERVER)
    table: Schemas = options.schemas
    found = []
    if table.arguments != "off":
        found += [
            _tells("header", {"x-mcp-header": "Count"}, "sieve.header_hidden", "a tool with a bad x-mcp-header"),
            _tells("unusable", _ELSEWHERE, "sieve.schemas_found", "a tool whose schema leads out of it"),
        ]
    if not options.rules().decide(SERVER, "tool", _TOOL).allowed:
        return found  # its calls do not come so far that arguments could be checked
    if table.arguments == "deny":
        found += [
            _refuses("bad_arguments", _NUMBER, "sieve.arguments", "that its tool's inputSchema does not allow"),
            _refuses("unusable_schema", _ELSEWHERE, _UNUSABLE, "of a tool whose schema leads out of it"),
        ]
    if table.results == "deny":
        found.append(_refuses_result())
    return found


def _list(schema: dict[str, Any], **more: Any) -> tuple[Any, ...]:
    tools = {"tools": [{"name": _TOOL, "inputSchema": schema, **more}]}
    return client(request("tools/list", id=1)), server(result(tools, id=1))


def _tells(name: str, schema: dict[str, Any], code: str, what: str) -> Probe:
    def check(events: Sequence[Event]) -> str | None:
        return None if any(event.code == code for event in events) else f"no event {code!r} came of the list"

    return Probe(f"sieve.tells_{name}_schema", f"{what} is told of when it is listed", _list(schema), check=check)


def _refuses(name: str, schema: dict[str, Any], code: str, what: str) -> Probe:
    bad = client(call(_TOOL, {"count": "many"}, id=2))
    return Probe(f"sieve.refuses_{name}", f"a call {what} is refused", (*_list(schema), bad), refused=code)


def _refuses_result() -> Probe:
    said = (client(call(_TOOL, id=2)), server(result(_TEXT, id=2)))
    control = "a result that is not what its tool's outputSchema says is refused"
    messages = (*_list({"type": "object"}, outputSchema=_NUMBER), *said)
    return Probe("sieve.refuses_bad_result", control, messages, refused="sieve.result_schema")

"""How the codes of schemas come about."""

from __future__ import annotations

from typing import Any, Final

from contrib.docs.scene import Line, Scene, answer, call, request

_RULES: Final = '[sieve]\ndefault = "allow"\n'
_INPUT: Final = {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}
_OUTPUT: Final = {"type": "object", "properties": {"size": {"type": "integer"}}, "required": ["size"]}


def _listed(schema: Any = _INPUT, **more: Any) -> tuple[Line, Line]:
    return request("tools/list", id=0), answer({"tools": [{"name": "read", "inputSchema": schema, **more}]}, 0)


_ELSEWHERE: Final = _listed({"$ref": "https://schemas.example/read.json"})
_HEADER: Final = _listed({"type": "object", "properties": {"path": {"type": "string", "x-mcp-header": "My Path"}}})
REFUSALS: Final = {
    "sieve.arguments": Scene((*_listed(), call("read", path=7)), _RULES),
    "sieve.result_schema": Scene(
        (
            *_listed(outputSchema=_OUTPUT),
            call("read", path="/a"),
            answer({"content": [{"type": "text", "text": "3 bytes"}], "structuredContent": {"size": "3 bytes"}}),
        ),
        _RULES,
    ),
    "sieve.schema_unusable": Scene((*_ELSEWHERE, call("read", path="/a")), _RULES),
    "sieve.schema_unknown": Scene((call("read", path="/a"),), f"{_RULES}\n[sieve.schemas]\nrequire = true\n"),
    "sieve.header": Scene((*_HEADER, call("read", path="/a")), _RULES),
}
EVENTS: Final = {
    "sieve.schema_fault": Scene(
        (*_listed(), call("read", path=7)), f'{_RULES}\n[sieve.schemas]\narguments = "alert"\n'
    ),
    "sieve.schemas_found": Scene(_ELSEWHERE, _RULES),
    "sieve.header_hidden": Scene(_HEADER, _RULES),
}

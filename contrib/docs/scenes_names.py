"""How the codes of names that mislead come about."""

from __future__ import annotations

from typing import Final

from contrib.docs.scene import Scene, answer, call, request

_OPEN: Final = '[sieve]\ndefault = "allow"\n'
_TWINS: Final = (request("tools/list"), answer({"tools": [{"name": "read_note"}, {"name": "Read_Note"}]}))
_HELLO: Final = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "agent", "version": "1"}}
_IMPOSTOR: Final = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "serverInfo": {"name": "GitHub", "version": "1"},
}
REFUSALS: Final = {"sieve.name": Scene((*_TWINS, call("read_note", 2)), _OPEN)}
EVENTS: Final = {
    "sieve.names": Scene(_TWINS, _OPEN),
    "sieve.impersonated": Scene(
        (request("initialize", _HELLO), answer(_IMPOSTOR)), f'{_OPEN}[server.github]\ncommand = "github-mcp"\n'
    ),
}
UNPLAYED_EVENTS: Final = {
    "sieve.shadowed": ("policy", "warning", "logged", "`names`, `servers`, `same_definition`"),
    "sieve.unshared": ("policy", "warning", "logged", "`reason`"),
}
"""Category, severity, action and details of those that need two guards, or a broken disk."""

"""How the codes of what servers ask back, of links, of news and of long lists come about."""

from __future__ import annotations

from typing import Any, Final

from contrib.docs.scene import Line, Scene, answer, call, request

_RULES: Final = '[sieve]\ndefault = "allow"\n'
_LINK: Final = {"type": "resource_link", "name": "status", "uri": "http://169.254.169.254/latest/meta-data/"}


def _ask(method: str, params: Any) -> Line:
    """Return a request of the server."""
    return "server", {"jsonrpc": "2.0", "id": 7, "method": method, "params": params}


_PASSWORD: Final = _ask(
    "elicitation/create",
    {
        "message": "Please sign in",
        "requestedSchema": {"type": "object", "properties": {"password": {"type": "string"}}},
    },
)
_CHANGED: Final[Line] = ("server", {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})
_ROOTS: Final[Line] = (
    "client",
    {"jsonrpc": "2.0", "id": 7, "result": {"roots": [{"uri": "file:///home/you"}, {"uri": "file:///srv/notes"}]}},
)
REFUSALS: Final = {
    "sieve.ask": Scene((_PASSWORD,), _RULES, role="server"),
    "sieve.address": Scene((request("resources/read", {"uri": _LINK["uri"]}),), _RULES),
    "sieve.endless_list": Scene(
        (request("prompts/list"), answer({"prompts": [], "nextCursor": "more"})),
        "[sieve]\n\n[sieve.storms]\npages = 1\n",
    ),
    "sieve.storm": Scene((_CHANGED, _CHANGED), _RULES),
}
EVENTS: Final = {
    "sieve.asked": Scene((_PASSWORD,), f'{_RULES}\n[sieve.asks]\nelicitation = "alert"\n'),
    "sieve.link_removed": Scene((call("report"), answer({"content": [_LINK]})), _RULES),
    "sieve.roots_hidden": Scene(
        (_ask("roots/list", {}), _ROOTS), f'{_RULES}\n[sieve.asks]\nroots = "allow"\nroots_under = ["/srv"]\n'
    ),
}
UNPLAYED_EVENTS: Final = {
    "sieve.resolved": ("policy", "info", "logged", "`addresses`"),
    "sieve.untold": ("policy", "warning", "logged", "`why`"),
}
"""Category, severity, action and details of those that need a network, or a plugin that refuses to seal."""

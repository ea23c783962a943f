"""What shows that questions of a server are judged."""

from __future__ import annotations

from typing import Any, Final

from hauberk.probe import SERVER, Probe, request, server
from hauberk_sieve.asks._options import Asks

_LOGIN: Final = {
    "message": "sign in",
    "requestedSchema": {"type": "object", "properties": {"password": {"type": "string"}}},
}
_MESSAGES: Final = {"messages": [{"role": "user", "content": {"type": "text", "text": "hello"}}], "maxTokens": 1}


def probes(guard: Any, plugin: Any) -> list[Probe]:
    """Return the probes of the table that holds for the doctor's server."""
    table: Asks = guard.options_for(plugin, SERVER).asks
    questions: tuple[tuple[str, bool, str, dict[str, Any], str], ...] = (
        ("sampling", table.sampling == "deny", "sampling/createMessage", _MESSAGES, "a sampling request is refused"),
        ("roots", table.roots == "deny", "roots/list", {}, "a look at the roots is refused"),
        (
            "form_for_password",
            table.elicitation != "alert" and not (table.elicitation == "allow" and table.secrets),
            "elicitation/create",
            _LOGIN,
            "a form that asks for a password is refused",
        ),
        (
            "script_for_url",
            table.elicitation != "alert",
            "elicitation/create",
            {"mode": "url", "message": "sign in", "url": "javascript:0", "elicitationId": "1"},
            "an elicitation that leads to a script is refused",
        ),
    )
    return [
        Probe(f"sieve.refuses_{name}", control, (server(request(method, params)),), refused="sieve.ask")
        for name, live, method, params, control in questions
        if live
    ]

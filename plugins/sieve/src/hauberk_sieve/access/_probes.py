"""What shows that the sieve is live: a tool that every table denies, and one that no table names."""

from __future__ import annotations

from typing import Any, Final

from hauberk.probe import SERVER, Probe, call, client, request, result, server
from hauberk_sieve._options import PROBED, patterns
from hauberk_sieve.access._rules import Rules

_UNLISTED: Final = "unlisted"


def probes(guard: Any, plugin: Any) -> list[Probe]:
    """Return the probes of the table that holds for the doctor's server."""
    options = guard.options_for(plugin, SERVER)
    tools = {"tools": [{"name": PROBED.tool, "inputSchema": {"type": "object"}}]}
    found = [
        Probe(
            "sieve.refuses_denied_call",
            "a call of a tool that a rule denies is refused",
            (client(call(PROBED.tool)),),
            refused="sieve.denied",
        ),
        Probe(
            "sieve.hides_denied_tool",
            "a tool that a rule denies is gone from a list",
            (client(request("tools/list")), server(result(tools))),
            hidden=PROBED.tool,
        ),
    ]
    allowed = Rules("deny", patterns("allow", options.allow)).decide(SERVER, _UNLISTED).allowed
    if options.default == "deny" and not allowed:  # a list that allows every server leaves nothing that is unlisted
        found.append(
            Probe(
                "sieve.refuses_unlisted_call",
                "a call of a tool that no rule names is refused",
                (client(call(_UNLISTED)),),
                refused="sieve.denied",
            )
        )
    return found

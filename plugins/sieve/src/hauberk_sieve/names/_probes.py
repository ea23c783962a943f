"""What shows that names are read: one that hides a character, and two that look the same."""

from __future__ import annotations

from hauberk.probe import SERVER, Probe, call, client, request, result, server
from hauberk_sieve._mesh import Setting

_HIDDEN = "probe\N{ZERO WIDTH SPACE}d"
_TWINS = ("probed_twin", "Probed_Twin")


def spelling(setting: Setting) -> list[Probe]:
    """Return the probe of a call whose name has a hidden character."""
    if setting.of(SERVER).names.spelling != "deny":
        return []
    return [
        Probe(
            "sieve.refuses_misleading_name",
            "a call of a tool whose name has a hidden character is refused",
            (client(call(_HIDDEN)),),
            refused="sieve.name",
        )
    ]


def twins(setting: Setting) -> list[Probe]:
    """Return the probe of a list with two names that look the same."""
    if setting.of(SERVER).names.twins != "deny":
        return []
    tools = {"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in _TWINS]}
    return [
        Probe(
            "sieve.hides_twins",
            "a tool is gone from a list that has another one that looks the same",
            (client(request("tools/list")), server(result(tools))),
            hidden=_TWINS[0],
        )
    ]

"""What shows that names are read: one that hides a character, and two that look the same."""

from __future__ import annotations

from collections.abc import Sequence

from hauberk.event import Event
from hauberk.probe import SERVER, Probe, call, client, request, result, server
from hauberk_sieve._mesh import Setting

_HIDDEN = "probe\N{ZERO WIDTH SPACE}d"
_TWINS = ("probed_twin", "Probed_Twin")


def spelling(setting: Setting) -> list[Probe]:
    """Return the probe of a name that has a hidden character."""
    if setting.of(SERVER).names.spelling != "deny":
        tools = {"tools": [{"name": _HIDDEN, "inputSchema": {"type": "object"}}]}
        return [
            Probe(
                "sieve.tells_misleading_name",
                "a tool whose name has a hidden character is told of when it is listed",
                (client(request("tools/list")), server(result(tools))),
                check=_told,
            )
        ]
    return [
        Probe(
            "sieve.refuses_misleading_name",
            "a call of a tool whose name has a hidden character is refused",
            (client(call(_HIDDEN)),),
            refused="sieve.name",
        )
    ]


def _told(events: Sequence[Event]) -> str | None:
    return None if any(event.code == "sieve.names" for event in events) else "there is no event of it"


def twins(setting: Setting) -> list[Probe]:
    """Return the probe of a list with two names that look the same; where rules hide both it would show nothing."""
    options = setting.of(SERVER)
    if options.names.twins != "deny" or options.otherwise != "allow":
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

"""What shows that links are looked at: a server that introduces itself with one to a machine's own services."""

from __future__ import annotations

from typing import Any, Final

from hauberk.probe import SERVER, Probe, client, request, result, server

_METADATA: Final = "http://169.254.169.254/latest/meta-data/"
_HELLO: Final = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": SERVER, "version": "1"},
}
_INFO: Final = {"name": SERVER, "version": "1", "websiteUrl": _METADATA}


def probes(guard: Any, plugin: Any) -> list[Probe]:
    """Return the probes of the table that holds for the doctor's server."""
    table = guard.options_for(plugin, SERVER).addresses
    if table.act == "alert" or "http://169.254.169.254:80" in table.origins_with_ports:
        return []
    answer = result({"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": _INFO})
    messages = (client(request("initialize", _HELLO)), server(answer))
    control = "a link to a machine's own metadata is stopped"
    if table.act == "redact":
        return [Probe("sieve.removes_link", control, messages, hidden=_METADATA)]
    return [Probe("sieve.refuses_link", control, messages, refused="sieve.address")]

"""What shows that news is thinned out, and that a list which never ends is refused."""

from __future__ import annotations

from typing import Any, Final

from hauberk.probe import SERVER, Probe, client, notification, request, result, server

_CHANGED: Final = server(notification("notifications/prompts/list_changed"))
_CURSOR: Final = "hauberk-doctor"


def probes(guard: Any, plugin: Any) -> list[Probe]:
    """Return the probes of the table that holds for the doctor's server."""
    page: dict[str, Any] = {"prompts": [], "nextCursor": _CURSOR}
    again = request("prompts/list", {"cursor": _CURSOR}, id=2)
    found = [
        Probe(
            "sieve.refuses_endless_list",
            "a list whose pages lead in a circle is refused",
            (client(request("prompts/list")), server(result(page)), client(again), server(result(page, id=2))),
            refused="sieve.endless_list",
        )
    ]
    if guard.options_for(plugin, SERVER).storms.every:
        found.append(
            Probe(
                "sieve.thins_out_news",
                "news that comes too often is held",
                (_CHANGED, _CHANGED),
                refused="sieve.storm",
            )
        )
    return found

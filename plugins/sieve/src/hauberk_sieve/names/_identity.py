"""Who a server says that it is: another server of the configuration, or one that looks like it.

A server's ``serverInfo`` is its own word, and nothing here trusts it; but a host may show it. So a name by which the
configuration knows another server, or one that looks the same, leaves an event. Nothing is refused: two servers of one
program have one name.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from hauberk.connection import Connection
from hauberk.event import Event
from hauberk.message import Message
from hauberk_sieve._spelling import shown, unfit

METHODS: Final = ("initialize", "server/discover")
_META: Final = "io.modelcontextprotocol/serverInfo"


def impersonates(message: Message, connection: Connection, servers: Sequence[str]) -> Iterator[Event]:
    """Yield the event of a server that calls itself as another one is called.

    Args:
        message: The answer in which it says who it is.
        connection: Its connection.
        servers: The servers of the configuration.
    """
    name = _said(message.original.result or {}) if message.toward == "client" else None
    others = [server for server in servers if server != connection.server]
    if name is None or not others or name == connection.server or unfit(name) is not None:
        return
    from hauberk_sieve.names._twins import looks  # a connection begins once

    mine, theirs = {look for both in looks([name]) for look in both}, zip(others, *looks(others), strict=True)
    for server, *both in theirs:
        if mine.intersection(both):
            yield Event(
                code="sieve.impersonated",
                severity="warning",
                server=connection.server,
                plugin="sieve",
                details={"name": shown(name), "looks_like": shown(server)},
            )


def _said(result: dict[str, Any]) -> str | None:
    meta = result.get("_meta")
    for info in (result.get("serverInfo"), meta.get(_META) if isinstance(meta, dict) else None):
        name = info.get("name") if isinstance(info, dict) else None
        if isinstance(name, str):
            return name
    return None

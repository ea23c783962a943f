"""How a connection is made: ``on_connect`` before its handshake, the checks of the peer after it, then the record.

The rules:

1. Nothing is started or dialled, and nothing is read of a peer, before ``on_connect`` let the connection pass.
2. A connection is recorded as made (``core.connected``) when every check of its peer has passed; beside a client that
   dials, once the peer has answered over the secured channel. A refusal at any step is recorded under its own code.
3. A required sink that cannot record the connection refuses it.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING

import msgspec

from hauberk import pipeline
from hauberk.connection import Carrier, Connection, Peer, Program, Role
from hauberk.event import Action, Event, Severity
from hauberk.principal import ANONYMOUS, DOCTOR
from hauberk.refusals import ConfigError, HookError, Refused

if TYPE_CHECKING:
    from hauberk.guard import Guard


async def admit(
    guard: Guard,
    server: str,
    role: Role,
    *,
    target: str = "",
    peer: str = "",
    program: Program | None = None,
    carrier: Carrier = "pipe",
) -> Connection:
    """Run ``on_connect`` for a new connection; the first one opens the guard, if nothing else has.

    Args:
        guard: Whose plugins are asked.
        server: The server's name in rules and events.
        role: Where the guard stands.
        target: What is dialled, or listened on.
        peer: The address of the other end, where it is known already.
        program: What is started.
        carrier: How the bytes will travel.

    Raises:
        ConfigError: The server has the name of the doctor's own.
        Refused: A plugin refused the connection.
        PluginError: The guard was not open, and a plugin cannot open.
    """
    if server == DOCTOR.id:  # plugins keep out of their records what belongs to this name
        raise ConfigError(f"{server!r} cannot name a server: it is the doctor's own", hint="give it another name")
    await guard.open()
    policy = guard.policy
    connection = Connection(
        id=secrets.token_hex(6), host=guard.host, server=server, role=role, target=target, peer=peer, carrier=carrier
    )
    connection.program = program
    with policy.users.one():
        try:
            await pipeline.connect(policy.chains.connect, connection, policy.deadline, guard.clock)
        except asyncio.CancelledError:
            connection.end()
            raise
        except (Refused, HookError) as error:
            connection.end()
            refused(guard, connection, error)
            if isinstance(error.__cause__, KeyboardInterrupt):
                raise KeyboardInterrupt from None
            raise (error.refusal() if isinstance(error, HookError) else error) from None
    return connection


def proved(guard: Guard, connection: Connection, peer: Peer | None = None) -> None:
    """Run the checks that plugins left for the peer; a refusal is recorded.

    Raises:
        Refused: As `hauberk.connection.Connection.proved`.
    """
    try:
        connection.proved(peer)
    except (Refused, HookError) as error:
        refused(guard, connection, error)
        raise (error.refusal() if isinstance(error, HookError) else error) from None


async def connected(guard: Guard, connection: Connection) -> None:
    """Record that a connection is made.

    Raises:
        Refused: A sink that is required cannot record it.
    """
    policy = guard.policy
    with policy.users.one():
        events = [guard.complete(event) for event in _about(connection, "core.connected", "allowed")]
        try:
            if (waiting := policy.recorder.barrier(events)) is not None:
                await waiting
        except Refused as error:
            refused(guard, connection, error)
            raise


def refused(guard: Guard, connection: Connection, error: Refused | HookError) -> None:
    """Record that a connection is not made; in front of a server a flood of them is counted (`hauberk.floods`)."""
    events = _about(connection, error.code, "blocked", error)
    if connection.role == "server" and guard.floods.counts(events[-1]):
        return
    guard.note(*events)


def _about(connection: Connection, code: str, action: Action, error: Refused | HookError | None = None) -> list[Event]:
    """Return what was noted on a connection, then the event of the connection itself."""
    notes, connection.notes = connection.notes, []
    severity: Severity = "info" if action == "allowed" else "warning"
    details = {"role": connection.role, **connection.described}
    made = Event(code=code, category="connection", severity=severity, action=action, details=details)
    if error is not None:
        made = msgspec.structs.replace(made, plugin=error.plugin or "", rule=getattr(error, "rule", None) or "")
        made.details["reason"] = error.message
    if connection.principal is not ANONYMOUS:
        who = connection.principal
        if who.tenant is not None:
            made.details["tenant"] = who.tenant
        made = msgspec.structs.replace(made, principal=who.id, source=who.method or "")
    where = {"server": connection.server, "exchange": connection.id}
    return [msgspec.structs.replace(event, **where) for event in (*notes, made)]

"""A server as a child process of the host, on the guard's own stdio transport."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
from mcp.client.stdio import StdioServerParameters

from hauberk import admission
from hauberk.carriers.child import GRACE, Child
from hauberk.carriers.stdio import Reader, Writer
from hauberk.connection import Program
from hauberk.hosts import _tap
from hauberk.hosts._ending import to_the_end
from hauberk.hosts._reading import GuardedRead
from hauberk.hosts._relay import take
from hauberk.hosts.sdk import GuardedWrite, Streams
from hauberk.refusals import ConfigError

if TYPE_CHECKING:
    from hauberk.connection import Connection
    from hauberk.guard import Guard
    from hauberk.session import Session


def program(guard: Guard, server: str, params: StdioServerParameters) -> Program:
    """Return what is started."""
    env = guard.config.child_env(server) | (params.env or {})
    return Program(params.command, tuple(params.args), env, None if params.cwd is None else str(params.cwd))


async def _started(guard: Guard, connection: Connection, what: Program) -> Child:
    child = Child(what.command, what.args, env=what.env, cwd=what.cwd, executable=connection.executable)
    try:
        admission.proved(guard, connection)
    except BaseException:
        await to_the_end(child.end())
        child.close()
        raise
    return child


@asynccontextmanager
async def run_child(guard: Guard, connection: Connection, params: StdioServerParameters) -> AsyncIterator[Streams]:
    """Start a server, guard it, and end it: end of input, TERM, KILL.

    Raises:
        OSError: It cannot be started.
        ConfigError: It wants an encoding other than UTF-8, which no revision of the protocol has.
    """
    if params.encoding.lower().replace("-", "") != "utf8":
        raise ConfigError(f"server {connection.server!r} has encoding {params.encoding!r}", hint="MCP is UTF-8")
    child = await _started(guard, connection, connection.program or program(guard, connection.server, params))
    inbox, room = _tap.Tap(), _tap.Room()
    loop = asyncio.get_running_loop()
    ending: list[asyncio.Task[None] | asyncio.TimerHandle] = []

    def ended() -> None:
        _tap.lose(session, inbox)
        ending.append(loop.create_task(_tap.end(session, inbox)))

    def broken() -> None:
        # What it still has to say may come; what was not written yet is lost, and its callers must not wait for ever.
        ending.append(loop.call_later(GRACE, ended))

    far = Writer(
        child.stdin,
        limit=guard.bounds.buffer_bytes,
        on_full=room.full,
        on_drained=room.drained,
        on_broken=broken,
    )
    session = guard.session(connection, inbox, far)
    reader = Reader(child.stdout, lambda frame: take(session, session.inn, frame), ended, bounds=guard.bounds)
    inbox.source = reader
    reader.start()

    async def over() -> None:
        inbox.end()

    session.on_close = over
    connection.watch(ended)

    async def watch() -> None:
        """End when the server has, though something that it started may hold its output open."""
        await child.wait()
        reader.drain()

    ending.append(loop.create_task(watch()))

    async def close_input() -> None:
        await _tap.flush(far, inbox)
        child.close_input()

    async def has_room() -> None:
        await room.wait()
        if far.broken:
            raise anyio.BrokenResourceError

    try:
        await session.agree()
        yield GuardedRead(session, inbox), GuardedWrite(session, inbox, close_input, has_room)
    finally:
        try:
            await to_the_end(_shut(child, far, reader, session, room, inbox))
        finally:
            for one in ending:
                one.cancel()


async def _shut(child: Child, far: Writer, reader: Reader, session: Session, room: _tap.Room, inbox: _tap.Tap) -> None:
    await _tap.flush(far, inbox)
    far.close(close_fd=False)
    room.drained()
    child.close_input()
    await child.waited(GRACE)
    await child.end()  # also what it started, if it has gone itself
    reader.stop()
    await session.close()
    child.close()

"""A server that was dialled, for a host in process: a connection that is lost ends the SDK's streams.

So does one that a plugin has hung up. It is not dialled again: the SDK's session knows no second connection. Whoever
asked something gets an error, and nothing is sent twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio

from hauberk.carriers.child import GRACE
from hauberk.hosts import _dial, _tap
from hauberk.hosts._ending import to_the_end
from hauberk.hosts._reading import GuardedRead
from hauberk.hosts._relay import take
from hauberk.hosts.sdk import GuardedWrite, Streams

if TYPE_CHECKING:
    from hauberk.carriers.stream import Stream
    from hauberk.guard import Guard
    from hauberk.session import Session


@asynccontextmanager
async def run_stream(guard: Guard, server: str, target: str | None) -> AsyncIterator[Streams]:
    """Dial a server, guard it, and close the connection in order.

    Args:
        guard: The plugins.
        server: The server's name in rules and events.
        target: ``unix:///path`` or ``tls://host:port``; None is what the configuration says.

    Raises:
        ConfigError: There is nothing to dial.
        Refused: There is no connection.
    """
    connection, stream = await _dial.dial(guard, server, target)
    inbox, room = _tap.Tap(), _tap.Room()
    inbox.source = stream.reader
    session = guard.session(connection, inbox, stream)
    ending: list[asyncio.Task[None]] = []
    closing = False

    def ended() -> None:
        if ending:
            return
        _tap.lose(session, inbox)
        if not closing:
            _dial.lost(guard, connection, stream, len(session.out.exchanges.flight))
        ending.append(asyncio.get_running_loop().create_task(_tap.end(session, inbox)))

    async def over() -> None:
        inbox.end()

    async def close() -> None:
        nonlocal closing
        closing = True
        await _tap.flush(stream, inbox)
        await stream.closed(GRACE)

    async def has_room() -> None:
        await room.wait()
        if stream.broken:
            raise anyio.BrokenResourceError

    session.on_close = over
    connection.watch(stream.abort)
    stream.attach(
        lambda frame: take(session, session.inn, frame),
        ended,
        on_full=room.full,
        on_drained=room.drained,
        on_broken=ended,
    )
    try:
        await session.agree()
        yield GuardedRead(session, inbox), GuardedWrite(session, inbox, close, has_room)
    finally:
        closing = inbox.closing = True
        try:
            await to_the_end(_shut(stream, session, room))
        finally:
            for one in ending:
                one.cancel()


async def _shut(stream: Stream, session: Session, room: _tap.Room) -> None:
    await stream.closed(GRACE)
    room.drained()
    await session.close()

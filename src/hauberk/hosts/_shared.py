"""One server for all connections (``shared = true``): its child, and a place in front of it for each client.

Each client has a session of the guard of its own before this, so that what one may see and do is decided for that one.
What passes between several clients and one server is decided in `_sharing`. A client that does not read never holds up
the others: what waits for it is bounded in size, and in how long there may be much of it; then its connection ends.
"""

from __future__ import annotations

import asyncio
import signal
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from hauberk import edge
from hauberk.carriers.child import GRACE, Child
from hauberk.carriers.stdio import Reader, Writer
from hauberk.event import Event
from hauberk.hosts._backends import OnBurst, started
from hauberk.hosts._sharing import Message, Routes
from hauberk.message import encode
from hauberk.refusals import Refused

if TYPE_CHECKING:
    from hauberk.bounds import Bounds
    from hauberk.carriers._source import OnFrame
    from hauberk.connection import Connection, Program
    from hauberk.guard import Guard
    from hauberk.hosts._relay import Side

_PATIENCE: Final = 1.0
"""How long much may wait for one client (seconds)."""
SLOW: Final = "does not read, and others wait for the same server"


class Place:
    """One client's place in front of the server; both what is written to, and what speaks."""

    bytes_only = True
    why = "ended by itself"
    impatient = False

    def __init__(self, hub: Hub, bounds: Bounds) -> None:
        self._hub: Final = hub
        self._much: Final = bounds.buffer_bytes
        self._most: Final = bounds.buffer_bytes + bounds.line_bytes
        self._timer: asyncio.TimerHandle | None = None
        """Runs while much waits."""
        self._waits: Final[deque[bytes]] = deque()
        self._size = 0
        self._paused = 0
        self._left = False

    @property
    def outlet(self) -> Place:
        """Return where the server is written to."""
        return self

    @property
    def inlet(self) -> Place:
        """Return where it speaks."""
        return self

    def attach(self, side: Side, on_frame: OnFrame, on_gone: Callable[[], object], on_burst: OnBurst) -> None:
        """Take who is to be told."""
        self.side, self._on_frame, self._on_gone, self._on_burst = side, on_frame, on_gone, on_burst

    def start(self) -> None:
        """Let the server speak."""
        self._hub.join(self)

    # --- to the server ---

    def deliver(self, data: bytes, _ticket: Any) -> None:
        """Write one frame."""
        self._hub.from_client(self, data)

    def unanswered(self, _ticket: Any) -> None:
        """Say nothing: the server needs no word."""

    @property
    def flooded(self) -> bool:
        """Whether so much waits for the server that even who caused it is to be held up."""
        return self._hub.outlet.flooded

    async def flushed(self) -> None:
        """Wait until nothing waits for the server."""
        await self._hub.outlet.flushed()

    # --- from the server ---

    def hear(self, message: Message) -> None:
        """Take one message."""
        if self._left:
            return
        frame = encode(message)
        self._waits.append(frame)
        self._size += len(frame)
        if not self._paused:
            self._hand_over()
        elif self._size > self._most:
            self._give_up()
        elif self._size > self._much and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_PATIENCE, self._give_up)

    def pause(self) -> None:
        """Give no more frames until `resume`."""
        self._paused += 1

    def resume(self) -> None:
        """Go on, if nothing else holds it up."""
        self._paused -= 1
        if self._waits and not self._paused:
            self._hub.soon(self._hand_over)

    def _hand_over(self) -> None:
        while self._waits and not self._paused:
            frame = self._waits.popleft()
            self._size -= len(frame)
            self._on_frame(frame)
        if self._size <= self._much:
            self._in_time()

    def _in_time(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        self.why, self.impatient = SLOW, True
        self.leave()
        self._on_gone()

    # --- the end ---

    def gone(self) -> None:
        """Learn that the server has gone."""
        self._left = True
        self._on_gone()

    def leave(self) -> None:
        """Ask nothing any more."""
        self._in_time()
        if not self._left:
            self._left = True
            self._hub.leave(self)

    def end_input(self) -> None:
        """Do nothing: others may ask on."""

    async def finish(self) -> None:
        """Give the place up; what was said by then is handed over."""
        self.leave()
        self._paused = 0
        self._hand_over()

    async def end(self) -> None:
        """Give the place up."""
        self.leave()


class Hub:
    """One child, and everybody's place in front of it."""

    def __init__(self, guard: Guard, server: str, child: Child, on_over: Callable[[Hub], object]) -> None:
        self._guard: Final = guard
        self._on_over: Final = on_over
        self._server: Final = server
        self.child: Final = child
        self._routes: Final = Routes()
        self._places: Final[set[Place]] = set()
        self._full = self._held = False
        self.over = False
        self.outlet: Final = Writer(
            child.stdin,
            limit=guard.bounds.buffer_bytes,
            on_full=self._slow,
            on_drained=self._fast,
            on_broken=self._exited,
        )
        self._inlet: Final = Reader(child.stdout, self._from_server, self._gone, bounds=guard.bounds)
        child.on_exit(self._exited)
        self.outlet.watch_reader()
        self._inlet.start()

    def soon(self, function: Callable[[], object]) -> None:
        """Call a function in the next turn of the event loop."""
        asyncio.get_running_loop().call_soon(function)

    def join(self, place: Place) -> None:
        """Take one more."""
        if self.over:
            self.soon(place.gone)
            return
        self._places.add(place)
        self._routes.members.add(place)
        if self._full:
            place.side.full()

    def leave(self, place: Place) -> None:
        """Let one go; the server need not go on with what that one asked."""
        self._places.discard(place)
        for message in self._routes.leave(place):
            self._write(message)

    def from_client(self, place: Place, frame: bytes) -> None:
        """Take one frame of a client, which the guard has let pass."""
        self._write(self._routes.from_client(place, edge.read(frame, bounds=self._guard.bounds)[0]))

    def stop(self) -> None:
        """Have nobody ask any more."""
        self._gone()

    async def end(self) -> None:
        """End the child: end of input, TERM, KILL."""
        self.outlet.close(close_fd=False)
        self.child.close_input()
        try:
            await self.child.waited(GRACE)
            await self.child.end()
        finally:
            self._inlet.stop()
            self.child.close()

    def _from_server(self, frame: bytes | edge.Overlong) -> None:
        if isinstance(frame, edge.Overlong):
            self._unreadable("core.line_too_long", edge.loose_id(frame.head, frame.tail))
            return
        try:
            message, _ = edge.read(frame, bounds=self._guard.bounds)
        except Refused as refused:
            self._unreadable(refused.code, edge.salvage_id(frame))
            return
        self._write(self._routes.from_server(message))
        if self.outlet.flooded and not self._held:  # what goes back to it has become too much
            self._held = True
            self._inlet.pause()

    def _unreadable(self, code: str, id: str | int | None) -> None:
        event = Event(code, category="refusal", severity="warning", action="blocked", server=self._server)
        if not self._guard.floods.counts(event):
            self._guard.note(event)
        self._routes.unreadable(id)

    def _write(self, message: Message | None) -> None:
        if message is not None and not self.over:
            self.outlet.deliver(encode(message), None)

    def _slow(self) -> None:
        self._full = True
        for place in tuple(self._places):
            place.side.full()

    def _fast(self) -> None:
        self._full = False
        if self._held:
            self._held = False
            self._inlet.resume()
        for place in tuple(self._places):
            place.side.drained()

    def _exited(self) -> None:
        """Take what it said last."""
        if not self.over:
            self._inlet.drain()

    def _gone(self) -> None:
        if self.over:
            return
        self.over = True
        self._inlet.stop()
        places = tuple(self._places)
        self._places.clear()
        for place in places:
            place.gone()
        self._on_over(self)


class SharedChild:
    """One child for all connections; the next connection after its end gets a new one."""

    def __init__(self, guard: Guard, program: Program) -> None:
        self._guard: Final = guard
        self._program: Final = program
        self._hub: Hub | None = None
        self._ending: Final[dict[asyncio.Task[None], Hub]] = {}

    async def open(self, connection: Connection) -> Place:
        """Give a place in front of the server, which is started if it is not there.

        Raises:
            Refused: ``core.not_started``.
        """
        if self._hub is None:
            self._hub = Hub(self._guard, connection.server, started(self._program, connection), self._end)
        return Place(self._hub, self._guard.bounds)

    def _end(self, hub: Hub) -> None:
        """Clean up after one that nobody can ask any more."""
        self._hub = None
        task = asyncio.get_running_loop().create_task(hub.end())
        self._ending[task] = hub
        task.add_done_callback(self._ending.pop)

    async def close(self) -> None:
        """End the server."""
        if self._hub is not None:
            self._hub.stop()
        while self._ending:
            await asyncio.wait(self._ending)

    def kill(self) -> None:
        """Kill the server, with all that it started."""
        for hub in (self._hub, *self._ending.values()):
            if hub is not None:
                hub.child.signal(signal.SIGKILL)

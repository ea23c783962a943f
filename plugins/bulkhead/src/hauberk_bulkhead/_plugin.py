"""The hooks: what a request takes before it goes on, and what is looked at while it is bytes."""

from __future__ import annotations

import asyncio
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final

from hauberk.connection import Connection
from hauberk.event import Event
from hauberk.hookspecs import hookimpl
from hauberk.layers import Layer
from hauberk.message import Frame, Message, ToolCall
from hauberk_bulkhead import _options
from hauberk_bulkhead._care import Care
from hauberk_bulkhead._door import Door
from hauberk_bulkhead._gate import Gate
from hauberk_bulkhead._methods import ASKED, ASKS
from hauberk_bulkhead._room import Place
from hauberk_bulkhead._state import State

if TYPE_CHECKING:
    import click

    from hauberk.probe import Probe


class Bulkhead:
    """Caps, queues, memory and circuit breakers: what one server or caller does stays its own trouble."""

    name = "bulkhead"
    layer = Layer.ADMIT
    layers: ClassVar = {
        "on_connect": Layer.GATE,
        "on_send": (Layer.GATE, Layer.ADMIT),
        "on_receive": (Layer.GATE, Layer.ADMIT),
    }
    toward: ClassVar[dict[str, tuple[str, ...]]] = {"server": ASKED, "client": ASKS}
    quick = True
    Options = _options.Options

    def __new__(cls, options: _options.Options, guard: Any) -> Bulkhead:  # noqa: ARG004, PYI034 - see below
        """Make a `Patient` one where a call may wait; where none may, no hook need be awaited."""
        return super().__new__(Patient if _options.waits(guard, cls) else Bulkhead)

    def __init__(self, options: _options.Options, guard: Any) -> None:
        _options.check(guard, type(self))
        self.options: Final = options
        self.gate: Final = Gate(guard, type(self), State())
        self.door: Final = Door(guard, self.gate, _options.shortest_idle(guard, type(self)))
        self.care: Final = Care(guard, options, self.gate, self.door)
        if _options.opens_sealed(guard, type(self)):
            self.toward = {}  # type: ignore[misc]  # of what was sealed, every message is looked at once more

    def adopt(self, old: Any) -> None:
        """Go on with who is in, what is held, what is open, and who is suspended."""
        self.gate.state = old.gate.state

    async def open(self) -> None:
        """Read who is suspended, and reach the shared store.

        Raises:
            ConfigError: The list of suspensions cannot be believed.
            PluginError: The store cannot be reached.
        """
        await self.care.open()

    async def close(self) -> None:
        """Look after nothing any more."""
        await self.care.close()

    @hookimpl
    def on_connect(self, connection: Connection) -> None:
        """Count a connection; refuse one too many, or one of somebody who is suspended (S4.16)."""
        state = self.gate.state
        self.door.connect(connection)
        connection.defer(partial(state.part, connection.id))
        weakref.finalize(connection, state.part, connection.id).atexit = False  # of one that nobody ended

    @hookimpl
    def on_send(self, message: Message | Frame, connection: Connection) -> None:
        """Look at the size of what leaves, and let a request that is no call take a place."""
        if type(message) is Frame:
            self.gate.frame(message, connection)
        else:
            self.gate.request(message, connection)  # type: ignore[arg-type]

    @hookimpl
    def on_receive(self, message: Message | Frame, connection: Connection) -> None:
        """Look at the size of what comes, and let a request that is no call take a place."""
        if type(message) is Frame:
            self.gate.frame(message, connection)
        else:
            self.gate.request(message, connection)  # type: ignore[arg-type]

    @hookimpl
    def on_tool_call(self, call: ToolCall, connection: Connection) -> None:
        """Let a call take a place, or refuse it at once."""
        hold = self.gate.call(call, connection, wait=False)
        if hold is not None:
            self.gate.entered(hold)

    @hookimpl
    def on_audit(self, event: Event) -> None:
        """Count what somebody did."""
        self.care.heard(event)

    def probes(self) -> list[Probe]:
        """Return what shows that caps, sizes and breakers are live."""
        from hauberk_bulkhead._probes import probes  # in development a host starts without them

        return probes(self.gate, self.options)

    @staticmethod
    def commands() -> click.Group:
        """Return the commands under ``hauberk bulkhead``."""
        from hauberk_bulkhead._commands import bulkhead

        return bulkhead


class Patient(Bulkhead):
    """The same, where a call may wait: for a place, or for what the shared store says."""

    @hookimpl
    async def on_tool_call(self, call: ToolCall, connection: Connection) -> None:  # type: ignore[override]
        """Let a call take a place, once there is one."""
        gate = self.gate
        hold = gate.call(call, connection, wait=True)
        if hold is None:
            return
        if hold.asks:
            await gate.ask(hold, call.exchange)
            if call.exchange.outcome is not None:
                return  # it ended meanwhile, and nobody would give back what it takes now
            gate.enter(hold, call.name, connection.server, wait=True)
        if hold.place is not None and hold.place.state == "waiting":
            await _turn(hold.place, hold.rules.options.queue_seconds)
            gate.over(hold)
        gate.entered(hold)


async def _turn(place: Place, seconds: float) -> None:
    """Wait until a place is one in the room, or none any more, or the time is over."""
    turned = asyncio.get_running_loop().create_future()
    place.wake = lambda: None if turned.done() else turned.set_result(None)
    try:
        async with asyncio.timeout(seconds):
            await turned
    except TimeoutError:
        pass

"""The hooks: charge what comes in by its address, what is said by who says it, and each tool call to all its limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from hauberk.connection import Connection
from hauberk.hookspecs import hookimpl
from hauberk.layers import Layer
from hauberk.message import Frame, Message, ToolCall
from hauberk.verdict import Deny
from hauberk_ratelimit import _options
from hauberk_ratelimit._desk import Desk

if TYPE_CHECKING:
    import click

    from hauberk.probe import Probe


class RateLimit:
    """Rate limits and quotas by server, tool, domain, principal and address, in memory or shared."""

    name = "ratelimit"
    layer = Layer.ADMIT
    layers: ClassVar = {"on_connect": Layer.GATE, "on_receive": Layer.GATE}
    Options = _options.Options

    def __new__(cls, options: _options.Options, guard: Any) -> RateLimit:  # noqa: PYI034 - see below
        """Make one with the hooks that its limits need: what is not limited meets no hook."""
        desk = Desk(cls, options, guard)
        made: RateLimit = super().__new__(_shaped(cls, desk))
        made.desk = desk
        return made

    def __init__(self, options: _options.Options, guard: Any) -> None:
        self.desk: Desk
        self.guard: Final = guard
        self.options: Final = options

    def adopt(self, old: Any) -> None:
        """Go on with what was used."""
        self.desk.book.inherit(old.desk.book, self.guard.clock())

    async def open(self) -> None:
        """Reach the store, if there is one.

        Raises:
            PluginError: It cannot be reached.
        """
        await self.desk.open()

    async def close(self) -> None:
        """Let go of the store."""
        await self.desk.close()

    @hookimpl
    def on_tool_call(self, call: ToolCall, connection: Connection) -> Deny | None:
        """Charge a call to all its limits, or to none and refuse it; give the charge back if it is not sent."""
        desk = self.desk
        due = desk.dues.of(call, connection)
        if due is not None:
            return desk.charge(call, connection, due)
        if once := desk.probed(call, connection):
            return desk.charge(call, connection, once) or desk.charge(call, connection, once)
        return None

    def probes(self) -> list[Probe]:
        """Return what shows that limits are live."""
        from hauberk_ratelimit._probes import probes  # in development a host starts without them

        return probes(self.desk)

    @staticmethod
    def commands() -> click.Group:
        """Return the commands under ``hauberk limits``."""
        from hauberk_ratelimit._commands import limits

        return limits


class Waiting:
    """The hook for calls whose limits are shared."""

    desk: Desk

    @hookimpl
    async def on_tool_call(self, call: ToolCall, connection: Connection) -> Deny | None:
        """Charge a call to all its limits, or to none and refuse it, as all hosts together have left them."""
        desk = self.desk
        due = desk.dues.of(call, connection)
        if due is not None:
            return await desk.charge_shared(call, connection, due)
        if once := desk.probed(call, connection):
            return await desk.charge_shared(call, connection, once) or await desk.charge_shared(call, connection, once)
        return None


class Frames:
    """The hooks for what is limited before anything of it is checked."""

    desk: Desk

    @hookimpl
    def on_connect(self, connection: Connection) -> None:
        """Refuse a connection from an address that has used up its limit."""
        self.desk.connected(connection)

    @hookimpl
    def on_receive(self, message: Frame, connection: Connection) -> None:
        """Refuse a frame toward a server whose sender has used up his limit (S1.25, S1.41)."""
        self.desk.frame(message, connection)


class Messages:
    """The hook for what a host sends."""

    desk: Desk

    @hookimpl
    def on_send(self, message: Message, connection: Connection) -> Message | None:
        """Refuse a message toward a server whose sender has used up his limit (S0.35); tell a client what he used."""
        if message.toward == "client":
            return self.desk.answered(message)
        self.desk.message(message, connection)
        return None


def _shaped(cls: type[RateLimit], desk: Desk) -> type[RateLimit]:
    """Return the class with the hooks that are needed."""
    book = desk.book
    more: list[type] = [Messages] if book.messages or desk.options.usage else []
    if book.address or book.messages:
        more.append(Frames)
    if desk.waits:
        more.append(Waiting)
    if cls is not RateLimit or not more:
        return cls
    return type(cls.__name__, (*more, cls), {"__doc__": cls.__doc__, "__module__": cls.__module__})

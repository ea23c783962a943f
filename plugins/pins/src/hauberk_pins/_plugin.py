"""The hooks: hide what is not as it was pinned, refuse it when it is used all the same, and leave an event."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from hauberk.connection import Connection
from hauberk.hookspecs import hookimpl
from hauberk.layers import Layer
from hauberk.message import Message, ToolCall
from hauberk.verdict import Allow, Deny
from hauberk_pins import _gate, _options

if TYPE_CHECKING:
    import click

    from hauberk.probe import Probe

ALLOWED: Final = Allow("pins")


class Pins:
    """What every server showed when it was trusted; what is not that is hidden and refused (S3.40, S3.41)."""

    name = "pins"
    layer = Layer.POLICY
    methods: ClassVar = {"on_send": _gate.OUT, "on_receive": _gate.IN}
    must_judge = True
    Options = _options.Options
    safe_default = Options(auto_trust_first=True, on_change="alert")

    def __new__(cls, options: _options.Options, guard: Any) -> Pins:  # noqa: ARG004, PYI034 - see below
        """Make a `Patient` one where something may be refused; where nothing is, no hook need wait."""
        from hauberk_pins._patient import Patient

        return super().__new__(Pins if _gate.is_lenient(cls, guard) else Patient)

    def __init__(self, options: _options.Options, guard: Any) -> None:
        self.guard: Final = guard
        self.gate: Final = _gate.Gate(type(self), options, guard)

    async def adopt(self, old: Any) -> None:
        """Go on with what connections were shown, and read what was recorded."""
        await old.gate.writer.close()
        self.gate.sights = old.gate.sights

    def open(self) -> None:
        """Read what is pinned.

        Raises:
            ConfigError: It cannot be used.
        """
        self.gate.open()

    async def close(self) -> None:
        """Stop asking servers for lists, and write what they showed."""
        await self.gate.close()

    @hookimpl
    async def on_connect(self, connection: Connection) -> None:
        """Refuse a server that would be started, or reached, by something else than what was pinned."""
        from hauberk_pins._origin import meet

        _gate.check(await meet(self.gate, connection))

    @hookimpl
    def on_send(self, message: Message, connection: Connection) -> Message | None:
        """Refuse what is used and not pinned; hide it from a list that leaves a server behind this guard."""
        return self.gate.seen(message, connection)

    @hookimpl
    def on_receive(self, message: Message, connection: Connection) -> Message | None:
        """Hide what is not pinned from a list that comes to the host; refuse what is used of a server behind."""
        return self.gate.seen(message, connection)

    @hookimpl
    def on_tool_call(self, call: ToolCall, connection: Connection) -> Allow | Deny:
        """Compare a tool with its pin once more, as it was listed last."""
        return self.gate.refusal([("tool", call.name)], connection) or ALLOWED

    def probes(self) -> list[Probe]:
        """Return what shows that hiding and refusing are live."""
        from hauberk_pins._probes import probes  # in development a host starts without them

        return probes(self.guard, type(self))

    @staticmethod
    def commands() -> click.Group:
        """Return the commands under ``hauberk pins``."""
        from hauberk_pins._commands import pins

        return pins

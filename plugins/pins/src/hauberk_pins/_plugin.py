"""The hooks: hide what is not as it was pinned, refuse it when it is used all the same, and leave an event."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from hauberk.connection import Connection
from hauberk.hookspecs import hookimpl
from hauberk.layers import Layer
from hauberk.message import Message, ToolCall
from hauberk.refusals import Refused
from hauberk.verdict import Allow, Deny
from hauberk_pins import _gate, _options
from hauberk_pins._limits import LIMITS

if TYPE_CHECKING:
    import click

    from hauberk.probe import Probe

_ALLOWED: Final = Allow("pins")


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
        return super().__new__(Pins if _gate.is_lenient(cls, guard) else Patient)

    def __init__(self, options: _options.Options, guard: Any) -> None:
        self._guard: Final = guard
        self.gate: Final = _gate.Gate(type(self), options, guard)

    def adopt(self, old: Any) -> None:
        """Go on with what connections were shown."""
        self.gate.sights = old.gate.sights

    def open(self) -> None:
        """Read what is pinned.

        Raises:
            ConfigError: It cannot be used.
        """
        self.gate.open()

    async def close(self) -> None:
        """Stop asking servers for lists."""
        await self.gate.close()

    @hookimpl
    def on_send(self, message: Message, connection: Connection) -> Message | None:
        """Refuse what is used and not pinned; hide it from a list that leaves a server behind this guard."""
        return self._seen(message, connection)

    @hookimpl
    def on_receive(self, message: Message, connection: Connection) -> Message | None:
        """Hide what is not pinned from a list that comes to the host; refuse what is used of a server behind."""
        return self._seen(message, connection)

    @hookimpl
    def on_tool_call(self, call: ToolCall, connection: Connection) -> Allow | Deny:
        """Compare a tool with its pin once more, as it was listed last."""
        return self.gate.refusal(("tool", call.name), connection) or _ALLOWED

    def probes(self) -> list[Probe]:
        """Return what shows that hiding and refusing are live."""
        from hauberk_pins._probes import probes  # in development a host starts without them

        return probes(self._guard, type(self))

    @staticmethod
    def commands() -> click.Group:
        """Return the commands under ``hauberk pins``."""
        from hauberk_pins._commands import pins

        return pins

    def _seen(self, message: Message, connection: Connection) -> Message | None:
        key = _gate.used(message)
        if key is None:
            return self.gate.shown(message, connection)
        _check(self.gate.refusal(key, connection))
        return None


class Patient(Pins):
    """Pins that ask the server for a list before something is used that may have changed."""

    @hookimpl
    async def on_send(self, message: Message, connection: Connection) -> Message | None:  # type: ignore[override]
        """Refuse what is used and not pinned, as it is listed now; hide it from a list that leaves a server."""
        key = _gate.used(message)
        if key is None:
            return self._seen(message, connection)
        _check(await self._after_list(key, message.params, connection))
        return None

    @hookimpl
    async def on_tool_call(self, call: ToolCall, connection: Connection) -> Allow | Deny:  # type: ignore[override]
        """Compare a tool with its pin once more, as it is listed now."""
        key = ("tool", call.name)
        refused = self.gate.refusal(key, connection)
        if refused is None or call.dry:
            return refused or _ALLOWED
        return await self._after_list(key, call.message.params, connection) or _ALLOWED

    async def _after_list(self, key: tuple[str, str], params: dict[str, Any], connection: Connection) -> Deny | None:
        seconds = LIMITS.waiting * self._guard.config.core.bounds.deadline
        return await self.gate.refusal_after_list(key, connection, params, seconds)


def _check(refused: Deny | None) -> None:
    """Raise what a Deny says, if there is one."""
    if refused is not None:
        raise Refused(refused.code, refused.reason, rule=refused.rule, hint=refused.hint)

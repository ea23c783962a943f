"""The plugin: hide what may not be called, refuse it when it is called all the same, and leave an event."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from hauberk.connection import Connection
from hauberk.event import Event
from hauberk.hookspecs import hookimpl
from hauberk.layers import Layer
from hauberk.message import Message, ToolCall
from hauberk.refusals import Refused
from hauberk.verdict import Allow, Deny
from hauberk_sieve import _options
from hauberk_sieve._limits import LIMITS
from hauberk_sieve._lists import Sifted, sift
from hauberk_sieve._names import shown
from hauberk_sieve._rules import Decision, Rules

if TYPE_CHECKING:
    from hauberk.probe import Probe
    from hauberk_sieve._shadows import Shadows


class Sieve:
    """Allow and deny lists on (server, tool): layer 1 hides, layer 2 refuses, layer 3 detects (S1.2-S1.4)."""

    name = "sieve"
    layer = Layer.POLICY
    methods: ClassVar = {"on_send": ("tools/list",), "on_receive": ("tools/list",)}
    must_judge = True
    Options = _options.Options
    safe_default = Options(default="allow")

    def __init__(self, options: _options.Options, guard: Any) -> None:
        self._options: Final = options
        self._guard: Final = guard
        self._rules: Final = options.rules()
        self._of_server: Final[dict[str, Rules]] = {}
        self._shadows: Shadows | None = None

    async def close(self) -> None:
        """Wait until other guards of the host know what was listed."""
        if self._shadows is not None:
            await self._shadows.close()

    @hookimpl
    def on_send(self, message: Message, connection: Connection) -> Message | None:
        """Hide tools from a list that leaves a server behind this guard."""
        return self._sifted(message, connection)

    @hookimpl
    def on_receive(self, message: Message, connection: Connection) -> Message | None:
        """Hide tools from a list that comes to the host."""
        return self._sifted(message, connection)

    @hookimpl
    def on_tool_call(self, call: ToolCall, connection: Connection) -> Allow | Deny:
        """Refuse what the rules do not allow, listed or not."""
        decision = self.rules(connection.server).decide(connection.server, call.name)
        return Allow(decision.rule) if decision.allowed else denied(connection.server, call.name, decision)

    def probes(self) -> list[Probe]:
        """Return what shows that hiding and refusing are live."""
        from hauberk_sieve._probes import probes  # in development a host starts without them

        return probes(self._guard, self)

    def rules(self, server: str) -> Rules:
        """Return the rules that hold for one server."""
        return self._of_server.get(server) or self._made(server)

    def _made(self, server: str) -> Rules:
        options = self._guard.options_for(self, server)
        if len(self._of_server) >= LIMITS.servers:
            del self._of_server[next(iter(self._of_server))]
        rules: Rules = self._rules if options == self._options else options.rules()
        self._of_server[server] = rules
        return rules

    def _sifted(self, message: Message, connection: Connection) -> Message | None:
        if message.method != "tools/list" or message.kind != "result" or message.toward != "client":
            return None
        result = message.result or {}
        tools = result.get("tools")
        if not isinstance(tools, list):
            raise Refused(
                "sieve.malformed_list",
                f"server '{shown(connection.server)}' answered tools/list without an array of tools",
                rule="tools is an array",
                hint="report it to the author of the server",
            )
        server, rules = connection.server, self.rules(connection.server)
        sifted = sift(tools, lambda tool: rules.decide(server, tool).allowed)
        if connection.role == "client" and (shadowed := self._shadowed(server, sifted.kept)):
            message.note(shadowed)
        if len(sifted.kept) == len(tools):
            return None
        message.note(self._hidden(sifted))
        return message.with_result({**result, "tools": sifted.kept})

    def _shadowed(self, server: str, tools: list[Any]) -> Event | None:
        if self._shadows is None:
            from hauberk_sieve._shadows import of_guard  # lists are few, and the start does not wait for it

            self._shadows = of_guard(self._guard)
        return self._shadows.look(server, tools)

    def _hidden(self, sifted: Sifted) -> Event:
        details: dict[str, Any] = {"names": sifted.names}
        if sifted.malformed:
            details["malformed"] = sifted.malformed
        return Event(
            code="sieve.hidden",
            severity="warning" if sifted.malformed else "info",
            action="blocked" if self._options.mode == "enforce" else "logged",
            plugin=self.name,
            count=sifted.hidden + sifted.malformed,
            details=details,
        )


def denied(server: str, tool: str, decision: Decision) -> Deny:
    """Return the verdict on a call that the rules refuse, with the one thing to do about it."""
    reason = f"tool '{shown(tool)}' of server '{shown(server)}' is not allowed"
    return Deny("sieve.denied", reason, rule=decision.rule, hint=decision.hint(server, tool))

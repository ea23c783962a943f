"""The mesh of access: hide what may not be used, refuse it when it is used all the same, and leave an event."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from hauberk.connection import Connection
from hauberk.event import Event
from hauberk.message import Message, ToolCall
from hauberk.refusals import Refused
from hauberk.verdict import Allow, Deny
from hauberk_sieve._mesh import Mesh, PerServer, Setting
from hauberk_sieve._spelling import shown
from hauberk_sieve.access._lists import Sifted, sift
from hauberk_sieve.access._rules import Decision, Rules

if TYPE_CHECKING:
    from hauberk.probe import Probe


class Access(Mesh):
    """Allow and deny lists on (server, tool): layer 1 hides, layer 2 refuses, layer 3 detects (S1.2-S1.4)."""

    word = "access"
    methods = ("tools/list",)

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self.rules: Final[PerServer[Rules]] = PerServer(setting, lambda options: options.rules())

    def look(self, message: Message, connection: Connection) -> Message | None:
        """Hide tools from a list."""
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
        server, rules = connection.server, self.rules[connection.server]
        sifted = sift(tools, lambda tool: rules.decide(server, tool).allowed)
        if len(sifted.kept) == len(tools):
            return None
        message.note(self._hidden(sifted))
        return message.with_result({**result, "tools": sifted.kept})

    def judge(self, call: ToolCall, connection: Connection) -> Allow | Deny:
        """Refuse what the rules do not allow, listed or not."""
        decision = self.rules[connection.server].decide(connection.server, call.name)
        return Allow(decision.rule) if decision.allowed else denied(connection.server, call.name, decision)

    def probes(self) -> list[Probe]:
        """Return what shows that hiding and refusing are live."""
        from hauberk_sieve.access._probes import probes  # in development a host starts without them

        return probes(self.setting.guard, self.setting.plugin)

    def _hidden(self, sifted: Sifted) -> Event:
        details: dict[str, Any] = {"names": sifted.names}
        if sifted.malformed:
            details["malformed"] = sifted.malformed
        return Event(
            code="sieve.hidden",
            severity="warning" if sifted.malformed else "info",
            action="blocked" if self.setting.options.mode == "enforce" else "logged",
            plugin="sieve",
            count=sifted.hidden + sifted.malformed,
            details=details,
        )


def denied(server: str, tool: str, decision: Decision) -> Deny:
    """Return the verdict on a call that the rules refuse, with the one thing to do about it."""
    reason = f"tool '{shown(tool)}' of server '{shown(server)}' is not allowed"
    return Deny("sieve.denied", reason, rule=decision.rule, hint=decision.hint(server, tool))

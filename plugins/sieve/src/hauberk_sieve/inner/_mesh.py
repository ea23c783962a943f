"""The mesh of meta-tools: what is called inside a call is judged as if it was called itself.

The rules:

1. All or nothing: every call that stands in the arguments is judged before any verdict, and one that is denied denies
   all of them (S1.6).
2. What cannot be told is denied: arguments without the path, too many calls, ids that are not in order, a name that a
   template would fill in later (S1.3), and a meta-tool inside a meta-tool.
3. An inner name is judged for its own server, by the table of that server and by the table of the meta-tool's.
4. A meta-tool is what an entry names; one that only looks like it, by characters that cannot be seen, is one too.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from hauberk.connection import Connection
from hauberk.event import Action, Event
from hauberk.judgement import SHOWN
from hauberk.message import Message, ToolCall
from hauberk.probe import SERVER
from hauberk.refusals import Refused
from hauberk.verdict import Deny
from hauberk_sieve._limits import LIMITS
from hauberk_sieve._mesh import Mesh, PerServer, Setting
from hauberk_sieve._settled import Judge
from hauberk_sieve._spelling import shown, unfit
from hauberk_sieve.inner import _order
from hauberk_sieve.inner._entries import Entries, Entry
from hauberk_sieve.inner._path import Call, Calls, Malformed, Path
from hauberk_sieve.inner._results import Sifter

if TYPE_CHECKING:
    from hauberk.probe import Probe
    from hauberk_sieve._options import Options
    from hauberk_sieve.access._rules import Decision

_TEMPLATE: Final = frozenset("${}")
_RESULTS: Final = ("tools/call", "tasks/result", "tasks/get", "notifications/tasks")


class InnerCalls(Mesh):
    """Meta-tools: the tool that is meant is an argument, and so are several calls at once (S1.2, S1.3, S1.6)."""

    word = "inner"
    toward_server = ()

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self._of: Final = PerServer(setting, lambda options: Entries(options.inner))
        self._action: Final[Action] = "blocked" if setting.options.mode == "enforce" else "logged"
        names = setting.guard.config.servers_of(setting.plugin.name)
        tables: list[Options] = [setting.options, *map(setting.of, names)]
        self.judges = any(options.inner for options in tables)
        if any(self._of[name].lists for name in ("", *names)):
            self.methods = _RESULTS

    def judge(self, call: ToolCall, connection: Connection) -> Deny | None:
        """Deny a call of a meta-tool if one call that it makes is denied, or cannot be told."""
        for entry in self._of[connection.server].of(connection.server, call.name):
            if entry.results is not None and len(call.name) > SHOWN:  # an exchange remembers no more of it
                return _malformed(entry, call.name, connection.server, "its name is too long to know its result by")
            denied = None if entry.calls is None else self._judged(entry, entry.calls, call, connection)
            if denied is not None:
                return denied
        return None

    def again(self, call: ToolCall, connection: Connection) -> Judge | None:
        """Look into each call of a meta-tool."""
        return self.judge if self._of[connection.server].of(connection.server, call.name) else None

    def look(self, message: Message, connection: Connection) -> Message | None:
        """Hide from a result the tools that may not be called."""
        asked = message.exchange
        if message.toward != "client" or asked is None or message.kind not in ("result", "notification"):
            return None
        for entry in self._of[connection.server].of(connection.server, asked.tool):
            if entry.results is not None:
                message = self._sifted(entry, entry.results, message, connection)
        return message

    def probes(self) -> list[Probe]:
        """Return what shows that calls inside of calls are judged."""
        from hauberk_sieve.inner._probes import probes  # in development a host starts without them

        return probes() if self._of[SERVER] else []

    # --- arguments ---

    def _judged(self, entry: Entry, calls: Calls, call: ToolCall, connection: Connection) -> Deny | None:
        try:
            found = calls.find(call.arguments, entry.most)
            _order.check(found)
            self._check_names(found, connection)
        except Malformed as error:
            return _malformed(entry, call.name, connection.server, str(error))
        decided = [(place, one, self._decide(one, call, connection)) for place, one in enumerate(found, 1)]
        refused = [(place, one, decision) for place, one, decision in decided if not decision.allowed]
        if not refused:
            return None
        call.note(self._event([one for _, one, _ in refused], len(found)))
        place, one, decision = refused[0]
        server = connection.server if one.server is None else one.server
        where = f"call {place} of {len(found)}" if len(found) > 1 else "what it calls"
        reason = f"{where}: tool '{shown(one.name)}' of server '{shown(server)}' is not allowed"
        return Deny("sieve.inner_denied", reason, rule=decision.rule, hint=decision.hint(server, one.name))

    def _decide(self, one: Call, call: ToolCall, connection: Connection) -> Decision:
        server = connection.server if one.server is None else one.server
        proved = call.message.original.principal
        decision: Decision = self.setting.meshes["access"].inner(server, one.name, connection, call.principal, proved)
        if decision.by == "unlisted":
            call.lacks("the definition of a tool that is called inside of it, which a rule goes by")
        return decision

    def _check_names(self, found: Iterable[Call], connection: Connection) -> None:
        for one in found:
            server = connection.server if one.server is None else one.server
            if unfit(server) is not None:  # what is kept by the name of a server is bounded by their number
                raise Malformed("the name of a server is too long to be compared")
            if _TEMPLATE.intersection(one.name + server):
                raise Malformed("a name is a template, and would be filled in after it was judged")
            tables = (self._of[server], self._of[connection.server])
            if any(entry.calls is not None for table in tables for entry in table.of(server, one.name)):
                raise Malformed("a tool that makes calls is called inside of a call")

    def _event(self, denied: list[Call], count: int) -> Event:
        names = [shown(one.name) for one in denied[: LIMITS.shown_names]]
        return Event(
            code="sieve.inner_refused",
            severity="warning",
            action=self._action,
            plugin="sieve",
            count=len(denied),
            details={"names": names, "calls": count},
        )

    # --- results ---

    def _sifted(self, entry: Entry, path: Path, message: Message, connection: Connection) -> Message:
        asker = message.exchange.principal if message.exchange is not None else connection.principal
        server = connection.server

        def allowed(tool: str) -> bool:
            return bool(self.setting.meshes["access"].inner(server, tool, connection, asker, asker).allowed)

        sifter = Sifter(path, allowed)
        try:
            passed = _passed(message, sifter)
        except Malformed as error:
            raise _unreadable(entry, server, str(error)) from None
        if sifter.hidden:
            message.note(
                Event(
                    code="sieve.hidden",
                    action=self._action,
                    plugin="sieve",
                    count=sifter.hidden,
                    details={"names": sifter.names},
                    rule=entry.rule,
                )
            )
        if passed is None:
            raise Refused(
                "sieve.no_access", "there is no access to anything that it lists", rule=entry.rule, hint=_HINT
            )
        return passed


_HINT: Final = "allow a tool of it in [sieve] allow"


def _passed(message: Message, sifter: Sifter) -> Message | None:
    """Return the message with what is left, or None where nothing is."""
    ended = message.method in ("tasks/get", "notifications/tasks")
    whole: dict[str, Any] = message.params if message.kind == "notification" else message.result or {}
    result = whole.get("result") if ended else whole
    if result is None or not isinstance(result, dict):
        return message
    left = sifter.sift(result)
    if left is None or left is result:
        return None if left is None else message
    changed = {**whole, "result": left} if ended else left
    return message.with_params(changed) if message.kind == "notification" else message.with_result(changed)


def _malformed(entry: Entry, tool: str, server: str, why: str) -> Deny:
    reason = f"nobody can tell what tool '{shown(tool)}' of server '{shown(server)}' would call: {why}"
    hint = f"compare the arguments with [sieve.inner] {entry.rule}"
    return Deny("sieve.inner_malformed", reason, rule=entry.rule, hint=hint)


def _unreadable(entry: Entry, server: str, why: str) -> Refused:
    reason = f"nobody can tell which tools of server '{shown(server)}' a result lists: {why}"
    hint = f"compare the result with [sieve.inner] {entry.rule}"
    return Refused("sieve.inner_malformed", reason, rule=entry.rule, hint=hint)

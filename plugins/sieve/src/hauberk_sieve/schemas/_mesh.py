"""The mesh of schemas: arguments and results are what the tool's own schemas say.

The rules:

1. The schemas of a tool are those of its definition as it was listed last on this connection.
2. A call whose arguments ``inputSchema`` does not allow is refused. So is one whose schemas cannot be used: an
   ``outputSchema`` that nothing can be checked with is found out before the call, not after it.
3. A result has to be what ``outputSchema`` says, and has to have ``structuredContent`` where there is one, unless it
   says ``isError`` or is not the result yet: a request for more input, or the handle of a task. What comes of a task is
   the result of the call that made it.
4. A tool that is invalid by its ``x-mcp-header`` is hidden and refused (`_headers`).
5. What is said of a fault is a keyword and a place, with the names that the schema itself has; never a value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from hauberk.connection import Connection
from hauberk.event import Event
from hauberk.message import Message, ToolCall
from hauberk.refusals import Refused
from hauberk.verdict import Deny, Verdict
from hauberk_sieve._limits import LIMITS
from hauberk_sieve._mesh import Mesh, PerServer, Setting
from hauberk_sieve._settled import Judge
from hauberk_sieve._spelling import shown

if TYPE_CHECKING:
    from hauberk.probe import Probe
    from hauberk_sieve.schemas._calls import Finding
    from hauberk_sieve.schemas._checker import Checker
    from hauberk_sieve.schemas._known import Known
    from hauberk_sieve.schemas._lists import Found, Lists
    from hauberk_sieve.schemas._options import Schemas as Table

_OF_TASKS: Final = ("tasks/get", "tasks/result", "notifications/tasks")
_INLINED: Final = ("tasks/get", "notifications/tasks")


class _Plain:
    """What judges the calls of one tool where there is nothing to them but their arguments."""

    __slots__ = ("_is_valid", "_most", "_otherwise")

    def __init__(self, checker: Checker, otherwise: Judge) -> None:
        self._is_valid: Final = checker.is_valid
        self._most: Final = checker.most
        self._otherwise: Final = otherwise

    def judge(self, call: ToolCall, connection: Connection) -> Verdict | None:
        """Have nothing against arguments that are valid; of all others the mesh judges."""
        # They are shorter than their message, of which nobody has made another one (`Mesh.again`).
        if 0 < call.message.size <= self._most and not call.holds_secrets and self._is_valid(call.arguments):
            return None
        return self._otherwise(call, connection)


class Schemas(Mesh):
    """Arguments and results by schema (A47, A48)."""

    word = "schemas"
    methods = ("tools/list", "tools/call", *_OF_TASKS)
    toward_server = ()

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self.tables: Final[PerServer[Table]] = PerServer(setting, lambda options: options.schemas)
        self._seen: Final = setting.seen
        self._known: Known | None = None
        self._lists: Lists | None = None
        self._tasks: Final[WeakKeyDictionary[Connection, dict[str, str]]] = WeakKeyDictionary()
        """The tools that tasks are of, by the tasks' ids."""

    def adopt(self, old: Any) -> None:
        """Go on with the schemas that are ready, and the tasks that are under way."""
        self._known = old._known  # noqa: SLF001 - the same class
        self._tasks.update(old._tasks)  # noqa: SLF001

    def judge(self, call: ToolCall, connection: Connection) -> Deny | None:
        """Refuse arguments that the tool's schema does not allow."""
        table = self.tables[connection.server]
        if table.arguments == "off":
            return None
        tool = self._seen.tool(call.name, connection)
        if tool is None or "inputSchema" not in tool:
            return self._unknown(call, table)
        from hauberk_sieve.schemas._calls import of_call  # the start does not wait for it

        finding = of_call(self._ready().tool(tool), call, results=table.results != "off")
        if finding is None:
            return None
        if table.arguments == "alert":
            call.note(_event(finding, call.name))
            return None
        return Deny(finding.code, f"tool '{shown(call.name)}': {finding.text}", rule=finding.rule, hint=finding.hint)

    def again(self, call: ToolCall, connection: Connection) -> Judge | None:
        """Check the arguments of each call by the schema that is known now, where there is one."""
        table, tool = self.tables[connection.server], self._seen.tool(call.name, connection)
        if table.arguments == "off" or tool is None or "inputSchema" not in tool:
            return None
        plain = self._ready().tool(tool).plain
        return self.judge if plain is None else _Plain(plain, self.judge).judge

    def look(self, message: Message, connection: Connection) -> Message | None:
        """Hide what is invalid from a list; refuse a result that the tool's schema does not allow."""
        if message.toward != "client" or message.kind not in {"result", "notification"}:
            return None
        if self._is_silent(message, connection):
            return None
        table = self.tables[connection.server]
        if message.method == "tools/list":
            return None if table.arguments == "off" else self._listed(message, hides=table.arguments == "deny")
        if table.results != "off":
            self._result(message, connection, table)
        return None

    def hear(self, message: Message, connection: Connection, words: str | None) -> Message | None:
        """Refuse texts in place of what was promised; where nothing was, they are no task either (`_words`)."""
        tool = self._seen.tool("" if message.exchange is None else message.exchange.tool, connection)
        if words is not None and (tool is None or "outputSchema" not in tool):
            return None
        return self.look(message, connection)

    def probes(self) -> list[Probe]:
        """Return what shows that arguments and results are checked."""
        from hauberk_sieve.schemas._probes import probes  # in development a host starts without them

        return probes(self.setting.guard, self.setting.plugin)

    def _ready(self) -> Known:
        if self._known is None:
            from hauberk_sieve.schemas._known import Known  # the start does not wait for it

            self._known = Known()
        return self._known

    def _unknown(self, call: ToolCall, table: Table) -> Deny | None:
        if not table.require:
            return None
        call.lacks("the schema of the tool, which a list shows")
        reason = f"tool '{shown(call.name)}' has shown no schema on this connection"
        return Deny("sieve.schema_unknown", reason, rule="require", hint="list the tools of the server first")

    def _listed(self, message: Message, *, hides: bool) -> Message | None:
        tools = (message.original.result or {}).get("tools")
        if not isinstance(tools, list):
            return None
        if self._lists is None:
            from hauberk_sieve.schemas._lists import Lists  # the start does not wait for it

            self._lists = Lists()
        found = self._lists.look(message.result_digest, tools)
        if found.unusable:
            message.note(_unusable(found))
        if not found.invalid:
            return None
        message.note(self._hidden(found, hides=hides))
        result = message.result or {}
        kept = [
            tool for tool in result.get("tools") or () if not (type(tool) is dict and tool.get("name") in found.invalid)
        ]
        return message.with_result({**result, "tools": kept}) if hides else None

    def _is_silent(self, message: Message, connection: Connection) -> bool:
        """Whether a message is the result of a call of which nothing was promised, and no task."""
        exchange, result = message.exchange, message.data.get("result") or ()
        if message.method != "tools/call" or exchange is None or "task" in result or "taskId" in result:
            return False
        tool = self._seen.tool(exchange.tool, connection)
        return tool is None or "outputSchema" not in tool

    def _result(self, message: Message, connection: Connection, table: Table) -> None:
        name, result = self._of(message, connection)
        tool = self._seen.tool(name, connection) if name and result is not None else None
        if tool is None or "outputSchema" not in tool:
            return
        from hauberk_sieve.schemas._calls import of_result  # the start does not wait for it

        finding = of_result(self._ready().tool(tool), result or {}, message.original.size)
        if finding is None:
            return
        if table.results == "alert":
            message.note(_event(finding, name))
            return
        raise Refused(finding.code, f"tool '{shown(name)}': {finding.text}", rule=finding.rule, hint=finding.hint)

    def _of(self, message: Message, connection: Connection) -> tuple[str, dict[str, Any] | None]:
        """Return the tool of a result, and the result where it is there."""
        holder = message.params if message.kind == "notification" else message.result or {}
        tasks = self._tasks.get(connection, {})
        task = holder.get("taskId")
        name = message.exchange.tool if message.exchange is not None else ""
        if message.method in _INLINED:
            inner = holder.get("result")
            name = name or (tasks.get(task, "") if type(task) is str else "")
            return name, inner if type(inner) is dict else None
        made = holder.get("task")
        task = task or (made.get("taskId") if type(made) is dict else None)
        if type(task) is str and message.method == "tools/call":
            tasks = self._tasks.setdefault(connection, {})
            tasks.setdefault(task, name)
            if len(tasks) > LIMITS.tasks:
                del tasks[next(iter(tasks))]
        return name, holder

    def _hidden(self, found: Found, *, hides: bool) -> Event:
        blocks = hides and self.setting.options.mode == "enforce"
        return Event(
            code="sieve.header_hidden",
            severity="warning",
            action="blocked" if blocks else "logged",
            plugin="sieve",
            count=len(found.invalid),
            details={"tools": found.why},
        )


def _unusable(found: Found) -> Event:
    details: dict[str, Any] = {"tools": found.unusable_why}
    if found.left:
        details["not_inspected"] = found.left
    return Event(code="sieve.schemas_found", severity="warning", plugin="sieve", count=found.unusable, details=details)


def _event(finding: Finding, tool: str) -> Event:
    return Event(
        code="sieve.schema_fault",
        severity="warning",
        plugin="sieve",
        tool=shown(tool),
        rule=finding.rule,
        details={"would_refuse": finding.code},
    )

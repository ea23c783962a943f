"""The mesh of asks: what a server asks the host for, as a request of its own, inside an answer, or inside an error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from hauberk.connection import Connection
from hauberk.event import Event
from hauberk.message import Message, encode
from hauberk.refusals import LIMITS, POLICY, Refused
from hauberk_sieve._mesh import Mesh, PerServer, Setting
from hauberk_sieve._spelling import shown
from hauberk_sieve.asks._judge import ELICITATION, QUESTIONS, ROOTS, Judge
from hauberk_sieve.asks._options import Asks as Table
from hauberk_sieve.asks._pace import Pace
from hauberk_sieve.asks._roots import Roots

if TYPE_CHECKING:
    from hauberk.probe import Probe
    from hauberk_sieve._options import Options

_OF_TASKS: Final = ("tasks/get", "notifications/tasks")
"""Messages that may tell of the error of a call that became a task."""
URL_NEEDED: Final = -32042
"""The error by which a server of 2025-11-25 asks a user to go somewhere first (client/elicitation, SEP-1036)."""


class _Rules:
    """What holds for one server."""

    def __init__(self, options: Options) -> None:
        self.table: Final[Table] = options.asks
        self.judge: Final = Judge(self.table)
        self.roots: Final = Roots(self.table)


class Asks(Mesh):
    """Sampling, elicitation and roots: denied where no table allows them, and bounded where one does (S3.47, A59)."""

    word = "asks"
    methods = QUESTIONS
    everything = True  # an error that asks may answer any request
    toward_server = (ROOTS,)
    passes_text = True

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self.rules: Final[PerServer[_Rules]] = PerServer(setting, _Rules)
        self.paces: Final[WeakKeyDictionary[Connection, Pace]] = WeakKeyDictionary()

    def adopt(self, old: Any) -> None:
        """Go on counting where the old mesh stopped."""
        self.paces.update(old.paces)

    def look(self, message: Message, connection: Connection) -> Message | None:
        """Refuse questions; narrow the answer that shows roots."""
        kind = message.kind
        if kind == "result" and message.method == ROOTS:
            return self._rooted(message, connection)
        if message.toward == "client":
            if kind == "request" and message.method in QUESTIONS:
                size = message.size if message.embedded is None else len(encode(message.data))
                self._check(message, connection, message.method, message.params, size)
            elif kind == "error":
                self._check_error(message, connection, message.error)
            elif message.method in _OF_TASKS:
                holder = message.params if kind == "notification" else message.result or {}
                self._check_error(message, connection, holder.get("error"))
        return None

    def probes(self) -> list[Probe]:
        """Return what shows that questions are refused."""
        from hauberk_sieve.asks._probes import probes  # in development a host starts without them

        return probes(self.setting.guard, self.setting.plugin)

    def _check_error(self, message: Message, connection: Connection, error: Any) -> None:
        if type(error) is not dict or str(error.get("code")).removesuffix(".0") != str(URL_NEEDED):
            return  # in what a task tells, nobody has looked at the type of a code
        data = error.get("data")
        asked = data.get("elicitations") if type(data) is dict else None
        for params in asked if type(asked) is list else ():
            if type(params) is dict:
                self._check(message, connection, ELICITATION, params, message.size)

    def _check(self, message: Message, connection: Connection, method: str, params: dict[str, Any], size: int) -> None:
        rules = self.rules[connection.server]
        stance = rules.judge.stance(method, params)
        word = method.partition("/")[0]
        rule = f'{word} = "deny"' if stance == "deny" else rules.judge.broken(method, params, size)
        if stance == "alert":
            message.note(_asked(method, rule))
            return
        if rule is not None:
            raise _refused(connection.server, word, rule)
        most = rules.table.per_minute
        wait = self._pace(connection).wait(self.setting.guard.clock(), most)
        if wait:
            raise _refused(connection.server, word, f"per_minute = {most}", wait)

    def _pace(self, connection: Connection) -> Pace:
        found = self.paces.get(connection)
        if found is None:
            found = self.paces[connection] = Pace()
        return found

    def _rooted(self, message: Message, connection: Connection) -> Message | None:
        result = message.result or {}
        roots = result.get("roots")
        if message.toward != "server" or type(roots) is not list:
            return None
        kept = self.rules[connection.server].roots.shown(roots)
        if len(kept) == len(roots):
            return None
        blocks = self.setting.options.mode == "enforce"
        message.note(
            Event(
                code="sieve.roots_hidden",
                action="blocked" if blocks else "logged",
                plugin="sieve",
                count=len(roots) - len(kept),
            )
        )
        return message.with_result({**result, "roots": kept})


def _asked(method: str, rule: str | None) -> Event:
    return Event(code="sieve.asked", severity="warning", plugin="sieve", rule=rule or "", details={"asks": method})


def _refused(server: str, word: str, rule: str, wait: float = 0.0) -> Refused:
    return Refused(
        "sieve.ask",
        f"server '{shown(server)}' may not ask this: {word}",
        rule=rule,
        hint="if it may, change this option in [server.NAME.sieve.asks]",
        retry_after=wait or None,
        jsonrpc=LIMITS if wait else POLICY,
    )

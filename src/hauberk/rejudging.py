"""What another policy says of the calls in a log: every judge is asked about calls that were made once.

The rules:

1. A call is read from what was decided before it was sent: ``core.allowed``, or the refusal of a ``tools/call``. What
   became of its answer is not asked about. A refusal that no judge had a part in (an edge, a limit) stays what it was,
   and is only counted.
2. A log holds who called which tool of which server, and no arguments. The judges are asked about a call without any;
   an answer holds if its judge did not look at them. A Deny that holds is the answer, whatever the others say. If there
   is none, and a judge did look, or misses something else, it cannot be told.
3. Where the log does not have a name as it was (it was cut, or had characters that are written by their numbers), it
   cannot be told either.
4. Nothing is run that has a side effect, as in `hauberk.explaining`. Whoever would be asked for approval is not: the
   answer is that somebody would be asked.
5. The verdict on a call depends on nothing but who calls what, so each of these is judged once.
6. A line that is no entry is an error. A last line without its line feed was never acknowledged, and is left out.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import msgspec

from hauberk import pipeline
from hauberk._dry import Ear, is_run
from hauberk.chains import Chain, Step
from hauberk.connection import Connection
from hauberk.exchange import Exchange
from hauberk.judgement import SHOWN, unjudged
from hauberk.message import Message, ToolCall
from hauberk.opening import Opened
from hauberk.principal import Principal
from hauberk.refusals import ConfigError, HauberkError, HookError, Refused
from hauberk.verdict import Allow, Ask, Deny

if TYPE_CHECKING:
    from hauberk.guard import Guard
    from hauberk.policy import Policy

Before = Literal["allowed", "approved", "refused"]
After = Literal["passes", "asks", "refused", "unknown"]
_METHOD: Final = "tools/call"
_CORE: Final = "core"
_SEALED: Final = b'"sealed":"'
"""Is at the beginning of an entry that is encrypted."""
_HEAD: Final = 128
"""Where it is looked for (bytes)."""
_BY_JUDGES: Final = frozenset({"core.unjudged", "core.unapproved"})


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The bounds, each with its unit."""

    line_bytes: int = 1024 * 1024
    """One entry (bytes)."""
    exchanges: int = 65_536
    """Calls of which is kept that they were let through, the oldest goes first (calls)."""
    verdicts: int = 65_536
    """Callers, servers and tools whose verdict is kept, the oldest goes first (verdicts)."""
    changes: int = 4096
    """Differences that are told apart; the others are counted (differences)."""


LIMITS: Final = Limits()


class Entry(msgspec.Struct, frozen=True):
    """What is read of one entry of a log; other members are left alone."""

    code: str
    category: str = ""
    server: str = ""
    principal: str = ""
    source: str = ""
    method: str = ""
    tool: str = ""
    exchange: str = ""
    probe: bool = False
    details: dict[str, object] = {}


class Caller(NamedTuple):
    """Who called which tool of which server: all that a verdict depends on."""

    server: str
    tool: str
    principal: str
    source: str
    groups: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()

    @property
    def legible(self) -> bool:
        """Whether the names are those that were judged: none was cut, or is written by the numbers of characters."""
        return len(self.tool) < SHOWN and "\\" not in self.server + self.tool + self.principal


class Verdict(NamedTuple):
    """What the judges say."""

    after: After
    code: str = ""
    """Of the refusal."""
    plugin: str = ""
    """Who refuses, or who could not tell."""
    rule: str = ""


class Change(NamedTuple):
    """One difference: calls that were treated so, and would be treated so now."""

    before: str
    """The code of the old decision."""
    verdict: Verdict
    server: str
    tool: str


class Outcome(msgspec.Struct):
    """What came of a log."""

    calls: int = 0
    same: int = 0
    refused: int = 0
    """Were let through, and would be refused."""
    allowed: int = 0
    """Were refused, and would be let through."""
    asked: int = 0
    """Were let through or refused, and somebody would be asked."""
    unknown: int = 0
    """Nobody can tell."""
    left_out: int = 0
    """Were refused by what is no judge."""
    changes: Counter[Change] = msgspec.field(default_factory=Counter)
    """How many calls there are of each difference, those included that nobody can tell."""

    @property
    def status(self) -> int:
        """0: nothing would change; 1: something would; 2: of some calls it cannot be told."""
        return 2 if self.unknown else int(bool(self.refused or self.allowed or self.asked))

    def add(self, before: Before, code: str, caller: Caller, verdict: Verdict) -> None:
        """Count one call."""
        self.calls += 1
        if verdict.after == "unknown":
            self.unknown += 1
        elif verdict.after == "asks" and before != "approved" and code != "core.unapproved":
            self.asked += 1
        elif verdict.after == "refused" and before != "refused":
            self.refused += 1
        elif verdict.after == "passes" and before == "refused":
            self.allowed += 1
        else:
            self.same += 1
            return
        change = Change(code, verdict, caller.server, caller.tool)
        if change in self.changes or len(self.changes) < LIMITS.changes:
            self.changes[change] += 1


async def rejudge(guard: Guard, lines: Iterable[bytes], seen: Callable[[int], object] = lambda _: None) -> Outcome:
    """Judge the calls of a log anew.

    Args:
        guard: Loaded with the new policy, not open, and of no use for anything else afterwards.
        lines: The lines of the log, each with its line feed.
        seen: Told the length of each line (bytes), for a display of progress.

    Raises:
        ConfigError: A line is no entry, or the operator must change something before a plugin opens.
        PluginError: A plugin does not open.
        HauberkError: The guard is open.
    """
    if guard.is_open:
        raise HauberkError("a guard that is open judges nothing anew", hint="load another one")
    policy = guard.policy
    guard.policy = Ear().quiet(policy, guard)
    judges = {name: one for name, one in policy.loaded.items() if any(map(is_run, one.steps))}
    opened = await Opened.all_of(judges)
    try:
        bench, outcome = _Bench(guard, policy), Outcome()
        others = frozenset(policy.loaded) - {step.plugin for step in policy.chains.judges.steps}
        calls = _Calls(others)
        for entry in entries(lines, seen):
            found = calls.take(entry)
            if found is not None:
                caller = _caller(entry)
                outcome.add(found, entry.code, caller, await bench.verdict(caller))
        outcome.left_out = calls.left_out
        return outcome
    finally:
        await opened.close()


# --- what the log says ---


def entries(lines: Iterable[bytes], seen: Callable[[int], object] = lambda _: None) -> Iterator[Entry]:
    """Read the entries of a log, one after the other.

    Raises:
        ConfigError: A line is no entry (rule 6).
    """
    decoder = msgspec.json.Decoder(Entry)
    for number, line in enumerate(lines, 1):
        if not line.endswith(b"\n"):
            return
        if len(line) > LIMITS.line_bytes:
            raise _no_entry(number, f"it is longer than {LIMITS.line_bytes} bytes")
        try:
            yield decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            if _SEALED in line[:_HEAD]:
                raise _is_sealed(number) from None
            raise _no_entry(number, "it is no event as one JSON object") from None
        seen(len(line))


def _no_entry(number: int, why: str) -> ConfigError:
    return ConfigError(
        f"cannot read the log: line {number} is no entry, {why}", hint="see hauberk audit verify for what is wrong"
    )


def _is_sealed(number: int) -> ConfigError:
    return ConfigError(
        f"cannot read the log: line {number} is sealed",
        hint="where its key is at hand: hauberk audit export LOG | hauberk rejudge -",
    )


class _Calls:
    """Which entries are decisions on calls, and what was decided."""

    def __init__(self, others: frozenset[str]) -> None:
        self._others: Final = others
        self._passed: Final[OrderedDict[str, None]] = OrderedDict()
        self.left_out = 0

    def take(self, entry: Entry) -> Before | None:
        """Return what was decided on a call, or None of any other entry."""
        if entry.probe or not entry.tool:
            return None
        if entry.code == "core.allowed":
            self._passed[entry.exchange] = None
            if len(self._passed) > LIMITS.exchanges:
                self._passed.popitem(last=False)
            return "approved" if entry.details.get("approved") is True else "allowed"
        if entry.category == "refusal" and entry.method == _METHOD and entry.exchange not in self._passed:
            word = entry.code.partition(".")[0]
            if (word == _CORE and entry.code not in _BY_JUDGES) or word in self._others:
                self.left_out += 1
            else:
                return "refused"
        return None


def _caller(entry: Entry) -> Caller:
    groups, roles = (_texts(entry.details.get(name)) for name in ("groups", "roles"))
    return Caller(entry.server, entry.tool, entry.principal, entry.source, groups, roles)


def _texts(found: object) -> tuple[str, ...]:
    return tuple(one for one in found if isinstance(one, str)) if isinstance(found, list) else ()


# --- what the judges say ---


class _Bench:
    """The judges of one policy."""

    def __init__(self, guard: Guard, policy: Policy) -> None:
        self._guard: Final = guard
        self._policy: Final = policy
        self._steps: Final = [step for step in policy.chains.judges.steps if policy.loaded[step.plugin].mode != "audit"]
        self._verdicts: Final[OrderedDict[Caller, Verdict]] = OrderedDict()
        self._connections: Final[OrderedDict[str, tuple[Connection, Verdict | None]]] = OrderedDict()

    async def verdict(self, caller: Caller) -> Verdict:
        """Return what they say of a call; it is judged once."""
        found = self._verdicts.get(caller)
        if found is None:
            found = self._verdicts[caller] = await self._judged(caller)
            if len(self._verdicts) > LIMITS.verdicts:
                self._verdicts.popitem(last=False)
        return found

    async def _judged(self, caller: Caller) -> Verdict:
        if not caller.legible:
            return Verdict("unknown")
        connection, refused = await self._connected(caller.server)
        if refused is not None:
            return refused
        principal = Principal(
            id=caller.principal,
            method=caller.source or None,
            groups=frozenset(caller.groups),
            roles=frozenset(caller.roles),
        )
        untold: Verdict | None = None
        best: Verdict | None = None
        for step in self._steps:
            said, holds = await self._asked(step, caller, principal, connection)
            if not holds:
                untold = Verdict("unknown", plugin=step.plugin)
            elif said is not None and said.after == "refused":
                return said
            elif said is not None and (best is None or said.after == "asks"):
                best = said
        return untold or best or self._nobody()

    async def _asked(
        self, step: Step, caller: Caller, principal: Principal, connection: Connection
    ) -> tuple[Verdict | None, bool]:
        """Return what one judge says, and whether it holds whatever the arguments are."""
        call = _call(caller, principal, self._guard.clock())
        policy, clock = self._policy, self._guard.clock
        try:
            answer = await pipeline.judge_async(Chain([step]), call, connection, policy.deadline, clock)
        except HookError:
            return None, False
        found = None if answer is None else answer[1]
        holds = not (call.read or call.lacking)
        if type(found) is Deny:
            return Verdict("refused", found.code, step.plugin, found.rule or ""), holds
        if type(found) is Ask:
            return Verdict("asks", plugin=step.plugin, rule=found.rule or ""), holds
        return (Verdict("passes", rule=found.rule or "") if type(found) is Allow else None), holds

    async def _connected(self, server: str) -> tuple[Connection, Verdict | None]:
        found = self._connections.get(server)
        if found is None:
            connection = Connection(id="rejudge", host=self._guard.host, server=server, role="client")
            chain = Chain(filter(is_run, self._policy.chains.connect.steps))
            refused: Verdict | None = None
            try:
                await pipeline.connect(chain, connection, self._policy.deadline, self._guard.clock)
            except Refused as error:
                refused = Verdict("refused", error.code, error.plugin or "", error.rule or "")
            except HookError as error:
                refused = Verdict("unknown", plugin=error.plugin or "")
            found = self._connections[server] = connection, refused
            if len(self._connections) > LIMITS.verdicts:
                self._connections.popitem(last=False)
        return found

    def _nobody(self) -> Verdict:
        """Return what becomes of a call on which no judge has an opinion."""
        if not self._policy.production:
            return Verdict("passes")
        charges = self._policy.chains.charges
        return Verdict("unknown", plugin=charges.names) if charges else Verdict("refused", unjudged().code)


def _call(caller: Caller, principal: Principal, now: float) -> ToolCall:
    data = {"jsonrpc": "2.0", "id": 1, "method": _METHOD, "params": {"name": caller.tool}}
    message = Message(kind="request", toward="server", method=_METHOD, data=data, id=1, principal=principal, notes=[])
    exchange = Exchange(id=1, key=1, method=_METHOD, principal=principal, started=now, number=1, tool=caller.tool)
    return ToolCall(message, exchange, caller.server, dry=True)

"""Why a call would be refused, or pass: every judge is asked about a call that is not sent.

The rules:

1. What has no side effect is run, and nothing else: the hooks of POLICY and CONTENT, in a real session between two
   ports in memory. ADMIT charges, REPLAY remembers, SEAL, GATE and WIRE make frames: they are left out, and named.
2. Only plugins that have such a hook are opened. No server is dialled, nobody is asked, nothing is recorded, and no
   reference to a secret becomes its value.
3. The session ends a round at the first Deny. Judges after it are asked alone, about a copy of the call; what they say
   changes nothing.
4. Where a plugin that was left out could turn a refusal into a pass, it could not be told; nor where a judge misses
   something that a call on a real connection would have (`hauberk.message.ToolCall.lacks`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec
import orjson

from hauberk import edge, pipeline
from hauberk._document import is_name
from hauberk._dry import SELF, Ear, is_run
from hauberk._stand import Kept
from hauberk.chains import Chain, Step
from hauberk.connection import Connection
from hauberk.event import Event
from hauberk.message import encode
from hauberk.opening import Opened
from hauberk.refusals import ConfigError, HauberkError, HookError, Refused
from hauberk.reports import refusal_event
from hauberk.verdict import Allow, Ask, Deny

if TYPE_CHECKING:
    from collections.abc import Callable

    from hauberk.bounds import Bounds
    from hauberk.guard import Guard
    from hauberk.policy import Policy

Verdict = Literal["allow", "ask", "deny", "none", "failed", "not_asked"]
Outcome = Literal["passes", "asks", "refused", "unknown"]
_METHOD: Final = "tools/call"
_WORDS: Final[dict[type, Verdict]] = {Allow: "allow", Ask: "ask", Deny: "deny"}
_STATUS: Final[dict[Outcome, int]] = {"passes": 0, "asks": 0, "refused": 1, "unknown": 2}


class Opinion(msgspec.Struct, frozen=True):
    """What one judge says of a call."""

    plugin: str
    verdict: Verdict
    """``none``: it has no opinion; ``failed``: it could not tell; ``not_asked``: the call did not get so far."""
    code: str = ""
    reason: str = ""
    rule: str = ""
    hint: str = ""
    observes: bool = False
    """Mode ``audit``: it has no say; ``code`` and ``rule`` are those with which it would refuse."""


class Explanation(msgspec.Struct, frozen=True):
    """What becomes of a call, and why."""

    server: str
    tool: str
    outcome: Outcome
    """``asks``: it passes if an approver says yes; ``unknown``: that lies with a plugin which was not run."""
    code: str
    """Of the refusal; empty where there is none."""
    plugin: str
    """Who decided; empty for the core."""
    rule: str
    reason: str
    answer: dict[str, Any] | None
    """What the host gets in place of an answer: a JSON-RPC message, or the error of a connection that is not made."""
    digest: str
    """Of the name and the final arguments, as events have it; empty where the call is not judged."""
    opinions: tuple[Opinion, ...]
    """In the order of the chain."""
    approvers: tuple[str, ...]
    """Who would be asked, in this order."""
    rewritten_by: tuple[str, ...]
    """Who changed the call before it was judged."""
    not_run: dict[str, list[str]]
    """Hooks that a call meets and that were left out, by plugin."""

    @property
    def status(self) -> int:
        """0: it would pass, or somebody would be asked; 1: it would be refused; 2: it could not be told."""
        return _STATUS[self.outcome]


def arguments(text: bytes, name: str, bounds: Bounds) -> dict[str, Any]:
    """Parse the arguments of a call by the rules of `hauberk.edge`.

    Args:
        text: One JSON object.
        name: What it came from, for errors.
        bounds: ``line_bytes`` bounds its length (bytes).

    Raises:
        ConfigError: It breaks a rule.
    """
    try:
        found, _ = edge.read(text, bounds=bounds)
    except Refused as refused:
        raise ConfigError(
            f"cannot use the arguments of {name}: {refused.rule or refused.message} ({refused.code})",
            hint="give one JSON object",
        ) from None
    return found


async def explain(guard: Guard, server: str, tool: str, args: dict[str, Any]) -> Explanation:
    """Ask every judge about a call that is not sent.

    Args:
        guard: It is loaded and not open, and of no use for anything else afterwards.
        server: The server's name in rules.
        tool: The tool's name.
        args: Its arguments, as the host would give them.

    Raises:
        ConfigError: Nothing can have the server's name, or the operator must change something before a plugin opens.
        PluginError: A plugin does not open.
        HauberkError: The guard is open.
    """
    if guard.is_open:
        raise HauberkError("a guard that is open explains nothing", hint="load another one")
    if not is_name(server):
        raise ConfigError(f"{server!r} cannot name a server", hint="give the name that rules have for it")
    policy, ear = guard.policy, Ear()
    guard.policy = ear.quiet(policy, guard)  # what plugins say while they open goes nowhere either
    opened = await Opened.all_of({name: one for name, one in policy.loaded.items() if any(map(is_run, one.steps))})
    try:
        connection = Connection(id=SELF, host=guard.host, server=server, role="client")
        answer = await _connected(ear, policy, connection, guard) or await _sent(guard, connection, tool, args)
        return await _explained(ear, policy, connection, answer, guard.clock, tool)
    finally:
        await opened.close()


# --- what is run ---


def _not_run(policy: Policy) -> dict[str, list[str]]:
    chains = policy.chains
    met = (chains.connect, chains.charges, chains.route(_METHOD, "server").admit_out, chains.frames_out)
    found: dict[str, list[str]] = {}
    for step in (step for chain in met for step in chain.steps if not is_run(step)):
        found.setdefault(step.plugin, []).append(step.hook)
    return found


async def _connected(ear: Ear, policy: Policy, connection: Connection, guard: Guard) -> dict[str, Any] | None:
    """Run ``on_connect``; return the error where the connection would not be made."""
    chain = Chain(filter(is_run, policy.chains.connect.steps))
    try:
        await pipeline.connect(chain, connection, policy.deadline, guard.clock)
    except (Refused, HookError) as error:
        refused = error.refusal() if isinstance(error, HookError) else error
        ear.events.append(refusal_event(refused))
        return {"error": refused.error_object(trusted=True)}
    return None


async def _sent(guard: Guard, connection: Connection, tool: str, args: dict[str, Any]) -> dict[str, Any] | None:
    """Send the call through a session that ends nowhere; return what the host gets instead, where it does not pass."""
    near, far = Kept(), Kept()
    session = guard.session(connection, near, far)
    data = {"jsonrpc": "2.0", "id": 1, "method": _METHOD, "params": {"name": tool, "arguments": args}}
    try:
        session.receive(session.out, encode(data))
        await session.quiet()
        answer: dict[str, Any] | None = orjson.loads(near.got[0]) if near.got else None
        for exchange in session.out.exchanges.flight.values():
            exchange.sent = False  # so whatever was taken for it is given back
        return answer
    finally:
        await session.close()


# --- what came of it ---


async def _explained(
    ear: Ear,
    policy: Policy,
    connection: Connection,
    answer: dict[str, Any] | None,
    clock: Callable[[], float],
    tool: str,
) -> Explanation:
    category = "decision" if answer is None else "refusal"
    last = next(event for event in reversed(ear.events) if event.category == category)
    opinions = [await _opinion(ear, policy, step, connection, last, clock) for step in policy.chains.judges.steps]
    return Explanation(
        server=connection.server,
        tool=tool,
        outcome=_outcome(ear, policy, last, answer),
        code="" if answer is None else last.code,
        plugin=last.plugin,
        rule=last.rule,
        reason=last.details.get("reason", ""),
        answer=answer,
        digest=last.digest,
        opinions=tuple(opinions),
        approvers=tuple(name for name, _ in policy.approvers) if ear.asked else (),
        rewritten_by=tuple(ear.rewriters),
        not_run=_not_run(policy),
    )


def _outcome(ear: Ear, policy: Policy, last: Event, answer: dict[str, Any] | None) -> Outcome:
    if answer is None:
        return "unknown" if ear.lacking else "asks" if ear.asked else "passes"
    if last.plugin in ear.lacking:
        return "unknown"
    unjudged = last.code == "core.unjudged" and not last.plugin
    return "unknown" if unjudged and policy.chains.charges else "refused"


async def _opinion(
    ear: Ear, policy: Policy, step: Step, connection: Connection, last: Event, clock: Callable[[], float]
) -> Opinion:
    """Return what one judge said; one that the session did not come to is asked now."""
    name = step.plugin
    notes, answer = ear.events, ear.said.get(name, ...)
    if answer is ...:
        if ear.copy is None:
            return Opinion(name, "not_asked")
        call = ear.copy()
        notes = call.message.notes
        try:
            found = await pipeline.judge_async(Chain([step]), call, connection, policy.deadline, clock)
        except HookError as error:
            return Opinion(name, "failed", error.code, error.message, hint=error.hint or "")
        answer = None if found is None else found[1]
    elif _ended(answer, step):
        return Opinion(name, "deny" if answer is None else "failed", last.code, last.details["reason"])
    if policy.loaded[name].mode == "audit":
        return _observed(name, notes)
    return _told(name, answer)


def _ended(answer: Any, step: Step) -> bool:
    """Whether a judge has ended the round by something that says nothing of why."""
    if answer is None:
        return step.must_judge
    return type(answer) not in _WORDS and not isinstance(answer, Refused)


def _told(name: str, answer: Any) -> Opinion:
    if answer is None:
        return Opinion(name, "none")
    if isinstance(answer, Refused):
        return Opinion(name, "deny", answer.code, answer.message, answer.rule or "", answer.hint or "")
    return Opinion(
        name,
        _WORDS[type(answer)],
        getattr(answer, "code", ""),
        getattr(answer, "reason", ""),
        answer.rule or "",
        getattr(answer, "hint", None) or "",
    )


def _observed(name: str, notes: Sequence[Event]) -> Opinion:
    """Return what a plugin in mode ``audit`` would have said, which stands in its event."""
    for event in notes:
        if event.plugin == name and event.code == "core.would_refuse" and event.details["hook"] == "on_tool_call":
            return Opinion(name, "none", event.details["code"], rule=event.rule, observes=True)
    return Opinion(name, "none", observes=True)

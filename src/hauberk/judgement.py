"""The three rounds over one frozen tool call.

1. *Judges*, in POLICY and CONTENT, have no side effect.
2. *Charges*, in ADMIT, take rates and quotas, and slots unless somebody still has to be asked.
3. If the strictest answer is Ask, the approvers are asked, in listed order, and after an Approved that is bound to this
   very call ADMIT takes its slots.

What waits between its judgement and its sending may be overtaken: the server lists its tools anew, or says that they
have changed. Such a call is judged once more before it is sent, and not charged again.

A Deny in any round is final. No Allow and no Deny is a Deny in production. A retry of the same call, proved by the
``requestState`` that was minted in answer to it, is judged again; it is not charged again, and an approval holds.
"""

from __future__ import annotations

from collections.abc import Awaitable, Generator
from typing import TYPE_CHECKING, Any, Final

from hauberk import pipeline
from hauberk.event import Event
from hauberk.message import Message, ToolCall
from hauberk.refusals import FAILED_HOOK, LIMITS, POLICY, HookError, Refused
from hauberk.verdict import Approved, Ask, Deny, Verdict

if TYPE_CHECKING:
    from hauberk.chains import Chain
    from hauberk.crossing import Crossing
    from hauberk.exchange import Exchange

_TRIES: Final = 8
SHOWN: Final = 256
"""Characters of a tool's name that events and exchanges keep."""
Walk = Generator[Awaitable[Any], Any, Any]
Answer = tuple[str, Verdict] | None


class Judgement:
    """The judgement of one call."""

    __slots__ = ("_seen", "answer", "call", "clock", "connection", "crossing", "policy")

    def __init__(self, crossing: Crossing, message: Message, exchange: Exchange) -> None:
        self.crossing = crossing
        self.policy = crossing.policy
        session = crossing.session
        self.clock = session.guard.clock
        self.connection = session.connection
        checked = crossing.encoded if message.first is None else None
        self.call = call = ToolCall(message, exchange, self.connection.server, checked=checked)
        exchange.tool = call.name[:SHOWN]
        self.answer: tuple[str, Any] | None = None
        """What lets it pass: whose Allow or Ask, where somebody has an opinion."""
        self._seen = session.lists.news

    @property
    def overtaken(self) -> bool:
        """Whether the server has shown something since the call was judged."""
        return self._seen != self.crossing.session.lists.news

    @property
    def unready(self) -> bool:
        """Whether the call needs more than its turn before it is sent."""
        return self.call.holds_secrets or self.overtaken

    def again(self) -> Walk:
        """Judge a call that was overtaken, until nothing overtakes it.

        Raises:
            Refused: The call may not be sent.
            HookError: A plugin could not tell.
        """
        judges, lists = self.policy.chains.judges, self.crossing.session.lists
        for _ in range(_TRIES):
            self._seen = lists.news
            answer: Answer = None
            if judges.steps:
                answer = self._plain(judges) if judges.plain else (yield from self._round(judges))
            if answer is not None and type(answer[1]) is Ask and not self.call.exchange.approved:
                raise _unapproved(answer[0], answer[1])
            if not self.overtaken:
                return
        raise Refused(
            "core.unjudged",
            "the server changes what it shows faster than a call can be judged",
            jsonrpc=LIMITS,
            hint="call again; if it goes on, see what the server does",
        )

    def run(self) -> Walk:
        """Judge; the call may be sent if this returns.

        Raises:
            Refused: The call may not be sent.
            HookError: A plugin could not tell.
        """
        call, chains = self.call, self.policy.chains
        try:
            repeated = call.exchange.revision is not None and self._repeated()
            answer: Answer = None
            judges, charges = chains.judges, chains.charges
            if judges.steps:
                answer = self._plain(judges) if judges.plain else (yield from self._round(judges))
            if charges.steps and not repeated:
                charged = self._plain(charges) if charges.plain else (yield from self._round(charges))
                answer = _stricter(answer, charged)
            if answer is not None and type(answer[1]) is Ask and not call.exchange.approved:
                yield from self._approve()
                if charges.steps:
                    yield from self._round(charges)
            if answer is None and self.policy.production:
                raise unjudged()
            self.answer = answer
        except (Refused, HookError):
            call.exchange.digest = call.digest  # for the record of the refusal
            raise

    def _repeated(self) -> bool:
        """Whether this is the retry of a call that was judged and charged before."""
        call = self.call
        state = call.message.params.get("requestState")
        call.exchange.digest = call.digest
        if state is None:
            return False
        call.round = self.crossing.session.rounds.claim(state, call)
        call.exchange.round = call.round
        return call.round > 0

    def _plain(self, chain: Chain) -> Answer:
        clock = self.clock
        answer = pipeline.judge(chain, self.call, self.connection, clock() + self.policy.deadline, clock)
        if answer is not None and type(answer[1]) is Deny:
            raise denied(answer[0], answer[1])
        return answer

    def _round(self, chain: Chain) -> Walk:
        if chain.plain:
            return self._plain(chain)
        seconds = self.policy.deadline
        answer = yield pipeline.judge_async(chain, self.call, self.connection, seconds, self.clock)
        self.crossing.alive()
        if answer is not None and type(answer[1]) is Deny:
            raise denied(answer[0], answer[1])
        return answer

    def _approve(self) -> Walk:
        """Ask the approvers until one answers.

        Raises:
            Refused: One said no, or none answered.
        """
        call, digest = self.call, self.call.digest
        plugin, ask = call.asks[0]
        for name, approver in self.policy.approvers:
            answer = yield self._ask(name, approver)
            self.crossing.alive()
            if call.read and call.changed():
                raise HookError(
                    f"approver {name!r} changed the call", plugin=name, hook="approve", code="core.call_changed"
                )
            if type(answer) is Deny:
                raise denied(name, answer)
            if type(answer) is Approved and answer.digest == digest:
                call.approved, call.exchange.approved = answer, True
                call.note(
                    Event(code="core.approved", category="decision", action="allowed", plugin=name, rule=ask.rule or "")
                )
                return
            if answer is not None:
                raise HookError(
                    f"approver {name!r} answered with {type(answer).__name__} that is not bound to this call",
                    plugin=name,
                    hook="approve",
                    code="core.hook_answer",
                )
        raise _unapproved(plugin, ask)

    async def _ask(self, name: str, approver: Any) -> Any:
        """Return what one approver answers; None where it does not answer in time."""
        seconds = self.policy.approval_deadline
        try:
            return await pipeline.ask(name, "approve", approver.approve, self.call, self.connection, seconds=seconds)
        except TimeoutError:
            return None


def _stricter(first: Answer, second: Answer) -> Answer:
    if first is None or second is None:
        return second if first is None else first
    return second if pipeline.rank(second[1]) > pipeline.rank(first[1]) else first


def _unapproved(plugin: str, ask: Ask) -> Refused:
    return Refused(
        "core.unapproved",
        f"nobody approved this call: {ask.reason}",
        plugin=plugin,
        rule=ask.rule,
        hint="name an approver in core.approvers, or change the rule that asks",
    )


def unjudged() -> Refused:
    """Return the refusal of a call on which nobody has an opinion, in production."""
    return Refused("core.unjudged", "no plugin allowed this call", hint="name it in an allow rule")


def denied(plugin: str, deny: Deny) -> Refused:
    """Return the refusal that a Deny means."""
    number = LIMITS if deny.retry_after is not None else POLICY
    return Refused(
        deny.code,
        deny.reason,
        plugin=plugin,
        rule=deny.rule,
        hint=deny.hint,
        retry_after=deny.retry_after,
        public=deny.public,
        data=deny.data,
        details=deny.details,
        jsonrpc=FAILED_HOOK if deny.code == "core.hook_failed" else number,
    )

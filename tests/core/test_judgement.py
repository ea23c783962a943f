"""The three rounds: judged, charged, approved; what is denied spends, asks and decrypts nothing."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.core.harness import META, Rig, call_params, notification, request, rig, ring

from hauberk.event import Event
from hauberk.layers import Layer
from hauberk.message import Message, SecretRef, ToolCall, freeze
from hauberk.principal import Principal
from hauberk.refusals import Refused
from hauberk.verdict import Allow, Approved, Ask, Deny, Verdict

PERSON = "[core]\napprovers = ['person']\n"
SECRET = "hunter2-the-value-itself"


def yes(call: ToolCall, _: Any) -> Any:
    return Approved(call.digest, by="alice")


def person(approve: Callable[..., Any] = yes, name: str = "person") -> Any:
    """Return an approver; what it answers is awaited, as any approver's is."""

    async def asked(call: ToolCall, connection: Any) -> Any:
        await asyncio.sleep(0)
        answer = approve(call, connection)
        return await answer if asyncio.iscoroutine(answer) else answer

    return ring(name, on_connect=None, approve=asked)


def said(seen: list[Any], what: Any, answer: Any = None) -> Any:
    """Remember that something was called, and answer."""
    seen.append(what)
    return answer


class Till:
    """An ADMIT plugin that takes a charge, and gives it back where the call was never sent."""

    def __init__(self, verdict: Verdict | None = None) -> None:
        self.verdict = verdict
        self.taken: list[str] = []
        self.back: list[str] = []
        self.asked: list[tuple[bool, bool]] = []

    def charge(self, call: ToolCall, _: Any) -> Verdict | None:
        self.asked.append((bool(call.asks), call.approved is not None))
        if call.asks and call.approved is None:
            return self.verdict
        self.taken.append(call.name)
        call.exchange.defer(lambda outcome: self.settle(call, outcome))
        return self.verdict

    def settle(self, call: ToolCall, outcome: str) -> None:
        if not call.exchange.sent:
            self.back.append(outcome)

    def ring(self) -> Any:
        return ring("till", Layer.ADMIT, on_tool_call=self.charge)


def refer(*path: str | int, name: str = "github", version: int | None = 2) -> Callable[[Message, Any], Any]:
    """Return a hook that puts a reference at one place of the arguments."""

    def hook(message: Message, _: Any) -> Message | None:
        if message.kind != "request":
            return None
        arguments = orjson.loads(orjson.dumps(message.params["arguments"]))
        place = arguments
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = SecretRef(name, version)
        return message.with_params({**message.params, "arguments": arguments})

    return hook


# --- rounds ---


async def test_judges_come_before_charges() -> None:
    """Round one is the judges of CONTENT and POLICY, round two the charges of ADMIT, however they are listed."""
    order: list[str] = []
    layers = [("charge", Layer.ADMIT), ("policy", Layer.POLICY), ("content", Layer.CONTENT)]
    async with rig(*(ring(n, layer, on_tool_call=lambda *_, n=n: said(order, n)) for n, layer in layers)) as r:
        await r.call()
    assert order == ["content", "policy", "charge"]


@pytest.mark.parametrize("waits", [False, True])
async def test_denied_call_spends_asks_and_decrypts_nothing(waits: bool) -> None:
    """After a judge's Deny no charge is taken, nobody is asked and no secret is resolved (design 9.3)."""

    async def no(*_: Any) -> Verdict:
        return Deny("p.no", "no")

    till = Till()
    touched: list[str] = []
    vault = ring("vault", Layer.CONTENT, on_send=refer("key"), resolve=lambda *_: said(touched, "vault", SECRET))
    asks = ring("asks", Layer.CONTENT, on_tool_call=Ask("sure?"))
    deny = ring("deny", on_tool_call=no if waits else Deny("p.no", "no"))
    approver = person(lambda *_: touched.append("person"))
    async with rig(till.ring(), vault, asks, deny, approver, toml=PERSON) as r:
        await r.call("ls", {"key": "k"})
        assert (r.reached, r.codes) == ([], ["p.no"])
        assert (till.taken, touched) == ([], [])


async def test_charge_that_denies_is_final() -> None:
    """A charge's Deny stops an allowed call before anybody is asked; with a wait it is a refusal of limits."""
    asked: list[Any] = []
    limit = ring("limit", Layer.ADMIT, on_tool_call=Deny("limit.exceeded", "slow down", retry_after=1.5, public=True))
    async with rig(limit, ring("p", on_tool_call=Ask("?")), person(asked.append), toml=PERSON, role="server") as r:
        await r.call()
        assert (r.reached, asked) == ([], [])
        assert r.error() == {
            "code": -32005,
            "message": "refused",
            "data": {"code": "limit.exceeded", "retryAfter": 1.5, "httpStatus": 429},
        }


async def test_strictest_verdict_wins_over_the_rounds() -> None:
    """An Ask of any round is asked, whoever allowed before or after; the event names the strictest and its rule."""
    for asks, allows in ((Layer.POLICY, Layer.ADMIT), (Layer.ADMIT, Layer.POLICY)):
        plugins = [ring("asks", asks, on_tool_call=Ask("?", "r-ask")), ring("ok", allows, on_tool_call=Allow("r-ok"))]
        async with rig(*plugins, person(), toml=PERSON) as r:
            await r.call()
            assert len(r.reached) == 1
            (event,) = r.recorder.of("core.allowed")
            assert (event.plugin, event.rule) == ("asks", "r-ask")


async def test_decision_names_plugin_rule_digest_and_size() -> None:
    """The event of a decision says who allowed by which rule, which tool, and the digest of exactly this call."""
    digests: list[str] = []

    def judge(call: ToolCall, _: Any) -> Verdict:
        digests.append(call.digest)
        return Allow("files/*")

    async with rig(ring("p", on_tool_call=judge)) as r:
        await r.call("ls", {"path": "/"})
        (event,) = r.recorder.of("core.allowed")
        assert (event.plugin, event.rule, event.tool, event.method) == ("p", "files/*", "ls", "tools/call")
        assert [event.digest] == digests
        assert event.sizes["request"] == len(r.far.raw[0])
        assert (event.principal, event.source, event.category) == ("host:default", "local", "decision")


# --- ask and approve ---


async def test_nobody_to_ask_is_no() -> None:
    """An Ask without an approver is a Deny that says what to do."""
    async with rig(ring("p", on_tool_call=Ask("writes a file", "r1"))) as r:
        await r.call()
        assert r.reached == []
        assert r.error()["data"] | {"hint": ""} == {"code": "core.unapproved", "plugin": "p", "rule": "r1", "hint": ""}
        assert "writes a file" in r.error()["message"]


async def test_approved_call_passes_and_is_recorded() -> None:
    """After an Approved that names this very call it passes; who approved is recorded before the decision."""
    async with rig(ring("p", on_tool_call=Ask("sure?", "r1")), person(), toml=PERSON) as r:
        await r.call("ls", {"path": "/"})
        assert len(r.reached) == 1
        approved, allowed = (event for event in r.recorder.events if event.category == "decision")
        assert (approved.code, approved.plugin, approved.rule) == ("core.approved", "person", "r1")
        assert allowed.code == "core.allowed"
        assert approved.digest == allowed.digest


ANSWERS: dict[str, tuple[Callable[..., Any], str]] = {
    "no": (lambda *_: Deny("person.no", "too risky"), "person.no"),
    "digest of another call": (lambda *_: Approved("sha256:" + "0" * 64), "core.hook_answer"),
    "no digest": (lambda *_: Approved(""), "core.hook_answer"),
    "True": (lambda *_: True, "core.hook_answer"),
    "Allow": (lambda *_: Allow(), "core.hook_answer"),
    "Ask": (lambda *_: Ask("again"), "core.hook_answer"),
    "text": (lambda *_: "yes", "core.hook_answer"),
    "nothing": (lambda *_: None, "core.unapproved"),
    "the digest, not Approved": (lambda call, _: call.digest, "core.hook_answer"),
}


@pytest.mark.parametrize("answer", ANSWERS)
async def test_only_approved_for_this_very_call_is_yes(answer: str) -> None:
    """Anything but Approved with the digest of this call stops it: another digest is a failure, silence is no (A68)."""
    approve, code = ANSWERS[answer]
    till = Till()
    async with rig(ring("p", on_tool_call=Ask("?")), till.ring(), person(approve), toml=PERSON) as r:
        await r.call()
        assert (r.reached, r.codes) == ([], [code])
        assert till.taken == []


async def test_approval_of_one_call_is_none_for_another() -> None:
    """Approved for one call's digest does not pass another with other arguments."""
    digests: list[str] = []

    def first_only(call: ToolCall, _: Any) -> Approved:
        digests.append(call.digest)
        return Approved(digests[0])

    async with rig(ring("p", on_tool_call=Ask("?")), person(first_only), toml=PERSON) as r:
        await r.call("ls", {"path": "/a"})
        await r.call("ls", {"path": "/b"}, id=2)
        await r.call("rm", {"path": "/a"}, id=3)
        await r.call("ls", {"path": "/a"}, id=4)
        assert [message["id"] for message in r.reached] == [1, 4]
        assert len(set(digests)) == 3


@pytest.mark.parametrize(
    "error",
    [Exception, BaseException, SystemExit, asyncio.CancelledError, RecursionError, MemoryError, TimeoutError],
)
async def test_approver_that_raises_stops_the_call(error: type[BaseException]) -> None:
    """An approver that raises anything is a failure that names it, without a word of what it said (A68)."""

    def fails(*_: Any) -> Any:
        raise error(SECRET)

    async with rig(ring("p", on_tool_call=Ask("?")), person(fails), toml=PERSON) as r:
        await r.call()
        assert (r.reached, r.codes) == ([], ["core.hook_failed"])
        assert r.error()["data"]["plugin"] == "person"
        assert SECRET not in repr(r.replies) + repr(r.recorder.events)


async def test_approver_may_refuse_by_raising() -> None:
    """An approver's Refused is its no, with its own code."""

    def no(*_: Any) -> Any:
        raise Refused("person.no", "not today", rule="r9")

    async with rig(ring("p", on_tool_call=Ask("?")), person(no), toml=PERSON) as r:
        await r.call()
        assert r.error()["data"]["code"] == "person.no"
        assert (r.error()["data"]["plugin"], r.error()["data"]["rule"]) == ("person", "r9")


@pytest.mark.parametrize("stubborn", [False, True])
async def test_approver_that_does_not_answer_in_time_is_no(stubborn: bool) -> None:
    """An approver has a deadline of its own; after it a yes comes too late, even from one that goes on (A68)."""

    async def never(call: ToolCall) -> Any:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if not stubborn:
                raise
        return Approved(call.digest)

    toml = PERSON + "[core.bounds]\napproval_deadline = 0.02\n"
    async with rig(ring("p", on_tool_call=Ask("?")), person(lambda call, _: never(call)), toml=toml) as r:
        await r.call()
        assert (r.reached, r.codes) == ([], ["core.unapproved"])


async def test_approvers_are_asked_in_listed_order_until_one_answers() -> None:
    """Approvers are asked in the order of core.approvers; the first that answers decides."""
    order: list[str] = []

    def saying(name: str, answer: Callable[..., Any]) -> Any:
        return person(lambda call, c: said(order, name, answer(call, c)), name)

    people = [saying("c", yes), saying("a", lambda *_: None), saying("b", yes)]
    async with rig(ring("p", on_tool_call=Ask("?")), *people, toml="[core]\napprovers=['a', 'b', 'c']") as r:
        await r.call()
        assert len(r.reached) == 1
        assert order == ["a", "b"]


async def test_slots_are_taken_after_the_yes() -> None:
    """Charges run once before anybody is asked and once after the yes, with ``call.approved`` set (design 3)."""
    till = Till()
    async with rig(till.ring(), ring("p", on_tool_call=Ask("?")), person(), toml=PERSON) as r:
        await r.call()
        assert till.asked == [(True, False), (True, True)]
        assert till.taken == ["ls"]


async def test_charge_may_deny_after_the_yes() -> None:
    """When the slots have gone while a person thought, the approved call is refused."""

    def full(call: ToolCall, _: Any) -> Verdict | None:
        return Deny("till.full", "no slot") if call.approved else None

    async with rig(
        ring("till", Layer.ADMIT, on_tool_call=full), ring("p", on_tool_call=Ask("?")), person(), toml=PERSON
    ) as r:
        await r.call()
        assert (r.reached, r.codes) == ([], ["till.full"])


@pytest.mark.parametrize("reach", ["arguments", "message"])
@pytest.mark.parametrize("bytes_only", [True, False])
async def test_approver_that_changes_the_call_is_refused(reach: str, bytes_only: bool) -> None:
    """What a person approved is what is sent: an approver that changes the arguments is refused, or sends the old."""

    def changes(call: ToolCall, _: Any) -> Approved:
        arguments = call.arguments if reach == "arguments" else call.message.params["arguments"]
        arguments["path"] = "/etc"
        return Approved(call.digest)

    async with rig(ring("p", on_tool_call=Ask("?")), person(changes), toml=PERSON, bytes_only=bytes_only) as r:
        await r.call("ls", {"path": "/"})
        assert [m["params"]["arguments"] for m in r.reached] in ([], [{"path": "/"}])
        if reach == "arguments":
            assert r.codes == ["core.call_changed"]
            assert r.error()["data"]["plugin"] == "person"


async def test_nothing_waits_behind_a_call_that_waits_for_a_person() -> None:
    """While one call waits for a yes, others pass, and cancelling it asks nobody further and sends nothing."""
    asked, answer = asyncio.Event(), asyncio.Event()

    async def think(call: ToolCall) -> Any:
        asked.set()
        await answer.wait()
        return Approved(call.digest)

    def judge(call: ToolCall, _: Any) -> Verdict:
        return Ask("?") if call.name == "rm" else Allow()

    till = Till()
    plugins = [till.ring(), ring("p", on_tool_call=judge), person(lambda call, _: think(call))]
    async with rig(*plugins, toml=PERSON) as r:
        r.post(r.from_client, request("tools/call", call_params("rm"), id=1))
        await asked.wait()
        r.post(r.from_client, request("tools/call", call_params("ls"), id=2))
        assert [message["id"] for message in r.reached] == [2]
        r.post(r.from_client, notification("notifications/cancelled", {"requestId": 1}))
        answer.set()
        await r.settle()
        assert [message["id"] for message in r.reached] == [2]
        assert r.replies == []
        assert till.taken == ["ls"]


# --- the retry of the same call ---


def state_answer(state: str) -> dict[str, Any]:
    return {"resultType": "input_required", "requestState": state, "inputRequests": {}}


async def test_retry_of_an_approved_call_is_not_asked_or_charged_again() -> None:
    """A retry that echoes the state minted for this very call is judged again, and neither charged nor asked."""
    till = Till()
    asked: list[str] = []
    rounds: list[int] = []

    def judge(call: ToolCall, _: Any) -> Verdict:
        rounds.append(call.round)
        return Ask("?")

    approver = person(lambda call, _: said(asked, call.name, Approved(call.digest)))
    async with rig(till.ring(), ring("p", on_tool_call=judge), approver, toml=PERSON) as r:
        await r.call("ls", {"a": 1}, _meta=META)
        await r.answer(state_answer("s1"))
        await r.call("ls", {"a": 1}, id=2, _meta=META, requestState="s1", inputResponses={})
        assert [message["id"] for message in r.reached] == [1, 2]
        assert (rounds, asked, till.taken) == ([0, 1], ["ls"], ["ls"])


@pytest.mark.parametrize(
    ("name", "arguments", "state"),
    [("ls", {"a": 2}, "s1"), ("rm", {"a": 1}, "s1"), ("ls", {"a": 1}, "s2"), ("ls", {"a": 1}, None)],
)
async def test_another_call_with_the_state_is_asked_again(name: str, arguments: Any, state: str | None) -> None:
    """A state is good for the call it was minted for: with other arguments, another tool or another state it is new."""
    till = Till()
    asked: list[str] = []
    approver = person(lambda call, _: said(asked, call.name, Approved(call.digest)))
    async with rig(till.ring(), ring("p", on_tool_call=Ask("?")), approver, toml=PERSON) as r:
        await r.call("ls", {"a": 1}, _meta=META)
        await r.answer(state_answer("s1"))
        more = {} if state is None else {"requestState": state}
        await r.call(name, arguments, id=2, _meta=META, **more)
        assert (len(asked), len(till.taken)) == (2, 2)


async def test_state_is_good_once() -> None:
    """A state that was echoed is spent: a second retry with it is a new call."""
    asked: list[str] = []
    approver = person(lambda call, _: said(asked, call.name, Approved(call.digest)))
    async with rig(ring("p", on_tool_call=Ask("?")), approver, toml=PERSON) as r:
        await r.call("ls", _meta=META)
        await r.answer(state_answer("s1"))
        for id in (2, 3):
            await r.call("ls", id=id, _meta=META, requestState="s1")
        assert len(asked) == 2


async def test_denied_retry_is_denied() -> None:
    """A retry is judged like any call: what has been denied meanwhile stays out."""
    verdicts: list[Verdict] = [Allow(), Deny("p.no", "no longer")]
    async with rig(ring("p", on_tool_call=lambda *_: verdicts.pop(0))) as r:
        await r.call("ls", _meta=META)
        await r.answer(state_answer("s1"))
        await r.call("ls", id=2, _meta=META, requestState="s1")
        assert [message["id"] for message in r.reached] == [1]
        assert r.codes == ["p.no"]


async def test_retry_that_nobody_approved_is_asked() -> None:
    """A call that passed without being asked about has no approval to hold: an Ask at its retry is asked."""
    verdicts: list[Verdict] = [Allow(), Ask("?"), Ask("?")]
    asked: list[str] = []
    approver = person(lambda call, _: said(asked, call.name, Approved(call.digest)))
    async with rig(ring("p", on_tool_call=lambda *_: verdicts.pop(0)), approver, toml=PERSON) as r:
        await r.call("ls", _meta=META)
        await r.answer(state_answer("s1"))
        await r.call("ls", id=2, _meta=META, requestState="s1")
        assert asked == ["ls"]
        await r.answer(state_answer("s2"), id=2)
        await r.call("ls", id=3, _meta=META, requestState="s2")
        assert asked == ["ls"]
        assert [message["id"] for message in r.reached] == [1, 2, 3]


async def test_state_of_one_principal_is_none_for_another() -> None:
    """A state that was minted for one caller is a new call from another: charged, and asked about."""
    asked: list[str] = []
    approver = person(lambda call, _: said(asked, call.principal.id, Approved(call.digest)))
    async with rig(ring("p", on_tool_call=Ask("?")), approver, toml=PERSON, role="server") as r:
        r.connection.principal = Principal(id="alice", kind="user")
        await r.call("ls", _meta=META)
        await r.answer(state_answer("s1"))
        r.connection.principal = Principal(id="bob", kind="user")
        await r.call("ls", id=2, _meta=META, requestState="s1")
        assert asked == ["alice", "bob"]


# --- charges that are given back ---


async def cancels(r: Rig) -> None:
    await r.send(r.from_client, notification("notifications/cancelled", {"requestId": 1}))


async def answers(r: Rig) -> None:
    await r.answer()


async def fails(r: Rig) -> None:
    await r.send(r.from_server, {"jsonrpc": "2.0", "id": 1, "error": {"code": -1, "message": "no"}})


async def closes(r: Rig) -> None:
    await r.session.close()


@pytest.mark.parametrize(
    ("way_out", "outcome"), [(answers, "answered"), (fails, "error"), (cancels, "cancelled"), (closes, "closed")]
)
async def test_sent_call_is_paid_for(way_out: Callable[[Rig], Any], outcome: str) -> None:
    """Once a call was written, ``sent`` is true at its end, whatever the outcome; what is deferred runs once."""
    ends: list[tuple[str, bool]] = []

    def charge(call: ToolCall, _: Any) -> None:
        call.exchange.defer(lambda outcome: ends.append((outcome, call.exchange.sent)))

    async with rig(ring("till", Layer.ADMIT, on_tool_call=charge)) as r:
        await r.call()
        assert ends == []
        await way_out(r)
        assert ends == [(outcome, True)]
    assert len(ends) == 1


def refuses(*_: Any) -> None:
    raise Refused("p.no", "no")


def unsendable(message: Message, _: Any) -> None:
    message.params["arguments"]["late"] = 1


STOPPERS: dict[str, list[Any]] = {
    "a later charge": [ring("late", Layer.ADMIT, on_tool_call=Deny("p.no", "no"))],
    "a failing charge": [ring("late", Layer.ADMIT, on_tool_call=lambda *_: 1 / 0)],
    "ADMIT's on_send": [ring("late", Layer.ADMIT, on_send=refuses)],
    "a changed call": [ring("late", Layer.ADMIT, on_send=unsendable)],
    "a required sink": [
        ring("sink", on_audit=lambda e: refuses() if e.code == "core.allowed" else None, required=True)
    ],
    "SEAL": [ring("seal", Layer.SEAL, on_send=refuses)],
    "WIRE": [ring("wire", Layer.WIRE, on_send=lambda *_: 1 / 0)],
    "nobody approves": [ring("p", on_tool_call=Ask("?"))],
    "an unknown secret": [ring("vault", Layer.CONTENT, on_send=refer("path"))],
}


@pytest.mark.parametrize("stopped_by", STOPPERS)
async def test_charge_for_a_call_that_never_left_is_given_back(stopped_by: str) -> None:
    """Whatever stops a call after it was charged, ``sent`` is false at its end, so the charge is given back, once."""
    ends: list[tuple[str, bool]] = []

    def charge(call: ToolCall, _: Any) -> None:
        call.exchange.defer(lambda outcome: ends.append((outcome, call.exchange.sent)))

    async with rig(ring("till", Layer.ADMIT, on_tool_call=charge), *STOPPERS[stopped_by]) as r:
        await r.call("ls", {"path": "/"})
        assert r.reached == []
        assert ends == [("refused", False)]
        assert not r.session.busy


async def test_charge_for_a_call_that_is_cancelled_while_it_waits_is_given_back() -> None:
    """A call that its asker cancels while the guard still holds it is never sent, and its charge is given back."""
    ends: list[tuple[str, bool]] = []

    def charge(call: ToolCall, _: Any) -> None:
        call.exchange.defer(lambda outcome: ends.append((outcome, call.exchange.sent)))

    async def hold(*_: Any) -> None:
        await asyncio.Event().wait()

    async with rig(ring("till", Layer.ADMIT, on_tool_call=charge, on_send=hold)) as r:
        r.post(r.from_client, request("tools/call", call_params("ls")))
        await asyncio.sleep(0)
        await cancels(r)
        assert (r.reached, r.replies, ends) == ([], [], [("cancelled", False)])


async def test_clean_up_that_raises_keeps_no_other_from_running() -> None:
    """One plugin's deferred function that raises keeps neither another's from running nor the answer from its asker."""
    ends: list[str] = []

    def charge(call: ToolCall, _: Any) -> None:
        call.exchange.defer(lambda outcome: ends.append("first"))
        call.exchange.defer(lambda outcome: 1 / 0)
        call.exchange.defer(lambda outcome: ends.append("last"))

    async with rig(ring("till", Layer.ADMIT, on_tool_call=charge)) as r:
        await r.call()
        await r.answer()
        assert ends == ["last", "first"]
        assert len(r.replies) == 1


# --- secrets by reference ---


DEEP = {"headers": [{"x": 1}, {"token": "$ref", "other": "kept"}], "text": "$ref"}


@pytest.mark.parametrize("bytes_only", [True, False])
@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("role", ["client", "server"])
async def test_value_stands_at_exactly_the_place_of_its_reference(role: Any, waits: bool, bytes_only: bool) -> None:
    """Judges see a reference, its digest and frozen bytes stand for that, and only what leaves holds the value, at
    exactly its place.
    """
    frozen: list[bytes] = []
    seen: list[Any] = []

    async def resolve_async(ref: SecretRef, call: ToolCall) -> str:
        await asyncio.sleep(0)
        return SECRET

    def resolve(ref: SecretRef, call: ToolCall) -> str:
        assert (ref, call.name) == (SecretRef("github", 2), "ls")
        return SECRET

    def judge(call: ToolCall, _: Any) -> Verdict:
        frozen.append(call.frozen)
        seen.append(call.arguments["headers"][1]["token"])
        return Allow()

    hook = "on_send" if role == "client" else "on_receive"
    vault = ring(
        "vault", Layer.CONTENT, resolve=resolve_async if waits else resolve, **{hook: refer("headers", 1, "token")}
    )
    async with rig(vault, ring("p", on_tool_call=judge), role=role, bytes_only=bytes_only) as r:
        await r.call("ls", DEEP)
        (sent,) = r.reached
        assert sent["params"]["arguments"] == {
            "headers": [{"x": 1}, {"token": SECRET, "other": "kept"}],
            "text": "$ref",
        }
        assert seen == [SecretRef("github", 2)]
        body = {"headers": [{"x": 1}, {"token": None, "other": "kept"}], "text": "$ref"}
        assert frozen == [orjson.dumps(body) + b'\n[[["headers",1,"token"],"github",2]]']
        assert SECRET not in repr(r.recorder.events)


async def test_exchange_knows_the_values_that_were_put_in() -> None:
    """``exchange.secrets`` holds each value that was put in, once, for whoever redacts the answer."""
    known: list[Any] = []

    def on_receive(message: Message, _: Any) -> None:
        assert message.exchange is not None
        known.append(message.exchange.secrets)

    vault = ring("vault", Layer.CONTENT, on_send=refer("a"), on_receive=on_receive, resolve=lambda *_: SECRET)
    again = ring("again", Layer.POLICY, on_send=lambda m, c: twice(m))
    async with rig(vault, again) as r:
        await r.call("ls", {"a": 1, "b": 2})
        await r.answer()
        assert known == [(SECRET,)]
        assert r.reached[0]["params"]["arguments"] == {"a": SECRET, "b": SECRET}


def twice(message: Message) -> Message | None:
    """Copy the reference at ``a`` to ``b``."""
    if message.kind != "request":
        return None
    arguments = message.params["arguments"]
    return message.with_params({**message.params, "arguments": {**arguments, "b": arguments["a"]}})


async def test_secret_is_resolved_after_everything_else_said_yes() -> None:
    """A value is fetched after judges, charges, approval, ADMIT's on_send and the record, just before the write."""
    order: list[str] = []

    def say(what: str, answer: Any = None) -> Any:
        return lambda *_: said(order, what, answer)

    plugins = [
        ring("vault", Layer.CONTENT, on_send=refer("a"), resolve=say("resolve", SECRET)),
        ring("p", on_tool_call=say("judge", Ask("?"))),
        ring("till", Layer.ADMIT, on_tool_call=say("charge"), on_send=say("admit")),
        ring(
            "sink",
            on_audit=lambda event: said(order, "record") if event.code == "core.allowed" else None,
            required=True,
        ),
        ring("seal", Layer.SEAL, on_send=say("seal")),
        person(lambda call, _: said(order, "approve", Approved(call.digest))),
    ]
    async with rig(*plugins, toml=PERSON) as r:
        await r.call("ls", {"a": 1})
        assert len(r.reached) == 1
    assert order == ["judge", "charge", "approve", "charge", "admit", "record", "resolve", "seal"]


UNRESOLVED: dict[str, tuple[dict[str, Any], str]] = {
    "nobody has it": ({}, "core.secret"),
    "its owner does not": ({"resolve": lambda *_: None}, "core.secret"),
    "no text": ({"resolve": lambda *_: 5}, "core.hook_failed"),
    "bytes": ({"resolve": lambda *_: b"x"}, "core.hook_failed"),
    "raises": ({"resolve": lambda *_: 1 / 0}, "core.hook_failed"),
    "refuses": ({"resolve": refuses}, "p.no"),
}


@pytest.mark.parametrize("fault", UNRESOLVED)
async def test_reference_that_nobody_resolves_is_refused(fault: str) -> None:
    """A reference without a value stops the call, and the error names the reference and no value."""
    members, code = UNRESOLVED[fault]
    async with rig(ring("vault", Layer.CONTENT, on_send=refer("a"), **members)) as r:
        await r.call("ls", {"a": 1})
        assert (r.reached, r.codes) == ([], [code])


@pytest.mark.parametrize("error", [SystemExit, asyncio.CancelledError, BaseException, MemoryError, KeyError])
@pytest.mark.parametrize("waits", [False, True])
async def test_owner_that_fails_stops_the_call(waits: bool, error: type[BaseException]) -> None:
    """An owner that raises anything is a failure that names it; the process lives, and no value is told (A68)."""

    def fails(*_: Any) -> str:
        raise error(SECRET)

    async def fails_later(*_: Any) -> str:
        await asyncio.sleep(0)
        return fails()

    vault = ring("vault", Layer.CONTENT, on_send=refer("a"), resolve=fails_later if waits else fails)
    async with rig(vault) as r:
        await r.call("ls", {"a": 1})
        assert (r.reached, r.codes) == ([], ["core.hook_failed"])
        assert r.error()["data"]["plugin"] == "vault"
        assert SECRET not in repr(r.replies) + repr(r.recorder.events)


async def test_owner_that_hangs_stops_the_call() -> None:
    """A value that does not come in time stops the call; the asker is told, and nobody hangs (A68)."""

    async def never(*_: Any) -> str:
        await asyncio.Event().wait()
        return SECRET

    vault = ring("vault", Layer.CONTENT, on_send=refer("a"), resolve=never)
    async with rig(vault, toml="[core.bounds]\ndeadline = 0.02") as r:
        await r.call("ls", {"a": 1})
        assert (r.reached, r.codes) == ([], ["core.hook_failed"])


@pytest.mark.parametrize("bytes_only", [True, False])
async def test_reference_outside_the_arguments_of_a_call_is_refused(bytes_only: bool) -> None:
    """A reference in a result, or in another method, has nobody to resolve it and does not leave as anything else."""
    result = {"content": [], "key": SecretRef("github")}
    vault = ring("vault", Layer.CONTENT, on_receive=lambda m, _: m.with_result(result))
    async with rig(vault, bytes_only=bytes_only) as r:
        await r.call()
        await r.answer()
        assert r.codes == ["core.not_json"]


async def test_digest_names_the_reference_and_not_its_value() -> None:
    """The digest of a call stands for the reference: another version is another call, another value is the same."""
    digests: list[str] = []

    async def digest(version: int, value: str) -> None:
        vault = ring("vault", Layer.CONTENT, on_send=refer("a", version=version), resolve=lambda *_: value)
        async with rig(vault, ring("p", on_tool_call=lambda call, _: said(digests, call.digest))) as r:
            await r.call("ls", {"a": 1})
            assert r.reached[0]["params"]["arguments"] == {"a": value}
            assert r.recorder.of("core.allowed")[0].digest == digests[-1]

    await digest(1, "x")
    await digest(1, "y")
    await digest(2, "x")
    first, again, other = digests
    assert first == again != other


@given(st.data())
def test_frozen_bytes_tell_every_reference(data: Any) -> None:
    """Two arguments with equal frozen bytes are equal, references included: no place and no name is lost."""
    refs = st.builds(SecretRef, st.sampled_from(["a", "b"]), st.sampled_from([None, 1]))
    keys = st.sampled_from(["x", "y", "0"])
    values = st.recursive(
        refs | st.none() | st.sampled_from([1, "a"]),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(keys, inner, max_size=2),
        max_leaves=5,
    )
    arguments = st.dictionaries(keys, values, max_size=3)
    first, second = data.draw(arguments), data.draw(arguments)
    same = orjson.dumps(first, default=repr, option=orjson.OPT_PASSTHROUGH_DATACLASS) == orjson.dumps(
        second, default=repr, option=orjson.OPT_PASSTHROUGH_DATACLASS
    )
    assert (freeze(first) == freeze(second)) is same


# --- no context crosses from one message to another (A74) ---

WHO: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="nobody")


class Interleaved:
    """Plugins that keep who speaks in a context variable and yield to the loop wherever they may."""

    def __init__(self, pauses: dict[str, list[int]], *, plain: bool) -> None:
        self.pauses = pauses
        self.plain = plain
        self.seen: list[tuple[str, str]] = []

    async def pause(self, name: str) -> None:
        pauses = self.pauses[name]
        for _ in range(pauses.pop() if pauses else 0):
            await asyncio.sleep(0)

    def plugins(self) -> list[Any]:
        async def enter(message: Message, _: Any) -> None:
            if message.kind == "request":
                who = message.params["arguments"]["who"]
                self.found(who, "nobody")
                WHO.set(who)
                await self.pause(who)

        def enter_plain(message: Message, _: Any) -> None:
            if message.kind == "request":
                who = message.params["arguments"]["who"]
                self.found(who, "nobody")
                WHO.set(who)

        async def judge(call: ToolCall, _: Any) -> Verdict:
            await self.pause(call.arguments["who"])
            self.found(call.arguments["who"], call.arguments["who"])
            return Allow()

        return [
            ring("auth", Layer.ADMIT, on_receive=enter_plain if self.plain else enter),
            ring("p", on_tool_call=judge),
        ]

    def found(self, who: str, expected: str) -> None:
        self.seen.append((WHO.get(), expected))


@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(st.sampled_from(["alice", "bob", "carol"]), st.lists(st.integers(0, 3), max_size=6), min_size=2),
    st.lists(st.sampled_from(["alice", "bob", "carol"]), min_size=2, max_size=8),
    st.booleans(),
)
def test_context_of_one_message_never_reaches_another(
    pauses: dict[str, list[int]], callers: list[str], plain: bool
) -> None:
    """However messages of several principals interleave at every await, what a hook keeps in a context variable is seen
    by later hooks of the same message and by nobody else; nor does the reader of the connection keep it (A74).
    """

    async def interleave() -> None:
        state = Interleaved({name: list(pauses.get(name, [])) for name in ("alice", "bob", "carol")}, plain=plain)
        async with rig(*state.plugins(), role="server", record=False) as r:
            for id, who in enumerate(callers):
                r.connection.principal = Principal(id=who, kind="user")
                r.post(r.from_client, request("tools/call", call_params("ls", {"who": who}), id=id))
                assert WHO.get() == "nobody"
            await r.settle()
            assert sorted(m["params"]["arguments"]["who"] for m in r.reached) == sorted(callers)
        assert all(found == expected for found, expected in state.seen)
        assert len(state.seen) == 2 * len(callers)

    asyncio.run(interleave())


async def test_principal_of_a_message_is_that_of_its_arrival() -> None:
    """A message that waits keeps the principal that the channel had proved when it came, whoever speaks next (A74)."""
    gate = asyncio.Event()
    seen: list[tuple[str, str]] = []

    async def wait(message: Message, _: Any) -> None:
        await gate.wait()

    def judge(call: ToolCall, _: Any) -> Verdict:
        seen.append((call.arguments["who"], call.principal.id))
        return Allow()

    async with rig(ring("a", Layer.ADMIT, on_receive=wait), ring("p", on_tool_call=judge), role="server") as r:
        for id, who in enumerate(("alice", "bob")):
            r.connection.principal = Principal(id=who, kind="user")
            r.post(r.from_client, request("tools/call", call_params("ls", {"who": who}), id=id))
        gate.set()
        await r.settle()
        assert seen == [("alice", "alice"), ("bob", "bob")]
        assert [event.principal for event in r.recorder.of("core.allowed")] == ["alice", "bob"]


async def test_note_of_a_judge_is_about_its_call() -> None:
    """What a judge notes on a call is recorded with that call's tool, digest and exchange."""

    def judge(call: ToolCall, _: Any) -> Verdict:
        call.note(Event(code="p.saw"))
        return Allow()

    async with rig(ring("p", on_tool_call=judge)) as r:
        await r.call("ls", {"path": "/"})
        (saw,) = r.recorder.of("p.saw")
        (allowed,) = r.recorder.of("core.allowed")
        assert (saw.tool, saw.digest, saw.exchange) == (allowed.tool, allowed.digest, allowed.exchange)


@pytest.mark.parametrize("waits", [False, True])
async def test_context_does_not_stay_with_the_caller(waits: bool) -> None:
    """A host that sends in a task of its own gets back no context variable of a hook, and the next message sees none of
    the last one's (A74).
    """
    seen: list[str] = []

    def plain(message: Message, _: Any) -> None:
        seen.append(WHO.get())
        WHO.set("somebody")

    async def later(message: Message, connection: Any) -> None:
        await asyncio.sleep(0)
        plain(message, connection)

    async with rig(ring("p", on_send=later if waits else plain), bytes_only=False) as r:
        for id in range(2):
            await r.passed(request("tools/call", call_params("ls"), id=id))
        assert seen == ["nobody", "nobody"]
        assert WHO.get() == "nobody"
        assert len(r.reached) == 2


async def test_cancelled_caller_takes_its_message_back() -> None:
    """A host whose sending task is cancelled while a hook waits has sent nothing, and its request is over."""

    async def hold(*_: Any) -> None:
        await asyncio.Event().wait()

    async with rig(ring("p", on_send=hold), bytes_only=False) as r:
        sending = asyncio.create_task(r.passed(request("ping")))
        await asyncio.sleep(0)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        assert r.reached == []
        assert not r.session.busy


# --- what overtakes a call ---


class Watcher:
    """A judge that goes by whether the server has said something new."""

    def __init__(self) -> None:
        self.changed = False
        self.judged = 0

    def ring(self, **members: Any) -> Any:
        def see(message: Message, _: Any) -> None:
            self.changed = self.changed or message.method.endswith("/list_changed")

        def judge(_call: ToolCall, _: Any) -> Verdict:
            self.judged += 1
            return Deny("watch.changed", "the list has changed") if self.changed else Allow("as listed")

        return ring("watch", on_receive=see, on_tool_call=judge, **members)


async def overtake(r: Rig) -> None:
    """Let the server say that its list has changed, and wait until that is seen; a call may wait meanwhile."""
    _ = r.session.receive_object(r.session.inn, notification("notifications/tools/list_changed"))
    for _turn in range(20):
        await asyncio.sleep(0)


WAITS = ("an async judge", "a charge", "an approver", "a sink")


def waiting(where: str, gate: asyncio.Event) -> tuple[list[Any], str]:
    """Return plugins in which a call waits once it is judged."""

    async def wait(*_: Any) -> None:
        await gate.wait()

    async def approve(call: ToolCall, _: Any) -> Approved:
        await gate.wait()
        return Approved(call.digest)

    async def record(event: Event) -> None:
        if event.code == "core.allowed":
            await gate.wait()

    if where == "an async judge":
        return [ring("a_slow", on_tool_call=wait)], ""
    if where == "a charge":
        return [ring("slow", Layer.ADMIT, on_tool_call=wait)], ""
    if where == "an approver":
        return [ring("asks", on_tool_call=Ask("sure?")), ring("person", on_connect=None, approve=approve)], PERSON
    return [ring("sink", on_audit=record, required=True)], ""


@pytest.mark.parametrize("where", WAITS)
@pytest.mark.parametrize("news", [True, False])
async def test_call_that_is_overtaken_is_judged_again(where: str, news: bool) -> None:
    """A call that waits after its judgement is judged anew if the server's lists change meanwhile, wherever it waits;
    it is sent as it was judged last (A38).
    """
    gate, watcher = asyncio.Event(), Watcher()
    plugins, toml = waiting(where, gate)
    async with rig(watcher.ring(), *plugins, toml=toml) as r:
        task = asyncio.ensure_future(r.call())
        for _ in range(20):
            await asyncio.sleep(0)
        if news:
            await overtake(r)
        gate.set()
        await task
        await r.session.quiet()
        assert len(r.reached) == (0 if news else 1)
    assert (r.recorder.of("watch.changed") != []) is news


async def test_call_is_judged_once_where_nothing_overtakes_it() -> None:
    """Without news of the server a call costs one judgement, whatever it waits for."""
    watcher = Watcher()
    async with rig(watcher.ring()) as r:
        await r.call()
        assert (watcher.judged, len(r.reached)) == (1, 1)


async def test_server_that_never_comes_to_rest_is_called_by_nobody() -> None:
    """A call that is overtaken again and again is refused in the end."""
    judged = 0

    async def judge(_call: ToolCall, _: Any) -> Verdict:
        nonlocal judged
        judged += 1
        await overtake(r)
        return Allow("x")

    async with rig(ring("slow", on_tool_call=judge)) as r:
        await r.call()
        await r.session.quiet()
        assert r.reached == []
    assert r.recorder.of("core.unjudged") != []
    assert 2 < judged < 20


async def test_call_that_is_asked_about_anew_is_not_sent_unasked() -> None:
    """Where the second judgement asks for what nobody approved, the call is refused."""
    gate, answers = asyncio.Event(), [Allow("x"), Ask("sure?")]

    async def wait(*_: Any) -> None:
        await gate.wait()

    fickle = ring("fickle", on_tool_call=lambda *_: answers.pop(0))
    async with rig(fickle, ring("slow", Layer.ADMIT, on_tool_call=wait)) as r:
        task = asyncio.ensure_future(r.call())
        for _ in range(20):
            await asyncio.sleep(0)
        await overtake(r)
        gate.set()
        await task
        await r.session.quiet()
        assert r.reached == []
    assert r.recorder.of("core.unapproved") != []


@pytest.mark.parametrize("raises", [False, True])
async def test_a_refusal_carries_data_of_its_own(raises: bool) -> None:
    """What a refusal says further is told with its code, hides no member, and nobody else may read it (S1.23)."""
    told = {"limit": 5, "code": "of another"}

    def hook(*_: Any) -> Deny:
        if raises:
            raise Refused("limit.exceeded", "slow down", retry_after=2.5, public=True, data=told)
        return Deny("limit.exceeded", "slow down", retry_after=2.5, public=True, data=told)

    own = {"limit": 5, "code": "limit.exceeded", "retryAfter": 2.5, "httpStatus": 429}
    async with rig(ring("limit", Layer.ADMIT, on_tool_call=hook), role="server") as r:
        await r.call()
        assert r.error()["data"] == own
    async with rig(ring("limit", Layer.ADMIT, on_tool_call=hook)) as r:
        await r.call()
        assert r.error()["data"] == {**own, "plugin": "limit"}
    async with rig(ring("no", on_tool_call=Deny("no.way", "secret", data=told)), role="server") as r:
        await r.call()
        assert r.error()["data"] == {"code": "core.refused"}

"""What becomes of a call that is not sent: what each judge says of it, and what the session would do."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.core.harness import Clock, call_params, rig, ring
from tests.core.test_pipeline import APPROVERS, JUDGES, SECRET, Judge

from hauberk import explaining
from hauberk.bounds import Bounds
from hauberk.config import Config
from hauberk.connection import Connection
from hauberk.event import Event
from hauberk.explaining import Explanation, Opinion
from hauberk.guard import Guard
from hauberk.layers import Layer
from hauberk.message import Message, SecretRef, ToolCall
from hauberk.refusals import ConfigError, HauberkError, PluginError, Refused
from hauberk.verdict import Allow, Approved, Ask, Deny

PRODUCTION = 'profile = "production"\n'
ARGUMENTS = {"path": "/"}
FAILS = {"raise", "nonsense"}


def guard_of(*plugins: Any, toml: str = "") -> Guard:
    clock = Clock()
    return Guard(Config.from_toml(toml), plugins, clock=clock, now=clock)


async def explained(*plugins: Any, toml: str = "", tool: str = "ls", server: str = "files") -> Explanation:
    """Explain one call to a guard of these plugins."""
    return await explaining.explain(guard_of(*plugins, toml=toml), server, tool, ARGUMENTS)


def never(*_: Any) -> None:
    pytest.fail("this is not to be called")


# --- against the session ---


@contextmanager
def ran_once(ran: list[int], expected: list[int]) -> Iterator[None]:
    """Check that exactly these plugins are called, each once."""
    ran.clear()
    yield
    assert sorted(ran) == expected


def persons(approver: str) -> tuple[list[Any], str]:
    """Return the approver of a session, and the table that names it."""

    def approve(call: ToolCall, _: Any) -> Any:
        if approver == "raises":
            raise SystemExit(SECRET)
        answers = {"yes": Approved(call.digest), "other call": Approved("sha256:00"), "no": Deny("ask.no", "no")}
        return answers.get(approver)

    if approver == "none":
        return [], ""
    return [ring("person", on_connect=None, approve=approve)], '[core]\napprovers = ["person"]\n'


@settings(max_examples=300, deadline=None)
@given(st.lists(JUDGES, max_size=6), APPROVERS, st.booleans())
def test_explanation_is_what_the_session_does(judges: list[Judge], approver: str, production: bool) -> None:
    """Over random sets of plugins a call that passes is explained as one that passes, and one that is refused with the
    very error that the host gets; each judge is asked once, and nobody who charges.
    """
    asyncio.run(against_the_session(judges, approver, production=production))


async def against_the_session(judges: list[Judge], approver: str, *, production: bool) -> None:
    ran: list[int] = []
    person, table = persons(approver)
    toml = (PRODUCTION if production else "") + table

    def plugins() -> list[Any]:
        return [*(judge.ring(number, ran) for number, judge in enumerate(judges)), *person]

    judging = [number for number, judge in enumerate(judges) if judge.layer is not Layer.ADMIT]
    with ran_once(ran, judging):
        said = await explained(*plugins(), toml=toml)
    assert SECRET not in repr(said)
    assert {f"p{number}" for number in range(len(judges))} - {f"p{number}" for number in judging} == set(said.not_run)
    async with rig(*plugins(), toml=toml) as r:
        await r.call("ls", ARGUMENTS)
        answer = r.replies[0] if r.replies else None
    if not said.not_run:
        assert said.outcome == {"asks": "asks"}.get(said.outcome, "refused" if answer else "passes")
        if said.outcome == "asks":
            assert (answer is None) == (approver == "yes")
        else:
            assert said.answer == answer
            assert said.digest in {event.digest for event in r.recorder.events}
    elif said.outcome == "refused":
        assert answer is not None
        if said.code != "core.unapproved":  # a charge comes before the question
            assert said.answer == answer
    elif answer is not None:
        error = answer["error"]["data"]
        late = {"passes": "", "asks": "core.unapproved", "unknown": "core.unjudged"}[said.outcome]
        assert error["code"] == late or set(error["plugin"].split(", ")) & {*said.not_run, "person"}


@settings(max_examples=200, deadline=None)
@given(st.lists(JUDGES.filter(lambda judge: judge.does != "mutate"), max_size=6))
def test_each_judge_is_asked_whatever_the_others_say(judges: list[Judge]) -> None:
    """A verdict is what the judge would say alone: a Deny before it, or a failure, changes nothing of it (S3.47)."""
    ran: list[int] = []
    said = asyncio.run(explained(*(judge.ring(number, ran) for number, judge in enumerate(judges))))
    verdicts = {one.plugin: one.verdict for one in said.opinions}
    expected = {f"p{number}": alone(judge) for number, judge in enumerate(judges) if judge.layer is not Layer.ADMIT}
    assert verdicts == expected


def alone(judge: Judge) -> str:
    if judge.mode == "audit":
        return "none"
    if judge.does in FAILS:
        return "failed"
    return "deny" if judge.does == "none" and judge.must_judge else judge.does


# --- what is said of each ---


LISTED = (("b", Layer.POLICY), ("a", Layer.POLICY), ("c", Layer.CONTENT))


async def test_order_is_that_of_the_chain() -> None:
    """CONTENT is named before POLICY, and inside a layer the listed order holds."""
    plugins = [ring(name, layer, on_tool_call=None) for name, layer in LISTED]
    assert [one.plugin for one in (await explained(*plugins)).opinions] == ["c", "b", "a"]


@pytest.mark.parametrize("raised", [False, True])
@pytest.mark.parametrize("first", [False, True])
async def test_deny_is_told_in_full(first: bool, raised: bool) -> None:
    """Code, reason, rule and hint of a Deny are told, whether it ends the round or comes after its end, returned or
    raised.
    """

    def refuse(*_: Any) -> None:
        raise Refused("one.no", "not this", rule="r1", hint="do that")

    answer: Any = refuse if raised else Deny("one.no", "not this", rule="r1", hint="do that")
    plugins = [ring("one", on_tool_call=answer), ring("two", on_tool_call=Deny("two.no", "no"))]
    said = await explained(*(plugins if first else reversed(plugins)))
    assert Opinion("one", "deny", "one.no", "not this", "r1", "do that") in said.opinions
    assert (said.code, said.plugin) == (("one.no", "one") if first else ("two.no", "two"))


@pytest.mark.parametrize("first", [False, True])
async def test_failure_is_told_without_its_text(first: bool) -> None:
    """Of a judge that raises it is told that it failed and with what type, wherever it stands, and not its text."""

    def fails(*_: Any) -> None:
        raise ValueError(SECRET)

    plugins = [ring("one", on_tool_call=fails), ring("two", on_tool_call=Deny("two.no", "no"))]
    said = await explained(*(plugins if first else reversed(plugins)))
    (one,) = [one for one in said.opinions if one.plugin == "one"]
    assert (one.verdict, one.code) == ("failed", "core.hook_failed")
    assert "ValueError" in one.reason
    assert SECRET not in repr(said)


async def test_silence_of_one_that_must_judge_is_a_deny() -> None:
    """A plugin that must judge and says nothing is told as the Deny that this is."""
    said = await explained(ring("one", on_tool_call=None, must_judge=True))
    assert said.opinions == (Opinion("one", "deny", "core.unjudged", "plugin 'one' gave no verdict"),)
    assert said.outcome == "refused"


@pytest.mark.parametrize("denied", [False, True])
async def test_observer_is_told_with_what_it_would_say(denied: bool) -> None:
    """A plugin in mode audit has no opinion that counts; what it would refuse with is told, after a Deny too."""
    observer = ring("one", on_tool_call=Deny("one.no", "no", rule="r1"), mode="audit")
    first = [ring("zero", on_tool_call=Deny("zero.no", "no"))] if denied else []
    said = await explained(*first, observer)
    assert said.opinions[-1] == Opinion("one", "none", "one.no", rule="r1", observes=True)
    assert said.outcome == ("refused" if denied else "passes")


async def test_unjudged_call_in_production() -> None:
    """In production a call of which nobody has an opinion is refused, and in development it passes."""
    mute = ring("mute", on_tool_call=None)
    said = await explained(mute, toml=PRODUCTION)
    assert (said.outcome, said.code, said.plugin, said.status) == ("refused", "core.unjudged", "", 1)
    assert (await explained(mute)).status == 0


async def test_what_a_charge_may_allow_is_not_told() -> None:
    """Where only a plugin that was not run could allow the call, it could not be told: status 2."""
    said = await explained(ring("rate", Layer.ADMIT, on_tool_call=Allow()), toml=PRODUCTION)
    assert (said.outcome, said.status) == ("unknown", 2)


async def test_who_would_be_asked_is_told() -> None:
    """The approvers are named in their order, and none of them is asked; without one the call is refused."""
    asks = ring("asks", on_tool_call=Ask("sure?", rule="r1"))
    two = [ring(name, on_connect=None, approve=never) for name in ("b", "a")]
    said = await explained(asks, *two, toml='[core]\napprovers = ["b", "a"]')
    assert (said.outcome, said.approvers, said.status) == ("asks", ("b", "a"), 0)
    assert said.opinions == (Opinion("asks", "ask", reason="sure?", rule="r1"),)
    nobody = await explained(asks)
    assert (nobody.outcome, nobody.code, nobody.approvers, nobody.status) == ("refused", "core.unapproved", (), 1)


async def test_refusal_has_the_form_that_the_host_gets() -> None:
    """With ``refuse_as = "result"`` the answer that is shown is a result, as the host would get it."""
    no = ring("no", on_tool_call=Deny("no.way", "never", hint="ask nicely"))
    said = await explained(no, toml='[core]\nrefuse_as = "result"')
    text = "no.way: never\nhint: ask nicely"
    assert said.answer is not None
    assert said.answer["result"] == {"content": [{"type": "text", "text": text}], "isError": True}


# --- what is run, and what is not ---


async def test_nothing_is_charged_sealed_or_recorded() -> None:
    """No hook of ADMIT, REPLAY, SEAL, GATE and WIRE is run, and no sink hears of anything, not even a required one; the
    hooks that a call meets are named.
    """
    hooks = {"on_connect": never, "on_send": never, "on_receive": never}
    low = [ring(layer.name.lower(), layer, **hooks) for layer in Layer if layer < Layer.ADMIT]
    admit = ring("admit", Layer.ADMIT, **hooks, on_tool_call=never)
    sink = ring("sink", on_audit=never, required=True)
    said = await explained(*low, admit, sink, ring("yes", on_tool_call=Allow()))
    assert said.outcome == "passes"
    below = {layer.name.lower(): ["on_connect", "on_send"] for layer in Layer if layer < Layer.ADMIT}
    assert said.not_run == below | {"admit": ["on_connect", "on_tool_call", "on_send"]}


@pytest.mark.parametrize("answer", [Deny("p.no", "no"), None])
async def test_judge_knows_that_nothing_is_sent(answer: Any) -> None:
    """``call.dry`` is set for each judge, after a Deny too; what was deferred is run, and nothing was sent."""
    dry: list[bool] = []
    sent: list[bool] = []

    def judge(call: ToolCall, _: Any) -> Any:
        exchange = call.exchange
        exchange.defer(lambda _: sent.append(exchange.sent))
        dry.append(call.dry)
        return answer

    await explained(ring("one", on_tool_call=judge), ring("two", on_tool_call=judge))
    assert (dry, sent) == ([True, True], [False, False])


async def test_judges_do_not_see_what_others_did_to_the_call() -> None:
    """A judge that is asked alone sees the call as it was, whatever judges before it made of it."""
    seen: list[Any] = []

    def change(call: ToolCall, _: Any) -> Deny:
        seen.append(dict(call.arguments))
        call.arguments["path"] = "/etc"
        return Deny("p.no", "no")

    said = await explained(*(ring(f"p{n}", on_tool_call=change) for n in range(3)))
    assert seen == [ARGUMENTS] * 3
    assert (said.code, said.plugin) == ("core.call_changed", "p0, p1, p2")
    assert [(one.verdict, one.code) for one in said.opinions[1:]] == [("failed", "core.call_changed")] * 2


async def test_rewritten_arguments_are_judged() -> None:
    """What POLICY and CONTENT make of the arguments is what judges see and what the digest stands for; who did it is
    named, and who changed nothing is not.
    """
    seen: list[Any] = []

    def rewrite(message: Message, _: Any) -> Message:
        return message.with_params({**message.params, "arguments": {"path": "/home"}})

    def judge(call: ToolCall, _: Any) -> None:
        seen.append((call.arguments, call.digest))

    content = ring("content", Layer.CONTENT, on_send=rewrite)
    same = ring("same", on_send=lambda message, _: message)
    said = await explained(content, same, ring("judge", on_tool_call=judge))
    assert seen == [({"path": "/home"}, said.digest)]
    assert said.rewritten_by == ("content",)


async def test_no_secret_is_revealed() -> None:
    """A reference in the arguments is judged as one, and the plugin that holds its value is not asked."""

    def refer(message: Message, _: Any) -> Message:
        return message.with_params({**message.params, "arguments": {"key": SecretRef("token")}})

    vault = ring("vault", Layer.CONTENT, on_send=refer, resolve=never)
    said = await explained(vault, ring("yes", on_tool_call=Allow()))
    assert said.outcome == "passes"


async def test_refusal_before_the_judges() -> None:
    """What is refused before it is judged is explained with that refusal; judges are said not to be asked."""

    def refuse(*_: Any) -> None:
        raise Refused("p.no", "no", hint="h")

    for plugin, tool in ((ring("p", on_send=refuse), "ls"), (ring("p", on_connect=refuse), "ls")):
        said = await explained(plugin, ring("judge", on_tool_call=never), tool=tool)
        assert (said.outcome, said.code, said.plugin) == ("refused", "p.no", "p")
        assert said.opinions == (Opinion("judge", "not_asked"),)
        assert said.answer is not None
        assert said.answer["error"]["data"] == {"code": "p.no", "plugin": "p", "hint": "h"}
    assert (await explained(ring("judge", on_tool_call=never), tool="")).code == "core.params"


async def test_only_plugins_that_judge_are_opened() -> None:
    """A plugin with hooks that are run is opened before and closed after; one without is left alone."""
    did: list[str] = []
    judge = ring("judge", on_tool_call=lambda *_: did.append("judged"), open=lambda: did.append("opened"))

    async def close() -> None:
        did.append("closed")

    type(judge).close = staticmethod(close)
    sink = ring("sink", Layer.ADMIT, on_audit=never, on_tool_call=never, open=never, close=never)
    await explained(judge, sink)
    assert did == ["opened", "judged", "closed"]


async def test_what_a_plugin_says_on_its_own_goes_nowhere() -> None:
    """Events that a plugin emits while it opens, judges or closes reach no sink."""
    plugins: list[Any] = []
    guard = Guard(Config.from_toml(""), plugins)

    def emit(*_: Any) -> None:
        guard.emit(Event(code="p.said"))

    plugins += [ring("p", on_tool_call=emit, open=emit), ring("sink", on_audit=never)]
    loaded = guard_of(*plugins)
    guard.policy = loaded.policy
    said = await explaining.explain(guard, "files", "ls", {})
    assert said.outcome == "passes"


async def test_plugin_that_does_not_open_is_an_error() -> None:
    """A judge that cannot open leaves nothing to be told, and those opened before it are closed."""
    did: list[str] = []

    async def close() -> None:
        did.append("closed")

    def fails() -> None:
        raise OSError

    with pytest.raises(PluginError, match="'two' cannot open"):
        await explained(ring("one", on_tool_call=never, close=close), ring("two", on_tool_call=never, open=fails))
    assert did == ["closed"]


@pytest.mark.parametrize("server", ["", "fi*es", "a/b", "hauberk-doctor"])
async def test_server_that_cannot_be_is_an_error(server: str) -> None:
    """What no server can be called has no explanation."""
    with pytest.raises(ConfigError, match="cannot name a server"):
        await explained(server=server)


async def test_open_guard_explains_nothing() -> None:
    """A guard with traffic is not lent to an explanation."""
    guard = guard_of(ring("judge", on_tool_call=never))
    async with guard:
        with pytest.raises(HauberkError, match="open"):
            await explaining.explain(guard, "files", "ls", {})


async def test_judge_that_waits_too_long() -> None:
    """A judge that outlives the deadline is told as one that failed, alone too."""

    async def waits(_call: ToolCall, _connection: Connection) -> None:
        await asyncio.Event().wait()

    haste = "[core]\nrequest_timeout = 0.001\n[core.bounds]\ndeadline = 0.02"  # no answer is waited for
    no = ring("no", on_tool_call=Deny("no.way", "no"))
    for plugins in ([ring("slow", on_tool_call=waits)], [no, ring("slow", on_tool_call=waits)]):
        said = await explained(*plugins, toml=haste)
        assert (said.opinions[-1].verdict, said.opinions[-1].code) == ("failed", "core.deadline")


# --- arguments ---


@given(st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=5), st.integers(-9, 9) | st.none(), max_size=5))
def test_arguments_are_one_object(value: dict[str, Any]) -> None:
    """An object is taken as it stands, on one line or on many."""
    for option in (None, orjson.OPT_INDENT_2):
        assert explaining.arguments(orjson.dumps(value, option=option), "it", Bounds()) == value


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b'{"a": 1, "\\u0061": 2}', "core.duplicate_key"),
        (b"[]", "core.batch"),
        (b"1", "core.not_an_object"),
        (b"", "core.not_json"),
        (b'{"a": NaN}', "core.not_json"),
        (b'{"a": 18446744073709551616}', "core.number"),
        (b'\xef\xbb\xbf{"a": 1}', "core.not_json"),
        (b'{"a": ' + b"[" * 200 + b"]" * 200 + b"}", "core.depth"),
        (b'{"a": "' + b"x" * 2000 + b'"}', "core.line_too_long"),
    ],
)
def test_arguments_are_parsed_strictly(text: bytes, code: str) -> None:
    """What the edge would refuse is no arguments, and what was in it is not repeated."""
    with pytest.raises(ConfigError, match=rf"arguments of it: .*\({code}\)") as error:
        explaining.arguments(text, "it", Bounds(line_bytes=1024))
    assert "18446744073709551616" not in str(error.value)


async def test_digest_is_that_of_the_events() -> None:
    """The digest is the one by which the log knows the same call."""
    said = await explained(ring("yes", on_tool_call=Allow()))
    async with rig(ring("yes", on_tool_call=Allow())) as r:
        await r.request("tools/call", call_params("ls", ARGUMENTS))
        (event,) = r.recorder.of("core.allowed")
    assert said.digest == event.digest != ""


@pytest.mark.parametrize("verdict", [Deny("pins.unlisted", "not listed"), Allow()])
async def test_verdict_that_misses_something_is_not_told(verdict: Any) -> None:
    """A judge that says what it lacks without a connection is not taken at its word, whatever it answers."""

    def decide(call: ToolCall, _: Any) -> Any:
        call.lacks("the list of tools")
        return verdict

    found = await explained(ring(on_tool_call=decide))
    assert (found.outcome, found.status) == ("unknown", 2)
    assert found.opinions[0].verdict == ("deny" if type(verdict) is Deny else "allow")


async def test_deny_that_misses_nothing_stands_beside_one_that_does() -> None:
    """Where another judge denies for good, the call is refused, whatever the first one lacks."""

    def decide(call: ToolCall, _: Any) -> Any:
        call.lacks("the list of tools")

    found = await explained(ring("a", on_tool_call=decide), ring("b", on_tool_call=Deny("b.no", "no")))
    assert (found.outcome, found.plugin) == ("refused", "b")

"""The chains: a refusal is final, whatever does not answer refuses, and what was judged is what is sent."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.core.harness import META, Clock, call_params, make_rig, notification, request, rig, ring

from hauberk.event import Event
from hauberk.layers import Layer
from hauberk.message import Frame, Message, ToolCall
from hauberk.principal import Principal
from hauberk.refusals import HookError, Refused
from hauberk.verdict import Allow, Approved, Ask, Deny, Verdict

SECRET = "hunter2-in-an-exception"
HASTE = "[core.bounds]\ndeadline = 0.02\nsink_deadline = 0.02\napproval_deadline = 0.02"
CLIENT = ("client", "server")


def said(seen: list[Any], what: Any, answer: Any) -> Any:
    """Remember that a hook was called, and answer."""
    seen.append(what)
    return answer


async def forever() -> None:
    """Wait for what never comes."""
    await asyncio.Event().wait()


# --- fail closed: every hook, every kind of misbehaviour ---


class Once:
    """A hook that misbehaves the first time and has no opinion afterwards."""

    def __init__(self, fault: Callable[[], Any]) -> None:
        self.fault = fault
        self.calls = 0

    def plain(self, *_: Any) -> Any:
        self.calls += 1
        return self.fault() if self.calls == 1 else None

    def asynchronous(self) -> Any:
        async def hook(*args: Any) -> Any:
            await asyncio.sleep(0)
            return self.plain(*args)

        return hook


def raises(error: BaseException) -> Callable[[], Any]:
    def fault() -> Any:
        raise error

    return fault


RAISED = {
    "Exception": Exception(SECRET),
    "BaseException": BaseException(SECRET),
    "SystemExit": SystemExit(SECRET),
    "CancelledError": asyncio.CancelledError(SECRET),
    "RecursionError": RecursionError(SECRET),
    "MemoryError": MemoryError(SECRET),
    "GeneratorExit": GeneratorExit(SECRET),
    "StopIteration": StopIteration(SECRET),
    "StopAsyncIteration": StopAsyncIteration(SECRET),
    "TimeoutError": TimeoutError(SECRET),
}
ANSWERED = {
    "True": True,
    "False": False,
    "text": SECRET,
    "number": 0,
    "dict": {"allow": SECRET},
    "list": [Allow()],
    "Verdict itself": Verdict(),
    "another verdict": type("Mine", (Allow,), {"__module__": __name__})(),
    "class": Allow,
    "other type": object(),
}
FAULTS = [pytest.param(raises(error), id=f"raises {name}") for name, error in RAISED.items()]
NONSENSE = [pytest.param(lambda answer=answer: answer, id=f"answers {name}") for name, answer in ANSWERED.items()]
PLACES = [
    # hook, layer, role of the guard, whether it may be async
    ("on_send", Layer.CONTENT, "client", True),
    ("on_send", Layer.ADMIT, "client", True),
    ("on_send", Layer.GATE, "client", False),
    ("on_send", Layer.WIRE, "client", False),
    ("on_receive", Layer.GATE, "server", True),
    ("on_receive", Layer.SEAL, "server", False),
    ("on_receive", Layer.REPLAY, "server", True),
    ("on_receive", Layer.POLICY, "server", True),
    ("on_tool_call", Layer.POLICY, "client", True),
    ("on_tool_call", Layer.ADMIT, "client", True),
    ("on_tool_call", Layer.CONTENT, "server", True),
    ("on_tool_call", Layer.ADMIT, "server", True),
]
WHERE = [
    pytest.param(hook, layer, role, waits, id=f"{'async ' if waits else ''}{hook} {layer.name} {role}")
    for hook, layer, role, may_wait in PLACES
    for waits in ((False, True) if may_wait else (False,))
]


def faulty(once: Once, hook: str, layer: Layer, *, waits: bool) -> list[Any]:
    """Return the faulty plugin, and a sealer where REPLAY needs one."""
    bad = ring("bad", layer, **{hook: once.asynchronous() if waits else once.plain})
    return [bad, *([ring("sealer", Layer.SEAL, on_send=None)] if layer is Layer.REPLAY else [])]


@pytest.mark.parametrize(("hook", "layer", "role", "waits"), WHERE)
@pytest.mark.parametrize("fault", [*FAULTS, *NONSENSE])
async def test_whatever_is_no_answer_refuses_the_call(
    hook: str, layer: Layer, role: Any, waits: bool, fault: Callable[[], Any]
) -> None:
    """A hook that raises anything, or answers what is no answer, refuses the call; its plugin is named, nothing that it
    said is shown, and the next call passes (A68, X.3, V14).
    """
    async with rig(*faulty(Once(fault), hook, layer, waits=waits), role=role) as r:
        await r.call("ls", {"path": "/"})
        assert r.reached == []
        assert len(r.replies) == 1
        assert r.error()["code"] == -32007
        assert r.codes[0] in ({"core.hook_failed", "core.hook_answer"} if role == "client" else {"core.refused"})
        refusal = next(event for event in r.recorder.events if event.category == "refusal")
        assert refusal.plugin == "bad"
        assert refusal.code in {"core.hook_failed", "core.hook_answer"}
        assert SECRET not in repr(r.recorder.events) + repr(r.replies)
        await r.call("ls", {"path": "/"}, id=2)
        assert [message["id"] for message in r.reached] == [2]


@pytest.mark.parametrize(("hook", "layer", "role", "waits"), WHERE)
async def test_late_hook_refuses_the_call(hook: str, layer: Layer, role: Any, waits: bool) -> None:
    """A plain hook that ends past the deadline, and an async one that never ends, refuse the call (A68)."""
    clock = Clock()

    async def sleeps(*_: Any) -> None:
        await forever()

    late = sleeps if waits else lambda *_: clock.turn(60)
    bad = [ring("bad", layer, **{hook: late})] + [ring("sealer", Layer.SEAL, on_send=None)] * (layer is Layer.REPLAY)
    async with rig(*bad, role=role, toml=HASTE, clock=clock) as r:
        await r.call()
        assert r.reached == []
        (refusal,) = r.recorder.of("core.deadline")
        assert "bad" in refusal.plugin
        assert len(r.replies) == 1


@pytest.mark.parametrize(("hook", "layer", "role"), [place[:3] for place in PLACES if place[3]])
async def test_plain_hook_in_an_async_chain_has_the_same_deadline(hook: str, layer: Layer, role: Any) -> None:
    """A plain hook that holds up the event loop past the deadline refuses the call, though no timer could run (A68)."""
    clock = Clock()

    async def at_once(*_: Any) -> None:
        pass

    slow = ring("slow", layer, **{hook: lambda *_: clock.turn(60)})
    quick = ring("quick", layer, **{hook: at_once})
    extra = [ring("sealer", Layer.SEAL, on_send=None)] * (layer is Layer.REPLAY)
    async with rig(slow, quick, *extra, role=role, clock=clock) as r:
        await r.call()
        assert r.reached == []
        assert "core.deadline" in r.recorder.codes


@pytest.mark.parametrize(("hook", "layer", "role"), [place[:3] for place in PLACES if place[3]])
async def test_hook_that_swallows_its_cancellation_is_late_all_the_same(hook: str, layer: Layer, role: Any) -> None:
    """An async hook that is cancelled at the deadline and answers Allow, or nothing, has not answered in time (A68)."""

    async def stubborn(*_: Any) -> Any:
        try:
            await forever()
        except asyncio.CancelledError:
            return Allow() if hook == "on_tool_call" else None

    bad = ring("bad", layer, **{hook: stubborn})
    extra = [ring("sealer", Layer.SEAL, on_send=None)] * (layer is Layer.REPLAY)
    async with rig(bad, *extra, role=role, toml=HASTE) as r:
        await r.call()
        assert r.reached == []
        assert "core.deadline" in r.recorder.codes


@pytest.mark.parametrize("hook", ["on_send", "on_tool_call"])
@pytest.mark.parametrize("mode", ["enforce", "audit"])
async def test_coroutine_of_a_plain_hook_is_closed(hook: str, mode: str) -> None:
    """A plain hook that returns a coroutine has not answered; the coroutine is closed, and nobody is warned (V14)."""

    async def never_awaited() -> Verdict:
        return Allow()

    async with rig(ring("bad", mode=mode, **{hook: lambda *_: never_awaited()})) as r:
        await r.call()
        gc.collect()
        assert len(r.reached) == (mode == "audit")
        assert r.recorder.of("core.hook_answer" if mode == "enforce" else "core.would_refuse")[0].plugin == "bad"


@pytest.mark.parametrize("hook", ["on_receive", "on_send"])
@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("fault", [*FAULTS, *NONSENSE])
async def test_failed_hook_replaces_the_result(hook: str, waits: bool, fault: Callable[[], Any]) -> None:
    """Where a hook fails over a result, the asker gets an error and nothing of the result (A68)."""
    once = Once(fault)
    bad = ring("bad", **{hook: once.asynchronous() if waits else once.plain})
    role: Any = "client" if hook == "on_receive" else "server"
    async with rig(bad, role=role) as r:
        await r.call()
        assert len(r.reached) == 1
        await r.answer({"content": [{"type": "text", "text": SECRET}]})
        (reply,) = r.replies
        assert (reply["id"], reply["error"]["code"]) == (1, -32007)
        assert SECRET not in repr(reply)


@pytest.mark.parametrize("fault", [*FAULTS, *NONSENSE])
@pytest.mark.parametrize("waits", [False, True])
async def test_failed_hook_drops_the_notification(waits: bool, fault: Callable[[], Any]) -> None:
    """A notification that a hook fails over is dropped, and an event says so (A68)."""
    once = Once(fault)
    async with rig(ring("bad", on_send=once.asynchronous() if waits else once.plain)) as r:
        await r.send(r.from_client, notification("notifications/initialized"))
        assert (r.reached, r.replies) == ([], [])
        assert r.recorder.events[-1].plugin == "bad"


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("fault", [*FAULTS, *NONSENSE, pytest.param(forever, id="sleeps")])
async def test_failed_on_connect_refuses_the_connection(waits: bool, fault: Callable[[], Any]) -> None:
    """A connection is not made where on_connect raises, answers or is late; the plugin is named (A68)."""

    async def hook(_: Any) -> Any:
        answer = fault()
        return await answer if asyncio.iscoroutine(answer) else answer

    bad = ring("bad", on_connect=hook if waits else lambda _: fault())
    made = make_rig([bad], toml=HASTE)
    async with made.guard:
        with pytest.raises(Refused) as refused:
            await made.start()
        assert refused.value.plugin == "bad"
        assert refused.value.code in {"core.hook_failed", "core.hook_answer", "core.deadline"}
        await asyncio.sleep(0)
        (event,) = [event for event in made.recorder.events if event.category == "connection"]
        assert (event.plugin, event.action) == ("bad", "blocked")
        assert SECRET not in repr(made.recorder.events) + str(refused.value)


async def test_plain_on_connect_has_a_deadline() -> None:
    """A plain on_connect that ends past the deadline refuses the connection (A68)."""
    clock = Clock()
    made = make_rig([ring("bad", on_connect=lambda _: clock.turn(60))], clock=clock)
    async with made.guard:
        with pytest.raises(Refused, match="outlived the deadline"):
            await made.start()


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("hook", ["on_send", "on_tool_call", "on_connect"])
def test_keyboard_interrupt_refuses_first_and_is_raised_again(hook: str, waits: bool) -> None:
    """Ctrl-C inside a hook: the refusal is written, and then the interrupt goes on its way (A68)."""
    once = Once(raises(KeyboardInterrupt()))
    made = make_rig([ring("bad", **{hook: once.asynchronous() if waits else once.plain})])

    async def interrupted() -> None:
        await made.guard.open()
        await made.start()
        await made.call()

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(interrupted())
    assert made.far.raw == []
    if hook != "on_connect":
        assert made.codes == ["core.hook_failed"]


async def test_own_cancellation_is_a_failure_and_the_asker_s_is_not() -> None:
    """A CancelledError of the plugin's own is a failed hook; that of the task, whose asker cancelled, is none (A68)."""
    reached = asyncio.Event()

    async def waits(*_: Any) -> None:
        reached.set()
        await forever()

    async with rig(ring("slow", on_send=waits)) as r:
        r.post(r.from_client, request("tools/call", call_params("ls")))
        await reached.wait()
        cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}
        r.post(r.from_client, cancel)
        await r.settle()
        assert (r.reached, r.replies) == ([], [])
        assert "core.hook_failed" not in r.recorder.codes


# --- deny wins ---


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("verdicts", [[Deny("a.no", "no"), Allow()], [Allow(), Deny("a.no", "no")]])
async def test_deny_wins_in_any_order(verdicts: list[Verdict], waits: bool) -> None:
    """No Allow hides a Deny, before it or after it (V10, X.3)."""

    def judge(verdict: Verdict) -> Any:
        async def hook(*_: Any) -> Verdict:
            return verdict

        return hook if waits else verdict

    plugins = [ring(f"p{n}", on_tool_call=judge(verdict)) for n, verdict in enumerate(verdicts)]
    async with rig(*plugins) as r:
        await r.call()
        assert r.reached == []
        assert r.codes == ["a.no"]


async def test_deny_ends_the_round() -> None:
    """After a Deny no other judge is called, so nobody can take it back (A69)."""
    seen: list[str] = []
    first = ring("first", on_tool_call=lambda *_: said(seen, "first", Deny("first.no", "no")))
    second = ring("second", on_tool_call=lambda *_: said(seen, "second", Allow()))
    async with rig(first, second) as r:
        await r.call()
    assert seen == ["first"]


async def test_judge_may_raise_refused() -> None:
    """A judge that raises Refused denies, with its code, rule, hint and wait."""

    def no(*_: Any) -> None:
        raise Refused("p.no", "not now", rule="r", hint="h", retry_after=2.0)

    async with rig(ring("p", on_tool_call=no)) as r:
        await r.call()
        assert r.reached == []
        assert r.error() == {
            "code": -32005,
            "message": "p.no: not now",
            "data": {"code": "p.no", "plugin": "p", "rule": "r", "hint": "h", "retryAfter": 2.0, "httpStatus": 429},
        }


class Judge(msgspec.Struct, frozen=True):
    """One random plugin of the model."""

    layer: Layer
    does: str
    waits: bool
    mode: str
    must_judge: bool

    def ring(self, number: int, ran: list[int]) -> Any:
        answer: dict[str, Any] = {"allow": Allow(), "ask": Ask("sure?"), "deny": Deny("model.no", "no"), "none": None}

        def hook(call: ToolCall, _: Any) -> Any:
            ran.append(number)
            if self.does == "raise":
                raise SystemExit(SECRET)
            if self.does == "nonsense":
                return True
            if self.does == "mutate":
                call.arguments["path"] = "/etc"
                return Allow()
            return answer[self.does]

        async def hook_async(call: ToolCall, connection: Any) -> Any:
            await asyncio.sleep(0)
            return hook(call, connection)

        chosen = hook_async if self.waits else hook
        return ring(f"p{number}", self.layer, on_tool_call=chosen, mode=self.mode, must_judge=self.must_judge)


JUDGES = st.builds(
    Judge,
    layer=st.sampled_from([Layer.ADMIT, Layer.POLICY, Layer.CONTENT]),
    does=st.sampled_from(["allow", "allow", "none", "none", "ask", "deny", "raise", "nonsense", "mutate"]),
    waits=st.booleans(),
    mode=st.sampled_from(["enforce", "enforce", "enforce", "audit"]),
    must_judge=st.booleans(),
)
APPROVERS = st.sampled_from(["yes", "no", "silent", "other call", "raises", "none"])
STRICTNESS = ["none", "allow", "ask"]


def model_round(judges: list[tuple[int, Judge]]) -> tuple[str, list[int]]:
    """Say what one round comes to: ``refused``, or the strictest of the rest; and who was called."""
    strictest, ran, mutated = "none", [], False
    for number, judge in judges:
        ran.append(number)
        mutated = mutated or judge.does == "mutate"
        if judge.mode == "audit":
            continue
        does = {"mutate": "allow"}.get(judge.does, judge.does)
        if does in ("deny", "raise", "nonsense") or (does == "none" and judge.must_judge):
            return "refused", ran
        strictest = max(strictest, does, key=STRICTNESS.index)
    return "refused" if mutated else strictest, ran


def model(judges: list[Judge], approver: str, *, production: bool) -> tuple[bool, list[int]]:
    """Say whether the call passes, and who was called in which order."""
    numbered = list(enumerate(judges))
    first = [one for layer in (Layer.CONTENT, Layer.POLICY) for one in numbered if one[1].layer is layer]
    second = [one for one in numbered if one[1].layer is Layer.ADMIT]
    judged, ran = model_round(first)
    if judged == "refused":
        return False, ran
    charged, ran_too = model_round(second)
    ran += ran_too
    if charged == "refused":
        return False, ran
    strictest = max(judged, charged, key=STRICTNESS.index)
    if strictest == "ask":
        return approver == "yes", ran + ([number for number, _ in second] if approver == "yes" else [])
    return strictest == "allow" or not production, ran


@settings(max_examples=400, deadline=None)
@given(st.lists(JUDGES, max_size=6), APPROVERS, st.booleans(), st.sampled_from(CLIENT))
def test_call_passes_only_where_the_model_says_so(
    judges: list[Judge], approver: str, production: bool, role: Any
) -> None:
    """Over random sets of plugins, layers, orders, modes, plain and async: the strictest wins, any failure refuses, and
    nobody is called after a refusal (X.3, A69, V10, V15).
    """
    asyncio.run(against_model(judges, approver, production=production, role=role))


async def against_model(judges: list[Judge], approver: str, *, production: bool, role: Any) -> None:
    async def approve(call: ToolCall, _: Any) -> Any:
        if approver == "raises":
            raise SystemExit(SECRET)
        answers = {"yes": Approved(call.digest), "other call": Approved("sha256:00"), "no": Deny("ask.no", "no")}
        return answers.get(approver)

    ran: list[int] = []
    plugins = [judge.ring(number, ran) for number, judge in enumerate(judges)]
    asks = approver != "none"
    toml = ('profile = "production"\n' if production else "") + ('[core]\napprovers = ["person"]' if asks else "")
    person = [ring("person", on_connect=None, approve=approve)] if asks else []
    async with rig(*plugins, *person, toml=toml, role=role) as r:
        ran.clear()  # the start in production has asked them too
        await r.call("ls", {"path": "/"})
        passes, expected = model(judges, approver, production=production)
        assert ran == expected
        assert [m["params"] for m in r.reached] == ([{"name": "ls", "arguments": {"path": "/"}}] if passes else [])
        assert len(r.replies) == (not passes)
        assert len(r.recorder.of("core.allowed")) == passes
        assert SECRET not in repr(r.recorder.events) + repr(r.replies)


# --- what may not change ---


def rewriting(change: Callable[[dict[str, Any]], Any]) -> Callable[[Message, Any], Message]:
    """Return a hook that rewrites a copy of the whole message."""

    def hook(message: Message, _: Any) -> Message:
        data = orjson.loads(orjson.dumps(message.data))
        change(data)
        return msgspec.structs.replace(message, data=data)

    return hook


PROTOCOL = "io.modelcontextprotocol/protocolVersion"
FORBIDDEN: dict[str, Callable[[dict[str, Any]], Any]] = {
    "method": lambda data: data.update(method="resources/read"),
    "id": lambda data: data.update(id=99),
    "id of another type": lambda data: data.update(id="1"),
    "name": lambda data: data["params"].update(name="rm"),
    "uri": lambda data: data["params"].update(uri="file:///etc/passwd"),
    "protocol meta": lambda data: data["params"]["_meta"].update({PROTOCOL: "2024-11-05"}),
    "more protocol meta": lambda data: data["params"]["_meta"].update({"io.modelcontextprotocol/x": 1}),
    "no protocol meta": lambda data: data["params"].pop("_meta"),
    "progress token": lambda data: data["params"]["_meta"].update(progressToken=5),
    "request state": lambda data: data["params"].update(requestState="made up"),
}


@pytest.mark.parametrize("layer", [Layer.CONTENT, Layer.ADMIT])
@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("change", [pytest.param(change, id=name) for name, change in FORBIDDEN.items()])
async def test_what_identifies_a_message_is_not_rewritten(
    change: Callable[[dict[str, Any]], Any], waits: bool, layer: Layer
) -> None:
    """Above SEAL no plugin changes method, id, params.name, params.uri or the protocol's _meta; who tries is named."""
    rewrite = rewriting(change)

    async def later(message: Message, connection: Any) -> Message:
        return rewrite(message, connection)

    async with rig(ring("bad", layer, on_send=later if waits else rewrite)) as r:
        await r.call("ls", {"path": "/"}, _meta={**META, "progressToken": 1})
        assert r.reached == []
        assert r.error()["data"]["code"] == "core.hook_answer"
        assert r.error()["data"]["plugin"] == "bad"


@pytest.mark.parametrize(
    "field", [{"kind": "notification"}, {"toward": "client"}, {"method": "ping"}, {"id": 9}, {"exchange": None}]
)
async def test_fields_of_a_message_are_not_rewritten(field: dict[str, Any]) -> None:
    """A message keeps its kind, direction, method, id and exchange."""
    bad = ring("bad", on_send=lambda message, _: msgspec.structs.replace(message, **field))
    async with rig(bad) as r:
        await r.call()
        assert r.reached == []
        assert r.error()["data"]["plugin"] == "bad"


async def test_own_meta_may_be_rewritten() -> None:
    """What is in _meta under other names is no protocol, and may be added, changed and taken away."""
    change = rewriting(lambda data: data["params"]["_meta"].update({"example.com/mine": 1}))
    async with rig(ring("p", on_send=change)) as r:
        await r.call("ls", _meta={"progressToken": 1, "example.com/mine": 0})
        assert r.reached[0]["params"]["_meta"] == {"progressToken": 1, "example.com/mine": 1}


@pytest.mark.parametrize("role", CLIENT)
@pytest.mark.parametrize("waits", [False, True])
async def test_original_is_what_entered(role: Any, waits: bool) -> None:
    """Each plugin reads in ``original`` the message as it entered, however often and by whomever it was rewritten."""
    originals: list[Any] = []

    def rewrite(message: Message, _: Any) -> Message:
        originals.append(message.original.data["params"]["arguments"]["n"])
        arguments = {"n": message.params["arguments"]["n"] + 1}
        fresh = message.with_params({**message.params, "arguments": arguments})
        return msgspec.structs.replace(fresh, first=None)

    async def later(message: Message, connection: Any) -> Message:
        return rewrite(message, connection)

    hook = {"on_send" if role == "client" else "on_receive": later if waits else rewrite}
    async with rig(*(ring(f"p{n}", **hook) for n in range(3)), role=role) as r:
        await r.call("ls", {"n": 0})
        assert r.reached[0]["params"]["arguments"] == {"n": 3}
        assert originals == [0, 0, 0]


WHO = Principal(id="alice", kind="user", groups=frozenset({"a", "b"}), roles=frozenset({"r"}), tenant="t", method="jwt")


@pytest.mark.parametrize(
    "wider",
    [
        {"id": "root"},
        {"kind": "host"},
        {"groups": frozenset({"a", "b", "admin"})},
        {"roles": frozenset({"r", "admin"})},
        {"tenant": "other"},
        {"tenant": None},
        {"method": "mtls"},
    ],
)
async def test_principal_is_never_widened(wider: dict[str, Any]) -> None:
    """A message's principal starts as what the channel proved, and no plugin makes it more than that."""
    bad = ring("bad", on_receive=lambda m, _: m.with_principal(msgspec.structs.replace(m.principal, **wider)))
    async with rig(bad, role="server") as r:
        r.connection.principal = WHO
        await r.call()
        assert r.reached == []
        assert r.recorder.of("core.hook_answer")[0].plugin == "bad"


async def test_principal_may_be_narrowed() -> None:
    """A plugin may take groups and roles away; it adds none that were not there."""
    seen: list[Principal] = []
    narrow = ring(
        "narrow",
        Layer.ADMIT,
        on_receive=lambda m, _: m.with_principal(m.principal.narrow(groups=frozenset({"a", "z"}), roles=frozenset())),
    )
    async with rig(narrow, ring("judge", on_tool_call=lambda c, _: seen.append(c.principal)), role="server") as r:
        r.connection.principal = WHO
        await r.call()
        assert len(r.reached) == 1
        assert (seen[0].groups, seen[0].roles, seen[0].id) == (frozenset({"a"}), frozenset(), "alice")


@pytest.mark.parametrize("data", [None, [], "text", {"params": 5, "method": "tools/call", "id": 1}])
@pytest.mark.parametrize("waits", [False, True])
async def test_rewrite_that_is_no_message_names_its_plugin(data: Any, waits: bool) -> None:
    """A rewritten message whose data is no JSON-RPC object is refused, and its plugin is named."""

    def rewrite(message: Message, _: Any) -> Message:
        return msgspec.structs.replace(message, data=data)

    async def later(message: Message, connection: Any) -> Message:
        return rewrite(message, connection)

    async with rig(ring("bad", on_send=later if waits else rewrite)) as r:
        await r.call()
        assert r.reached == []
        assert r.error()["data"]["plugin"] == "bad"


@pytest.mark.parametrize("answer", [b"not a frame", {"jsonrpc": "2.0"}, True])
async def test_frame_layers_answer_with_frames(answer: Any) -> None:
    """WIRE, GATE and SEAL return a Frame or nothing; other answers refuse."""
    async with rig(ring("bad", Layer.SEAL, on_send=answer)) as r:
        await r.call()
        assert r.reached == []
        assert r.error()["data"] | {"hint": ""} == {"code": "core.hook_answer", "plugin": "bad", "hint": ""}


@pytest.mark.parametrize("data", [b'{"a":\n1}', b"{}\n", "text", None])
async def test_frame_is_one_line_of_bytes(data: Any) -> None:
    """A frame with a line feed would be two messages on the wire; one that is no bytes would be none."""
    async with rig(ring("bad", Layer.WIRE, on_send=lambda f, _: msgspec.structs.replace(f, data=data))) as r:
        await r.call()
        assert r.reached == []
        assert r.error()["data"]["plugin"] == "bad"


# --- what was judged is what is sent ---

MUTATIONS: dict[str, Callable[[Any], Any]] = {
    "a value": lambda arguments: arguments.update(path="/etc"),
    "a new key": lambda arguments: arguments.update(more=1),
    "a key less": lambda arguments: arguments.pop("path"),
    "deep inside": lambda arguments: arguments["deep"][0]["er"].append(1),
    "a type": lambda arguments: arguments.update(n=True),
    "key order": lambda arguments: arguments.update(path=arguments.pop("path")),
}
ARGUMENTS = {"path": "/", "n": 1, "deep": [{"er": []}]}
REACHES: dict[str, Callable[[ToolCall], Any]] = {
    "call.arguments": lambda call: call.arguments,
    "the message": lambda call: call.message.data["params"]["arguments"],
}


@pytest.mark.parametrize("change", [pytest.param(change, id=name) for name, change in MUTATIONS.items()])
@pytest.mark.parametrize("layer", [Layer.POLICY, Layer.ADMIT])
@pytest.mark.parametrize("waits", [False, True])
async def test_judge_that_changes_a_frozen_call_is_refused(
    change: Callable[[Any], Any], layer: Layer, waits: bool
) -> None:
    """A judge that changes the arguments in place, however deep, is refused and named (V16, A69)."""

    def judge(call: ToolCall, _: Any) -> Verdict:
        change(call.arguments)
        return Allow()

    async def later(call: ToolCall, connection: Any) -> Verdict:
        return judge(call, connection)

    async with rig(ring("bad", layer, on_tool_call=later if waits else judge)) as r:
        await r.call("ls", ARGUMENTS)
        assert r.reached == []
        (refusal,) = r.recorder.of("core.call_changed")
        assert (refusal.plugin, refusal.severity) == ("bad", "critical")


@pytest.mark.parametrize("bytes_only", [True, False])
@pytest.mark.parametrize("role", CLIENT)
@pytest.mark.parametrize("reach", REACHES)
@pytest.mark.parametrize("change", [pytest.param(change, id=name) for name, change in MUTATIONS.items()])
async def test_changed_call_never_leaves(change: Callable[[Any], Any], reach: str, role: Any, bytes_only: bool) -> None:
    """Whatever way a judge gets at the arguments, and whatever carries them, what it made of them is not sent (V16)."""
    bad = ring("bad", on_tool_call=lambda call, _: change(REACHES[reach](call)) and None)
    async with rig(bad, role=role, bytes_only=bytes_only) as r:
        await r.call("ls", ARGUMENTS)
        assert [orjson.dumps(m["params"]["arguments"]) for m in r.reached] in ([], [orjson.dumps(ARGUMENTS)])


@pytest.mark.parametrize("bytes_only", [True, False])
@pytest.mark.parametrize("role", CLIENT)
@pytest.mark.parametrize("seen", [[], [ring("eyes", on_send=None, on_receive=None)]], ids=["checked", "frozen"])
@pytest.mark.parametrize("reads", [lambda call: call.arguments, lambda call: call.digest], ids=["arguments", "digest"])
async def test_what_a_later_judge_saw_is_what_is_sent(reads: Any, seen: Any, role: Any, bytes_only: bool) -> None:
    """Where one judge changes the message behind the call's back, and the next one judges what it became, nothing of
    either is sent (V16, A69).
    """
    bad = ring("bad", on_tool_call=lambda call, _: call.message.data["params"]["arguments"].update(path="/") and None)
    deceived = ring("deceived", on_tool_call=lambda call, _: Allow() if reads(call) else None)
    async with rig(bad, deceived, *seen, role=role, bytes_only=bytes_only) as r:
        await r.call("ls", {"path": "/etc/shadow"})
        assert r.reached == []
        assert len(r.recorder.of("core.call_changed")) == 1


@pytest.mark.parametrize("arguments", [None, {}])
@pytest.mark.parametrize("role", CLIENT)
async def test_arguments_that_a_judge_invents_are_refused(arguments: Any, role: Any) -> None:
    """Where a call has no arguments, one judge cannot show another one some that are not sent (V16, A69)."""
    bad = ring("bad", on_tool_call=lambda call, _: call.arguments.update(path="/") and None)
    deceived = ring("deceived", on_tool_call=lambda call, _: Allow() if call.arguments else None)
    async with rig(bad, deceived, role=role) as r:
        await r.call("ls", arguments)
        assert r.reached == []
        assert len(r.recorder.of("core.call_changed")) == 1


ADMIT_CHANGES: dict[str, Callable[[Message, Any], Any]] = {
    "rewrites": lambda m, _: m.with_params({**m.params, "arguments": {"path": "/etc"}}),
    "drops": lambda m, _: m.with_params({"name": "ls"}),
    "mutates": lambda m, _: m.params["arguments"].update(path="/etc"),
    "renames in place": lambda m, _: m.params.update(name="rm"),
    "changes the id in place": lambda m, _: m.data.update(id=7),
    "changes the method in place": lambda m, _: m.data.update(method="resources/read"),
}


@pytest.mark.parametrize("does", [name for name in ADMIT_CHANGES if name not in {"rewrites", "drops"}])
@pytest.mark.parametrize("bytes_only", [True, False])
@pytest.mark.parametrize(("hook", "role"), [("on_send", "client"), ("on_receive", "server")])
async def test_a_call_is_rewritten_by_another_message_only(does: str, bytes_only: bool, hook: str, role: Any) -> None:
    """A hook that may rewrite arguments returns another message; one that changes a call in place gets it refused."""
    bad = ring("bad", Layer.CONTENT, **{hook: lambda m, c: ADMIT_CHANGES[does](m, c) and None})
    async with rig(bad, role=role, bytes_only=bytes_only) as r:
        await r.call("ls", {"path": "/"})
        assert r.reached == []
        (refusal,) = r.recorder.of("core.call_changed")
        assert refusal.plugin == "bad"


async def test_call_changed_between_the_verdict_and_the_write_is_refused() -> None:
    """A judge that keeps the arguments and changes them while the decision is recorded is caught at the last step."""
    kept: list[Any] = []

    async def record(_: Any) -> None:
        if kept:
            kept[0]["path"] = "/etc"

    bad = ring("bad", on_tool_call=lambda call, _: said(kept, call.arguments, Allow()))
    async with rig(bad, ring("sink", on_audit=record, required=True)) as r:
        await r.call("ls", {"path": "/"})
        assert r.reached == []
        assert r.codes == ["core.call_changed"]
        assert r.error()["data"]["plugin"] == "bad"


@pytest.mark.parametrize("attribute", ["name", "frozen", "message"])
@pytest.mark.parametrize("bytes_only", [True, False])
async def test_call_object_that_is_changed_lets_nothing_else_out(attribute: str, bytes_only: bool) -> None:
    """A judge that sets the call's own fields may get the call refused; it never gets another one sent (A69)."""

    def judge(call: ToolCall, _: Any) -> Verdict:
        other = msgspec.structs.replace(call.message, data={**call.message.data, "params": {"name": "rm"}})
        value = {"name": "rm", "frozen": b'{"path":"/etc"}', "message": other}[attribute]
        setattr(call, attribute, value)
        return Allow()

    async with rig(ring("bad", on_tool_call=judge), bytes_only=bytes_only) as r:
        await r.call("ls", {"path": "/"})
        assert [m["params"] for m in r.reached] in ([], [{"name": "ls", "arguments": {"path": "/"}}])


@pytest.mark.parametrize("does", ADMIT_CHANGES)
@pytest.mark.parametrize("bytes_only", [True, False])
@pytest.mark.parametrize("layer", [Layer.ADMIT, Layer.REPLAY])
async def test_after_the_verdict_arguments_are_not_changed(does: str, bytes_only: bool, layer: Layer) -> None:
    """ADMIT and REPLAY see the call after it was judged: one that rewrites or changes it is refused and named (V16)."""
    bad = [ring("bad", layer, on_send=ADMIT_CHANGES[does])]
    bad += [ring("sealer", Layer.SEAL, on_receive=None)] * (layer is Layer.REPLAY)
    async with rig(*bad, bytes_only=bytes_only) as r:
        await r.call("ls", {"path": "/"})
        assert r.reached == []
        assert r.error()["data"]["code"] in {"core.call_changed", "core.hook_answer"}
        assert r.error()["data"]["plugin"] == "bad"


@pytest.mark.parametrize("layer", [Layer.REPLAY, Layer.ADMIT])
async def test_on_the_way_in_only_policy_and_content_rewrite_arguments(layer: Layer) -> None:
    """In front of a server too, arguments are POLICY's and CONTENT's to rewrite and nobody else's."""
    bad = ring("bad", layer, on_receive=lambda m, _: m.with_params({"name": "ls", "arguments": {"path": "/etc"}}))
    async with rig(bad, ring("sealer", Layer.SEAL, on_send=None), role="server") as r:
        await r.call("ls", {"path": "/"})
        assert r.reached == []
        assert r.recorder.of("core.hook_answer")[0].plugin == "bad"


ODD = {"z": 1, "a": [1.5, 2**53 + 1, "é\u2028", None, True], "text": 'a\\/"b', "n": {"": {}}}


@pytest.mark.parametrize("role", CLIENT)
@pytest.mark.parametrize("layer", [Layer.POLICY, Layer.CONTENT])
async def test_rewritten_arguments_are_judged_and_sent_as_the_same_bytes(role: Any, layer: Layer) -> None:
    """What POLICY and CONTENT make of the arguments is what judges see, and byte for byte what leaves (V16)."""
    frozen: list[bytes] = []

    def judge(call: ToolCall, _: Any) -> Verdict:
        assert call.arguments == ODD
        frozen.append(call.frozen)
        return Allow()

    hook = "on_send" if role == "client" else "on_receive"
    rewrite = ring("rewrite", layer, **{hook: lambda m, _: m.with_params({**m.params, "arguments": ODD})})
    async with rig(ring("judge", on_tool_call=judge), rewrite, role=role) as r:
        await r.call("ls", {"path": "/"})
        assert frozen == [orjson.dumps(ODD)]
        sent = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"ls","arguments":' + frozen[0] + b"}}"
        assert r.server.raw == [sent]


def json_values() -> st.SearchStrategy[Any]:
    numbers = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    leaves = st.none() | st.booleans() | numbers | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
    return st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | objects(inner), max_leaves=8)


def objects(values: Any) -> Any:
    return st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), values, max_size=4)


@settings(max_examples=100, deadline=None)
@given(objects(json_values()), objects(json_values()), st.sampled_from(CLIENT), st.booleans())
def test_what_was_judged_is_what_is_sent(before: Any, after: Any, role: Any, rewrites: bool) -> None:
    """For any arguments, rewritten or not, the bytes that were frozen are the bytes that leave (V16)."""

    async def cross() -> tuple[bytes, bytes]:
        frozen: list[bytes] = []
        hook = "on_send" if role == "client" else "on_receive"
        rewrite = {hook: lambda m, _: m.with_params({**m.params, "arguments": after}) if rewrites else None}
        judge = ring("judge", on_tool_call=lambda call, _: frozen.append(call.frozen))
        async with rig(judge, ring("rewrite", **rewrite), role=role, record=False) as r:
            await r.call("ls", before)
            return frozen[0], r.server.raw[0]

    frozen, sent = asyncio.run(cross())
    assert frozen == orjson.dumps(after if rewrites else before)
    assert b'"arguments":' + frozen + b"}}" in sent


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), (1, 2), {1: 2}, {1, 2}, b"bytes", object(), "\ud800", 2**64]
)
@pytest.mark.parametrize("bytes_only", [True, False])
async def test_arguments_that_json_does_not_carry_are_refused(value: Any, bytes_only: bool) -> None:
    """A rewriter whose arguments would not leave as judges saw them is refused, on every carrier."""
    rewrite = ring("bad", on_send=lambda m, _: m.with_params({**m.params, "arguments": {"v": value}}))
    async with rig(rewrite, ring("judge", on_tool_call=Allow()), bytes_only=bytes_only) as r:
        await r.call()
        assert r.reached == []
        assert r.codes == ["core.not_json"]


# --- mode audit ---


def refuse(*_: Any) -> None:
    raise Refused("bad.no", "no", rule="r1")


AUDITED = [
    pytest.param("on_send", Layer.POLICY, "client", refuse, "bad.no", id="on_send"),
    pytest.param("on_send", Layer.GATE, "client", refuse, "bad.no", id="on_send of frames"),
    pytest.param("on_receive", Layer.POLICY, "server", refuse, "bad.no", id="on_receive"),
    pytest.param("on_receive", Layer.GATE, "server", refuse, "bad.no", id="on_receive of frames"),
    pytest.param("on_tool_call", Layer.POLICY, "client", Deny("bad.no", "no", "r1"), "bad.no", id="deny"),
    pytest.param("on_tool_call", Layer.ADMIT, "server", Deny("bad.no", "no", "r1"), "bad.no", id="charge"),
    pytest.param("on_tool_call", Layer.POLICY, "client", refuse, "bad.no", id="raised deny"),
    pytest.param("on_tool_call", Layer.POLICY, "client", Ask("sure?", "r1"), "core.unapproved", id="ask"),
    pytest.param("on_connect", Layer.POLICY, "client", refuse, "bad.no", id="on_connect"),
]


@pytest.mark.parametrize(("hook", "layer", "role", "answer", "code"), AUDITED)
async def test_mode_audit_records_and_lets_pass(hook: str, layer: Layer, role: Any, answer: Any, code: str) -> None:
    """In mode audit a check runs, what it would have refused is recorded with its rule, and the message passes."""
    async with rig(ring("bad", layer, mode="audit", **{hook: answer}), role=role) as r:
        await r.call("ls", {"path": "/"})
        assert len(r.reached) == 1
        (event,) = r.recorder.of("core.would_refuse")
        assert (event.plugin, event.rule, event.severity) == ("bad", "r1", "warning")
        assert event.details == {"code": code, "hook": hook}


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("fault", [*FAULTS, *NONSENSE])
async def test_mode_audit_survives_a_failing_plugin(waits: bool, fault: Callable[[], Any]) -> None:
    """In mode audit a failing check is recorded as a refusal that would have been, without a word of what it said."""
    once = Once(fault)
    async with rig(ring("bad", mode="audit", on_tool_call=once.asynchronous() if waits else once.plain)) as r:
        await r.call()
        assert len(r.reached) == 1
        (event,) = r.recorder.of("core.would_refuse")
        assert event.details["code"] in {"core.hook_failed", "core.hook_answer"}
        assert SECRET not in repr(r.recorder.events)


async def test_mode_audit_drops_the_rewrite() -> None:
    """In mode audit a rewrite is recorded and dropped."""
    bad = ring("bad", mode="audit", on_send=lambda m, _: m.with_params({"name": "ls", "arguments": {"path": "/etc"}}))
    async with rig(bad) as r:
        await r.call("ls", {"path": "/"})
        assert r.reached[0]["params"]["arguments"] == {"path": "/"}
        assert r.recorder.of("core.would_rewrite")[0].plugin == "bad"


async def test_mode_audit_allow_is_no_allow() -> None:
    """An Allow of a plugin in mode audit does not let a call pass in production."""
    async with rig(ring("p", mode="audit", on_tool_call=Allow()), toml='profile = "production"') as r:
        await r.call()
        assert r.reached == []
        assert r.codes == ["core.unjudged"]


async def test_mode_audit_hides_no_other_plugin_s_deny() -> None:
    """Mode audit is one plugin's own: another's Deny holds."""
    async with rig(ring("a", mode="audit", on_tool_call=Allow()), ring("b", on_tool_call=Deny("b.no", "no"))) as r:
        await r.call()
        assert r.codes == ["b.no"]


@pytest.mark.parametrize("waits", [False, True])
async def test_judge_that_must_judge_and_does_not_denies(waits: bool) -> None:
    """No answer of a plugin with must_judge is a Deny, in development too (V15)."""

    async def silent(*_: Any) -> None:
        pass

    pair = [ring("strict", on_tool_call=silent if waits else None, must_judge=True), ring("b", on_tool_call=Allow())]
    async with rig(*pair) as r:
        await r.call()
        assert r.reached == []
        assert r.codes == ["core.unjudged"]
        assert r.error()["data"]["plugin"] == "strict"


# --- notes ---


@pytest.mark.parametrize("layer", [Layer.POLICY, Layer.GATE])
@pytest.mark.parametrize("role", CLIENT)
async def test_notes_of_hooks_are_recorded(layer: Layer, role: Any) -> None:
    """What a hook notes on a message or a frame is recorded once, with who and where filled in."""

    def note(item: Message | Frame, _: Any) -> None:
        item.note(Event(code="p.saw"))

    async with rig(ring("p", layer, on_send=note, on_receive=note), role=role) as r:
        await r.call()
        assert [event.server for event in r.recorder.of("p.saw")] == ["files"]
        assert all(event.time and event.id for event in r.recorder.events)


@pytest.mark.parametrize("layer", [Layer.POLICY, Layer.GATE])
async def test_notes_are_recorded_though_the_message_is_refused(layer: Layer) -> None:
    """What was noted before a refusal is recorded with it."""

    def note(item: Message | Frame, _: Any) -> None:
        item.note(Event(code="p.saw"))
        raise Refused("p.no", "no")

    async with rig(ring("p", layer, on_receive=note), role="server") as r:
        await r.call()
        assert r.reached == []
        assert [code for code in r.recorder.codes if code.startswith("p.")] == ["p.saw", "p.no"]


async def test_hook_error_names_who_and_what() -> None:
    """The text of a failed hook says which plugin failed in which hook, and what to do, in that order."""
    async with rig(ring("bad", on_send=lambda *_: raises(ValueError(SECRET))())) as r:
        await r.call()
        assert r.error()["message"] == "core.hook_failed: plugin 'bad' failed in on_send (ValueError)"
        assert r.error()["data"]["hint"]
    assert str(HookError("a failed", plugin="bad", hook="on_send")).startswith("a failed\nhint: ")

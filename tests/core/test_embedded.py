"""Revision 2026-07-28: requests inside answers, responses inside retries, request states, and task handles."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from tests.core.harness import META, Rig, notification, request, rig, ring

from hauberk import Allow, Approved, Ask, Layer, Message, Refused, ToolCall
from hauberk.bounds import Bounds
from hauberk.connection import Role
from hauberk.embedded import Rounds, Tasks
from hauberk.exchange import Exchanges
from hauberk.principal import ANONYMOUS

ROLES: tuple[Role, ...] = ("client", "server")
Hook = Literal["on_send", "on_receive"]

SAMPLING = {"method": "sampling/createMessage", "params": {"messages": [], "maxTokens": 5}}
ELICIT = {"method": "elicitation/create", "params": {"message": "which?", "requestedSchema": {}}}
ROOTS = {"method": "roots/list"}
ASKS: dict[str, Any] = {"a": SAMPLING, "b": ELICIT, "c": ROOTS}
ANSWERS: dict[str, Any] = {
    "a": {"role": "assistant", "model": "m", "content": {"type": "text", "text": "hi"}},
    "b": {"action": "accept", "content": {"x": 1}},
    "c": {"roots": []},
}


def required(asks: Any = None, state: str | None = "s1") -> dict[str, Any]:
    """Return an ``input_required`` result."""
    return (
        {"resultType": "input_required"}
        | ({} if asks is None else {"inputRequests": asks})
        | ({} if state is None else {"requestState": state})
    )


def towards(role: Role, side: str) -> Hook:
    """Return the hook that sees what travels to a side."""
    return "on_send" if (role == "client") == (side == "server") else "on_receive"


def watcher(role: Role, side: str, seen: list[tuple[str, str, str | None]], answer: Any = None) -> Any:
    """Return a plugin that notes what travels to a side, and answers with ``answer(message)``."""

    def hook(message: Message, _connection: Any) -> Any:
        seen.append((message.kind, message.method, message.embedded))
        return answer(message) if answer is not None else None

    return ring("watch", **{towards(role, side): hook})


async def ask(r: Rig, *, id: Any = 1, **params: Any) -> None:
    await r.call("ls", {"path": "/"}, id=id, _meta=META, **params)


# --- requests inside answers ---


@pytest.mark.parametrize("role", ROLES)
async def test_each_inner_request_meets_the_hooks_as_its_own_method(role: Role) -> None:
    """What an answer asks for runs the chains as a message of its own method, in both roles."""
    seen: list[tuple[str, str, str | None]] = []
    async with rig(watcher(role, "client", seen), role=role) as r:
        await ask(r)
        await r.answer(required(ASKS))
        assert seen == [
            ("result", "tools/call", None),
            ("request", "sampling/createMessage", "a"),
            ("request", "elicitation/create", "b"),
            ("request", "roots/list", "c"),
        ]
        assert r.replies == [{"jsonrpc": "2.0", "id": 1, "result": required(ASKS)}]


@pytest.mark.parametrize("role", ROLES)
async def test_one_refused_inner_request_refuses_the_answer(role: Role) -> None:
    """One inner request that a rule refuses refuses the whole answer, and the asker is told."""

    def no_sampling(message: Message) -> None:
        if message.method == "sampling/createMessage":
            raise Refused("watch.no_sampling", "no")

    async with rig(watcher(role, "client", [], no_sampling), role=role) as r:
        await ask(r)
        await r.answer(required(ASKS))
        assert r.codes == ["watch.no_sampling" if role == "client" else "core.refused"]
        assert r.error()["code"] == -32003
        assert len(r.replies) == 1
        [event] = r.recorder.of("watch.no_sampling")
        assert (event.tool, event.action, event.plugin) == ("ls", "blocked", "watch")


@pytest.mark.parametrize("role", ROLES)
async def test_rewriting_one_inner_request_changes_only_it(role: Role) -> None:
    """A hook that rewrites one inner request leaves the others and the rest of the answer as they came."""

    def shorten(message: Message) -> Message | None:
        if message.method == "sampling/createMessage":
            return message.with_params({**message.params, "maxTokens": 1})
        return None

    async with rig(watcher(role, "client", [], shorten), role=role) as r:
        await ask(r)
        await r.answer(required(ASKS) | {"x-unknown": [1, 2**60]})
        passed = {**ASKS, "a": {**SAMPLING, "params": {"messages": [], "maxTokens": 1}}}
        assert r.replies[0]["result"] == required(passed) | {"x-unknown": [1, 2**60]}


@pytest.mark.parametrize("role", ROLES)
async def test_async_hooks_see_inner_requests_too(role: Role) -> None:
    """Hooks that wait see inner requests as plain ones do."""
    seen: list[tuple[str, str | None]] = []

    async def hook(message: Message, _connection: Any) -> None:
        seen.append((message.method, message.embedded))

    async with rig(ring("slow", **{towards(role, "client"): hook}), role=role) as r:
        await ask(r)
        await r.answer(required({"a": SAMPLING}))
        assert seen == [("tools/call", None), ("sampling/createMessage", "a")]
        assert "result" in r.replies[0]


@pytest.mark.parametrize(
    "inner",
    [
        {"a": {"method": "tools/call", "params": {"name": "rm"}}},
        {"a": {"method": "ping"}},
        {"a": {"method": "no/such"}},
        {"a": {"method": 5}},
        {"a": {}},
        {"a": "sampling/createMessage"},
        {"a": {"method": "sampling/createMessage"}},
        {"a": {"method": "sampling/createMessage", "params": {"messages": "x"}}},
        {"a": {"method": "elicitation/create", "params": []}},
        {"a": {"method": "sampling/createMessage", "params": {"messages": [], "Messages": []}}},
        ["a"],
        "a",
    ],
)
@pytest.mark.parametrize("role", ROLES)
async def test_a_malformed_inner_request_refuses_the_answer(inner: Any, role: Role) -> None:
    """What may not be asked inside an answer, or is malformed, is refused before any hook sees it."""
    seen: list[tuple[str, str, str | None]] = []
    async with rig(watcher(role, "client", seen), role=role) as r:
        await ask(r)
        await r.answer(required(inner))
        assert [kind for kind, _, embedded in seen if embedded is not None] == []
        assert r.error()["code"] == -32006
        assert r.recorder.codes[-1] in ("core.embedded", "core.params")


async def test_inner_requests_are_bounded() -> None:
    """An answer with more inner requests than the bound is refused (X.6)."""
    async with rig(toml="[core.bounds]\nembedded = 3") as r:
        await ask(r)
        await r.answer(required(dict.fromkeys("abcd", ROOTS)))
        assert (r.codes, r.error()["code"]) == (["core.embedded"], -32005)
        await ask(r, id=2)
        await r.answer(required(dict.fromkeys("abc", ROOTS)), id=2)
        assert "result" in r.replies[-1]


@pytest.mark.parametrize("role", ROLES)
async def test_what_calls_itself_complete_hides_no_request(role: Role) -> None:
    """Requests inside an answer are seen whatever ``resultType`` says."""
    seen: list[tuple[str, str, str | None]] = []
    async with rig(watcher(role, "client", seen), role=role) as r:
        await ask(r)
        await r.answer({"content": [], "resultType": "complete", "inputRequests": {"a": SAMPLING}})
        assert ("request", "sampling/createMessage", "a") in seen


# --- responses inside retries ---


@pytest.mark.parametrize("role", ROLES)
async def test_each_inner_response_meets_the_hooks_as_its_own_method(role: Role) -> None:
    """What a retry answers runs the chains as a result of the method that was asked, in both roles."""
    seen: list[tuple[str, str, str | None]] = []
    async with rig(watcher(role, "server", seen), role=role) as r:
        await ask(r)
        await r.answer(required(ASKS))
        del seen[:]
        await ask(r, id=2, inputResponses=ANSWERS, requestState="s1")
        assert seen == [
            ("request", "tools/call", None),
            ("result", "sampling/createMessage", "a"),
            ("result", "elicitation/create", "b"),
            ("result", "roots/list", "c"),
        ]
        assert r.reached[-1]["params"]["inputResponses"] == ANSWERS


async def test_a_response_is_of_the_method_that_was_asked() -> None:
    """The method of an inner response is that of the question, not what its shape makes of it."""
    seen: list[tuple[str, str, str | None]] = []
    async with rig(watcher("client", "server", seen)) as r:
        await ask(r)
        await r.answer(required({"k": SAMPLING}))
        await ask(r, id=2, inputResponses={"k": {"action": "accept"}}, requestState="s1")
        assert seen[-1] == ("result", "sampling/createMessage", "k")


@pytest.mark.parametrize("key", "abc")
async def test_a_response_to_an_unseen_question_is_told_by_its_shape(key: str) -> None:
    """Where the guard did not see the question, the shape of the response tells its method."""
    seen: list[tuple[str, str, str | None]] = []
    async with rig(watcher("client", "server", seen)) as r:
        await ask(r, inputResponses={"z": ANSWERS[key]}, requestState="from before a restart")
        assert seen[-1] == ("result", ASKS[key]["method"], "z")


@pytest.mark.parametrize("inner", [{"z": {"what": 1}}, {"z": {}}, {"z": 1}, {"z": []}, {"z": None}])
@pytest.mark.parametrize("role", ROLES)
async def test_a_response_of_no_kind_refuses_the_retry(inner: Any, role: Role) -> None:
    """An inner response that answers nothing that can be asked refuses the request."""
    async with rig(role=role) as r:
        await ask(r, inputResponses=inner, requestState="unknown")
        assert (r.reached, r.error()["code"]) == ([], -32006)


async def test_one_refused_inner_response_refuses_the_retry() -> None:
    """One inner response that a rule refuses refuses the whole request; nothing reaches the server."""

    def no_roots(message: Message) -> None:
        if message.method == "roots/list":
            raise Refused("watch.no_roots", "no")

    async with rig(watcher("client", "server", [], no_roots)) as r:
        await ask(r, inputResponses=ANSWERS, requestState="x")
        assert (r.reached, r.codes) == ([], ["watch.no_roots"])


async def test_rewriting_one_inner_response_changes_only_it() -> None:
    """A hook that rewrites one inner response leaves the others and the request as they came."""

    def redact(message: Message) -> Message | None:
        if message.method == "elicitation/create" and message.result is not None:
            return message.with_result({**message.result, "content": {}})
        return None

    async with rig(watcher("client", "server", [], redact)) as r:
        await ask(r, inputResponses=ANSWERS, requestState="x")
        passed = {**ANSWERS, "b": {"action": "accept", "content": {}}}
        assert r.reached[0]["params"] == {
            "name": "ls",
            "arguments": {"path": "/"},
            "_meta": META,
            "inputResponses": passed,
            "requestState": "x",
        }


# --- rounds ---


class Approver:
    """Judge, charger and approver in one: it counts what it was asked."""

    def __init__(self) -> None:
        self.judged: list[int] = []
        self.charged = 0
        self.approved = 0
        self.plugins = (
            ring("judge", on_tool_call=self._judge),
            ring("charge", Layer.ADMIT, on_tool_call=self._charge),
            ring("person", approve=self._approve, on_tool_call=lambda _call, _connection: None),
        )

    def _judge(self, call: ToolCall, _connection: Any) -> Ask:
        self.judged.append(call.round)
        return Ask("sure?", "rule 1")

    def _charge(self, call: ToolCall, _connection: Any) -> None:
        if call.approved is None:
            self.charged += 1

    async def _approve(self, call: ToolCall, _connection: Any) -> Approved:
        self.approved += 1
        return Approved(call.digest)


APPROVERS = 'core.approvers = ["person"]\n'


async def test_an_approval_holds_for_the_retry_and_a_charge_is_taken_once() -> None:
    """A retry that echoes the state of its own call is the same call: approved once, charged once, judged each time."""
    person = Approver()
    async with rig(*person.plugins, toml=APPROVERS) as r:
        await ask(r)
        await r.answer(required(ASKS))
        await ask(r, id=2, inputResponses=ANSWERS, requestState="s1")
        await r.answer(required(ASKS, "s2"), id=2)
        await ask(r, id=3, inputResponses=ANSWERS, requestState="s2")
        await r.answer(id=3)
        assert (person.judged, person.charged, person.approved) == ([0, 1, 2], 1, 1)
        assert len(r.reached) == 3
        assert [event.details.get("round") for event in r.recorder.of("core.allowed")] == [None, 1, 2]


@pytest.mark.parametrize(
    ("name", "arguments", "state"),
    [
        ("ls", {"path": "/etc"}, "s1"),
        ("rm", {"path": "/"}, "s1"),
        ("ls", {"path": "/"}, "s0"),
        ("ls", {"path": "/"}, ""),
    ],
)
async def test_another_call_or_state_is_a_new_call(name: str, arguments: Any, state: str) -> None:
    """A state is good for the call that it was minted for: other arguments, name or state ask and charge anew."""
    person = Approver()
    async with rig(*person.plugins, toml=APPROVERS) as r:
        await ask(r)
        await r.answer(required(ASKS))
        await r.call(name, arguments, id=2, _meta=META, inputResponses=ANSWERS, requestState=state)
        assert (person.judged, person.charged, person.approved) == ([0, 0], 2, 2)


async def test_a_replayed_state_is_a_new_call() -> None:
    """A state is good once; replayed, the call is asked for and charged again."""
    person = Approver()
    async with rig(*person.plugins, toml=APPROVERS) as r:
        await ask(r)
        await r.answer(required(ASKS))
        for id in (2, 3):
            await ask(r, id=id, inputResponses=ANSWERS, requestState="s1")
        assert (person.judged, person.charged, person.approved) == ([0, 1, 0], 2, 2)


async def test_a_state_of_another_session_is_a_new_call() -> None:
    """A state that another connection was given is worth nothing here."""
    person = Approver()
    async with rig(*person.plugins, toml=APPROVERS) as r:
        await ask(r)
        await r.answer(required(ASKS))
        await r.session.close()
        await r.start()
        await ask(r, id=2, inputResponses=ANSWERS, requestState="s1")
        assert person.approved == 2


async def test_a_state_is_minted_only_by_the_answer_to_the_call() -> None:
    """A state in the answer to anything else is not one of this call."""
    person = Approver()
    async with rig(*person.plugins, toml=APPROVERS) as r:
        await r.send(r.from_client, request("prompts/get", {"name": "p", "_meta": META}))
        await r.answer(required(ASKS))
        await ask(r, id=2, requestState="s1")
        assert person.judged == [0]


async def test_a_refused_answer_mints_nothing() -> None:
    """A state in an answer that was refused is worth nothing."""
    person = Approver()

    def no_sampling(message: Message, _connection: Any) -> None:
        if message.embedded is not None:
            raise Refused("no.sampling", "no")

    async with rig(*person.plugins, ring("no", on_receive=no_sampling), toml=APPROVERS) as r:
        await ask(r)
        await r.answer(required(ASKS))
        await ask(r, id=2, requestState="s1")
        assert person.approved == 2


async def test_rounds_are_bounded() -> None:
    """A server that asks for more and more input is stopped at the bound (X.6)."""
    person = Approver()
    async with rig(*person.plugins, toml=APPROVERS + "[core.bounds]\nretries = 2") as r:
        await ask(r)
        for id in (1, 2, 3):
            await r.answer(required(ASKS, f"s{id}"), id=id)
            await ask(r, id=id + 1, inputResponses=ANSWERS, requestState=f"s{id}")
        assert len(r.reached) == 3
        assert (r.codes, r.error()["code"]) == (["core.rounds"], -32005)


async def test_a_retry_is_judged_again() -> None:
    """A rule that says no meanwhile stops the retry of an approved call."""
    verdicts: list[Any] = [Allow(), Refused("judge.changed", "no longer")]

    def judge(_call: ToolCall, _connection: Any) -> Any:
        verdict = verdicts.pop(0)
        if isinstance(verdict, Refused):
            raise verdict
        return verdict

    async with rig(ring("judge", on_tool_call=judge)) as r:
        await ask(r)
        await r.answer(required(ASKS))
        await ask(r, id=2, inputResponses=ANSWERS, requestState="s1")
        assert r.codes == ["judge.changed"]


# --- tasks ---


@pytest.mark.parametrize("role", ROLES)
async def test_requests_and_responses_of_a_task_meet_the_hooks(role: Role) -> None:
    """What a task asks for, polled or pushed, and what ``tasks/update`` answers, run the chains (SEP-2663)."""
    seen: list[tuple[str, str, str | None]] = []
    plugins = ring("watch", on_send=_note(seen), on_receive=_note(seen))
    async with rig(plugins, role=role) as r:
        await ask(r)
        await r.answer({"resultType": "task", "taskId": "t1", "status": "working"})
        del seen[:]
        await r.send(r.from_client, request("tasks/get", {"taskId": "t1"}, id=2))
        state = {"resultType": "complete", "taskId": "t1", "status": "input_required", "inputRequests": {"a": SAMPLING}}
        await r.answer(state, id=2)
        await r.send(r.from_server, notification("notifications/tasks", {**state, "inputRequests": {"b": ELICIT}}))
        answers = {"b": {"action": "decline"}}
        await r.send(r.from_client, request("tasks/update", {"taskId": "t1", "inputResponses": answers}, id=3))
        assert seen == [
            ("request", "tasks/get", None),
            ("result", "tasks/get", None),
            ("request", "sampling/createMessage", "a"),
            ("notification", "notifications/tasks", None),
            ("request", "elicitation/create", "b"),
            ("request", "tasks/update", None),
            ("result", "elicitation/create", "b"),
        ]


def _note(seen: list[tuple[str, str, str | None]]) -> Any:
    return lambda message, _connection: seen.append((message.kind, message.method, message.embedded))


async def test_a_refused_request_of_a_task_drops_the_notification() -> None:
    """A task's state that asks for what a rule refuses is dropped whole."""

    def no_sampling(message: Message, _connection: Any) -> None:
        if message.embedded is not None:
            raise Refused("no.sampling", "no")

    async with rig(ring("no", on_receive=no_sampling)) as r:
        params = {"taskId": "t1", "status": "input_required", "inputRequests": {"a": SAMPLING}}
        await r.send(r.from_server, notification("notifications/tasks", params))
        assert (r.replies, r.recorder.codes[-1]) == ([], "no.sampling")


@pytest.mark.parametrize("result", [{"task": {"taskId": "t1"}}, {"resultType": "task", "taskId": "t1"}])
async def test_what_is_fetched_by_a_task_id_belongs_to_the_call(result: Any) -> None:
    """A result fetched by task id has the tool and the digest of the call that made the task, in both revisions."""
    async with rig() as r:
        await ask(r)
        await r.answer(result)
        await r.send(r.from_client, request("tasks/result", {"taskId": "t1"}, id=2))
        await r.answer(id=2)
        first, second = r.recorder.of("core.answered")
        assert (second.tool, second.digest) == ("ls", first.digest)
        assert first.digest.startswith("sha256:")
        assert (second.method, second.exchange) == ("tasks/result", first.exchange[:-1] + "2")


async def test_an_unknown_task_belongs_to_nothing() -> None:
    """A task id that no call here made belongs to no tool."""
    async with rig() as r:
        await r.send(r.from_client, request("tasks/result", {"taskId": "t1"}))
        await r.answer()
        assert r.recorder.of("core.answered") == []
        assert "result" in r.replies[0]


async def test_progress_of_a_task_goes_on_after_the_call() -> None:
    """A token of a call that became a task stays good for its progress (A58)."""
    async with rig() as r:
        await r.call("ls", {}, _meta={"progressToken": "p"})
        await r.answer({"task": {"taskId": "t1"}})
        await r.send(r.from_server, notification("notifications/progress", {"progressToken": "p", "progress": 1}))
        assert r.replies[-1]["method"] == "notifications/progress"


# --- bounds of the tables ---


def exchange_of(table: Exchanges, id: int, digest: str = "d") -> Any:
    exchange = table.open(id, "tools/call", ANONYMOUS, 0.0)
    exchange.tool, exchange.digest = "ls", digest
    return exchange


def test_states_are_bounded_oldest_first() -> None:
    """States that wait for a retry are bounded, and the oldest goes first (X.6)."""
    bounds = Bounds(rounds=3, exchanges=100)
    rounds, table = Rounds(bounds), Exchanges(bounds)
    for number in range(10):
        rounds.mint(f"s{number}", exchange_of(table, number))
        rounds.asked("state", f"s{number}", {"a": "roots/list"})
    assert (len(rounds._minted), len(rounds._methods)) == (3, 3)
    assert [rounds.methods("state", f"s{number}") for number in (6, 7)] == [{}, {"a": "roots/list"}]


def test_a_state_and_a_task_of_one_name_are_two() -> None:
    """A request state is never taken for a task id."""
    rounds = Rounds(Bounds())
    rounds.asked("state", "x", {"a": "roots/list"})
    assert rounds.methods("task", "x") == {}


def test_tasks_are_bounded_oldest_first_and_let_go_of_their_tokens() -> None:
    """Task handles are bounded, the oldest goes first, and its token with it (X.6)."""
    bounds = Bounds(tasks=2, exchanges=100)
    tasks, table = Tasks(bounds), Exchanges(bounds)
    for number in range(5):
        exchange = exchange_of(table, number)
        table.set_token(exchange, f"p{number}")
        exchange.sent = True
        table.answer(number)
        tasks.remember(exchange, {"taskId": f"t{number}"}, table)
        tasks.remember(exchange, {"taskId": f"t{number}"}, table)  # the second time holds nothing more
    assert [table.knows_token(f"p{number}") for number in range(5)] == [False, False, False, True, True]
    fetched = exchange_of(table, 9, "")
    fetched.tool = ""
    tasks.inherit(fetched, {"taskId": "t0"})
    assert fetched.tool == ""
    tasks.inherit(fetched, {"taskId": "t4"})
    assert (fetched.tool, fetched.digest) == ("ls", "d")

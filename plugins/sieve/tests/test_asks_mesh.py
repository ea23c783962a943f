"""What servers ask back, on its way: as a request, inside an answer, inside a task, inside an error."""

from __future__ import annotations

from typing import Any

import pytest

from hauberk import doctor
from hauberk.config import Config
from hauberk.guard import Guard
from hauberk.probe import request
from hauberk.testing import Clock, Rig, guard_from
from hauberk.testing._recorder import Recorder
from hauberk.testing._rig import Port
from hauberk_sieve.asks._mesh import URL_NEEDED, Asks

Json = dict[str, Any]

TABLE = '[sieve]\ndefault = "allow"\n'
OPEN = f"""{TABLE}[sieve.asks]
sampling = "allow"
elicitation = "allow"
roots = "allow"
origins = ["https://accounts.example.com"]
"""
META = {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}
SAMPLING = (
    "sampling/createMessage",
    {"messages": [{"role": "user", "content": {"type": "text", "text": "a"}}], "maxTokens": 9},
)
FORM = (
    "elicitation/create",
    {
        "message": "where?",
        "requestedSchema": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
)
SECRET = (
    "elicitation/create",
    {
        "message": "sign in",
        "requestedSchema": {"type": "object", "properties": {"password": {"type": "string"}}},
    },
)
SCRIPT = "elicitation/create", {"mode": "url", "message": "go", "url": "javascript:alert(1)", "elicitationId": "1"}
LISTED = (
    "elicitation/create",
    {
        "mode": "url",
        "message": "go",
        "url": "https://accounts.example.com/x",
        "elicitationId": "1",
    },
)
ROOTS: tuple[str, Json] = ("roots/list", {})
QUESTIONS: list[tuple[str, Json]] = [SAMPLING, FORM, SECRET, SCRIPT, LISTED, ROOTS]
IDS = ["sampling", "form", "secret", "script", "listed", "roots"]


async def ask(rig: Rig, question: tuple[str, Json], id: int = 7) -> Json | None:
    """Let the server ask; return the client's copy, or None where it got none."""
    before = len(rig.client.raw)
    await rig.send(rig.from_server, {"jsonrpc": "2.0", "id": id, "method": question[0], "params": question[1]})
    return rig.replies[-1] if len(rig.client.raw) > before else None


async def embed(rig: Rig, question: tuple[str, Json]) -> Json:
    """Let the server ask inside an answer to a call; return what the client gets."""
    await rig.call("book", id=1, _meta=META)
    asked = {"q": {"method": question[0], "params": question[1]}}
    await rig.answer({"resultType": "input_required", "inputRequests": asked, "requestState": "s"})
    return rig.replies[-1]


@pytest.mark.parametrize("role", ["client", "server"])
@pytest.mark.parametrize("question", QUESTIONS, ids=IDS)
async def test_question_is_denied_by_default(question: tuple[str, Json], role: Any) -> None:
    """A table without a word of asks denies each question; the reason is in the log, not in the answer (A59, S3.47)."""
    async with guard_from(TABLE, role=role) as rig:
        assert await ask(rig, question) is None
        assert rig.reached[-1]["id"] == 7
        code = rig.reached[-1]["error"]["data"]["code"]
        assert code == ("core.refused" if role == "client" else "sieve.ask")
        (event,) = [event for event in rig.recorder.events if event.code == "sieve.ask"]
        assert event.rule == f'{question[0].partition("/")[0]} = "deny"'


@pytest.mark.parametrize("question", QUESTIONS, ids=IDS)
async def test_question_inside_an_answer_is_denied(question: tuple[str, Json]) -> None:
    """In revision 2026-07-28 the same questions stand in answers; one that is denied refuses the answer (A41, A59)."""
    async with guard_from(TABLE) as rig:
        assert (await embed(rig, question))["error"]["data"]["code"] == "sieve.ask"


@pytest.mark.parametrize("question", QUESTIONS, ids=IDS)
async def test_question_inside_a_task_is_denied(question: tuple[str, Json]) -> None:
    """A task that waits for input holds the same questions, polled or told (A41)."""
    asked = {"q": {"method": question[0], "params": question[1]}}
    state = {"taskId": "t", "status": "input_required", "inputRequests": asked}
    async with guard_from(TABLE) as rig:
        await rig.send(rig.from_client, request("tasks/get", {"taskId": "t", "_meta": META}, id=1))
        await rig.answer(state)
        rig.assert_refused("sieve.ask")
        before = len(rig.replies)
        await rig.send(rig.from_server, {"jsonrpc": "2.0", "method": "notifications/tasks", "params": state})
        assert len(rig.replies) == before
        assert rig.recorder.codes.count("sieve.ask") == 2


@pytest.mark.parametrize(
    ("question", "rule"),
    [
        (SAMPLING, None),
        (FORM, None),
        (SECRET, "secrets = false: 'password'"),
        (SCRIPT, "origins"),
        (LISTED, None),
        (ROOTS, None),
    ],
    ids=IDS,
)
async def test_allowed_question_keeps_to_the_rules(question: tuple[str, Json], rule: str | None) -> None:
    """Where questions are allowed the rules on each hold, in both eras (A59)."""
    async with guard_from(OPEN) as rig:
        assert (await ask(rig, question) is None) is (rule is not None)
        assert ("error" in await embed(rig, question)) is (rule is not None)
        rules = [event.rule for event in rig.recorder.events if event.code == "sieve.ask"]
        assert rules == ([] if rule is None else [rule] * 2)


@pytest.mark.parametrize("url", ["javascript:alert(1)", "https://evil.example.com/"])
async def test_error_that_sends_the_user_somewhere_is_judged(url: str) -> None:
    """A server of 2025-11-25 also asks by an error; it leads to listed origins only (A59)."""
    params = {"mode": "url", "message": "sign in", "elicitationId": "1"}
    for to, passes in ((url, False), ("https://accounts.example.com/x", True)):
        data = {"elicitations": [{**params, "url": "https://accounts.example.com/"}, {**params, "url": to}]}
        error = {"jsonrpc": "2.0", "id": 1, "error": {"code": URL_NEEDED, "message": "go", "data": data}}
        async with guard_from(OPEN) as rig:
            await rig.call("book", id=1)
            await rig.send(rig.from_server, error)
            assert (rig.error()["code"] == URL_NEEDED) is passes
            assert (rig.error()["data"].get("code") == "sieve.ask") is not passes


@pytest.mark.parametrize("data", [None, {}, {"elicitations": "x"}, {"elicitations": [7]}])
async def test_error_without_a_question_passes(data: Any) -> None:
    """An error that asks for nothing is none of the mesh's business."""
    error = {"code": URL_NEEDED, "message": "go", "data": data}
    async with guard_from(TABLE) as rig:
        await rig.call("book", id=1)
        await rig.send(rig.from_server, {"jsonrpc": "2.0", "id": 1, "error": error})
        assert rig.error() == error


async def test_one_server_may_ask_what_others_may_not() -> None:
    """The table of one server allows what the general one denies, and the other way round (S3.47)."""
    toml = f'{TABLE}[server.planner.sieve.asks]\nsampling = "allow"\n[server.files.sieve.asks]\nroots = "allow"'
    cases: tuple[tuple[str, tuple[str, Json], bool], ...] = (
        ("planner", SAMPLING, True),
        ("planner", ROOTS, False),
        ("files", SAMPLING, False),
        ("files", ROOTS, True),
    )
    for name, question, passes in cases:
        async with guard_from(toml, name=name) as rig:
            assert (await ask(rig, question) is not None) is passes


async def test_bound_of_a_more_specific_table_only_narrows() -> None:
    """A bound is the smaller of the two tables'."""
    toml = f"{OPEN}tokens = 5\n[server.files.sieve.asks]\ntokens = 100"
    async with guard_from(toml) as rig:
        assert await ask(rig, SAMPLING) is None


@pytest.mark.parametrize("question", QUESTIONS, ids=IDS)
async def test_alert_lets_pass_and_tells(question: tuple[str, Json]) -> None:
    """With "alert" a question passes, and the event names the rule that it breaks, if one (A59)."""
    words = "sampling", "elicitation", "roots"
    toml = (
        f"{TABLE}[sieve.asks]\n" + "".join(f'{word} = "alert"\n' for word in words) + '[sieve.addresses]\nact = "alert"'
    )
    async with guard_from(toml) as rig:
        assert await ask(rig, question) is not None
        (event,) = [event for event in rig.recorder.events if event.code == "sieve.asked"]
        assert (event.severity, event.action, event.details) == ("warning", "logged", {"asks": question[0]})
        assert event.rule == {"secret": "secrets = false: 'password'"}.get(IDS[QUESTIONS.index(question)], event.rule)


async def test_without_a_table_questions_pass_and_are_told_of(only_sieve: None) -> None:
    """Without any table every question passes, and each is an event (A59)."""
    events, near, far = Recorder(), Port(), Port()
    guard = Guard.load(Config.from_toml(""), objects=[events])
    session = guard.session(await guard.connect("files", "client"), near, far)
    for place, (method, params) in enumerate(QUESTIONS):
        session.receive_object(session.inn, request(method, params, id=place))
    assert [message["method"] for message in near.got] == [method for method, _ in QUESTIONS]
    await guard.close()
    assert events.codes.count("sieve.asked") == len(QUESTIONS)


async def test_questions_of_a_connection_are_counted() -> None:
    """A flood of questions is refused, and is over a minute later; another kind is counted with them (A59)."""
    clock = Clock()
    async with guard_from(f"{OPEN}per_minute = 3", clock=clock) as rig:
        questions: list[tuple[str, Json]] = [SAMPLING, FORM, ROOTS, SAMPLING, FORM]
        asked = [await ask(rig, question, id) for id, question in enumerate(questions)]
        assert [found is not None for found in asked] == [True, True, True, False, False]
        assert rig.reached[-1]["error"]["code"] == -32005
        clock.turn(61)
        assert await ask(rig, SAMPLING, 9) is not None


async def test_refused_question_does_not_count() -> None:
    """What breaks another rule takes no place of an honest question."""
    async with guard_from(f"{OPEN}per_minute = 1") as rig:
        for id in range(5):
            assert await ask(rig, SECRET, id) is None
        assert await ask(rig, FORM, 9) is not None


async def test_reload_goes_on_counting(tmp_path: Any) -> None:
    """A reload gives a server no new questions (A59)."""
    text = f'core.state_dir = "{tmp_path}"\n{OPEN}per_minute = 1\n'
    async with guard_from(text) as rig:
        assert await ask(rig, FORM) is not None
        await rig.guard.reload(Config.from_toml(f"{text}tokens = 7\n"))
        assert await ask(rig, FORM, 8) is None


HOME = {"uri": "file:///home/x", "name": "home"}
NOTES = {"uri": "file:///srv/notes", "name": "notes"}


async def test_server_sees_the_roots_under_the_folders_only() -> None:
    """The host's answer is narrowed to roots under the listed folders, and that is an event (S3.47)."""
    async with guard_from(f'{OPEN}roots_under = ["/srv"]') as rig:
        assert await ask(rig, ROOTS) is not None
        await rig.send(rig.from_client, {"jsonrpc": "2.0", "id": 7, "result": {"roots": [HOME, NOTES]}})
        assert rig.reached[-1]["result"] == {"roots": [NOTES]}
        (event,) = [event for event in rig.recorder.events if event.code == "sieve.roots_hidden"]
        assert (event.count, event.action) == (1, "blocked")


async def test_roots_inside_a_retry_are_narrowed() -> None:
    """In revision 2026-07-28 roots travel in the retry of a call; the same holds there (A41)."""
    async with guard_from(f'{OPEN}roots_under = ["/srv"]') as rig:
        _ = await embed(rig, ROOTS)
        answers = {"q": {"roots": [HOME, NOTES]}}
        await rig.call("book", id=2, _meta=META, requestState="s", inputResponses=answers)
        assert rig.reached[-1]["params"]["inputResponses"] == {"q": {"roots": [NOTES]}}


async def test_roots_that_nobody_may_ask_for_are_not_sent() -> None:
    """Roots in a retry that no question led to are gone where the server may not ask (A41, A59)."""
    async with guard_from(TABLE) as rig:
        await rig.call("book", id=2, _meta=META, inputResponses={"q": {"roots": [HOME]}})
        assert rig.reached[-1]["params"]["inputResponses"] == {"q": {"roots": []}}


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ('sampling = "yes"', "sampling"),
        ('origins = ["http://a.com"]', "origins[0]"),
        ('origins = ["https://a.com/"]', "origins[0]"),
        ('origins = ["https://*.a.com"]', "origins[0]"),
        ("tokens = -1", "tokens"),
        ('context = "everything"', "context"),
        ("passwords = true", "passwords"),
    ],
)
async def test_table_of_nonsense_stops_the_start(line: str, what: str) -> None:
    """What the table cannot mean is an error that names the key."""
    with pytest.raises(Exception, match="sieve") as raised:
        async with guard_from(f"[sieve.asks]\n{line}"):
            pass
    assert what in str(raised.value)


@pytest.mark.parametrize(
    ("toml", "names"),
    [
        (TABLE, {"sampling", "roots", "form_for_password", "script_for_url"}),
        (OPEN, {"form_for_password", "script_for_url"}),
        (f"{OPEN}secrets = true", {"script_for_url"}),
        (f'{TABLE}[sieve.asks]\nelicitation = "alert"', {"sampling", "roots"}),
    ],
)
async def test_probes_tell_whether_questions_are_judged(
    toml: str, names: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The probes pass with the mesh, and tell when it is gone (X.1)."""
    names = {f"sieve.refuses_{name}" for name in names}
    for works in (True, False):
        if not works:
            monkeypatch.setattr(Asks, "look", lambda self, message, connection: None)
            monkeypatch.setattr("hauberk_sieve.addresses._mesh.Addresses.look", lambda self, message, connection: None)
        async with guard_from(toml) as rig:
            report = await doctor.examine(rig.guard, rig.guard.policy)
        states = {one.name: one.state for one in report.findings if one.name in names}
        assert states.keys() == names
        assert set(states.values()) == ({"ok"} if works else {"not_stopped"})

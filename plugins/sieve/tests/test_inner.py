"""Meta-tools on a real guard: what is called inside a call is judged as if it was called itself."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hauberk import doctor
from hauberk.principal import Principal
from hauberk.refusals import ConfigError
from hauberk_sieve._limits import LIMITS
from hauberk_sieve.inner import InnerCalls
from hauberk_sieve.inner._path import Malformed, parse
from hauberk_sieve.inner._results import Sifter

RULES = """
[sieve]
allow = ["gateway/*", "github/read_*"]
deny = ["gateway/delete", "*/execute"]
"""
ONE = f'{RULES}[sieve.inner]\n"gateway/call" = "tool"\n'
BATCH = f"""{RULES}
[sieve.inner."gateway/batch"]
name = "commands[].tool"
id = "commands[].id"
after = "commands[].after"
most = 3
"""
OTHER = f"""{RULES}
[server.slack.sieve]
deny = ["slack/post"]
[sieve.inner."gateway/call"]
name = "tool"
server = "module"
"""
LISTED = f'{RULES}[sieve.inner."gateway/schema"]\nresults = "modules[].tools[].name"\n'


def code(answer: Any) -> str:
    return str(answer["error"]["data"]["code"]) if "error" in answer else "passed"


async def tried(link: Any, text: str, arguments: Any, tool: str = "call") -> Any:
    linked = await link(text, "gateway")
    answer = linked.ask("tools/call", {"name": tool, "arguments": arguments})
    assert ("error" in answer) == (linked.server.got == [])
    return linked, answer


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"tool": "read"}, "passed"),
        ({"tool": "delete"}, "sieve.inner_denied"),
        ({"tool": "execute"}, "sieve.inner_denied"),
        ({"tool": "del\u200bete"}, "sieve.inner_denied"),
        ({"tool": "\uff44elete\u200b"}, "sieve.inner_denied"),
        ({"tool": "x" * 2000}, "sieve.inner_denied"),
        ({}, "sieve.inner_malformed"),
        ({"tool": 7}, "sieve.inner_malformed"),
        ({"tool": ["read"]}, "sieve.inner_malformed"),
        ({"tool": "read", "Tool": "delete"}, "sieve.inner_malformed"),
        ({"tool": "${a.results[0].name}"}, "sieve.inner_malformed"),
        ({"tool": "{{name}}"}, "sieve.inner_malformed"),
        ({"tool": "$name"}, "sieve.inner_malformed"),
        ({"tool": "call"}, "sieve.inner_malformed"),
        ({"tool": "hauberk-doctor"}, "passed"),
    ],
)
async def test_inner_call_is_judged_like_a_call(link: Any, arguments: Any, expected: str) -> None:
    """A tool that a meta-tool calls is refused like the tool itself; one that cannot be told is refused (S1.3)."""
    _, answer = await tried(link, ONE, arguments)
    assert code(answer) == expected


async def test_tool_that_is_no_meta_tool_is_left_alone(link: Any) -> None:
    """Arguments of a tool that no entry names are nobody's business here."""
    _, answer = await tried(link, ONE, {"tool": "delete"}, tool="other")
    assert code(answer) == "passed"


@pytest.mark.parametrize("tool", ["call\u200b", " call", "\uff43all\u200b", "c\u00adall"])
async def test_name_that_looks_like_the_meta_tool_is_looked_into(link: Any, tool: str) -> None:
    """A meta-tool cannot be called by a name that only looks like its own, with what it may not call."""
    text = '[sieve]\ndefault = "allow"\ndeny = ["gateway/delete"]\nnames = { spelling = "alert" }\n'
    text += '[sieve.inner]\n"gateway/call" = "tool"\n'
    _, answer = await tried(link, text, {"tool": "delete"}, tool=tool)
    assert code(answer) == "sieve.inner_denied"
    _, answer = await tried(link, text, {"tool": "read"}, tool=tool)
    assert code(answer) == "passed"


@pytest.mark.parametrize(
    ("module", "tool", "expected"),
    [
        ("github", "read_issue", "passed"),
        ("github", "write_issue", "sieve.inner_denied"),
        ("gateway", "read", "passed"),
        ("gateway", "delete", "sieve.inner_denied"),
        ("gateway", "call", "sieve.inner_malformed"),
        ("slack", "post", "sieve.inner_denied"),
        ("github/read_x", "y", "sieve.inner_denied"),
        ("*", "read", "sieve.inner_denied"),
        ("", "read", "sieve.inner_malformed"),
        (None, "read", "sieve.inner_malformed"),
        ("${x}", "read_x", "sieve.inner_malformed"),
    ],
)
async def test_inner_tool_belongs_to_the_server_that_is_named(link: Any, module: Any, tool: str, expected: str) -> None:
    """Where the entry says where the server stands, the pair of server and tool is judged (S1.11)."""
    _, answer = await tried(link, OTHER, {"tool": tool} | ({} if module is None else {"module": module}))
    assert code(answer) == expected


async def test_name_of_a_server_is_bounded(link: Any) -> None:
    """Names of servers that a caller makes up are not kept however long they are."""
    linked, answer = await tried(link, OTHER, {"tool": "read", "module": "x" * 100_000})
    assert code(answer) == "sieve.inner_malformed"
    for number in range(600):
        linked.ask("tools/call", {"name": "call", "arguments": {"tool": "t", "module": f"m{number}"}}, id=number + 2)
    meshes = linked.guard.loaded["sieve"].plugin.meshes
    assert max(len(meshes["inner"]._of), len(meshes["access"].rules)) <= LIMITS.servers


@pytest.mark.parametrize("table", ["gateway", "github"])
async def test_tables_of_both_servers_are_asked(link: Any, table: str) -> None:
    """A deny rule in the table of the meta-tool's server holds, and so does one in the table of the inner tool's."""
    text = OTHER + f'[server.{table}.sieve]\ndeny = ["github/read_secret"]\n'
    _, answer = await tried(link, text, {"tool": "read_secret", "module": "github"})
    assert code(answer) == "sieve.inner_denied"
    _, answer = await tried(link, text, {"tool": "read_issue", "module": "github"})
    assert code(answer) == "passed"


@pytest.mark.parametrize(
    ("commands", "expected"),
    [
        ([{"tool": "a"}, {"tool": "b"}, {"tool": "c"}], "passed"),
        ([{"tool": "a"}, {"tool": "b"}, {"tool": "delete"}], "sieve.inner_denied"),
        ([{"tool": "delete"}, {"tool": "b"}], "sieve.inner_denied"),
        ([{"tool": "a"}, {"tool": ""}], "sieve.inner_malformed"),
        ([{"tool": "a"}] * 4, "sieve.inner_malformed"),
        ([{"tool": "a", "id": "1"}, {"tool": "b", "id": "1"}], "sieve.inner_malformed"),
        ([{"tool": "a", "id": "1"}, {"tool": "b", "id": "2", "after": ["3"]}], "sieve.inner_malformed"),
        ([{"tool": "a", "id": "1", "after": "2"}, {"tool": "b", "id": "2", "after": "1"}], "sieve.inner_malformed"),
        ([{"tool": "a", "id": 1}], "sieve.inner_malformed"),
        ([{"tool": "a", "id": "1"}, {"tool": "b", "after": [1]}], "sieve.inner_malformed"),
        ('[{"tool":"a"},{"tool":"delete"}]', "sieve.inner_denied"),
        ('{"tool":"a"}\n{"tool":"delete"}', "sieve.inner_denied"),
        ('{"tool":"a"}\n{"tool":"b"}', "passed"),
    ],
)
async def test_several_calls_are_all_or_nothing(link: Any, commands: Any, expected: str) -> None:
    """Of several calls in one argument each is judged; one that is denied, or cannot be told, denies all (S1.6)."""
    _, answer = await tried(link, BATCH, {"commands": commands}, tool="batch")
    assert code(answer) == expected


async def test_every_denied_call_is_recorded(link: Any) -> None:
    """The record has every inner call that was denied, and the refusal names the first (S1.4, S1.6)."""
    commands = [{"tool": "delete"}, {"tool": "a"}, {"tool": "execute"}]
    linked, answer = await tried(link, BATCH, {"commands": commands}, tool="batch")
    assert "call 1 of 3: tool 'delete' of server 'gateway' is not allowed" in answer["error"]["message"]
    (event,) = await linked.events("sieve.inner_refused")
    assert (event.count, event.details) == (2, {"names": ["delete", "execute"], "calls": 3})


async def test_inner_call_goes_by_who_asks(link: Any) -> None:
    """Roles count for an inner call as they count for a call."""
    text = '[sieve]\nallow = ["gateway/call", {server = "gateway", tool = "read", roles = ["r"]}]\n'
    text += '[sieve.inner]\n"gateway/call" = "tool"\n'
    for roles, expected in ((frozenset({"r"}), True), (frozenset[str](), False)):
        linked = await link(text, "gateway", role="server")
        linked.session.connection.principal = Principal(id="bob", kind="user", roles=roles, method="jwt")
        answer = linked.ask("tools/call", {"name": "call", "arguments": {"tool": "read"}})
        assert ("error" not in answer) == expected


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ('[sieve.inner]\n"gateway" = "tool"\n', "has no '/'"),
        ('[sieve.inner]\n"a/b" = "tool[0]"\n', "is no path"),
        ('[sieve.inner]\n"a/b" = 5\n', "inner"),
        ('[sieve.inner]\n"a/b" = {}\n', "neither name nor results"),
        ('[sieve.inner]\n"a/b" = "x"\n[server.a.sieve.inner]\n"a/b" = "y"\n', "cannot be compared"),
    ],
)
def test_table_that_cannot_be_obeyed_is_an_error(load: Any, toml: str, words: str) -> None:
    """An entry that is malformed, or that a more specific table would replace, stops the start."""
    with pytest.raises(ConfigError, match=words):
        load(toml)


def test_without_a_table_no_call_is_looked_into(load: Any) -> None:
    """Without entries no call is looked into, and no message is seen for it."""
    mesh = load("[sieve]\n").loaded["sieve"].plugin.meshes["inner"]
    assert isinstance(mesh, InnerCalls)
    assert (mesh.judges, mesh.methods, mesh.probes()) == (False, (), [])


async def test_doctor_sees_inner_calls_refused(load: Any) -> None:
    """The doctor's meta-tool calls a tool that every table denies, and is refused."""
    report = await doctor.run(load(ONE))
    (found,) = [one for one in report.findings if one.name == "sieve.refuses_denied_inner_call"]
    assert found.state == "ok"


async def test_doctor_sees_that_inner_calls_are_not_judged(load: Any, monkeypatch: Any) -> None:
    """The doctor finds out when no call is looked into any more."""
    monkeypatch.setattr(InnerCalls, "judge", lambda *_: None)
    report = await doctor.run(load('[sieve]\ndefault = "allow"\n[sieve.inner]\n"gateway/call" = "tool"\n'))
    (found,) = [one for one in report.findings if one.name == "sieve.refuses_denied_inner_call"]
    assert found.state == "not_stopped"


# --- results ---


def listing(*modules: list[str]) -> dict[str, Any]:
    return {"modules": [{"id": at, "tools": [{"name": name} for name in names]} for at, names in enumerate(modules)]}


def text_of(value: Any) -> dict[str, Any]:
    return {"type": "text", "text": value if isinstance(value, str) else json.dumps(value)}


async def shown(link: Any, result: Any, tool: str = "schema") -> Any:
    linked = await link(LISTED, "gateway")
    linked.call(tool)
    return linked, linked.answer(result)


async def test_hidden_tools_are_gone_from_a_result(link: Any) -> None:
    """A result that lists tools has none that may not be called, neither in its text nor in its structure (S1.2)."""
    whole = listing(["read", "delete"], ["write"])
    linked, got = await shown(link, {"content": [text_of(whole)], "structuredContent": whole})
    left = listing(["read"], ["write"])
    assert got["result"]["structuredContent"] == left
    assert json.loads(got["result"]["content"][0]["text"]) == left
    assert "delete" not in json.dumps(got)
    (event,) = await linked.events("sieve.hidden")
    assert (event.action, event.count, event.details) == ("blocked", 2, {"names": ["delete", "delete"]})


async def test_module_without_a_tool_is_gone(link: Any) -> None:
    """A module of which no tool may be called is not there at all (S1.2)."""
    _, got = await shown(link, {"content": [text_of(listing(["delete"], ["read"]))]})
    assert [module["id"] for module in json.loads(got["result"]["content"][0]["text"])["modules"]] == [1]


async def test_result_without_a_tool_is_an_error(link: Any) -> None:
    """Where nothing is left the answer is an error, and no empty list (S1.2)."""
    linked, got = await shown(link, {"content": [text_of(listing(["delete"], ["execute"]))]})
    assert code(got) == "sieve.no_access"
    assert len(await linked.events("sieve.no_access")) == 1


async def test_result_that_hides_nothing_is_left_as_it_is(link: Any) -> None:
    """A result in which everything may be called passes to the byte."""
    text = '{ "modules": [ {"tools": [ {"name": "read"} ] } ] }'
    result = {"content": [text_of(text)], "_meta": {"x": 1}}
    assert (await shown(link, result))[1]["result"] == result


@pytest.mark.parametrize(
    "content",
    [
        [text_of("the tools are: delete")],
        [text_of({"tools": []})],
        [text_of({"modules": {"tools": []}})],
        [text_of({"modules": [{"tools": ["delete"]}]})],
        [text_of({"modules": [{"tools": [{"name": 5}]}]})],
        [text_of({"modules": [{"tools": [{"name": "read", "Name": "delete"}]}]})],
        [text_of('{"modules":[],"modules":[{"tools":[{"name":"delete"}]}]}')],
        [text_of(listing(["read"])), {"type": "image", "data": "", "mimeType": "image/png"}],
        [text_of(listing(["read"])), {"type": "resource", "resource": {"uri": "x:y", "text": "delete"}}],
        ["delete"],
        "delete",
    ],
)
async def test_result_that_cannot_be_told_is_refused(link: Any, content: Any) -> None:
    """A result in which nobody can tell which tools it lists does not reach the model."""
    _, got = await shown(link, {"content": content})
    assert code(got) == "sieve.inner_malformed"
    assert "delete" not in json.dumps(got)


async def test_long_name_does_not_escape_the_sifting(link: Any) -> None:
    """A name that looks like the meta-tool's, too long to be remembered until the result comes, is refused."""
    text = LISTED.replace("[sieve]", '[sieve]\nnames = { spelling = "alert" }').replace('"gateway/*"', '"*"')
    linked = await link(text.replace("allow =", 'default = "allow"\nallow ='), "gateway")
    assert code(linked.call("\u200b" * 300 + "schema")) == "sieve.inner_malformed"
    assert code(linked.call("\u200bschema", id=2)) == "passed"
    got = linked.answer({"content": [text_of(listing(["read", "delete"]))]}, id=2)
    assert json.loads(got["result"]["content"][0]["text"]) == listing(["read"])


async def test_result_of_another_tool_is_not_sifted(link: Any) -> None:
    """Results of a tool that no entry names are left alone."""
    result = {"content": [text_of("delete")]}
    assert (await shown(link, result, tool="other"))[1]["result"] == result


async def test_answer_without_a_list_passes(link: Any) -> None:
    """An answer that asks for more input, or hands out a task, lists nothing yet."""
    task = {"task": {"taskId": "1", "status": "working"}}
    assert (await shown(link, task))[1]["result"]["task"]["taskId"] == "1"


async def test_result_of_a_task_is_sifted(link: Any) -> None:
    """The result of a call that became a task is sifted like that of the call."""
    linked = await link(LISTED, "gateway")
    linked.call("schema")
    linked.answer({"task": {"taskId": "t", "status": "working"}})
    linked.ask("tasks/result", {"taskId": "t"}, id=2)
    got = linked.answer({"content": [text_of(listing(["read", "delete"]))]}, id=2)
    assert json.loads(got["result"]["content"][0]["text"]) == listing(["read"])
    linked.ask("tasks/get", {"taskId": "t"}, id=3)
    inner = {"content": [text_of(listing(["delete"]))]}
    assert code(linked.answer({"taskId": "t", "status": "completed", "result": inner}, id=3)) == "sieve.no_access"


def test_empty_list_is_empty() -> None:
    """A list in which there was nothing stays as it is: nothing of it is hidden."""
    sifter = Sifter(parse("results", "tools[].name"), lambda _: False)
    assert sifter.sift({"structuredContent": {"tools": []}}) == {"structuredContent": {"tools": []}}
    assert sifter.sift({"structuredContent": {"tools": [{"name": "a"}]}}) is None
    with pytest.raises(Malformed):
        sifter.sift({"structuredContent": [{"name": "a"}]})

"""The sieve between a client and a server, through a real guard."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from hauberk.connection import Connection, Role
from hauberk.guard import Guard
from hauberk.message import Message
from hauberk.refusals import Refused
from hauberk_sieve import Sieve
from hauberk_sieve._limits import LIMITS

if TYPE_CHECKING:
    from plugins.sieve.tests.conftest import Connect

roles = pytest.mark.parametrize("role", ["client", "server"])

RULES = """
    [sieve]
    default = "deny"
    allow = ["files/read_*", "files/delete_all"]
    deny = ["*/delete_*"]
"""
PAGE: dict[str, Any] = {
    "tools": [
        {"name": "read_file", "inputSchema": {"type": "object"}, "x-unknown": [1, 2**63]},
        {"name": "poisoned", "description": "does as it likes"},
        {"name": "delete_all"},
        {"name": "read_dir", "inputSchema": {"type": "object"}},
    ],
    "nextCursor": "page-2",
    "_meta": {"a": 1},
    "unknown": None,
}


def connection(server: str = "files") -> Connection:
    return Connection(id="c", host="h", server=server, role="client")


def message(result: Any, **fields: Any) -> Message:
    data = {"jsonrpc": "2.0", "id": 1, "result": result}
    return Message(**({"kind": "result", "toward": "client", "method": "tools/list", "data": data} | fields))


# --- layer 1: hide ---


@roles
async def test_list_shows_only_what_may_be_called(link: Connect, role: Role) -> None:
    """What no rule allows, or a deny rule names, is gone from a list in both roles; the rest is as it came (S1.2)."""
    between = await link(RULES, role=role)
    got = between.listed(copy.deepcopy(PAGE))
    assert got == {
        "jsonrpc": "2.0",
        "id": 1,
        "result": {**PAGE, "tools": [PAGE["tools"][0], PAGE["tools"][3]]},
    }
    assert list(got["result"]) == list(PAGE)


async def test_every_page_is_sifted(link: Connect) -> None:
    """A tool is hidden on whichever page it stands, and the cursor goes on (S1.2)."""
    between = await link(RULES)
    for id in range(1, 4):
        between.ask("tools/list", {"cursor": f"page-{id}"}, id)
        page = {**copy.deepcopy(PAGE), "nextCursor": f"page-{id + 1}"}
        got = between.answer(page, id)["result"]
        assert [tool["name"] for tool in got["tools"]] == ["read_file", "read_dir"]
        assert got["nextCursor"] == f"page-{id + 1}"


async def test_list_with_nothing_to_hide_is_left_alone(link: Connect) -> None:
    """A list of allowed tools passes as it came, and is no event."""
    between = await link(RULES)
    result = {"tools": [PAGE["tools"][0]], "nextCursor": "x"}
    assert between.listed(result)["result"] == result
    assert await between.events("sieve.hidden") == []


async def test_list_where_everything_is_hidden_is_empty(link: Connect) -> None:
    """A list without any allowed tool is an empty list."""
    between = await link('[sieve]\ndefault = "deny"')
    assert between.listed(copy.deepcopy(PAGE))["result"]["tools"] == []


async def test_entries_that_are_no_tools_are_removed(link: Connect) -> None:
    """An entry that is no object, or has no name that is a string, is removed, even where the default allows (S1.2)."""
    between = await link('[sieve]\ndefault = "allow"')
    entries = ["read_file", None, 7, ["name"], {}, {"name": 1}, {"name": None}, {"name": ["read_file"]}]
    got = between.listed({"tools": [*entries, {"name": "ok"}]})
    assert got["result"]["tools"] == [{"name": "ok"}]
    (event,) = await between.events("sieve.hidden")
    assert (event.count, event.severity, event.details) == (8, "warning", {"names": [], "malformed": 8})


@pytest.mark.parametrize("result", [{}, {"tools": None}, {"tools": {"name": "read_file"}}, {"tools": "x"}])
async def test_list_without_an_array_is_refused(link: Connect, result: dict[str, Any]) -> None:
    """A list whose ``tools`` is missing or no array is refused, and the asker gets an error."""
    between = await link(RULES)
    got = between.listed(result)
    assert got["error"]["data"]["code"] == "sieve.malformed_list"
    assert got["error"]["data"]["plugin"] == "sieve"
    assert len(await between.events("sieve.malformed_list")) == 1


async def test_other_results_are_no_business_of_the_sieve(link: Connect) -> None:
    """A result of another method is left alone, whatever it holds."""
    between = await link(RULES)
    between.ask("prompts/list")
    assert between.answer({"prompts": [], "tools": PAGE["tools"]})["result"]["tools"] == PAGE["tools"]


def test_message_is_not_changed_in_place(load: Callable[[str], Guard]) -> None:
    """Whoever reads the original list after the sieve reads what the server said."""
    sieve = load(RULES).loaded["sieve"].plugin
    before = message(copy.deepcopy(PAGE))
    after = sieve.on_receive(before, connection())
    assert before.data["result"] == PAGE
    assert after.original is before
    assert after.result["tools"] == [PAGE["tools"][0], PAGE["tools"][3]]


def test_only_lists_toward_the_client_are_sifted(load: Callable[[str], Guard]) -> None:
    """A request, an error and what travels to the server are left alone."""
    sieve = load(RULES).loaded["sieve"].plugin
    for other in ({"kind": "error"}, {"kind": "request"}, {"toward": "server"}, {"method": "tools/call"}):
        for hook in (sieve.on_send, sieve.on_receive):
            assert hook(message(copy.deepcopy(PAGE), **other), connection()) is None


# --- layer 2: refuse ---


@pytest.mark.parametrize(
    ("tool", "rule", "hint"),
    [
        ("poisoned", "default = deny", 'add "files/poisoned" to [sieve] allow'),
        ("delete_all", "*/delete_*", "take */delete_* out of [sieve] deny"),
    ],
)
async def test_hidden_tool_called_anyway_is_refused(link: Connect, tool: str, rule: str, hint: str) -> None:
    """A tool that the list hid is refused when it is called: the host gets code, plugin, rule and hint (A39, S1.3)."""
    between = await link(RULES)
    between.listed(copy.deepcopy(PAGE))
    got = between.call(tool, 2)
    assert got is not None
    assert got["error"]["code"] == -32003
    assert got["error"]["data"] == {"code": "sieve.denied", "plugin": "sieve", "rule": rule, "hint": hint}
    assert [sent["method"] for sent in between.server.got] == ["tools/list"]


async def test_tool_that_was_never_listed_is_refused(link: Connect) -> None:
    """A call needs no list to be refused: hide is also deny (A39)."""
    between = await link(RULES)
    got = between.call("poisoned")
    assert got is not None
    assert got["error"]["data"]["code"] == "sieve.denied"
    assert between.server.got == []


async def test_allowed_call_passes(link: Connect) -> None:
    """A call that a rule allows reaches the server as it was."""
    between = await link(RULES)
    between.call("read_file")
    assert between.server.got[-1]["params"] == {"name": "read_file", "arguments": {}}
    (event,) = await between.events("core.allowed")
    assert (event.plugin, event.rule) == ("sieve", "files/read_*")


async def test_deny_of_every_server_holds_for_an_allowed_server(link: Connect) -> None:
    """``github/*`` allowed and ``*/execute_shell`` denied: ``github/execute_shell`` is hidden and refused (S3.35)."""
    between = await link('[sieve]\nallow = ["github/*"]\ndeny = ["*/execute_shell"]', server="github")
    got = between.listed({"tools": [{"name": "execute_shell"}, {"name": "list_issues"}]})
    assert got["result"]["tools"] == [{"name": "list_issues"}]
    refused = between.call("execute_shell", 2)
    assert refused is not None
    assert refused["error"]["data"]["rule"] == "*/execute_shell"


async def test_call_as_a_notification_never_reaches_the_server(link: Connect) -> None:
    """``tools/call`` without an id is dropped with an event, for a denied tool and for an allowed one (A40)."""
    between = await link(RULES)
    for tool in ("poisoned", "read_file"):
        assert between.ask("tools/call", {"name": tool, "arguments": {}}, id=None) is None
    assert between.server.got == between.client.got == []
    refusals = [event for event in between.sink.seen if event.category == "refusal"]
    assert [event.action for event in refusals] == ["blocked", "blocked"]


async def test_remote_peer_learns_nothing(link: Connect) -> None:
    """In front of a server, who is refused is told neither code nor rule; the record has both (S1.4)."""
    between = await link(RULES, role="server")
    got = between.call("poisoned")
    assert got is not None
    assert got["error"] == {"code": -32003, "message": "refused", "data": {"code": "core.refused"}}
    assert between.server.got == []
    (event,) = await between.events("sieve.denied")
    assert (event.tool, event.rule) == ("poisoned", "default = deny")


async def test_names_of_a_tool_that_look_alike_are_refused(link: Connect) -> None:
    """``Execute_Shell`` with a zero-width joiner does not slip past a deny of ``execute_shell`` (S3.36)."""
    between = await link('[sieve]\ndefault = "allow"\ndeny = ["*/execute_shell"]')
    name = "Execute_\u200dShell"
    assert between.listed({"tools": [{"name": name}]})["result"]["tools"] == []
    got = between.call(name, 2)
    assert got is not None
    assert got["error"]["data"]["plugin"] == "sieve"
    assert "\u200d" not in str(got)
    assert [sent["method"] for sent in between.server.got] == ["tools/list"]


async def test_rules_of_one_server_hold_for_it_alone(link: Connect) -> None:
    """A server's own table narrows for that server only."""
    text = '[sieve]\nallow = ["*"]\n[server.files.sieve]\ndeny = ["*/write"]'
    for server, reaches in (("files", 0), ("other", 1)):
        between = await link(text, server=server)
        between.call("write")
        assert len(between.server.got) == reaches


async def test_refusal_as_a_result_tells_the_model(link: Connect) -> None:
    """With ``refuse_as = "result"`` a refused call is a result that a model can read, with the hint."""
    between = await link('[core]\nrefuse_as = "result"\n' + RULES)
    got = between.call("poisoned")
    assert got is not None
    assert got["result"]["isError"] is True
    assert 'add "files/poisoned" to [sieve] allow' in got["result"]["content"][0]["text"]


# --- layer 3: detect ---


async def test_each_attempt_is_an_event(link: Connect) -> None:
    """Each refused call is an event of its own, with tool, rule, plugin and who asked (S1.4)."""
    between = await link(RULES)
    between.call("poisoned", 1)
    between.call("delete_all", 2)
    events = await between.events("sieve.denied")
    assert [(event.tool, event.rule) for event in events] == [
        ("poisoned", "default = deny"),
        ("delete_all", "*/delete_*"),
    ]
    for event in events:
        assert (event.plugin, event.action, event.category) == ("sieve", "blocked", "refusal")
        assert (event.server, event.method, event.principal) == ("files", "tools/call", "host:default")


async def test_each_sifted_list_is_an_event(link: Connect) -> None:
    """A list from which something was hidden is one event, with how many and which names (S1.4)."""
    between = await link(RULES)
    between.listed(copy.deepcopy(PAGE), 1)
    between.listed(copy.deepcopy(PAGE), 2)
    events = await between.events("sieve.hidden")
    assert [(event.count, event.details) for event in events] == [(2, {"names": ["poisoned", "delete_all"]})] * 2
    assert {(event.plugin, event.action, event.method, event.server) for event in events} == {
        ("sieve", "blocked", "tools/list", "files")
    }


async def test_mode_audit_lets_pass_and_says_so(link: Connect) -> None:
    """In mode ``audit`` nothing is hidden or refused, and the record does not claim that it was."""
    between = await link(RULES.replace("[sieve]", '[sieve]\n    mode = "audit"'))
    assert between.listed(copy.deepcopy(PAGE))["result"] == PAGE
    between.call("poisoned", 2)
    assert between.server.got[-1]["method"] == "tools/call"
    (hidden,) = await between.events("sieve.hidden")
    (refuse,) = await between.events("core.would_refuse")
    assert (hidden.action, refuse.details["code"]) == ("logged", "sieve.denied")


# --- bounds and load ---


def test_rules_of_many_servers_are_bounded(load: Callable[[str], Guard]) -> None:
    """Names of servers fill no memory, and servers without a table share one set of rules."""
    sieve = load(RULES).loaded["sieve"].plugin
    assert isinstance(sieve, Sieve)
    rules = {id(sieve.meshes["access"].rules[f"server-{number}"]) for number in range(4 * LIMITS.servers)}
    assert len(rules) == 1
    assert len(sieve.meshes["access"].rules) == LIMITS.servers


def test_judge_always_answers(load: Callable[[str], Guard]) -> None:
    """The sieve is a judge that must answer: the core refuses a call on which it would be silent."""
    (step,) = [step for step in load(RULES).loaded["sieve"].steps if step.hook == "on_tool_call"]
    assert step.must_judge


def test_malformed_list_is_refused_by_the_hook_itself(load: Callable[[str], Guard]) -> None:
    """The refusal of a malformed list is the sieve's own, in both directions."""
    sieve = load(RULES).loaded["sieve"].plugin
    for hook in (sieve.on_send, sieve.on_receive):
        with pytest.raises(Refused, match="without an array of tools"):
            hook(message({"tools": 1}), connection())

"""One decision, three layers: prompts, resources, templates and tools, through a real guard."""

from __future__ import annotations

import copy
import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from plugins.sieve.tests.conftest import Events, Link, Memory

from hauberk import canon, plugins
from hauberk.config import Config
from hauberk.connection import Role
from hauberk.guard import Guard
from hauberk.hookspecs import hookimpl
from hauberk.layers import Layer
from hauberk.message import Message
from hauberk.principal import Principal
from hauberk_sieve import Sieve
from hauberk_sieve._limits import LIMITS
from hauberk_sieve._options import Options
from hauberk_sieve.access._facts import Facts
from hauberk_sieve.access._mesh import Access
from hauberk_sieve.access._rule import Kind
from hauberk_sieve.access._rules import Rules
from hauberk_sieve.access._whom import NOBODY, Asker

if TYPE_CHECKING:
    from plugins.sieve.tests.conftest import Connect

roles = pytest.mark.parametrize("role", ["client", "server"])
META = {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}

RULES = """
[sieve]
default = "deny"
allow = [
    "files/read_*",
    { server = "files", prompt = "sum*" },
    { server = "files", resource = "file:///srv/notes/*" },
]
deny = [{ server = "*", prompt = "*secret*", resource = "*/secret*" }]
"""
TOOLS_ONLY = '[sieve]\nallow = ["files/*"]\n'
LISTS: dict[str, tuple[str, str, list[str], list[str]]] = {
    "prompts/list": ("prompts", "name", ["sum", "sum_secret", "other"], ["sum"]),
    "resources/list": (
        "resources",
        "uri",
        ["file:///srv/notes/a", "file:///srv/notes/../x", "file:///srv/notes/secret", "file:///etc/passwd"],
        ["file:///srv/notes/a"],
    ),
    "resources/templates/list": (
        "resourceTemplates",
        "uriTemplate",
        ["file:///srv/notes/{name}", "file:///{path}", "file:///srv/notes/secret/{name}"],
        ["file:///srv/notes/{name}"],
    ),
    "tools/list": ("tools", "name", ["read_a", "write"], ["read_a"]),
}
LISTENED = {"notifications": {"resourceSubscriptions": ["file:///srv/notes/a", "file:///etc/passwd"]}, "_meta": META}
HIDDEN: list[tuple[str, dict[str, Any]]] = [
    ("prompts/get", {"name": "other"}),
    ("prompts/get", {"name": "sum_secret"}),
    ("resources/read", {"uri": "file:///etc/passwd"}),
    ("resources/read", {"uri": "file:///srv/notes/../../etc/passwd"}),
    ("resources/read", {"uri": "file:///srv/notes/%2e%2e/%2e%2e/etc/passwd"}),
    ("resources/read", {"uri": "file:///srv/notes/secret"}),
    ("resources/subscribe", {"uri": "file:///etc/passwd"}),
    ("completion/complete", {"ref": {"type": "ref/prompt", "name": "other"}, "argument": {}}),
    ("completion/complete", {"ref": {"type": "ref/resource", "uri": "file:///{path}"}, "argument": {}}),
    ("completion/complete", {"ref": {"type": "ref/resource", "uri": "file:///etc/passwd"}, "argument": {}}),
    ("completion/complete", {"ref": {"type": "REF/PROMPT", "name": "sum"}, "argument": {}}),
    ("completion/complete", {"ref": {"type": "ref/prompt"}, "argument": {}}),
    ("subscriptions/listen", LISTENED),
    ("subscriptions/listen", {"notifications": {"resourceSubscriptions": "file:///etc/passwd"}, "_meta": META}),
    ("subscriptions/listen", {"notifications": {"resourceSubscriptions": [7]}, "_meta": META}),
]
SHOWN: list[tuple[str, dict[str, Any]]] = [
    ("prompts/get", {"name": "sum"}),
    ("resources/read", {"uri": "file:///srv/notes/a"}),
    ("resources/subscribe", {"uri": "file:///srv/notes/a"}),
    ("resources/unsubscribe", {"uri": "file:///etc/passwd"}),
    ("completion/complete", {"ref": {"type": "ref/prompt", "name": "sum"}, "argument": {}}),
    ("completion/complete", {"ref": {"type": "ref/resource", "uri": "file:///srv/notes/{name}"}, "argument": {}}),
    ("subscriptions/listen", {"notifications": {"resourceSubscriptions": ["file:///srv/notes/a"]}, "_meta": META}),
    ("subscriptions/listen", {"notifications": {"toolsListChanged": True}, "_meta": META}),
]


def entries(method: str, names: list[str], cursor: str = "more") -> dict[str, Any]:
    member, key, _, _ = LISTS[method]
    return {member: [{key: name, "title": "t"} for name in names], "nextCursor": cursor, "_meta": {"a": 1.0}}


async def attached(toml: str, *objects: Any, principal: Principal, server: str = "files") -> Link:
    """Connect a remote client, which proved who it is, to a server behind a guard."""
    sink = Events()
    guard = Guard.load(Config.from_toml(toml), objects=[*objects, sink])
    connection = await guard.connect(server, "server")
    connection.principal = principal
    near, far = Memory(), Memory()
    return Link(guard, guard.session(connection, near, far), near, far, sink)


# --- layer 1: hide ---


@roles
@pytest.mark.parametrize("method", LISTS)
async def test_every_list_shows_only_what_may_be_used(link: Connect, role: Role, method: str) -> None:
    """Prompts, resources and templates are hidden as tools are, on every page, and cursors pass (S1.2, A46)."""
    between = await link(RULES, role=role)
    _, _, offered, left = LISTS[method]
    for id in range(1, 8):
        names = offered if id in {1, 7} else left
        between.ask(method, {"cursor": f"p{id}"} if id > 1 else {}, id)
        got = between.answer(entries(method, names, f"p{id + 1}"), id)
        assert got["result"] == entries(method, left, f"p{id + 1}")
    hidden = await between.events("sieve.hidden")
    assert [(event.method, event.count) for event in hidden] == [(method, len(offered) - len(left))] * 2


@pytest.mark.parametrize("method", LISTS)
async def test_list_without_its_array_is_refused(link: Connect, method: str) -> None:
    """A list whose entries nobody can find is refused, of whatever it is."""
    between = await link(RULES)
    member = LISTS[method][0]
    for id, result in enumerate(({}, {member: None}, {member: {"name": "sum"}}), 1):
        between.ask(method, id=id)
        assert between.answer(result, id)["error"]["data"]["code"] == "sieve.malformed_list"


@pytest.mark.parametrize("method", LISTS)
async def test_entry_with_two_names_is_gone(link: Connect, method: str) -> None:
    """An entry that a lenient parser may take for another, or that has no name, is nobody's (S3.39)."""
    between = await link(RULES)
    member, key, _, left = LISTS[method]
    twins = [{key: left[0], key.upper(): "x"}, {key.upper(): left[0]}, {key: 7}, {}, "x", None]
    between.ask(method)
    assert between.answer({member: [*twins, {key: left[0]}]})["result"] == {member: [{key: left[0]}]}


async def test_rules_on_tools_alone_show_no_prompts_or_resources(link: Connect) -> None:
    """One default holds for all kinds: who allowed tools only is told what to add for the rest."""
    between = await link(TOOLS_ONLY)
    for id, method in enumerate(LISTS, 1):
        member, _, offered, _ = LISTS[method]
        between.ask(method, id=id)
        got = between.answer(entries(method, offered), id)["result"][member]
        assert len(got) == (2 if method == "tools/list" else 0)
    refused = between.ask("prompts/get", {"name": "sum"}, 9)
    assert refused is not None
    assert refused["error"]["data"]["hint"] == 'add { server = "files", prompt = "sum" } to [sieve] allow'


async def test_names_of_hidden_resources_hold_no_secret(link: Connect) -> None:
    """What a URI carries in its query is in no event."""
    between = await link(RULES)
    between.ask("resources/list")
    between.answer({"resources": [{"uri": "https://u:hunter2@h/x?token=hunter2"}]})
    refused = between.ask("resources/read", {"uri": "https://u:hunter2@h/x?token=hunter2"}, 2)
    assert refused is not None
    events = [*await between.events("sieve.hidden"), *await between.events("sieve.denied")]
    assert len(events) == 2
    assert "hunter2" not in str([(event.details, event.rule) for event in events])
    assert "hunter2" not in str(refused)


# --- layer 2: refuse ---


@roles
@pytest.mark.parametrize(("method", "params"), HIDDEN)
async def test_what_is_hidden_cannot_be_used(link: Connect, role: Role, method: str, params: dict[str, Any]) -> None:
    """A get, read, subscription or completion of what a list would hide is refused, listed or not, and is an event.

    The host learns why, a remote peer does not (S1.3, S1.4, A39).
    """
    between = await link(RULES, role=role)
    got = between.ask(method, copy.deepcopy(params))
    assert got is not None
    assert between.server.got == []
    data = got["error"]["data"]
    if role == "client":
        assert (got["error"]["code"], data["code"], data["plugin"]) == (-32003, "sieve.denied", "sieve")
        assert data["rule"]
        assert data["hint"]
    else:
        assert got["error"] == {"code": -32003, "message": "refused", "data": {"code": "core.refused"}}
    (event,) = await between.events("sieve.denied")
    assert (event.category, event.action, event.method, event.server) == ("refusal", "blocked", method, "files")
    assert event.rule


@roles
@pytest.mark.parametrize(("method", "params"), SHOWN)
async def test_what_is_shown_can_be_used(link: Connect, role: Role, method: str, params: dict[str, Any]) -> None:
    """What a rule allows reaches the server as it was; nobody is kept from ending a subscription."""
    between = await link(RULES, role=role)
    between.ask(method, copy.deepcopy(params))
    assert [sent["params"] for sent in between.server.got] == [params]


@roles
async def test_news_of_a_hidden_resource_reaches_nobody(link: Connect, role: Role) -> None:
    """``notifications/resources/updated`` is dropped for a hidden URI, with an event, and passes for another."""
    between = await link(RULES, role=role)
    for uri in ("file:///etc/passwd", "file:///srv/notes/../../etc/passwd", "file:///srv/notes/a"):
        note = {"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": {"uri": uri}}
        between._send(note, to_server=False)
    assert [got["params"]["uri"] for got in between.client.got] == ["file:///srv/notes/a"]
    assert len(await between.events("sieve.denied")) == 2


async def test_acknowledged_stream_names_no_hidden_resource(link: Connect) -> None:
    """What a server says that it will tell of is judged as what was asked for."""
    between = await link(RULES)
    params = {"notifications": {"toolsListChanged": True, "resourceSubscriptions": ["file:///srv/notes/a"]}}
    between.ask("subscriptions/listen", {**copy.deepcopy(params), "_meta": META}, 1)
    said = copy.deepcopy(LISTENED) | {"_meta": {"io.modelcontextprotocol/subscriptionId": 1}}
    said["notifications"]["toolsListChanged"] = True  # type: ignore[index]
    note = {"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged", "params": said}
    between._send(note, to_server=False)
    assert between.client.got[-1]["params"]["notifications"] == params["notifications"]
    (event,) = await between.events("sieve.hidden")
    assert event.details == {"names": ["file:///etc/passwd"]}


@roles
async def test_links_show_nothing_that_is_hidden(link: Connect, role: Role) -> None:
    """A link to a hidden resource is gone from results; content that stands in one goes only if a deny rule says so."""
    between = await link(RULES + '[sieve.addresses]\nact = "alert"\n', role=role)
    text = {"type": "text", "text": "file:///etc/passwd"}
    links = [{"type": "resource_link", "uri": uri, "name": "n"} for uri in LISTS["resources/list"][2]]
    inside = [{"type": "resource", "resource": {"uri": uri, "text": "t"}} for uri in ("repo://a", "file:///x/secret")]
    between.call("read_a")
    got = between.answer({"content": [text, *links, *inside], "structuredContent": {"a": 1}})
    assert got["result"] == {"content": [text, links[0], inside[0]], "structuredContent": {"a": 1}}
    between.ask("prompts/get", {"name": "sum"}, 2)
    said = [{"role": "user", "content": one} for one in (text, *links, *inside)]
    got = between.answer({"messages": said}, 2)
    assert [one["content"] for one in got["result"]["messages"]] == [text, links[0], inside[0]]
    between.ask("resources/read", {"uri": "file:///srv/notes/a"}, 3)
    contents = [{"uri": "file:///srv/notes/a", "text": "t"}, {"uri": "file:///srv/notes/secret", "text": "t"}]
    assert between.answer({"contents": contents}, 3)["result"]["contents"] == contents[:1]
    assert [event.count for event in await between.events("sieve.hidden")] == [4, 4, 1]


async def test_links_of_a_task_that_ended_are_links(link: Connect) -> None:
    """What a task brought is judged where it stands, in the answer or inside of it (A41)."""
    between = await link(RULES + '[sieve.addresses]\nact = "alert"\n')
    content = [{"type": "text", "text": "t"}, {"type": "resource_link", "uri": "file:///etc/passwd", "name": "n"}]
    between.ask("tasks/result", {"taskId": "t"}, 1)
    assert between.answer({"content": copy.deepcopy(content)}, 1)["result"]["content"] == content[:1]
    between.ask("tasks/get", {"taskId": "t"}, 2)
    got = between.answer({"status": "completed", "content": [], "result": {"content": copy.deepcopy(content)}}, 2)
    assert got["result"]["result"]["content"] == content[:1]


HIDDEN_LINK = {"type": "resource_link", "uri": "file:///etc/passwd", "name": "n"}
TEXT = {"type": "text", "text": "t"}
ALERT = RULES + '[sieve.addresses]\nact = "alert"\n[sieve.asks]\nsampling = "alert"\n'


def brought(block: dict[str, Any]) -> dict[str, Any]:
    """Return what a tool brought, as a model is told of it."""
    return {"type": "tool_result", "toolUseId": "u", "content": [TEXT, block]}


async def test_links_in_what_a_tool_brought_are_links(link: Connect) -> None:
    """A block for a model that holds a hidden link goes with it, from prompts and from sampling."""
    between = await link(ALERT)
    said = [{"role": "user", "content": one} for one in (brought(TEXT), brought(HIDDEN_LINK), [brought(HIDDEN_LINK)])]
    between.ask("prompts/get", {"name": "sum"}, 1)
    assert between.answer({"messages": copy.deepcopy(said)}, 1)["result"]["messages"] == said[:1]
    params = {"messages": copy.deepcopy(said), "maxTokens": 9}
    between._send({"jsonrpc": "2.0", "id": 7, "method": "sampling/createMessage", "params": params}, to_server=False)
    assert between.client.got[-1]["params"]["messages"] == said[:1]
    between.call("read_a", 2)
    assert between.answer({"content": [TEXT, brought(brought(HIDDEN_LINK))]}, 2)["result"]["content"] == [TEXT]


@pytest.mark.parametrize("depth", [1, 2, 3, 40])
async def test_links_of_a_result_in_a_result_are_links(link: Connect, depth: int) -> None:
    """However deep a server wraps the result of a task, and in news of its status too, no hidden link is in it."""
    between = await link(ALERT)
    wrapped: dict[str, Any] = {"content": [TEXT, HIDDEN_LINK]}
    for _ in range(depth):
        wrapped = {"status": "completed", "result": wrapped}
    between.ask("tasks/get", {"taskId": "t"}, 1)
    assert "passwd" not in orjson.dumps(between.answer(copy.deepcopy(wrapped), 1)).decode()
    note = {"jsonrpc": "2.0", "method": "notifications/tasks/status", "params": {"taskId": "t", **wrapped}}
    between._send(note, to_server=False)
    assert between.client.got[-1]["params"]["taskId"] == "t"
    assert "passwd" not in orjson.dumps(between.client.got[-1]).decode()


async def test_result_without_links_is_left_alone(link: Connect) -> None:
    """A result that shows nothing hidden passes as the very same message."""
    between = await link(RULES)
    between.call("read_a")
    result = {
        "content": [{"type": "text", "text": "t"}, {"type": "image", "data": "", "mimeType": "i"}],
        "isError": False,
    }
    assert between.answer(copy.deepcopy(result))["result"] == result
    assert await between.events("sieve.hidden") == []


@roles
async def test_call_as_a_notification_meets_the_rules_nowhere(link: Connect, role: Role) -> None:
    """No request becomes a way round as a notification: the core drops it, whatever the rules say (A40)."""
    between = await link('[sieve]\ndefault = "allow"', role=role)
    for method, params in [("tools/call", {"name": "read_a"}), *HIDDEN[:3]]:
        assert between.ask(method, params, id=None) is None
    assert between.server.got == between.client.got == []


# --- conditions ---

STAFF = """
[sieve]
allow = [
    "files/public_*",
    { server = "files", tool = "member_*", methods = ["mtls", "jwt"] },
    { server = "files", tool = "staff_*", groups = ["staff"] },
    { server = "files", tool = "admin_*", roles = ["admin"], methods = ["mtls"] },
]
"""
LEVELS = ["public_a", "member_a", "staff_a", "admin_a"]


@pytest.mark.parametrize(
    ("principal", "expected"),
    [
        (Principal(id="anonymous"), 1),
        (Principal(id="ada", method="jwt"), 2),
        (Principal(id="ada", method="jwt", groups=frozenset({"staff"})), 3),
        (Principal(id="ada", method="mtls", groups=frozenset({"staff"}), roles=frozenset({"admin"})), 4),
        (Principal(id="ada", method="jwt", groups=frozenset({"staff"}), roles=frozenset({"admin"})), 3),
    ],
)
async def test_four_levels_are_four_rules(only_sieve: None, principal: Principal, expected: int) -> None:
    """Public, authenticated, authorised and privileged are each a rule on who asks (S0.43)."""
    between = await attached(STAFF, principal=principal)
    assert [
        tool["name"] for tool in between.listed({"tools": [{"name": name} for name in LEVELS]})["result"]["tools"]
    ] == (LEVELS[:expected])
    for id, name in enumerate(LEVELS, 2):
        between.call(name, id)
    reached = [sent["params"]["name"] for sent in between.server.got if sent["method"] == "tools/call"]
    assert reached == LEVELS[:expected]


async def test_one_list_is_remembered_for_each_who_asks(only_sieve: None) -> None:
    """A page that one principal was shown is sifted anew for another, though its bytes are the same (A49)."""
    page = {"tools": [{"name": name} for name in LEVELS]}
    staff = Principal(id="ada", method="jwt", groups=frozenset({"staff"}))
    between = await attached(STAFF, principal=staff)
    assert len(between.listed(copy.deepcopy(page), 1)["result"]["tools"]) == 3
    for id, principal in enumerate((Principal(id="bob", method="jwt"), Principal(id="anonymous"), staff), 2):
        between.session.connection.principal = principal
        got = between.listed(copy.deepcopy(page), id)["result"]["tools"]
        assert len(got) == {"bob": 2, "anonymous": 1, "ada": 3}[principal.id]


async def test_identity_that_a_plugin_narrowed_sees_less(only_sieve: None) -> None:
    """What a plugin takes from an identity is gone for the list that answers, and for a call (S1.7)."""
    staff = Principal(id="ada", method="jwt", groups=frozenset({"staff"}))
    between = await attached(STAFF, Narrowing(), principal=staff)
    got = between.listed({"tools": [{"name": name} for name in LEVELS]})
    assert [tool["name"] for tool in got["result"]["tools"]] == LEVELS[:2]
    refused = between.call("staff_a", 2)
    assert refused is not None
    assert "error" in refused


class Narrowing:
    """Takes all groups from who asks, before the sieve looks."""

    name = "narrowing"
    layer = Layer.ADMIT
    Options = None

    @hookimpl
    def on_receive(self, message: Message, connection: Any) -> Message | None:
        if message.kind != "request":
            return None
        return message.with_principal(message.principal.narrow(groups=frozenset()))


DEFINITION = {"name": "deploy", "description": "d", "inputSchema": {"type": "object"}}
HASH = hashlib.sha256(canon.dumps(DEFINITION)).hexdigest()


@roles
async def test_hash_holds_for_the_list_and_the_call(link: Connect, role: Role) -> None:
    """A tool is shown and callable while its definition has the hash of its rule, once it was listed (S3.37)."""
    toml = f'[sieve]\nallow = [{{ server = "files", tool = "deploy", content_hash = "sha256:{HASH}" }}]'
    between = await link(toml, role=role)
    assert "error" in (between.call("deploy", 1) or {})
    assert between.listed({"tools": [copy.deepcopy(DEFINITION)]}, 2)["result"]["tools"] == [DEFINITION]
    between.call("deploy", 3)
    assert between.server.got[-1]["method"] == "tools/call"
    assert between.listed({"tools": [DEFINITION | {"title": "x"}]}, 4)["result"]["tools"] == []
    assert "error" in (between.call("deploy", 5) or {})
    unlisted, changed = await between.events("sieve.denied")
    assert unlisted.rule == changed.rule


async def test_two_definitions_of_one_name_must_both_be_allowed(link: Connect) -> None:
    """A second entry of a name does not hide behind the hash of the first."""
    toml = f'[sieve]\nallow = [{{ server = "files", tool = "deploy", content_hash = "{HASH}" }}]\n'
    between = await link(toml + '[sieve.names]\ntwins = "alert"\n')
    got = between.listed({"tools": [copy.deepcopy(DEFINITION), DEFINITION | {"title": "x"}]})
    assert got["result"]["tools"] == []


async def test_definition_is_what_the_server_sent(only_sieve: None) -> None:
    """A rule goes by the definition as it came, whatever another plugin made of it meanwhile."""
    toml = f'[sieve]\nallow = [{{ server = "files", tool = "deploy", content_hash = "{HASH}" }}]'
    between = await attached(toml, Retitling(), principal=Principal(id="ada"))
    got = between.listed({"tools": [copy.deepcopy(DEFINITION)]})
    assert got["result"]["tools"] == [DEFINITION | {"description": "d!"}]
    got = between.listed({"tools": [DEFINITION | {"description": "e"}]}, 2)
    assert got["result"]["tools"] == []


class Retitling:
    """Rewrites descriptions and arguments, before the sieve looks where a server answers."""

    name = "retitling"
    layer = Layer.CONTENT
    Options = None

    @hookimpl
    def on_send(self, message: Message, connection: Any) -> Message | None:
        if message.method == "tools/list" and message.result is not None:
            tools = [{**tool, "description": tool["description"] + "!"} for tool in message.result["tools"]]
            return message.with_result({**message.result, "tools": tools})
        if message.kind == "request" and message.method == "tools/call":
            return message.with_params({**message.params, "arguments": {"path": "/etc/passwd"}})
        return None


# --- weak spots ---


async def test_call_is_judged_once_nobody_rewrites_it_any_more(only_sieve: None) -> None:
    """A plugin that rewrites the arguments comes before the judgement, and none may rewrite the name (S1.3)."""
    sink, judged = Events(), Watching()
    guard = Guard.load(Config.from_toml('[sieve]\nallow = ["files/read_*"]'), objects=[Retitling(), judged, sink])
    near, far = Memory(), Memory()
    link = Link(guard, guard.session(await guard.connect("files", "client"), near, far), near, far, sink)
    link.call("read_a")
    assert judged.seen == [{"path": "/etc/passwd"}]
    assert link.server.got[-1]["params"] == {"name": "read_a", "arguments": {"path": "/etc/passwd"}}
    assert "error" in (link.call("write", 2) or {})
    assert len(link.server.got) == 1


class Watching:
    """A judge that keeps the arguments that are judged."""

    name = "watching"
    layer = Layer.POLICY
    Options = None

    def __init__(self) -> None:
        self.seen: list[Any] = []

    @hookimpl
    def on_tool_call(self, call: Any, connection: Any) -> None:
        self.seen.append(call.arguments)


@roles
async def test_plugin_that_renames_a_call_is_refused(only_sieve: None, role: Role) -> None:
    """No plugin turns an allowed name into another after it was judged, or before (S3.38)."""

    class Renaming:
        name = "renaming"
        layer = Layer.CONTENT
        Options = None

        @hookimpl
        def on_send(self, message: Message, connection: Any) -> Message | None:
            return message.with_params({**message.params, "name": "write"}) if message.kind == "request" else None

        on_receive = on_send

    sink = Events()
    guard = Guard.load(Config.from_toml('[sieve]\nallow = ["files/read_*"]'), objects=[Renaming(), sink])
    near, far = Memory(), Memory()
    link = Link(guard, guard.session(await guard.connect("files", role), near, far), near, far, sink)
    assert "error" in (link.call("read_a") or {})
    assert link.server.got == []


@pytest.mark.parametrize(("method", "params"), [("tools/call", {"name": "read_a"}), *SHOWN[:3]])
async def test_decision_that_fails_refuses(
    link: Connect, monkeypatch: pytest.MonkeyPatch, method: str, params: dict[str, Any]
) -> None:
    """An error in the decision refuses what asked for it; nothing passes because nobody could tell (S3.38)."""
    between = await link(RULES)

    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("no table")

    monkeypatch.setattr(Rules, "decide", broken)
    got = between.ask(method, params)
    assert got is not None
    assert got["error"]["data"]["code"] == "core.hook_failed"
    assert between.server.got == []


@pytest.mark.parametrize("method", LISTS)
async def test_list_of_which_nobody_can_tell_is_refused(
    link: Connect, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """An error in the decision refuses the whole list."""
    between = await link(RULES)
    monkeypatch.setattr(Rules, "decide", lambda *_, **__: 1 / 0)
    between.ask(method)
    got = between.answer(entries(method, LISTS[method][2]))
    assert got["error"]["data"]["code"] == "core.hook_failed"


@pytest.mark.parametrize("name", ["unknown", "re\u0430d_a", "Read_a", "read-a", "files/read_a", "files:read_a"])
async def test_unknown_name_is_not_left_to_the_server(link: Connect, name: str) -> None:
    """A name that nobody listed is refused here, with an event; the server is not asked to handle it (S1.11, S3.38)."""
    between = await link(RULES)
    assert "error" in (between.call(name) or {})
    assert between.server.got == []
    refusals = [event for event in between.sink.seen if event.category == "refusal"]
    assert [(event.tool, event.plugin) for event in refusals] == [(name, "sieve")]


async def test_names_with_a_slash_belong_to_one_server(link: Connect) -> None:
    """``org/server`` and its tool ``a/b`` are a pair: no other split of the same text is meant (S3.36, S1.11)."""
    toml = '[sieve]\nallow = [{ server = "org/server", tool = "a/b", prompt = "a/b" }, "org/x"]'
    for server, tool, reaches in (
        ("org/server", "a/b", 1),
        ("org", "server/a/b", 0),
        ("org", "x", 1),
        ("org/x", "y", 0),
    ):
        between = await link(toml, server=server)
        between.call(tool)
        assert len(between.server.got) == reaches
    between = await link(toml, server="org/server")
    between.ask("prompts/get", {"name": "a/b"})
    assert len(between.server.got) == 1


# --- caches ---


@roles
@pytest.mark.parametrize("method", [*LISTS, "resources/read"])
async def test_no_client_may_keep_what_it_was_shown(link: Connect, role: Role, method: str) -> None:
    """Lists and reads leave with ``ttlMs`` 0 and a private scope, however long a server wants them kept (A49)."""
    between = await link(RULES, role=role)
    if method == "resources/read":
        between.ask(method, {"uri": "file:///srv/notes/a"})
        result: dict[str, Any] = {"contents": []}
    else:
        between.ask(method)
        result = entries(method, LISTS[method][2])
    got = between.answer({**result, "ttlMs": 2**53, "cacheScope": "public"})["result"]
    assert (got["ttlMs"], got["cacheScope"]) == (0, "private")


async def test_rule_that_comes_later_hides_at_once(only_sieve: None) -> None:
    """After a reload the same bytes are sifted by the new rules, for lists and for use (S1.8)."""
    between = await attached(RULES, principal=Principal(id="ada"))
    page = entries("prompts/list", ["sum", "sum2"])
    between.ask("prompts/list")
    assert len(between.answer(copy.deepcopy(page))["result"]["prompts"]) == 2
    stricter = RULES.replace('prompt = "*secret*"', 'prompt = "sum2"')
    await between.guard.reload(Config.from_toml(stricter))
    between.ask("prompts/list", id=2)
    assert [one["name"] for one in between.answer(copy.deepcopy(page), 2)["result"]["prompts"]] == ["sum"]
    assert "error" in (between.ask("prompts/get", {"name": "sum2"}, 3) or {})


# --- pages that come again ---


def access(between: Link) -> Access:
    sieve = between.guard.loaded["sieve"].plugin
    assert isinstance(sieve, Sieve)
    mesh = sieve.meshes["access"]
    assert isinstance(mesh, Access)
    return mesh


@roles
async def test_page_that_comes_again_is_decided_once(
    link: Connect, monkeypatch: pytest.MonkeyPatch, role: Role
) -> None:
    """An unchanged page costs no decision, hides the same, and is an event each time."""
    between = await link(RULES, role=role)
    asked: list[str] = []
    real = Rules.decide

    def counted(self: Rules, server: str, kind: Any, name: str, *rest: Any) -> Any:
        asked.append(name)
        return real(self, server, kind, name, *rest)

    monkeypatch.setattr(Rules, "decide", counted)
    for id in (1, 2, 3):
        between.ask("prompts/list", id=id)
        got = between.answer(entries("prompts/list", ["sum", "other"]), id)
        assert got["result"] == entries("prompts/list", ["sum"])
    assert asked == ["sum", "other"]
    assert [event.details["names"] for event in await between.events("sieve.hidden")] == [["other"]] * 3


@pytest.mark.parametrize(("first", "second"), [(1, True), (1, 1.0), (0, False), ("1", 1)])
async def test_page_that_python_takes_for_the_same_is_another(link: Connect, first: Any, second: Any) -> None:
    """A page is known by its bytes: a definition whose ``1`` became ``true`` has another hash, and is hidden."""
    definition = DEFINITION | {"x": first}
    digest = hashlib.sha256(canon.dumps(definition)).hexdigest()
    between = await link(f'[sieve]\nallow = [{{ server = "files", tool = "*", content_hash = "{digest}" }}]')
    assert len(between.listed({"tools": [copy.deepcopy(definition)]}, 1)["result"]["tools"]) == 1
    shown = canon.dumps(definition) == canon.dumps(DEFINITION | {"x": second})
    got = between.listed({"tools": [DEFINITION | {"x": second}]}, 2)["result"]["tools"]
    assert len(got) == int(shown)
    assert orjson.dumps(definition) != orjson.dumps(DEFINITION | {"x": second})


async def test_list_that_something_was_hidden_from_is_known_again(link: Connect) -> None:
    """What the mesh left of a list has one digest each time, another than the list, and none once others rewrote it."""
    between = await link(RULES)
    mesh, connection = access(between), between.session.connection
    data = {"jsonrpc": "2.0", "id": 1, "result": entries("prompts/list", ["sum", "other"])}
    first, again, open_ = (
        Message(kind="result", toward="client", method="prompts/list", data=copy.deepcopy(data)) for _ in range(3)
    )
    left = mesh.look(first, connection)
    assert left is not None
    digest = mesh.digest(left)
    assert digest not in {b"", first.result_digest}
    assert mesh.digest(first) == first.result_digest
    shorter = left.with_result({**(left.result or {}), "prompts": []})
    assert mesh.digest(shorter) == b""
    later = mesh.look(again, connection)
    assert later is not None
    assert mesh.digest(later) == digest
    assert mesh.digest(open_.with_result({"prompts": []})) == b""


async def test_pages_are_bounded(link: Connect) -> None:
    """Pages that never come again fill no memory."""
    between = await link(RULES)
    for id in range(1, 3 * LIMITS.pages):
        between.ask("prompts/list", id=id)
        between.answer(entries("prompts/list", [f"sum{id}"]), id)
    assert len(access(between).pages) == LIMITS.pages


async def test_inner_tools_are_judged_by_the_same_function(link: Connect) -> None:
    """Whoever asks the mesh for a decision gets the one that lists and calls go by."""
    between = await link(RULES)
    mesh, connection, who = access(between), between.session.connection, between.guard.principal
    assert mesh.decide("tool", "read_a", connection, who).allowed
    assert not mesh.decide("tool", "write", connection, who).allowed
    assert not mesh.decide("resource", "file:///etc/passwd", connection, who).allowed


def test_every_method_that_shows_or_uses_is_seen() -> None:
    """The sieve is asked about each method that lists, uses or tells of a thing."""
    expected = {*LISTS, *(method for method, _ in HIDDEN), "notifications/resources/updated", "tools/call"}
    assert expected <= set(Access.methods)
    assert "sieve" in plugins.installed()


def test_page_of_the_rules_means_what_it_says() -> None:
    """The rules of the documentation load, and decide as the page says of them."""
    page = (Path(__file__).parents[3] / "docs" / "access.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"(?ms)^```toml\n(.*?)^```$", page)
    rules = Config.from_toml(text).options("sieve", Options).rules()
    agent = Asker(id="ann", roles=frozenset({"agent"}), all_groups=frozenset({"trainee"}))
    plain, runs = Facts({"annotations": {"readOnlyHint": True}}), Facts({"inputSchema": {"properties": {"cmd": {}}}})
    asked: list[tuple[str, Kind, str, Asker, Facts, bool]] = [
        ("files", "tool", "read_a", NOBODY, plain, True),
        ("files", "tool", "read_a", NOBODY, runs, False),
        ("files", "tool", "execute_shell", NOBODY, plain, False),
        ("files", "prompt", "summary", NOBODY, plain, True),
        ("files", "resource", "file:///srv/notes/a", NOBODY, plain, True),
        ("files", "resource", "file:///srv/notes/private/a", NOBODY, plain, False),
        ("files", "resource", "file:///srv/notes/private%2Fa", NOBODY, plain, False),
        ("tickets", "tool", "list", NOBODY, plain, False),
        ("tickets", "tool", "list", agent, plain, True),
        ("tickets", "tool", "close", agent, Facts({}), False),
        ("deploy", "tool", "release", agent, plain, False),
    ]
    decided = [(*one[:3], rules.decide(*one[:5]).allowed) for one in asked]
    assert decided == [(*one[:3], one[5]) for one in asked]

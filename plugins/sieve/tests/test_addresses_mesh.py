"""Links, names and icons in messages: what is left of them, and what is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import orjson
import pytest

from hauberk import doctor
from hauberk.config import Config
from hauberk.guard import Guard
from hauberk.probe import request
from hauberk.probe import result as answer
from hauberk.testing import guard_from
from hauberk.testing._recorder import Recorder
from hauberk.testing._rig import Port
from hauberk_sieve import Sieve
from hauberk_sieve._limits import LIMITS
from hauberk_sieve._patient import Patient
from hauberk_sieve.addresses import _resolve
from hauberk_sieve.addresses._mesh import Addresses
from hauberk_sieve.addresses._places import GONE

Json = dict[str, Any]

TABLE = '[sieve]\ndefault = "allow"\n'
METADATA = "http://169.254.169.254/latest/meta-data/"
GOOD = "https://example.com/report"


def link(uri: str) -> Json:
    return {"type": "resource_link", "name": "report", "uri": uri}


def embedded(uri: str) -> Json:
    return {"type": "resource", "resource": {"uri": uri, "text": "hello"}}


async def answered(rig: Any, method: str, result: Json, params: Json | None = None) -> Json:
    """Let the client ask and the server answer; return what the client gets."""
    await rig.send(rig.from_client, {"jsonrpc": "2.0", "id": 1, "method": method, "params": params or {}})
    await rig.answer(result)
    got: Json = rig.replies[-1]
    return got


CALL = {"name": "look", "arguments": {}}
TEXT = {"type": "text", "text": METADATA}
GONE_LINK = {"type": "text", "text": "a link was removed: the address is link-local"}
IN_RESULTS = [
    ("tools/call", CALL, {"content": [TEXT, link(METADATA)]}, {"content": [TEXT, GONE_LINK]}),
    ("tools/call", CALL, {"content": [embedded(METADATA)]}, {"content": [embedded(GONE)]}),
    ("tools/call", CALL, {"content": [{"type": "odd", "uri": METADATA}]}, {"content": [GONE_LINK]}),
    (
        "tools/call",
        CALL,
        {
            "content": [
                {**link(GOOD), "icons": [{"src": "http://example.com/a.png"}, {"src": "https://example.com/a.png"}]}
            ]
        },
        {"content": [{**link(GOOD), "icons": [{"src": "https://example.com/a.png"}]}]},
    ),
    (
        "prompts/get",
        {"name": "p"},
        {"messages": [{"role": "user", "content": link(METADATA)}, {"role": "user", "content": TEXT}]},
        {"messages": [{"role": "user", "content": GONE_LINK}, {"role": "user", "content": TEXT}]},
    ),
    (
        "resources/read",
        {"uri": "demo://a"},
        {"contents": [{"uri": METADATA, "text": "a"}, {"uri": "demo://a", "text": "b"}]},
        {"contents": [{"uri": GONE, "text": "a"}, {"uri": "demo://a", "text": "b"}]},
    ),
    (
        "resources/list",
        {},
        {"resources": [{"name": "a", "uri": "javascript:alert(1)"}, {"name": "b", "uri": "file:///b"}]},
        {"resources": [{"name": "b", "uri": "file:///b"}]},
    ),
    (
        "resources/templates/list",
        {},
        {
            "resourceTemplates": [
                {"name": "a", "uriTemplate": "http://10.0.0.1/{x}"},
                {"name": "b", "uriTemplate": "m:{x}"},
            ]
        },
        {"resourceTemplates": [{"name": "b", "uriTemplate": "m:{x}"}]},
    ),
    (
        "tools/list",
        {},
        {"tools": [{"name": "a", "icons": [{"src": "file:///etc/passwd"}]}, {"name": "b"}]},
        {"tools": [{"name": "a", "icons": []}, {"name": "b"}]},
    ),
    (
        "initialize",
        {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "agent", "version": "1"}},
        {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": "s", "websiteUrl": "smb://a.b/c"}},
        {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": "s"}},
    ),
    (
        "tasks/get",
        {"taskId": "t"},
        {"taskId": "t", "status": "completed", "result": {"content": [link(METADATA)]}},
        {"taskId": "t", "status": "completed", "result": {"content": [GONE_LINK]}},
    ),
]


@pytest.mark.parametrize(("method", "params", "result", "left"), IN_RESULTS)
async def test_what_leads_astray_is_taken_out(method: str, params: Json, result: Json, left: Json) -> None:
    """A URI that leads where none may is gone from an answer, which else stays as it is (A61, A41, S1.39)."""
    async with guard_from(TABLE) as rig:
        assert (await answered(rig, method, result, params))["result"] == left
        (event,) = [event for event in rig.recorder.events if event.code == "sieve.link_removed"]
    assert (event.action, event.severity, event.count) == ("blocked", "warning", 1)
    assert "latest" not in str(event)


@pytest.mark.parametrize(("method", "params", "result", "left"), IN_RESULTS)
async def test_answer_is_refused_where_the_table_says_so(method: str, params: Json, result: Json, left: Json) -> None:
    """With act = "deny" the whole answer is refused (A61)."""
    assert result != left
    async with guard_from(f'{TABLE}[sieve.addresses]\nact = "deny"') as rig:
        assert (await answered(rig, method, result, params))["error"]["data"]["code"] == "sieve.address"


@pytest.mark.parametrize(("method", "params", "result", "left"), IN_RESULTS)
async def test_alert_tells_of_links_and_lets_them_pass(method: str, params: Json, result: Json, left: Json) -> None:
    """With act = "alert" everything passes as it came, and there is an event."""
    assert result != left
    async with guard_from(f'{TABLE}[sieve.addresses]\nact = "alert"') as rig:
        assert (await answered(rig, method, result, params))["result"] == result
        (event,) = [event for event in rig.recorder.events if event.code == "sieve.link_removed"]
    assert event.action == "logged"


async def test_without_a_table_links_are_told_of(only_sieve: None) -> None:
    """Without any table a link, and a read, pass as they came, and are told of (A61)."""
    events = Recorder()
    guard = Guard.load(Config.from_toml(""), objects=[events])
    connection = await guard.connect("files", "client")
    near, far = Port(), Port()
    session = guard.session(connection, near, far)
    for message, way in (
        (request("tools/call", CALL, id=1), session.out),
        (answer({"content": [link(METADATA)]}, id=1), session.inn),
        (request("resources/read", {"uri": METADATA}, id=2), session.out),
    ):
        session.receive(way, orjson.dumps(message))
    assert near.got[0]["result"]["content"] == [link(METADATA)]
    assert far.got[1]["params"] == {"uri": METADATA}
    await guard.close()
    assert [event.action for event in events.events if event.code == "sieve.link_removed"] == ["logged", "logged"]


@pytest.mark.parametrize("method", ["resources/read", "resources/subscribe"])
async def test_server_is_not_asked_to_fetch_what_none_may(method: str) -> None:
    """A read that a server may fetch from a machine's own services never reaches it (A61, S1.39)."""
    async with guard_from(TABLE) as rig:
        await rig.request(method, {"uri": METADATA})
        rig.assert_refused("sieve.address")
        assert rig.error()["data"]["rule"] == "the address is link-local"
        assert rig.reached == []
        await rig.request(method, {"uri": "file:///home/x/notes.txt"})
        assert len(rig.reached) == 1


@pytest.mark.parametrize("odd", [["text"], {"text": 1}, None, 7])
async def test_content_of_an_odd_type_is_looked_at(odd: Any) -> None:
    """What is of no type that there is may be a link all the same (A61)."""
    async with guard_from(TABLE) as rig:
        got = await answered(rig, "tools/call", {"content": [{"type": odd, "uri": METADATA}, 7]}, CALL)
        assert got["result"]["content"] == [GONE_LINK, 7]


async def test_link_in_front_of_a_server_is_taken_out() -> None:
    """A guard in front of a server takes out the same links (A61)."""
    async with guard_from(TABLE, role="server") as rig:
        got = await answered(rig, "tools/call", {"content": [link(METADATA)]}, CALL)
        assert got["result"]["content"] == [GONE_LINK]


async def test_sampled_content_is_looked_at() -> None:
    """A link in what a server has the host's model read is taken out as well (A61)."""
    table = f'{TABLE}[sieve.asks]\nsampling = "allow"\ntools = true'
    result = {"type": "tool_result", "toolUseId": "1", "content": [link(METADATA)]}
    messages = [{"role": "user", "content": [result]}]
    async with guard_from(table) as rig:
        await rig.send(
            rig.from_server,
            {
                "jsonrpc": "2.0",
                "id": 7,
                "method": "sampling/createMessage",
                "params": {"messages": messages, "maxTokens": 1},
            },
        )
        assert rig.replies[-1]["params"]["messages"][0]["content"][0]["content"] == [GONE_LINK]


async def test_more_specific_origins_take_the_place_of_the_general_ones() -> None:
    """An origin that one server may lead to is for that server alone, wherever it is (A61)."""
    toml = f'{TABLE}[server.web.sieve.addresses]\norigins = ["http://localhost:3000"]'
    for name, passes in (("web", True), ("files", False)):
        async with guard_from(toml, name=name) as rig:
            got = await answered(rig, "tools/call", {"content": [link("http://localhost:3000/preview")]}, CALL)
            assert (got["result"]["content"][0]["type"] == "resource_link") is passes


async def test_link_to_a_file_stays_in_its_folder() -> None:
    """A link to a file passes under a listed folder only; a resource that the server itself serves passes (A61)."""
    async with guard_from(f'{TABLE}[sieve.addresses]\nfiles = ["/srv/notes"]') as rig:
        items = [link("file:///srv/notes/a"), link("file:///etc/passwd"), embedded("file:///etc/motd")]
        got = (await answered(rig, "tools/call", {"content": items}, CALL))["result"]["content"]
        assert [item["type"] for item in got] == ["resource_link", "text", "resource"]
        assert got[2] == items[2]


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ('origins = ["https://example.com/x"]', "origins[0]"),
        ('origins = ["https://a.com", "file:///x"]', "origins[1]"),
        ('deny_schemes = ["Memo:"]', "deny_schemes"),
        ('act = "drop"', "act"),
        ("resolve_seconds = 0", "resolve_seconds"),
        ('schemes = ["https"]', "schemes"),
    ],
)
async def test_table_of_nonsense_stops_the_start(line: str, what: str) -> None:
    """What the table cannot mean is an error that names the key."""
    with pytest.raises(Exception, match="sieve") as raised:
        async with guard_from(f"[sieve.addresses]\n{line}"):
            pass
    assert what in str(raised.value)


# --- looking names up ---

RESOLVE = f"{TABLE}[sieve.addresses]\nresolve = true\nresolve_seconds = 30\n[core.bounds]\ndeadline = 60\n"


class Names:
    """A resolver in memory."""

    def __init__(self, **addresses: Sequence[str]) -> None:
        self.addresses = {name.replace("_", "."): found for name, found in addresses.items()}
        self.asked: list[str] = []

    async def __call__(self, name: str) -> Sequence[str]:
        self.asked.append(name)
        if name not in self.addresses:
            raise OSError
        return self.addresses[name]


def mesh(rig: Any) -> Addresses:
    found: Addresses = rig.guard.loaded["sieve"].plugin.meshes["addresses"]
    return found


@pytest.mark.parametrize(
    ("addresses", "left"),
    [
        (["93.184.216.34", "2606:4700::1"], None),
        (["127.0.0.1"], "the name leads to an address that is loopback"),
        (["93.184.216.34", "169.254.169.254"], "the name leads to an address that is link-local"),
        (["fe80::1%eth0"], "the name leads to an address that is link-local"),
        (["::ffff:8.8.8.8"], "the name leads to an address that is an IPv4 address in IPv6"),
        ([], "the name could not be looked up"),
    ],
)
async def test_every_address_of_a_name_must_pass(addresses: list[str], left: str | None) -> None:
    """A name leads to all of its addresses, as they are at the time of use; one that may not be is enough (A61)."""
    async with guard_from(RESOLVE) as rig:
        mesh(rig).lookup = Names(rebind_example_com=addresses)
        got = await answered(rig, "tools/call", {"content": [link("https://rebind.example.com/x")]}, CALL)
        (item,) = got["result"]["content"]
        assert item == (
            link("https://rebind.example.com/x") if left is None else {**TEXT, "text": f"a link was removed: {left}"}
        )
        (event,) = [event for event in rig.recorder.events if event.code == "sieve.resolved"]
        assert event.details["addresses"] == {"rebind.example.com": addresses}


async def test_read_of_a_name_that_leads_inside_is_refused() -> None:
    """A read, too, goes by the address of the name (A61, S1.39)."""
    async with guard_from(RESOLVE) as rig:
        mesh(rig).lookup = Names(a_example_com=["10.0.0.1"], b_example_com=["8.8.8.8"])
        await rig.request("resources/read", {"uri": "https://a.example.com/"})
        rig.assert_refused("sieve.address")
        assert rig.reached == []
        await rig.request("resources/read", {"uri": "https://b.example.com/"})
        assert len(rig.reached) == 1


async def test_reads_that_lead_inside_are_counted_as_probing() -> None:
    """Who asks again and again for names that lead inside is noticed, as with any refusal (S1.5)."""
    async with guard_from(f"{RESOLVE}[sieve.probing]\nrefusals = 3") as rig:
        mesh(rig).lookup = Names(a_example_com=["10.0.0.1"])
        for _ in range(3):
            await rig.request("resources/read", {"uri": "https://a.example.com/"})
        assert rig.recorder.codes.count("sieve.probing") == 1


async def test_elicitation_goes_by_the_address_of_its_origin() -> None:
    """An elicitation to a listed origin is refused where its name leads inside (A59, A61)."""
    table = f'{RESOLVE}[sieve.asks]\norigins = ["https://a.example.com"]'
    async with guard_from(table) as rig:
        mesh(rig).lookup = Names(a_example_com=["127.0.0.1"])
        params = {"mode": "url", "message": "sign in", "url": "https://a.example.com/x", "elicitationId": "1"}
        await rig.send(rig.from_server, {"jsonrpc": "2.0", "id": 7, "method": "elicitation/create", "params": params})
        assert "error" in rig.reached[-1]
        assert rig.replies == []


async def test_listed_origin_and_word_of_the_server_are_not_looked_up() -> None:
    """What no name leads to, and what the operator listed, is nobody's to look up."""
    toml = RESOLVE.replace("resolve = true", 'resolve = true\norigins = ["https://in.corp"]')
    async with guard_from(toml) as rig:
        names = mesh(rig).lookup = Names()
        items = [
            link("https://in.corp/x"),
            link("memo://x"),
            link("https://8.8.8.8/"),
            embedded("https://example.com/"),
        ]
        assert (await answered(rig, "tools/call", {"content": items}, CALL))["result"]["content"] == items
        assert names.asked == []


async def test_name_is_looked_up_once_and_not_too_many_are() -> None:
    """Each name of a message is looked up once, and those over the bound are refused (A61)."""
    async with guard_from(RESOLVE) as rig:
        all_names = {f"h{place}_example_com": ["8.8.8.8"] for place in range(LIMITS.hosts + 1)}
        names = mesh(rig).lookup = Names(**all_names)
        items = [link(f"https://h{place}.example.com/") for place in [*range(LIMITS.hosts + 1), 0]]
        got = (await answered(rig, "tools/call", {"content": items}, CALL))["result"]["content"]
        assert len(names.asked) == LIMITS.hosts
        assert [item["type"] for item in got].count("resource_link") == LIMITS.hosts + 1
        assert "too many names to look up" in got[LIMITS.hosts]["text"]


async def test_name_that_takes_too_long_is_refused() -> None:
    """A name whose address does not come in time leads nowhere, and its look-up is ended (A61)."""
    ended = asyncio.Event()

    async def slow(name: str) -> Sequence[str]:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return [name]

    found = await _resolve.looked_up(["a.example.com"], slow, 0.01)
    assert _resolve.fault("a.example.com", found) == "the name could not be looked up"
    async with asyncio.timeout(30):
        await ended.wait()


async def test_system_looks_names_up() -> None:
    """The resolver of a guard is the system's."""
    assert "127.0.0.1" in await _resolve.system("127.0.0.1")


async def test_sieve_waits_for_no_address_unless_it_is_told_to() -> None:
    """The chains are plain where no server's table has names looked up, and wait where one has."""
    for toml, kind in (
        (TABLE, Sieve),
        (f"{TABLE}[server.web.sieve.addresses]\nresolve = true", Patient),
        (RESOLVE, Patient),
    ):
        async with guard_from(toml) as rig:
            assert type(rig.guard.loaded["sieve"].plugin) is kind
            assert rig.guard.chains.route("tools/call", "client").inward.plain is (kind is Sieve)


async def test_server_whose_table_does_not_say_so_is_not_looked_up() -> None:
    """One server's names are looked up, another's are not."""
    toml = f"{TABLE}[server.web.sieve.addresses]\nresolve = true"
    async with guard_from(toml) as rig:
        names = mesh(rig).lookup = Names()
        got = await answered(rig, "tools/call", {"content": [link("https://a.example.com/")]}, CALL)
        assert got["result"]["content"][0]["type"] == "resource_link"
        assert names.asked == []


# --- probes, and the price ---


@pytest.mark.parametrize("act", ["redact", "deny"])
async def test_mesh_that_looks_at_nothing_is_found(act: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The probe passes with the mesh, and tells when it is gone (X.1)."""
    name = "sieve.removes_link" if act == "redact" else "sieve.refuses_link"
    for works in (True, False):
        if not works:
            monkeypatch.setattr(Addresses, "look", lambda self, message, connection: None)
        async with guard_from(f'{TABLE}[sieve.addresses]\nact = "{act}"') as rig:
            report = await doctor.examine(rig.guard, rig.guard.policy)
            states = {one.name: one.state for one in report.findings}
        assert (states[name] == "ok") is works

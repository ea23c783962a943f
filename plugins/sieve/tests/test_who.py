"""People on a real guard: who is not active is refused everywhere, at once, and whoever it is."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hauberk import doctor
from hauberk.methods import METHODS
from hauberk.principal import ANONYMOUS, Principal
from hauberk.refusals import ConfigError
from hauberk.testing import Clock
from hauberk_sieve import who
from hauberk_sieve.who import Standing, Who

BOB = Principal(id="bob", kind="user", method="jwt")
BASE = '[sieve]\ndefault = "allow"\n'
TOOLS = {"tools": [{"name": "read", "inputSchema": {"type": "object"}}], "nextCursor": "2"}
PASSING = {"initialize", "ping", "server/discover", "notifications/initialized", "notifications/cancelled"}
LISTS = {
    "tools/list": "tools",
    "prompts/list": "prompts",
    "resources/list": "resources",
    "resources/templates/list": "resourceTemplates",
}
PARAMS: dict[str, dict[str, Any]] = {
    "tools/call": {"name": "read", "arguments": {}},
    "prompts/get": {"name": "p"},
    "resources/read": {"uri": "file:///x"},
    "resources/subscribe": {"uri": "file:///x"},
    "resources/unsubscribe": {"uri": "file:///x"},
    "completion/complete": {"ref": {"type": "ref/prompt", "name": "p"}, "argument": {"name": "a", "value": "v"}},
    "logging/setLevel": {"level": "info"},
    "subscriptions/listen": {"notifications": {}},
    "notifications/progress": {"progressToken": "t", "progress": 1},
    "tasks/get": {"taskId": "t"},
    "tasks/cancel": {"taskId": "t"},
    "tasks/result": {"taskId": "t"},
    "tasks/update": {"taskId": "t", "inputResponses": {}},
    "notifications/tasks/status": {"taskId": "t", "status": "working"},
}


class People:
    """A file of people that a test writes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.put("")

    def put(self, text: str) -> None:
        new = self.path.with_suffix(".new")
        new.write_text(text)
        new.chmod(0o600)
        new.replace(self.path)

    def set(self, status: str, id: str = "bob", more: str = "") -> None:
        self.put(f'[person."{id}"]\nstatus = "{status}"\n{more}')

    @property
    def toml(self) -> str:
        return f'{BASE}[sieve.people]\nfile = "{self.path}"\n'


@pytest.fixture
def people(tmp_path: Path) -> People:
    """Return a file of people in which nobody stands yet."""
    return People(tmp_path / "people.toml")


@pytest.fixture
def served(link: Any, people: People) -> Callable[..., Any]:
    """Return a function that connects Bob to a server that a guard stands in front of."""

    async def connect(more: str = "", principal: Principal = BOB) -> Any:
        linked = await link(people.toml + more, role="server")
        linked.session.connection.principal = principal
        return linked

    return connect


def code(answer: Any) -> str:
    return str(answer["error"]["data"]["code"])


def client_requests() -> Iterator[str]:
    for name, method in METHODS.items():
        if method.sender in ("client", "both") and method.kind == "request":
            yield name


async def test_active_person_is_let_through(people: People, served: Any) -> None:
    """Who is active, and who is new, is refused nothing by the file."""
    for status in ("active", None):
        people.put("" if status is None else '[person.bob]\nstatus = "active"')
        link = await served()
        assert link.call("read")["method"] == "tools/call"
        assert link.listed(TOOLS, id=2)["result"]["tools"] == TOOLS["tools"]


@pytest.mark.parametrize("method", sorted(set(client_requests()) - PASSING - set(LISTS)))
async def test_suspended_person_is_refused_whatever_it_asks(people: People, served: Any, method: str) -> None:
    """Each request of somebody who is suspended is refused, of whatever method but the connection's own (S1.7)."""
    people.set("suspended")
    link = await served()
    answer = link.ask(method, PARAMS.get(method, {}))
    assert code(answer) == "core.refused", answer
    assert link.server.got == []
    (event,) = await link.events("sieve.suspended")
    assert (event.principal, event.method, event.action) == ("bob", method, "blocked")


async def test_method_of_the_configuration_is_refused_too(people: People, served: Any) -> None:
    """A method that only the configuration knows is refused to somebody who is suspended like any other."""
    people.set("suspended")
    extra = '[[core.methods]]\nname = "x/own"\nsender = "client"\nkind = "request"\n'
    link = await served(extra)
    assert code(link.ask("x/own", {})) == "core.refused"
    people.set("active")
    assert link.ask("x/own", {}, id=2)["method"] == "x/own"


@pytest.mark.parametrize(("method", "key"), LISTS.items())
async def test_list_of_a_suspended_person_is_empty(people: People, served: Any, method: str, key: str) -> None:
    """Somebody who is suspended sees an empty list that has no further page (S1.7)."""
    people.set("suspended")
    link = await served()
    assert link.ask(method)["method"] == method
    result = link.answer({key: [{"name": "read", "uri": "u:x", "uriTemplate": "u:{x}"}], "nextCursor": "2"})["result"]
    assert result[key] == []
    assert "nextCursor" not in result
    (event,) = await link.events("sieve.emptied")
    assert event.rule == "people: suspended"


@pytest.mark.parametrize("method", ["ping", "server/discover"])
async def test_connection_itself_works(people: People, served: Any, method: str) -> None:
    """The handshake of somebody who is suspended passes: the refusal comes with the first thing that it asks."""
    people.set("suspended")
    link = await served()
    meta = {"io.modelcontextprotocol/protocolVersion": "2026-07-28"} if method == "server/discover" else {}
    assert link.ask(method, {"_meta": meta} if meta else {})["method"] == method


async def test_suspension_holds_at_once(people: People, served: Any) -> None:
    """A person is refused from the very next message on, and let in again likewise, without a reload (S1.7, S1.8)."""
    link = await served()
    for number, status in enumerate(["active", "suspended", "active", "disabled", "active"]):
        people.set(status)
        answer = link.call("read", id=number)
        assert ("method" in answer) == (status == "active"), status


async def test_what_was_on_its_way_is_refused(people: People, served: Any) -> None:
    """An answer does not reach somebody who was suspended after asking (S1.7)."""
    link = await served()
    link.call("read")
    people.set("suspended")
    assert code(link.answer({"content": [{"type": "text", "text": "the secret"}]})) == "core.refused"
    assert "the secret" not in str(link.client.got)


async def test_server_reaches_nobody_who_is_suspended(people: People, served: Any) -> None:
    """What a server asks or tells somebody who is suspended does not reach them."""
    people.set("suspended")
    link = await served()
    link._send(
        {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "x"}}, to_server=False
    )
    link._send({"jsonrpc": "2.0", "id": 9, "method": "roots/list"}, to_server=False)
    assert link.client.got == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('status = "suspended"', "sieve.suspended"),
        ("subscribed = false", "sieve.not_subscribed"),
        ('status = "disabled"', "sieve.user_disabled"),
    ],
)
async def test_host_learns_why(link: Any, people: People, text: str, expected: str) -> None:
    """The host that the guard works for gets the reason, and the page that helps (S1.3)."""
    people.put(f'[person."host:default"]\n{text}')
    linked = await link(people.toml + 'help_url = "https://example.org/{reason}"\n')
    answer = linked.call("read")
    assert code(answer) == expected
    assert answer["error"]["data"]["hint"] == f"see https://example.org/{expected.removeprefix('sieve.')}"


@pytest.mark.parametrize("role", ["superuser", "admin", "root", "owner", "*"])
async def test_no_role_passes_the_gate(people: People, served: Any, role: str) -> None:
    """Whoever is suspended is refused with any role, and audited alike (S1.7)."""
    people.set("suspended", more=f'roles = ["{role}"]')
    link = await served(principal=Principal(id="bob", kind="user", roles=frozenset({role}), method="jwt"))
    assert code(link.call("read")) == "core.refused"
    people.set("active", more=f'roles = ["{role}"]')
    linked = await served('[server.files.sieve]\ndeny = ["files/read"]\n')
    assert code(linked.call("read")) == "core.refused"
    assert len(await link.events("sieve.suspended")) == 1
    assert len(await linked.events("sieve.denied")) == 1


def test_no_role_has_a_name_in_the_code() -> None:
    """No line of the sieve that decides names a role: a role means what the operator's rules say of it (S1.7, S1.9)."""
    source = Path(str(who.__file__)).parent.parent
    names = re.compile(r"""["'](superuser|super_?admin|admin|administrator|root|owner|trial)["']""")
    found = [path.name for path in source.rglob("*.py") if names.search(path.read_text())]
    assert found == []


async def test_nobody_stays_active_while_the_file_is_gone(people: People, link: Any) -> None:
    """With the file gone what was read holds for its time, then everybody is refused until it is back (S1.8)."""
    clock = Clock()
    linked = await link(people.toml, role="server")
    linked.session.connection.principal = BOB
    mesh = linked.guard.loaded["sieve"].plugin.meshes["who"]
    for watch in mesh._watches.values():
        watch._clock = clock
        watch.open()
    people.path.unlink()
    assert linked.call("read")["method"] == "tools/call"
    clock.turn(299)
    assert linked.call("read", id=2)["method"] == "tools/call"
    clock.turn(1)
    assert code(linked.call("read", id=3)) == "core.refused"
    people.put("")
    assert linked.call("read", id=4)["method"] == "tools/call"
    for name in ("unreadable", "expired", "readable"):
        assert len(await linked.events(f"sieve.people_{name}")) == 1
    assert len(await linked.events("sieve.people_stale")) == 1


async def test_each_version_of_the_file_is_recorded(people: People, served: Any) -> None:
    """Each change of the file leaves its hash, and the hash before it."""
    link = await served()
    people.set("active")
    link.call("read")
    first, second = await link.events("sieve.people_loaded")
    assert second.details == {"version": second.details["version"], "people": 1, "before": first.details["version"]}


HELLO = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}}
WELCOME = {
    "protocolVersion": "2025-11-25",
    "capabilities": {"tools": {}, "prompts": {}},
    "serverInfo": {"name": "s", "version": "1"},
}


async def test_clients_are_told_that_their_lists_are_others(people: People, served: Any) -> None:
    """When the file changes, each client that has lists is told that they may be others (S1.2)."""
    link = await served()
    link.ask("initialize", HELLO)
    link.answer(WELCOME)
    link.call("read", id=2)
    people.set("active")
    link.call("read", id=3)
    mesh = link.guard.loaded["sieve"].plugin.meshes["who"]
    await mesh.close()
    told = [data["method"] for data in link.client.got if "method" in data]
    assert told == ["notifications/tools/list_changed", "notifications/prompts/list_changed"]
    link.call("read", id=4)
    assert mesh._telling == set()


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda path: path.unlink(), "cannot open"),
        (lambda path: path.chmod(0o666), "lets others change it"),
        (lambda path: path.write_text("[person.bob"), "at end of document"),
        (lambda path: path.write_text('[person.bob]\nstatus = "gone"'), "person 'bob'"),
        (lambda path: (path.rename(path.with_suffix(".x")), path.symlink_to(path.with_suffix(".x"))), "symbolic link"),
        (lambda path: path.write_bytes(b"#" * (1024 * 1024 + 1)), "larger than"),
    ],
)
async def test_file_that_cannot_be_used_stops_the_start(
    people: People, load: Any, harm: Callable[[Path], None], words: str
) -> None:
    """A file of people that is missing, open to others, no file, too large or malformed stops the start."""
    harm(people.path)
    guard = load(people.toml)
    with pytest.raises(Exception, match=words):
        await guard.open()


def test_table_without_a_file_is_an_error(load: Any) -> None:
    """A table of people that names no file is an error, and no table in which everybody is new."""
    with pytest.raises(ConfigError, match="file"):
        load(BASE + '[sieve.people]\ndefault_role = "trial"\n')


async def test_server_may_have_people_of_its_own(people: People, link: Any, tmp_path: Path) -> None:
    """A table of one server names other people, and holds for that server alone."""
    other = People(tmp_path / "other.toml")
    other.set("suspended")
    text = people.toml + f'[server.mail.sieve.people]\nfile = "{other.path}"\n'
    for server, refused in (("files", False), ("mail", True)):
        linked = await link(text, server, role="server")
        linked.session.connection.principal = BOB
        assert ("error" in linked.call("read")) == refused


async def test_people_of_one_server_alone_are_looked_at(people: People, link: Any) -> None:
    """People that only the table of one server names are refused there too."""
    people.set("suspended")
    text = f'{BASE}[server.mail.sieve.people]\nfile = "{people.path}"\n'
    for server, refused in (("files", False), ("mail", True)):
        linked = await link(text, server, role="server")
        linked.session.connection.principal = BOB
        assert ("error" in linked.call("read")) == refused


async def test_anonymous_can_be_shut_out(people: People, served: Any) -> None:
    """Peers that proved nothing are one person, `anonymous`, whom the file can switch off (S0.43)."""
    people.set("disabled", id="anonymous")
    assert code((await served(principal=ANONYMOUS)).call("read")) == "core.refused"
    assert (await served()).call("read")["method"] == "tools/call"


def test_standing_without_people_is_what_the_channel_proved(load: Any) -> None:
    """Without a table of people a principal stands as the channel proved it, and nothing is looked up."""
    mesh = load(BASE).loaded["sieve"].plugin.meshes["who"]
    assert isinstance(mesh, Who)
    assert not mesh.everything
    groups, roles = frozenset({"g"}), frozenset({"r"})
    principal = Principal(id="ann", groups=groups, roles=roles)
    assert mesh.standing(principal, "files") == Standing("ann", groups, roles, groups, roles)


async def test_doctor_sees_a_suspension_work(people: People, load: Any) -> None:
    """The doctor's call in the name of somebody suspended is refused, and it sees that the file can be read."""
    report = await doctor.run(load(people.toml))
    states = {one.name: one.state for one in report.findings if one.plugin == "sieve"}
    assert states["sieve.refuses_suspended_person"] == "ok"
    assert states["sieve.knows_people"] == "ok"


async def test_doctor_sees_that_nobody_is_looked_at(people: People, load: Any, monkeypatch: Any) -> None:
    """The doctor finds out when the mesh of people judges no call any more."""
    monkeypatch.setattr(Who, "judge", lambda *_: None)
    report = await doctor.run(load(people.toml))
    (found,) = [one for one in report.findings if one.name == "sieve.refuses_suspended_person"]
    assert found.state == "not_stopped"


async def test_doctor_sees_that_the_file_has_gone(people: People, load: Any, monkeypatch: Any) -> None:
    """The doctor finds out when the file cannot be read any more."""
    guard = load(people.toml)
    await guard.open()
    people.path.unlink()
    report = await doctor.examine(guard, guard.policy)
    (found,) = [one for one in report.findings if one.name == "sieve.knows_people"]
    assert found.state == "faulty"
    await guard.close()

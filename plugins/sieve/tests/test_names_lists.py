"""A name that is taken for another one is hidden and refused, or told of, on whichever page and server it stands."""

# ruff: noqa: RUF001 - characters that are confused on purpose

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hauberk import doctor, files
from hauberk.config import Config
from hauberk.connection import Role
from hauberk.event import Event
from hauberk.guard import Guard
from hauberk_sieve._limits import LIMITS
from hauberk_sieve.names import Spelled, _lists
from hauberk_sieve.names import _mesh as mesh
from hauberk_sieve.names._lists import Checks, Listing, by_name
from hauberk_sieve.names._options import Names
from hauberk_sieve.names._others import Others, Ranks
from hauberk_sieve.names._trusted import Trusted

if TYPE_CHECKING:
    from plugins.sieve.tests.conftest import Connect, Link

OPEN = '[sieve]\ndefault = "allow"\n'
STRICT = f'{OPEN}[sieve.names]\nshadows = "deny"\nlookalikes = "deny"\n'
FREE = f'{OPEN}[sieve.names]\nspelling = "alert"\ntwins = "alert"\n'
TOLD = ("sieve.names", "sieve.shadowed", "sieve.impersonated")
roles = pytest.mark.parametrize("role", ["client", "server"])
kinds = pytest.mark.parametrize("kind", ["tools", "prompts"])


def page(kind: str, *names: str, **rest: Any) -> dict[str, Any]:
    return {kind: [{"name": name} for name in names], **rest}


def shown(between: Link, kind: str, *names: str, id: int = 1, **rest: Any) -> list[str]:
    """Let the server list these names; return those that reach the client."""
    between.ask(f"{kind}/list", id=id)
    return [entry["name"] for entry in between.answer(page(kind, *names, **rest), id)["result"][kind]]


def use(between: Link, kind: str, name: str, id: int = 9) -> str:
    """Use a tool or a prompt; return the code of the refusal, if it is one."""
    got = between.call(name, id) if kind == "tools" else between.ask("prompts/get", {"name": name}, id)
    assert got is not None
    return str(got["error"]["data"]["code"]) if "error" in got else ""


async def told(between: Link) -> list[Event]:
    await between.guard.close()
    return [event for event in between.sink.seen if event.code in TOLD]


# --- by the name alone ---


@kinds
@pytest.mark.parametrize("name", ["read\u200b", "rеad", "mcp__github__merge", "x" * 129])
async def test_misspelled_name_is_hidden_and_refused(link: Connect, kind: str, name: str) -> None:
    """What is not what it is read as is gone from a list, and refused whether it was listed or not (A43, S3.36)."""
    between = await link(OPEN)
    assert use(between, kind, name, 1) == "sieve.name"
    assert shown(between, kind, "read", name, id=2) == ["read"]
    assert use(between, kind, name) == "sieve.name"
    assert use(between, kind, "read", 10) == ""
    (event,) = await told(between)
    assert (event.code, event.action, event.severity, event.count) == ("sieve.names", "blocked", "warning", 1)
    assert len(event.details["rules"]) == 1


@roles
async def test_misspelled_name_is_refused_in_both_roles(link: Connect, role: Role) -> None:
    """Beside a host and in front of a server a name that hides something is refused."""
    between = await link(OPEN, role=role)
    assert shown(between, "tools", "read\u202e", "read") == ["read"]
    got = between.call("read\u202e", 2)
    assert got is not None
    assert "error" in got


async def test_without_a_table_names_are_told_of_only(link: Connect) -> None:
    """Without any table everything passes, and each list and call that misleads is an event."""
    between = await link("")
    assert shown(between, "tools", "read", "Read", "rеad") == ["read", "Read", "rеad"]
    assert use(between, "tools", "rеad") == ""
    events = await told(between)
    assert [(event.action, event.details["names"]) for event in events] == [
        ("logged", ["rеad"]),
        ("logged", ["Read", "read", "rеad"]),
        ("logged", ["rеad"]),
    ]


async def test_exact_rule_settles_what_can_be_read(link: Connect) -> None:
    """An operator who writes out a name that reads as it is has it; one with hidden characters stays refused."""
    between = await link('[sieve]\nallow = ["files/mcp__read", "files/*"]')
    assert use(between, "tools", "mcp__read") == ""
    assert use(between, "tools", "mcp__write", 10) == "sieve.name"
    assert use(between, "tools", "read\u200b", 11) == "sieve.name"


async def test_mode_audit_claims_no_block(link: Connect) -> None:
    """In mode ``audit`` lists pass, and the record does not say that something was hidden."""
    between = await link(OPEN + 'mode = "audit"')
    assert shown(between, "tools", "read\u200b", "a_tool", "A_tool") == ["read\u200b", "a_tool", "A_tool"]
    assert {event.action for event in await told(between)} == {"logged"}


# --- within one list ---


@kinds
async def test_twins_are_hidden_and_refused(link: Connect, kind: str) -> None:
    """Of names that look the same none is trusted, and each is refused when it is used (A43)."""
    between = await link(OPEN)
    assert use(between, kind, "Read_File", 1) == ""
    assert shown(between, kind, "read_file", "write", "Read_File", id=2) == ["write"]
    assert use(between, kind, "read_file") == use(between, kind, "Read_File", 10) == "sieve.name"
    assert use(between, kind, "write", 11) == ""
    (event,) = await told(between)
    assert (event.action, event.details["names"]) == ("blocked", ["Read_File", "read_file"])


async def test_twin_that_a_rule_names_stays(link: Connect) -> None:
    """The one that an exact allow rule names is the one that is meant; a pattern names nobody."""
    between = await link('[sieve]\nallow = ["files/read_file", "files/*"]')
    assert shown(between, "tools", "read_file", "Read_File", "read_fil\u0435") == ["read_file"]
    assert use(between, "tools", "read_file") == ""
    assert use(between, "tools", "Read_File", 10) == "sieve.name"


@kinds
async def test_twins_on_two_pages_are_found(link: Connect, kind: str) -> None:
    """A twin on a later page is hidden, and the one that was shown before is refused from then on (A46)."""
    between = await link(OPEN)
    assert shown(between, kind, "read_file", "write", nextCursor="2") == ["read_file", "write"]
    assert use(between, kind, "read_file", 2) == ""
    between.ask(f"{kind}/list", {"cursor": "2"}, 3)
    assert between.answer(page(kind, "READ_file"), 3)["result"] == {kind: []}
    assert use(between, kind, "read_file") == use(between, kind, "READ_file", 10) == "sieve.name"


async def test_list_that_is_begun_anew_is_not_its_own_twin(link: Connect) -> None:
    """A client that stops half way and asks again meets no twins, whatever became of a definition."""
    between = await link(OPEN)
    shown(between, "tools", "read", "x", nextCursor="2")
    between.ask("tools/list", id=2)
    again = {"tools": [{"name": "read", "description": "new"}, {"name": "X"}]}
    assert between.answer(again, 2)["result"] == again


async def test_refusal_ends_with_the_list_that_has_no_twin(link: Connect) -> None:
    """What a later whole list shows alone may be used again."""
    between = await link(OPEN)
    shown(between, "tools", "read", "Read")
    assert use(between, "tools", "read") == "sieve.name"
    assert shown(between, "tools", "read", id=2) == ["read"]
    assert use(between, "tools", "read", 10) == ""


@pytest.mark.parametrize("pages", [1, 2])
async def test_name_with_two_definitions_is_refused(link: Connect, pages: int) -> None:
    """One name that stands for two tools is nobody's, even where an exact rule allows it, on one page or two."""
    between = await link('[sieve]\nallow = ["files/read"]')
    one, other = {"name": "read", "description": "a"}, {"name": "read", "description": "b"}
    between.ask("tools/list")
    if pages == 1:
        assert between.answer({"tools": [one, other, one]})["result"]["tools"] == []
    else:
        assert between.answer({"tools": [one], "nextCursor": "2"})["result"]["tools"] == [one]
        between.ask("tools/list", {"cursor": "2"}, 2)
        assert between.answer({"tools": [other]}, 2)["result"]["tools"] == []
    assert use(between, "tools", "read") == "sieve.name"


async def test_second_definition_is_found_in_a_list_of_known_names(link: Connect) -> None:
    """A list with the names of the last one is not taken for it where one of them stands twice."""
    between = await link(OPEN)
    assert shown(between, "tools", "read") == ["read"]
    assert shown(between, "tools", "read", id=2) == ["read"]
    between.ask("tools/list", id=3)
    assert between.answer({"tools": [{"name": "read"}, {"name": "read", "title": "x"}]}, 3)["result"]["tools"] == []


async def test_same_definition_twice_is_one(link: Connect) -> None:
    """Pages that overlap show one tool twice, and nothing is wrong with it."""
    between = await link(OPEN)
    assert shown(between, "tools", "read", "read", nextCursor="2") == ["read", "read"]
    between.ask("tools/list", {"cursor": "2"}, 2)
    assert between.answer(page("tools", "read"), 2)["result"] == page("tools", "read")


def checks(options: Names | None = None, allow: tuple[str, ...] = (), **ranks: Any) -> Checks:
    made = Ranks(ranks.get("owners", {}), ranks.get("servers", ()))
    return Checks(options or Names(), Trusted(allow, "tools"), made)


def test_pages_are_remembered_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a list has beyond the bound is not compared, so it is refused (X.14)."""
    monkeypatch.setattr(_lists, "LIMITS", type(LIMITS)(seen_tools=3))
    listing, by = Listing(), checks()
    assert listing.take("s", by_name([("a1", {}), ("b2", {})]), None, by, more=True).found == {}
    found = listing.take("s", by_name([("c3", {}), ("d4", {})]), None, by, more=True).found
    assert list(found) == ["d4"]
    listing.take("s", by_name([(f"x{number}y", {}) for number in range(9)]), None, by, more=False)
    kept = [name for name in ("a1", "b2", "c3", "d4", "x0y", "never") if listing.refused(name) is None]
    assert kept == ["a1", "b2", "c3"]
    assert listing._refused == {}
    listing.take("s", by_name([("d4", {})]), None, by, more=False)
    assert listing.refused("d4") is None


@pytest.mark.parametrize("name", ["a" + "\u0301" * 4000, "x" * 4096])
def test_hostile_name_is_not_compared(name: str) -> None:
    """A name whose forms take for ever is left to the rules of spelling."""
    others = Others({"o": {name: "d", "send_email": "d"}})
    outcome = Listing().take("s", by_name([(name, {}), ("A", {})]), others, checks(), more=False)
    assert outcome.found == {}


async def test_reload_goes_on_refusing(link: Connect) -> None:
    """What was hidden before a reload is refused after it, without another list."""
    between = await link(OPEN)
    shown(between, "tools", "read", "Read")
    await between.guard.reload(Config.from_toml(OPEN + "deny = ['files/x']"))
    assert use(between, "tools", "read") == "sieve.name"
    await between.guard.reload(Config.from_toml("[sieve]\nallow = ['files/read', 'files/*']"))
    assert use(between, "tools", "read", 10) == ""
    assert use(between, "tools", "Read", 11) == "sieve.name"


async def test_exact_rule_of_another_server_settles_nothing(link: Connect) -> None:
    """A name is written out for the server of the rule, and for no other."""
    between = await link('[sieve]\nallow = ["mail/mcp__read", "fil*/mcp__list", "files/*"]')
    assert use(between, "tools", "mcp__read") == "sieve.name"
    assert use(between, "tools", "mcp__list", 10) == ""


# --- beside other servers ---


async def server(link: Connect, name: str, *tools: str, text: str = OPEN, kind: str = "tools") -> Link:
    """Let one more guard see a server that shows these, and tell the others."""
    between = await link(text, name)
    shown(between, kind, *tools)
    await between.guard.loaded["sieve"].plugin.meshes["names"].close()
    return between


@kinds
@pytest.mark.parametrize("name", ["send_email", "Send_Email", "send_emai1", "send_\u0435mail"])
async def test_shadow_is_hidden_and_refused(link: Connect, kind: str, name: str) -> None:
    """What another server had first, or looks the same, is hidden and refused; the first keeps it (A44, S3.47)."""
    text = STRICT + 'spelling = "alert"'
    first = await server(link, "mail", "send_email", text=text, kind=kind)
    later = await link(text, "evil")
    assert use(later, kind, name, 1) == "sieve.name", "never listed"
    assert shown(later, kind, name, "own", id=2) == ["own"]
    assert use(later, kind, name) == "sieve.name"
    assert shown(first, kind, "send_email", id=2) == ["send_email"]
    assert use(first, kind, "send_email") == ""
    shadows = [event for event in await told(later) if event.code == "sieve.shadowed"]
    assert [(event.action, event.details["servers"]) for event in shadows] == [("blocked", ["mail"])]


async def test_shadow_is_told_of_where_nothing_else_is_said(link: Connect) -> None:
    """A shadow is an alert by default: listed, usable, and an event, also where it only looks the same (A44)."""
    await server(link, "mail", "send_email")
    later = await server(link, "other", "Send_Email")
    assert use(later, "tools", "Send_Email") == ""
    (event,) = await told(later)
    assert (event.code, event.action) == ("sieve.shadowed", "logged")
    assert event.details == {"names": ["Send_Email"], "servers": ["mail"], "same_definition": 0}


async def test_owner_keeps_a_name_whoever_had_it_first(link: Connect) -> None:
    """The configuration says whose name it is: the owner shows it, and nobody else may."""
    text = STRICT + 'owners = { send_email = "mail" }'
    first = await server(link, "evil", "send_email")
    assert use(await server(link, "mail", "send_email", text=text), "tools", "send_email") == ""
    assert use(await server(link, "evil", "send_email", text=text), "tools", "send_email") == "sieve.name"
    assert use(first, "tools", "send_email") == ""


async def test_of_two_that_were_seen_the_configuration_s_first_keeps_a_name(link: Connect) -> None:
    """Guards that both showed a name before it was denied agree on who keeps it: the first of the configuration."""
    tables = '[server.zeta]\ncommand = "z"\n[server.alpha]\ncommand = "a"\n'
    for name in ("alpha", "zeta"):
        await server(link, name, "send_email")
    assert use(await server(link, "zeta", "send_email", text=STRICT + tables), "tools", "send_email") == ""
    assert use(await server(link, "alpha", "send_email", text=STRICT + tables), "tools", "send_email") == "sieve.name"


async def test_hidden_shadow_is_not_told_to_others(link: Connect) -> None:
    """A name that was refused a server gives it no claim to the name."""
    await server(link, "mail", "send_email", text=STRICT)
    evil = await server(link, "evil", "send_email", "own", text=STRICT)
    names = evil.guard.loaded["sieve"].plugin.meshes["names"]._shadows.others("tools").shown
    assert {server: set(items) for server, items in names.items()} == {"mail": {"send_email"}, "evil": {"own"}}


async def test_list_is_refused_where_nobody_knows_what_others_show(link: Connect) -> None:
    """Where shadows are denied and the shared names cannot be read, the list and the call are refused."""
    path = Config.default().state_dir / "names.json"
    files.private_dir(path.parent)
    path.symlink_to("elsewhere")
    between = await link(STRICT)
    between.ask("tools/list")
    assert between.answer(page("tools", "read"))["error"]["data"]["code"] == "sieve.name"
    assert use(between, "tools", "read", 2) == "sieve.name"


@pytest.mark.parametrize("name", ["send_emial", "sendemail", "send_e_mail", "5end_email"])
async def test_lookalike_of_another_servers_name_is_refused(link: Connect, name: str) -> None:
    """What is an edit or two from a name that another server had first is told of, or refused where that is asked."""
    await server(link, "mail", "send_email")
    alert = await server(link, "new", name)
    assert use(alert, "tools", name) == ""
    (event,) = await told(alert)
    assert (event.code, event.action, event.count) == ("sieve.names", "logged", 1)
    assert event.details["rules"] == ["no name is an edit or two from 'send_email' of server 'mail'"]
    assert use(await server(link, "evil", name, text=STRICT), "tools", name) == "sieve.name"


async def test_shadow_has_no_siblings(link: Connect) -> None:
    """A server that lists another one's name, on this page or one before, gains no right to what is like it."""
    await server(link, "mail", "send_email")
    between = await link(STRICT, "evil")
    assert shown(between, "tools", "send_email", "send_emial", "own", nextCursor="2") == ["own"]
    between.ask("tools/list", {"cursor": "2"}, 2)
    assert between.answer(page("tools", "sendemail"), 2)["result"] == {"tools": []}


async def test_lookalike_of_a_trusted_name_is_refused(link: Connect) -> None:
    """What is an edit or two from an exact allow rule's name, and stands in for it, is a look-alike (A43)."""
    text = '[sieve]\nallow = ["files/read_file", "files/*"]\n[sieve.names]\nlookalikes = "deny"'
    between = await link(text)
    assert shown(between, "tools", "raed_file", "list_all") == ["list_all"]
    assert use(between, "tools", "raed_file") == "sieve.name"


async def test_names_of_one_list_may_be_alike(link: Connect) -> None:
    """``read_file`` beside ``read_files`` is how servers are; neither is the other's look-alike."""
    text = STRICT.replace('default = "allow"', 'allow = ["files/read_file", "files/*"]')
    between = await link(text)
    assert shown(between, "tools", "read_file", "read_files", "write_file") == [
        "read_file",
        "read_files",
        "write_file",
    ]
    assert await told(between) == []


def test_spent_budget_refuses_the_rest() -> None:
    """Names that were not compared are told of, and refused where look-alikes are (X.14)."""
    strict = checks(Names(lookalikes="deny"), tuple(f"o/{'a' * 20}{place:02x}" for place in range(200)))
    names = [f"{'a' * 20}{place:02x}" for place in range(200, 256)]
    small = type(LIMITS)(near_counts=10)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_lists, "LIMITS", small)
        outcome = strict.compared("s", names, None, set(names))
    assert outcome.uncompared > 0
    assert set(outcome.found) == set(names)
    assert all(finding.denies(strict.options) for finding in outcome.found.values())


def test_own_names_spend_no_budget() -> None:
    """A server with hundreds of names that are alike is compared with what others show, and not with itself."""
    names = [f"{'a' * 20}{chr(97 + place // 26)}{chr(97 + place % 26)}" for place in range(400)]
    others = Others({"s": dict.fromkeys(names, "d"), "o": {"b" * 20: "d"}})
    outcome = checks().compared("s", [*names, "b" * 18 + "c"], others, set())
    assert (outcome.uncompared, list(outcome.found)) == (0, ["b" * 18 + "c"])


def test_ranks_agree_whoever_asks() -> None:
    """Of two servers that were seen with a name exactly one keeps it."""
    ranks = Ranks({"x": "c"}, ["b", "a"])
    for one, other in (("a", "b"), ("b", "z"), ("y", "z")):
        assert ranks.keeps("n", one, [other], had_it=True) != ranks.keeps("n", other, [one], had_it=True)
    assert [ranks.keeps("x", server, [], had_it=True) for server in "abc"] == [False, False, True]


async def test_known_list_is_told_of_once_and_read_no_more(link: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list that comes again unchanged is neither compared again nor told of again."""
    await server(link, "mail", "send_email", "read_inbox")
    between = await link(OPEN, "new")
    for id in range(3):
        shown(between, "tools", "send_email", "raed_inbox", id=id)
        await between.guard.loaded["sieve"].plugin.meshes["names"].close()
    monkeypatch.setattr(_lists.Listing, "take", None)
    monkeypatch.setattr(mesh, "named", None)
    assert shown(between, "tools", "send_email", "raed_inbox", id=7) == ["send_email", "raed_inbox"]
    assert sorted(event.code for event in await told(between)) == ["sieve.names", "sieve.shadowed"]


async def test_configuration_of_the_page_does_what_it_says(link: Connect) -> None:
    """The example on the page of names keeps a name for its owner and refuses the others (A43, A44)."""
    page = (Path(__file__).parents[3] / "docs" / "names.md").read_text(encoding="utf-8")
    text = page.split("```toml\n")[1].split("```")[0]
    await server(link, "mail", "send_email", text=text)
    files = await link(text, "files")
    assert shown(files, "tools", "send_email", "send_emial", "admin_x", "read") == ["read"]
    mail = await link(text, "mail")
    assert use(mail, "tools", "send_email") == ""


# --- what the doctor is shown ---


PROBES = {"refuses_misleading_name", "tells_misleading_name", "hides_twins"}


async def states(guard: Guard) -> dict[str, str]:
    """Return what became of the probes of names."""
    report = await doctor.run(guard)
    found = {one.name.removeprefix("sieve."): one.state for one in report.findings if one.plugin == "sieve"}
    return {name: state for name, state in found.items() if name in PROBES}


@pytest.mark.parametrize(
    ("text", "without", "probes"),
    [
        ("", Spelled, {"tells_misleading_name"}),
        ("[sieve]", Spelled, {"refuses_misleading_name"}),
        (OPEN, Spelled, {"refuses_misleading_name", "hides_twins"}),
        (OPEN, mesh.Names, {"refuses_misleading_name", "hides_twins"}),
    ],
)
async def test_probe_falls_with_its_mesh(
    load: Callable[[str], Guard], monkeypatch: pytest.MonkeyPatch, text: str, without: type, probes: set[str]
) -> None:
    """Each table's probes of names hold, and those of a mesh fall with it (X.1)."""
    assert await states(load(text)) == dict.fromkeys(probes, "ok")
    for method in ("look", "judge"):
        monkeypatch.setattr(without, method, lambda *_: None)
    fell = {name for name, state in (await states(load(text))).items() if state != "ok"}
    assert fell == {name for name in probes if ("twins" in name) == (without is mesh.Names)}


# --- who a server says it is ---


@pytest.mark.parametrize("said", ["github", "GitHub", "gіthub"])
@pytest.mark.parametrize("era", ["initialize", "server/discover"])
async def test_server_that_calls_itself_as_another_is_told_of(link: Connect, era: str, said: str) -> None:
    """A server whose own name is that of another one of the configuration, or looks like it, is an event."""
    between = await link(f'{OPEN}[server.github]\ncommand = "g"\n[server.files]\ncommand = "f"\n')
    between.ask(era, {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "a", "version": "1"}})
    info = {"name": said, "version": "1"}
    key = {"serverInfo": info} if era == "initialize" else {"_meta": {"io.modelcontextprotocol/serverInfo": info}}
    between.answer({"protocolVersion": "2025-11-25", "capabilities": {}, **key})
    (event,) = await told(between)
    assert (event.code, event.action, event.server) == ("sieve.impersonated", "logged", "files")
    assert event.details == {"name": said, "looks_like": "github"}


@pytest.mark.parametrize("said", ["files", "a server of its own", None, 7])
async def test_server_that_calls_itself_as_it_likes_is_no_event(link: Connect, said: Any) -> None:
    """A name that is nobody else's is no event."""
    between = await link(f'{OPEN}[server.github]\ncommand = "g"\n')
    between.ask("initialize", {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {}})
    between.answer({"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": said}})
    assert await told(between) == []

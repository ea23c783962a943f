"""What limits do to the messages of a guard."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hauberk.config import Config
from hauberk.config import Options as Base
from hauberk.connection import Connection, Credentials
from hauberk.guard import Guard
from hauberk.hookspecs import hookimpl
from hauberk.layers import Layer
from hauberk.message import Frame, Message, ToolCall
from hauberk.principal import ANONYMOUS, Principal
from hauberk.refusals import ConfigError, Refused
from hauberk.testing import Clock, Rig, notification
from hauberk.verdict import Ask, Deny
from hauberk_ratelimit._book import Book
from hauberk_ratelimit._buckets import REST
from hauberk_ratelimit._charge import Paid
from hauberk_ratelimit._ledger import Local
from hauberk_ratelimit._options import Options
from hauberk_ratelimit._patterns import ANY, pattern
from hauberk_ratelimit._peers import identity_of, keys_of, party
from hauberk_ratelimit._rules import Caller, Group, Rule


async def calls(rig: Rig, count: int, tool: str = "ls", arguments: Any = None) -> int:
    """Call a tool so often; return how often it reached the server."""
    before = len(rig.reached)
    for _ in range(count):
        await rig.call(tool, arguments)
    return len(rig.reached) - before


# --- the answer ---


async def test_a_call_over_the_limit_is_told_all_that_it_needs(limited: Any, clock: Clock) -> None:
    """The answer has the code, 429, when to come again, the limit, what remains and its reset (S0.35, S1.23)."""
    async with limited('[ratelimit]\ncalls = "10/second burst 20"') as rig:
        assert await calls(rig, 20) == 20
        clock.turn(0.05)
        await rig.call("ls")
        assert rig.error() == {
            "code": -32005,
            "message": "ratelimit.exceeded: the limit calls of 10/second burst 20 is used up",
            "data": {
                "code": "ratelimit.exceeded",
                "plugin": "ratelimit",
                "rule": "calls",
                "hint": "call again after that time, or raise the limit in [ratelimit]",
                "retryAfter": pytest.approx(0.05, abs=2e-6),
                "httpStatus": 429,
                "limit": 20,
                "remaining": 0,
                "reset": pytest.approx(1.95, abs=2e-6),
            },
        }
        assert [event.code for event in rig.recorder.events if event.plugin] == ["ratelimit.exceeded"]


async def test_the_time_that_is_told_is_right(limited: Any, clock: Clock) -> None:
    """A retry at the time that was told passes, and one just before it does not (S3.44)."""
    async with limited('[ratelimit]\nglobal = "7/minute burst 3"\n[ratelimit.tools]\n"*" = "11/hour burst 2"') as rig:
        assert await calls(rig, 5) == 2
        wait = rig.error()["data"]["retryAfter"]
        clock.turn(wait - 2e-6)
        assert await calls(rig, 1) == 0
        clock.turn(2e-6)
        assert await calls(rig, 2) == 1


async def test_a_limit_of_nothing_lets_nothing_pass(limited: Any, clock: Clock) -> None:
    """Of 0, nothing passes at any time, and no time is told (S3.44, S1.41)."""
    async with limited('[ratelimit]\nglobal = "0/minute"') as rig:
        for _ in range(3):
            assert await calls(rig, 1) == 0
            clock.turn(1e6)
        data = rig.error()["data"]
        assert (data["limit"], data["remaining"], "retryAfter" in data) == (0, 0, False)


async def test_a_remote_peer_is_told_the_same_but_for_the_rule(limited: Any) -> None:
    """Who calls a server from afar learns code, time and numbers, and neither rule nor hint."""
    async with limited('[ratelimit]\nglobal = "1/minute"', role="server") as rig:
        assert await calls(rig, 2) == 1
        assert rig.error()["data"].keys() == {
            "code", "retryAfter", "httpStatus", "limit", "remaining", "reset",
        }  # fmt: skip


# --- all or none ---


async def test_a_refused_call_takes_nothing_of_the_other_buckets(limited: Any) -> None:
    """A call that one limit refuses is charged to none of the others (S3.44)."""
    toml = '[ratelimit]\nglobal = "10/hour"\n[ratelimit.tools]\n"*/write" = "1/hour"'
    async with limited(toml) as rig:
        assert await calls(rig, 50, "write") == 1
        assert await calls(rig, 50, "read") == 9


async def test_a_call_that_is_not_sent_is_given_back(limited: Any) -> None:
    """A charge is refunded where the call was charged and then refused before it was written."""

    class Late:
        """Refuses what was charged, on its way out."""

        name = "late"
        layer = Layer.ADMIT
        refuses = True

        class Options(Base, frozen=True):
            """No options."""

        @hookimpl
        def on_send(self, message: Message, connection: Connection) -> None:
            if self.refuses and message.method == "tools/call":
                raise Refused("late.no", "no")

    late = Late()
    async with limited('[ratelimit]\nglobal = "2/hour"', late) as rig:
        assert await calls(rig, 20) == 0
        assert set(rig.codes) == {"late.no"}
        late.refuses = False
        assert await calls(rig, 20) == 2


async def test_a_call_that_was_sent_is_not_given_back(limited: Any) -> None:
    """However a call ends once it was sent, answered, failed or cancelled, its permit is used."""
    async with limited('[ratelimit]\nglobal = "3/hour"\nmessages = "8/hour"') as rig:
        await rig.call("ls", id="a")
        await rig.answer(id="a")
        await rig.call("ls", id="b")
        await rig.send(rig.from_server, {"jsonrpc": "2.0", "id": "b", "error": {"code": -32000, "message": "no"}})
        await rig.call("ls", id="c")
        await rig.send(rig.from_client, notification("notifications/cancelled", {"requestId": "c"}))
        assert await calls(rig, 9) == 0
        before = len(rig.reached)
        for _ in range(9):
            await rig.request("tools/list")
        assert len(rig.reached) - before == 5


async def test_a_denied_call_is_not_charged(limited: Any) -> None:
    """What a judge refuses in the first round takes no permit (S1.41)."""

    class Never:
        """Denies one tool."""

        name = "never"
        layer = Layer.POLICY

        class Options(Base, frozen=True):
            """No options."""

        @hookimpl
        def on_tool_call(self, call: ToolCall, connection: Connection) -> Deny | None:
            return Deny("never.no", "no") if call.name == "rm" else None

    async with limited('[ratelimit]\nglobal = "1/hour"', Never()) as rig:
        assert await calls(rig, 20, "rm") == 0
        assert await calls(rig, 2, "ls") == 1


async def test_an_approved_call_is_charged_once(limited: Any) -> None:
    """A call that a person is asked for is charged before he is, and not again after he said yes."""

    class Asks:
        """Asks for each call, and says yes."""

        name = "asks"
        layer = Layer.POLICY

        class Options(Base, frozen=True):
            """No options."""

        @hookimpl
        def on_tool_call(self, call: ToolCall, connection: Connection) -> Ask:
            return Ask("sure?")

        async def approve(self, call: ToolCall, connection: Connection) -> Any:
            from hauberk.verdict import Approved

            await asyncio.sleep(0)
            return Approved(call.digest)

    async with limited('[core]\napprovers = ["asks"]\n[ratelimit]\nglobal = "3/hour"', Asks()) as rig:
        assert await calls(rig, 5) == 3


# --- scopes ---


async def test_an_exact_name_beats_a_pattern(limited: Any) -> None:
    """The rule that says most holds, in place of the others of its kind; a pattern is one bucket for all (S3.45)."""
    toml = """
        [ratelimit.tools]
        "files/read" = "5/hour"
        "files/re*" = "3/hour"
        "*" = "2/hour"
    """
    async with limited(toml) as rig:
        assert await calls(rig, 9, "read") == 5
        assert await calls(rig, 2, "rename") + await calls(rig, 9, "remove") == 3
        assert await calls(rig, 9, "a") + await calls(rig, 9, "b") == 2


async def test_each_has_its_own_where_that_was_asked_for(limited: Any) -> None:
    """With ``each`` everything that a pattern matches has a bucket of its own (S3.45)."""
    async with limited('[ratelimit.tools]\n"*" = "2/hour each"\nfree = "unlimited"') as rig:
        assert [await calls(rig, 9, tool) for tool in ("a", "b", "a", "free")] == [2, 2, 0, 9]


async def test_a_domain_is_counted_however_it_is_spelled(limited: Any) -> None:
    """One host has one bucket in any spelling; those without a rule share one (S3.44, S3.45)."""
    toml = '[ratelimit.domains]\n"api.openai.com" = "4/hour"\n"*" = "2/hour"'
    async with limited(toml) as rig:
        spellings = ("https://API.OpenAI.com/v1", "http://api.openai.com.:8080", "https://u:p@api.openai.com", "x")
        for url in spellings[:3]:
            assert await calls(rig, 1, "get", {"opt": [{"url": url}]}) == 1
        assert await calls(rig, 9, "get", {"url": spellings[0]}) == 1
        assert await calls(rig, 9, "get", {"url": "https://a.example"}) == 2
        assert await calls(rig, 9, "get", {"url": "https://b.example"}) == 0
        assert await calls(rig, 9, "get", {"url": "no url"}) == 9
        assert await calls(rig, 1, "get", {"url": "https://api.openai.com\\@b.example/"}) == 0
        assert rig.codes[-1] == "ratelimit.host"


async def test_the_host_of_a_server_of_http_is_a_domain(limited: Any) -> None:
    """A call to a server of HTTP is charged to the host of its URL, too."""
    async with limited('[ratelimit.domains]\n"mcp.example" = "2/hour"') as rig:
        rig.connection.carrier, rig.connection.target = "https", "https://MCP.example/mcp"
        assert await calls(rig, 9) == 2


async def test_callers_have_their_own_buckets(limited: Any) -> None:
    """Each who has proved who he is has a bucket; one who has not is his address, whatever he says (A62, S4.15)."""
    async with limited('[ratelimit.principals]\n"*" = "2/hour each"\nroot = "5/hour"', role="server") as rig:
        spent = []
        for who in (
            Principal(id="alice", kind="user"),
            Principal(id="bob", kind="user"),
            Principal(id="root", kind="user"),
        ):
            rig.connection.principal = who
            spent.append(await calls(rig, 9))
        rig.connection.principal = Principal(id="alice", kind="user", tenant="other")
        spent.append(await calls(rig, 9))
        rig.connection.principal = ANONYMOUS
        for peer in ("192.0.2.1:1000", "192.0.2.1:2000", "[2001:db8::1]:1", "[2001:db8::2:3]:1", "[2001:db8:0:1::]:1"):
            rig.connection.peer = peer
            spent.append(await calls(rig, 9))
        assert spent == [2, 2, 5, 2, 2, 0, 2, 0, 2]


async def test_an_id_with_a_stroke_is_nobody_of_a_tenant(limited: Any) -> None:
    """An id that looks like a tenant's member has neither his rules nor his plan; one of a URI is as it is (A62)."""
    toml = """
        [ratelimit.plans]
        pro = "5/hour"
        free = "1/hour"
        [ratelimit.members]
        "acme/*" = "pro"
        "/acme/carol" = "pro"
        "spiffe://td/alice" = "pro"
        "*" = "free"
    """
    async with limited(toml, role="server") as rig:
        spent = []
        for id, tenant in (("alice", "acme"), ("acme/alice", None), ("spiffe://td/alice", None), ("alice", None)):
            rig.connection.principal = Principal(id=id, kind="user", tenant=tenant)
            spent.append(await calls(rig, 9))
        assert spent == [5, 1, 5, 1]
        rig.connection.principal = Principal(id="acme/carol", kind="user")
        assert await calls(rig, 9) == 5
    assert keys_of("/acme/carol") == ("/acme/carol", f"id:{Principal(id='acme/carol', kind='user').key}")


async def test_the_same_id_in_another_tenant_is_somebody_else(limited: Any) -> None:
    """A rule, or a plan, of one tenant's member is nothing to him who has the same id in another one (A62)."""
    toml = """
        [ratelimit.principals]
        "acme/alice" = "5/hour"
        "alice" = "3/hour"
        "address:192.0.2.1" = "1/hour"
        "*" = "2/hour each"
        [ratelimit.plans]
        none = "0/hour"
        [ratelimit.members]
        "acme/bob" = "none"
        "address:192.0.2.9" = "none"
    """
    async with limited(toml, role="server") as rig:
        spent = []
        for id, tenant in (("alice", "acme"), ("alice", "evil"), ("alice", None), ("bob", "acme"), ("bob", None)):
            rig.connection.principal = Principal(id=id, kind="user", tenant=tenant)
            spent.append(await calls(rig, 9))
        rig.connection.principal = ANONYMOUS
        for peer in ("192.0.2.1:5", "192.0.2.2:5", "192.0.2.9:5"):
            rig.connection.peer = peer
            spent.append(await calls(rig, 9))
        assert spent == [5, 2, 3, 0, 2, 1, 2, 0]


def test_no_identity_is_taken_for_another() -> None:
    """An id that looks like an address, or like that of a tenant, is a key of its own."""
    here = Connection(id="c", host="h", server="s", role="server", peer="192.0.2.1:5")
    who = [
        ANONYMOUS,
        *(Principal(id=id, kind="user") for id in ("address:192.0.2.1", "a\0b", "tenant:1:a:b", "\0rest")),
    ]
    who += [Principal(id=id, kind="user", tenant=tenant) for id, tenant in (("b", "a"), ("b:c", "a"), ("c", "a:b"))]
    keys = [identity_of(one, here) for one in who]
    assert len(set(keys)) == len(keys)
    assert REST not in keys


@pytest.mark.parametrize(
    ("toml", "own"),
    [
        ('global = "1/hour"', False),
        ('calls = "1/hour"', False),
        ('principals = {"*" = "1/hour each"}', True),
        ('principals = {"*" = "1/hour"}', False),
        ('principals = {"*" = "1/hour each"}\nmax_ids = 1', True),
        ('messages = "1/hour"', True),
        ('address = "1/hour"', True),
        ('plans = {a = "1/hour, 2/month"}\nmembers = {"*" = "a"}', True),
    ],
)
async def test_a_refusal_tells_whose_the_limit_is(limited: Any, toml: str, own: bool) -> None:
    """The event says whether nobody but the caller can have used the limit up; the peer is not told."""
    async with limited(f"[ratelimit]\n{toml}", role="server") as rig:
        await calls(rig, 3)
        found = [event.details["own"] for event in rig.recorder.events if event.code == "ratelimit.exceeded"]
        assert set(found) == {own}
        assert "own" not in rig.error()["data"]
        if "max_ids" in toml:
            rig.connection.principal = Principal(id="late", kind="user")
            await calls(rig, 2)
            assert [event.details["own"] for event in rig.recorder.events if event.code == "ratelimit.exceeded"][
                -1:
            ] == [False]


async def test_what_a_client_says_of_itself_gives_no_budget(limited: Any) -> None:
    """Another client name, session, forwarded address or progress token in a message is the same caller (A62)."""
    async with limited('[ratelimit.principals]\n"*" = "3/hour each"', role="server") as rig:
        rig.connection.peer = "192.0.2.1:1000"
        for number in range(9):
            meta = {
                "io.modelcontextprotocol/clientInfo": {"name": f"c{number}", "version": "1"},
                "x-forwarded-for": f"10.0.0.{number}",
                "progressToken": number,
            }
            await rig.call("ls", _meta=meta)
        assert len(rig.reached) == 3


async def test_combinations_hold_beside_the_others(limited: Any) -> None:
    """A rule for a tool and a caller together has a bucket for each caller (S3.45)."""
    toml = """
        [[ratelimit.rules]]
        limit = "2/hour"
        server = "files"
        tool = "write*"
        each = ["principal"]
        [[ratelimit.rules]]
        limit = "1/hour"
        tool = "write_all"
        principal = "bob"
        server = "files"
    """
    async with limited(toml, role="server") as rig:
        rig.connection.principal = Principal(id="alice", kind="user")
        assert [await calls(rig, 9, tool) for tool in ("write", "write_all", "read")] == [2, 0, 9]
        rig.connection.principal = Principal(id="bob", kind="user")
        assert [await calls(rig, 9, tool) for tool in ("write_all", "write")] == [1, 2]


async def test_plans_are_for_their_members(limited: Any, clock: Clock) -> None:
    """Who has a plan has its rate and its quota of the month, by name, by group or by pattern (S1.23)."""
    toml = '[ratelimit]\npreset = "plans"\nmembers = {"alice" = "pro", "group:paying" = "starter"}\n'
    toml += '[ratelimit.principals]\n"*" = "unlimited"\n'
    async with limited(toml, role="server") as rig:
        spent = []
        for who in ("alice", "bob", "carol"):
            groups = frozenset({"paying"} if who != "carol" else ())
            rig.connection.principal = Principal(id=who, kind="user", groups=groups)
            spent.append(await calls(rig, 150))
        assert spent == [120, 60, 30]
        for _ in range(5):
            clock.turn(60)
            spent.append(await calls(rig, 50))
        assert spent[3:] == [30, 30, 10, 0, 0]
        assert rig.recorder.events[-1].rule == "plans.free"


async def test_a_call_costs_what_was_said(limited: Any) -> None:
    """A tool can cost more, or as much as an argument has items: ten inner calls cost ten (S1.24)."""
    toml = """
        [ratelimit]
        global = "20/hour"
        [ratelimit.costs]
        dear = 5
        batch = "calls"
        ping = 0
    """
    async with limited(toml) as rig:
        assert await calls(rig, 1, "batch", {"calls": list(range(10))}) == 1
        assert await calls(rig, 3, "dear") == 2
        assert await calls(rig, 9, "ping") == 9
        assert await calls(rig, 1, "batch", {"calls": list(range(21))}) == 0
        assert "never has as much" in rig.error()["message"]


# --- tables ---


@pytest.mark.parametrize("toml", ['[plugins]\nrequire = ["ratelimit"]', "[ratelimit]\nmax_ids = 7"])
async def test_what_is_switched_on_limits(limited: Any, clock: Clock, toml: str) -> None:
    """Switched on without any limit, each server has ten calls a second and twenty at once (S0.35, X.1)."""
    async with limited(toml) as rig:
        assert await calls(rig, 50) == 20
        clock.turn(1.001)
        assert await calls(rig, 50) == 10
    async with limited('[ratelimit]\nglobal = "unlimited"') as rig:
        assert await calls(rig, 50) == 50


async def test_every_table_holds(limited: Any) -> None:
    """A server's own table takes nothing from the general one, however loose it is."""
    toml = """
        [ratelimit]
        calls = "3/hour"
        [ratelimit.tools]
        "*" = "2/hour"
        [server.files.ratelimit]
        calls = "100/hour"
        [server.files.ratelimit.tools]
        read = "unlimited"
    """
    async with limited(toml) as rig:
        assert await calls(rig, 9, "read") == 2
    async with limited(toml.replace('calls = "100/hour"', 'calls = "100/hour"\noverride = true')) as rig:
        assert await calls(rig, 99, "read") == 99
    toml = '[ratelimit]\nglobal = "3/hour"\n[host.default.ratelimit]\nglobal = "5/hour"\n'
    for override, passed in (("", 3), ("override = true\n", 5)):
        async with limited(toml + override) as rig:
            assert await calls(rig, 9) == passed


@pytest.mark.parametrize(
    "toml",
    [
        '[ratelimit.plans]\nfree = "2/hour"\n[host.default.ratelimit.members]\n"*" = "free"',
        (
            '[ratelimit]\nmembers = {"*" = "free"}\nplans = {free = "9/hour"}\n'
            '[host.default.ratelimit.plans]\nfree = "2/hour"'
        ),
    ],
)
async def test_plans_and_members_of_several_tables_are_one(limited: Any, toml: str) -> None:
    """Members in the table of a host have the plans of the general one, and a plan in two tables is the strict one."""
    async with limited(toml) as rig:
        assert await calls(rig, 9) == 2


async def test_the_table_of_a_server_names_tools_as_they_are(limited: Any) -> None:
    """In the table of a server a stroke is part of a tool's name: the rule is for that tool and for no other one."""
    async with limited('[server.files.ratelimit.tools]\n"ns/rm" = "1/hour"') as rig:
        assert [await calls(rig, 5, tool) for tool in ("ns/rm", "rm")] == [1, 5]


NAMES = st.sampled_from(["a", "b", "ab", "*", "a*", "*b", "a*b"])


@given(
    st.lists(st.tuples(NAMES, NAMES, NAMES, NAMES), max_size=12), st.tuples(*[st.sampled_from(["a", "b", "ab"])] * 4)
)
def test_the_rule_that_holds_is_the_first_that_matches(named: list[Any], values: Any) -> None:
    """A name that is looked up finds the rule that looking through all of them, the one that says most first, finds."""
    rules = []
    for texts in named:
        one, two, three, four = (ANY if text == "*" else pattern(text) for text in texts)
        rules.append(Rule((one, two, three, four), (False,) * 4, ()))
    group = Group(rules, frozenset())
    assert group.holds(values) is next((rule for rule in group.rules if rule.matches(values)), None)


def test_rules_are_bounded() -> None:
    """A table with more rules than can be looked through at each call is an error when it is loaded."""
    with pytest.raises(ValueError, match="at most 4096"):
        Options(tools={f"tool-{number}": "1/hour" for number in range(4097)})
    with pytest.raises(ValueError, match="at most 256"):
        Options(domains={f"*.d{number}.example": "1/hour" for number in range(257)})


async def test_no_table_makes_a_call_cheaper(limited: Any) -> None:
    """The table of a host may make a call cost more than the general one, never less; a server's may not at all."""
    toml = """
        [ratelimit]
        global = "20/hour"
        costs = { dear = 5, plain = 1 }
        [host.default.ratelimit.costs]
        dear = 0
        plain = 2
        other = 0
    """
    async with limited(toml) as rig:
        assert [await calls(rig, 1, tool) for tool in ("dear", "plain", "other")] == [1, 1, 1]
        assert await calls(rig, 99, "other") == 12
    config = Config.from_toml('[plugins]\ndisable = ["pins", "sieve", "audit"]\n[server.x.ratelimit.costs]\nx = 0')
    with pytest.raises(ConfigError, match="costs: holds for all servers"):
        Guard.load(config)


async def test_a_server_has_limits_of_its_own(limited: Any) -> None:
    """``calls`` is a bucket for each server, and a server's table is for that server alone."""
    toml = '[ratelimit]\ncalls = "3/hour"\n[server.files.ratelimit]\ncalls = "1/hour"'
    async with limited(toml) as rig:
        assert await calls(rig, 9) == 1
    async with limited(toml, name="mail") as rig:
        assert await calls(rig, 9) == 3


def test_what_is_for_a_host_is_in_no_table_of_a_server() -> None:
    """``global`` in the table of a server is an error that says where it belongs."""
    config = Config.from_toml('[plugins]\ndisable = ["pins", "sieve", "audit"]\n[server.x.ratelimit]\nglobal = "1/day"')
    with pytest.raises(ConfigError, match=r"\[server.x.ratelimit\] global: holds for all servers"):
        Guard.load(config)


# --- frames and messages ---


async def test_frames_are_refused_before_anything_is_checked(limited: Any) -> None:
    """Who has proved nothing is limited by his address, before SEAL reads a byte (S1.25, S1.41, A62)."""
    opened: list[bytes] = []

    class Seal:
        """Counts what it is given to open."""

        name = "seal"
        layer = Layer.SEAL

        class Options(Base, frozen=True):
            """No options."""

        @hookimpl
        def on_receive(self, message: Frame, connection: Connection) -> None:
            opened.append(message.data)

    async with limited('[ratelimit]\naddress = "3/hour"', Seal(), role="server") as rig:
        rig.connection.peer = "192.0.2.7:1"
        await calls(rig, 5)
        await rig.send(rig.from_client, b"what is no message")
        assert len(opened) == 3
        assert set(rig.codes) == {"ratelimit.exceeded"}
        rig.connection.peer = "192.0.2.8:1"


async def test_a_connection_costs_its_address(limited: Any) -> None:
    """An address that has used up its limit is not even given a handshake (S1.41)."""
    async with limited('[ratelimit]\naddress = "2/hour"', role="server") as rig:
        desk = rig.guard.loaded["ratelimit"].plugin.desk
        for number in range(2):
            await rig.guard.admit("files", "server", peer=f"192.0.2.7:{number}", carrier="tls")
        with pytest.raises(Refused) as caught:
            await rig.guard.admit("files", "server", peer="192.0.2.7:9", carrier="tls")
        assert caught.value.code == "ratelimit.exceeded"
        await rig.guard.admit("files", "server", peer="192.0.2.8:9", carrier="tls")
        assert desk.book.address


async def test_messages_are_limited_by_who_sends_them(limited: Any, clock: Clock) -> None:
    """The host's messages have a rate; what settles a call is not held back; answers cost nothing (S0.35)."""
    async with limited('[ratelimit]\npreset = "agents"') as rig:
        for _ in range(9):
            await rig.request("tools/list")
        assert len(rig.reached) == 5
        assert set(rig.codes) == {"ratelimit.exceeded"}
        await rig.send(rig.from_client, notification("notifications/cancelled", {"requestId": 77}))
        await rig.send(rig.from_client, notification("notifications/initialized"))
        assert [message["method"] for message in rig.reached[5:]] == ["notifications/initialized"]
        clock.turn(1.001)
        assert await calls(rig, 9) == 5


async def test_a_service_limits_who_has_proved_who_he_is(limited: Any) -> None:
    """In front of a server, messages are counted by the identity that the channel proved, else by address (S4.15)."""
    async with limited('[ratelimit]\nmessages = "3/hour"', role="server") as rig:
        rig.connection.peer = "192.0.2.1:1"
        rig.connection.principal = Principal(id="alice", kind="user")
        assert await calls(rig, 9) == 3
        rig.connection.principal = ANONYMOUS
        assert await calls(rig, 9) == 3
        rig.connection.principal = Principal(id="alice", kind="user")
        assert await calls(rig, 9) == 0


async def test_answers_to_a_client_are_never_limited(limited: Any) -> None:
    """Beside a client nothing that comes from a server is counted: it was asked for."""
    async with limited('[ratelimit]\naddress = "1/hour"\nmessages = "9/hour"') as rig:
        for number in range(9):
            await rig.call("ls", id=f"c{number}")
            await rig.answer(id=f"c{number}")
        assert len(rig.replies) == 9
        assert rig.codes == []


@pytest.mark.parametrize(
    ("peer", "key"),
    [
        ("192.0.2.1:443", "192.0.2.1"),
        ("[::ffff:192.0.2.1]:443", "192.0.2.1"),
        ("[2001:db8:1:2:3::4]:443", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("[fe80::1%eth0]:5", "fe80::/64"),
        ("/run/x.sock", "/run/x.sock"),
        ("", ""),
    ],
)
def test_an_address_is_as_coarse_as_one_party(peer: str, key: str) -> None:
    """The port is nobody, a network of 64 bits is one party, a mapped address is what it stands for (A62)."""
    assert party(peer) == key


def test_a_user_of_a_unix_socket_is_his_number() -> None:
    """Who holds the other end of a Unix socket is counted by the user that the kernel names."""
    connection = Connection(id="c", host="h", server="s", role="server", peer="/run/x.sock")
    connection.credentials = Credentials(1000, 1000, 7)
    assert identity_of(ANONYMOUS, connection) == "address:uid:1000"


# --- modes, hooks, reload, probes ---


async def test_audit_mode_lets_pass_and_says_so(limited: Any) -> None:
    """In mode ``audit`` what would be refused passes, and is an event."""
    async with limited('[ratelimit]\nmode = "audit"\nglobal = "1/hour"') as rig:
        assert await calls(rig, 3) == 3
        would = [event.details["code"] for event in rig.recorder.events if event.code == "core.would_refuse"]
        assert would == ["ratelimit.exceeded"] * 2


@pytest.mark.parametrize(
    ("toml", "hooks"),
    [
        ('calls = "1/day"', {"on_tool_call"}),
        ('address = "1/day"', {"on_tool_call", "on_connect", "on_receive"}),
        ('messages = "1/day"', {"on_tool_call", "on_connect", "on_receive", "on_send"}),
    ],
)
async def test_only_the_hooks_that_are_needed_are_there(limited: Any, toml: str, hooks: set[str]) -> None:
    """What is not limited meets no hook; infrastructure is limited in GATE, business in ADMIT (S1.26)."""
    async with limited(f"[ratelimit]\n{toml}") as rig:
        loaded = rig.guard.loaded["ratelimit"]
        assert {step.hook for step in loaded.steps} == hooks
        layers = {step.hook: step.layer.name for step in loaded.steps}
        expected = {"on_tool_call": "ADMIT", "on_connect": "GATE", "on_receive": "GATE", "on_send": "ADMIT"}
        assert layers == {hook: expected[hook] for hook in hooks}


async def test_a_reload_gives_nobody_a_fresh_budget(limited: Any) -> None:
    """What was used before a reload is used after it, of a limit that stayed and of one that changed."""
    toml = '[ratelimit]\nglobal = "4/hour"\ntools = {"*" = "10/hour"}\nprincipals = {"*" = "90/month each"}'
    async with limited(toml) as rig:
        assert await calls(rig, 4) == 4
        toml = toml.replace("10/hour", "11/hour")
        await rig.guard.reload(Config.from_toml(toml))
        assert await calls(rig, 2) == 0
        toml = toml.replace('global = "4/hour"', "")
        await rig.guard.reload(Config.from_toml(toml))
        assert await calls(rig, 20) == 6  # what was used is time: four intervals of the limit before
        await rig.guard.reload(Config.from_toml(toml.replace("90/month", "14/month").replace("11/hour", "99/hour")))
        assert await calls(rig, 20) == 4


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            {"rules": [{"limit": "5/day", "tool": "wipe"}]},
            {"rules": [{"limit": "5/day"}, {"limit": "5/day", "tool": "wipe"}]},
        ),
        ({"global": "5/day"}, {"global": "10/minute, 5/day"}),
        ({"global": "5/day"}, {"global": "4/hour"}),
    ],
)
def test_a_rule_in_another_place_is_the_same(before: Any, after: Any) -> None:
    """After a reload that puts a rule, or a part of one, in front of others, what was used of each is used."""
    if len(after.get("rules", ())) > 1:
        after["rules"][0] |= {"tool": "read"}
    caller, local = Caller("s", "wipe", ANONYMOUS, "id:u", "u"), Local(lambda: 100.0, lambda: 1e9)
    one, two = Book(100), Book(100)
    one.add("", None, before)
    two.add("", None, after)
    assert [callable(local.charge(one.refs(caller))) for _ in range(6)] == [True] * 5 + [False]
    two.inherit(one, 100.0)
    assert not callable(local.charge(two.refs(caller)))
    if "rules" in after:
        assert callable(local.charge(two.refs(caller._replace(tool="read"))))


async def test_probes_find_that_limits_are_live(limited: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The doctor finds calls and frames limited; where nothing is charged any more, it says so."""
    from hauberk import doctor

    toml = '[ratelimit]\nglobal = "0/minute"\naddress = "1/hour"'
    names = {"ratelimit.refuses_call", "ratelimit.refuses_frame"}
    async with limited(toml) as rig:
        report = await doctor.examine(rig.guard, rig.guard.policy)
        found = {one.name: one.state for one in report.findings if one.name in names}
        assert found == dict.fromkeys(names, "ok")
        monkeypatch.setattr(Local, "charge", lambda local, refs, *_: Paid(local, (), ()))
        report = await doctor.examine(rig.guard, rig.guard.policy)
        found = {one.name: one.state for one in report.findings if one.name in names}
        assert found == dict.fromkeys(names, "not_stopped")


async def test_probes_take_nothing_of_anybody(limited: Any) -> None:
    """What the doctor sends is charged to no bucket but its own."""
    from hauberk import doctor

    async with limited('[ratelimit]\nglobal = "3/hour"\naddress = "3/hour"') as rig:
        await doctor.examine(rig.guard, rig.guard.policy)
        assert await calls(rig, 9) == 3

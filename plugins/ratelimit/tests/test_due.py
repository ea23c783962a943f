"""What a call is charged, remembered: it is always what it would be if nothing were."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hauberk.config import Config
from hauberk.connection import Connection, Credentials
from hauberk.message import ToolCall
from hauberk.principal import ANONYMOUS, Principal
from hauberk.probe import SERVER
from hauberk.refusals import Refused
from hauberk_ratelimit import _due
from hauberk_ratelimit._book import Book
from hauberk_ratelimit._costs import Costs
from hauberk_ratelimit._domains import hosts_in
from hauberk_ratelimit._due import Due, Dues
from hauberk_ratelimit._limits import Limits
from hauberk_ratelimit._peers import identity_of, name_of
from hauberk_ratelimit._rules import Caller

LIMIT = st.sampled_from(["5/hour", "2/second burst 3, 9/month", "7 credits/month", "unlimited"])
EACH = LIMIT.map(lambda text: text if text == "unlimited" else f"{text} each") | LIMIT
TOOL = st.sampled_from(["ls", "read", "read_all", "*", "r*"])
COST = st.sampled_from([0, 1, 3, "paths"])
TABLE = st.fixed_dictionaries(
    {},
    optional={
        "global": LIMIT,
        "calls": LIMIT,
        "address": st.just("9/hour"),
        "messages": st.just("7/hour"),
        "tools": st.dictionaries(TOOL, EACH, max_size=3),
        "domains": st.dictionaries(st.sampled_from(["a.example", "*.example"]), EACH, max_size=2),
        "principals": st.dictionaries(st.sampled_from(["alice", "acme/*", "address:192.0.2.*", "*"]), EACH, max_size=3),
        "rules": st.lists(
            st.fixed_dictionaries({"limit": LIMIT, "tool": TOOL}, optional={"each": st.just(["principal"])}), max_size=2
        ),
        "costs": st.dictionaries(TOOL, COST, max_size=2),
        "prices": st.dictionaries(TOOL, COST, max_size=2),
    },
)
PLANS: dict[str, Any] = {
    "plans": {"free": "1/hour", "paying": "10/hour, 5/month"},
    "members": {"group:paying": "paying", "address:*": "free", "*": "free"},
}
BOOK = st.lists(st.tuples(st.sampled_from(["files", None]), TABLE, st.booleans()), min_size=1, max_size=2)
WHO = st.just(ANONYMOUS) | st.builds(
    Principal,
    id=st.sampled_from(["alice", "bob", "x" * 2000]),
    kind=st.sampled_from(["user", "anonymous"]),
    groups=st.sampled_from([frozenset(), frozenset({"paying"})]),
    tenant=st.sampled_from([None, "acme"]),
)
PATHS: Any = st.sampled_from([None, [], [1, 2], {"a": 1, "b": 2, "c": 3}, "https://a.example/", "https://b.example"])
CALL = st.tuples(
    WHO,
    st.sampled_from(["ls", "read", "read_all", "y" * 2000]),
    PATHS,
    st.sampled_from(["files", "web", SERVER]),
    st.sampled_from(["192.0.2.1:1", "192.0.2.2:1", "[2001:db8::1]:1"]),
    st.sampled_from([None, Credentials(0, 0), Credentials(7, 7)]),
    st.sampled_from([None, None, None, "approved", "dry"]),
)


def made(*tables: tuple[str | None, dict[str, Any]]) -> Book:
    """Return the book of these tables."""
    book = Book(100)
    for server, table in tables:
        book.add("" if server is None else f"server.{server}.", server, table)
    return book


def connected(server: str = "files", peer: str = "192.0.2.1:1", credentials: Credentials | None = None) -> Connection:
    """Return a connection."""
    connection = Connection(id="c", host="h", server=server, role="server", peer=peer)
    connection.credentials = credentials
    return connection


def called(who: Principal, tool: str = "ls", paths: Any = None, how: str | None = None) -> ToolCall:
    """Return as much of a call as limits look at."""
    call = SimpleNamespace(
        message=SimpleNamespace(principal=who),
        name=tool,
        arguments={} if paths is None else {"paths": paths},
        approved=object() if how == "approved" else None,
        dry=how == "dry",
    )
    return cast("ToolCall", call)


def names(due: Due | None) -> Any:
    """Return what is charged, by the names of the buckets."""
    return None if due is None else ({(bucket.id, key) for bucket, key in due.refs}, due.cost, due.price)


def plainly(book: Book, call: ToolCall, connection: Connection) -> Any:
    """Return what a call is charged as `names` does, worked out by the rules, one after the other."""
    if call.approved is not None or call.dry or connection.server == SERVER:
        return None
    who = call.message.principal
    caller = Caller(connection.server, call.name, who, identity_of(who, connection), name_of(who, connection))
    refs = set(book.refs(caller))
    for host in hosts_in(call.arguments) if book.by_domain else ():
        refs.update(book.refs_of_host(caller, host))
    paths = call.arguments.get("paths")
    items = len(paths) or 1 if isinstance(paths, list | dict) else 1

    def most(costs: Costs, usual: int) -> int:
        said = [items if one == "paths" else one for one in costs.said(connection.server, call.name)]
        return max(usual if one is None else int(one) for one in said)

    cost = most(book.costs, 1)
    price = most(book.prices, cost)
    taken = {(bucket.id, key) for bucket, key in refs if (price if bucket.credit else cost)}
    return (taken, cost or 1, price or 1) if taken else None


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=150)
@given(book=BOOK, calls=st.lists(CALL, max_size=25), known=st.sampled_from([1, 3, 512]))
def test_what_is_remembered_is_what_would_be_worked_out(book: Any, calls: list[Any], known: int) -> None:
    """Of any calls by anybody in any order, each is charged as by who remembers nothing and goes by the rules (X.6)."""
    whole = made(*((server, table | (PLANS if plans else {})) for server, table, plans in book))
    one = Dues(whole)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_due, "LIMITS", Limits(known=known))
        for who, tool, paths, server, peer, credentials, how in calls:
            connection = connected(server, peer, credentials)
            call = called(who, tool, paths, how)
            expected = plainly(whole, call, connection)
            for dues in (one, one, Dues(whole)):
                assert names(dues.of(call, connection)) == expected
            assert one.of_sender(who, connection) == Dues(whole).of_sender(who, connection)


def test_who_is_narrowed_is_somebody_else_at_once() -> None:
    """Who loses a group has no plan of that group from his next call on, however often he has called before (S1.23)."""
    dues, connection = Dues(made((None, PLANS))), connected()
    alice = Principal(id="alice", kind="user", groups=frozenset({"paying"}))
    for who, rules in ((alice, {"plans.paying"}), (alice.narrow(groups=frozenset()), {"plans.free"})) * 2:
        due = dues.of(called(who), connection)
        assert due is not None
        assert {bucket.rule for bucket, _ in due.refs} == rules


def test_an_anonymous_caller_is_where_he_comes_from_now() -> None:
    """Who has proved nothing is his address at each call, and what he says of his port is nobody (A62)."""
    dues = Dues(made((None, {"principals": {"*": "5/hour each"}})))

    def key(*of: Any, who: Principal = ANONYMOUS) -> str:
        due = dues.of(called(who), connected("files", *of))
        assert due is not None
        ((_, key),) = due.refs
        return key

    assert key("192.0.2.1:1") == key("192.0.2.1:9") == "address:192.0.2.1"
    assert key("192.0.2.2:1") == "address:192.0.2.2"
    assert key("192.0.2.2:1", Credentials(7, 7)) == "address:uid:7"
    alice = Principal(id="alice", kind="user")
    assert key("192.0.2.1:1", who=alice) == key("192.0.2.2:1", who=alice) == "id:alice"


@pytest.mark.parametrize("more", [{}, {"domains": {"*.example": "1/hour"}}])
def test_a_cost_goes_by_the_arguments_of_each_call(more: dict[str, Any]) -> None:
    """Where items are counted, each call costs what its own arguments say, after whatever cheap ones (S1.24)."""
    counts: dict[str, Any] = {"costs": {"ls": "paths"}, "prices": {"rm": "paths"}}
    dues = Dues(made((None, {"global": "9/hour, 90 credits/month", **counts, **more})))
    found = [dues.of(called(ANONYMOUS, tool, [1] * count), connected()) for tool in ("ls", "rm") for count in (0, 9, 2)]
    assert [(due.cost, due.price) for due in found if due] == [(1, 1), (9, 9), (2, 2), (1, 1), (1, 9), (1, 2)]


def test_a_table_that_says_nothing_of_a_tool_costs_nothing() -> None:
    """What the first table lets pass for nothing, another one that does not name it does not charge (S1.24)."""
    tables: list[tuple[str | None, dict[str, Any]]] = [
        (None, {"global": "9/hour", "costs": {"ls": 0}}),
        ("files", {"calls": "9/hour", "costs": {"rm": 3}}),
    ]
    dues = Dues(made(*tables))
    assert dues.of(called(ANONYMOUS, "ls"), connected()) is None
    assert [due.cost for tool in ("rm", "read") if (due := dues.of(called(ANONYMOUS, tool), connected()))] == [3, 1]


def test_a_host_that_cannot_be_told_is_refused_each_time() -> None:
    """Where domains are limited, a call with an unclear URL is refused, after whatever clear ones (S3.44)."""
    dues = Dues(made((None, {"domains": {"*.example": "5/hour"}})))
    assert dues.of(called(ANONYMOUS, "ls", "https://a.example"), connected()) is not None
    assert dues.of(called(ANONYMOUS, "ls", "no URL"), connected()) is None
    with pytest.raises(Refused) as caught:
        dues.of(called(ANONYMOUS, "ls", "https://a.example\\@b.example"), connected())
    assert caught.value.code == "ratelimit.host"


def test_what_is_remembered_of_callers_is_bounded() -> None:
    """However many callers and tools there are, and however long their names, little is kept of them (X.6)."""
    dues = Dues(made((None, {"tools": {"*": "1/hour each"}, "principals": {"*": "1/hour each"}, "messages": "1/day"})))
    for number in range(2000):
        for length in (10, 10_000):
            name = f"{number}-" + "x" * length
            who = Principal(id=name, kind="user")
            for caller, connection in ((who, connected()), (ANONYMOUS, connected(peer=name))):
                due = dues.of(called(caller, name), connection)
                assert due is not None
                assert all(len(key) <= 64 for _, key in due.refs)
                assert dues.of_sender(caller, connection)[1]
    assert 0 < len(dues._terms) <= 512
    assert 0 < len(dues._senders) <= 512
    assert all(len(terms.caller.tool) < 100 for terms in dues._terms.values())
    assert all(len(who.id) < 100 for who, *_ in dues._senders)


def test_nothing_long_of_a_caller_is_kept() -> None:
    """Whatever of a call or its caller is long, it is not kept with what is charged; nor are many hosts (X.6)."""
    dues, long = Dues(made((None, {"global": "1/hour"}))), "x" * 2000
    for more in ({"id": long}, {"tenant": long}, {"groups": frozenset({long})}, {"roles": frozenset({long})}):
        who = Principal(**cast("Any", {"id": "alice", "kind": "user"} | more))
        assert dues.of(called(who), connected()) is not None
        dues.of_sender(who, connected())
    for tool, peer in ((long, "192.0.2.1:1"), ("ls", long)):
        assert dues.of(called(ANONYMOUS, tool), connected(peer=peer)) is not None
    dues.of_sender(ANONYMOUS, connected(peer=long))
    assert not dues._terms
    assert not dues._senders
    by_host = Dues(made((None, {"domains": {"*.example": "5/hour each"}})))
    for number in range(100):
        due = by_host.of(called(ANONYMOUS, "ls", f"https://{number}.example"), connected())
        assert due is not None
        assert [key for _, key in due.refs] == [f"{number}.example"]
    assert [len(terms.hosts) <= 16 for terms in by_host._terms.values()] == [True]


async def test_a_reload_holds_for_the_next_call(limited: Any) -> None:
    """After a reload the next call of a known caller meets the new limits, costs and members, and no old ones."""
    toml = '[ratelimit]\nglobal = "{limit}"\n[ratelimit.costs]\nls = {cost}\n'
    async with limited(toml.format(limit="100/hour", cost=1)) as rig:
        for limit, cost, passes in (("100/hour", 30, 3), ("0/hour", 1, 0), ("unlimited", 1, 9)):
            await rig.call("ls")
            await rig.guard.reload(Config.from_toml(toml.format(limit=limit, cost=cost)))
            before = len(rig.reached)
            for _ in range(9):
                await rig.call("ls")
            assert len(rig.reached) - before == passes

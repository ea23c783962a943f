"""News that comes too often, and lists that never end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hauberk import doctor
from hauberk.config import Config
from hauberk.connection import Connection
from hauberk.hookspecs import hookimpl
from hauberk.layers import Layer
from hauberk.message import Frame
from hauberk.probe import notification, request
from hauberk.probe import result as result_of
from hauberk.refusals import Refused
from hauberk.testing import Clock, Rig, guard_from
from hauberk_sieve._limits import LIMITS
from hauberk_sieve.storms._mesh import LISTS, NEWS, Storms
from hauberk_sieve.storms._pace import Pace
from hauberk_sieve.storms._pages import Walk

Json = dict[str, Any]

TABLE = '[sieve]\ndefault = "allow"\n'
TOOLS = "notifications/tools/list_changed"
UPDATED = "notifications/resources/updated"
STREAM = "io.modelcontextprotocol/subscriptionId"


class Timers:
    """The timers of one mesh, which only a test lets go off."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.set: list[tuple[float, Callable[[], None], Timers.Timer]] = []

    class Timer:
        def __init__(self) -> None:
            self.cancelled = False

        def cancel(self) -> None:
            self.cancelled = True

    def __call__(self, seconds: float, function: Callable[[], None]) -> Timer:
        timer = Timers.Timer()
        self.set.append((self.clock() + seconds, function, timer))
        return timer

    def turn(self, seconds: float) -> None:
        """Let time pass, and every timer go off whose time has come."""
        until = self.clock() + seconds
        while due := [one for one in self.set if one[0] <= until and not one[2].cancelled]:
            first = min(due, key=lambda one: one[0])
            self.set.remove(first)
            self.clock.time = max(self.clock.time, first[0])
            first[1]()
        self.clock.time = until


def timers(rig: Rig) -> Timers:
    """Give the mesh of a guard timers of the test's own."""
    mesh: Storms = rig.guard.loaded["sieve"].plugin.meshes["storms"]
    found = Timers(rig.clock)
    mesh.later = found
    return found


async def say(rig: Rig, method: str, params: Json | None = None) -> None:
    await rig.send(rig.from_server, notification(method, params))


def told(rig: Rig) -> Counter[str]:
    return Counter(message["method"] for message in rig.replies if "method" in message)


# --- news ---


@pytest.mark.parametrize("role", ["client", "server"])
async def test_storm_is_one_word_a_second_and_none_is_lost(role: Any) -> None:
    """Of 10,000 notifications in a second the client gets the first, and the last once the second is over (A67)."""
    async with guard_from(TABLE, role=role) as rig:
        clock = timers(rig)
        line = orjson.dumps(notification(TOOLS))
        for _ in range(10_000):
            rig.session.receive(rig.from_server, line)
            rig.clock.turn(0.0001)
        await rig.settle()
        assert told(rig) == {TOOLS: 1}
        clock.turn(0.01)
        await rig.settle()
        assert told(rig) == {TOOLS: 2}
        clock.turn(60)
        await rig.settle()
        assert told(rig) == {TOOLS: 2}
        if role == "client":  # what comes from the wire is counted, not recorded one by one
            assert len([event for event in rig.recorder.events if event.code == "sieve.storm"]) < 100


async def test_storm_that_goes_on_is_one_word_a_second() -> None:
    """A storm of a minute is a word a second, each the latest (A67)."""
    async with guard_from(TABLE) as rig:
        clock = timers(rig)
        for number in range(600):
            await say(rig, TOOLS, {"n": number})
            clock.turn(0.1)
        clock.turn(2)
        await rig.settle()
        assert 58 <= told(rig)[TOOLS] <= 62
        assert rig.replies[-1]["params"] == {"n": 599}


async def test_news_of_each_kind_passes_by_itself() -> None:
    """Each list, each resource and each stream has a pace of its own (A67)."""
    async with guard_from(TABLE) as rig:
        clock = timers(rig)
        for _ in range(2):
            for method in NEWS[:3]:
                await say(rig, method)
            for uri in ("demo://a", "demo://b"):
                await say(rig, UPDATED, {"uri": uri})
            for stream in ("s", "t", 7):
                await say(rig, TOOLS, {"_meta": {STREAM: stream}})
        assert told(rig) == {NEWS[0]: 4, NEWS[1]: 1, NEWS[2]: 1, UPDATED: 2}
        clock.turn(1)
        await rig.settle()
        assert told(rig) == {NEWS[0]: 8, NEWS[1]: 2, NEWS[2]: 2, UPDATED: 4}
        assert {str(message.get("params", {}).get("_meta", {}).get(STREAM)) for message in rig.replies} == {
            "None",
            "s",
            "t",
            "7",
        }


async def test_news_in_its_own_time_passes_at_once() -> None:
    """News that does not come too often is not held."""
    async with guard_from(TABLE) as rig:
        clock = timers(rig)
        for number in range(1, 6):
            await say(rig, TOOLS)
            assert told(rig)[TOOLS] == number
            clock.turn(1)
        assert clock.set == []


async def test_kinds_without_end_are_refused() -> None:
    """A server that names ever new resources has a bound, and its lists are told all the same (A67)."""
    async with guard_from(TABLE) as rig:
        clock = timers(rig)
        await say(rig, TOOLS)
        for number in range(LIMITS.streams + 10):
            rig.session.receive(rig.from_server, orjson.dumps(notification(UPDATED, {"uri": f"demo://{number}"})))
        await rig.settle()
        assert told(rig) == {TOOLS: 1, UPDATED: LIMITS.streams - 1}
        clock.turn(1)
        await say(rig, UPDATED, {"uri": "demo://x"})
        assert told(rig)[UPDATED] == LIMITS.streams


async def test_two_connections_have_each_its_pace() -> None:
    """What one server says holds up no other."""
    async with guard_from(TABLE) as rig:
        timers(rig)
        await say(rig, TOOLS)
        await rig.start()
        await say(rig, TOOLS)
        assert told(rig)[TOOLS] == 2


async def test_news_is_not_thinned_out_where_the_table_says_so() -> None:
    """With every = 0 all news passes; a longer time holds it longer."""
    async with guard_from(f"{TABLE}[sieve.storms]\nevery = 0") as rig:
        clock = timers(rig)
        for _ in range(20):
            await say(rig, TOOLS)
        assert told(rig)[TOOLS] == 20
        assert clock.set == []
    async with guard_from(f"{TABLE}[sieve.storms]\nevery = 10") as rig:
        clock = timers(rig)
        for _ in range(2):
            await say(rig, TOOLS)
        clock.turn(9.9)
        await rig.settle()
        assert told(rig)[TOOLS] == 1
        clock.turn(0.1)
        await rig.settle()
        assert told(rig)[TOOLS] == 2


async def test_observing_sieve_holds_nothing_back() -> None:
    """In mode audit news passes at once, and nothing is told twice."""
    async with guard_from(f'{TABLE}mode = "audit"') as rig:
        clock = timers(rig)
        for _ in range(3):
            await say(rig, TOOLS)
        clock.turn(5)
        await rig.settle()
        assert told(rig)[TOOLS] == 3
        assert rig.recorder.codes.count("core.would_refuse") == 2


async def test_reload_and_close_lose_no_news_and_leave_no_timer(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was held at a reload is told by the new policy; at the end nothing is left to go off (A67)."""
    text = f'core.state_dir = "{tmp_path}"\n{TABLE}'
    async with guard_from(text) as rig:
        before = timers(rig)
        for _ in range(2):
            await say(rig, TOOLS)
        after = Timers(rig.clock)
        made = Storms.__init__

        def make(self: Storms, setting: Any) -> None:
            made(self, setting)
            self.later = after

        monkeypatch.setattr(Storms, "__init__", make)
        await rig.guard.reload(Config.from_toml(f"{text}[sieve.storms]\npages = 7\n"))
        assert [timer.cancelled for _, _, timer in before.set] == [True]
        after.turn(1)
        await rig.settle()
        assert told(rig)[TOOLS] >= 2
        for _ in range(2):
            await say(rig, TOOLS)
    assert [timer.cancelled for _, _, timer in after.set] == [True]


async def test_news_for_a_client_that_has_gone_is_dropped() -> None:
    """A timer that goes off after the end of a session tells nobody."""
    async with guard_from(TABLE) as rig:
        clock = timers(rig)
        for _ in range(2):
            await say(rig, TOOLS)
        await rig.session.close()
        clock.turn(2)
        await rig.settle()
        assert told(rig)[TOOLS] == 1


async def test_timers_are_the_loops_own() -> None:
    """Without a test's timers the loop's go off."""
    async with guard_from(f"{TABLE}[sieve.storms]\nevery = 0.001") as rig:
        arrived: list[bytes] = []
        rig.client.on_deliver = arrived.append
        for _ in range(2):
            await say(rig, TOOLS)
        mesh: Storms = rig.guard.loaded["sieve"].plugin.meshes["storms"]
        (timer,) = mesh._timers.values()
        assert type(timer).__name__ == "TimerHandle"


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 1.5)), max_size=80),
    st.sampled_from([0.5, 1.0, 3.0]),
)
def test_pace_loses_no_last_word_and_keeps_apart(news: list[tuple[str, float]], every: float) -> None:
    """Whatever comes, two of a kind are apart, and the last of each kind passes in the end (A67)."""
    pace, now, passed = Pace(), 0.0, []
    for number, (kind, gap) in enumerate(news):
        until = now + gap
        while (due := pace.next()) is not None and due <= until:
            now = max(now, due)
            passed += [(*one, now) for one in pace.due(now, every)]
        now = until
        if pace.take(kind, (kind, number), now, every) == "pass":
            passed.append((kind, number, now))
    while (due := pace.next()) is not None:
        now = max(now, due)
        passed += [(*one, now) for one in pace.due(now, every)]
    for name in "abc":
        mine = [(number, at) for kind, number, at in passed if kind == name]
        assert [number for number, _ in mine] == sorted(number for number, _ in mine)
        assert all(later - at >= every * 0.999 for (_, at), (_, later) in pairwise(mine))
        last = max((number for number, (kind, _) in enumerate(news) if kind == name), default=None)
        assert last == (mine[-1][0] if mine else None)


# --- pages ---


async def page(rig: Rig, method: str, cursor: str | None, following: str | None, id: int) -> Json:
    """Ask for one page, which is answered with a cursor; return what the client gets."""
    await rig.send(rig.from_client, request(method, {} if cursor is None else {"cursor": cursor}, id=id))
    member = {"resources/templates/list": "resourceTemplates"}.get(method, method.split("/", maxsplit=1)[0])
    answer: Json = {member: []} if following is None else {member: [], "nextCursor": following}
    await rig.send(rig.from_server, result_of(answer, id=id))
    return rig.replies[-1]


@pytest.mark.parametrize("method", LISTS)
async def test_list_without_end_is_refused(method: str) -> None:
    """The page at which a list is too long is refused, so that who walks through it stops (A46)."""
    async with guard_from(f"{TABLE}[sieve.storms]\npages = 5") as rig:
        for number in range(1, 5):
            got = await page(rig, method, f"c{number}" if number > 1 else None, f"c{number + 1}", number)
            assert got["result"]["nextCursor"] == f"c{number + 1}"
        got = await page(rig, method, "c5", "c6", 5)
        assert (got["error"]["data"]["code"], got["error"]["data"]["rule"]) == ("sieve.endless_list", "pages = 5")
        assert "result" in await page(rig, method, None, "c2", 6)


async def test_list_of_just_so_many_pages_passes() -> None:
    """The last page of a list that is as long as it may be has no cursor, and passes."""
    async with guard_from(f"{TABLE}[sieve.storms]\npages = 3") as rig:
        assert "result" in await page(rig, "tools/list", None, "c2", 1)
        assert "result" in await page(rig, "tools/list", "c2", "c3", 2)
        assert "result" in await page(rig, "tools/list", "c3", None, 3)


@pytest.mark.parametrize("steps", [["a", "a"], ["a", "b", "a"], ["a", "b", "c", "b"]])
async def test_list_that_leads_in_a_circle_is_refused(steps: list[str]) -> None:
    """A cursor that stood on an earlier page leads back there (A46)."""
    async with guard_from(TABLE) as rig:
        cursor: str | None = None
        for number, following in enumerate(steps, 1):
            got = await page(rig, "tools/list", cursor, following, number)
            cursor = following
        assert got["error"]["data"]["rule"] == "no cursor comes twice"


async def test_walk_that_starts_anew_may_meet_the_same_cursors() -> None:
    """A client that lists again, or asks for one page again, is not led in a circle."""
    async with guard_from(TABLE) as rig:
        cursors = [None, "a", "b", "b", None, "a", "b"]
        for number, cursor in enumerate(cursors, 1):
            following = {None: "a", "a": "b", "b": "c"}[cursor]
            assert "result" in await page(rig, "tools/list", cursor, following, number)


def test_list_that_has_grown_is_no_circle() -> None:
    """A cursor that stood on an earlier page of another walk leads nowhere back (A46)."""
    walk = Walk()
    for cursor, following in ((None, "b"), (None, "a"), ("a", "b"), ("b", "c")):
        assert walk.answered(walk.asked(cursor), following, 100) is None


async def test_two_walks_at_once_are_no_circle() -> None:
    """Two walks through one list, page by page in turn, are two walks (A46)."""
    walk = Walk()
    for cursor in (None, "a", "b", "c"):
        for _ in range(2):
            assert walk.answered(walk.asked(cursor), {None: "a", "a": "b", "b": "c", "c": "d"}[cursor], 100) is None


@given(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=30))
def test_walk_ends_whatever_a_server_says(cursors: list[str]) -> None:
    """Who follows the cursors of a server sees no more pages than it has cursors, or than the bound (A46)."""
    walk, cursor, pages = Walk(), None, 0
    while pages < 100:
        page, pages = walk.asked(cursor), pages + 1
        cursor = cursors[(pages - 1) % len(cursors)]
        if walk.answered(page, cursor, 50) is not None:
            break
    assert pages <= len({*cursors}) + 1


def test_walk_keeps_a_bounded_number_of_cursors() -> None:
    """A client without end that starts no walk fills no memory."""
    walk = Walk()
    for number in range(10_000):
        assert walk.answered(walk.asked(f"x{number}"), f"y{number}", 50) is None
    assert len(walk._pages) <= 100


async def test_page_of_the_guards_own_question_is_not_counted() -> None:
    """What the guard asks itself has a bound of its own, and is no page of the client's."""
    async with guard_from(f"{TABLE}[sieve.storms]\npages = 1") as rig:
        rig.server.on_deliver = lambda data: rig.session.receive(
            rig.from_server, orjson.dumps(result_of({"tools": [], "nextCursor": "a"}, id=orjson.loads(data)["id"]))
        )
        assert (await rig.session.request("tools/list"))["nextCursor"] == "a"


@pytest.mark.parametrize("ttl", [2**53, 2**63 - 1, -1, 1e308, "soon", None])
async def test_list_is_kept_by_no_client(ttl: Any) -> None:
    """However long a server says that a list holds, and for whom, no client keeps it (A49)."""
    async with guard_from(TABLE) as rig:
        await rig.send(rig.from_client, request("tools/list", id=1))
        await rig.answer({"tools": [], "ttlMs": ttl, "cacheScope": "public"})
        result = rig.replies[-1]["result"]
        assert (result["ttlMs"], result["cacheScope"]) == (0, "private")


@pytest.mark.parametrize("line", ["every = -1", "pages = 0", "page = 3"])
async def test_table_of_nonsense_stops_the_start(line: str) -> None:
    """What the table cannot mean is an error that names the key."""
    with pytest.raises(Exception, match=f"storms.{line.split(maxsplit=1)[0]}"):
        async with guard_from(f"[sieve.storms]\n{line}"):
            pass


@pytest.mark.parametrize(
    ("toml", "names"), [("", ["endless_list", "news"]), ("[sieve.storms]\nevery = 0", ["endless_list"])]
)
async def test_probes_tell_whether_storms_are_stilled(
    toml: str, names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The probes pass with the mesh, and tell when it is gone (X.1)."""
    for works in (True, False):
        if not works:
            monkeypatch.setattr(Storms, "look", lambda self, message, connection: None)
        async with guard_from(TABLE + toml) as rig:
            report = await doctor.examine(rig.guard, rig.guard.policy)
        states = {one.name: one.state for one in report.findings if one.name.endswith(("endless_list", "out_news"))}
        assert len(states) == len(names)
        assert set(states.values()) == ({"ok"} if works else {"not_stopped"})


async def test_news_that_may_not_leave_is_an_event() -> None:
    """Where a frame hook refuses what was held, the client is not told, and the log is (A67)."""

    class Sealer:
        name = "sealer"
        layer = Layer.WIRE
        closed = False

        @hookimpl
        def on_send(self, message: Frame, connection: Connection) -> Frame | None:
            if self.closed:
                raise Refused("sealer.closed", "closed")
            return None

    sealer = Sealer()
    async with guard_from(TABLE, sealer, role="server") as rig:
        clock = timers(rig)
        for _ in range(2):
            await say(rig, TOOLS)
        sealer.closed = True
        clock.turn(1)
        await rig.settle()
        (event,) = [event for event in rig.recorder.events if event.code == "sieve.untold"]
        assert event.details == {"why": "sealer.closed"}
        assert told(rig)[TOOLS] == 1

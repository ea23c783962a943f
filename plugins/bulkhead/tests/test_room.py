"""A room: caps, queue, fair shares, deadlines; against a plain model of the rules, and under a flood."""

from __future__ import annotations

import gc
import itertools
import sys
import threading
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from hauberk_bulkhead._room import Caps, Full, Place, Room

pytestmark = pytest.mark.campaign

PATIENCE = 10.0
PRINCIPALS = ("ann", "bob", "cat")
TOOLS = ("read", "write")


def enter(room: Room, principal: str = "ann", tool: str = "read", now: float = 0.0, wait: float = 0.0) -> Place:
    return room.enter(principal, tool, now, now + wait)


def full(room: Room, principal: str = "ann", tool: str = "read", now: float = 0.0, wait: float = 0.0) -> str:
    with pytest.raises(Full) as error:
        enter(room, principal, tool, now, wait)
    return error.value.scope


# --- the rules, one by one ---


def test_each_cap_is_told_by_name() -> None:
    """Whose cap is reached is what the refusal says: the room's, the tool's or the principal's (S1.42)."""
    room = Room(Caps(4, 3, 2, 0, {"slow": 1}))
    enter(room, "ann", "slow")
    assert full(room, "bob", "slow") == "tool"
    enter(room, "ann", "read")
    assert full(room, "ann", "write") == "principal"
    enter(room, "bob", "read")
    enter(room, "cat", "read")
    assert full(room, "dan", "write") == "server"


def test_zero_lets_nobody_in() -> None:
    """A cap of 0 is none at all, never no cap (S1.41)."""
    assert full(Room(Caps(0, 9, 9, 0))) == "server"
    assert full(Room(Caps(9, 0, 9, 0))) == "tool"
    assert full(Room(Caps(9, 9, 0, 0))) == "principal"


def test_request_beyond_the_queue_is_refused_at_once() -> None:
    """Request 1 001 of a queue of 1 000 is refused, and does not wait (S4.17)."""
    room = Room(Caps(1, 1, 1, 1000))
    enter(room)
    for _ in range(1000):
        assert enter(room, wait=PATIENCE).state == "waiting"
    assert full(room, wait=PATIENCE) == "queue"
    assert room.waiting == 1000


def test_place_is_freed_once() -> None:
    """To leave twice, or after waiting in vain, changes nothing: no count goes below what is there (S4.16)."""
    room = Room(Caps(1, 1, 1, 2))
    first, second = enter(room), enter(room, wait=PATIENCE)
    room.leave(second, 0.0)
    room.leave(second, 0.0)
    room.leave(first, 0.0)
    room.leave(first, 0.0)
    assert room.empty
    assert enter(room).state == "in"


def test_who_waited_too_long_never_goes_in() -> None:
    """An entry whose deadline has passed is dropped, whoever waits behind it goes in (S4.17)."""
    room = Room(Caps(1, 1, 1, 9))
    first, late, later = enter(room), enter(room, now=0.0, wait=1.0), enter(room, now=0.5, wait=1.0)
    room.leave(first, 1.0)
    assert (late.state, later.state) == ("late", "in")


def test_one_slow_tool_does_not_hold_up_the_others() -> None:
    """Behind a call whose tool is full, another tool's call of the same principal goes in."""
    room = Room(Caps(2, 1, 2, 9))
    slow, other = enter(room, tool="slow"), enter(room, tool="read")
    waits, goes = enter(room, tool="slow", wait=PATIENCE), enter(room, tool="read", wait=PATIENCE)
    room.leave(other, 0.0)
    assert (waits.state, goes.state) == ("waiting", "in")
    room.leave(slow, 0.0)
    assert waits.state == "in"


def test_full_queue_makes_room_for_who_has_least() -> None:
    """A flood that fills the queue is pushed out of it, its newest first, up to an equal share (S1.42, S4.17)."""
    room = Room(Caps(1, 1, 1, 4))
    enter(room, "ann")
    flood = [enter(room, "ann", wait=PATIENCE) for _ in range(4)]
    assert [enter(room, "bob", wait=PATIENCE).state for _ in range(2)] == ["waiting"] * 2
    assert [place.state for place in flood] == ["waiting", "waiting", "displaced", "displaced"]
    assert full(room, "bob", wait=PATIENCE) == "queue"
    assert full(room, "ann", wait=PATIENCE) == "queue"


def test_principal_at_his_cap_stays_at_the_door() -> None:
    """When somebody else leaves, who has his share already does not get that place (S1.42)."""
    room = Room(Caps(2, 2, 1, 9))
    ann, bob = enter(room, "ann"), enter(room, "bob")
    waits = enter(room, "ann", wait=PATIENCE)
    states = []
    for one in (bob, ann):
        room.leave(one, 0.0)
        states.append(waits.state)
    assert states == ["waiting", "in"]


def test_equals_take_turns() -> None:
    """Of principals with as many calls in the room, the one goes first that has waited longest for a turn."""
    room = Room(Caps(3, 9, 9, 9))
    inside = [enter(room, "ann"), enter(room, "bob"), enter(room, "cat")]
    waiting = {who: [enter(room, who, wait=PATIENCE) for _ in range(2)] for who in ("bob", "ann")}
    order = []
    for place in (inside[2], *inside[:2]):
        room.leave(place, 0.0)
        order.append([who for who, places in waiting.items() for one in places if one.state == "in"])
    assert order == [["bob"], ["bob", "ann"], ["bob", "bob", "ann"]]


def test_raised_cap_lets_in_who_waits() -> None:
    """After a reload that raises a cap, whoever fits goes in without anybody leaving."""
    room = Room(Caps(1, 9, 9, 9))
    enter(room)
    waits = enter(room, wait=PATIENCE)
    room.caps = Caps(2, 9, 9, 9)
    room.admit(0.0)
    assert waits.state == "in"


# --- a plain model ---


class Model:
    """The rules, written down as plainly as can be."""

    def __init__(self, caps: Caps) -> None:
        self.caps = caps
        self.inside: list[int] = []
        self.line: list[int] = []
        self.turns: list[str] = []
        self.about: dict[int, tuple[str, str, float]] = {}

    def count(self, where: list[int], part: int, name: str) -> int:
        return sum(self.about[number][part] == name for number in where)

    def fits(self, number: int) -> bool:
        principal, tool, _ = self.about[number]
        return (
            len(self.inside) < self.caps.total
            and self.count(self.inside, 1, tool) < self.caps.of_tool(tool)
            and self.count(self.inside, 0, principal) < self.caps.per_principal
        )

    def forget(self, number: int) -> None:
        self.line.remove(number)
        principal = self.about[number][0]
        if not self.count(self.line, 0, principal):
            self.turns.remove(principal)

    def late(self, now: float) -> None:
        for number in [number for number in self.line if self.about[number][2] <= now]:
            self.forget(number)

    def admit(self) -> None:
        while able := [number for number in self.line if self.fits(number)]:
            owners = {self.about[number][0] for number in able}
            who = min(owners, key=lambda one: (self.count(self.inside, 0, one), self.turns.index(one)))
            number = min(number for number in able if self.about[number][0] == who)
            self.forget(number)
            if who in self.turns:
                self.turns.remove(who)
                self.turns.append(who)
            self.inside.append(number)

    def enter(self, number: int, principal: str, tool: str, now: float, until: float) -> str:
        """Return what becomes of it, and whom it displaces."""
        self.about[number] = principal, tool, until
        self.late(now)
        if self.fits(number):
            self.inside.append(number)
            return "in"
        if until <= now or not self.caps.queue:
            return "refused"
        if len(self.line) >= self.caps.queue:
            own = self.count(self.line, 0, principal)
            waiting = {self.about[one][0] for one in self.line} | {principal}
            if own >= self.caps.queue // len(waiting):
                return "refused"
            most = max(self.turns, key=lambda one: self.count(self.line, 0, one))
            self.forget(max(one for one in self.line if self.about[one][0] == most))
        if principal not in self.turns:
            self.turns.append(principal)
        self.line.append(number)
        return "waiting"

    def leave(self, number: int, now: float) -> None:
        self.late(now)
        if number in self.inside:
            self.inside.remove(number)
            self.admit()
        elif number in self.line:
            self.forget(number)


class Rooms(RuleBasedStateMachine):
    """The room does what the model does, whatever comes in which order (issue 8, point 1)."""

    @initialize(
        total=st.integers(0, 4),
        per_tool=st.integers(0, 3),
        per_principal=st.integers(0, 3),
        queue=st.integers(0, 5),
        slow=st.integers(0, 2),
    )
    def begin(self, total: int, per_tool: int, per_principal: int, queue: int, slow: int) -> None:
        caps = Caps(total, per_tool, per_principal, queue, {"write": slow})
        self.room, self.model, self.now = Room(caps), Model(caps), 0.0
        self.places: dict[int, Place] = {}
        self.numbers = itertools.count(1)
        self.woken: list[int] = []

    @rule(principal=st.sampled_from(PRINCIPALS), tool=st.sampled_from(TOOLS), waits=st.booleans())
    def come(self, principal: str, tool: str, waits: bool) -> None:
        number = next(self.numbers)
        until = self.now + PATIENCE if waits else self.now
        expected = self.model.enter(number, principal, tool, self.now, until)
        try:
            place = self.room.enter(principal, tool, self.now, until)
        except Full:
            assert expected == "refused"
            return
        self.places[number] = place
        place.wake = lambda: self.woken.append(number)
        assert place.state == expected

    @precondition(lambda self: self.places)
    @rule(data=st.data())
    def go(self, data: Any) -> None:
        number = data.draw(st.sampled_from(sorted(self.places)))
        self.model.leave(number, self.now)
        self.room.leave(self.places[number], self.now)

    @rule(seconds=st.sampled_from((0.5, 5.0, PATIENCE, 2 * PATIENCE)))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.model.late(self.now)
        for place in self.places.values():
            self.room.expire(place, self.now)

    @invariant()
    def they_agree(self) -> None:
        if not hasattr(self, "room"):
            return
        inside = [number for number, place in self.places.items() if place.state == "in"]
        assert inside == sorted(self.model.inside)
        line = [number for number, place in self.places.items() if place.state == "waiting"]
        assert line == sorted(self.model.line)
        assert (self.room.held, self.room.waiting) == (len(inside), len(line))
        assert self.room.empty is not bool(inside or line)

    @invariant()
    def each_is_woken_once(self) -> None:
        if hasattr(self, "room"):
            assert len(set(self.woken)) == len(self.woken)


TestRooms = Rooms.TestCase
TestRooms.settings = settings(max_examples=300, deadline=None)


# --- under attack ---


def test_a_million_principals_leave_nothing_behind() -> None:
    """10⁶ principals and tools that came and went take no memory; those that are refused neither (X.6)."""
    room = Room(Caps(10, 10, 10, 10))
    for number in range(1000):
        room.leave(enter(room, f"p{number}", f"t{number}"), 0.0)
    gc.collect()
    before = sys.getallocatedblocks()
    held = [enter(room, f"h{number}") for number in range(10)]
    for number in range(10**6):
        with suppress(Full):
            room.leave(enter(room, f"p{number}", f"t{number}", now=float(number), wait=0.5), float(number))
    for place in held:
        room.leave(place, 2e6)
    gc.collect()
    assert room.empty
    assert sys.getallocatedblocks() - before < 1000


def waits(flood: int) -> list[float]:
    """Return how long each of 200 calls waits that come one each 0.1 s and take 0.1 s, beside a flood; simulated."""
    room, clock = Room(Caps(10, 10, 5, 100)), 0.0
    ends: list[tuple[float, int, Place]] = []
    begun: dict[int, tuple[float, Place]] = {}
    taken: list[float] = []
    numbers = itertools.count()
    for tick in range(2000):
        clock = tick / 100
        for _, _, place in sorted(one for one in ends if one[0] <= clock):
            room.leave(place, clock)
            ends = [one for one in ends if one[2] is not place]
        for number, (since, place) in list(begun.items()):
            if place.state == "in":
                ends.append((clock + 0.1, next(numbers), place))
                if place.principal == "quiet":
                    taken.append(clock - since)
                del begun[number]
            elif place.state != "waiting":
                assert place.principal != "quiet", "the quiet one was turned away"
                del begun[number]
        comers = ["flood"] * flood + ["quiet"] * (tick % 10 == 0)
        for principal in comers:
            try:
                begun[next(numbers)] = clock, enter(room, principal, now=clock, wait=1.0)
            except Full:
                assert principal == "flood"
    return sorted(taken)


def test_flood_of_one_principal_leaves_another_alone() -> None:
    """Beside a flood of ten times what the room takes, nobody else waits a tick longer, nor is turned away (S1.42)."""
    quiet, flooded = waits(0), waits(100)
    assert len(quiet) == len(flooded) >= 190
    assert flooded[int(len(flooded) * 0.99)] <= quiet[int(len(quiet) * 0.99)] + 0.011


def test_flood_of_many_principals_shares_the_room() -> None:
    """Of principals that all want more than there is, each gets the same, within one."""
    room, served = Room(Caps(4, 4, 4, 40)), dict.fromkeys("abcdefgh", 0)
    inside: list[Place] = []
    waiting: list[Place] = []
    for turn in range(400):
        for who in served:
            try:
                place = enter(room, who, now=float(turn), wait=1e9)
            except Full:
                continue
            (inside if place.state == "in" else waiting).append(place)
        gone = inside.pop(0)
        room.leave(gone, float(turn))
        served[gone.principal] += 1
        inside += [place for place in waiting if place.state == "in"]
        waiting = [place for place in waiting if place.state == "waiting"]
    assert max(served.values()) - min(served.values()) <= 2


def test_rooms_of_several_threads_do_not_meet() -> None:
    """Each guard has rooms of its own: threads with a guard each leave each room empty, whatever they interleave."""
    rooms = [Room(Caps(3, 3, 3, 3)) for _ in range(4)]

    def run(room: Room) -> None:
        for turn in range(2000):
            places = [enter(room, f"p{turn % 3}", wait=1.0) for _ in range(2)]
            for place in places:
                room.leave(place, 0.0)

    threads = [threading.Thread(target=run, args=(room,)) for room in rooms]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(room.empty for room in rooms)

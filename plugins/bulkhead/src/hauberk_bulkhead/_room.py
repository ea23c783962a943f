"""One server's room: how many calls are in it, who waits at its door, and who goes in next. Pure: no loop, no clock.

The rules:

1. A call is in the room if it fits every cap: that of the room, that of its tool, that of its principal.
2. Nobody waits who would fit. So a newcomer who fits goes in at once, and overtakes nobody.
3. Of those who wait, the principal with the fewest calls in the room goes first, among equals who has waited longest
   for a turn: max-min fairness, in which nobody's flood takes what another would have used.
4. The queue has a depth. When it is full, a newcomer whose principal has fewer waiting than an equal share gets the
   place of the last of the principal who has most of them; any other newcomer is refused at once.
5. Each place ends once, by whoever calls `Room.leave` first; to call it again does nothing.
6. What waits past its deadline never goes in.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Final, Literal, NamedTuple

import msgspec

State = Literal["waiting", "in", "gone", "late", "displaced"]
Scope = Literal["server", "tool", "principal", "queue"]


class Caps(NamedTuple):
    """How many may be in one room, and wait for it (calls)."""

    total: int
    per_tool: int
    per_principal: int
    queue: int
    tools: Mapping[str, int] = {}
    """Tools with a cap of their own."""

    def of_tool(self, tool: str) -> int:
        """Return the cap of one tool."""
        return self.tools.get(tool, self.per_tool)


class Full(Exception):
    """There is no room, and no place in the queue; ``scope`` says whose cap it was."""

    def __init__(self, scope: Scope) -> None:
        super().__init__(scope)
        self.scope: Final = scope


def _nobody() -> None:
    """Wake nobody."""


class Place(msgspec.Struct, eq=False):
    """One call, in the room or waiting for it."""

    number: int
    principal: str
    tool: str
    until: float
    """When it waits no longer (monotonic seconds)."""
    state: State = "waiting"
    scope: Scope = "server"
    """Whose cap kept it waiting at first."""
    wake: Callable[[], object] = _nobody


class Room:
    """The calls of one server."""

    __slots__ = ("_numbers", "_principals", "_queues", "_tools", "caps", "held", "waiting")

    def __init__(self, caps: Caps) -> None:
        self.caps = caps
        """May be replaced; who is in stays in, and the queue is looked at when somebody leaves."""
        self.held = 0
        """Calls in the room."""
        self.waiting = 0
        """Calls in the queue."""
        self._tools: Final[dict[str, int]] = {}
        self._principals: Final[dict[str, int]] = {}
        self._queues: Final[OrderedDict[str, _Queue]] = OrderedDict()
        self._numbers: Final = itertools.count(1)

    @property
    def empty(self) -> bool:
        """Whether nobody is in and nobody waits."""
        return not (self.held or self.waiting)

    def of_principal(self, principal: str) -> int:
        """Return how many calls of one principal are in."""
        return self._principals.get(principal, 0)

    def of_tool(self, tool: str) -> int:
        """Return how many calls of one tool are in."""
        return self._tools.get(tool, 0)

    def is_alone(self, principal: str) -> bool:
        """Whether a principal has calls in, and nobody else has."""
        return 0 < self.held == self._principals.get(principal, 0)

    # --- in and out ---

    def enter(self, principal: str, tool: str, now: float, until: float) -> Place:
        """Let a call in, or let it wait.

        Args:
            principal: Whose it is.
            tool: What it calls.
            now: Monotonic seconds.
            until: How long it may wait; not after ``now`` is not at all.

        Returns:
            Its place, ``"in"`` or ``"waiting"``; ``wake`` of one that waits is called once its state changes.

        Raises:
            Full: It is refused.
        """
        place = Place(next(self._numbers), principal, tool, until)
        scope = self._lacks(principal, tool)
        if scope is None:
            self._take(place)
            return place
        place.scope = scope
        if until <= now or not self.caps.queue:
            raise Full(scope)
        self._queue(place, now)
        return place

    def leave(self, place: Place, now: float) -> None:
        """End a place, wherever it is; whoever can go in now does."""
        if place.state == "in":
            place.state = "gone"
            self.held -= 1
            _less(self._tools, place.tool)
            _less(self._principals, place.principal)
            self._admit(now)
        elif place.state == "waiting":
            self._drop(place, "gone")

    def admit(self, now: float) -> None:
        """Let in who can go in, after the caps were changed."""
        self._admit(now)

    def expire(self, place: Place, now: float) -> bool:
        """Let a place wait no longer if its time is over; return whether that is so."""
        if place.state == "waiting" and place.until <= now:
            self._drop(place, "late")
            place.wake()
        return place.state == "late"

    # --- the caps ---

    def _lacks(self, principal: str, tool: str) -> Scope | None:
        """Return whose cap is reached; None where there is room."""
        caps = self.caps
        if self.held >= caps.total:
            return "server"
        if self._tools.get(tool, 0) >= caps.of_tool(tool):
            return "tool"
        if self._principals.get(principal, 0) >= caps.per_principal:
            return "principal"
        return None

    def _take(self, place: Place) -> None:
        place.state = "in"
        self.held += 1
        self._tools[place.tool] = self._tools.get(place.tool, 0) + 1
        self._principals[place.principal] = self._principals.get(place.principal, 0) + 1

    # --- the queue ---

    def _queue(self, place: Place, now: float) -> None:
        if self.waiting >= self.caps.queue:
            for one in list(self._queues.values()):
                self._heads(one, now)
        elif (own := self._queues.get(place.principal)) is not None:
            self._heads(own, now)
        if self.waiting >= self.caps.queue:
            self._displace(place.principal)
        queue = self._queues.get(place.principal)
        if queue is None:
            queue = self._queues[place.principal] = _Queue()
        queue.add(place)
        self.waiting += 1

    def _displace(self, principal: str) -> None:
        """Make room in a full queue for a principal with less than an equal share of it.

        Raises:
            Full: It has its share.
        """
        own = len(self._queues.get(principal, ()))
        several = len(self._queues) + (own == 0)
        if own >= self.caps.queue // several:
            raise Full("queue")
        most = max(self._queues.values(), key=len)
        last = most.last()
        self._drop(last, "displaced")
        last.wake()

    def _drop(self, place: Place, state: State) -> None:
        place.state = state
        queue = self._queues[place.principal]
        queue.remove(place)
        self.waiting -= 1
        if not len(queue):
            del self._queues[place.principal]

    def _admit(self, now: float) -> None:
        while self.waiting and self.held < self.caps.total:
            place = self._next(now)
            if place is None:
                return
            self._drop(place, "in")
            if place.principal in self._queues:
                self._queues.move_to_end(place.principal)
            self._take(place)
            place.wake()

    def _next(self, now: float) -> Place | None:
        """Return who goes in next; what is late on the way is let go."""
        found: Place | None = None
        fewest = self.caps.per_principal
        for principal, queue in list(self._queues.items()):
            inside = self._principals.get(principal, 0)
            if inside >= fewest:
                continue
            fits = self._first_of(queue, now)
            if fits is not None:
                found, fewest = fits, inside
                if not inside:
                    break
        return found

    def _first_of(self, queue: _Queue, now: float) -> Place | None:
        """Return the oldest call of a principal whose tool has room."""
        oldest: Place | None = None
        for place in self._heads(queue, now):
            if self._tools.get(place.tool, 0) >= self.caps.of_tool(place.tool):
                continue
            if oldest is None or place.number < oldest.number:
                oldest = place
        return oldest

    def _heads(self, queue: _Queue, now: float) -> list[Place]:
        """Return who has waited longest for each tool, once those are let go whose time is over."""
        while late := [place for place in queue.heads() if place.until <= now]:
            for place in late:
                self.expire(place, now)
        return queue.heads()


class _Queue:
    """What waits of one principal, by tool: one slow tool does not hold up the others."""

    __slots__ = ("_size", "_tools")

    def __init__(self) -> None:
        self._size = 0
        self._tools: Final[dict[str, OrderedDict[int, Place]]] = {}

    def __len__(self) -> int:
        return self._size

    def add(self, place: Place) -> None:
        self._tools.setdefault(place.tool, OrderedDict())[place.number] = place
        self._size += 1

    def remove(self, place: Place) -> None:
        line = self._tools[place.tool]
        del line[place.number]
        self._size -= 1
        if not line:
            del self._tools[place.tool]

    def heads(self) -> list[Place]:
        """Return who has waited longest, for each tool."""
        return [next(iter(line.values())) for line in self._tools.values()]

    def last(self) -> Place:
        """Return who came last."""
        return max((next(reversed(line.values())) for line in self._tools.values()), key=lambda place: place.number)


def _less(counts: dict[str, int], name: str) -> None:
    left = counts[name] - 1
    if left:
        counts[name] = left
    else:
        del counts[name]

"""The breakers of one host: one for each tool of each server, and each tenant, that has failed lately. Bounded.

A breaker is made at the first failure, so a host whose servers work has none, and nobody's made-up names fill the
table. When it is full, a failure counts for the tool of all tenants, then for the server as a whole: to cause many
breakers closes none of them. One that is open stays until it has closed.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from hauberk_bulkhead._breaker import Breaker, Permit, State, Terms
from hauberk_bulkhead._limits import LIMITS


class Key(NamedTuple):
    """What a breaker is of; an empty tool or tenant is any."""

    server: str
    tool: str
    tenant: str


Changed = Callable[[Key, State, State], object]
"""Told what was and what is, of each change."""


class Pass(NamedTuple):
    """A request that every breaker which it concerns let pass."""

    key: Key
    terms: Terms
    permits: tuple[tuple[Key, Permit], ...] = ()


class Breakers:
    """All of them."""

    __slots__ = ("_all", "_changed", "_tidied")

    def __init__(self, changed: Changed) -> None:
        self._all: Final[OrderedDict[Key, Breaker]] = OrderedDict()
        self._changed = changed
        self._tidied = -math.inf

    def __len__(self) -> int:
        return len(self._all)

    def tell(self, changed: Changed) -> None:
        """Tell somebody else of changes from now on."""
        self._changed = changed

    def get(self, key: Key) -> Breaker | None:
        """Return one, if it has failed lately."""
        return self._all.get(key)

    def items(self) -> Iterator[tuple[Key, Breaker]]:
        """Return each."""
        yield from list(self._all.items())

    # --- requests ---

    def allow(self, key: Key, terms: Terms, now: float) -> Pass | Key:
        """Let a request pass, or return which breaker is open."""
        if not self._all:
            return Pass(key, terms)
        permits: list[tuple[Key, Permit]] = []
        for one in _levels(key):
            breaker = self._all.get(one)
            if breaker is None:
                continue
            breaker.terms = terms
            before = breaker.state
            permit = breaker.allow(now)
            self._told(one, before, breaker)
            if permit is None:
                for other, given in permits:
                    self._all[other].forget(given)
                return one
            permits.append((one, permit))
        return Pass(key, terms, tuple(permits))

    def succeed(self, passed: Pass, now: float) -> None:
        """Count a request that was answered."""
        for key, permit in passed.permits:
            if (breaker := self._all.get(key)) is not None:
                before = breaker.state
                breaker.succeed(permit, now)
                self._told(key, before, breaker)

    def forget(self, passed: Pass) -> None:
        """Let go of a request that says nothing."""
        for key, permit in passed.permits:
            if (breaker := self._all.get(key)) is not None:
                breaker.forget(permit)

    def fail(self, passed: Pass, now: float) -> Key | None:
        """Count a request that failed; return what it was counted for."""
        permits = dict(passed.permits)
        key = next((one for one in _levels(passed.key) if one in self._all), None)
        if key is None or (key != passed.key and self._has_room(passed.key, now)):
            key = self._made(passed, now)
        if key is None:
            return None
        for other, permit in passed.permits:
            if other != key and (breaker := self._all.get(other)) is not None:
                breaker.forget(permit)
        breaker = self._all[key]
        self._all.move_to_end(key)
        before = breaker.state
        breaker.fail(permits.get(key, Permit(0, 0)), now)
        self._told(key, before, breaker)
        return key

    # --- what somebody else has found out ---

    def open(self, key: Key, terms: Terms, now: float) -> None:
        """Open one."""
        breaker = self._all.get(key)
        if breaker is None:
            if not self._has_room(key, now):
                return
            breaker = self._all[key] = Breaker(terms, now)
        before = breaker.state
        breaker.open(now)
        self._told(key, before, breaker)

    def close(self, key: Key, now: float) -> None:
        """Close one."""
        if (breaker := self._all.pop(key, None)) is not None:
            before = breaker.state
            breaker.close(now)
            self._told(key, before, breaker)

    def reset(self, now: float, server: str | None = None) -> None:
        """Close all of them, or those of one server."""
        for key in [key for key in self._all if server in {None, key.server}]:
            self.close(key, now)

    def tidy(self, now: float) -> None:
        """Let go of those that know nothing any more, wherever they stand."""
        self._tidied = now
        for key in [key for key, breaker in self._all.items() if breaker.idle(now)]:
            del self._all[key]

    # --- the table ---

    def _made(self, passed: Pass, now: float) -> Key | None:
        for key in _levels(passed.key):
            if key in self._all:
                return key
            if self._has_room(key, now):
                self._all[key] = Breaker(passed.terms, now)
                return key
        return None

    def _has_room(self, key: Key, now: float) -> bool:
        """Whether the table takes one more of this kind: a third is for whole tools, a third for whole servers."""
        most = LIMITS.breakers if key.tenant else 2 * LIMITS.breakers if key.tool else 3 * LIMITS.breakers
        if len(self._all) >= most and now - self._tidied >= LIMITS.look_seconds:
            self.tidy(now)
        return len(self._all) < most

    def _told(self, key: Key, before: State, breaker: Breaker) -> None:
        if breaker.state != before:
            self._changed(key, before, breaker.state)


def _levels(key: Key) -> tuple[Key, ...]:
    """Return what a request concerns: its own breaker first, the server's last."""
    levels = (key, Key(key.server, key.tool, ""), Key(key.server, "", ""))
    return tuple(dict.fromkeys(levels))

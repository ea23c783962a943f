"""Breakers that several hosts keep together, in a shared store (`hauberk.shared`).

While a breaker is closed nothing is asked: a failure is told (one round trip, in nobody's way), and the store says when
it was one too many. The others learn that within `LIMITS.look_seconds`. Of a breaker that is not closed each request
asks first, so that all hosts together have no more than ``probes`` on their way. Each host's own breaker follows what
the store says, and stands in while the store is down.

The clock is the store's. Keys are `hauberk:bulkhead:`, the host's name and a digest; each ends by itself. A script that
was run twice counts a failure twice at most, and gives out no probe twice: a probe has a name.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from typing import Any, Final, Literal, NamedTuple

import msgspec

from hauberk.shared import Script, SharedStore
from hauberk_bulkhead._breaker import Terms
from hauberk_bulkhead._breakers import Key
from hauberk_bulkhead._limits import LIMITS

PREFIX: Final = "hauberk:bulkhead"
NOW: Final = "local t = redis.call('TIME'); local now = t[1] * 1000 + math.floor(t[2] / 1000)\n"
"""Lua that sets ``now``, in milliseconds by the store's clock."""
_OPEN: Final = """
local function trip(state, probes, index, name, keep)
  redis.call('DEL', probes)
  redis.call('HSET', state, 'state', 'open', 'since', now, 'successes', 0)
  redis.call('PEXPIRE', state, keep)
  redis.call('ZADD', index, now + keep, name)
end
"""
_FAIL: Final = """
-- KEYS: state, probes, index, failures, requests
-- ARGV: name, this failure, failures, window, requests since the last, minimum, keep, bound
if redis.call('EXISTS', KEYS[1]) == 1 then return 1 end
redis.call('ZREMRANGEBYSCORE', KEYS[4], '-inf', now - ARGV[4])
redis.call('ZADD', KEYS[4], now, ARGV[2])
redis.call('ZREMRANGEBYRANK', KEYS[4], 0, -1 - ARGV[3])
redis.call('PEXPIRE', KEYS[4], ARGV[4])
local requests = redis.call('INCRBY', KEYS[5], ARGV[5])
redis.call('PEXPIRE', KEYS[5], ARGV[4])
if redis.call('ZCARD', KEYS[4]) < tonumber(ARGV[3]) or requests < tonumber(ARGV[6]) then return 0 end
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now)
if redis.call('ZCARD', KEYS[3]) >= tonumber(ARGV[8]) then return 0 end
redis.call('DEL', KEYS[4], KEYS[5])
trip(KEYS[1], KEYS[2], KEYS[3], ARGV[1], tonumber(ARGV[7]))
return 1
"""
_ASK: Final = """
-- KEYS: state, probes, index; ARGV: name, this probe, open for, probes, slow, keep
local found = redis.call('HMGET', KEYS[1], 'state', 'since')
if not found[1] then
  redis.call('ZREM', KEYS[3], ARGV[1])
  return {'closed', 0}
end
if found[1] == 'open' then
  local left = found[2] + ARGV[3] - now
  if left > 0 then return {'open', left} end
  redis.call('HSET', KEYS[1], 'state', 'half', 'since', now, 'successes', 0)
elseif redis.call('ZCOUNT', KEYS[2], '-inf', now - ARGV[5]) > 0 then
  trip(KEYS[1], KEYS[2], KEYS[3], ARGV[1], tonumber(ARGV[6]))
  return {'open', tonumber(ARGV[3])}
end
if redis.call('ZCARD', KEYS[2]) >= tonumber(ARGV[4]) then return {'busy', 1000} end
redis.call('ZADD', KEYS[2], now, ARGV[2])
redis.call('PEXPIRE', KEYS[2], ARGV[6])
redis.call('PEXPIRE', KEYS[1], ARGV[6])
redis.call('ZADD', KEYS[3], now + ARGV[6], ARGV[1])
return {'probe', 0}
"""
_END: Final = """
-- KEYS: state, probes, index; ARGV: name, this probe, how it ended, successes, keep
if redis.call('ZREM', KEYS[2], ARGV[2]) == 0 then return 'late' end
if ARGV[3] == 'nothing' then return 'half' end
if ARGV[3] == 'failed' then
  trip(KEYS[1], KEYS[2], KEYS[3], ARGV[1], tonumber(ARGV[5]))
  return 'open'
end
if redis.call('HINCRBY', KEYS[1], 'successes', 1) < tonumber(ARGV[4]) then return 'half' end
redis.call('DEL', KEYS[1], KEYS[2])
redis.call('ZREM', KEYS[3], ARGV[1])
return 'closed'
"""
_LIST: Final = """
-- KEYS: index; ARGV: bound
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
return redis.call('ZRANGE', KEYS[1], 0, tonumber(ARGV[1]) - 1)
"""

Answer = Literal["closed", "open", "busy", "probe"]
Ended = Literal["succeeded", "failed", "nothing"]


class Told(NamedTuple):
    """What the store says of one request."""

    answer: Answer
    seconds: float
    """When it is worth another try."""
    probe: str = ""
    """The name of this probe, for its end."""


class SharedBreakers:
    """The breakers in one store."""

    def __init__(self, store: SharedStore, now: str = NOW, host: str = "") -> None:
        """Say where they are.

        Args:
            store: It is open.
            now: Lua that sets ``now``; a test has a clock of its own.
            host: What the host is called; those that are called otherwise have breakers of their own.
        """
        self.store: Final = store
        self._prefix: Final = f"{PREFIX}:{host}"
        self._index: Final = f"{PREFIX}:{host}:open"
        self._fail: Final = Script(now + _OPEN + _FAIL)
        self._ask: Final = Script(now + _OPEN + _ASK)
        self._end: Final = Script(now + _OPEN + _END)
        self._list: Final = Script(now + _LIST)

    async def fail(self, key: Key, terms: Terms, requests: int) -> bool:
        """Tell of a failure; return whether the breaker is open now.

        Args:
            key: Of what.
            terms: When it opens.
            requests: How many were counted since the last failure, this one included.

        Raises:
            StoreDown: The store could not be asked.
        """
        name, keys = _name(key), self._keys(key)
        args = (name, secrets.token_hex(8), terms.failures, _ms(terms.window), requests, terms.minimum, _keep(terms))
        answer = await self.store.run(
            self._fail, (*keys, f"{keys[0]}:failures", f"{keys[0]}:requests"), (*args, _BOUND)
        )
        return bool(answer)

    async def ask(self, key: Key, terms: Terms) -> Told:
        """Ask whether a request may pass.

        Raises:
            StoreDown: The store could not be asked.
        """
        probe = secrets.token_hex(8)
        args = (_name(key), probe, _ms(terms.open_seconds), terms.probes, _ms(terms.slow), _keep(terms))
        word, left = await self.store.run(self._ask, self._keys(key), args)
        answer: Any = word.decode()
        return Told(answer, left / 1000, probe if answer == "probe" else "")

    async def end(self, key: Key, terms: Terms, probe: str, how: Ended) -> str:
        """Tell how a probe ended; return the state after it: ``open``, ``half`` or ``closed``, or ``late``.

        Raises:
            StoreDown: The store could not be asked.
        """
        answer: bytes = await self.store.run(
            self._end, self._keys(key), (_name(key), probe, how, terms.successes, _keep(terms))
        )
        return answer.decode()

    async def all_open(self) -> set[Key]:
        """Return which are not closed.

        Raises:
            StoreDown: The store could not be asked.
        """
        return set(_read(await self.store.run(self._list, (self._index,), (_BOUND,))))

    async def close(self, keys: set[Key]) -> None:
        """Close some, whatever they are.

        Raises:
            StoreDown: The store could not be asked.
        """
        for key in keys:
            names = self._keys(key)
            await self.store.command("DEL", names[0], names[1], f"{names[0]}:failures", f"{names[0]}:requests")
            await self.store.command("ZREM", self._index, _name(key))

    def _keys(self, key: Key) -> tuple[str, str, str]:
        digest = hashlib.sha256(_name(key).encode()).hexdigest()
        return f"{self._prefix}:{digest}", f"{self._prefix}:{digest}:probes", self._index


_BOUND: Final = LIMITS.breakers


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))


def _keep(terms: Terms) -> int:
    """Return how long a breaker is kept that nobody asks for (milliseconds)."""
    return 10 * _ms(terms.open_seconds) + 10 * _ms(terms.slow)


def _name(key: Key) -> str:
    """Return how the index has it."""
    return msgspec.json.encode(list(key)).decode()


def _read(names: list[bytes]) -> Iterator[Key]:
    for name in names:
        try:
            key = Key(*msgspec.json.decode(name, type=tuple[str, str, str]))
        except msgspec.DecodeError:
            continue  # somebody else's; nothing follows of it
        if all(len(part) <= LIMITS.name_chars for part in key):
            yield key

"""Fuzz what accepts messages once: whatever comes, in any order, under any clock, over restarts, nothing comes twice.

    python tests/fuzz/fuzz_replay.py --runs 1000000 --seed 7

One execution is one step: a message that is new, one that came before, a clock that jumps, a process that ends. An
oracle that forgets nothing says what was accepted.
"""

from __future__ import annotations

import collections
import random
import sys
from pathlib import Path
from typing import Any, Final

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.fuzz import driver

from hauberk.message import Proof
from hauberk.refusals import Refused
from hauberk_replay import Checker, Counters, LocalNonces, Window

MOST: Final = 200
SESSIONS: Final = 20
STEPS: Final = 2_000
"""Steps of one world."""
_AT: Final = (0.0, 0.0, 0.0, -1.0, -60.0, -299.9, -300.0, -300.1, 0.5, 59.9, 60.0, 60.1)
_JUMPS: Final = (0.01, 0.01, 0.1, 1.0, 20.0, 61.0, 181.0, 361.0, 4000.0, -1.0, -59.0, -61.0, -400.0)


class World:
    """A process, the clock, who sends, and what was accepted."""

    def __init__(self, rnd: random.Random) -> None:
        self.rnd = rnd
        self.now = 1_790_000_000.0 + rnd.random()
        self.window = Window()
        self.mark = -1e18
        self.counters = Counters(most=SESSIONS)
        self.accepted: set[tuple[str, bytes | int]] = set()
        self.sent: collections.deque[Proof] = collections.deque(maxlen=500)
        self.used: set[tuple[str, int]] = set()
        self.epoch = 0
        self.begin()

    def begin(self) -> None:
        """Start a process: sessions have new keys, and nonces begin at the mark."""
        mark: Any = self
        self.epoch += 1
        self.counters = Counters(most=SESSIONS)
        self.nonces = LocalNonces(self.window, MOST, since=max(self.now, self.mark), mark=mark)
        self.checker = Checker(self.window, self.nonces, self.counters)

    def passed(self, issued: float) -> None:
        """Be the mark."""
        if issued >= self.mark:
            self.mark = issued + 1.0

    def step(self) -> str:
        """Do one thing; return what came of it.

        Raises:
            AssertionError: A message was accepted twice, or a bound does not hold.
        """
        rnd = self.rnd
        what = rnd.random()
        if what < 0.02:
            self.now += rnd.choice(_JUMPS)
            return "clock"
        if what < 0.022:
            self.begin()
            return "restart"
        if what < 0.5 and self.sent:
            return self.give(rnd.choice(self.sent))
        proof = self.made()
        self.sent.append(proof)
        return self.give(proof)

    def made(self) -> Proof:
        """Return a message's proof."""
        rnd = self.rnd
        issued = self.now + rnd.choice(_AT)
        expires = None if rnd.random() < 0.9 else issued + rnd.choice((0.0, 1.0, 400.0, float("nan")))
        if rnd.random() < 0.4:
            key = f"s{self.epoch}.{rnd.randrange(2 * SESSIONS)}"
            counter = rnd.randrange(3000)
            while (key, counter) in self.used:  # no sender uses one twice
                counter += 1
            self.used.add((key, counter))
            return Proof(key_id=key, nonce=counter, issued=issued, expires=expires)
        return Proof(key_id=f"k{rnd.randrange(5)}", nonce=rnd.randbytes(16), issued=issued, expires=expires)

    def give(self, proof: Proof) -> str:
        """Let it be checked."""
        if isinstance(proof.nonce, int) and not proof.key_id.startswith(f"s{self.epoch}."):
            return "no such session"  # its key is gone with the process
        try:
            self.checker.check(proof, self.now)
        except Refused as error:
            return error.code
        finally:
            assert self.nonces.held <= MOST
            assert len(self.counters) <= SESSIONS
        name = proof.key_id, proof.nonce
        assert name not in self.accepted, proof
        assert -self.window.skew <= self.now - proof.issued <= self.window.max_age, proof
        self.accepted.add(name)
        return "accepted"


def run(runs: int, seed: int) -> collections.Counter[str]:
    """Take ``runs`` steps made from ``seed``; return how often each end came."""
    rnd = random.Random(seed)
    counts: collections.Counter[str] = collections.Counter()
    for _ in range(-(-runs // STEPS)):
        world = World(rnd)
        counts.update(world.step() for _ in range(min(STEPS, runs)))
    return counts


if __name__ == "__main__":
    driver.main("what accepts messages once", run)

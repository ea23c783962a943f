"""The memory of one process: forgetting, clocks that jump, restarts, threads, bytes."""

from __future__ import annotations

import fcntl
import os
import threading
import tracemalloc
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from hauberk.message import Proof
from hauberk.refusals import ConfigError, Refused
from hauberk_replay import Checker, LocalNonces, Window, capacity
from hauberk_replay._mark import STEP, Mark

NOW = 1_790_000_000.0


def said(nonces: LocalNonces, nonce: bytes, issued: float, now: float, key: str = "k") -> str:
    try:
        nonces.remember(key, nonce, issued, now)
    except Refused as error:
        return error.code.removeprefix("replay.")
    return "taken"


def test_what_is_too_old_makes_room() -> None:
    """A nonce is held until its message is too old, and soon after it is not."""
    nonces = LocalNonces(Window(), 10, since=NOW)
    for number in range(8):
        assert said(nonces, b"%d" % number, NOW, NOW) == "taken"
    assert said(nonces, b"more", NOW + 299, NOW + 300) == "full"
    assert said(nonces, b"0", NOW, NOW + 300) == "detected"
    assert said(nonces, b"more", NOW + 600, NOW + 600) == "taken"
    assert nonces.held == 1
    assert said(nonces, b"0", NOW, NOW + 600) == "not_remembered"


def test_senders_that_are_silent_are_forgotten() -> None:
    """Whoever sends no more takes no room: memory is bounded over any number of keys (design §9.8)."""
    nonces = LocalNonces(Window(), 1000, since=NOW)
    for number in range(5000):
        at = NOW + number
        assert said(nonces, b"n", at, at, key=f"k{number}") == "taken"
        assert nonces.senders <= 541
    assert nonces.held == nonces.senders


def test_a_clock_that_is_set_back_brings_nothing_back() -> None:
    """A13: what was forgotten while the clock was ahead is refused when it is set back."""
    nonces = LocalNonces(Window(), 100, since=NOW - 1000)
    assert said(nonces, b"n", NOW, NOW) == "taken"
    assert said(nonces, b"later", NOW + 3600, NOW + 3600) == "taken"
    assert nonces.held == 1
    assert said(nonces, b"n", NOW, NOW + 1) == "not_remembered"
    assert said(nonces, b"later", NOW + 3600, NOW + 3600) == "detected"


def test_a_clock_that_was_far_ahead_locks_nobody_out() -> None:
    """A13: after a clock was ten years ahead and is set right, new messages are accepted."""
    nonces = LocalNonces(Window(), 100, since=NOW - 1000)
    assert said(nonces, b"n", NOW, NOW) == "taken"
    assert said(nonces, b"far", NOW + 3e8, NOW + 3e8) == "taken"
    assert said(nonces, b"new", NOW + 1, NOW + 1) == "taken", "at once"
    assert said(nonces, b"n", NOW, NOW + 100) == "not_remembered"


def test_a_nonce_takes_at_most_a_hundred_bytes() -> None:
    """G17: at any number of nonces from a thousand on, one takes at most 100 bytes."""
    nonces = LocalNonces(Window(), 10**7, since=0)
    made = [os.urandom(16) for _ in range(60_000)]
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number, nonce in enumerate(made, 1):
            nonces.remember("k", nonce, NOW, NOW)
            if number >= 1000 and number % 97 == 0:
                assert (tracemalloc.get_traced_memory()[0] - before) / number <= 100, number
    finally:
        tracemalloc.stop()


def test_the_bound_is_the_window_times_the_rate() -> None:
    """S0.34: at the rate that is configured a sender alone is never refused for want of room."""
    window, rate = Window(30, 6), 20
    nonces = LocalNonces(window, capacity(window, rate), since=NOW)
    for number in range(200 * rate):
        at = NOW + number / rate
        assert said(nonces, b"%d" % number, at + 6, at) == "taken"


def test_threads_take_each_nonce_once() -> None:
    """S0.34, A15: eight threads with the same ten thousand nonces take each once."""
    nonces = LocalNonces(Window(), 100_000, since=NOW)
    counts: Counter[str] = Counter()
    barrier = threading.Barrier(8)

    def work() -> None:
        mine: Counter[str] = Counter()
        barrier.wait()
        for number in range(10_000):
            mine[said(nonces, b"%d" % number, NOW, NOW)] += 1
        counts.update(mine)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts["taken"] == nonces.held == 10_000
    assert set(counts) == {"taken", "detected"}


# --- restarts ---


async def opened(path: Path, now: float) -> LocalNonces:
    nonces = LocalNonces(Window(), 1000, since=now, mark=Mark(path / "state" / "latest"))
    await nonces.open()
    return nonces


async def test_a_restart_accepts_nothing_again(tmp_path: Path) -> None:
    """A11, S0.34: what a process accepted, the next does not; also not what was made after it began, as it says."""
    first = await opened(tmp_path, NOW)
    assert said(first, b"n", NOW + 1, NOW + 1) == "taken"
    assert said(first, b"ahead", NOW + 50, NOW + 2) == "taken"
    # It is killed: nothing is closed.
    second = await opened(tmp_path, NOW + 3)
    assert said(second, b"n", NOW + 1, NOW + 3) == "not_remembered"
    assert said(second, b"ahead", NOW + 50, NOW + 3) == "not_remembered"
    assert said(second, b"new", NOW + 51, NOW + 52) == "taken"
    await first.close()
    await second.close()


async def test_a_message_made_exactly_at_the_mark_is_not_accepted_again(tmp_path: Path) -> None:
    """A11: also one that was made in the very moment that the file names."""
    first = await opened(tmp_path, NOW)
    assert said(first, b"n", NOW, NOW) == "taken"
    assert said(first, b"edge", NOW + STEP, NOW) == "taken"
    second = await opened(tmp_path, NOW)
    assert said(second, b"edge", NOW + STEP, NOW + STEP) == "not_remembered"
    await first.close()
    await second.close()


async def test_a_mark_of_a_wrong_clock_locks_nobody_out(tmp_path: Path) -> None:
    """A13: a process that ended while its clock was years ahead does not keep the next from accepting anything."""
    first = await opened(tmp_path, NOW + 3e8)
    assert said(first, b"n", NOW + 3e8, NOW + 3e8) == "taken"
    await first.close()
    second = await opened(tmp_path, NOW)
    assert said(second, b"new", NOW + 59, NOW + 59) == "not_remembered"
    assert said(second, b"new", NOW + 61, NOW + 61) == "taken"
    await second.close()
    third = await opened(tmp_path, NOW + 61.5)
    assert said(third, b"new", NOW + 61, NOW + 61.5) == "not_remembered"
    await third.close()


@pytest.mark.parametrize("back", [4000, 7200, 10**8])
async def test_a_clock_that_is_wrong_at_the_start_brings_nothing_back(tmp_path: Path, back: float) -> None:
    """A13: what was accepted before a start with a clock that is behind is refused once that is set right."""
    first = await opened(tmp_path, NOW - 1000)
    assert said(first, b"n", NOW, NOW) == "taken"
    assert said(first, b"ahead", NOW + 50, NOW) == "taken"
    await first.close()
    for start in (NOW - back, NOW - back + 100):
        wrong = await opened(tmp_path, start)
        assert said(wrong, b"%r" % start, start + 61, start + 61) == "taken"
        for now in (NOW, NOW + 290):
            assert said(wrong, b"n", NOW, now) == "not_remembered"
            assert said(wrong, b"ahead", NOW + 50, now) == "not_remembered"
        await wrong.close()
    right = await opened(tmp_path, NOW + 5)
    assert said(right, b"ahead", NOW + 50, NOW + 6) == "not_remembered"
    assert said(right, b"new", NOW + 52, NOW + 52) == "taken"
    await right.close()


async def test_the_mark_is_read_and_written_as_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever looks at the time in the file and writes another holds the file: no later time is lost between."""
    steps: list[object] = []

    def noted(where: Any, name: str, what: Callable[..., object]) -> None:
        real = getattr(where, name)

        def called(*given: Any) -> Any:
            steps.append(what(*given))
            return real(*given)

        monkeypatch.setattr(where, name, called)

    noted(fcntl, "flock", lambda _, how: how)
    noted(os, "pread", lambda *_: "read")
    noted(os, "pwrite", lambda *_: "write")
    nonces = await opened(tmp_path, NOW)
    assert said(nonces, b"n", NOW + 40, NOW) == "taken"
    assert steps == [fcntl.LOCK_EX, "read", fcntl.LOCK_UN, fcntl.LOCK_EX, "read", "write", fcntl.LOCK_UN]
    await nonces.close()


async def test_guards_of_one_host_share_the_mark(tmp_path: Path) -> None:
    """Of two processes that write it, the later time stands."""
    one, two = await opened(tmp_path, NOW), await opened(tmp_path, NOW)
    assert said(one, b"n", NOW + 40, NOW) == "taken"
    assert said(two, b"n", NOW + 20, NOW) == "taken"
    third = await opened(tmp_path, NOW + 1)
    assert said(third, b"n", NOW + 40, NOW + 1) == "not_remembered"
    for each in (one, two, third):
        await each.close()


async def test_a_mark_that_cannot_be_written_refuses(tmp_path: Path) -> None:
    """What the next process would not know of is not accepted; a loose file is not used."""
    nonces = await opened(tmp_path, NOW)
    await nonces.close()
    assert said(nonces, b"n", NOW + 1, NOW + 1) == "store_down"
    assert nonces.held == 0
    (tmp_path / "state" / "latest").chmod(0o666)
    with pytest.raises(ConfigError):
        await opened(tmp_path, NOW)


# --- whatever happens ---


class Machine(RuleBasedStateMachine):
    """A process that gets messages in any order, again, under a clock that jumps, and that is started anew."""

    @initialize()
    def begin(self) -> None:
        self.now = NOW
        self.taken: set[tuple[str, bytes]] = set()
        self.sent: list[Proof] = []
        self.mark = -1e18
        self.restart()

    @rule()
    def restart(self) -> None:
        """Kill the process; the next knows the mark alone."""
        most, since = 40, max(self.now, self.mark)
        self.nonces = LocalNonces(Window(), most, since=since, mark=self)  # type: ignore[arg-type]
        self.checker = Checker(Window(), self.nonces)

    def passed(self, issued: float) -> None:
        """Be the mark that the next process reads."""
        if issued >= self.mark:
            self.mark = issued + 1.0

    @rule(seconds=st.sampled_from([0.0, 0.1, 1.0, 60.0, 299.0, 300.0, 301.0, 1000.0, -5.0, -61.0, -400.0, -4000.0]))
    def turn(self, seconds: float) -> None:
        self.now += seconds

    @rule(
        key=st.sampled_from("ab"),
        nonce=st.binary(min_size=1, max_size=1),
        at=st.sampled_from([0.0, -1.0, -299.0, -300.0, -301.0, 1.0, 59.0, 60.0, 61.0]),
    )
    def send(self, key: str, nonce: bytes, at: float) -> None:
        proof = Proof(key_id=key, nonce=nonce, issued=self.now + at)
        if all((one.key_id, one.nonce) != (key, nonce) for one in self.sent):
            self.sent.append(proof)
            self.give(proof)

    @rule(data=st.data())
    def replay(self, data: st.DataObject) -> None:
        if self.sent:
            self.give(data.draw(st.sampled_from(self.sent)))

    def give(self, proof: Proof) -> None:
        assert isinstance(proof.nonce, bytes)
        try:
            self.checker.check(proof, self.now)
        except Refused:
            return
        assert (proof.key_id, proof.nonce) not in self.taken, "accepted twice"
        self.taken.add((proof.key_id, proof.nonce))

    @invariant()
    def bounded(self) -> None:
        if hasattr(self, "nonces"):
            assert self.nonces.held <= 40


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=100, stateful_step_count=40)

"""The counters of sessions: each once, in a window, and O(sessions) of memory."""

from __future__ import annotations

import threading
import time
import tracemalloc
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hauberk.message import Proof
from hauberk.refusals import Refused
from hauberk_replay import Checker, Counters, LocalNonces, Window
from hauberk_replay._counters import WIDTH

NOW = 1_790_000_000.0
WINDOW = Window()


def said(counters: Counters, counter: int, *, key: str = "s", issued: float = NOW, now: float = NOW) -> str:
    try:
        counters.see(key, counter, issued, now, WINDOW)
    except Refused as error:
        return error.code.removeprefix("replay.")
    return "taken"


@given(st.lists(st.integers(0, 3 * WIDTH) | st.integers(0, 2**63), max_size=60))
def test_each_counter_is_taken_once(sent: list[int]) -> None:
    """S0.33: whatever the order, a counter is taken once; one that is new and in the window always is."""
    counters, taken = Counters(), set[int]()
    for counter in sent:
        in_window = not taken or counter > max(taken) - WIDTH
        assert said(counters, counter) == ("taken" if in_window and counter not in taken else "detected")
        if in_window:
            taken.add(counter)


@given(
    st.lists(
        st.tuples(st.integers(0, 3 * WIDTH), st.sampled_from([1, 2, 3, 40, WIDTH - 1, WIDTH, WIDTH + 1])), max_size=8
    )
)
def test_each_counter_of_runs_is_taken_once(runs: list[tuple[int, int]]) -> None:
    """S0.33: so is each of those that come one after the other, as most do, whatever came between two runs."""
    counters, taken, highest = Counters(), set[int](), -1
    for first, length in runs:
        for counter in range(first, first + length):
            new = counter > highest - WIDTH and counter not in taken
            assert said(counters, counter) == ("taken" if new else "detected")
            if new:
                taken.add(counter)
                highest = max(highest, counter)


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(-2, 12), st.sampled_from("ab")), max_size=25))
def test_whoever_comes_in_order_is_not_older_than_memory(sent: list[tuple[int, int, str]]) -> None:
    """A13: the next counter of a session is refused where its message was made before memory of it begins."""
    counters = Counters()
    said(counters, 0, key="gone")
    said(counters, 0, key="new", issued=NOW + 4000, now=NOW + 4000)
    said(counters, 0, key="newer", issued=NOW + 4400, now=NOW + 4400)  # and both are forgotten
    taken = set[tuple[str, int]]()
    for counter, ago, key in sent:
        answer = said(counters, counter, key=key, issued=NOW + 4000 + ago, now=NOW + 4400)
        if ago <= 0:
            assert answer == "not_remembered"
        else:
            assert answer == ("detected" if (key, counter) in taken else "taken")
            taken.add((key, counter))


def test_a_run_of_any_length() -> None:
    """S0.33: a session that went on for years costs no more than one of today, once something comes late in it."""
    counters = Counters()
    said(counters, 0)
    counters._sessions["s"].highest = 2**60
    assert [said(counters, counter) for counter in (2**60 + 1, 2**60 - WIDTH, 2**60 - 5)] == [
        "taken",
        "detected",
        "detected",
    ]


def test_sessions_have_windows_of_their_own() -> None:
    """One session's counters say nothing of another's."""
    counters = Counters()
    assert [said(counters, 5, key=key) for key in "abab"] == ["taken", "taken", "detected", "detected"]


def test_memory_is_by_session() -> None:
    """G17: a hundred thousand messages of ten sessions take no more than a thousand do."""
    counters = Counters()

    def sent(first: int, last: int) -> int:
        tracemalloc.start()
        for number in range(first, last):
            counters.see(f"s{number % 10}", number, NOW, NOW, WINDOW)
        grown = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        return grown

    sent(0, 20_000)
    assert sent(20_000, 100_000) < 10_000
    assert len(counters) == 10


def test_sessions_are_bounded_and_silent_ones_are_forgotten() -> None:
    """A new session that has no room is refused; one whose messages are all too old makes room, and stays refused."""
    counters = Counters(most=10)
    for number in range(10):
        assert said(counters, 0, key=f"s{number}", issued=NOW + number, now=NOW + number) == "taken"
    assert said(counters, 0, key="new", issued=NOW + 20, now=NOW + 20) == "full"
    assert said(counters, 1, key="s0", issued=NOW + 20, now=NOW + 20) == "taken"
    later = NOW + 310
    assert said(counters, 0, key="new", issued=later, now=later) == "taken"
    assert len(counters) == 2
    assert said(counters, 0, key="s9", issued=NOW + 9, now=later) == "not_remembered"
    assert said(counters, 1, key="s9", issued=later, now=later) == "taken"
    assert said(counters, 1, key="s0", issued=NOW + 20, now=later) == "detected"


def test_one_that_begins_many_sessions_leaves_room_for_others() -> None:
    """S0.34, A14: a sender has four fifths of the sessions at most; others begin theirs, and what went makes room."""
    counters = Counters(most=100)

    def begun(sender: str, number: int, now: float = NOW) -> str:
        checker = Checker(WINDOW, LocalNonces(WINDOW, 1, since=0), counters)
        try:
            checker.check(Proof(key_id=f"{sender}{number}", nonce=0, issued=now, sender=sender), now)
        except Refused as error:
            return error.code
        return "taken"

    assert [begun("many", number) for number in range(100)] == ["taken"] * 80 + ["replay.full"] * 20
    assert [begun("quiet", number) for number in range(10)] == ["taken"] * 10
    assert len(counters) == 90
    assert [begun("many", number, NOW + 400) for number in range(100, 200)] == ["taken"] * 80 + ["replay.full"] * 20


def test_a_clock_that_is_set_back_brings_no_session_back() -> None:
    """A13: a session that was forgotten while the clock was ahead is not begun anew by its old messages."""
    counters = Counters()
    assert said(counters, 3, key="old") == "taken"
    assert said(counters, 0, key="x", issued=NOW + 4000, now=NOW + 4000) == "taken"
    assert said(counters, 0, key="y", issued=NOW + 4400, now=NOW + 4400) == "taken"
    assert said(counters, 3, key="old") == "not_remembered"
    assert said(counters, 4, key="old", issued=NOW + 4400, now=NOW + 4400) == "taken"
    assert said(counters, 3, key="old") == "not_remembered", "also once it goes on"


def test_threads_take_each_counter_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A15: eight threads with the same counters of the same new sessions take each once."""
    check = Counters._check_since

    def in_turns(*about: Any) -> None:
        time.sleep(0)  # let another thread in, at the worst moment
        check(*about)

    monkeypatch.setattr(Counters, "_check_since", staticmethod(in_turns))
    counters = Counters()
    counts: Counter[str] = Counter()
    barrier = threading.Barrier(8)

    def work() -> None:
        barrier.wait()
        counts.update(Counter(said(counters, number % 3, key=f"s{number // 3}") for number in range(1500)))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == {"taken": 1500, "detected": 7 * 1500}


def test_a_checker_keeps_counters_and_nonces_apart() -> None:
    """A proof with an integer is a session's, one with bytes is not; both are taken once, at once."""
    checker = Checker(WINDOW, LocalNonces(WINDOW, 100, since=NOW))
    for nonce in (7, b"7", b"\x07"):
        proof = Proof(key_id="k", nonce=nonce, issued=NOW)
        assert checker.check(proof, NOW) is None
        with pytest.raises(Refused, match="came before"):
            checker.check(proof, NOW)
    with pytest.raises(ValueError, match="negative"):
        checker.check(Proof(key_id="k", nonce=-1, issued=NOW), NOW)

"""Each option does what it says: with the code behind it taken out, one of these, or of the other tests, fails."""

from __future__ import annotations

from typing import Any

import pytest
from plugins.bulkhead.tests.conftest import Opened, nothing_held, plugin_of
from plugins.bulkhead.tests.test_isolation import by, trip
from plugins.bulkhead.tests.test_limits import big, fail

from hauberk.testing import Clock, Rig
from hauberk_bulkhead import _plugin
from hauberk_bulkhead._room import Place

QUICK = "breaker.failures = 2\nbreaker.minimum_requests = 1\n"
"""Two failures open it."""


async def is_open(rig: Rig, id: int = 100) -> bool:
    """Whether a call of the tool is refused by its breaker; one that is not stays in flight."""
    before = len(rig.reached)
    await rig.call("read", id=id)
    return len(rig.reached) == before


# --- the queue, the alerts ---


async def test_call_waits_as_long_as_it_may(guarded: Opened, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """``queue_seconds``: a place at the door is for so long, and nobody waits for it any longer (S4.17)."""
    waited: list[tuple[float, float]] = []
    turn = _plugin._turn

    async def seen(place: Place, seconds: float) -> None:
        waited.append((place.until - clock(), seconds))
        await turn(place, seconds)

    monkeypatch.setattr(_plugin, "_turn", seen)
    async with guarded("in_flight = 1\nqueue = 1\nqueue_seconds = 0.25\n") as rig:
        await rig.call("a", id=1)
        await rig.call("b", id=2)
        rig.assert_refused("bulkhead.late")
        assert waited == [(0.25, 0.25)]
        await rig.answer(id=1)
        assert nothing_held(rig)


async def test_alerts_begin_where_they_are_to(guarded: Opened) -> None:
    """``alert_percent``: at half of each limit, if that is what it says (S4.21)."""
    toml = "alert_percent = 50\nin_flight = 4\nto_server_bytes = 4096\nmemory_bytes = 5000\nconnections = 4\n"
    async with guarded(toml) as rig:
        await rig.send(rig.from_client, big(2100, 1))
        await rig.call("a", id=2)
        await rig.guard.connect("files", "client")
        await rig.send(rig.from_client, big(500, 3))
        await rig.settle()
        alerts = rig.recorder.of("bulkhead.near_limit")
        assert {alert.details["what"] for alert in alerts} == {
            "to_server_bytes",
            "in_flight",
            "connections",
            "memory_bytes",
        }
        assert all(50 <= alert.details["percent"] < 80 for alert in alerts)


# --- the breaker ---


async def test_breaker_that_is_off(guarded: Opened) -> None:
    """``breaker.enabled = false``: whatever fails, the next call is sent (S4.20)."""
    async with guarded("breaker.enabled = false\n" + QUICK) as rig:
        await fail(rig, 1, 20)
        assert not await is_open(rig)


async def test_breaker_opens_after_so_many_failures(guarded: Opened) -> None:
    """``breaker.failures``, and ``breaker.minimum_requests`` below which no failure opens it (S4.20)."""
    async with guarded(QUICK) as rig:
        await fail(rig, 1, 1)
        assert not await is_open(rig)
        await fail(rig, 2, 1)
        assert await is_open(rig, 101)
    async with guarded("breaker.failures = 2\nbreaker.minimum_requests = 7\n") as rig:
        await fail(rig, 1, 6)
        assert not await is_open(rig)


async def test_failures_count_for_so_long(guarded: Opened, clock: Clock) -> None:
    """``breaker.window_seconds``: two failures that lie further apart open nothing (S4.20)."""
    async with guarded(QUICK + "breaker.window_seconds = 5\n") as rig:
        await fail(rig, 1, 1)
        clock.turn(6)
        await fail(rig, 2, 1)
        assert not await is_open(rig)


async def test_breaker_is_open_for_so_long(guarded: Opened, clock: Clock) -> None:
    """``breaker.open_seconds``: then a call is tried, and not before (S4.20)."""
    async with guarded(QUICK + "breaker.open_seconds = 3\n") as rig:
        await fail(rig, 1, 2)
        clock.turn(2.9)
        assert await is_open(rig)
        clock.turn(0.1)
        assert not await is_open(rig, 101)


async def test_so_many_calls_are_tried_at_once(guarded: Opened, clock: Clock) -> None:
    """``breaker.probes``: two, if two may be (S4.20)."""
    async with guarded(QUICK + "breaker.probes = 2\n") as rig:
        await fail(rig, 1, 2)
        clock.turn(30)
        assert [await is_open(rig, number) for number in (100, 101, 102)] == [False, False, True]


async def test_so_many_successes_close_it(guarded: Opened, clock: Clock) -> None:
    """``breaker.successes``: one answered call, if one is enough (S4.20)."""
    async with guarded(QUICK + "breaker.successes = 1\n") as rig:
        await fail(rig, 1, 2)
        clock.turn(30)
        assert not await is_open(rig)
        await rig.answer(id=100)
        assert [await is_open(rig, number) for number in (101, 102)] == [False, False]


@pytest.mark.parametrize(("seconds", "opens"), [(2.1, True), (1.9, False)])
async def test_slow_answers_are_failures(guarded: Opened, clock: Clock, seconds: float, opens: bool) -> None:
    """``breaker.slow_seconds``: an answer that takes longer says that the server is in trouble (S4.20)."""
    async with guarded(QUICK + "breaker.slow_seconds = 2\n") as rig:
        for number in (1, 2):
            await rig.call("read", id=number)
            clock.turn(seconds)
            await rig.answer(id=number)
        assert await is_open(rig) is opens


# --- a busy machine ---


def see(rig: Rig, **percent: float) -> None:
    load = plugin_of(rig).gate.load
    assert load is not None
    plugin_of(rig).care._see(load, {"cpu": 1.0, "memory": 1.0, "disk": 1.0} | percent)


@pytest.mark.parametrize("what", ["cpu", "memory", "disk"])
async def test_each_use_has_its_threshold(guarded: Opened, what: str) -> None:
    """``shedding.cpu_percent``, ``memory_percent``, ``disk_percent``: what is to be 40 % sheds at 40 (S4.19)."""
    async with guarded(f"[bulkhead]\n[bulkhead.shedding]\nsample_seconds = 60\n{what}_percent = 40\n") as rig:
        for _ in range(3):
            see(rig, **{what: 39.9})
        await rig.call("a", id=1)
        assert len(rig.reached) == 1
        for _ in range(3):
            see(rig, **{what: 40.0})
        await rig.call("a", id=2)
        rig.assert_refused("bulkhead.overloaded")


async def test_looks_that_must_agree(guarded: Opened) -> None:
    """``shedding.samples`` looks in a row; and ``margin_percent`` below the threshold it ends (S4.19)."""
    async with guarded(
        "[bulkhead]\n[bulkhead.shedding]\nsample_seconds = 60\nsamples = 1\nmargin_percent = 30\n"
    ) as rig:
        see(rig, cpu=80.0)
        await rig.call("a", id=1)
        rig.assert_refused("bulkhead.overloaded")
        see(rig, cpu=50.0)
        await rig.call("a", id=2)
        assert rig.reached == []
        see(rig, cpu=49.9)
        await rig.call("a", id=3)
        assert rig.reached[-1]["id"] == 3


async def test_machine_is_looked_at_as_it_is_to_be(
    guarded: Opened, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """``shedding.disk`` is whose file system is looked at, every ``sample_seconds`` (S4.19)."""
    made: list[Any] = []

    class Looker:
        def __init__(self, look: Any, seconds: float, seen: Any) -> None:
            made.append(seconds)

        def start(self) -> None:
            made.append("started")

        def stop(self) -> None:
            made.append("stopped")

    def looking(watched: Any, disk: Any) -> None:
        made.append(disk)

    monkeypatch.setattr("hauberk_bulkhead._care.Sampler", Looker)
    monkeypatch.setattr("hauberk_bulkhead._care.looking", looking)
    (tmp_path / "data").mkdir()
    toml = f'[bulkhead]\n[bulkhead.shedding]\nsample_seconds = 7\ndisk = "{tmp_path}/data"\n'
    async with guarded(toml):
        pass
    assert made == [tmp_path / "data", 7.0, "started", "stopped"]


# --- suspensions ---


async def test_events_count_for_so_long(guarded: Opened, clock: Clock) -> None:
    """``isolation.window_seconds``: two events that lie further apart suspend nobody (S0.39)."""
    few = "[bulkhead]\n[bulkhead.isolation]\nevents = 2\nwindow_seconds = 5\n"
    async with guarded(few, role="server") as rig:
        rig.connection.principal = by("slow")
        await trip(rig, times=1)
        clock.turn(6)
        await trip(rig, times=1)
        await rig.call("a", id=1)
        assert len(rig.reached) == 1
        await trip(rig, times=1)
        await rig.call("a", id=2)
        rig.assert_refused("bulkhead.suspended")


@pytest.mark.parametrize(
    ("option", "role", "code"),
    [("of_principals", "server", "sieve.denied"), ("of_servers", "client", "sieve.text")],
)
async def test_what_counts_can_be_named(guarded: Opened, option: str, role: Any, code: str) -> None:
    """``isolation.of_principals`` and ``of_servers``: what is named there counts, and does not without (S0.39)."""
    for named, reached in (("[]", 1), (f'["{code}"]', 0)):
        toml = f"[bulkhead]\n[bulkhead.isolation]\nevents = 2\n{option} = {named}\n"
        async with guarded(toml, role=role) as rig:
            if role == "server":
                rig.connection.principal = by("eve")
            await trip(rig, code, times=2)
            await rig.call("a", id=1)
            assert len(rig.reached) == reached

"""Somebody who is refused again and again is noticed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hauberk import doctor
from hauberk.config import Config
from hauberk.principal import ANONYMOUS, DOCTOR, Principal
from hauberk.refusals import ConfigError
from hauberk.testing import Clock
from hauberk_sieve._limits import Limits
from hauberk_sieve.probing import Suspicion
from hauberk_sieve.probing._windows import Windows

RULES = '[sieve]\nallow = ["files/read"]\n'
THREE = f"{RULES}[sieve.probing]\nrefusals = 3\nwindow = 60\n"


def alarms(windows: Windows, *times: float, key: str = "bob") -> list[int]:
    return [windows.refused(key, time) for time in times]


def test_alarm_comes_with_the_refusal_that_is_too_many() -> None:
    """The alarm comes with the last of as many refusals as one window may not have, and not before (S1.5)."""
    assert alarms(Windows(3, 60.0), 0, 1, 59.9) == [0, 0, 3]


@pytest.mark.parametrize("times", [(0, 30, 60), (0, 60, 61), (0, 40, 80, 120, 160)])
def test_refusals_far_apart_are_no_alarm(times: tuple[float, ...]) -> None:
    """As many refusals as raise an alarm, spread over more than a window, raise none."""
    assert not any(alarms(Windows(3, 60.0), *times))


def test_alarm_comes_once_in_a_window() -> None:
    """After an alarm there is none for a window; the next one says how many refusals came meanwhile (S1.5)."""
    assert alarms(Windows(2, 60.0), *range(130)) == [
        0,
        2,
        *[0] * 59,
        60,
        *[0] * 59,
        60,
        *[0] * 8,
    ]


def test_pause_begins_the_count_anew() -> None:
    """What was refused before a pause as long as a window is not in the count of a later alarm."""
    assert alarms(Windows(2, 60.0), 0, 60, 61) == [0, 0, 2]


def test_every_refusal_may_be_an_alarm() -> None:
    """With one refusal as the bound each first refusal of a window is an alarm."""
    assert alarms(Windows(1, 10.0), 0, 5, 9.9, 10, 30) == [1, 0, 0, 3, 1]


def test_keys_are_counted_apart() -> None:
    """Nobody is alarmed about for what somebody else did."""
    windows = Windows(2, 60.0)
    assert [windows.refused(key, 0) for key in ("a", "b", "c", "a", "d", "b")] == [0, 0, 0, 2, 0, 2]


def test_keys_are_bounded_and_the_busy_ones_stay() -> None:
    """Of more keys than the bound those go first that were refused longest ago: who goes on probing stays."""
    windows = Windows(100, 60.0, limits=Limits(watched=8))
    for number in range(99):
        assert windows.refused("bob", 0) == 0
        windows.refused(f"other-{number}", 0)
        assert len(windows) <= 8
    assert windows.refused("bob", 0) == 100


def test_counting_goes_on_over_a_reload() -> None:
    """What was counted before a reload counts, and an alarm before it keeps the next one quiet."""
    old, new = Windows(3, 60.0), Windows(3, 60.0)
    alarms(old, 0, 1)
    new.adopt(old)
    assert alarms(new, 2) == [3]
    again = Windows(3, 60.0)
    again.adopt(new)
    assert alarms(again, 3, 4, 61, 62.5) == [0, 0, 0, 4]


@given(
    st.integers(1, 5),
    st.lists(st.tuples(st.sampled_from([0.0, 1.0, 4.0, 9.0, 10.0, 25.0]), st.sampled_from("ab")), max_size=60),
)
def test_alarms_are_those_of_the_rule(refusals: int, steps: list[tuple[float, str]]) -> None:
    """Alarms come as a reader of the rules finds them, who keeps every refusal."""
    windows, window, now = Windows(refusals, 10.0), 10.0, 0.0
    every: dict[str, list[float]] = {"a": [], "b": []}
    last: dict[str, tuple[float, int]] = {}
    for wait, key in steps:
        now += wait
        mine = every[key]
        mine.append(now)
        quiet = key in last and now < last[key][0] + window
        expected = 0
        if not quiet and sum(1 for time in mine if now - time < window) >= refusals:
            since = last[key][1] if key in last else 0
            pauses = [at for at in range(1, len(mine)) if mine[at] - mine[at - 1] >= window]
            expected = len(mine) - max([since, *pauses])
            last[key] = now, len(mine)
        assert windows.refused(key, now) == expected


# --- on a guard ---


async def probed(link: Any, times: int, text: str = THREE, **kwargs: Any) -> Any:
    linked = await link(text, **kwargs)
    for number in range(times):
        linked.call("delete", id=number)
    return linked


async def test_principal_that_is_refused_again_and_again_is_noticed(link: Any) -> None:
    """The third refusal leaves one critical event with who, where and how many, and later ones none (S1.5)."""
    linked = await probed(link, 9)
    (event,) = await linked.events("sieve.probing")
    assert (event.severity, event.action, event.count) == ("critical", "escalated", 3)
    assert (event.principal, event.server, event.rule) == ("host:default", "files", "3 refusals in 60 s")
    assert len(await linked.events("sieve.denied")) == 9


async def test_nobody_is_noticed_for_what_is_allowed(link: Any) -> None:
    """Calls that pass are not counted."""
    linked = await probed(link, 2)
    for number in range(20):
        linked.call("read", id=10 + number)
    assert await linked.events("sieve.probing") == []


async def test_all_that_a_client_asks_counts(link: Any) -> None:
    """Prompts and resources that are refused count like calls."""
    linked = await probed(link, 1)
    linked.ask("resources/read", {"uri": "file:///etc/passwd"}, id=20)
    assert await linked.events("sieve.probing") == []
    linked.ask("prompts/get", {"name": "x"}, id=21)
    (event,) = await linked.events("sieve.probing")
    assert event.count == 3


async def test_principals_and_servers_are_apart(link: Any) -> None:
    """Refusals are counted by principal, tenant and server: nobody hides behind others, and nobody pays for them."""
    linked = await link(THREE, role="server")
    people = [Principal(id="a"), Principal(id="b"), Principal(id="a", tenant="t"), ANONYMOUS]
    for number, who in enumerate(people * 2):
        linked.session.connection.principal = who
        linked.call("delete", id=number)
    assert await linked.events("sieve.probing") == []
    linked.session.connection.principal = people[0]
    linked.call("delete", id=99)
    (event,) = await linked.events("sieve.probing")
    assert event.principal == "a"


async def test_servers_fault_is_not_the_principals(link: Any) -> None:
    """What a server answers, and is refused for, is not counted against who asked."""
    linked = await link(THREE)
    for number in range(9):
        linked.listed({"tools": "none"}, id=number)
    assert len(await linked.events("sieve.malformed_list")) == 9
    assert await linked.events("sieve.probing") == []


async def test_refusals_are_counted_where_nothing_is_refused(link: Any) -> None:
    """In mode `audit`, where calls pass, what would have been refused is counted all the same."""
    linked = await probed(link, 3, THREE.replace("[sieve]", '[sieve]\nmode = "audit"'))
    assert len(linked.server.got) == 3
    assert len(await linked.events("sieve.probing")) == 1


async def test_server_may_have_a_bound_of_its_own(link: Any) -> None:
    """The table of one server narrows the bound for that server."""
    text = THREE + "[server.mail.sieve.probing]\nrefusals = 2\n"
    assert len(await (await probed(link, 2, text, server="mail")).events("sieve.probing")) == 1
    assert await (await probed(link, 2, text)).events("sieve.probing") == []


@pytest.mark.parametrize("line", ["refusals = 0", "refusals = 1001", "refusals = 2.5", "window = 0", "window = -1"])
def test_bound_that_is_none_is_an_error(load: Any, line: str) -> None:
    """A bound that would never raise an alarm, or always, is an error at load."""
    with pytest.raises(ConfigError):
        load(f"{RULES}[sieve.probing]\n{line}\n")


async def test_reload_forgets_no_refusal(link: Any) -> None:
    """Refusals before a reload count after it."""
    linked = await probed(link, 2)
    await linked.guard.reload(Config.from_toml(THREE + "# changed\n"))
    linked.call("delete", id=50)
    assert len(await linked.events("sieve.probing")) == 1


def test_map_of_windows_does_not_grow_with_reloads(load: Any) -> None:
    """A reload takes over what is counted under options that still hold, and nothing else."""
    old = load(THREE).loaded["sieve"].plugin
    new = load(THREE.replace("refusals = 3", "refusals = 4")).loaded["sieve"].plugin
    new.adopt(old)
    mesh = new.meshes["probing"]
    assert isinstance(mesh, Suspicion)
    assert [options.refusals for options in mesh._windows] == [4]


async def test_doctor_sees_refusals_counted(load: Any) -> None:
    """The doctor sees that a refusal is counted, in a count of its own."""
    guard = load(THREE)
    report = await doctor.run(guard)
    (found,) = [one for one in report.findings if one.name == "sieve.notices_probing"]
    assert found.state == "ok"
    mesh = guard.loaded["sieve"].plugin.meshes["probing"]
    assert sum(map(len, mesh._windows.values())) == 0


async def test_doctor_sees_that_nothing_is_counted(load: Any, monkeypatch: Any) -> None:
    """The doctor finds out when refusals are not counted any more."""
    monkeypatch.setattr(Suspicion, "refused", lambda *_: None)
    report = await doctor.run(load(THREE))
    (found,) = [one for one in report.findings if one.name == "sieve.notices_probing"]
    assert found.state == "faulty"


async def test_name_of_the_doctor_hides_nobody(link: Any) -> None:
    """Who calls itself like the doctor, at a server that is not the doctor's, is counted like everybody."""
    linked = await link(THREE, role="server")
    linked.session.connection.principal = DOCTOR
    for number in range(3):
        linked.call("delete", id=number)
    assert len(await linked.events("sieve.probing")) == 1


async def test_clock_is_the_guards(link: Any) -> None:
    """Windows are measured by the guard's clock: refusals that are far apart by it raise nothing."""
    linked, clock = await link(THREE), Clock()
    linked.guard.policy.view.clock = clock
    for number in range(9):
        linked.call("delete", id=number)
        clock.turn(30)
    assert await linked.events("sieve.probing") == []
    linked.call("delete", id=10)
    clock.turn(1)
    linked.call("delete", id=11)
    assert len(await linked.events("sieve.probing")) == 1

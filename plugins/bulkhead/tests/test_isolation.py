"""Who is suspended, by what he did or by a person: in guards, in the book, and by command."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result
from plugins.bulkhead.tests.conftest import Opened, codes, nothing_held, plugin_of

from hauberk.event import Event
from hauberk.principal import DOCTOR, Principal
from hauberk.refusals import ConfigError, Refused
from hauberk.testing import Clock, Rig, request
from hauberk_bulkhead._book import Book, Page
from hauberk_bulkhead._commands import bulkhead
from hauberk_bulkhead._limits import LIMITS
from hauberk_bulkhead._suspended import Suspension

FEW = "[bulkhead]\n[bulkhead.isolation]\nevents = 3\nsuspend_seconds = 100\n"


def by(name: str) -> Principal:
    return Principal(id=name, kind="user", method="mtls")


async def trip(rig: Rig, code: str = "ratelimit.exceeded", times: int = 3, **fields: Any) -> None:
    """Let events come about as if other plugins had refused something."""
    for _ in range(times):
        about: dict[str, Any] = {"server": "files", "principal": rig.connection.principal.id}
        about |= {"exchange": f"{rig.connection.id}.1", "details": {"own": True}}
        rig.guard.note(Event(code, category="refusal", action="blocked", **(about | fields)))
    await asyncio.sleep(0)


async def look(rig: Rig) -> None:
    await plugin_of(rig).care.look()


@pytest.fixture
def command(tmp_path: Path) -> Callable[..., Result]:
    """Return a function that runs ``hauberk bulkhead …`` on the guard's state."""
    (tmp_path / "hauberk.toml").write_text(f'core.state_dir = "{tmp_path}/state"\n')

    def run(*words: str) -> Result:
        return CliRunner().invoke(bulkhead, [*words, "--config", str(tmp_path / "hauberk.toml")])

    return run


# --- by what somebody did ---


async def test_principal_that_does_too_much_is_suspended(guarded: Opened, clock: Clock) -> None:
    """After so many events in the window its requests are refused, nobody else's are, and it ends by itself (S0.39)."""
    async with guarded(FEW, role="server") as rig:
        rig.connection.principal = by("evil")
        await trip(rig, times=2)
        await rig.call("a", id=1)
        assert len(rig.reached) == 1
        await trip(rig, times=1)
        await rig.call("a", id=2)
        rig.assert_refused("bulkhead.suspended")
        assert rig.error()["data"]["retryAfter"] == 100.0
        await rig.request("resources/read", {"uri": "note://1"}, id=3)
        rig.assert_refused("bulkhead.suspended")
        rig.connection.principal = by("good")
        await rig.call("a", id=4)
        assert rig.reached[-1]["id"] == 4
        rig.connection.principal = by("evil")
        clock.turn(100)
        await rig.call("a", id=5)
        assert rig.reached[-1]["id"] == 5
        (event,) = rig.recorder.of("bulkhead.isolated")
        assert (event.principal, event.action, event.severity) == ("evil", "escalated", "critical")
        assert event.details["why"] == "3 events within 60 s, the last ratelimit.exceeded"


async def test_name_of_the_doctor_is_no_exemption(guarded: Opened) -> None:
    """A peer that proves the name of the doctor is counted, and suspended, as any other; only its server is exempt."""
    async with guarded(FEW, role="server") as rig:
        for name in ("hauberk-doctor", DOCTOR.id.upper()):
            rig.connection.principal = by(name)
            await trip(rig)
            await rig.call("a")
            rig.assert_refused("bulkhead.suspended")
        rig.connection.principal = DOCTOR
        await rig.call("a")
        rig.assert_refused("bulkhead.suspended")
        assert rig.reached == []
        with pytest.raises(ConfigError, match="the doctor's own"):
            await rig.guard.connect(DOCTOR.id, "server")


async def test_server_that_does_too_much_is_suspended(guarded: Opened, clock: Clock) -> None:
    """Beside a client a server is: its requests, and new connections to it, are refused (S0.39)."""
    async with guarded(FEW) as rig:
        await trip(rig, "tls.untrusted", exchange=rig.connection.id)
        await rig.call("a", id=1)
        rig.assert_refused("bulkhead.suspended")
        with pytest.raises(Refused, match="suspended"):
            await rig.guard.connect("files", "client")
        await rig.guard.connect("web", "client")
        await rig.send(rig.from_server, request("roots/list", id="s"))
        assert [one for one in rig.replies if one.get("method") == "roots/list"] == []
        assert nothing_held(rig)


async def test_address_that_does_too_much_is_suspended(guarded: Opened) -> None:
    """Whoever proves nothing is known by his address, and is refused before anything of him is read (S0.39, A62)."""
    async with guarded(FEW) as rig:
        evil, good = "192.0.2.1:4000", "192.0.2.2:4000"
        details = {"role": "server", "peer": evil}
        await trip(rig, "tls.untrusted", exchange="gone", principal="", details=details)
        for port in (1, 2):
            with pytest.raises(Refused, match="suspended"):
                await rig.guard.admit("web", "server", carrier="tls", peer=f"192.0.2.1:{port}")
        await rig.guard.admit("web", "server", carrier="tls", peer=good)


async def test_old_events_suspend_nobody(guarded: Opened, clock: Clock) -> None:
    """Two events a minute for an hour are not three in a minute."""
    async with guarded(FEW, role="server") as rig:
        rig.connection.principal = by("slow")
        for _ in range(60):
            await trip(rig, times=1)
            clock.turn(30.5)
        assert "bulkhead.isolated" not in codes(rig)


async def test_being_refused_does_not_prolong_it(guarded: Opened, clock: Clock) -> None:
    """Who goes on asking while he is suspended is suspended for no longer."""
    async with guarded(FEW, role="server") as rig:
        rig.connection.principal = by("evil")
        await trip(rig)
        for number in range(100):
            await rig.call("a", id=number)
        clock.turn(100)
        await rig.call("a", id=200)
        assert rig.reached[-1]["id"] == 200


async def test_no_guard_suspends_by_itself_if_told_so(guarded: Opened) -> None:
    """With ``enabled = false`` only a person suspends."""
    async with guarded("[bulkhead]\nisolation.enabled = false\nisolation.events = 3\n", role="server") as rig:
        rig.connection.principal = by("evil")
        await trip(rig, times=100)
        await rig.call("a", id=1)
        assert len(rig.reached) == 1


# --- the book ---


async def test_suspension_outlives_the_process_and_reaches_others(guarded: Opened, clock: Clock) -> None:
    """What one guard of a host finds out, its others know after their next look, and the next one from its start."""
    async with guarded(FEW, role="server") as one, guarded(FEW, role="server") as two:
        one.connection.principal = two.connection.principal = by("evil")
        await trip(one)
        await look(one)
        await look(two)
        await two.call("a", id=1)
        two.assert_refused("bulkhead.suspended")
    async with guarded(FEW, role="server") as three:
        three.connection.principal = by("evil")
        await three.call("a", id=1)
        three.assert_refused("bulkhead.suspended")


async def test_what_a_closing_guard_found_out_is_kept(guarded: Opened) -> None:
    """A guard that closes before its next look writes what it knows."""
    async with guarded(FEW, role="server") as rig:
        rig.connection.principal = by("evil")
        await trip(rig)
    async with guarded(FEW, role="server") as rig:
        rig.connection.principal = by("evil")
        await rig.call("a", id=1)
        rig.assert_refused("bulkhead.suspended")


@pytest.mark.parametrize("text", ["{", "[]", '{"format":2}', '{"suspended":[{"kind":"all","name":"x","since":0}]}'])
async def test_book_that_is_none_stops_the_start(guarded: Opened, tmp_path: Path, text: str) -> None:
    """A list that was cut off or made up is not believed in part, and no host starts without it."""
    folder = tmp_path / "state" / "bulkhead"
    folder.mkdir(parents=True, mode=0o700)
    (tmp_path / "state").chmod(0o700)
    (folder / "suspended.json").write_text(text)
    (folder / "suspended.json").chmod(0o600)
    with pytest.raises(ConfigError, match="no list of suspensions"):
        async with guarded():
            pass


async def test_book_that_others_can_read_stops_the_start(guarded: Opened, tmp_path: Path) -> None:
    """A list that others could have written is not believed."""
    Book(tmp_path / "state", now=lambda: 0.0).add([])
    (tmp_path / "state" / "bulkhead" / "suspended.json").chmod(0o666)
    with pytest.raises(ConfigError):
        async with guarded():
            pass


async def test_book_that_breaks_while_a_guard_runs(guarded: Opened, tmp_path: Path) -> None:
    """A guard that runs goes by what it knew, and says once that it cannot read the list."""
    async with guarded(FEW, role="server") as rig:
        rig.connection.principal = by("evil")
        await trip(rig)
        await look(rig)
        path = tmp_path / "state" / "bulkhead" / "suspended.json"
        path.write_text("{")
        for _ in range(3):
            await look(rig)
        await rig.call("a", id=1)
        rig.assert_refused("bulkhead.suspended")
        await rig.settle()
        assert codes(rig).count("bulkhead.unwritten") == 1


def _add(folder: Path, first: int) -> None:
    book = Book(folder, now=lambda: 1.0)
    for number in range(first, first + 25):
        book.add([Suspension("principal", f"p{number}", 1.0)])


def test_four_processes_write_one_book(tmp_path: Path) -> None:
    """What four processes write at once is all there: none takes out what another has put in."""
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_add, args=(tmp_path, first)) for first in range(0, 100, 25)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    assert len(Book(tmp_path, now=lambda: 1.0).read().suspended) == 100


def _entry(number: int, **fields: Any) -> Suspension:
    return Suspension("principal", f"{number:05}{chr(0x1F600) * 200}", float(number), **{"why": "w" * 200} | fields)


def test_book_is_never_larger_than_can_be_read(tmp_path: Path) -> None:
    """However many guards suspend without end, and however long their names: the oldest go, and it is read (X.6)."""
    book = Book(tmp_path, now=lambda: 1.0)
    book.add([_entry(0, by="operator")])
    book.add(_entry(number) for number in range(1, 6000))
    found = Book(tmp_path, now=lambda: 1.0).read().suspended
    assert 1000 < len(found) <= LIMITS.suspended
    assert (tmp_path / "bulkhead" / "suspended.json").stat().st_size <= LIMITS.book_bytes
    assert {found[0].since, found[-1].since} == {0.0, 5999.0}


def test_book_of_people_that_is_full_takes_no_more(tmp_path: Path) -> None:
    """What people suspended is not let go of: one more is refused, and the list stays as it was."""
    book = Book(tmp_path, now=lambda: 1.0)
    with pytest.raises(ConfigError, match="larger than"):
        book.add(_entry(number, by="operator") for number in range(6000))
    assert book.read().suspended == ()


async def test_guard_that_suspends_without_end_starts_again(guarded: Opened) -> None:
    """More suspensions than there may be, all endless, cost the oldest of them, and no start (X.6)."""
    toml = "[bulkhead]\n[bulkhead.isolation]\nevents = 1\nsuspend_seconds = 0\n"
    async with guarded(toml, role="server") as rig:
        care = plugin_of(rig).care
        for number in range(2 * LIMITS.suspended):
            peer = {"role": "server", "peer": f"[2001:db8:{number:x}::1]:99"}
            care.heard(Event("envelope.forged", action="blocked", server="files", details=peer))
            assert len(plugin_of(rig).gate.state.suspended.all(0.0)) <= LIMITS.suspended
    async with guarded(toml, role="server") as rig:
        assert len(plugin_of(rig).gate.state.suspended.all(0.0)) > LIMITS.suspended // 2


@pytest.mark.parametrize("words", [["reset"], ["resume", "--principal", "bob"]], ids=" ".join)
def test_command_mends_a_book_that_is_too_large(
    tmp_path: Path, command: Callable[..., Result], words: list[str]
) -> None:
    """A list that has become larger than a guard reads is one again after ``resume`` or ``reset``."""
    book = Book(tmp_path / "state", now=lambda: 1.0)
    book.add([])
    entries = tuple(_entry(number) for number in range(6000))
    page = Page(suspended=(Suspension("principal", "bob", 1.0, by="operator"), *entries))
    (tmp_path / "state" / "bulkhead" / "suspended.json").write_bytes(msgspec.json.encode(page))
    with pytest.raises(ConfigError, match="larger than"):
        book.read()
    assert command(*words).exit_code == 0
    assert book.read().suspended


def test_reason_is_bounded(command: Callable[..., Result]) -> None:
    """A reason of a page is refused, and nobody is suspended by it."""
    assert command("suspend", "--principal", "bob", "--reason", "x" * 257).exit_code == 2
    assert command("suspend", "--principal", "bob", "--reason", "x" * 256).exit_code == 0


# --- by a person ---


async def test_person_suspends_and_resumes(guarded: Opened, command: Callable[..., Result]) -> None:
    """A guard that runs takes up at its next look what a person said; until it is lifted, it holds (S0.39)."""
    async with guarded(role="server") as rig:
        rig.connection.principal = by("bob")
        assert command("suspend", "--principal", "bob", "--reason", "floods").output == (
            "suspended: principal bob until it is resumed\n"
        )
        await look(rig)
        await rig.call("a", id=1)
        rig.assert_refused("bulkhead.suspended")
        assert "retryAfter" not in rig.error()["data"]
        assert command("show").output.splitlines()[0] == "principal  bob  until it is resumed  floods"
        assert command("resume", "--principal", "bob").output == "resumed: principal bob\n"
        await look(rig)
        await rig.call("a", id=2)
        assert rig.reached[-1]["id"] == 2
        assert command("resume", "--principal", "bob").exit_code == 1


async def test_person_lifts_what_a_guard_did(guarded: Opened, command: Callable[..., Result]) -> None:
    """A suspension by a guard is lifted like any other, in the guard that made it."""
    async with guarded(FEW.replace("= 100", "= 0"), role="server") as rig:
        rig.connection.principal = by("evil")
        await trip(rig)
        await look(rig)
        assert command("resume", "--principal", "evil").exit_code == 0
        await look(rig)
        await rig.call("a", id=1)
        assert len(rig.reached) == 1


async def test_person_resets_breakers(guarded: Opened, command: Callable[..., Result]) -> None:
    """``reset`` closes the breakers of guards that run, and leaves who is suspended."""
    async with guarded("[bulkhead]\nbreaker.failures = 1\nbreaker.minimum_requests = 1\n") as rig:
        await rig.call("a", id=1)
        await rig.send(rig.from_server, {"jsonrpc": "2.0", "id": 1, "error": {"code": -32603, "message": "no"}})
        await rig.call("a", id=2)
        rig.assert_refused("bulkhead.open")
        command("suspend", "--server", "web")
        assert command("reset").exit_code == 0
        await look(rig)
        await rig.call("a", id=3)
        assert rig.reached[-1]["id"] == 3
        assert "server  web" in command("show").output


async def test_show_tells_what_is_in_flight(guarded: Opened, clock: Clock, command: Callable[..., Result]) -> None:
    """What runs leaves what it has in flight and its breakers, and takes it away when it ends."""
    toml = "[bulkhead]\nbreaker.failures = 1\nbreaker.minimum_requests = 1\n"
    async with guarded(toml) as rig:
        await rig.call("a", id=1)
        await rig.send(rig.from_server, {"jsonrpc": "2.0", "id": 1, "error": {"code": -32603, "message": "no"}})
        await rig.call("b", id=2)
        clock.turn(10)
        await look(rig)
        (live,) = json.loads(command("show", "--json").output)["running"]
        assert (live["pid"], live["rooms"]["files"]) == (os.getpid(), {"in_flight": 1, "waiting": 0, "connections": 1})
        assert live["breakers"] == [{"server": "files", "tool": "a", "tenant": "host:default", "state": "open"}]
        said = command("show").output
        assert "files: 1 in flight, 0 waiting, 1 connections" in said
        assert "breaker files a host:default: open" in said
    assert json.loads(command("show", "--json").output) == {"suspended": [], "running": []}


def test_show_leaves_out_processes_that_are_gone(tmp_path: Path, command: Callable[..., Result]) -> None:
    """What a killed process left behind is not shown, and taken away."""
    book = Book(tmp_path / "state", now=lambda: 0.0)
    book.add([])
    path = tmp_path / "state" / "bulkhead" / "live-999999999.json"
    path.write_text('{"pid":999999999,"host":"default","time":0}')
    path.chmod(0o600)
    assert json.loads(command("show", "--json").output)["running"] == []
    assert not path.exists()


@pytest.mark.parametrize(
    "words",
    [
        ["suspend"],
        ["suspend", "--principal", ""],
        ["suspend", "--principal", "a", "--server", "b"],
        ["suspend", "--address", "nowhere"],
        ["suspend", "--principal", "a", "--for", "-1"],
        ["suspend", "--principal", "a", "--for", "nan"],
        ["resume"],
    ],
    ids=" ".join,
)
def test_command_that_says_nothing_is_refused(words: list[str], command: Callable[..., Result]) -> None:
    """Nobody, two at once, no address and no time are mistakes, and suspend nobody."""
    assert command(*words).exit_code == 2
    assert json.loads(command("show", "--json").output)["suspended"] == []


def test_addresses_are_suspended_as_they_count(command: Callable[..., Result]) -> None:
    """An address is suspended in the form in which it is counted: of IPv6, the /64."""
    assert command("suspend", "--address", "2001:db8::5", "--for", "60").exit_code == 0
    (one,) = json.loads(command("show", "--json").output)["suspended"]
    assert (one["kind"], one["name"]) == ("address", "2001:db8::/64")
    assert command("resume", "--address", "2001:db8::/64").exit_code == 0


def test_names_act_on_no_terminal(command: Callable[..., Result]) -> None:
    """A name that somebody else chose is shown without its control characters."""
    command("suspend", "--principal", "a\x1b[2Jb")
    assert "\x1b" not in command("show").output

"""Who counts as one caller: in rooms, in breakers, in suspensions."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from plugins.bulkhead.tests.conftest import Opened, codes, plugin_of
from plugins.bulkhead.tests.test_isolation import FEW, look, trip
from plugins.bulkhead.tests.test_limits import fail

from hauberk.connection import Connection, Credentials
from hauberk.event import Event
from hauberk.principal import ANONYMOUS, Principal
from hauberk_bulkhead._callers import caller_of, kept, party_of, readable, where
from hauberk_bulkhead._commands import bulkhead
from hauberk_bulkhead._isolation import Blame, Culprit
from hauberk_bulkhead._limits import LIMITS
from hauberk_bulkhead._options import Isolating


def of(tenant: str | None, id: str = "alice") -> Principal:
    return Principal(id=id, kind="user", method="mtls", tenant=tenant)


def peer(address: str) -> Connection:
    return Connection(id="c", host="h", server="files", role="server", peer=address)


# --- pure ---


@given(st.text(), st.text())
def test_names_stay_bounded_and_apart(one: str, other: str) -> None:
    """However long, a name stays below the bound, and two names stay two (A62)."""
    for long in (one, f"{'x' * 300}{one}"):
        assert len(kept(long)) <= LIMITS.name_chars
        assert (kept(long) == kept(f"{'x' * 300}{other}")) is (long == f"{'x' * 300}{other}")
        assert kept(long) != kept(kept(long)) or kept(long) == long


def test_nobody_can_choose_the_short_form_of_another() -> None:
    """What a long name becomes is no name that is kept as it is."""
    assert kept(kept("x" * 300)) != kept("x" * 300)


def test_callers_and_parties_are_apart() -> None:
    """A tenant is no principal of its name, an address no identity of its text, two tenants' same ids two callers."""
    at = peer("198.51.100.7:99")
    who = [ANONYMOUS, of(None), of("acme"), of("evil"), of(None, "acme"), of(None, "198.51.100.7"), of(None, "acme\0")]
    for one, other in combinations(who, 2):
        assert caller_of(one, at) != caller_of(other, at)

    def party(one: Principal) -> str:
        return party_of(one, caller_of(one, at))

    assert party(of("acme")) == party(of("acme", "bob"))
    assert len(set(map(party, who))) == len(who)
    assert caller_of(ANONYMOUS, at) != caller_of(ANONYMOUS, peer("198.51.100.8:99"))
    assert [readable(party(one)) for one in who[:3]] == ["198.51.100.7", "alice", "acme"]


def test_user_of_a_socket_is_an_address() -> None:
    """A path is nobody; the user at its other end is, as the kernel says."""
    at = peer("/run/files.sock")
    assert where(at) == ""
    at.credentials = Credentials(1000, 1000)
    assert where(at) == "uid:1000"


def test_blame_is_on_the_tenants_principal() -> None:
    """Where the connection is gone, an event of it tells the tenant."""
    event = Event("envelope.forged", action="blocked", server="files", principal="alice", details={"role": "server"})
    blame = Blame(Isolating())
    assert blame.of(event, {}) == Culprit("principal", "alice")
    event.details["tenant"] = "evil"
    assert blame.of(event, {}) == Culprit("principal", of("evil").key)


# --- in a guard ---


async def test_one_id_in_two_tenants_is_two(guarded: Opened) -> None:
    """What ``alice`` of one tenant takes, breaks or does wrong, ``alice`` of another does not pay for (A62)."""
    toml = FEW + "[server.files.bulkhead]\nqueue = 0\nin_flight_per_principal = 2\n"
    async with guarded(toml, role="server") as rig:
        rig.connection.principal = of("evil")
        await rig.call("a", id=1)
        await rig.call("a", id=2)
        rig.connection.principal = of("acme")
        await rig.call("a", id=3)
        assert rig.reached[-1]["id"] == 3
        rig.connection.principal = of("evil")
        await trip(rig)
        await rig.call("a", id=4)
        rig.assert_refused("bulkhead.suspended")
        for other in (of("acme"), of(None)):
            rig.connection.principal = other
            await rig.call("a", id=f"{other.tenant}")
            assert rig.reached[-1]["id"] == f"{other.tenant}"
        (event,) = rig.recorder.of("bulkhead.isolated")
        assert (event.principal, event.details["name"], event.details["tenant"]) == ("alice", "alice", "evil")


async def test_principal_does_not_open_the_breaker_of_a_tenant(guarded: Opened) -> None:
    """A principal that is called as a tenant fails for himself."""
    async with guarded("queue = 0\n", role="server") as rig:
        rig.connection.principal = of(None, "acme")
        await fail(rig, 1)
        await rig.call("read", id=10)
        rig.assert_refused("bulkhead.open")
        rig.connection.principal = of("acme", "bob")
        await rig.call("read", id=11)
        assert rig.reached[-1]["id"] == 11


async def test_addresses_that_proved_nothing_have_their_own_places(guarded: Opened) -> None:
    """One address that takes all it may leaves the others theirs (A62)."""
    async with guarded("queue = 0\nin_flight_per_principal = 2\n", role="server") as rig:
        rig.connection.principal = ANONYMOUS
        rig.connection.peer = "198.51.100.7:99"
        for number in (1, 2, 3):
            await rig.call("slow", id=number)
        rig.assert_refused("bulkhead.full")
        rig.connection.peer = "198.51.100.8:99"
        await rig.call("slow", id=4)
        assert rig.reached[-1]["id"] == 4


@pytest.mark.parametrize("length", [223, 224, 255, 256, 257, 5000])
async def test_long_names_are_suspended_too(guarded: Opened, length: int) -> None:
    """A name of any length is suspended, in the guard that finds it out and in those that read of it (S0.39)."""
    async with guarded(FEW, role="server") as rig, guarded(FEW, role="server") as other:
        rig.connection.principal = other.connection.principal = of(None, "x" * length)
        await trip(rig)
        await rig.call("a", id=1)
        rig.assert_refused("bulkhead.suspended")
        await look(rig)
        await look(other)
        await other.call("a", id=1)
        other.assert_refused("bulkhead.suspended")
        other.connection.principal = of(None, "x" * (length - 1) + "y")
        await other.call("a", id=2)
        assert other.reached[-1]["id"] == 2


@pytest.fixture
def command(tmp_path: Path) -> Callable[..., Result]:
    """Return a function that runs ``hauberk bulkhead …`` on the guard's state."""
    (tmp_path / "hauberk.toml").write_text(f'core.state_dir = "{tmp_path}/state"\n')

    def run(*words: str) -> Result:
        return CliRunner().invoke(bulkhead, [*words, "--config", str(tmp_path / "hauberk.toml")])

    return run


async def test_person_suspends_who_is_of_a_tenant(guarded: Opened, command: Callable[..., Result]) -> None:
    """By ``--tenant``; a long name is resumed in full or as it is shown."""
    async with guarded(role="server") as rig:
        for tenant, id in (("acme", "alice"), ("acme", "x" * 400)):
            rig.connection.principal = of(tenant, id)
            assert command("suspend", "--principal", id, "--tenant", tenant).exit_code == 0
            await look(rig)
            await rig.call("a", id=id[:1])
            rig.assert_refused("bulkhead.suspended")
            assert "acme/" in command("show").output
            assert command("resume", "--principal", id).exit_code == 1
            assert command("resume", "--principal", id, "--tenant", tenant).exit_code == 0
            await look(rig)
            await rig.call("a", id="after" + id[:1])
            assert rig.reached[-1]["id"] == "after" + id[:1]
        assert command("suspend", "--tenant", "acme", "--server", "files").exit_code == 2
        assert command("suspend", "--principal", "y" * 400).exit_code == 0
        assert command("resume", "--principal", kept("y" * 400)).exit_code == 0
    assert "bulkhead.isolated" not in codes(rig)
    assert not plugin_of(rig).gate.state.suspended.all(0.0)

"""Each option of ``[envelope]`` is in force: between two guards, and where a server's table meets the general one."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from plugins.envelope.tests.guards import DAY, START, Yard, refusal_of, two_guards, written

from hauberk.config import Config
from hauberk.refusals import Refused
from hauberk.testing._messages import call_params, request
from hauberk_envelope._identity import Identity
from hauberk_envelope._options import Options
from hauberk_envelope.session import _parties
from hauberk_envelope.session._parties import Known
from hauberk_envelope.session._session import Session


@pytest.fixture
def yard(tmp_path: Path) -> Yard:
    return Yard(tmp_path)


def known(yard: Yard, who: str, *, profile: str = "development", **options: Any) -> Known:
    """Return what the table of an agent stands for."""
    config = Config.from_toml(f'profile = "{profile}"\n{yard.toml(who, **options)}', base=yard.folder)
    return _parties.read(config.options("envelope", Options), config)


@pytest.mark.parametrize("side", ["client", "server"])
async def test_may_talk_to_those_that_are_named(yard: Yard, side: str) -> None:
    """Who may talk to some agents may talk to no other: each guard refuses whom its own list does not name (S0.28)."""
    tables: Any = {side: {"can_communicate_with": {"laptop": ["printer"]}}}
    async with two_guards(yard, **tables, agree=False) as pair:
        code = await refusal_of(pair.agree())
        assert pair.codes(pair.server) == ([] if side == "client" else ["envelope.not_allowed"])
        assert code == ("envelope.not_allowed" if side == "client" else "envelope.no_agreement")
    tables = {side: {"can_communicate_with": {"laptop": ["printer", "vault"]}}}
    async with two_guards(yard, **tables) as pair:
        assert pair.codes(pair.client) == pair.codes(pair.server) == []


@pytest.mark.parametrize(("days", "reported"), [(1, {"laptop", "vault"}), (2, set())])
async def test_old_keys_are_reported_from_the_day_that_is_set(yard: Yard, days: int, reported: set[str]) -> None:
    """``key_rotation_days`` is from when on our key, and those that we trust, are in the record (S0.26)."""
    async with two_guards(yard, client={"key_rotation_days": days}) as pair:
        await pair.client.settle()
        found = {event.principal for event in pair.client.recorder.events if event.code == "envelope.key_old"}
        assert found == reported


async def test_no_key_that_counts_no_more_is_called_old(yard: Yard) -> None:
    """A key that was revoked or has expired is not reported as one to be rotated (S0.26)."""
    for days, revoked in ((400, False), (95, True), (95, False)):
        old = Identity.generate("vault", now=START - days * DAY)
        yard.trust("laptop", old)
        if revoked:
            yard.revoke("laptop", old)
    async with two_guards(yard) as pair:
        await pair.client.settle()
        found = [event.details["key_id"] for event in pair.client.recorder.events if event.code == "envelope.key_old"]
        assert found == [old.key_id]


def test_so_many_pairs_of_keys_are_tried(yard: Yard) -> None:
    """However many keys both of us have, a few pairs are tried, the newest first (design §9.8)."""
    for days in range(2, 5):
        for name, place in (("laptop", "give"), ("vault", "trust")):
            getattr(yard, place)("laptop", Identity.generate(name, now=START - days * DAY))
    pairs = known(yard, "laptop").pairs("vault", START)
    assert len(pairs) == _parties.TRIES
    newest = (yard.agents["laptop"].key_id, yard.agents["vault"].key_id)
    assert (pairs[0][0].identity.key_id, pairs[0][1].key_id) == newest


@pytest.mark.parametrize(
    ("profile", "options", "refused"),
    [
        ("development", {}, False),
        ("production", {}, True),
        ("production", {"key_grace_days": 60}, False),
        ("production", {"key_rotation_days": 150}, False),
        ("production", {"key_rotation_days": 119}, False),
        ("production", {"key_rotation_days": 119, "key_grace_days": 0}, True),
    ],
)
def test_a_key_past_its_grace_counts_no_more_in_production(
    yard: Yard, profile: str, options: dict[str, Any], refused: bool
) -> None:
    """A key of 130 days is past 90 and 30 of grace: in production nobody is asked with it or answered (S0.26)."""
    for who, other in (("vault", "laptop"), ("laptop", "vault")):  # theirs, then ours
        home = Yard(yard.folder / who)
        for place in (home.folder / "laptop").rglob("hbk1_*"):
            place.unlink()
        old = {name: Identity.generate(name, now=START - (130 if name == who else 1) * DAY) for name in (who, other)}
        home.give("laptop", old["laptop"])
        home.trust("laptop", old["vault"])
        found = known(home, "laptop", profile=profile, **options)
        codes = []
        for key in (old["vault"].public, old["laptop"].public):
            try:
                found.trust.check(key, START)
            except Refused as error:
                codes.append(error.code)
        assert codes == (["envelope.key_too_old"] if refused else [])
        with pytest.raises(Refused, match="counts") if refused else nullcontext():
            assert found.pairs("vault", START)


@pytest.mark.parametrize("side", ["client", "server"])
async def test_a_key_is_for_as_many_messages_as_are_set(yard: Yard, side: str) -> None:
    """``rekey_messages`` is how many messages of ours are sealed with one key, whatever the other end does (S0.27)."""
    tables: Any = {side: {"rekey_messages": 2}}
    async with two_guards(yard, **tables) as pair:
        for id in range(1, 6):
            pair.client.post(pair.client.session.out, request("tools/call", call_params("echo"), id=id))
            await pair.server.settle()
            pair.server.post(pair.server.session.out, {"jsonrpc": "2.0", "id": id, "result": {"content": []}})
            await pair.client.settle()
        asks, answers = (session_of(rig)._receiving.epoch for rig in (pair.server, pair.client))
        assert (asks, answers) == ((2, 0) if side == "client" else (0, 2))


def session_of(rig: Any) -> Session:
    """Return the session of a guard with one connection."""
    (link,) = rig.guard.loaded["envelope"].plugin.desk.links.of.values()
    found: Session = link.session
    return found


@pytest.mark.parametrize(
    ("option", "general", "server", "both"),
    [
        ("seal", "require", "off", "require"),
        ("seal", "off", "require", "require"),
        ("sign", "message", "session", "message"),
        ("sign", "session", "message", "message"),
        ("key_rotation_days", 30, 90, 30),
        ("key_rotation_days", 90, 30, 30),
        ("key_grace_days", 3, 9, 3),
        ("key_grace_days", 9, 3, 3),
        ("rekey_messages", 10, 1000, 10),
        ("rekey_messages", 1000, 10, 10),
        ("match_certificates", True, False, True),
        ("match_certificates", False, True, True),
        ("privileged_agents", ["a", "b"], ["b", "c"], ("b",)),
        ("can_communicate_with", {"a": ["x", "y"], "b": ["x"]}, {"a": ["y", "z"], "c": ["x"]}, {"a": ("y",)}),
        ("can_communicate_with", {"a": ["*"]}, {"a": ["x"], "b": ["*"]}, {"a": ("x",)}),
        ("can_communicate_with", {"a": ["x"]}, {"a": ["*"]}, {"a": ("x",)}),
    ],
)
def test_the_table_of_a_server_lets_nothing_off(option: str, general: Any, server: Any, both: Any) -> None:
    """Of what protects, the stricter of both tables stands, whichever of them it is."""
    text = f"[envelope]\n{option} = {written(general)}\n[server.files.envelope]\n{option} = {written(server)}\n"
    config = Config.from_toml(text)
    found = getattr(config.options("envelope", Options, "files"), option)
    assert _plain(found) == both


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: tuple(one) for name, one in value.items()}
    return tuple(value) if isinstance(value, list) else value

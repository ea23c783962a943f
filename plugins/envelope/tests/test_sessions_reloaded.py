"""A reload judges sessions that there are as if they were agreed on then; one that is rejected changes none of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from plugins.envelope.tests.guards import Pair, Yard, two_guards

from hauberk.config import Config
from hauberk.principal import Principal
from hauberk.refusals import PluginError
from hauberk.testing._loading import with_state
from hauberk.testing._messages import call_params, request
from hauberk_envelope.session._layout import EXTENSION

Change = Callable[[Yard], dict[str, Any]]
NEVER = """
import hauberk


class Policy:
    name = "policy"
    Options = hauberk.Options

    async def open(self) -> None:
        raise RuntimeError("never")

    @hauberk.hookimpl
    def on_audit(self, event: object) -> None:
        pass
"""
"""A plugin that cannot be opened, after all others were."""


@pytest.fixture
def yard(tmp_path: Path) -> Yard:
    return Yard(tmp_path)


async def passes(pair: Pair, text: str, id: int) -> bool:
    """Whether a call of the client reaches the server."""
    before = len(pair.server.near.raw)
    pair.client.post(pair.client.session.out, request("tools/call", call_params("echo", {"text": text}), id=id))
    await pair.server.settle()
    await pair.client.settle()
    return len(pair.server.near.raw) > before


async def reloaded(pair: Pair, yard: Yard, name: str, text: str) -> None:
    """Put another policy in force on one side."""
    rig = pair.server if name == "vault" else pair.client
    config = Config.from_toml(with_state(text, yard.folder / name / "state"), base=yard.folder)
    await rig.guard.reload(config)
    await pair.client.settle()
    await pair.server.settle()


def _revoked(name: str, whose: str) -> Change:
    return lambda yard: yard.revoke(name, yard.agents[whose]) or {}  # type: ignore[func-returns-value]


def _without(name: str, part: str, whose: str) -> Change:
    def change(yard: Yard) -> dict[str, Any]:
        (one,) = (yard.folder / name / part).glob(f"{yard.agents[whose].key_id}.*")
        one.unlink()
        if part == "own":
            yard.give(name, type(yard.agents[whose]).generate(name, now=yard.agents[whose].public.not_before))
        return {}

    return change


def _options(**options: Any) -> Change:
    return lambda _: options


CHANGES: dict[str, tuple[str, Change, str]] = {
    "own key revoked, server": ("vault", _revoked("vault", "vault"), "envelope.key_revoked"),
    "own key revoked, client": ("laptop", _revoked("laptop", "laptop"), "envelope.key_revoked"),
    "own key gone, server": ("vault", _without("vault", "own", "vault"), "envelope.no_keys"),
    "own key gone, client": ("laptop", _without("laptop", "own", "laptop"), "envelope.no_keys"),
    "peer revoked, server": ("vault", _revoked("vault", "laptop"), "envelope.key_revoked"),
    "peer revoked, client": ("laptop", _revoked("laptop", "vault"), "envelope.key_revoked"),
    "peer gone, server": ("vault", _without("vault", "agents", "laptop"), "envelope.untrusted"),
    "peer gone, client": ("laptop", _without("laptop", "agents", "vault"), "envelope.untrusted"),
    "may not talk, server": ("vault", _options(can_communicate_with={}), "envelope.not_allowed"),
    "may not talk, client": ("laptop", _options(can_communicate_with={}), "envelope.not_allowed"),
    "may talk the other way": ("vault", _options(can_communicate_with={"vault": ["laptop"]}), "envelope.not_allowed"),
    "signed, server": ("vault", _options(sign="message"), "envelope.unsigned"),
    "signed, client": ("laptop", _options(sign="message"), "envelope.unsigned"),
    "another peer": ("laptop", _options(peer="other"), "envelope.no_peer"),
    "another server": ("laptop", _options(server_name="other"), "envelope.wrong_server"),
}


@pytest.mark.parametrize("what", CHANGES)
async def test_what_would_not_be_agreed_on_is_over(yard: Yard, what: str) -> None:
    """A session that a new policy would not agree on ends with the first message, for the reason it has (S0.28)."""
    name, change, code = CHANGES[what]
    async with two_guards(yard) as pair:
        assert await passes(pair, "before", 1)
        await reloaded(pair, yard, name, yard.toml(name, **change(yard)))
        assert not await passes(pair, "after", 2)
        assert b"after" not in pair.wire
        rig = pair.server if name == "vault" else pair.client
        assert pair.codes(rig) == ["envelope.session_over"]
        assert rig.connection.over == code
        assert not await passes(pair, "again", 3)


async def test_keys_that_are_named_no_more(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session ends where the new policy names no keys, and there are none in their usual place."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(yard.folder / "none"))
    async with two_guards(yard) as pair:
        await reloaded(pair, yard, "vault", "[envelope]\n")
        assert not await passes(pair, "after", 2)
        assert pair.server.connection.over == "envelope.no_keys"


async def test_a_certificate_that_must_match(yard: Yard) -> None:
    """A client whose certificate has another name is let go of by a policy that wants them to match (S0.16)."""
    proxy = Principal(id="proxy", kind="service", method="mtls")
    for match in (False, True):
        async with two_guards(yard, server={"match_certificates": False}, principal=proxy) as pair:
            assert await passes(pair, "before", 1)
            assert pair.server.connection.principal.id == "agent:laptop"
            await reloaded(pair, yard, "vault", yard.toml("vault", match_certificates=match, rekey_messages=9))
            assert await passes(pair, "after", 2) is not match
            assert pair.server.connection.over == ("envelope.wrong_name" if match else "")


async def test_a_message_that_comes_back(yard: Yard) -> None:
    """What the server still says in a session that would not be agreed on is sent to nobody."""
    async with two_guards(yard) as pair:
        assert await passes(pair, "before", 1)
        await reloaded(pair, yard, "vault", yard.toml("vault", can_communicate_with={}))
        await pair.server.send(pair.server.session.out, {"jsonrpc": "2.0", "id": 1, "result": {"content": []}})
        await pair.client.settle()
        assert [got["error"]["data"]["code"] for got in pair.client.near.got] == ["envelope.plain"]
        assert pair.server.connection.over == "envelope.not_allowed"


async def test_an_agreement_under_way(yard: Yard) -> None:
    """What was asked for by the policy before, and is answered under the new one, is judged by the new one."""
    async with two_guards(yard, agree=False) as pair:
        held: list[bytes] = []

        def hold(data: bytes) -> list[bytes]:
            held.append(data)
            return []

        pair.back.between = hold
        asking = asyncio.get_running_loop().create_task(pair.client.session.agree())
        await pair.client.settle()
        assert EXTENSION.encode() not in b"".join(held)  # the answer, in plain
        await reloaded(pair, yard, "laptop", yard.toml("laptop", peer="other"))
        pair.client.session.receive(pair.client.session.inn, held[0])
        await asking
        pair.back.between = lambda data: [data]
        assert not await passes(pair, "after", 2)
        assert pair.client.connection.over == "envelope.no_peer"


@pytest.mark.parametrize("seal", ["require", "off"])
async def test_a_reload_that_is_rejected(yard: Yard, seal: str) -> None:
    """A reload that comes to nothing leaves every session, and every connection in plain, as it was."""
    never = yard.folder / "never.py"
    never.write_text(NEVER)
    never.chmod(0o600)
    given = {"seal": seal}
    async with two_guards(yard, client=given, server=given, agree=seal == "require") as pair:
        assert await passes(pair, "before", 1)
        if seal == "require":
            yard.revoke("vault", yard.agents["laptop"])
        for id in (2, 3):
            bad = '[plugins]\npolicy = "never.py"\n'
            with pytest.raises(PluginError):
                await reloaded(pair, yard, "vault", bad + yard.toml("vault"))
            assert await passes(pair, "after", id)
        await reloaded(pair, yard, "vault", yard.toml("vault") + "# again\n")
        assert not await passes(pair, "at last", 4)


@pytest.mark.parametrize("name", ["vault", "laptop"])
async def test_a_table_that_is_gone(yard: Yard, name: str) -> None:
    """Once a reload takes the seal out, what was sealed does not go on in plain, in either direction (A04)."""
    async with two_guards(yard) as pair:
        assert await passes(pair, "before", 1)
        written = len(pair.out.seen), len(pair.back.seen)
        await reloaded(pair, yard, name, "\n")
        rig = pair.server if name == "vault" else pair.client
        assert rig.connection.over == "policy.changed"
        pair.client.post(pair.client.session.out, request("tools/call", call_params("echo", {"text": "after"}), id=2))
        plain = request("tools/call", call_params("echo", {"text": "plain"}), id=3)
        for one in (pair.client, pair.server):
            await one.send(one.session.inn, plain)
        await pair.server.send(pair.server.session.out, {"jsonrpc": "2.0", "id": 1, "result": {"content": []}})
        assert len(pair.server.near.raw) == 1
        assert b"after" not in pair.wire
        if name == "vault":
            assert len(pair.back.seen) == written[1]
        else:
            assert len(pair.out.seen) == written[0]


async def test_a_seal_that_is_not_asked_for_any_more(yard: Yard) -> None:
    """A session stays sealed where a reload asks for no seal any more; nothing of it passes in plain."""
    async with two_guards(yard) as pair:
        assert await passes(pair, "before", 1)
        await reloaded(pair, yard, "vault", yard.toml("vault", seal="off"))
        assert await passes(pair, "after", 2)
        await pair.server.send(pair.server.session.inn, request("tools/list", {}, id=3))
        assert pair.codes(pair.server) == ["envelope.plain"]
        assert b"after" not in pair.wire

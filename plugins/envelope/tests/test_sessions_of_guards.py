"""Two guards that agree on a session: who is let in, what may pass in plain, and what a forger can do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from plugins.envelope.tests.ends import sealed
from plugins.envelope.tests.guards import DAY, START, Pair, Yard, refusal_of, two_guards

from hauberk.config import Config
from hauberk.guard import Guard
from hauberk.hookspecs import hookimpl
from hauberk.layers import Layer
from hauberk.message import Message
from hauberk.principal import Principal
from hauberk.refusals import ConfigError, PluginError, Refused
from hauberk.testing._messages import answer, call_params, notification, request
from hauberk_envelope._identity import Identity
from hauberk_envelope.session._agreement import Offer
from hauberk_envelope.session._layout import EXTENSION
from hauberk_envelope.session._link import ATTEMPTS, refusal

CANARY = "canary-7f3a"
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": CANARY, "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}


@pytest.fixture
def yard(tmp_path: Path) -> Yard:
    return Yard(tmp_path)


def tool_call(text: str = CANARY, id: Any = 1, **more: Any) -> dict[str, Any]:
    return request("tools/call", call_params("echo", {"text": text}, **more), id=id)


async def asked(pair: Pair, data: dict[str, Any]) -> dict[str, Any] | None:
    """Let the client ask; return what reached the server, if anything did."""
    before = len(pair.server.near.raw)
    pair.client.post(pair.client.session.out, data)
    await pair.server.settle()
    await pair.client.settle()
    found = pair.server.near.got[before:]
    return found[0] if found else None


class Reads:
    """A plugin above the seal that keeps the proofs."""

    name = "reads"
    layer = Layer.ADMIT

    def __init__(self) -> None:
        self.proofs: list[Any] = []
        self.speakers: list[str] = []

    @hookimpl
    def on_receive(self, message: Message, connection: Any) -> None:
        self.proofs.append(message.proof)
        self.speakers.append(message.principal.id)


# --- there and back ---


@pytest.mark.parametrize("bytes_only", [True, False])
@pytest.mark.parametrize("sign", ["session", "message"])
async def test_what_crosses(yard: Yard, bytes_only: bool, sign: str) -> None:
    """Requests, answers, errors and notifications arrive both ways, and nobody between reads any of them (S0.29)."""
    reads = Reads(), Reads()
    plugins = ([reads[0]], [reads[1]])
    async with two_guards(yard, client={"sign": sign}, plugins=plugins, bytes_only=bytes_only) as pair:
        assert await asked(pair, tool_call(_meta=META)) == tool_call(_meta=META)
        await pair.server.send(pair.server.session.out, answer({"content": [{"type": "text", "text": CANARY}]}, id=1))
        await pair.server.send(pair.server.session.out, request("roots/list", {"_meta": {"x": CANARY}}, id=9))
        error = {"jsonrpc": "2.0", "id": 9, "error": {"code": -1, "message": CANARY, "data": CANARY}}
        await pair.client.send(pair.client.session.out, error)
        told = notification("notifications/message", {"level": "info", "data": CANARY})
        await pair.server.send(pair.server.session.out, told)
        assert pair.client.near.got[-3:-1] == [
            answer({"content": [{"type": "text", "text": CANARY}]}, id=1),
            request("roots/list", {"_meta": {"x": CANARY}}, id=9),
        ]
        assert pair.client.near.got[-1] == told
        assert pair.server.near.got[-1] == error
        assert CANARY.encode() not in pair.wire
        assert pair.wire.count(b"2026-07-28") == 1
        assert pair.codes(pair.client) == pair.codes(pair.server) == []
    proofs = reads[1].proofs
    assert [proof.nonce for proof in proofs] == [0, 1]
    assert {proof.issued for proof in proofs} == {START}
    assert len({proof.key_id for proof in proofs + reads[0].proofs}) == 2
    assert {proof.sender for proof in proofs} == {yard.agents["laptop"].key_id}
    assert reads[1].speakers == ["agent:laptop"] * 2
    assert set(reads[0].speakers) == {"agent:vault"}


async def test_sealed_once(yard: Yard) -> None:
    """Nothing of the host leaves before there is a session, and nothing of the server."""
    async with two_guards(yard, agree=False) as pair:
        assert await asked(pair, tool_call()) is None
        assert pair.client.codes == ["envelope.no_session"]
        await pair.server.send(pair.server.session.out, notification("notifications/tools/list_changed"))
        assert pair.wire == b""
        await pair.agree()
        assert await asked(pair, tool_call(id=2)) == tool_call(id=2)


async def test_who_wants_signatures_gets_them(yard: Yard) -> None:
    """As soon as one side wants each message signed, both sign (A08)."""
    for client, server in (("message", "session"), ("session", "message")):
        async with two_guards(yard, client={"sign": client}, server={"sign": server}) as pair:
            assert await asked(pair, tool_call())
            agreed = [event for event in pair.server.recorder.events if event.code == "envelope.agreed"]
            assert [event.details["sign"] for event in agreed] == ["message"]


# --- nothing plain ---


async def test_a_plain_client(yard: Yard) -> None:
    """A client without a guard is refused, whatever it says, with one error that tells nothing (A04)."""
    async with two_guards(yard, agree=False) as pair:
        for sent in (tool_call(id=4), notification("notifications/initialized"), request("initialize", {}, id=5)):
            await pair.server.send(pair.server.session.inn, sent)
        await pair.server.send(pair.server.session.inn, b"\xff")
        assert pair.server.near.raw == []
        assert pair.back.seen == [refusal(4), refusal(None), refusal(5), refusal(None)]
        assert pair.codes(pair.server) == ["envelope.plain"] * 3 + ["envelope.malformed"]


async def test_a_plain_server(yard: Yard) -> None:
    """A server that answers in plain, to anything, is never believed (A04)."""
    async with two_guards(yard) as pair:
        pair.out.between = lambda data: []
        pair.client.post(pair.client.session.out, tool_call())
        await pair.client.send(pair.client.session.inn, answer({"content": []}, id=1))
        assert pair.client.codes == ["envelope.plain"]
        assert await asked(pair, tool_call(id=2)) is None
        assert pair.client.codes[-1] == "envelope.session_over"


async def test_a_server_that_does_not_seal(yard: Yard) -> None:
    """Where a session is required, a server whose guard does not seal refuses the connection (S0.29)."""
    async with two_guards(yard, server="", agree=False) as pair:
        assert await refusal_of(pair.agree()) == "envelope.no_agreement"
        assert pair.codes(pair.client)[-1] == "envelope.no_agreement"
        assert await asked(pair, tool_call()) is None


async def test_a_server_that_is_let_off(yard: Yard) -> None:
    """A server of which the configuration says so is spoken to in plain, and no other."""
    toml = yard.toml("laptop") + '[server.files.envelope]\nseal = "off"\n'
    async with two_guards(yard, client=toml, server="") as pair:
        assert await asked(pair, tool_call()) == tool_call()
    async with two_guards(yard, client=toml, agree=False) as pair:
        assert await asked(pair, tool_call()) is None
        assert pair.codes(pair.server) == ["envelope.plain"]


async def test_a_general_table_that_requires(yard: Yard) -> None:
    """What the general table requires, none of a server lets off."""
    toml = yard.toml("laptop", seal="require") + '[server.files.envelope]\nseal = "off"\n'
    async with two_guards(yard, client=toml) as pair:
        assert await asked(pair, tool_call())
        assert CANARY.encode() not in pair.wire


@pytest.mark.parametrize("carrier", ["http", "https"])
async def test_carriers_without_order(yard: Yard, carrier: Any) -> None:
    """Over HTTP no session is sealed, so there is no connection either."""
    assert await refusal_of(two_guards(yard, carrier=carrier).__aenter__()) == "envelope.carrier"


# --- who ---


async def test_who_is_not_trusted(yard: Yard) -> None:
    """A client whose key is not in the directory is refused before anything of it is decrypted (S0.23, S0.24)."""
    for path in (yard.folder / "vault" / "agents").iterdir():
        path.unlink()
    async with two_guards(yard, agree=False) as pair:
        assert await refusal_of(pair.agree()) == "envelope.no_agreement"
        assert pair.codes(pair.server) == ["envelope.untrusted"]
        assert pair.back.seen == [refusal(orjson.loads(pair.out.seen[0])["id"])]


async def test_who_is_revoked(yard: Yard) -> None:
    """A client whose key was revoked is refused."""
    yard.revoke("vault", yard.agents["laptop"])
    async with two_guards(yard, agree=False) as pair:
        assert await refusal_of(pair.agree()) == "envelope.no_agreement"
        assert pair.codes(pair.server) == ["envelope.key_revoked"]


async def test_who_may_not(yard: Yard) -> None:
    """Who is trusted and not allowed to talk to this agent is refused, on both sides, by default (S0.28)."""
    async with two_guards(yard, server={"can_communicate_with": {}}, agree=False) as pair:
        assert await refusal_of(pair.agree()) == "envelope.no_agreement"
        assert pair.codes(pair.server) == ["envelope.not_allowed"]
    async with two_guards(yard, client={"can_communicate_with": {}}, agree=False) as pair:
        assert await refusal_of(pair.agree()) == "envelope.not_allowed"
        assert pair.out.seen == []
    privileged = {"can_communicate_with": {}, "privileged_agents": ["laptop"]}
    async with two_guards(yard, client=privileged, server=privileged) as pair:
        assert await asked(pair, tool_call())


async def test_another_server_of_the_same_agent(yard: Yard) -> None:
    """A session is for the server that was asked for: another one of the same guard does not take it."""
    async with two_guards(yard, client={"server_name": "payroll"}, agree=False) as pair:
        assert await refusal_of(pair.agree()) == "envelope.no_agreement"
        assert pair.codes(pair.server) == ["envelope.wrong_server"]
    toml = yard.toml("laptop") + '[server.files.envelope]\nserver_name = "files"\n'
    async with two_guards(yard, client=toml) as pair:
        assert await asked(pair, tool_call())


async def test_an_agent_that_is_somebody_else(yard: Yard) -> None:
    """Another agent that is trusted too cannot answer for the one that is named: its key is not the one asked for."""
    other = Identity.generate("other", now=START)
    yard.trust("laptop", other)
    async with two_guards(
        yard, client={"peer": "other", "can_communicate_with": {"laptop": ["*"]}}, agree=False
    ) as pair:
        assert await refusal_of(pair.agree()) == "envelope.no_agreement"
        assert pair.codes(pair.server) == ["envelope.wrong_recipient"]


@pytest.mark.parametrize(
    ("options", "code"), [({"peer": None}, "envelope.no_peer"), ({"peer": "nobody"}, "envelope.no_peer")]
)
async def test_nobody_to_ask(yard: Yard, options: dict[str, Any], code: str) -> None:
    """Without the name of an agent that has a key here, there is no connection."""

    async def go() -> None:
        async with two_guards(yard, client=options):
            pass

    assert await refusal_of(go()) == code


@pytest.mark.parametrize(
    ("proved", "options", "agrees"),
    [
        (Principal(id="laptop", kind="service", method="mtls"), {}, True),
        (Principal(id="proxy", kind="service", method="mtls"), {}, False),
        (Principal(id="proxy", kind="service", method="mtls"), {"match_certificates": False}, True),
        (Principal(id="uid:1000", kind="user", method="peercred"), {}, True),
    ],
)
async def test_the_name_in_the_certificate(yard: Yard, proved: Principal, options: Any, agrees: bool) -> None:
    """An agent has the name that its certificate has; who speaks is the agent, not who carries it (S0.16)."""
    async with two_guards(yard, server=options, principal=proved, agree=False) as pair:
        if not agrees:
            assert await refusal_of(pair.agree()) == "envelope.no_agreement"
            assert pair.codes(pair.server) == ["envelope.wrong_name"]
            assert pair.server.connection.principal == proved
            return
        await pair.agree()
        assert await asked(pair, tool_call())
        same = proved.id == "laptop"
        assert pair.server.connection.principal.id == ("laptop" if same else "agent:laptop")


# --- time and rotation ---


@pytest.mark.parametrize(("ahead", "agrees"), [(0, True), (59, True), (61, False), (-299, True), (-301, False)])
async def test_the_time_of_an_agreement(yard: Yard, ahead: float, agrees: bool) -> None:
    """A request for a session is at most 300 s old and 60 s ahead: an old one is not taken out again (S0.31, S0.32)."""
    async with two_guards(yard, agree=False) as pair:
        desk = pair.client.guard.loaded["envelope"].plugin.desk
        party, peer = desk.known(desk.options("files")).pairs("vault", START)[0]
        params = Offer(party, peer, "files", START + ahead).params
        await pair.server.send(pair.server.session.inn, request(EXTENSION, params, id=1))
        assert ("result" in pair.server.far.got[-1]) == agrees
        assert pair.codes(pair.server) == ([] if agrees else ["envelope.stale"])


async def test_rotation(yard: Yard) -> None:
    """While an agent rotates, the newest pair of keys that both know is found (S0.26)."""
    for who, other in (("vault", "laptop"), ("laptop", "vault")):
        newer = Identity.generate(who, now=START)
        yard.trust(other, newer)
        async with two_guards(yard) as pair:  # it is trusted already, and not in use yet
            assert await asked(pair, tool_call())
        yard.give(who, newer)
        async with two_guards(yard) as pair:
            assert await asked(pair, tool_call())
            sessions = [link.session for link in pair.server.guard.loaded["envelope"].plugin.desk.links.of.values()]
            peer = newer.key_id if who == "laptop" else yard.agents["laptop"].key_id
            assert [session.peer.key_id for session in sessions] == [peer]


async def test_old_keys_are_reported(yard: Yard) -> None:
    """A key past its rotation period is reported at the start; past its grace, production refuses it (S0.26)."""
    async with two_guards(yard, client={"key_rotation_days": 1}, agree=False) as pair:
        assert [e for e in pair.client.recorder.events if e.code == "envelope.key_old"] == []
    old = Identity.generate("vault", now=START - 95 * DAY)
    yard.trust("laptop", old)
    async with two_guards(yard, agree=False) as pair:
        await pair.client.settle()
        (event,) = [event for event in pair.client.recorder.events if event.code == "envelope.key_old"]
        assert event.details == {"key_id": old.key_id, "since": int(old.public.not_before)}


# --- somebody between ---


async def test_a_message_that_is_changed_on_its_way(yard: Yard) -> None:
    """A changed byte ends the session: nothing more passes in it, and the host is told at once."""
    async with two_guards(yard) as pair:
        pair.out.between = lambda data: [data.replace(b"tools/call", b"tools/list")]
        assert await asked(pair, tool_call(id=3)) is None
        assert pair.codes(pair.server) == ["envelope.forged"]
        assert pair.back.seen[-1] == refusal(3)
        assert pair.client.codes == ["envelope.plain"]
        pair.out.between = lambda data: [data]
        assert await asked(pair, tool_call(id=4)) is None


@pytest.mark.parametrize("what", ["drop", "double", "swap"])
async def test_order(yard: Yard, what: str) -> None:
    """What is dropped, doubled or swapped is noticed with the next message (A11)."""
    held: list[bytes] = []

    def swap(data: bytes) -> list[bytes]:
        held.append(data)
        return [] if len(held) == 1 else [data, held[0]]

    ways: dict[str, Any] = {"drop": lambda data: [], "double": lambda data: [data, data], "swap": swap}
    async with two_guards(yard) as pair:
        pair.out.between = ways[what]
        await asked(pair, tool_call(id=1))
        if what == "drop":
            pair.out.between = lambda data: [data]
        await asked(pair, tool_call(id=2))
        assert "envelope.out_of_order" in pair.codes(pair.server)
        assert len(pair.server.near.raw) == (what == "double")


async def test_a_message_of_an_earlier_session(yard: Yard) -> None:
    """What was captured in one session does not open in the next, nor after a restart (A11)."""
    async with two_guards(yard) as pair:
        assert await asked(pair, tool_call())
        before = pair.out.seen[-1]
        assert await refusal_of(pair.agree()) == "envelope.no_agreement"  # one connection, one session
        assert pair.codes(pair.server) == ["envelope.plain"]
    async with two_guards(yard) as pair:
        await pair.server.send(pair.server.session.inn, before)
        assert pair.server.near.raw == []
        assert pair.codes(pair.server) == ["envelope.forged"]


async def test_an_agreement_that_is_said_again(yard: Yard) -> None:
    """A captured request for a session gives nobody a session, and does not end the one there is unseen (A11)."""
    async with two_guards(yard) as pair:
        first = pair.out.seen[0]
    async with two_guards(yard, agree=False) as pair:
        await pair.server.send(pair.server.session.inn, first)  # whoever says it again cannot read the answer
        assert pair.server.connection.principal.id != "agent:laptop"
        await pair.server.send(pair.server.session.inn, tool_call())
        assert pair.server.near.raw == []
        assert pair.server.connection.over == "envelope.plain"
        assert [event for event in pair.server.recorder.events if event.code == "envelope.agreed"] == []
        assert {event.principal for event in pair.server.recorder.events} & {"agent:laptop", "laptop"} == set()


async def test_who_speaks_is_proved_by_what_opens(yard: Yard) -> None:
    """The agent speaks from its first message that opens, and has agreed with it: not with a request for a session."""
    reads = Reads()
    async with two_guards(yard, plugins=([], [reads])) as pair:
        connection = pair.server.connection
        before = connection.must_agree, connection.principal.id
        for id in (1, 2):
            assert await asked(pair, tool_call(id=id))
        assert reads.speakers == ["agent:laptop"] * 2
        assert (before[0], connection.must_agree) == (True, False)
        assert before[1] != connection.principal.id == "agent:laptop"
        agreed = [event for event in pair.server.recorder.events if event.code == "envelope.agreed"]
        assert [event.principal for event in agreed] == ["agent:laptop"]


async def test_an_agreement_within_a_session(yard: Yard) -> None:
    """Within a session nobody agrees on another one, as whoever it may be."""
    async with two_guards(yard) as pair:
        assert await asked(pair, tool_call())
        (link,) = pair.client.guard.loaded["envelope"].plugin.desk.links.of.values()
        data = request(EXTENSION, orjson.loads(pair.out.seen[0])["params"], id="again")
        frame = sealed(link.session, "request", EXTENSION, "again", None, orjson.dumps(data), START)
        await pair.server.send(pair.server.session.inn, frame)
        assert pair.codes(pair.server) == ["envelope.no_agreement"]
        assert await asked(pair, tool_call(id=2)) == tool_call(id=2)


@pytest.mark.parametrize("end", ["client", "server"])
async def test_what_is_over_is_hung_up(yard: Yard, end: str) -> None:
    """With its session a connection ends, at the end that has found it out."""
    async with two_guards(yard) as pair:
        assert await asked(pair, tool_call())
        side = getattr(pair, end)
        assert side.connection.over == ""
        await side.send(side.session.inn, notification("notifications/tools/list_changed"))
        assert side.connection.over == "envelope.plain"


@pytest.mark.parametrize("plain", [b"x", orjson.dumps(tool_call())])
async def test_a_first_word_that_is_no_agreement(yard: Yard, plain: bytes) -> None:
    """In front of a server a connection ends with its first plain message that asks for no session."""
    async with two_guards(yard, agree=False) as pair:
        await pair.server.send(pair.server.session.inn, plain)
        assert pair.server.connection.over in ("envelope.malformed", "envelope.plain")
        assert pair.server.connection.must_agree


@pytest.mark.parametrize(
    "change",
    [
        {"sign": "message"},
        {"server": "payroll"},
        {"version": 2},
        {"message": "AAAA"},
        {"extra": 1},
        {"from": "hbk1_x"},
        {"to": "hbk1_x"},
        {"message": 1},
        {"message": "x" * 300},
    ],
)
async def test_an_agreement_that_is_changed(yard: Yard, change: dict[str, Any]) -> None:
    """What is said in clear about a session cannot be changed on its way (A02, A08)."""

    def between(data: bytes) -> list[bytes]:
        sent = orjson.loads(data)
        return [orjson.dumps({**sent, "params": {**sent["params"], **change}})]

    async with two_guards(yard, agree=False) as pair:
        pair.out.between = between
        assert await refusal_of(pair.agree()) == "envelope.no_agreement"
        (code,) = pair.codes(pair.server)
        assert code.startswith("envelope.")
        assert await asked(pair, tool_call()) is None


@pytest.mark.parametrize(
    "result", [{}, {"message": ""}, {"message": "AAAA"}, {"message": "é"}, {"message": "A" * 84}, {"message": 1}]
)
async def test_an_answer_that_is_none(yard: Yard, result: Any) -> None:
    """An answer that the agent which was asked did not make is no session."""

    def between(data: bytes) -> list[bytes]:
        return [orjson.dumps({**orjson.loads(data), "result": result})]

    async with two_guards(yard, agree=False) as pair:
        pair.back.between = between
        assert await refusal_of(pair.agree()) in ("envelope.forged", "envelope.malformed")
        assert await asked(pair, tool_call()) is None


async def test_too_many_attempts(yard: Yard) -> None:
    """One connection may ask for a session a few times, not as often as it likes."""
    async with two_guards(yard, agree=False) as pair:
        for n in range(ATTEMPTS + 3):
            await pair.server.send(pair.server.session.inn, request(EXTENSION, {}, id=n))
        assert pair.codes(pair.server) == ["envelope.malformed"] * ATTEMPTS + ["envelope.no_agreement"] * 3


async def test_what_comes_right_after_the_answer(yard: Yard) -> None:
    """A server may speak as soon as it has agreed: its first message may come with the answer."""
    async with two_guards(yard, agree=False) as pair:
        told = notification("notifications/tools/list_changed")

        def between(data: bytes) -> list[bytes]:
            pair.back.between = lambda data: [data]
            pair.client.session.receive(pair.client.session.inn, data)
            pair.server.post(pair.server.session.out, told)
            return []

        pair.back.between = between
        await pair.agree()
        assert pair.client.near.got == [told]
        assert await asked(pair, tool_call())


@pytest.mark.parametrize(
    "plain",
    [
        notification("notifications/tools/list_changed"),
        request("sampling/createMessage", {"messages": []}, id=1),
        answer({"message": "AAAA"}, id=1),
    ],
)
async def test_plain_words_before_the_answer(yard: Yard, plain: dict[str, Any]) -> None:
    """While a client waits for the answer to its request for a session, nothing else comes in, and the answer does."""
    async with two_guards(yard, agree=False) as pair:

        def between(data: bytes) -> list[bytes]:
            return [orjson.dumps(plain), data]

        pair.back.between = between
        await pair.agree()
        assert pair.client.near.raw == []
        assert pair.codes(pair.client)[0] == "envelope.plain"
        assert len(pair.out.seen) == 1  # a server is told nothing in plain
        pair.back.between = lambda data: [data]
        assert await asked(pair, tool_call())


async def test_a_server_that_does_not_seal_agrees_on_nothing(yard: Yard) -> None:
    """Who asks for a session where none is sealed is told no, and speaks to nobody (S0.29)."""
    off = yard.toml("vault") + '[server.files.envelope]\nseal = "off"\n'
    async with two_guards(yard, server=off, agree=False) as pair:
        assert await refusal_of(pair.agree()) == "envelope.no_agreement"
        assert pair.codes(pair.server) == ["envelope.no_session"]
        assert await asked(pair, tool_call()) is None


async def test_a_server_that_is_silent(yard: Yard) -> None:
    """A guard that does not answer in time is asked no second time, with whichever key, and that is what is said."""
    times = []

    async def ask(*_: Any, **__: Any) -> None:
        times.append(1)
        raise TimeoutError

    yard.trust("laptop", Identity.generate("vault", now=START))
    async with two_guards(yard, agree=False) as pair:
        plugin = pair.client.guard.loaded["envelope"].plugin
        with pytest.raises(Refused, match="did not answer in time"):
            await plugin.agree(pair.client.connection, ask)
    assert len(times) == 1


async def test_a_host_cannot_ask(yard: Yard) -> None:
    """The host of a guard cannot send a request for a session, before or after, and a server cannot either."""
    async with two_guards(yard) as pair:
        assert await asked(pair, request(EXTENSION, {}, id=1)) is None
        assert pair.client.codes == ["core.method_unknown"]
        await pair.server.send(pair.server.session.out, request(EXTENSION, {}, id=1))
        assert len(pair.client.near.raw) == 1


# --- the other way in ---


async def test_a_message_that_was_shown_as_another(yard: Yard) -> None:
    """A guard that shows a ping and seals a call in it is refused: who stands between has seen a ping."""
    async with two_guards(yard) as pair:
        (link,) = pair.client.guard.loaded["envelope"].plugin.desk.links.of.values()
        frame = sealed(link.session, "request", "ping", 1, None, orjson.dumps(tool_call()), START)
        await pair.server.send(pair.server.session.inn, frame)
        assert pair.server.near.raw == []
        assert pair.codes(pair.server) == ["core.mislabelled"]


async def test_a_message_that_is_too_long(yard: Yard) -> None:
    """What the other end would not take is refused here, and the session goes on."""
    async with two_guards(yard) as pair:
        limit = pair.server.guard.bounds.line_bytes
        assert await asked(pair, tool_call("x" * (limit * 3 // 4))) is None
        assert pair.client.codes == ["envelope.too_large"]
        assert await asked(pair, tool_call(id=2)) == tool_call(id=2)


# --- reload ---


def again(yard: Yard, **options: Any) -> Config:
    """Return another configuration of the guard in front of the server."""
    return Config.from_toml(
        f"[core]\nstate_dir = '{yard.folder}/s'\n" + yard.toml("vault", **options), base=yard.folder
    )


async def test_a_reload_keeps_sessions(yard: Yard) -> None:
    """A reload goes on with the sessions there are; one whose peer was revoked meanwhile is over."""
    async with two_guards(yard) as pair:
        assert await asked(pair, tool_call())
        await pair.server.guard.reload(again(yard, key_rotation_days=80))
        assert await asked(pair, tool_call(id=2)) == tool_call(id=2)
        yard.revoke("vault", yard.agents["laptop"])
        await pair.server.guard.reload(again(yard))
        assert await asked(pair, tool_call(id=3)) is None
        assert pair.codes(pair.server)[-1] == "envelope.session_over"


async def test_a_connection_that_is_older_than_the_seal(yard: Yard) -> None:
    """A reload that requires a seal does not let open connections go on in plain."""
    off = yard.toml("vault") + '[server.files.envelope]\nseal = "off"\n'
    async with two_guards(yard, client="", server=off) as pair:
        assert await asked(pair, tool_call())
        await pair.server.guard.reload(again(yard))
        assert await asked(pair, tool_call(id=2)) is None
        assert pair.codes(pair.server) == ["envelope.plain"]
        assert pair.server.connection.over == "envelope.no_session"
    async with two_guards(yard, client="", server=yard.toml("vault", mode="off")) as pair:
        await pair.server.guard.reload(again(yard))
        assert await asked(pair, tool_call(id=2)) is None
        assert set(pair.codes(pair.server)) == {"envelope.no_session"}
        assert pair.server.connection.over == "envelope.no_session"


# --- files ---


@pytest.mark.parametrize("part", ["own", "agents"])
async def test_loose_directories(yard: Yard, part: str) -> None:
    """A directory of keys that others can write in stops the start (S0.24, X.9)."""
    (yard.folder / "vault" / part).chmod(0o777)
    with pytest.raises((ConfigError, PluginError)):
        async with two_guards(yard, agree=False):
            pass


async def test_keys_of_several_agents(yard: Yard) -> None:
    """Own keys of two agents need to be told apart."""
    yard.give("vault", Identity.generate("second", now=START))
    with pytest.raises(ConfigError, match="second, vault"):
        async with two_guards(yard, agree=False):
            pass
    async with two_guards(yard, server={"agent": "vault"}) as pair:
        assert await asked(pair, tool_call())


async def test_no_keys(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table without keys refuses connections; a table that names a directory without them does not load."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(yard.folder / "none"))
    assert await refusal_of(two_guards(yard, server="[envelope]\n", agree=False).__aenter__()) == "envelope.no_keys"
    for path in (yard.folder / "vault" / "own").iterdir():
        path.unlink()
    with pytest.raises(ConfigError, match="no keys of any agent"):
        async with two_guards(yard, agree=False):
            pass


def test_mode_audit(yard: Yard) -> None:
    """A seal cannot be tried out: it refuses mode audit."""
    config = Config.from_toml(yard.toml("vault", mode="audit"), base=yard.folder)
    with pytest.raises(PluginError, match="mode 'audit'"):
        Guard.load(config)

"""Channels: any pair of functions becomes a sealed channel between agents."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable
from typing import Any

import pytest
from plugins.envelope.tests.parties import (
    ALICE,
    BOB,
    CAROL,
    DAY,
    MALLORY,
    NOW,
    SECRET,
    TRUST,
    identity,
    opened,
    sealed,
    trust,
)

from hauberk.config import Config
from hauberk.event import Event
from hauberk.message import Proof
from hauberk.refusals import Refused
from hauberk_envelope import Channel
from hauberk_envelope._channel import Replay
from hauberk_envelope._identity import Identity
from hauberk_envelope._limits import LIMITS
from hauberk_envelope._trust import Rules, Trust
from hauberk_envelope.agents import channel


class Seen:
    """Remembers what was opened, and refuses it the second time, or 300 seconds later."""

    def __init__(self) -> None:
        self.seen: set[tuple[str, bytes | int]] = set()

    def check(self, proof: Proof, now: float) -> None:
        if now - proof.issued > 300 or (proof.expires is not None and now > proof.expires):
            raise Refused("replay.too_old", "old")
        if (proof.key_id, proof.nonce) in self.seen:
            raise Refused("replay.detected", "again")
        self.seen.add((proof.key_id, proof.nonce))


class Slow(Seen):
    """Remembers elsewhere."""

    def check(self, proof: Proof, now: float) -> Awaitable[None]:  # type: ignore[override]
        async def look() -> None:
            await asyncio.sleep(0)
            Seen.check(self, proof, now)

        return look()


class Wire:
    """Two agents, and the bytes between them."""

    def __init__(self) -> None:
        self.queues: dict[str, asyncio.Queue[bytes]] = {}
        self.sent: list[bytes] = []
        self.events: list[Event] = []
        self.now = NOW

    def queue(self, name: str) -> asyncio.Queue[bytes]:
        return self.queues.setdefault(name, asyncio.Queue())

    def end(
        self,
        me: Identity,
        to: str,
        *,
        known: Trust = TRUST,
        replay: Replay | None = None,
        peer: str | None = "",
        **more: Any,
    ) -> Channel:
        async def send(data: bytes) -> None:
            self.sent.append(data)
            await self.queue(to).put(data)

        return Channel(
            send,
            self.queue(me.agent).get,
            identity=more.pop("own", me),
            trust=known,
            replay=replay or Seen(),
            peer=to if peer == "" else peer,
            record=self.events.append,
            clock=lambda: self.now,
            **more,
        )

    def codes(self) -> list[str]:
        return [event.code for event in self.events]


@pytest.fixture
def wire() -> Wire:
    return Wire()


async def refused(work: Awaitable[object]) -> str:
    """Return the code that refuses something."""
    with pytest.raises(Refused) as caught:
        await work
    return caught.value.code


@pytest.mark.parametrize("replay", [Seen, Slow])
async def test_agents_talk(wire: Wire, replay: type[Seen]) -> None:
    """What one agent sends, the other gets, with who sent it; nothing of it is on the wire in clear (S0.29)."""
    alice, bob = wire.end(ALICE, "bob"), wire.end(BOB, "alice", replay=replay())
    sent = await alice.send(b"canary", message_type="TaskRequest", priority=7, ttl=9, custom_fields={"a": 1})
    found = await bob.receive()
    assert (found.content, found.sender) == (b"canary", ALICE.public)
    about = found.message.metadata
    assert (about.message_id, about.message_type, about.priority, about.ttl) == (sent, "TaskRequest", 7, 9)
    assert about.custom_fields == {"a": 1}
    await bob.send(b"canary too", requires_ack=True)
    assert (await alice.receive()).content == b"canary too"
    assert not any(b"canary" in data for data in wire.sent)
    assert wire.events == []


@pytest.mark.parametrize("data", [b"plain", b'{"jsonrpc":"2.0","id":1,"method":"tools/call"}', b"", b"{}"])
async def test_plain_message_is_refused(wire: Wire, data: bytes) -> None:
    """A channel that seals takes nothing plain, and records that it came (S0.29, A04)."""
    await wire.queue("bob").put(data)
    assert await refused(wire.end(BOB, "alice").receive()) == "envelope.plain"
    event = wire.events[0]
    assert (event.code, event.category, event.action, event.plugin) == (
        "envelope.plain",
        "refusal",
        "blocked",
        "envelope",
    )
    assert (event.principal, event.time, event.details) == ("bob", NOW, {"way": "receive"})


@pytest.mark.parametrize("replay", [Seen, Slow])
async def test_message_passes_once(wire: Wire, replay: type[Seen]) -> None:
    """The same message again is refused, on this channel or on another of the same agent (S0.33, A11)."""
    memory = replay()
    one, two = wire.end(BOB, "alice", replay=memory), wire.end(BOB, "alice", replay=memory)
    await wire.end(ALICE, "bob").send(b"once")
    await one.receive()
    for end in (one, two):
        await wire.queue("bob").put(wire.sent[0])
        assert await refused(end.receive()) == "replay.detected"
    assert wire.codes() == ["replay.detected"] * 2


async def test_forgery_is_not_remembered(wire: Wire) -> None:
    """What does not open takes no place in the memory, and does not stop the true message from passing (S0.34)."""
    memory = Seen()
    bob = wire.end(BOB, "alice", replay=memory)
    await wire.end(ALICE, "bob").send(b"true")
    true = await wire.queue("bob").get()
    forged = true.replace(b'"priority":128', b'"priority":129')
    assert forged != true
    await wire.queue("bob").put(forged)
    assert await refused(bob.receive()) == "envelope.forged"
    assert memory.seen == set()
    await wire.queue("bob").put(true)
    assert (await bob.receive()).content == b"true"


async def test_time_to_live_is_looked_at(wire: Wire) -> None:
    """A message is refused after its time to live, within the window, too (S0.30)."""
    await wire.end(ALICE, "bob").send(b"short", ttl=5)
    wire.now += 6
    assert await refused(wire.end(BOB, "alice").receive()) == "replay.too_old"


@pytest.mark.parametrize(
    "about",
    [
        {"ttl": 0},
        {"ttl": -5},
        {"ttl": LIMITS.ttl_seconds + 1},
        {"ttl": 1.5},
        {"ttl": float("nan")},
        {"ttl": True},
        {"priority": -1},
        {"priority": 256},
        {"message_type": "Nope"},
        {"requires_ack": "yes"},
        {"custom_fields": ["none"]},
    ],
    ids=str,
)
async def test_what_nobody_would_take_is_not_sent(wire: Wire, about: dict[str, Any]) -> None:
    """What each recipient would refuse, a number out of its range above all, is an error of the sender's: not sent."""
    with pytest.raises(ValueError, match="no metadata of a message"):
        await wire.end(ALICE, "bob").send(b"x", **about)
    assert wire.sent == []


@pytest.mark.parametrize(
    "about", [{"ttl": 1}, {"ttl": LIMITS.ttl_seconds}, {"priority": 0}, {"priority": 255}], ids=str
)
async def test_bounds_are_taken(wire: Wire, about: dict[str, Any]) -> None:
    """The first and the last number of each range arrive."""
    await wire.end(ALICE, "bob").send(b"x", **about)
    found = (await wire.end(BOB, "alice").receive()).message.metadata
    assert {name: getattr(found, name) for name in about} == about


async def test_message_of_another_is_refused(wire: Wire) -> None:
    """A channel with one agent takes nothing from a second, though that one may talk to us on another channel."""
    await wire.end(CAROL, "bob").send(b"I am not alice")
    assert await refused(wire.end(BOB, "alice").receive()) == "envelope.wrong_sender"
    await wire.end(CAROL, "bob").send(b"hello")
    assert (await wire.end(BOB, "alice", peer=None).receive()).sender == CAROL.public


async def test_who_may_not_talk_does_not_send(wire: Wire) -> None:
    """Rules hold on the way out: nothing is sealed for who may not be talked to (S0.28)."""
    assert await refused(wire.end(BOB, "carol").send(b"x")) == "envelope.not_allowed"
    assert await refused(wire.end(ALICE, "mallory", known=trust(ALICE)).send(b"x")) == "envelope.not_allowed"
    everybody = wire.end(ALICE, "bob", peer=None, secrets=[SECRET])
    assert await refused(everybody.send(b"x", everybody=True)) == "envelope.not_allowed"
    assert wire.sent == []
    assert wire.codes() == ["envelope.not_allowed"] * 3


async def test_agent_without_a_key_is_not_sealed_for(wire: Wire) -> None:
    """There is nothing to seal with for who has no key that counts (S0.23)."""
    rules = Rules(privileged_agents=frozenset({"alice"}))
    assert (
        await refused(wire.end(ALICE, "mallory", known=trust(ALICE, BOB, rules=rules)).send(b"x"))
        == "envelope.untrusted"
    )
    old = identity("bob", begin=NOW - 20 * DAY, days=10)
    assert (
        await refused(wire.end(ALICE, "bob", known=trust(ALICE, old, rules=rules)).send(b"x")) == "envelope.untrusted"
    )


async def test_own_key_that_counts_no_longer_seals_nothing(wire: Wire) -> None:
    """An agent whose own key expired does not go on as if nothing were."""
    wire.now = NOW + 400 * DAY
    assert await refused(wire.end(ALICE, "bob").send(b"x")) == "envelope.key_expired"


async def test_old_key_is_reported_once(wire: Wire) -> None:
    """A key past its rotation is in the record once for each channel, own and other, and goes on (S0.26)."""
    wire.now = NOW + 95 * DAY
    alice, bob = wire.end(ALICE, "bob"), wire.end(BOB, "alice")
    for _ in range(3):
        await alice.send(b"x")
        await bob.receive()
    assert [(event.code, event.principal) for event in wire.events] == [("envelope.key_old", "alice")] * 2
    assert wire.events[0].details == {"key_id": ALICE.key_id, "since": int(ALICE.public.not_before)}


async def test_everybody_gets_a_message(wire: Wire) -> None:
    """With a provisioned secret, one message reaches all who have it (S0.20)."""
    carol = wire.end(CAROL, "all", peer=None, secrets=[SECRET])
    await carol.send(b"all of you", everybody=True)
    for me in (ALICE, BOB):
        end = wire.end(me, "carol", secrets=[SECRET])
        await wire.queue(me.agent).put(wire.sent[0])
        assert (await end.receive()).content == b"all of you"
    with pytest.raises(ValueError, match="provisioned secret"):
        await wire.end(CAROL, "all", peer=None).send(b"x", everybody=True)


async def test_recipient_is_clear(wire: Wire) -> None:
    """A message has one recipient: the peer of the channel, or the one that is named."""
    open_end = wire.end(ALICE, "bob", peer=None)
    with pytest.raises(ValueError, match="has a recipient"):
        await open_end.send(b"x")
    await open_end.send(b"x", to="carol")
    with pytest.raises(ValueError, match="leads to bob only"):
        await wire.end(ALICE, "bob").send(b"x", to="carol")
    with pytest.raises(ValueError, match="one agent or for everybody"):
        await wire.end(ALICE, "bob").send(b"x", everybody=True)
    with pytest.raises(ValueError, match="identity of one agent"):
        wire.end(ALICE, "bob", own=(ALICE, BOB))


async def test_iteration_goes_on_after_what_it_refuses(wire: Wire) -> None:
    """Rubbish between two messages stops neither; it is in the record."""
    alice, bob = wire.end(ALICE, "bob"), wire.end(BOB, "alice")
    await alice.send(b"1")
    await wire.queue("bob").put(b"rubbish")
    await wire.queue("bob").put(wire.sent[0])
    await alice.send(b"2")
    found = []
    async for message in bob:
        found.append(message.content)
        if len(found) == 2:
            break
    assert found == [b"1", b"2"]
    assert wire.codes() == ["envelope.plain", "replay.detected"]


async def test_flood_of_rubbish_lets_others_run(wire: Wire) -> None:
    """An agent that waits for a message, with rubbish in front of it, lets the others of its process run meanwhile."""
    for _ in range(50):
        await wire.queue("bob").put(b"rubbish")
    seen: list[int] = []

    async def other() -> None:
        seen.append(len(wire.events))

    waiting = asyncio.ensure_future(anext(aiter(wire.end(BOB, "alice"))))
    await asyncio.sleep(0)
    await other()
    waiting.cancel()
    assert seen[0] < 50


async def test_agent_that_rotates_loses_nothing(wire: Wire) -> None:
    """What was sealed for the old key opens beside the new one; what is sealed next is by the new one (S0.26)."""
    new = identity("bob", seed="bob 2", begin=NOW)
    both = trust(ALICE, BOB, CAROL, new)
    await wire.end(ALICE, "bob").send(b"to the old one")
    await wire.end(ALICE, "bob", known=both).send(b"to the new one")
    bob = wire.end(new, "alice", known=both, own=(new, BOB))
    assert [(await bob.receive()).message.recipient_key for _ in range(2)] == [BOB.key_id, new.key_id]
    await bob.send(b"x")
    assert (await wire.end(ALICE, "bob", known=both).receive()).sender == new.public


async def test_trust_is_what_was_read_last(wire: Wire) -> None:
    """A function in place of a trust directory is asked each time: a reload holds for the next message."""
    known = [trust(ALICE, BOB)]
    bob = wire.end(BOB, "alice", known=lambda: known[-1])  # type: ignore[arg-type]
    await wire.end(ALICE, "bob").send(b"1")
    await bob.receive()
    known.append(trust(BOB))
    await wire.end(ALICE, "bob").send(b"2")
    assert await refused(bob.receive()) == "envelope.untrusted"


async def test_stranger_is_refused(wire: Wire) -> None:
    """Who is not in the directory is not heard, whatever name it gives (S0.23)."""
    for stranger in (MALLORY, identity("alice", seed="mallory")):
        await wire.end(
            stranger, "bob", known=trust(stranger, BOB, rules=Rules(privileged_agents=frozenset({stranger.agent})))
        ).send(b"x")
        assert await refused(wire.end(BOB, "alice").receive()) == "envelope.untrusted"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_fork_repeats_no_key() -> None:
    """After a fork both processes seal, and no nonce and no key of one is one of the other (S0.27, A05)."""
    read, write = os.pipe()
    child = os.fork()
    messages = [sealed(random=os.urandom, secret=secret) for secret in [None, SECRET] * 20]
    if not child:
        os.write(write, b"\n".join(message.encode() for message in messages) + b"\n")
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as stream:
        others = [opened(line, secrets=[SECRET]).message for line in stream.read().splitlines()]
    os.waitpid(child, 0)
    assert len({message.nonce for message in (*messages, *others)}) == 80
    assert len({message.ephemeral for message in (*messages, *others)}) == 41


# --- switched by the configuration ---


@pytest.mark.parametrize(
    ("toml", "seals"),
    [
        ("", False),
        ("[features]\nagent_security_enabled = true\n", True),
        ('profile = "production"\n[plugins]\nrequire = []\n', True),
    ],
)
async def test_configuration_says_whether_a_channel_seals(wire: Wire, toml: str, seals: bool) -> None:
    """With the flag every message is sealed, without it bytes pass as they are; production always seals (S0.29)."""
    queue = wire.queue("bob")
    made = channel(Config.from_toml(toml), queue.put, queue.get, identity=ALICE, trust=TRUST, replay=Seen(), peer="bob")
    await made.send(b"canary", priority=1)
    sent = await queue.get()
    assert (b"canary" in sent) == (not seals)
    await queue.put(b"plain")
    if seals:
        assert await refused(made.receive()) == "envelope.plain"
        return
    found = await made.receive()
    assert (found.content, found.sender) == (b"plain", None)
    await queue.put(b"next")
    async for message in made:
        assert message.content == b"next"
        break

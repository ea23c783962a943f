"""A sealed channel between agents, round any pair of functions that send and receive bytes (S0.29).

The rules:

1. What is sent is sealed, and what is received was sealed for this agent, by an agent that is trusted and may talk to
   it, or it is refused. A channel that seals takes nothing plain, ever: there is no fallback (A04).
2. A seal that held is looked at once more by who remembers (``replay``): too old, from the future, past its time to
   live, or seen before is refused. Nothing is remembered of a message whose seal did not hold.
3. Who may talk to whom is looked at before a message is sealed, and again when one is opened (S0.28).
4. Of a refusal, the other side learns nothing; the record has the code and what is known.
"""

from __future__ import annotations

import asyncio
import os
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Final, Protocol, final

from hauberk.event import Event
from hauberk.message import Proof
from hauberk.refusals import Refused
from hauberk_envelope._identity import Identity, PublicIdentity
from hauberk_envelope._message import MessageType, Metadata
from hauberk_envelope._refusals import refused
from hauberk_envelope._sealing import Opened, open_message, seal_message
from hauberk_envelope._secret import ProvisionedSecret
from hauberk_envelope._trust import Trust

Send = Callable[[bytes], Awaitable[object]]
Receive = Callable[[], Awaitable[bytes]]
Record = Callable[[Event], object]


class Replay(Protocol):
    """Who remembers what was opened."""

    def check(self, proof: Proof, now: float) -> Awaitable[None] | None:
        """Refuse what is too old, from the future, past its time, or was seen before; remember the rest."""


@final
class Channel:
    """A sealed channel.

    Several tasks may use one. The channel of a process that forks can go on in both: nothing counts up in it.
    """

    def __init__(
        self,
        send: Send,
        receive: Receive,
        *,
        identity: Identity | Sequence[Identity],
        trust: Trust | Callable[[], Trust],
        replay: Replay,
        peer: str | None = None,
        secrets: Sequence[ProvisionedSecret] = (),
        record: Record | None = None,
        clock: Callable[[], float] = time.time,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """Seal what goes through two functions.

        Args:
            send: Sends bytes as one message: to a queue, a socket, a topic.
            receive: Returns the bytes of the next message.
            identity: Who we are. Of several, the first seals, and all open: the old key of an agent that rotates.
            trust: Who is trusted; a function gives what was read last.
            replay: Who remembers. One for all channels of an agent, else a message passes once on each.
            peer: The name of the one agent on the other side; None: any that may talk to us.
            secrets: Provisioned secrets; the first is for messages to everybody.
            record: Gets an event for each refusal, and for each old key, once.
            clock: The wall clock (seconds since 1970).
            random: The source of random bytes.

        Raises:
            ValueError: No identity, or identities of several agents.
        """
        self._send: Final = send
        self._receive: Final = receive
        self._own: Final = (identity,) if isinstance(identity, Identity) else tuple(identity)
        if len({own.agent for own in self._own}) != 1:
            raise ValueError("a channel has the identity of one agent")
        self._trust: Final = trust
        self._replay: Final = replay
        self._peer: Final = peer
        self._secrets: Final = tuple(secrets)
        self._record: Final = record
        self._clock: Final = clock
        self._random: Final = random
        self._reported: set[str] = set()

    async def send(
        self,
        content: bytes,
        *,
        to: str | None = None,
        everybody: bool = False,
        message_type: MessageType = "InterAgentMessage",
        priority: int = 128,
        ttl: int | None = None,
        requires_ack: bool = False,
        custom_fields: dict[str, Any] | None = None,
    ) -> uuid.UUID:
        """Seal a message and send it.

        Args:
            content: Any bytes.
            to: The name of the recipient, where the channel has no ``peer``.
            everybody: Whether it is for all who have the provisioned secret.
            message_type: What it is.
            priority: 0 to 255.
            ttl: How long it counts (seconds, 1 to 604800); None: as long as the recipient's window is.
            requires_ack: Whether the sender waits for an answer.
            custom_fields: What else is said, for all to read; JSON.

        Returns:
            The message id.

        Raises:
            Refused: The recipient has no key that counts, or may not be talked to; our own key does not count.
            ValueError: No recipient, or what no recipient would take: a number out of its range, a type that is none.
        """
        about = Metadata(
            message_id=uuid.UUID(bytes=self._random(16), version=4),
            priority=priority,
            message_type=message_type,
            ttl=ttl,
            requires_ack=requires_ack,
            custom_fields=custom_fields or {},
        )
        try:
            data = self._sealed(content, self._name(to, everybody=everybody), about)
        except Refused as exc:
            self._note_refusal(exc, "send")
            raise
        await self._send(data)
        return about.message_id

    async def receive(self) -> Opened:
        """Return the next message, opened.

        Raises:
            Refused: It is none that may be taken; the one after it may be. (`__aiter__` goes on by itself.)
        """
        data = await self._receive()
        try:
            return await self._taken(data)
        except Refused as exc:
            self._note_refusal(exc, "receive")
            raise

    async def __aiter__(self) -> AsyncIterator[Opened]:
        """Yield what opens; what does not is in the record."""
        while True:
            try:
                opened = await self.receive()
            except Refused:
                await asyncio.sleep(0)  # else a flood of rubbish that is there already would let nobody else run
                continue
            yield opened

    def _name(self, to: str | None, *, everybody: bool) -> str | None:
        if everybody:
            if to is not None or self._peer is not None:
                raise ValueError("a message is for one agent or for everybody")
            return None
        if self._peer is not None and to not in (None, self._peer):
            raise ValueError(f"this channel leads to {self._peer} only")
        name = to or self._peer
        if name is None:
            raise ValueError("a message has a recipient: give to, or the channel a peer")
        return name

    def _sealed(self, content: bytes, name: str | None, about: Metadata) -> bytes:
        now, trust, own = self._clock(), self._trusted(), self._own[0]
        trust.check(own.public, now)
        self._note_age(trust, own.public, now)
        if not trust.may(own.agent, name):
            raise refused("envelope.not_allowed", own.agent, f"to {name or 'everybody'}")
        recipient = None if name is None else _newest(trust, name, now)
        secret = self._secrets[0] if recipient is None and self._secrets else None
        message = seal_message(
            content, sender=own, to=recipient, now=now, secret=secret, metadata=about, random=self._random
        )
        return message.encode()

    async def _taken(self, data: bytes) -> Opened:
        now, trust = self._clock(), self._trusted()
        opened = open_message(data, recipients=self._own, trust=trust, now=now, secrets=self._secrets)
        if self._peer is not None and opened.sender.agent != self._peer:
            raise refused("envelope.wrong_sender", f"a message from {opened.sender.agent}")
        waiting = self._replay.check(opened.proof, now)
        if waiting is not None:
            await waiting
        self._note_age(trust, opened.sender, now)
        return opened

    def _trusted(self) -> Trust:
        return self._trust if isinstance(self._trust, Trust) else self._trust()

    def _note_refusal(self, exc: Refused, way: str) -> None:
        if self._record is not None:
            self._record(
                Event(
                    code=exc.code,
                    time=self._clock(),
                    category="refusal",
                    severity="warning",
                    action="blocked",
                    principal=self._own[0].agent,
                    rule=exc.message,
                    plugin="envelope",
                    details={**exc.details, "way": way},
                )
            )

    def _note_age(self, trust: Trust, identity: PublicIdentity, now: float) -> None:
        if self._record is None or identity.key_id in self._reported or not trust.old(identity, now):
            return
        self._reported.add(identity.key_id)  # bounded by the keys that are trusted, and ours
        self._record(key_old(identity, now))


def key_old(identity: PublicIdentity, now: float) -> Event:
    """Return the event of a key that is past its rotation period (S0.26)."""
    return Event(
        code="envelope.key_old",
        time=now,
        category="system",
        severity="warning",
        principal=identity.agent,
        plugin="envelope",
        details={"key_id": identity.key_id, "since": int(identity.not_before)},
    )


def _newest(trust: Trust, name: str, now: float) -> PublicIdentity:
    found = trust.keys_of(name, now)
    if not found:
        raise refused("envelope.untrusted", f"the agent {name[:64]!r}")
    return found[0]

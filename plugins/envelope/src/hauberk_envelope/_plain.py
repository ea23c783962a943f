"""A channel that seals nothing, for agents that are not to be sealed yet (S0.29).

Which of the two it is, the configuration says, once, when the channel is made: ``features.agent_security_enabled``, and
production always seals. A channel never changes from one to the other, and one that seals takes nothing plain.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final, NamedTuple, final

from hauberk.config import Config
from hauberk_envelope._channel import Channel, Receive, Send


class Plain(NamedTuple):
    """What came without a seal: nobody proved anything."""

    content: bytes
    sender: None = None


@final
class PlainChannel:
    """The functions of a channel, and nothing sealed."""

    def __init__(self, send: Send, receive: Receive) -> None:
        self._send: Final = send
        self._receive: Final = receive

    async def send(self, content: bytes, **_about: Any) -> None:
        """Send bytes as they are; what a sealed message would say besides is not sent."""
        await self._send(content)

    async def receive(self) -> Plain:
        """Return the next bytes, whoever sent them."""
        return Plain(await self._receive())

    async def __aiter__(self) -> AsyncIterator[Plain]:
        """Yield what comes."""
        while True:
            yield await self.receive()


def channel(config: Config, send: Send, receive: Receive, **sealing: Any) -> Channel | PlainChannel:
    """Return a channel that seals where the configuration asks for it, and one that does not elsewhere.

    Args:
        config: The configuration: ``features.agent_security_enabled``; in production it is as good as set.
        send: As of `Channel`.
        receive: As of `Channel`.
        sealing: What `Channel` takes besides.
    """
    if config.production or config.features.agent_security_enabled:
        return Channel(send, receive, **sealing)
    return PlainChannel(send, receive)

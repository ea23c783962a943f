"""Two agents that talk by way of others: whoever stands between can read, change, repeat and make up bytes.

``python agents.py`` shows what comes of it. Keys are made on the spot here; agents that are separate programs have
theirs from ``hauberk keys``, and read them with ``read_own`` and ``Trust.read``.
"""

from __future__ import annotations

import asyncio
import time

from hauberk import Event
from hauberk_envelope.agents import Channel, Identity, Rules, Trust
from hauberk_replay import Checker, LocalNonces, Window

RULES = Rules(can_communicate_with={"planner": frozenset({"coder"}), "coder": frozenset({"planner"})})


def trusting(*identities: Identity) -> Trust:
    """Return a directory in which these agents are."""
    return Trust({one.key_id: one.public for one in identities}, rules=RULES)


class Network:
    """A queue for each agent, and everything that ever went through."""

    def __init__(self) -> None:
        self.queues: dict[str, asyncio.Queue[bytes]] = {}
        self.seen: list[bytes] = []

    def queue(self, agent: str) -> asyncio.Queue[bytes]:
        """Return the queue of an agent."""
        return self.queues.setdefault(agent, asyncio.Queue())

    def channel(self, me: Identity, peer: str, trust: Trust) -> Channel:
        """Return a sealed channel over two queues."""

        async def send(data: bytes) -> None:
            self.seen.append(data)
            await self.queue(peer).put(data)

        def record(event: Event) -> None:
            print(f"{me.agent} refused: {event.code}")

        window = Window(max_age=300, skew=60)
        once = Checker(window, LocalNonces(window, 10_000, since=time.time() - 1))
        receive = self.queue(me.agent).get
        return Channel(send, receive, identity=me, trust=trust, replay=once, peer=peer, record=record)


async def main() -> None:
    """Send a message, and let the network do its worst."""
    planner, coder, stranger = (Identity.generate(name, now=time.time()) for name in ("planner", "coder", "planner"))
    trust, network = trusting(planner, coder), Network()
    ours, theirs = network.channel(planner, "coder", trust), network.channel(coder, "planner", trust)

    await ours.send(b"write the tests first", message_type="TaskRequest", ttl=60)
    sealed = network.seen[0]
    print("the text is on the wire:", b"tests first" in sealed)

    network.queue("coder").put_nowait(sealed)  # again
    network.queue("coder").put_nowait(sealed.replace(b"TaskRequest", b"Shutdown"))  # changed
    network.queue("coder").put_nowait(b'{"do":"as I say"}')  # made up
    theirs_too = trusting(stranger, coder)  # somebody with the name and another key
    await network.channel(stranger, "coder", theirs_too).send(b"delete the tests")
    await ours.send(b"then make them pass")

    count = 0
    async for opened in theirs:
        count += 1
        print(f"coder reads of {opened.sender.agent}: {opened.content.decode()}")
        if count == 2:  # noqa: PLR2004 - of the six, these two were sent by the planner for the coder
            break


if __name__ == "__main__":
    asyncio.run(main())

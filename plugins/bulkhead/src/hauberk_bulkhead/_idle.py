"""Which connections nobody says anything on. Pure: time is an argument.

The rules:

1. Life is a message that comes, refused or not, and one that leaves: a request, an answer, a notification, a ``ping``.
2. A request that waits for its answer, in either direction, is no silence. So a stream of ``subscriptions/listen`` is
   never idle, however rare its news.
3. Nor is a message of which a part is on its way: a long answer that is read slowly, a long request that comes slowly.
   Whoever does not go on with it is ended by the host (``stalled_seconds``).
4. Nor is the time in which a person may be asked because of an answer: one that asks for input (``input_required``,
   from 2026-07-28 on; a task that does), or the error -32042. Nothing is in flight then, and the client goes on with a
   request of its own. Nobody says when, or whether at all, so that time is bounded, as an approver's is.
5. Nor is a connection on which a resource is subscribed to (``resources/subscribe``, up to 2025-11-25): nothing waits
   there for an answer, and somebody waits for news.
6. A message reads no clock: that there was one, or that something was on its way, is seen at the next look. So a
   connection is silent for at least its time when it is found, and for at most two looks more.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from hashlib import sha256
from typing import Final

from hauberk_bulkhead._limits import LIMITS

SUBSCRIBE: Final = "resources/subscribe"
UNSUBSCRIBE: Final = "resources/unsubscribe"


class Life:
    """What is known of the silence of one connection."""

    __slots__ = ("asked", "many", "said", "server", "since", "subscribed")

    def __init__(self, server: str, now: float) -> None:
        self.server: Final = server
        self.said = False
        """Whether there was a message since the last look."""
        self.since = now
        """When there was none any more (monotonic seconds)."""
        self.asked = now
        """Until when a person may be asked because of an answer (monotonic seconds)."""
        self.subscribed: Final[set[bytes]] = set()
        """Digests of the URIs that are subscribed to, as far as requests that were answered say."""
        self.many = False
        """Whether there were more of them at once than are known: it counts as subscribed to something from then on."""

    def answered(self, method: str, uri: str) -> None:
        """Remember a subscription, or one no longer. A URI is remembered once, as the protocol has it."""
        one = sha256(uri.encode(errors="surrogatepass")).digest()
        if method == UNSUBSCRIBE:
            self.subscribed.discard(one)
        elif len(self.subscribed) < LIMITS.subscriptions or one in self.subscribed:
            self.subscribed.add(one)
        else:
            self.many = True

    @property
    def waits(self) -> bool:
        """Whether somebody waits for news of a resource."""
        return self.many or bool(self.subscribed)


def silent(
    lives: Mapping[str, Life],
    now: float,
    *,
    most: Callable[[str], float | None],
    working: Container[str],
) -> list[tuple[str, float]]:
    """Look at all connections; return those that are silent for too long, each with how long (seconds).

    Args:
        lives: What is known of each, by its id.
        now: Monotonic seconds.
        most: How long a connection of a server may be silent (seconds); None is for ever.
        working: The ids of those with requests in flight, or part of a message on its way.
    """
    found = []
    for id, life in lives.items():
        works = id in working or now < life.asked
        if life.said or life.waits or works:
            # What ends between two looks, as the last bytes that are read, is seen at the second of them.
            life.said, life.since = works, now
        elif (seconds := most(life.server)) is not None and now - life.since >= seconds:
            found.append((id, now - life.since))
    return found

"""How the client of a session learns that its lists may be others now, after a reload.

The rules:

1. Lists leave the guard with ``ttlMs: 0``, so no client keeps one; a client that shows its user what it listed earlier
   has to be told. Each alone is too little.
2. Until 2025-11-25 a client is told by ``notifications/…/list_changed``, for each kind of list that the server has.
3. From 2026-07-28 on it is told in the streams that it opened by ``subscriptions/listen``, of the kinds that the server
   agreed to tell. A client that opened none cannot be told: there rule 1 stands alone.
4. The word leaves after each answer that came before it: a list that an older policy let pass does not come later.
5. A client that does not read keeps nobody waiting for long, and one that has gone is no fault of the reload; that it
   was not told is an event.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, Protocol, runtime_checkable

from hauberk.event import Event
from hauberk.refusals import HauberkError

if TYPE_CHECKING:
    from hauberk.exchange import RequestId
    from hauberk.session import Session
    from hauberk.ways import Way

ACKNOWLEDGED: Final = "notifications/subscriptions/acknowledged"
_LISTEN: Final = "subscriptions/listen"
_ID: Final = "io.modelcontextprotocol/subscriptionId"
_KINDS: Final = ("tools", "prompts", "resources")
_PATIENCE: Final = 4.0
"""How long a client may take to read the word, in deadlines of a chain."""


@runtime_checkable
class Flushing(Protocol):
    """A port that knows when what was written to it has been taken."""

    async def flushed(self) -> None:
        """Wait until nothing waits there."""


class Lists:
    """The lists that the client of one session may have been shown."""

    def __init__(self, session: Session) -> None:
        self._session: Final = session
        self._declared: tuple[str, ...] = ()
        self._streams: Final[dict[RequestId, tuple[RequestId, tuple[str, ...]]]] = {}
        self.news = 0
        """How often the server listed something, or said that a list has changed; counted once hooks have seen it."""
        self.latest: Final[dict[str, tuple[bytes, bytes]]] = {}
        """What `hauberk.contents` keeps of this session."""

    def declared(self, result: dict[str, Any]) -> None:
        """Take from the answer to ``initialize`` which lists the server has."""
        capabilities = result.get("capabilities")
        self._declared = tuple(kind for kind in _KINDS if type(capabilities) is dict and kind in capabilities)

    def acknowledged(self, params: dict[str, Any], way: Way) -> None:
        """Take from a server's word that a stream is open what may be told in it."""
        meta, agreed = params.get("_meta"), params.get("notifications")
        id = meta.get(_ID) if type(meta) is dict else None
        exchange = way.opposite.exchanges.find(id) if type(id) is str or type(id) is int else None
        if exchange is None or exchange.method != _LISTEN or type(agreed) is not dict or exchange.key in self._streams:
            return
        kinds = tuple(kind for kind in _KINDS if agreed.get(f"{kind}ListChanged") is True)
        self._streams[exchange.key] = exchange.id, kinds
        exchange.defer(lambda _: self._streams.pop(exchange.key, None))

    async def changed(self) -> None:
        """Tell the client, and return once it has taken the word, or takes too long."""
        session, words = self._session, self._words()
        if not words or session.closed:
            return
        why = ""
        try:
            async with asyncio.timeout(_PATIENCE * session.guard.policy.deadline):
                await self._tell(words)
        except TimeoutError:
            why = "does not read"
        except HauberkError as error:  # sealing it was refused
            why = getattr(error, "code", type(error).__name__)
        except Exception as error:  # noqa: BLE001 - a port that has broken; the policy is in force, whoever was told
            why = type(error).__name__
        if why:
            session.reports.record(
                Event(code="policy.untold", category="policy", severity="warning", details={"why": why})
            )

    def _words(self) -> list[dict[str, Any]]:
        words = [_word(kind, None) for kind in self._declared]
        return words + [_word(kind, id) for id, kinds in self._streams.values() for kind in kinds]

    async def _tell(self, words: list[dict[str, Any]]) -> None:
        session = self._session
        way = session.out if session.out.sender == "server" else session.inn
        if way.tail is not None:
            await asyncio.shield(way.tail)
        for word in words:
            if (waiting := session.emit(session.guard.policy, way.target, word)) is not None:
                await waiting
        if isinstance(way.target, Flushing):
            await way.target.flushed()


def _word(kind: str, stream: RequestId | None) -> dict[str, Any]:
    word: dict[str, Any] = {"jsonrpc": "2.0", "method": f"notifications/{kind}/list_changed"}
    return word if stream is None else {**word, "params": {"_meta": {_ID: stream}}}

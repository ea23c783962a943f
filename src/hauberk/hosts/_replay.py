"""What a client said that its server keeps for the connection, so that it can be said again on another one.

The rules:

1. Revisions before 2026-07-28 have a handshake, and what was agreed there holds for the connection: ``initialize`` and
   ``notifications/initialized``, the level of logging, the resources that are subscribed to. That, and nothing else, is
   kept: the client's own messages, which meet every hook again, as those of the new connection. Of requests only those
   are kept that were answered with a result: what was refused, or lost, the client knows not to have.
2. What is said again has an id of the guard's own, and its answer reaches nobody but the guard.
3. Another revision in the answer ends it: the client speaks the one that it agreed on. That something else is
   different there is told (`difference`).
4. From 2026-07-28 on there is nothing of the kind: each request says everything.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, Final

import orjson

from hauberk.hosts._dial import ANSWER_SECONDS
from hauberk.hosts._losses import not_restored

if TYPE_CHECKING:
    from hauberk.carriers.stdio import Writer
    from hauberk.exchange import RequestId
    from hauberk.session import Session

HANDSHAKE_BYTES: Final = 256 * 1024
"""A longer ``initialize`` is not kept."""
SMALL_BYTES: Final = 8 * 1024
"""A longer request for news of a resource, or for a level of logging, is not kept."""
SUBSCRIPTIONS: Final = 1024
"""Resources whose subscriptions are kept, and requests for one that wait for an answer; the oldest go first."""
COMPARED: Final = ("capabilities", "serverInfo", "instructions")
"""Members of the answer to ``initialize`` that a client may rely on."""
_STATES: Final = frozenset({"logging/setLevel", "resources/subscribe", "resources/unsubscribe"})


class Kept:
    """What one client said."""

    def __init__(self) -> None:
        self._asked: dict[str, Any] | None = None
        self._pending: Final[OrderedDict[RequestId, dict[str, Any]]] = OrderedDict()
        """What is kept once it is answered, by its id."""
        self._answer: dict[str, Any] | None = None
        self._told: dict[str, Any] | None = None
        self._level: dict[str, Any] | None = None
        self._subscribed: Final[OrderedDict[str, dict[str, Any]]] = OrderedDict()
        self._taken_back: Final[set[str]] = set()
        """What of that the server of this connection has refused."""
        self.unused = 0
        """How many connections in a row were made again by now on which the client has said nothing."""

    # --- what the client says ---

    def said(self, frame: bytes) -> None:
        """Look at a frame of the client."""
        self.unused = 0
        if self._told is None and len(frame) <= HANDSHAKE_BYTES and b"nitialize" in frame:
            self._handshake(_read(frame))
        elif len(frame) <= SMALL_BYTES and (b'/setLevel"' in frame or b'subscribe"' in frame):
            message = _read(frame)
            if message.get("method") in _STATES:
                self._wait(message)

    def _handshake(self, message: dict[str, Any]) -> None:
        method = message.get("method")
        if method == "notifications/initialized" and self._answer is not None:
            self._told = message
        elif method == "initialize" and self._answer is None:
            self._wait(message)

    def _wait(self, message: dict[str, Any]) -> None:
        id = message.get("id")
        if isinstance(id, str | int):
            self._pending[id] = message
            if len(self._pending) > SUBSCRIPTIONS:
                self._pending.popitem(last=False)

    @property
    def waits(self) -> bool:
        """Whether an answer has to be seen."""
        return bool(self._pending)

    def answered(self, id: RequestId, answer: dict[str, Any]) -> None:
        """Take an answer, as the client gets it."""
        if (message := self._pending.pop(id, None)) is None:
            return
        if message["method"] == "initialize":
            result = answer.get("result")
            self._asked, self._answer = message, result if type(result) is dict else None
        elif "result" in answer:
            self._state(message)

    def _state(self, message: dict[str, Any]) -> None:
        method, params = message["method"], message.get("params")
        uri = params.get("uri") if type(params) is dict else None
        if method == "logging/setLevel":
            self._level = message
        elif type(uri) is str and method == "resources/subscribe":
            self._taken_back.discard(uri)
            self._subscribed[uri] = message
            self._subscribed.move_to_end(uri)
            if len(self._subscribed) > SUBSCRIPTIONS:
                self._subscribed.popitem(last=False)
        elif type(uri) is str and method == "resources/unsubscribe":
            self._subscribed.pop(uri, None)

    # --- what is said again ---

    @property
    def agreed(self) -> bool:
        """Whether a handshake was done."""
        return self._answer is not None

    def opening(self) -> dict[str, Any] | None:
        """Return the ``initialize`` that is to be said again; None where there was no handshake."""
        return self._asked if self._answer is not None else None

    def rest(self) -> list[dict[str, Any]]:
        """Return what is to be said after it, in order."""
        return [message for message in (self._told, self._level, *self._subscribed.values()) if message is not None]

    def said_again(self, message: dict[str, Any], answer: dict[str, Any] | None) -> None:
        """Take the answer of the new server to what was said again; None where there is none (yet)."""
        if message["method"] == "resources/subscribe":
            uri = message["params"]["uri"]
            (self._taken_back.add if answer is not None and "error" in answer else self._taken_back.discard)(uri)

    @property
    def expects_news(self) -> bool:
        """Whether the client waits for news of a resource that it does not ask for.

        A level of logging says how much the client wants to hear, and not that there is anything to be heard: most who
        set one set it at once, whatever comes of it. So nobody needs a server for that alone. What ends silent
        connections must not hold fewer of them than this: else each would be dialled again and ended again for ever.
        """
        return bool(self._subscribed.keys() - self._taken_back)

    def differs(self, result: dict[str, Any]) -> list[str]:
        """Return which members of an answer to ``initialize`` are not those of the first one."""
        before = self._answer or {}
        return [name for name in ("protocolVersion", *COMPARED) if result.get(name) != before.get(name)]


def _read(frame: bytes) -> dict[str, Any]:
    try:
        message = orjson.loads(frame)
    except orjson.JSONDecodeError:
        return {}
    return message if type(message) is dict else {}


def again(message: dict[str, Any]) -> tuple[str | None, bytes]:
    """Return a message as it is said again: its id, where it is a request, and its frame."""
    if "id" not in message:
        return None, orjson.dumps(message)
    id = f"hauberk:{secrets.token_hex(16)}"
    return id, orjson.dumps({**message, "id": id})


class Ear:
    """The port to the client, that hears some answers on their way to it, and keeps those that are the guard's own."""

    bytes_only = True

    def __init__(self, near: Writer, kept: Kept) -> None:
        self._near: Final = near
        self._kept: Final = kept
        self._own: Final[dict[RequestId, asyncio.Future[dict[str, Any]]]] = {}

    def expect(self, id: RequestId) -> asyncio.Future[dict[str, Any]]:
        """Return what gets the answer to a request of the guard's own."""
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._own[id] = answer
        return answer

    def deliver(self, data: bytes, ticket: Any) -> Awaitable[None] | None:
        """Write one frame, unless it answers the guard."""
        if self._own or self._kept.waits:
            message = _read(data)
            id = message.get("id")
            if "method" not in message and isinstance(id, str | int):
                self._kept.answered(id, message)
                if (answer := self._own.pop(id, None)) is not None:
                    if not answer.done():
                        answer.set_result(message)
                    return None
        return self._near.deliver(data, ticket)

    def unanswered(self, ticket: Any) -> Awaitable[None] | None:
        """Say nothing, as the client's own port."""
        return self._near.unanswered(ticket)

    @property
    def flooded(self) -> bool:
        """Whether the client's own port is."""
        return self._near.flooded

    async def flushed(self) -> None:
        """Wait until the client has taken everything."""
        await self._near.flushed()


async def restore(session: Session, ear: Ear, kept: Kept, changed: list[str], *, shaken: bool) -> None:
    """Say again what the server keeps for a connection.

    Args:
        session: On the new connection.
        ear: Its port to the client.
        kept: What the client said.
        changed: Gets the members of the answer to ``initialize`` that are others now.
        shaken: Whether there was a handshake on the connection before.

    Raises:
        Refused: The server does not take the session up again.
    """
    kept.unused += 1
    opening = kept.opening()
    if opening is None:
        if shaken:
            raise not_restored("the client's initialize was not kept")
        return
    answer = await _say(session, ear, opening)
    result = answer.get("result") if answer is not None else None
    if type(result) is not dict:
        error = (answer or {}).get("error")
        raise not_restored(repr(error.get("message"))[:200] if type(error) is dict else "no answer in time")
    changed += kept.differs(result)
    if "protocolVersion" in changed:
        raise not_restored(f"it speaks revision {str(result.get('protocolVersion'))[:32]!r} now")
    rest = kept.rest()
    for message, said in zip(rest, await asyncio.gather(*(_say(session, ear, one) for one in rest)), strict=True):
        kept.said_again(message, said)


async def _say(session: Session, ear: Ear, message: dict[str, Any]) -> dict[str, Any] | None:
    """Say one message again; return the answer to a request, None where none comes in time."""
    id, frame = again(message)
    answer = None if id is None else ear.expect(id)
    session.receive(session.out, frame)
    if id is None or answer is None:
        return None
    try:
        return await asyncio.wait_for(answer, ANSWER_SECONDS)
    except TimeoutError:
        exchange = session.out.exchanges.find(id)
        if exchange is not None:
            session.end(exchange, session.out, "timed_out", tombstone=True)
        return None

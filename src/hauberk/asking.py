"""The guard as asker: requests of its own, whose answers pass the hooks and reach no peer."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Any, Final

from hauberk.exchange import Outcome
from hauberk.refusals import Refused

if TYPE_CHECKING:
    from hauberk.session import Session

APART: Final = 1.0
"""Seconds between two lists of one kind that the guard asks one server for; their pages follow each other at once."""


class Asker:
    """What one session asks of its peer."""

    def __init__(self, session: Session) -> None:
        self._session: Final = session
        self._listed: Final[dict[str, float]] = {}

    async def request(self, method: str, params: dict[str, Any] | None, seconds: float) -> Any:
        """Ask the peer something; the answer passes the chains and reaches nobody else.

        Returns:
            The result object.

        Raises:
            Refused: The answer was refused, the peer answered with an error, or the session ended.
            TimeoutError: No answer came in time.
        """
        session, guard = self._session, self._session.guard
        if method.endswith("/list") and "cursor" not in (params or {}):
            await self._one_list_a_second(method)
        if session.closed:
            raise _gone("closed")
        id = f"hauberk:{secrets.token_hex(8)}"
        exchange = session.out.exchanges.open(id, method, guard.principal, guard.clock())
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        exchange.resolve = lambda data: None if answer.done() else answer.set_result(data)
        exchange.defer(lambda outcome: None if answer.done() else answer.set_exception(_gone(outcome)))
        try:
            exchange.sent = True  # before it is written: the answer may come while it is
            waiting = session.emit(guard.policy, session.out.target, message_of(method, params, id))
            if waiting is not None:
                await waiting
            async with asyncio.timeout(seconds):
                reply = await answer
        finally:
            answer.cancel()
            session.out.exchanges.drop(exchange, "timed_out", tombstone=exchange.sent)
        if "error" in reply:
            raise Refused("core.peer_error", str(reply["error"].get("message", ""))[:200])
        return reply["result"]

    async def _one_list_a_second(self, method: str) -> None:
        now = self._session.guard.clock()
        turn = max(now, self._listed[method] + APART) if method in self._listed else now
        self._listed[method] = turn
        if turn > now:
            await asyncio.sleep(turn - now)


def message_of(method: str, params: dict[str, Any] | None, id: str | None = None) -> dict[str, Any]:
    """Return a message of the guard's own: a request where it has an id, else a notification."""
    head = {"jsonrpc": "2.0", "method": method} if id is None else {"jsonrpc": "2.0", "id": id, "method": method}
    return head if params is None else {**head, "params": params}


def _gone(outcome: Outcome) -> Refused:
    return Refused("core.closed", f"the request of the guard was {outcome}")

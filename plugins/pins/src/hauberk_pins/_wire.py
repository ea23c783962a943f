"""A client of one server on its standard streams, as small as can be: it asks, and has little to answer.

Nothing that comes is trusted: frames are read by the strict rules of `hauberk.edge`, an answer counts if its id is one
that waits, and every wait has an end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import orjson

from hauberk import edge
from hauberk.bounds import Bounds
from hauberk.carriers.child import GRACE, Child
from hauberk.carriers.stdio import Reader, Writer
from hauberk.connection import Program
from hauberk.refusals import HauberkError, Refused

METHOD_NOT_FOUND: Final = -32601
_ANSWERS: Final[Mapping[str, Mapping[str, Any]]] = {"ping": {}, "roots/list": {"roots": []}}
"""What a server may ask of us before it shows everything it has."""


class PeerError(HauberkError):
    """A server answered with an error."""

    def __init__(self, method: str, error: Any) -> None:
        self.number: Final = error.get("code") if isinstance(error, dict) else None
        super().__init__(f"it answers {method} with error {self.number!r}")


class Peer:
    """One server, started."""

    def __init__(self, program: Program, executable: str | None, bounds: Bounds) -> None:
        """Start it.

        Raises:
            OSError: It cannot be started.
        """
        self._child: Final = Child(
            program.command, program.args, env=program.env, cwd=program.cwd, executable=executable
        )
        self._bounds: Final = bounds
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._asked = 0
        self._over = False
        self.changed: Final[set[str]] = set()
        """The ``list_changed`` notifications that came."""
        self._writer: Final = Writer(self._child.stdin, limit=bounds.buffer_bytes, on_broken=self._ended)
        self._reader: Final = Reader(self._child.stdout, self._took, self._ended, bounds=bounds)
        self._reader.start()

    async def ask(self, method: str, params: Mapping[str, Any] | None, seconds: float) -> dict[str, Any]:
        """Return the result of a request.

        Raises:
            PeerError: The server answers with an error.
            HauberkError: It has ended, or does not answer in time (seconds).
        """
        if self._over:
            raise HauberkError(f"it has ended before {method}")
        self._asked += 1
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[self._asked] = answer
        self._say({"id": self._asked, "method": method}, params)
        try:
            async with asyncio.timeout(seconds):
                reply = await answer
        except TimeoutError:
            raise HauberkError(f"it does not answer {method} within {seconds:g} s") from None
        finally:
            self._waiting = {id: one for id, one in self._waiting.items() if one is not answer}
        if not isinstance(result := reply.get("result"), dict):
            raise PeerError(method, reply.get("error"))
        return result

    def tell(self, method: str) -> None:
        """Send a notification."""
        self._say({"method": method}, None)

    async def close(self) -> None:
        """End it: end of input, TERM, KILL."""
        self._writer.close(close_fd=False)
        self._child.close_input()
        await self._child.waited(GRACE)
        await self._child.end()
        self._reader.stop()
        self._child.close()

    def _say(self, head: Mapping[str, Any], params: Mapping[str, Any] | None) -> None:
        data = {"jsonrpc": "2.0", **head} | ({} if params is None else {"params": params})
        self._writer.deliver(orjson.dumps(data), None)

    def _took(self, frame: bytes | edge.Overlong) -> None:
        try:
            found = edge.read(frame, bounds=self._bounds)[0] if isinstance(frame, bytes) else {}
        except Refused as refused:
            self._end(HauberkError(f"it sends what is no message ({refused.code})"))
            return
        if not found:
            self._end(HauberkError("it sends a line that is too long"))
        elif "method" not in found:
            answer = self._waiting.get(found["id"]) if type(found.get("id")) is int else None
            if answer is not None and not answer.done():
                answer.set_result(found)
        elif "id" in found:
            self._answer(found)
        elif isinstance(found["method"], str) and found["method"].endswith("/list_changed"):
            self.changed.add(found["method"])

    def _answer(self, request: Mapping[str, Any]) -> None:
        known = _ANSWERS.get(request["method"]) if isinstance(request["method"], str) else None
        refusal = {"error": {"code": METHOD_NOT_FOUND, "message": "nobody is here to answer"}}
        self._say({"id": request["id"], **(refusal if known is None else {"result": known})}, None)

    def _ended(self) -> None:
        self._end(HauberkError("it has ended"))

    def _end(self, error: HauberkError) -> None:
        self._over = True
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(error)

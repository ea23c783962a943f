"""One connection to a shared store, on which calls are pipelined.

The rules:

1. Answers come in the order of the calls (RESP), so whoever waits first is answered first; nothing is sent twice.
2. Each call has the same deadline, so the oldest is overdue first, and one timer watches it alone. An overdue call
   ends the line: what was in flight fails, all at once, and nobody knows whether it was done.
3. A caller that is cancelled leaves its place: the answer is read, and dropped, or given to whom he named (`run`).
4. An answer that is an error is that call's own (`StoreRefused`), but for those by which a store says that it serves
   nobody now (it loads, it is a replica): these end the line.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from typing import Any, Final, final

from hauberk._store_address import StoreAddress
from hauberk.refusals import ConfigError, HauberkError

CONNECT_SECONDS: Final = 2.0
"""What reaching the store may take; its calls have a deadline of their own."""
IN_FLIGHT_MAX: Final = 16384
"""Calls that may wait for an answer on one line."""
_GRACE: Final = 0.02
"""Seconds in which an event loop that was busy itself may read the answer that has long been there."""
_USELESS: Final = ("READONLY", "LOADING", "MASTERDOWN", "CLUSTERDOWN", "MOVED")


class StoreDown(HauberkError):
    """The store could not be asked, or did not answer in time; whether it did what was asked is not known."""


@final
class StoreRefused(StoreDown):
    """The store answered with an error: it is full, or may not do this. ``code`` is the error's first word."""

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message)
        self.code = code


class Script:
    """A Lua script that the store runs as one step."""

    __slots__ = ("head", "sha", "source")

    def __init__(self, source: str) -> None:
        import hashlib  # only here: whoever has no shared store needs it elsewhere, or not at all

        self.source: Final = source
        # Redis names its scripts so; nothing rests on this hash.
        self.sha: Final = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()
        self.head: Final = _word("EVALSHA") + _word(self.sha)
        """The first two words of each call, as they are on the wire."""


Word = str | bytes | int | float
Unheard = Callable[[Any], None]
"""Gets the answer of a call whose caller has been cancelled."""


@final
class Line:
    """One connection; made by `reach`."""

    def __init__(self, connection: Any, where: str, timeout: float, on_lost: Callable[[Line, str], None]) -> None:
        self._connection: Final = connection
        self._writer: Final = connection._writer  # noqa: SLF001 - see `command` and `end`
        self._where: Final = where
        self._timeout: Final = timeout
        self._on_lost: Final = on_lost
        self._loop: Final = asyncio.get_running_loop()
        self._waiting: Final[deque[tuple[float, asyncio.Future[Any], Unheard | None]]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._lost: str | None = None
        self._reader: Final = self._loop.create_task(self._read(), name="hauberk-shared-store")

    # --- calls ---

    async def command(self, *words: Word) -> Any:
        """Send one command; return its answer, with texts as bytes.

        Raises:
            StoreDown: There is none in time.
            StoreRefused: It is an error.
        """
        return await self._sent(b"*%d\r\n" % len(words), words, None)

    async def run(
        self,
        script: Script,
        keys: tuple[Word, ...] = (),
        args: tuple[Word, ...] = (),
        unheard: Unheard | None = None,
    ) -> Any:
        """Run a script: one round trip, or two where the store does not know it yet.

        Args:
            script: What is run.
            keys: Its keys.
            args: Its arguments.
            unheard: Gets the answer, if there is one, where the caller is cancelled before he has it.
        """
        words = (len(keys), *keys, *args)
        future = self._sent(b"*%d\r\n%b" % (len(words) + 2, script.head), words, unheard)
        try:
            return await future
        except StoreRefused as error:
            if error.code != "NOSCRIPT":
                raise
        except asyncio.CancelledError:
            _tell_answer(future, unheard)
            raise
        words = ("EVAL", script.source, *words)
        future = self._sent(b"*%d\r\n" % len(words), words, unheard)
        try:
            return await future
        except asyncio.CancelledError:
            _tell_answer(future, unheard)
            raise

    def _sent(self, head: bytes, words: tuple[Word, ...], unheard: Unheard | None) -> asyncio.Future[Any]:
        """Send a command, of which the beginning is packed already; return what its answer will be."""
        if self._lost is not None:
            raise StoreDown(f"the shared store {self._where} is down: {self._lost}")
        if len(self._waiting) >= IN_FLIGHT_MAX:
            raise StoreDown(f"{IN_FLIGHT_MAX} calls wait for the shared store {self._where}")
        future: asyncio.Future[Any] = self._loop.create_future()
        self._waiting.append((self._loop.time() + self._timeout, future, unheard))
        if self._timer is None:
            self._timer = self._loop.call_later(self._timeout, self._overdue)
        # Written past the client's own send, which lets go of the connection when the one caller that waits for the
        # buffer is cancelled; what may wait is bounded by the calls in flight and their deadline.
        self._writer.write(head + b"".join(map(_word, words)))
        return future

    # --- its end ---

    def end(self, why: str) -> None:
        """Give the connection up; what is in flight fails."""
        if self._lost is not None:
            return
        self._lost = why
        if self._timer is not None:
            self._timer.cancel()
        if asyncio.current_task() is not self._reader:
            self._reader.cancel()
        self._writer.transport.abort()  # close() would wait until a store that hangs has read
        waiting = [future for _, future, _ in self._waiting if not future.done()]
        self._waiting.clear()
        for future in waiting:
            future.set_exception(StoreDown(f"the shared store {self._where} is down: {why}"))
        self._on_lost(self, why)

    async def closed(self) -> None:
        """Wait until nothing of it is left."""
        self.end("it was closed")
        with suppress(asyncio.CancelledError):
            await self._reader
        await self._connection.disconnect(nowait=True)  # where it ended before its reader began

    def _overdue(self, *, again: bool = False) -> None:
        self._timer = None
        if not self._waiting:
            return
        left = self._waiting[0][0] - self._loop.time()
        if left > 0:
            self._timer = self._loop.call_later(left, self._overdue)
        elif not again:
            self._timer = self._loop.call_later(_GRACE, lambda: self._overdue(again=True))
        else:
            self.end(f"no answer within {self._timeout:g} s")

    # --- answers ---

    async def _read(self) -> None:
        try:
            await self._read_answers()
        finally:
            self.end("its reader ended")
            await self._connection.disconnect(nowait=True)

    async def _read_answers(self) -> None:
        from redis.exceptions import ResponseError

        while True:
            answer: Any
            try:
                answer = await self._connection.read_response(disable_decoding=True)
            except ResponseError as error:
                answer = error
            except Exception as error:  # noqa: BLE001 - whatever it was, nothing more comes on this line
                self.end(_told(error))
                return
            if not self._waiting:
                self.end("it answered what nobody asked")
                return
            _, future, unheard = self._waiting.popleft()
            if not isinstance(answer, ResponseError):
                if not future.done():
                    future.set_result(answer)
                elif unheard is not None:
                    unheard(answer)
                continue
            code = _code(answer)
            if not future.done():
                future.set_exception(StoreRefused(f"the shared store {self._where} answers {str(answer)!r}", code=code))
            if code in _USELESS:
                self.end(str(answer))
                return


def _word(word: Word) -> bytes:
    """Return a word of a command as it is on the wire (RESP); the client's own way takes ten times as long."""
    if isinstance(word, bytes):
        return b"$%d\r\n%b\r\n" % (len(word), word)
    if isinstance(word, str):
        data = word.encode()
        return b"$%d\r\n%b\r\n" % (len(data), data)
    return _number(word)


@lru_cache(1024, typed=True)
def _number(number: float) -> bytes:
    """Return a number likewise: scripts are given the same ones again and again."""
    data = repr(number).encode()
    return b"$%d\r\n%b\r\n" % (len(data), data)


def _tell_answer(future: asyncio.Future[Any], unheard: Unheard | None) -> None:
    """Give an answer that came just before its caller was cancelled to whom he named."""
    if unheard is not None and future.done() and not future.cancelled() and future.exception() is None:
        unheard(future.result())


def _told(error: BaseException) -> str:
    return str(error) or type(error).__name__


_NAMES: Final = {
    "NoScriptError": "NOSCRIPT",
    "ReadOnlyError": "READONLY",
    "OutOfMemoryError": "OOM",
    "NoPermissionError": "NOPERM",
    "MasterDownError": "MASTERDOWN",
    "ClusterDownError": "CLUSTERDOWN",
    "MovedError": "MOVED",
}
"""Errors from whose text the client takes the first word off."""


def _code(error: Exception) -> str:
    return _NAMES.get(type(error).__name__) or str(error).partition(" ")[0]


async def reach(address: StoreAddress, timeout: float, on_lost: Callable[[Line, str], None]) -> Line:  # noqa: ASYNC109
    """Connect, prove who asks, choose the database, and see that the store answers.

    Args:
        address: Where it is.
        timeout: What each call may take (seconds).
        on_lost: Called once when the line is lost, with why.

    Raises:
        ConfigError: The address names files that cannot be read.
        StoreDown: It cannot be reached, or does not let us in.
    """
    connection = await asyncio.to_thread(_connection, address)
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            await connection.connect()
    except BaseException as error:
        await connection.disconnect(nowait=True)
        if not isinstance(error, Exception):
            raise
        why = f"not reached within {CONNECT_SECONDS:g} s" if isinstance(error, TimeoutError) else _told(error)
        raise StoreDown(f"the shared store {address} is down: {why}") from None
    line = Line(connection, str(address), timeout, on_lost)
    try:
        if await line.command("PING") != b"PONG":
            raise StoreDown(f"{address} is no store: it does not answer a PING")  # noqa: TRY301 - closed below
    except BaseException:
        await line.closed()
        raise
    return line


def _connection(address: StoreAddress) -> Any:
    """Make the client's connection, in a thread: the client takes a third of a second to import."""
    from redis.asyncio.connection import Connection, SSLConnection, UnixDomainSocketConnection
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff

    common: dict[str, Any] = {
        "db": address.database,
        "username": address.user or None,
        "password": address.secret() or None,
        "socket_timeout": None,
        "socket_connect_timeout": CONNECT_SECONDS,
        "retry": Retry(NoBackoff(), 0),
        "health_check_interval": 0,
        "client_name": "hauberk",
        "protocol": 2,
    }
    if address.path:
        return UnixDomainSocketConnection(path=address.path, **common)
    if not address.tls:
        return Connection(host=address.host, port=address.port, **common)
    made = SSLConnection(host=address.host, port=address.port, **common)
    made.ssl_context.context = _context(address)
    return made


def _context(address: StoreAddress) -> Any:
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # checks the chain and the name
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        if address.ca:
            context.load_verify_locations(cafile=address.ca)
        else:
            context.load_default_certs()
        if address.certificate:
            context.load_cert_chain(address.certificate, address.key)
    except OSError as error:  # ssl.SSLError is one
        raise ConfigError(
            f"the certificates of {address} cannot be used ({type(error).__name__})",
            hint="see ca=, cert= and key= of its address: PEM files that the host may read",
        ) from None
    return context

"""Sockets: frames on a Unix socket, or on TCP under TLS, through the event loop's own transports.

A stream is made by `accepted` or `dialled`. It is read up to its first frame (`Stream.first`), which is where both ends
learn that the other one accepts them; then its reader is given to whoever takes the frames (`Stream.attach`).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final, cast
from weakref import WeakKeyDictionary

from hauberk.bounds import Bounds
from hauberk.carriers._alerts import Speaking
from hauberk.carriers._incoming import StreamReader
from hauberk.carriers._kernel import BUFFER, credentials, tune
from hauberk.carriers._source import OnFrame
from hauberk.carriers.address import Address, authority
from hauberk.connection import Peer, Tls
from hauberk.edge import Overlong

_LARGE: Final = 64 * 1024
_SHUTDOWN: Final = 2.0
"""Seconds that the other end has for its part of ending TLS."""
_LOOK: Final = 0.01
SHORT: Final = 32 * 1024
"""What is held of a peer that was accepted and has no place yet (bytes)."""


_BUFFERS: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, tuple[bytearray, memoryview]]] = WeakKeyDictionary()


def _lent(loop: asyncio.AbstractEventLoop) -> tuple[bytearray, memoryview]:
    """Return the buffer that all streams of an event loop read into, one after the other."""
    if (found := _BUFFERS.get(loop)) is None:
        buffer = bytearray(BUFFER)
        found = _BUFFERS[loop] = (buffer, memoryview(buffer))
    return found


def nothing() -> None:
    """Do nothing."""


class Stream(asyncio.BufferedProtocol):
    """One socket, both ways. It is the port that frames are written to; ``reader`` gives what comes."""

    bytes_only = True

    def __init__(self, bounds: Bounds) -> None:
        self._limit: Final = bounds.buffer_bytes
        self._loop: Final = asyncio.get_running_loop()
        self._buffer, self._view = _lent(self._loop)
        self._first: Final[asyncio.Future[bytes | Overlong | None]] = self._loop.create_future()
        self._early: list[bytes | Overlong] = []
        """What came after the first frame, and before somebody took it."""
        self._over: Final[asyncio.Future[None]] = self._loop.create_future()
        self._on_full: Callable[[], object] = nothing
        self._on_drained: Callable[[], object] = nothing
        self._on_broken: Callable[[], object] = nothing
        self._corked: list[bytes] | None = None
        self.reader: Final = StreamReader(self._took_first, self._ended_first, bounds=bounds)
        self.transport: asyncio.Transport
        """There once it is made; under TLS something may come before that is told."""
        self._inner: asyncio.Transport | None = None
        self.written = 0
        """Bytes so far that were given to it; what of them is not `held` has left."""
        self._tls: ssl.SSLObject | None = None
        self.full = self.broken = False
        self.error: Exception | None = None
        """What ended it, where it did not end in order."""

    # --- what the event loop calls ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport; under TLS, once its handshake is done."""
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(high=self._limit, low=self._limit // 2)
        # What is encrypted already waits there, and is not counted by the transport that we see.
        self._inner = getattr(getattr(transport, "_ssl_protocol", None), "_transport", None)
        self._tls = self.transport.get_extra_info("ssl_object")  # a transport that has ended cannot say
        self.reader.made(self.transport)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - the loop's own word
        """Lend what the next bytes are read into; they are taken before anything else is read.

        A view, because asyncio's TLS slices it: a slice of an array would be a copy, and what is read into it lost.
        """
        reader = self.reader
        return self._view if reader.most is None else self._view[: reader.room]

    def buffer_updated(self, nbytes: int) -> None:
        """Take bytes."""
        self.reader.took(self._buffer, self._view, nbytes)

    def eof_received(self) -> bool:
        """Take the end of input; a socket without TLS can still be written to."""
        self.reader.over()
        return hasattr(self, "transport") and self.tls is None

    def connection_lost(self, exc: Exception | None) -> None:
        """Take the end of everything."""
        self.error = self.error or exc
        self._break()
        self.reader.over()
        self.reader.lost()
        if not self._over.done():
            self._over.set_result(None)

    def pause_writing(self) -> None:
        """Hold up whoever writes."""
        self.full = True
        self._on_full()

    def resume_writing(self) -> None:
        """Let go on whoever writes."""
        self.full = False
        self._on_drained()

    # --- the first frame ---

    def _took_first(self, frame: bytes | Overlong) -> None:
        if self._first.done():
            self._early.append(frame)
            return
        self.reader.pause()
        self.reader.most = None
        self._first.set_result(frame)

    def _ended_first(self) -> None:
        if not self._first.done():
            self._first.set_result(None)

    async def first(self, most: int | None = None, on_long: Callable[[], object] = nothing) -> bytes | Overlong | None:
        """Return the first frame, or None at the end of input. Nothing more is read until `attach`.

        Args:
            most: So much of it is read at first (bytes); None for as much as the bounds allow.
            on_long: Called if it is longer, before more is read. What this raises is raised here.
        """
        if not self._first.done():
            self.reader.bound(most, lambda: self._ask(on_long))
        self.reader.start()
        return await asyncio.shield(self._first)

    def _ask(self, on_long: Callable[[], object]) -> None:
        try:
            on_long()
        except Exception as error:  # noqa: BLE001 - it is raised where the frame is waited for
            self.reader.pause()
            self._first.set_exception(error)

    def attach(
        self,
        on_frame: OnFrame,
        on_end: Callable[[], object],
        *,
        on_full: Callable[[], object] = nothing,
        on_drained: Callable[[], object] = nothing,
        on_broken: Callable[[], object] = nothing,
    ) -> None:
        """Hand over what comes after the first frame, and tell what becomes of writing.

        ``on_full`` is called when more waits to be written than is good, ``on_drained`` when half of that is left,
        ``on_broken`` once when nobody reads any more. What has happened by now is told at once.
        """
        self._on_full, self._on_drained, self._on_broken = on_full, on_drained, on_broken
        self.reader.hand_to(on_frame, on_end)
        self.reader.most = None  # whoever takes its frames has let it in
        early, self._early = self._early, []
        for frame in early:
            on_frame(frame)
        if self.broken:
            on_broken()
        if self.reader.ended:
            on_end()
        elif self._first.done():
            self.reader.resume()
        else:
            self.reader.start()

    # --- the port ---

    def deliver(self, data: bytes, _ticket: Any) -> Awaitable[None] | None:
        """Write one frame and its line feed."""
        if self.broken:
            return None
        self.written += len(data) + 1
        if self._corked is not None:
            self._corked.append(data)
        elif len(data) < _LARGE:
            self.transport.write(data + b"\n")
        else:  # to copy it costs more than another turn to the kernel
            self.transport.write(data)
            self.transport.write(b"\n")
        return None

    def unanswered(self, _ticket: Any) -> Awaitable[None] | None:
        """Say nothing: on a stream a request without an answer needs no word."""

    def cork(self, several: bool) -> None:  # noqa: FBT001 - as `Source.on_burst` calls it
        """Write frames that come in a row with one call; for the ``on_burst`` of their source."""
        if several:
            self._corked = []
        elif self._corked is not None:
            frames, self._corked = self._corked, None
            if frames and not self.broken:
                self.transport.write(b"\n".join((*frames, b"")))

    @property
    def held(self) -> int:
        """Return what waits to be written (bytes)."""
        if self.broken:
            return 0
        return self.transport.get_write_buffer_size() + self.encrypted

    @property
    def encrypted(self) -> int:
        """Return what of that is encrypted already, and partly written perhaps (bytes)."""
        return 0 if self._inner is None else self._inner.get_write_buffer_size()

    @property
    def moves(self) -> bool:
        """Whether a message has come or left in part: the rest is to come, or to be read at the other end."""
        return self.reader.waits or self.held > 0

    @property
    def flooded(self) -> bool:
        """Whether more than twice the limit waits."""
        return self.held > 2 * self._limit

    async def flushed(self) -> None:
        """Wait until nothing waits to be written."""
        while self.held:  # noqa: ASYNC110 - a transport tells only of its marks
            await asyncio.sleep(_LOOK)

    def _break(self) -> None:
        if self.broken:
            return
        self.broken = True
        if self.full:
            self.full = False
            self._on_drained()
        self._on_broken()

    # --- who is there, and the end ---

    @property
    def tls(self) -> ssl.SSLObject | None:
        """Return the TLS of this connection, if it has any."""
        return self._tls

    def peer(self, address: Address) -> Peer:
        """Return who is at the other end, as the kernel says.

        Args:
            address: What was dialled, or listened on.
        """
        if address.carrier == "unix":
            return Peer("unix", str(address.path), credentials(self.transport.get_extra_info("socket")))
        host, port = (self.transport.get_extra_info("peername") or ("", 0))[:2]
        return Peer("tls", authority(host, port), tls=self.tls)

    async def closed(self, seconds: float) -> int:
        """End in order: what waits is written, within so many seconds; return what is lost, as `abort`."""
        self.reader.stop()
        self.transport.close()
        try:
            await asyncio.wait_for(asyncio.shield(self._over), seconds)
        except TimeoutError:
            return self.abort()
        return 0

    def abort(self) -> int:
        """End at once; return how many bytes waited to be written, and are lost."""
        lost = self.held
        self.reader.stop()
        self._break()
        if not self._over.done():
            self.transport.abort()
        return lost


# --- made ---


async def accepted(sock: socket.socket, bounds: Bounds, tls: Tls | None) -> Stream:
    """Take a connection that was accepted; with TLS, once its handshake is done.

    Raises:
        TimeoutError: The handshake took too long.
        OSError: It failed; `ssl.SSLError` is one.
    """
    stream, loop = Stream(bounds), asyncio.get_running_loop()
    stream.reader.most = SHORT
    tune(sock)
    try:
        if tls is None:
            await loop.connect_accepted_socket(lambda: stream, sock)
            return stream
        speaking = cast("ssl.SSLContext", Speaking(tls.context, sock, lambda: stream.encrypted))
        async with asyncio.timeout(tls.handshake_seconds):
            await loop.connect_accepted_socket(lambda: stream, sock, ssl=speaking, ssl_shutdown_timeout=_SHUTDOWN)
    except BaseException:
        sock.close()
        raise
    return stream


async def dialled(address: Address, bounds: Bounds, tls: Tls | None, *, seconds: float) -> Stream:
    """Connect to an address; with TLS, do its handshake.

    Args:
        address: Where to.
        bounds: The longest frame, and what may wait to be written.
        tls: How it is secured; None for a Unix socket.
        seconds: What connecting may take, without the handshake.

    Raises:
        Unreachable: Nobody is there.
        TimeoutError: The handshake took too long.
        OSError: It failed; `ssl.SSLError` is one.
    """
    loop = asyncio.get_running_loop()
    stream = Stream(bounds)
    if address.carrier == "unix":
        async with _reaching(seconds):
            await loop.create_unix_connection(lambda: stream, str(address.path))
        tune(stream.transport.get_extra_info("socket"))
        return stream
    async with _reaching(seconds):
        transport, _ = await loop.create_connection(_Silent, address.host, address.port)
    tune(transport.get_extra_info("socket"))
    if tls is None:
        transport.set_protocol(stream)
        stream.connection_made(transport)
        transport.resume_reading()
        return stream
    try:
        async with asyncio.timeout(tls.handshake_seconds):
            name = tls.server_name or address.host
            secured = cast(
                "asyncio.Transport",
                await loop.start_tls(
                    transport, stream, tls.context, server_hostname=name, ssl_shutdown_timeout=_SHUTDOWN
                ),
            )
    except BaseException:
        transport.abort()
        raise
    stream.connection_made(secured)
    return stream


class Unreachable(OSError):
    """Nobody is there, or not in time."""


@contextlib.asynccontextmanager
async def _reaching(seconds: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise Unreachable(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)) from None
    except OSError as error:
        raise Unreachable(error.errno, str(error)) from error


class _Silent(asyncio.Protocol):
    """Leaves what comes in the socket, until somebody takes the transport over."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.Transport", transport).pause_reading()

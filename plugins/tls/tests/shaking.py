"""Handshakes in memory, of the contexts and checks that the plugin makes."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

from plugins.tls.tests.maker import NOW

from hauberk.connection import Carrier, Connection, Peer, Role
from hauberk.event import Event
from hauberk.guard import Guard
from hauberk.principal import ANONYMOUS, Principal
from hauberk.refusals import Refused
from hauberk.testing import Clock, Recorder
from hauberk.testing._loading import load
from hauberk_tls import Tls

ALPN: Final = "hauberk.jsonl/1"
TARGET: Final = "tls://files.example:8443"
PEER: Final = "203.0.113.7:51234"


class End:
    """One end of a handshake in memory: a plain context, or what the plugin made for a connection."""

    def __init__(self, context: ssl.SSLContext, *, server: bool, name: str | None = None) -> None:
        self.into, self.out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.into, self.out, server_side=server, server_hostname=name)
        self.error: Exception | None = None
        self.done = False
        self.got = b""

    def step(self, *, reading: bool = True) -> None:
        """Go on with the handshake, then read."""
        if self.error is not None or (self.done and not reading):
            return
        try:
            if not self.done:
                self.tls.do_handshake()
                self.done = True
            if reading:
                self.got += self.tls.read(65536)
        except ssl.SSLWantReadError:
            pass
        except Exception as error:  # noqa: BLE001 - what it is, is what is asked
            self.error = error


def shake(client: End, server: End, *, reading: bool = True, rounds: int = 6) -> None:
    """Let two ends speak until nothing more comes."""
    for _ in range(rounds):
        client.step(reading=reading)
        server.into.write(client.out.read())
        server.step(reading=reading)
        client.into.write(server.out.read())


class Told(NamedTuple):
    """What came of one connection."""

    code: str
    """What it was refused with; empty where it was made."""
    message: str
    hint: str
    principal: Principal
    end: End
    other: End
    connection: Connection


class Party:
    """A guard with the plugin."""

    def __init__(self, guard: Guard, recorder: Recorder, clock: Clock) -> None:
        self.guard = guard
        self.recorder = recorder
        self.clock = clock

    @property
    def plugin(self) -> Any:
        return self.guard.loaded["tls"].plugin

    def events(self, code: str) -> list[Event]:
        return self.recorder.of(code)

    async def admit(
        self, role: Role, *, target: str = TARGET, carrier: Carrier = "tls", server: str = "files"
    ) -> Connection:
        peer = PEER if role == "server" else ""
        return await self.guard.admit(server, role, target=target, carrier=carrier, peer=peer)

    def end(self, connection: Connection) -> End:
        assert connection.tls is not None
        server = connection.role == "server"
        return End(connection.tls.context, server=server, name=None if server else connection.tls.server_name)

    async def meet(
        self,
        other: ssl.SSLContext,
        role: Role = "client",
        *,
        name: str | None = "files.example",
        target: str = TARGET,
        carrier: Carrier = "tls",
        server: str = "files",
    ) -> Told:
        """Make a connection with somebody who has this context, as a carrier does."""
        connection = await self.admit(role, target=target, carrier=carrier, server=server)
        mine = self.end(connection)
        theirs = End(other, server=role == "client", name=None if role == "client" else name)
        both = (mine, theirs) if role == "client" else (theirs, mine)
        shake(*both, reading=False)
        return self.judged(connection, mine, theirs, lambda: shake(*both))

    def judged(self, connection: Connection, mine: End, theirs: End, speak: Callable[[], None]) -> Told:
        """Say what a carrier would make of a handshake; ``speak`` is the round trip after it."""
        assert connection.tls is not None
        try:
            if mine.error is not None and not mine.done:
                raise connection.tls.refusal(mine.error)
            connection.proved(Peer(connection.carrier, connection.peer or "192.0.2.1:8443", tls=mine.tls))
            speak()
            if mine.error is not None:
                raise connection.tls.refusal(mine.error)
        except Refused as error:
            self.guard.refused(connection, error)
            assert connection.principal == ANONYMOUS or mine.error is not None
            return Told(error.code, error.message, error.hint or "", connection.principal, mine, theirs, connection)
        if connection.role == "client":
            connection.tls.established(mine.tls)
        return Told("", "", "", connection.principal, mine, theirs, connection)


async def party(toml: str, folder: Path, *, at: float | None = None) -> Party:
    """Open a guard with a configuration."""
    clock = Clock(NOW.timestamp() if at is None else at)
    recorder = Recorder()
    guard = load(toml, folder, [recorder], clock)
    await guard.open()
    return Party(guard, recorder, clock)


def plain(role: Role, *, alpn: str | None = ALPN, **files: Any) -> ssl.SSLContext:
    """Return a context of the standard library, for the other side."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT if role == "client" else ssl.PROTOCOL_TLS_SERVER)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if alpn is not None:
        context.set_alpn_protocols([alpn])
    if (ca := files.get("ca")) is not None:
        context.load_verify_locations(ca)
        context.verify_mode = files.get("mode", ssl.CERT_REQUIRED)
    if (pair := files.get("pair")) is not None:
        context.load_cert_chain(*pair)
    return context


__all__ = ["ALPN", "End", "Party", "Tls", "Told", "party", "plain", "shake"]

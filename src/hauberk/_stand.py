"""Where probes are tried: a policy, a real session between two ports in memory, and an ear for every event.

The chains, the hooks and the sinks are the policy's own. What differs from a host: nobody is asked for approval, no
answer is waited for, and a refusal has the form of an error.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson
from msgspec.structs import replace

from hauberk import pipeline
from hauberk.chains import Chains, Step
from hauberk.connection import Connection, Role
from hauberk.edge import Framer, Overlong, loose_id
from hauberk.event import Event
from hauberk.guard import Guard
from hauberk.layers import Layer
from hauberk.policy import sinks_of
from hauberk.principal import DOCTOR as PRINCIPAL
from hauberk.probe import SERVER, Sent
from hauberk.refusals import HookError, Refused
from hauberk.sinks import Recorder, Sink

if TYPE_CHECKING:
    from hauberk.bounds import Bounds
    from hauberk.policy import Policy
    from hauberk.session import Session
    from hauberk.ways import Way

DOCTOR: Final = "doctor"
"""The plugin's name of what the doctor itself puts into a chain."""
PATIENCE: Final = 30.0
"""Seconds that one message of a probe may take; its chains have deadlines of their own."""
logger = logging.getLogger("hauberk")


class Heard(NamedTuple):
    """What came of the last message of a probe."""

    out: list[bytes]
    """What its receiver got."""
    codes: tuple[str, ...]
    """Of the events that it caused, in order."""
    unprepared: str = ""
    """Why a message before it did not pass."""

    @property
    def passed(self) -> list[bytes]:
        """What its receiver got, but for an error that the guard made in place of an answer."""
        return [line for line in self.out if _code(line) not in {*self.codes, "core.refused"}]


class Kept:
    """One side of a session, which keeps what is written to it."""

    bytes_only = True

    def __init__(self) -> None:
        self.got: list[bytes] = []

    def deliver(self, data: Any, ticket: Any) -> Awaitable[None] | None:  # noqa: ARG002 - the contract of a port
        self.got.append(data)
        return None

    def unanswered(self, ticket: Any) -> Awaitable[None] | None:  # noqa: ARG002 - as above
        return None


class _Recorder(Recorder):
    """The sinks of a policy; whatever they get says ``probe``."""

    muted = False
    """Whether nothing is recorded: the end of each session is none that anybody looks for."""

    def note(self, events: Sequence[Event], to: Sequence[Sink] | None = None) -> None:
        if not self.muted:
            super().note([replace(event, probe=True) for event in events], to)

    def barrier(self, events: Sequence[Event], *, results: bool = False) -> Awaitable[None] | None:
        return super().barrier([replace(event, probe=True) for event in events], results=results)


class Stand:
    """One policy under examination."""

    def __init__(self, guard: Guard, policy: Policy) -> None:
        """Make a stand.

        Args:
            guard: Whose clocks are used; it is not touched otherwise.
            policy: What is examined. Its plugins are open.
        """
        self.policy: Final = policy
        self.events: Final[list[Event]] = []
        """All that was caused so far."""
        self._guard: Final = Guard(policy.config, clock=guard.clock, now=guard.now, principal=PRINCIPAL)
        self._recorder: Final = self._record(sinks_of(policy.loaded))  # what waits here is waited for here
        self._steps: Final = [step for one in policy.loaded.values() for step in one.steps]

    def _record(self, sinks: Iterable[Sink]) -> _Recorder:
        ear = Step(DOCTOR, "on_audit", Layer.ADMIT, self.events.append)
        guard = self._guard
        return _Recorder(
            [*sinks, Sink(ear, required=False, quick=True)],
            self.policy.bounds,
            lambda event: replace(guard.complete(event), probe=True),
            guard.clock,
        )

    # --- connections ---

    async def connect(self, role: Role) -> Connection:
        """Make a connection as a host does; one that a plugin refuses is there all the same, and that is heard."""
        policy, guard = self.policy, self._guard
        connection = Connection(id=secrets.token_hex(6), host=guard.host, server=SERVER, role=role)
        connection.principal = PRINCIPAL
        code = "core.connected"
        try:
            await pipeline.connect(policy.chains.connect, connection, policy.deadline, guard.clock)
        except (Refused, HookError) as error:
            code = error.code
        await self._tell(connection, code)
        return connection

    async def disconnect(self, connection: Connection) -> None:
        """End it, and let every sink have what waits for it."""
        await self._tell(connection, "core.disconnected")
        await self.drain()

    async def _tell(self, connection: Connection, code: str) -> None:
        event = Event(code=code, category="connection", server=SERVER, exchange=connection.id, principal=PRINCIPAL.id)
        try:
            waiting = self._recorder.barrier([replace(self._guard.complete(event), source="local")])
            if waiting is not None:
                await waiting
        except Refused:
            pass  # a sink that does not record has said so to the others, and so to us

    async def drain(self) -> None:
        """Wait until every sink has what was recorded."""
        await self._recorder.close()

    # --- messages ---

    async def send(
        self,
        connection: Connection,
        messages: Sequence[Sent],
        *,
        alone: str | None = None,
        steps: Sequence[Step] = (),
        sinks: Sequence[Sink] | None = None,
        bounds: Bounds | None = None,
    ) -> Heard:
        """Send messages in a session of their own, and say what came of the last.

        Args:
            connection: From `connect`.
            messages: In the order in which they are sent.
            alone: The only plugin whose hooks stand in the chains; empty for none. Without it, all of them.
            steps: Further hooks, of the doctor.
            sinks: In place of the policy's.
            bounds: In place of the policy's.

        Raises:
            TimeoutError: A message neither passed nor stopped.
        """
        with self._varied(alone, steps, sinks, bounds), _unlogged():
            near, far = Kept(), Kept()
            session = self._guard.session(connection, near, far)
            try:
                return await self._sent(session, near, far, messages)
            finally:
                self._recorder.muted = True
                await session.close()
                self._recorder.muted = False

    async def _sent(self, session: Session, near: Kept, far: Kept, messages: Sequence[Sent]) -> Heard:
        client = near if session.connection.role == "client" else far
        for number, sent in enumerate(messages, 1):
            to_near = (sent.by == "client") == (client is far)
            way, target = (session.inn, near) if to_near else (session.out, far)
            before, heard = len(target.got), len(self.events)
            _post(session, way, sent.data)
            async with asyncio.timeout(PATIENCE):
                await session.quiet()
            codes = tuple(event.code for event in self.events[heard:])
            result = Heard(target.got[before:], codes)
            if number < len(messages) and not result.passed:
                return Heard([], codes, f"what prepares it was stopped ({', '.join(codes) or 'nobody says why'})")
        return result

    @contextmanager
    def _varied(
        self, alone: str | None, steps: Sequence[Step], sinks: Sequence[Sink] | None, bounds: Bounds | None
    ) -> Iterator[None]:
        """Put a policy in force that differs in this."""
        policy, loaded = self.policy, self.policy.loaded
        theirs = self._steps if alone is None else loaded[alone].steps if alone else ()
        self._guard.policy = replace(
            policy,
            chains=policy.chains if alone is None and not steps else Chains([*theirs, *steps]),
            recorder=self._recorder if sinks is None else self._record(sinks),
            bounds=policy.bounds if bounds is None else bounds,
            approvers=(),
            request_timeout=None,
            refuses_as_result=False,
        )
        yield


def _post(session: Session, way: Way, line: bytes) -> None:
    """Take a line as a carrier does: the framer first."""
    for frame in Framer(session.bounds).feed(line + b"\n"):
        if isinstance(frame, Overlong):
            session.overlong(way, frame.size, loose_id(frame.head, frame.tail))
        else:
            session.receive(way, frame)


@contextmanager
def _unlogged() -> Iterator[None]:
    """Leave out of the log what the doctor's own hooks do wrong: they are meant to."""

    def not_ours(record: logging.LogRecord) -> bool:
        return not (record.args and isinstance(record.args, tuple) and record.args[0] == DOCTOR)

    logger.addFilter(not_ours)
    try:
        yield
    finally:
        logger.removeFilter(not_ours)


def _code(line: bytes) -> Any:
    """Return the code of an error, if it is one that a guard made."""
    try:
        return orjson.loads(line)["error"]["data"]["code"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None

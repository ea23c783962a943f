"""What a host does beside the writing of its log: checkpoints, heartbeats, and files that are to go.

Nothing of it is on the way of a message. In the event loop there are the timer of the heartbeat, and the record of what
went wrong in the thread of the others.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

from hauberk.event import Event, Severity, id_source
from hauberk.refusals import HauberkError, PluginError
from hauberk_audit._bounds import BOUNDS
from hauberk_audit._entry import render
from hauberk_audit.writing._heartbeat import EVERY, HEARTBEAT, Heartbeat

if TYPE_CHECKING:
    from hauberk.config import Config
    from hauberk.policy import GuardView
    from hauberk_audit._options import Options
    from hauberk_audit.checkpoints._caretaker import Caretaker
    from hauberk_audit.checkpoints._checkpoints import Checkpointer
    from hauberk_audit.checkpoints._note import Signer
    from hauberk_audit.checkpoints._sinks import Sink
    from hauberk_audit.writing._writer import Writer

logger = logging.getLogger("hauberk.audit")
_LOOK: Final = 60.0
"""Seconds between two looks at the files, where no checkpoints are made."""


@final
class Care:
    """Looks after one log. What a host does not ask for is not imported."""

    def __init__(self, options: Options, settings: Config, guard: GuardView, *, log: Path, required: bool) -> None:
        """Nothing is opened, made or read before `prepare`.

        Args:
            options: Those of the log.
            settings: Where they are from.
            guard: Whose log it is.
            log: The log as it is configured.
            required: Whether what cannot be recorded does not pass.
        """
        self.options: Final = options.checkpoints
        self.production: Final = settings.production
        self.sinks: list[tuple[str, Sink]] = []
        self._rotation: Final = options.rotation
        self._every: Final = (EVERY if required else 0.0) if options.heartbeat is None else options.heartbeat
        self._settings: Final = settings
        self._guard: Final = guard
        self._log: Final = log
        self._next_id: Final = id_source()  # the guard's own is for its event loop
        self._signer: Signer | None = None
        self._caretaker: Caretaker | None = None
        self._checkpointer: Checkpointer | None = None
        self._heartbeat: Heartbeat | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._looked = False

    def prepare(self) -> None:
        """Read the key of the checkpoints, and see who gets them.

        Raises:
            ConfigError: The operator must change something.
            PluginError: A package that brings a sink cannot be used.
        """
        if not self.options.sinks:
            return
        from hauberk_audit.checkpoints import _checkpoint_keys as own

        self.sinks = own.make_sinks(self.options, self._settings)
        name = own.origin_of(self.options, self._log, self._settings.host, self._log)
        self._signer = own.signer_for(own.key_path(self.options, self._settings), name, production=self.production)

    def start(self, writer: Writer) -> None:
        """Begin to look after the log of a writer."""
        self._loop = asyncio.get_running_loop()
        if self._every:
            self._heartbeat = Heartbeat(self._every, lambda: writer.wrote, self._guard.clock, self._beat)
            self._heartbeat.start()
        if self._signer is None and not self._rotation.prunes:
            return
        from hauberk_audit.checkpoints import _checkpoint_keys as own
        from hauberk_audit.checkpoints._caretaker import Caretaker

        path = writer.log.path
        origin = own.origin_of(self.options, self._log, self._settings.host, path)
        self._caretaker = Caretaker(_LOOK if self._signer is None else self.options.interval)
        jobs: list[Callable[[], None]] = []
        if self._signer is not None:
            self._checkpointer = self._checkpoints(writer, self._signer, origin, self._caretaker)
            jobs += [self._look, self._checkpointer.round]
        if self._rotation.prunes:
            jobs.append(self._retention(writer, path, origin, self._caretaker))
        self._caretaker.start(jobs)

    def check(self) -> None:
        """Check that what was written is in a checkpoint, where it has to be.

        Raises:
            PluginError: It is in none for too long.
        """
        if self._checkpointer is not None and self._checkpointer.overdue and self.options.required:
            raise PluginError(
                f"no sink has taken a checkpoint of audit log {str(self._log)!r} for over {self.options.max_age:g} s",
                hint="see the event audit.checkpoint_failed: why none can be made, or kept",
            )

    def anchor(self) -> str | None:
        """Make a checkpoint of all that is written, now, and return what is wrong; this waits."""
        if self._caretaker is None or self._checkpointer is None:
            return "nobody gets a checkpoint"
        if not self._caretaker.now(BOUNDS.farewell):
            return f"a checkpoint was not made within {BOUNDS.farewell:g} s"
        return "; ".join(self._checkpointer.faults) or None

    async def close(self) -> None:
        """Make a last checkpoint, and end."""
        heartbeat, self._heartbeat = self._heartbeat, None
        if heartbeat is not None:
            heartbeat.stop()
        caretaker, self._caretaker = self._caretaker, None
        if caretaker is not None and not await asyncio.to_thread(caretaker.close):
            logger.error("the last checkpoint of the audit log was not made within %g s", BOUNDS.farewell)

    # --- in the thread ---

    def _checkpoints(self, writer: Writer, signer: Signer, origin: str, caretaker: Caretaker) -> Checkpointer:
        from hauberk_audit.checkpoints._checkpoints import Checkpointer

        return Checkpointer(
            writer.log.path,
            signer,
            origin,
            self.sinks,
            reached=writer.reached,
            now=self._guard.now,
            clock=self._guard.clock,
            max_age=self.options.max_age,
            tell=self._tell,
            pause=caretaker.pause,
        )

    def _retention(self, writer: Writer, path: Path, origin: str, caretaker: Caretaker) -> Callable[[], None]:
        from hauberk_audit.checkpoints._retention import Retention

        checkpointer = self._checkpointer
        return Retention(
            path,
            self._rotation,
            signer=self._signer,
            origin=origin,
            who=f"host:{self._guard.host}",
            now=self._guard.now,
            record=lambda code, details: writer.insert(self._entry(code, details)),
            anchored=None if checkpointer is None else lambda: checkpointer.anchored,
            tell=self._tell,
            pause=caretaker.pause,
        ).round

    def _look(self) -> None:
        """Say once which sinks are no anchor."""
        if self._looked:
            return
        self._looked = True
        for name, sink in self.sinks:
            try:
                why = sink.within_reach()
            except HauberkError:
                continue  # it will not take a checkpoint either, and that is said
            if why:
                logger.warning("checkpoints in %r are no anchor: %s", name, why)

    def _entry(self, code: str, details: dict[str, Any]) -> bytes:
        g = self._guard
        return render(
            Event(code=code, id=self._next_id(), time=g.now(), category="system", host=g.host, details=details)
        )

    def _tell(self, code: str, severity: Severity, count: int, details: dict[str, Any]) -> None:
        """Record an event of the thread, in the event loop."""
        if severity != "info":
            logger.warning("%s: %s", code, ", ".join(f"{key} {value}" for key, value in details.items()))
        event = Event(code=code, category="system", severity=severity, count=count, details=details)
        try:
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._guard.emit, event)
        except RuntimeError:  # the loop is closed
            return

    def _beat(self) -> None:
        self._guard.emit(Event(code=HEARTBEAT, category="system"))

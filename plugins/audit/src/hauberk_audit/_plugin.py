"""The hook: each event of the host becomes one entry of its log."""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from hauberk.event import Event, Severity
from hauberk.hookspecs import hookimpl
from hauberk.layers import Layer
from hauberk.refusals import PluginError
from hauberk_audit import _options
from hauberk_audit._chain import Chain
from hauberk_audit._entry import render
from hauberk_audit._log import Log
from hauberk_audit._opened import opened
from hauberk_audit._rotation import Rotator
from hauberk_audit._writer import Durability, Writer

if TYPE_CHECKING:
    import click

    from hauberk.guard import Guard
    from hauberk.probe import Probe

logger = logging.getLogger("hauberk.audit")


class Audit:
    """A log in which what is changed, removed or moved shows (S3.1, S3.2)."""

    name = "audit"
    layer = Layer.ADMIT
    Options = _options.Options
    safe_default = _options.Options()

    def __init__(self, options: _options.Options, guard: Guard) -> None:
        """Settle where the log is; nothing is opened, made or read before `open`."""
        settings = guard.config
        for server in settings.servers:
            _options.same_for(server, guard.options_for(self, server), options, settings)
        self.path: Final = _options.log_path(options, settings)
        self.key_file: Final = _options.key_path(options, settings)
        self.required: Final = settings.production if options.required is None else options.required
        self.durability: Final[Durability] = options.durability or ("group" if self.required else "interval")
        self.quick: Final = not self.required and self.durability != "event"
        """Events are only put aside for the thread that writes."""
        self._rotation: Final = options.rotation
        self._guard: Final = guard
        self._writer: Writer | None = None
        self._failing = False

    def adopt(self, old: Any) -> None:
        """Go on with the open log of the one that runs, if it is the same file under the same key; used by `open`."""
        writer = getattr(old, "_writer", None)
        if isinstance(writer, Writer) and (old.path, old.key_file) == (self.path, self.key_file) and writer.log.usable:
            self._writer = writer.share(self.durability)  # the same one, so that events stay in their order

    async def open(self) -> None:
        """Go on with the chain of the log.

        Raises:
            ConfigError: The log or its key cannot be used.
            PluginError: The chain cannot go on from what is there.
        """
        if self._writer is not None:
            return
        key = _options.key_for(self.key_file, self.path, production=self._guard.config.production)
        rotator = Rotator(self._rotation, self._guard.now, self._said)
        log = Log.open(self.path, Chain(key), sync=True, rotator=rotator)
        for code, details, severity in opened(log):
            log.append(self._said(code, details, severity))
        self._writer = Writer(log, compress=self._rotation.compress).share(self.durability)

    async def close(self) -> None:
        """Bring the log to the disk and let go of it."""
        writer, self._writer = self._writer, None
        if writer is None:
            return
        try:
            writer.leave(self.durability)
        except PluginError as error:
            self._say(error)

    @hookimpl
    def on_audit(self, event: Event) -> None:
        """Take an event for the log."""
        if self._writer is None:
            raise PluginError("audit log is not open", hint="use the guard as an async context manager")
        try:
            self._writer.put(event, self.durability)
        except PluginError as error:
            self._say(error)
            raise
        if self.quick or self.durability == "event":
            self._failing = False

    def settled(self) -> Awaitable[None] | None:
        """Return None if all events that were given are recorded, else what is to be awaited."""
        waiting = None if self._writer is None else self._writer.settled()
        return None if waiting is None else self._told(waiting)

    async def _told(self, waiting: Awaitable[None]) -> None:
        try:
            await waiting
        except PluginError as error:
            self._say(error)
            raise
        self._failing = False

    def log_path(self) -> Path:
        """Return the log that is written: `path`, or the sibling that was free when it was opened."""
        return self.path if self._writer is None else self._writer.log.path

    def flush(self) -> None:
        """Write what waits for company.

        Raises:
            PluginError: It could not be written.
        """
        if self._writer is not None:
            self._writer.flush()

    def probes(self) -> list[Probe]:
        """Return what shows that the log is live."""
        from hauberk_audit._probes import probes  # in development a host starts without them

        return probes(self)

    def _say(self, error: PluginError) -> None:
        if not self._failing:
            logger.error("%s", error)
        self._failing = True

    def _said(self, code: str, details: dict[str, Any], severity: Severity = "info") -> bytes:
        """Return an entry of the log's own."""
        g = self._guard
        event = Event(
            code=code, id=g.next_id(), time=g.now(), category="system", severity=severity, host=g.host, details=details
        )
        return render(event)

    @staticmethod
    def commands() -> click.Group:
        """Return the commands under ``hauberk audit``."""
        from hauberk_audit._commands import audit

        return audit

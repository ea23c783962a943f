"""The hook: each event of the host becomes one entry of its log."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from hauberk.event import Event, Severity
from hauberk.hookspecs import hookimpl
from hauberk.layers import Layer
from hauberk.refusals import PluginError
from hauberk_audit import _options
from hauberk_audit._batch import Batch
from hauberk_audit._chain import Chain
from hauberk_audit._entry import render
from hauberk_audit._log import Log

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
        self._sync: Final = bool(self.required) if options.sync is None else options.sync
        self.quick: Final = not (self.required or self._sync)
        """Events are put aside and written many at once."""
        self._guard: Final = guard
        self._log: Log | None = None
        self._batch: Batch | None = None
        self._failing = False

    def adopt(self, old: Any) -> None:
        """Go on with the open log of the one that runs, if it is the same file under the same key; used by `open`."""
        log = getattr(old, "_log", None)
        if not isinstance(log, Log) or (old.path, old.key_file) != (self.path, self.key_file) or not log.usable:
            return
        self._log = log.share(sync=self._sync)
        if self.quick:
            self._batch = getattr(old, "_batch", None) or Batch(log)  # the same one, so that events stay in their order

    async def open(self) -> None:
        """Go on with the chain of the log.

        Raises:
            ConfigError: The log or its key cannot be used.
            PluginError: The chain cannot go on from what is there.
        """
        if self._log is not None:
            return
        key = _options.key_for(self.key_file, self.path, production=self._guard.config.production)
        self._log = log = Log.open(self.path, Chain(key), sync=self._sync)
        self._batch = Batch(log) if self.quick else None
        if not log.sequence:
            self._note(log, "audit.chain_started", {"file": log.path.name})
        if log.torn is not None:
            self._note(log, "audit.recovered", {"bytes": log.torn.size, "file": log.torn.path.name}, "warning")

    async def close(self) -> None:
        """Bring the log to the disk and let go of it."""
        log, self._log = self._log, None
        if log is None:
            return
        try:
            if self._batch is not None:
                self._batch.close()
        except PluginError as error:
            self._say(error)
        finally:
            log.close(sync=self._sync)

    @hookimpl
    def on_audit(self, event: Event) -> None:
        """Record an event."""
        if self._log is None:
            raise PluginError("audit log is not open", hint="use the guard as an async context manager")
        try:
            if self._batch is None:
                self._log.append(render(event))
            else:
                self._batch.add(event)
        except PluginError as error:
            self._say(error)
            raise
        self._failing = False

    def log_path(self) -> Path:
        """Return the log that is written: `path`, or the sibling that was free when it was opened."""
        return self.path if self._log is None else self._log.path

    def flush(self) -> None:
        """Write what waits for company.

        Raises:
            PluginError: It could not be written.
        """
        if self._batch is not None:
            self._batch.close()

    def probes(self) -> list[Probe]:
        """Return what shows that the log is live."""
        from hauberk_audit._probes import probes  # in development a host starts without them

        return probes(self)

    def _say(self, error: PluginError) -> None:
        if not self._failing:
            logger.error("%s", error)
        self._failing = True

    def _note(self, log: Log, code: str, details: dict[str, Any], severity: Severity = "info") -> None:
        g = self._guard
        event = Event(
            code=code, id=g.next_id(), time=g.now(), category="system", severity=severity, host=g.host, details=details
        )
        log.append(render(event))

    @staticmethod
    def commands() -> click.Group:
        """Return the commands under ``hauberk audit``."""
        from hauberk_audit._commands import audit

        return audit

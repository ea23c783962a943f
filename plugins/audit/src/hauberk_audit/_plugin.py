"""The hook: each event of the host becomes one entry of its log."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, cast

from msgspec.structs import replace

from hauberk.event import Event, Severity
from hauberk.hookspecs import hookimpl
from hauberk.layers import Layer
from hauberk.refusals import PluginError
from hauberk_audit import _options
from hauberk_audit._bounds import BOUNDS
from hauberk_audit._entry import render
from hauberk_audit.checkpoints._care import Care
from hauberk_audit.policies._keeper import LOADED, Keeper
from hauberk_audit.sealing import _encryption
from hauberk_audit.writing._custody import key_id
from hauberk_audit.writing._log import Log
from hauberk_audit.writing._opened import opened
from hauberk_audit.writing._rotation import Rotator
from hauberk_audit.writing._writer import Durability, Writer

if TYPE_CHECKING:
    import click

    from hauberk.config import Config
    from hauberk.policy import GuardView
    from hauberk.probe import Probe
    from hauberk.signatures import Signed
    from hauberk_audit.sealing._opening import Opener

logger = logging.getLogger("hauberk.audit")


CLAIMED: Final = "audit.claimed"
_OWN: Final = frozenset(
    {
        "audit.chain_started",
        "audit.chain_reset",
        "audit.continued",
        "audit.pruned",
        "audit.recovered",
        "audit.rekeyed",
        "audit.rotation",
        "audit.state_lost",
    }
)
"""What only the log says of itself, in entries that no event becomes: a plugin could else end a file, or let one go."""
_SPECIAL: Final = _OWN | {LOADED}


class Audit:
    """A log in which what is changed, removed or moved shows (S3.1, S3.2)."""

    name = "audit"
    layer = Layer.ADMIT
    Options = _options.Options
    safe_default = _options.Options()

    def __new__(cls, options: _options.Options, guard: GuardView) -> Self:  # noqa: ARG004 - as `__init__`
        """Give a log that sees calls only where the policy names arguments of them."""
        if cls is not Audit or not options.arguments:
            return super().__new__(cls)
        from hauberk_audit._naming import Naming

        return cast("Self", super().__new__(Naming))

    def __init__(self, options: _options.Options, guard: GuardView) -> None:
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
        self._ratchet: Final = settings.production if options.ratchet is None else options.ratchet
        self.encryption: Final = options.encryption
        _encryption.check(options.encryption, settings)
        self._rotation: Final = options.rotation
        self._guard: Final = guard
        self._keeper: Final = Keeper(guard, self.path, required=bool(self.required))
        self._writer: Writer | None = None
        self._direct: Writer | None = None
        """The same one, while events are only put aside for it and nothing is the matter."""
        self._care: Final = Care(options, settings, guard, log=self.path, required=bool(self.required))
        self._failing = False

    def adopt(self, old: Any) -> None:
        """Go on with the open log of the one that runs, if it is the same file under the same key; used by `open`."""
        writer = getattr(old, "_writer", None)
        kept = (self.path, self.key_file, self.encryption)
        if isinstance(writer, Writer) and (old.path, old.key_file, old.encryption) == kept and writer.log.usable:
            self._writer = writer.share(self.durability)  # the same one, so that events stay in their order

    async def open(self) -> None:
        """Go on with the chain of the log.

        Raises:
            ConfigError: The log or its key cannot be used, or the history of policies, where it has to be kept.
            PluginError: The chain cannot go on from what is there.
        """
        self._care.prepare()
        if self._writer is not None:
            self._keeper.open()
            self._care.start(self._writer)
            self._works()
            return
        production = self._guard.config.production
        key = _options.key_for(self.key_file, self.path, production=production, ratchet=self._ratchet)
        sealing = _encryption.sealing_for(self.encryption, self._guard.config, self.path, key_id(key))
        self._keeper.open()  # before the log: what fails here leaves nothing open
        rotator = Rotator(self._rotation, self._guard.now, self._said)
        log = Log.open(self.path, key, sync=True, rotator=rotator, sealing=sealing)
        try:
            for code, details, severity in opened(log):
                log.append(self._said(code, details, severity))
        except BaseException:
            with suppress(OSError):
                log.close(whole=False)
            raise
        writer = Writer(log, compress=self._rotation.compress, clock=self._guard.clock)
        self._writer = writer.share(self.durability)
        self._care.start(writer)
        self._works()

    async def close(self) -> None:
        """Bring the log to the disk, make the last checkpoint of it, and let go of it."""
        try:
            self.flush()
        except PluginError as error:
            self._say(error)
        try:
            await self._care.close()
        finally:
            self._leave()

    def _leave(self) -> None:
        writer, self._writer, self._direct = self._writer, None, None
        if writer is None:
            return
        try:
            writer.leave(self.durability)
        except PluginError as error:
            self._say(error)

    @hookimpl
    def on_audit(self, event: Event) -> None:
        """Take an event for the log."""
        writer = self._direct
        if writer is None or event.code in _SPECIAL:
            self._take(event)
            return
        fresh = writer.fresh  # as `Writer.put`: while there is nothing to attend to, that is all
        fresh.append(event)
        if writer.timer is None or writer.error is not None or len(fresh) >= BOUNDS.batch:
            try:
                writer.attend(self.durability)
            except PluginError as error:
                self._say(error)
                raise

    def _take(self, event: Event) -> None:
        """Take an event that is a special one, or where something is the matter."""
        if self._writer is None:
            raise PluginError("audit log is not open", hint="use the guard as an async context manager")
        more = None
        if event.code == LOADED:
            event, more = self._keeper.seen(event)
        elif event.code in _OWN:
            event = replace(event, code=CLAIMED, severity="critical", details={"code": event.code})
        try:
            self._writer.put(event, self.durability)
        except PluginError as error:
            self._say(error)
            raise
        if more is not None:
            self._guard.emit(more)
        if self._keeper.fault is not None:
            self._say(self._keeper.fault)
            raise self._keeper.fault.with_traceback(None)
        if self.quick or self.durability == "event":
            self._works()

    def settled(self) -> Awaitable[None] | None:
        """Return None if all events that were given are recorded, else what is to be awaited."""
        self._care.check()
        waiting = None if self._writer is None else self._writer.settled()
        return None if waiting is None else self._told(waiting)

    async def _told(self, waiting: Awaitable[None]) -> None:
        try:
            await waiting
        except PluginError as error:
            self._say(error)
            raise
        self._works()

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

    def opener(self) -> Opener:
        """Return what opens the entries of the log, with the keys of the configuration that are at hand."""
        from hauberk_audit.sealing._opening import Opener

        return Opener(_encryption.at_hand(self.encryption, self._guard.config).providers)

    def record_probe(self) -> str | None:
        """Record one entry with a key that is gone afterwards; return why it is not signed with it."""
        from hauberk_audit._probes import unsigned

        writer = self._writer
        rung = None if writer is None else writer.log.rung
        if writer is None or rung is None:
            return "the key of the log goes forward, and its log does not"
        self.on_audit(replace(self._event("audit.probed", {}, "info"), probe=True))
        writer.flush()
        return unsigned(self.log_path(), rung)

    def probes(self) -> list[Probe]:
        """Return what shows that the log is live, and that policies and checkpoints are kept."""
        from hauberk_audit._probes import probes
        from hauberk_audit.checkpoints._anchor_probes import anchor_probes  # in development a host starts without them
        from hauberk_audit.policies._probes import probes as of_policies

        return [*probes(self), *of_policies(self._guard, self._keeper), *anchor_probes(self._care, self.flush)]

    def _say(self, error: PluginError) -> None:
        if not self._failing:
            logger.error("%s", error)
        self._failing, self._direct = True, None

    def _works(self) -> None:
        """Take events on the short way again, where that is all that is to be done with them."""
        self._failing = False
        if self.durability != "event" and self._keeper.fault is None:
            self._direct = self._writer

    def _said(self, code: str, details: dict[str, Any], severity: Severity = "info") -> bytes:
        """Return an entry of the log's own."""
        return render(self._event(code, details, severity))

    def _event(self, code: str, details: dict[str, Any], severity: Severity) -> Event:
        g = self._guard
        return Event(
            code=code, id=g.next_id(), time=g.now(), category="system", severity=severity, host=g.host, details=details
        )

    @staticmethod
    def check_signature(config: Config, policy_file: str, stores: Sequence[Path], now: float) -> Signed | None:
        """Return what trust stores say of a policy (`hauberk_audit.policies._check.check`)."""
        from hauberk_audit.policies._check import check

        return check(config, policy_file, stores, now)

    @staticmethod
    def commands() -> tuple[click.Group, ...]:
        """Return the commands under ``hauberk audit`` and ``hauberk policy``."""
        from hauberk_audit._commands import audit
        from hauberk_audit.policies._commands import policy

        return audit, policy

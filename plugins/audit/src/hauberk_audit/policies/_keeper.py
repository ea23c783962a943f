"""Keeps what comes into force: a row of the history for the event that says so, and in the event the hash of the row.

The rules:

1. What is kept is what the guard read and enforces (`hauberk.config.Config.content`), at the moment in which
   ``policy.loaded`` is recorded: before a reload puts it in force, and before a host that starts lets anything through.
2. The entry of ``policy.loaded`` names the row, so the chain of the log holds the chain of the history.
3. Where the log is required, or signatures are enforced, a policy that cannot be kept is not put in force; a host that
   cannot keep the one with which it starts lets nothing pass. Elsewhere it is ``audit.history_failed``.
4. A policy that is another one than at the last start is ``policy.changed``, though nothing was reloaded (S3.18).
5. Doctors and probes put nothing in force, and leave no row.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from hauberk import differences
from hauberk.event import Event
from hauberk.refusals import HauberkError, PluginError
from hauberk.reloading import policy_changed
from hauberk_audit.policies._history import Contents, History, Told
from hauberk_audit.policies._rows import How, Row, place_of, text, version_of

if TYPE_CHECKING:
    from hauberk.policy import GuardView

LOADED: Final = "policy.loaded"


class Keeper:
    """What one plugin object keeps of its policy."""

    def __init__(self, guard: GuardView, log: Path, *, required: bool) -> None:
        """Say what is to be kept; nothing is read or written yet.

        Args:
            guard: The guard, with the policy.
            log: The audit log.
            required: Whether nothing passes under a policy that is not kept; so it is where signatures are enforced.
        """
        self._guard: Final = guard
        self._enforced: Final = guard.signed is not None and guard.signed.enforced
        self._required: Final = required or self._enforced
        self.history: Final = History.of(guard.config, log)
        self.fault: PluginError | None = None
        """Why nothing passes: what is in force could not be kept."""

    def open(self) -> None:
        """Check that a policy can be kept, where it has to be.

        Raises:
            ConfigError: It cannot.
        """
        if self._required:
            self.history.check()

    def seen(self, event: Event) -> tuple[Event, Event | None]:
        """Keep the policy of a ``policy.loaded``.

        Returns:
            The event as the log gets it, and another one that everybody is to be told, if there is one.
        """
        details, config = event.details, self._guard.config
        if event.probe or details.get("policy_version") != config.version:
            return event, None
        how: How = "startup" if details.get("loaded_by") == "startup" else "reload"
        made, local = self._row(event, how), self._guard.loaded.get("policy")
        contents = Contents(config.content, b"" if local is None else local.content)
        try:
            row, is_new = self.history.record(made, contents, self._compared, strict=self._enforced)
        except HauberkError as error:
            return event, self._failed(error)
        named = {"history_row": row.number, "history_hash": row.hash}
        changed = None
        if is_new and how == "startup" and row.prev_version:
            changed = policy_changed(config, row.prev_version, row.summary, row.diff, row.changed_by)
        return msgspec.structs.replace(event, details=details | named), changed

    def _row(self, event: Event, how: How) -> Row:
        guard, details, signed = self._guard, event.details, self._guard.signed
        row = Row(
            number=0,
            version=guard.config.version,
            policy_name=text(details.get("policy_name", "")),
            place=place_of(guard.config),
            host=guard.host,
            policy_file=str(details.get("policy_file", "")),
            loaded_at=event.time or guard.now(),
            how=how,
            changed_by=text(details.get("changed_by", "")),
        )
        if signed is None:
            return row
        return msgspec.structs.replace(
            row,
            signature=text(signed.fault) or "valid",
            signer=signed.signer,
            key_id=signed.key_id,
            serial=signed.serial,
        )

    def _compared(self, before: Row, content: bytes, after: Row) -> Told:
        """Compare what was in force in this place with what is now."""
        config = self._guard.config
        kinds = {name: getattr(one.plugin, "Options", None) for name, one in self._guard.loaded.items()}
        if version_of(content) != before.version:  # somebody changed it in the history
            return "cannot be compared", ()
        try:
            old = differences.like(config, content)
        except HauberkError:  # it was sound to the hauberk that loaded it
            return "cannot be compared", ()
        diff = differences.between(old, config, kinds, local=(before.policy_file, after.policy_file))
        return diff.summary, tuple(map(text, diff.lines))

    def _failed(self, error: HauberkError) -> Event | None:
        if self._required:
            self.fault = PluginError(
                f"the policy in force is not kept: {error.message}",
                hint=f"{error.hint or 'see the state directory'}; then start the host anew",
            )
            return None
        details = {"reason": error.message}
        return Event(
            code="audit.history_failed", category="policy", severity="warning", plugin="audit", details=details
        )

"""Files of a log that go by themselves while its host runs, as ``[audit.rotation] keep`` and ``keep_days`` say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, final

from hauberk.event import Severity
from hauberk.refusals import HauberkError
from hauberk_audit._entry import rfc3339
from hauberk_audit.checkpoints._checkpoint import Cut
from hauberk_audit.checkpoints._note import Signer
from hauberk_audit.checkpoints._pruned import PRUNED, Keep, cut_data, cut_note, details, execute, own_cut, plan, sweep
from hauberk_audit.writing._rotation import Rotation

FAILED: Final = "audit.prune_failed"
_DAY: Final = 86_400

Tell = Callable[[str, Severity, int, dict[str, Any]], None]


@final
class Retention:
    """Lets the oldest files of one log go. It is used by one thread."""

    def __init__(
        self,
        path: Path,
        rotation: Rotation,
        *,
        signer: Signer | None,
        origin: str,
        who: str,
        now: Callable[[], float],
        record: Callable[[str, dict[str, Any]], None],
        anchored: Callable[[], int] | None,
        tell: Tell,
        pause: Callable[[], object],
    ) -> None:
        """Nothing is looked at before the first round.

        Args:
            path: The log.
            rotation: Which of its files stay.
            signer: The key of its checkpoints, if there are any.
            origin: What names it in them.
            who: On whose behalf files go.
            now: Seconds since 1970.
            record: Writes an entry, and returns when it is on the disk.
            anchored: How many entries are in a checkpoint that somebody keeps: no others go.
            tell: Records an event.
            pause: Is called while a file is read.
        """
        self._path: Final = path
        self._rotation: Final = rotation
        self._signer: Final = signer
        self._origin: Final = origin
        self._who: Final = who
        self._now: Final = now
        self._record: Final = record
        self._anchored: Final = anchored
        self._tell: Final = tell
        self._pause: Final = pause
        self._fault = ""
        self._known: tuple[bytes, Cut] | None = None
        """The cut that was found to be of this log: to find that can take the reading of all of it."""

    def round(self) -> None:
        """Let go what is to go."""
        try:
            begun = self._begun()
            if begun is not None:
                sweep(self._path, begun)
            self._prune(begun)
        except (HauberkError, OSError) as error:
            reason = str(getattr(error, "strerror", "") or error)
            if reason != self._fault:
                self._tell(FAILED, "warning", 1, {"reason": reason})
            self._fault = reason
        else:
            self._fault = ""

    def _begun(self) -> Cut | None:
        data = cut_data(self._path)
        if data is None:
            return None
        if self._known is None or self._known[0] != data:
            begun = own_cut(self._path, self._signer, pause=self._pause)
            self._known = None if begun is None else (data, begun)
            return begun
        return self._known[1]

    def _prune(self, begun: Cut | None) -> None:
        keep, days = self._rotation.keep, self._rotation.keep_days
        now = self._now()
        wanted = Keep(None if days is None else now - days * _DAY, keep)
        found = plan(self._path, wanted, self._pause, begun=begun, signer=self._signer)
        if found is None or (self._anchored is not None and self._anchored() < found.cut.size):
            return
        why = " and ".join(f"{key} = {value:g}" for key, value in (("keep", keep), ("keep_days", days)) if value)
        note = cut_note(found.cut, self._origin, rfc3339(now), self._signer)
        execute(
            self._path, found, lambda: self._record(PRUNED, details(found, f"[audit.rotation] {why}", self._who)), note
        )

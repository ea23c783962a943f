"""The table ``[pins]``, and where the lock is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from hauberk import config
from hauberk.config import Narrow
from hauberk_pins._decide import OnChange, Stance
from hauberk_pins._items import LOCK_NAME


class Options(config.Options, frozen=True, kw_only=True):
    """``[pins]``."""

    lock: Path | None = None
    """The file for review; without it, ``hauberk.lock`` beside the configuration."""
    auto_trust_first: Annotated[bool, Narrow.AND] = False
    """Whether the first sight of an item is its pin; without it, only ``hauberk pins trust`` makes a pin."""
    on_change: Annotated[OnChange, Narrow.strictest("block", "alert", "allow")] = "block"
    """What becomes of an item that is not what was pinned: hidden and refused, a warning, or a note."""

    @property
    def stance(self) -> Stance:
        """Return what is to be done."""
        return Stance(self.auto_trust_first, self.on_change)


def lock_path(options: Options, settings: config.Config) -> Path | None:
    """Return where the file for review is; None of a configuration that is no file and names none."""
    if options.lock is not None:
        return options.lock
    return None if settings.path is None else settings.path.parent / LOCK_NAME

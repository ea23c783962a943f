"""How busy the machine is: looked at by a thread of its own, so that no message waits for a look.

A disk that hangs holds up that thread and nothing else: what was known last stays known, and that it is old is told.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

from hauberk.refusals import PluginError
from hauberk_bulkhead._hysteresis import Level
from hauberk_bulkhead._options import Shedding

Looking = Callable[[], dict[str, float]]


class Change(NamedTuple):
    """What one look changed."""

    what: str
    """``cpu``, ``memory`` or ``disk``."""
    sheds: bool
    percent: float


class Load:
    """What is known of the machine's load, and what follows of it."""

    def __init__(self, options: Shedding) -> None:
        high = {"cpu": options.cpu_percent, "memory": options.memory_percent, "disk": options.disk_percent}
        self._levels: Final = {
            what: Level(percent, options.margin_percent, options.samples)
            for what, percent in high.items()
            if percent is not None
        }
        self.percent: dict[str, float] = {}
        """The last look."""
        self.sheds: tuple[str, ...] = ()
        """Whose threshold is passed; new requests are refused while there is one."""

    @property
    def watched(self) -> frozenset[str]:
        """What has a threshold."""
        return frozenset(self._levels)

    def see(self, percent: dict[str, float]) -> list[Change]:
        """Take one look; return what it changed."""
        self.percent = percent
        changed = [
            Change(what, level.sheds, percent[what])
            for what, level in self._levels.items()
            if what in percent and level.see(percent[what])
        ]
        self.sheds = tuple(what for what, level in self._levels.items() if level.sheds)
        return changed


class Sampler:
    """Looks at the machine every so often, in a thread."""

    def __init__(self, look: Looking, seconds: float, tell: Callable[[dict[str, float]], object]) -> None:
        """Say how.

        Args:
            look: Looks; may take long, and may fail.
            seconds: Between two looks.
            tell: Is called in the thread with what was seen.
        """
        self._look: Final = look
        self._seconds: Final = seconds
        self._tell: Final = tell
        self._over: Final = threading.Event()
        self._thread: Final = threading.Thread(target=self._run, name="hauberk-bulkhead-load", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more; a look that hangs is not waited for."""
        self._over.set()

    def _run(self) -> None:
        while not self._over.wait(self._seconds):
            try:
                seen = self._look()
            except Exception:  # noqa: BLE001, S112 - no look; after some of these it is told that what is known is old
                continue
            if not self._over.is_set():
                self._tell(seen)


def looking(watched: frozenset[str], disk: Path) -> Looking:
    """Return what looks at the machine (psutil, which is loaded here).

    Raises:
        PluginError: It is not installed.
    """
    try:
        import psutil  # type: ignore[import-untyped]  # only here: a host without shedding does not load it
    except ImportError:
        raise PluginError(
            "[bulkhead.shedding] needs the package 'psutil', which is not installed", hint="pip install psutil"
        ) from None

    uses: dict[str, Callable[[], Any]] = {
        "cpu": psutil.cpu_percent,  # since the last call
        "memory": lambda: psutil.virtual_memory().percent,
        "disk": lambda: psutil.disk_usage(str(disk)).percent,
    }
    psutil.cpu_percent()
    return lambda: {what: float(uses[what]()) for what in uses if what in watched}

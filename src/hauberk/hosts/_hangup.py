"""SIGHUP: the configuration is read again. It ends nothing, whatever the file says."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from hauberk.refusals import HauberkError

if TYPE_CHECKING:
    from hauberk.guard import Guard

logger = logging.getLogger("hauberk")
_HANGUP: Final = getattr(signal, "SIGHUP", None)
"""None where the platform has no such signal."""


class _Reloads:
    """Reloads on demand: one after the other, and one more where it is asked for during one."""

    def __init__(self, guard: Guard) -> None:
        self._guard: Final = guard
        self._task: asyncio.Task[None] | None = None
        self._again = False

    def ask(self) -> None:
        """Reload soon; what comes of it is said on standard error."""
        self._again = True
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._reload(), name="hauberk-sighup")

    async def _reload(self) -> None:
        while self._again:
            self._again = False
            try:
                done = await self._guard.reload()
            except HauberkError as error:
                _complain(f"the policy was not reloaded, the old one is in force: {error.message}", error.hint)
            except Exception as error:
                logger.exception("the policy was not reloaded, the old one is in force")
                _complain(f"the policy was not reloaded, the old one is in force ({type(error).__name__})")
            else:
                _complain(str(done))

    def stop(self) -> None:
        """Reload no more."""
        if self._task is not None:
            self._task.cancel()


@contextlib.contextmanager
def reloads(guard: Guard) -> Iterator[None]:
    """Let SIGHUP reload, from before there is a server to after it has gone: it never ends us."""
    loop, asked = asyncio.get_running_loop(), _Reloads(guard)
    if _HANGUP is not None:
        loop.add_signal_handler(_HANGUP, asked.ask)
    try:
        yield
    finally:
        asked.stop()
        if _HANGUP is not None:
            loop.remove_signal_handler(_HANGUP)


def _complain(what: str, hint: str | None = None) -> None:
    sys.stderr.write(f"hauberk: {what}\n" + (f"hint: {hint}\n" if hint else ""))

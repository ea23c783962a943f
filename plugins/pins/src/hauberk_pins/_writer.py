"""What servers showed, on its way to the disk: written by a thread, so that no message waits for a disk.

One write is under way at a time; what comes meanwhile is written together after it. `Writer.close` ends when all of it
is written, or has been told of as lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from hauberk.refusals import ConfigError
from hauberk_pins import _book
from hauberk_pins._book import Book


class Writer:
    """Writes what is new in one book."""

    def __init__(self, book: Book, tell: Callable[[Exception], None]) -> None:
        """Say what is written.

        Args:
            book: Has the news.
            tell: Is called with what kept it from the disk.
        """
        self._book: Final = book
        self._tell: Final = tell
        self._task: asyncio.Task[None] | None = None

    def wake(self) -> None:
        """See to what is new; it costs nothing where there is nothing."""
        if self._book.has_news and (self._task is None or self._task.done()):
            self._task = asyncio.get_running_loop().create_task(self._write())

    async def close(self) -> None:
        """Write what is left."""
        self.wake()
        if self._task is not None:
            await asyncio.shield(self._task)

    async def _write(self) -> None:
        while news := self._book.news():
            try:
                written = await asyncio.to_thread(_book.write, self._book.store, news)
            except (ConfigError, OSError) as error:
                self._book.lost(news)
                self._tell(error)
            else:
                self._book.wrote(written)

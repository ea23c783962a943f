"""The log of a running host: plain lines on standard error, which never hold it up."""

from __future__ import annotations

import logging
import select
from typing import Final

STDERR: Final = 2
_LINE_BYTES: Final = 2048
"""A longer line is cut. A pipe that can be written to takes this many at once (POSIX: 512, Linux and macOS: a page)."""


class Handler(logging.Handler):
    """Writes one line per record, and drops it where nobody reads: the server shares this pipe and may have filled it.

    Of an exception only the type is told: its text may hold anything.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        import os

        text = f"{record.name}: {record.getMessage()}"
        if record.exc_info and record.exc_info[0] is not None:
            text += f" ({record.exc_info[0].__name__})"
        line = " ".join(text.splitlines()).encode(errors="backslashreplace")[:_LINE_BYTES]
        poll = select.poll()
        poll.register(STDERR, select.POLLOUT)
        try:
            if poll.poll(0):
                os.write(STDERR, line + b"\n")
        except OSError:
            pass  # standard error is gone; there is nowhere to say so


def to_standard_error() -> None:
    """Write what is logged, by hauberk and by what it uses, to standard error."""
    logging.getLogger().addHandler(Handler())

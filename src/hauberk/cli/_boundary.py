"""Where errors and interrupts end: an exit status, at most a few lines, and no traceback unless it was asked for."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from typing import Final

from hauberk.cli._text import printable
from hauberk.refusals import HauberkError

PROGRAM: Final = "hauberk"
COULD_NOT_TELL: Final = 2
"""Exit status of usage, configuration, and input or output that failed."""
INTERRUPTED: Final = 130
BROKEN_PIPE: Final = 141
"""As a shell reports a program that SIGPIPE has ended."""
_RED: Final = "31"
_CYAN: Final = "36"


class Manner:
    """How a command fails."""

    def __init__(self, failed: int = COULD_NOT_TELL, *, debug: bool = False) -> None:
        self.failed = failed
        """Exit status of its own failures."""
        self.debug = debug
        """Whether the traceback of an internal error is shown."""


def bounded(action: Callable[[], int], manner: Manner) -> int:
    """Return the exit status of an action, whatever happens in it."""
    try:
        status = action()
        if sys.stdout is not None:  # closed by whoever started us
            sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        return INTERRUPTED
    except SystemExit:  # its status could be 0, and nothing was looked at
        complain("a plugin tried to end the process", f"{PROGRAM} plugins lists what is installed")
    except HauberkError as error:
        complain(error.message, error.hint)
    except OSError as error:
        if error.errno == errno.EPIPE:
            return _nobody_reads()
        _internal(error, os.strerror(error.errno or 0).lower(), manner)
    except Exception as error:  # noqa: BLE001 - the last boundary: a line and a status, whatever it was
        _internal(error, type(error).__name__, manner)
    return manner.failed


def complain(message: str, hint: str | None = None) -> None:
    """Tell the operator what went wrong, and the one thing to do about it; in colour on a terminal.

    A message may quote somebody: what moves a cursor, or cannot be seen, is shown as an escape, and a line that follows
    another is set in, so that it can be taken for none of ours.
    """
    if sys.stderr is None:
        return
    lines = _coloured(f"{PROGRAM}:", _RED) + f" {_plain(message)}\n"
    if hint:
        lines += _coloured("hint:", _CYAN) + f" {_plain(hint)}\n"
    sys.stderr.write(lines)
    sys.stderr.flush()


def _plain(text: str) -> str:
    return "\n  ".join("\t".join(map(printable, line.split("\t"))) for line in text.split("\n"))


def _coloured(text: str, colour: str) -> str:
    return f"\x1b[{colour}m{text}\x1b[0m" if sys.stderr.isatty() else text


def _internal(error: Exception, what: str, manner: Manner) -> None:
    # The text of an error that nobody foresaw may hold anything; what kind it is may be shown.
    complain(f"internal error: {what}", None if manner.debug else f"{PROGRAM} --debug … shows the traceback")
    if manner.debug:
        sys.excepthook(type(error), error, error.__traceback__)


def _nobody_reads() -> int:
    # Or the interpreter flushes again when it ends, and complains.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return BROKEN_PIPE

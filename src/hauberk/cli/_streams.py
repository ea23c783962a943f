"""Standard input and output, kept for the frames of one connection."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Final

_STDIN: Final = 0
_STDOUT: Final = 1
_STDERR: Final = 2


@contextlib.contextmanager
def taken() -> Iterator[tuple[int, int]]:
    """Take standard input and output, and give their new descriptors.

    A plugin, a library, or a program that one of them starts, must not get between the frames: what they print goes to
    standard error, and they read nothing.
    """
    _open_all()
    stdin, stdout = os.dup(_STDIN), os.dup(_STDOUT)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, _STDIN)
    os.dup2(_STDERR, _STDOUT)
    os.close(nothing)
    try:
        yield stdin, stdout
    finally:
        if sys.stdout is not None:
            with contextlib.suppress(OSError):
                sys.stdout.flush()
        for fd, standard in ((stdin, _STDIN), (stdout, _STDOUT)):
            os.dup2(fd, standard)
            os.close(fd)


def _open_all() -> None:
    """Give each standard descriptor that is closed the null device; else another file would get its number."""
    for fd in (_STDIN, _STDOUT, _STDERR):
        try:
            os.fstat(fd)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)

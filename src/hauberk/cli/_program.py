"""How a client is to start hauberk: an absolute path, for a desktop application has no PATH to speak of."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from hauberk.cli._boundary import PROGRAM
from hauberk.refusals import ConfigError


def path() -> str:
    """Return the program ``hauberk`` that is in use: the one that was called, the one beside Python, or that of PATH.

    A link to it is kept, not followed: it outlives the version that it leads to.

    Raises:
        ConfigError: There is none, or it has a path that JSON cannot write.
    """
    called = Path(sys.argv[0]) if sys.argv and sys.argv[0] else None
    candidates = [
        called if called is not None and called.name == PROGRAM else None,
        Path(sys.executable).with_name(PROGRAM),
        Path(shutil.which(PROGRAM) or PROGRAM),
    ]
    for candidate in candidates:
        if candidate is not None and candidate.is_file() and os.access(candidate, os.X_OK):
            return written(Path(os.path.abspath(candidate)))  # noqa: PTH100 - resolve would follow the link
    raise ConfigError(
        f"the program {PROGRAM!r} is not beside {sys.executable!r} and not on the PATH",
        hint="install hauberk as a tool, or give --bare-command and see to the client's PATH",
    )


def python() -> str:
    """Return the interpreter that has hauberk.

    Raises:
        ConfigError: It has a path that JSON cannot write.
    """
    return written(Path(sys.executable))


def written(path: Path) -> str:
    """Return a path that JSON can write.

    Raises:
        ConfigError: It has bytes that are no text.
    """
    text = str(path)
    if not text.isprintable():
        raise ConfigError(f"{text!r} cannot be written into JSON", hint="use a path of plain letters")
    return text

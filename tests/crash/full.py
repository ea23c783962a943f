"""A log on a disk that is full, or under a limit on the size of files: the real thing, without any stand-in.

    python -m tests.crash.full limit FOLDER     no file may be larger than a few entries
    python -m tests.crash.full disk FOLDER      FOLDER is a small file system of its own

It writes until it is refused, three times; makes room; writes on, until the file has been closed; and says what is not
as it must be, as JSON.
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.crash.lives import Life, Ways, wrong

MANY: Final = 10_000
BALLAST: Final = 16 * 1024
"""Bytes that are in the way, until there has to be room."""


def main() -> int:
    """Fill, make room, go on."""
    how, folder = sys.argv[1], Path(sys.argv[2])
    room = {"limit": limited, "disk": ballasted}[how](folder)
    life = Life(folder / "life", Ways(entries=60))
    for _ in range(MANY):
        if len(life.refused) >= 3:
            break
        life.take("batch")
    before, told = len(life.acknowledged), [str(error) for error in life.refused]
    room()
    life.refused.clear()
    life.take("append", 10)
    life.take("close")
    refused = [str(error) for error in life.refused]
    found = wrong(life.path, life.key, life.acknowledged)
    after = len(life.acknowledged) - before
    sys.stdout.write(json.dumps({"before": before, "after": after, "told": told, "refused": refused, "wrong": found}))
    return 0


def limited(_folder: Path) -> Callable[[], None]:
    """Let no file be larger than some entries; return what lifts that."""
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (9000, most))
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))


def ballasted(folder: Path) -> Callable[[], None]:
    """Put something in the way; return what takes it away."""
    ballast = folder / "ballast"
    ballast.write_bytes(bytes(BALLAST))
    return ballast.unlink


if __name__ == "__main__":
    raise SystemExit(main())

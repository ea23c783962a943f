"""Logs as each released format has them. ``python -m plugins.audit.tests.released FOLDER`` writes those of today.

What stands in ``released/`` was written by the version that it is named after, and is never written anew.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from plugins.audit.tests.kept import Box, Written, checkpointer, said
from plugins.audit.tests.logs import KEY, NOW, OTHER_KEY, event

from hauberk import files
from hauberk_audit._entry import render
from hauberk_audit.sealing._providers import LocalKey
from hauberk_audit.sealing._sealer import sealing
from hauberk_audit.writing._chain import Chain
from hauberk_audit.writing._custody import _line, load
from hauberk_audit.writing._log import Log
from hauberk_audit.writing._packing import compress
from hauberk_audit.writing._ratchet import first_root
from hauberk_audit.writing._rotation import Rotation, Rotator

FOLDER: Final = Path(__file__).with_name("released")
ENTRIES: Final = 7


def _write(log: Log) -> None:
    with closing(log):
        for number in range(1, ENTRIES + 1):
            log.append(render(event(number)))
    compress(log.closed[0])


def plain(path: Path) -> None:
    """Write a log of one key."""
    _write(Log.open(path, Chain(KEY), sync=True, rotator=_rotator()))


def forward(path: Path) -> None:
    """Write a log of a key that goes forward."""
    with TemporaryDirectory() as folder:
        roots = Path(folder) / "audit.key"
        files.write_new(roots, _line(first_root(KEY)))
        _write(Log.open(path, load(roots), sync=True, rotator=_rotator()))


def sealed(path: Path) -> None:
    """Write a log that is encrypted."""
    seal = sealing([LocalKey(OTHER_KEY)])
    _write(Log.open(path, Chain(KEY), sync=True, rotator=_rotator(), sealing=seal))


def anchored(path: Path) -> None:
    """Write a log, and checkpoints of it beside."""
    box = Box()
    with closing(Written(path, entries=4)) as written:
        maker = checkpointer(written, box)
        for _ in range(3):
            written.add(2)
            maker.round()
    path.with_name("checkpoints.txt").write_bytes(box.data)


def _rotator() -> Rotator:
    return Rotator(Rotation(bytes=None, entries=4), lambda: NOW, said)


KINDS: Final[dict[str, Callable[[Path], None]]] = {
    "plain": plain,
    "forward": forward,
    "sealed": sealed,
    "anchored": anchored,
}

if __name__ == "__main__":
    for kind, write in KINDS.items():
        write(Path(sys.argv[1]) / kind / "audit.jsonl")

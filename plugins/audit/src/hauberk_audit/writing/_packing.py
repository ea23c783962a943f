"""Compress files of a log that were closed, in a thread of its own: nobody waits for that.

The rules:

1. A file is compressed beside itself, brought to the disk, and given its name; then the plain one goes. A crash leaves
   the plain one, the compressed one, or both, each whole.
2. What cannot be compressed stays as it is, and is said.
"""

from __future__ import annotations

import gzip
import logging
import os
import shutil
import threading
from pathlib import Path
from queue import SimpleQueue
from typing import Final, final

from hauberk import files
from hauberk.refusals import ConfigError
from hauberk_audit._paths import closed_files

logger = logging.getLogger("hauberk.audit")
_LEVEL: Final = 6
_PIECE: Final = 1024 * 1024


@final
class Packer:
    """Compresses one file after the other."""

    def __init__(self, *, compress: bool) -> None:
        self._compress: Final = compress
        self._waiting: Final[SimpleQueue[Path | None]] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def pack(self, path: Path) -> None:
        """Compress a file that was closed, some time."""
        if not self._compress:
            return
        self._waiting.put(path)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="hauberk-audit-pack", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Wait until all is compressed."""
        if self._thread is not None:
            self._waiting.put(None)
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        while (path := self._waiting.get()) is not None:
            try:
                compress(path)
            except (OSError, ConfigError) as error:
                logger.error("cannot compress %r: %s", str(path), error)  # noqa: TRY400 - no traceback to an operator


def left(log: Path) -> list[Path]:
    """Return the files of a log that were closed and are not compressed."""
    return [path for path in closed_files(log).values() if path.suffix != ".gz"]


def compress(path: Path) -> Path:
    """Compress one file and return the compressed one; the plain one is gone.

    Raises:
        ConfigError: The directory cannot hold a private file.
        OSError: The disk failed; the plain file is there, and nothing beside it.
    """
    packed, part = path.with_name(f"{path.name}.gz"), path.with_name(f"{path.name}.gz.part")
    part.unlink(missing_ok=True)
    fd = files.create_private(part)
    try:
        with os.fdopen(fd, "wb") as raw:
            with path.open("rb") as plain, gzip.GzipFile("", "wb", _LEVEL, raw, mtime=0) as zipped:
                shutil.copyfileobj(plain, zipped, _PIECE)
            raw.flush()
            os.fsync(raw.fileno())
        part.replace(packed)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    files.sync_directory(path.parent)
    path.unlink()
    return packed

"""A disk that loses its power: what was not synced may be there, or not, or in part.

The rules, which are those of a journal that orders names and no contents:

1. What a file held when it was last synced is there.
2. Of what was appended to it since then any part may be there, from the beginning on.
3. Of what was written into it elsewhere each page is what it was at some time since then, whatever the others are.
4. Names are as the directory was when it was last synced, or a while after it: what was done to it is done in order.

Files are looked at through ``/proc``, so this is for Linux.
"""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path
from typing import Any, Final, final

from tests.crash.taps import REAL, Real

PAGE: Final = 4096
Names = dict[str, int]
"""The inode of each name of a directory."""


@final
class Platter:
    """One directory on such a disk; its files are to be written through `calls`."""

    def __init__(self, folder: Path) -> None:
        self.folder: Final = folder
        self.calls: Final[dict[str, Real]] = dict(REAL)
        self._versions: Final[dict[int, list[bytes]]] = {}
        """What each file held when it was last synced, and after each call since then."""
        self._names: list[Names] = [{}]
        """The same of the directory."""
        self._kept: Final = folder.with_name(f"{folder.name}-inodes")
        """A name for each file: so no inode is given to another one as long as it may come back."""
        for name in ("write", "ftruncate"):
            self.calls[name] = self._changing(REAL[name])
        for name in ("fsync", "fdatasync"):
            self.calls[name] = self._synced
        for name in ("open", "rename", "replace", "link", "unlink"):
            self.calls[name] = self._naming(REAL[name])

    def cut(self, rnd: random.Random) -> None:
        """Lose the power; no file of the directory may be open."""
        if not self.folder.exists():
            return
        names = rnd.choice(self._names)
        contents = {name: self._left(name, self._versions[inode], rnd) for name, inode in names.items()}
        for path in self.folder.iterdir():
            path.unlink()
        shutil.rmtree(self._kept, ignore_errors=True)
        self._versions.clear()
        for name, content in contents.items():
            path = self.folder / name
            path.write_bytes(content)
            path.chmod(0o600)
        self._names = [self._listed()]
        for name, inode in self._names[0].items():
            self._versions[inode] = [contents[name]]

    def _left(self, name: str, versions: list[bytes], rnd: random.Random) -> bytes:
        if name.endswith(".chain"):
            ends = range(0, max(map(len, versions)), PAGE)
            return b"".join(rnd.choice(versions)[at : at + PAGE].ljust(PAGE, b"\0") for at in ends)
        synced, found = versions[0], rnd.choice(versions)
        pairs = zip(synced, found, strict=False)
        same = next((at for at, (one, two) in enumerate(pairs) if one != two), min(len(synced), len(found)))
        return found[: rnd.randint(same, len(found))]

    def _changing(self, real: Real) -> Real:
        def call(fd: int, *args: Any) -> Any:
            done = real(fd, *args)
            self._note(fd)
            return done

        return call

    def _naming(self, real: Real) -> Real:
        def call(*args: Any, **more: Any) -> Any:
            done = real(*args, **more)
            if self.folder.exists() and (names := self._listed()) != self._names[-1]:
                self._names.append(names)
            return done

        return call

    def _synced(self, fd: int) -> None:
        place = Path(f"/proc/self/fd/{fd}").readlink()
        if place == self.folder:
            self._names = [self._listed()]
        elif place.parent == self.folder:
            self._note(fd)
            inode = os.fstat(fd).st_ino
            self._versions[inode] = self._versions[inode][-1:]

    def _note(self, fd: int) -> None:
        place = Path(f"/proc/self/fd/{fd}")
        if place.readlink().parent == self.folder:
            self._versions.setdefault(os.fstat(fd).st_ino, [b""]).append(place.read_bytes())

    def _listed(self) -> Names:
        names = {path.name: path.stat().st_ino for path in self.folder.iterdir()}
        for name, inode in names.items():
            if inode not in self._versions:
                self._versions[inode] = [b""]
                self._kept.mkdir(exist_ok=True)
                REAL["link"](self.folder / name, self._kept / f"{inode}")
        return names

"""Private files: what is trusted on this machine, and what each server showed.

The rules:

1. Everything lies in ``pins/`` in the state directory, in one directory of mode 0700 for each ``hauberk.lock``, in
   files of mode 0600 (`hauberk.files`). No variable of the environment names it.
2. A file is a line ``hauberk-pins-v1 ROLE GENERATION MAC`` and JSON. The MAC (HMAC-SHA256) is over role, generation and
   JSON, under a key of its own (`hauberk.keys`): what others wrote, cut off or took from another place is an error, and
   nothing is overwritten then.
3. Each change of what is trusted has a higher generation. What a guard records of a server holds the highest that it
   has seen, and so does ``hauberk.lock``: an older file that is put back is older than one of these, and an error.
4. A writer holds the advisory lock beside the files, reads again under it, and replaces a file whole.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from hauberk import advisory, files, keys
from hauberk.refusals import ConfigError
from hauberk_pins import _items
from hauberk_pins._items import Item, Key, Lock
from hauberk_pins._limits import LIMITS
from hauberk_pins._program import Known

_MAGIC: Final = b"hauberk-pins-v1"
_KEY: Final = "key"
_PURPOSE: Final = "pins"
_TRUSTED: Final = "trusted"
_SEEN: Final = "seen"
_PARTS: Final = 4

Items = dict[str, dict[str, str]]
"""Canonical forms, by kind and name."""
Mark = tuple[int, int, int] | None
T = TypeVar("T")


class Trusted(msgspec.Struct, forbid_unknown_fields=True):
    """What is trusted on this machine."""

    lock: str
    """SHA-256 of the text of ``hauberk.lock`` that says the same, in hexadecimal."""
    servers: dict[str, Items]


class Seen(msgspec.Struct, forbid_unknown_fields=True):
    """What one server showed the guards of one host."""

    host: str
    server: str
    first: Items = {}
    """The first sight of each item, where first sight is trust; never overwritten."""
    now: Items = {}
    """The last sight of each item."""
    executable: Known | None = None
    """The file that it was started from last."""


class Store:
    """The private files of one state directory."""

    def __init__(self, state_dir: Path, lock: Path | None, *, sleep: Callable[[float], None] = time.sleep) -> None:
        """Say where the files are; nothing is read or made yet.

        Args:
            state_dir: The state directory of the host.
            lock: The ``hauberk.lock`` whose private side this is.
            sleep: Waits between two tries to get the lock (seconds).
        """
        name = "default" if lock is None else hashlib.sha256(os.fsencode(lock)).hexdigest()[:32]
        self.directory: Final = state_dir / "pins" / name
        self.path: Final = self.directory / "trusted"
        self._key_file: Final = self.directory / _KEY
        self._sleep: Final = sleep

    # --- what is trusted ---

    def mark(self) -> Mark:
        """Return what changes when somebody writes what is trusted; costs one ``stat``."""
        try:
            found = self.path.lstat()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ConfigError(f"cannot use {str(self.path)!r}: {(error.strerror or '').lower()}") from error
        return found.st_mtime_ns, found.st_ino, found.st_size

    def trusted(self) -> tuple[Lock, str]:
        """Return what is trusted, and the SHA-256 of the lock that says the same; nothing where there is no file.

        Raises:
            ConfigError: The file cannot be used, or is older than one that was seen.
        """
        highest = self.highest()
        if not os.path.lexists(self.path):
            if highest:
                raise self._rolled_back(0, highest)
            return Lock(), ""
        generation, found = self._read(self.path, _TRUSTED, Trusted)
        if generation < highest:
            raise self._rolled_back(generation, highest)
        return Lock(generation, {name: unpacked(items) for name, items in found.servers.items()}), found.lock

    def trust(self, lock: Lock, text: str) -> None:
        """Replace what is trusted; the caller holds the lock.

        Raises:
            ConfigError: The file cannot be written.
            OSError: The disk failed; the old file stands.
        """
        servers = {name: packed(items) for name, items in lock.servers.items()}
        found = Trusted(hashlib.sha256(text.encode()).hexdigest(), servers)
        self._write(self.path, _TRUSTED, lock.generation, found)

    def _rolled_back(self, generation: int, highest: int) -> ConfigError:
        return ConfigError(
            f"cannot use {str(self.path)!r}: it is of generation {generation}, and generation {highest} was seen here",
            hint="an older file was put back; see what it says with `hauberk pins export`, then `hauberk pins reset`",
        )

    # --- what servers showed ---

    def seen(self, host: str, server: str) -> Seen:
        """Return what a server showed; nothing where nobody has seen it.

        Raises:
            ConfigError: The file cannot be used.
        """
        path = self._seen_path(host, server)
        if not os.path.lexists(path):
            return Seen(host, server)
        found = self._read(path, _SEEN, Seen)[1]
        if (found.host, found.server) != (host, server):
            raise self._bad(path, "is of another server")
        return found

    def all_seen(self, host: str) -> dict[str, Seen]:
        """Return what each server of a host showed.

        Raises:
            ConfigError: A file cannot be used.
        """
        found = [self._read(path, _SEEN, Seen)[1] for path in self._seen_paths()]
        return {one.server: one for one in sorted(found, key=lambda one: one.server) if one.host == host}

    def record(self, seen: Seen) -> None:
        """Replace what a server showed; the caller holds the lock.

        Raises:
            ConfigError: It cannot be written, or there are too many servers.
            OSError: The disk failed; the old file stands.
        """
        path = self._seen_path(seen.host, seen.server)
        if not os.path.lexists(path) and len(self._seen_paths()) >= LIMITS.servers:
            raise ConfigError(
                f"cannot record what server {seen.server!r} shows: there are {LIMITS.servers} servers already",
                hint="forget one with `hauberk pins reset --seen --server NAME`",
            )
        generation = self._read(self.path, _TRUSTED, Trusted)[0] if os.path.lexists(self.path) else 0
        self._write(path, _SEEN, max(generation, self.highest()), seen)

    def forget(self, host: str, server: str) -> None:
        """Take away what a server showed; the caller holds the lock."""
        self._seen_path(host, server).unlink(missing_ok=True)

    def highest(self) -> int:
        """Return the highest generation that any guard has seen.

        Raises:
            ConfigError: A file cannot be used.
        """
        return max((self._read(path, _SEEN, Seen)[0] for path in self._seen_paths()), default=0)

    def _seen_path(self, host: str, server: str) -> Path:
        name = hashlib.sha256(f"{host}\0{server}".encode()).hexdigest()[:32]
        return self.directory / f"seen-{name}"

    def _seen_paths(self) -> list[Path]:
        return sorted(self.directory.glob("seen-*"))

    # --- the files themselves ---

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock between processes, making directory and key where they are missing.

        Raises:
            ConfigError: Another process holds it for too long, or the directory cannot be used.
        """
        files.private_dir(self.directory)
        fd = files.append_private(self.directory / "lock")
        try:
            self._wait(fd)
            for left in self.directory.glob(".*.tmp"):  # of a process that was killed: the lock is ours
                left.unlink(missing_ok=True)
            if not os.path.lexists(self._key_file):
                self._make_key()
            yield
        finally:
            with suppress(OSError):
                os.close(fd)

    def _make_key(self) -> None:
        if os.path.lexists(self.path) or self._seen_paths():
            raise ConfigError(
                f"key file {str(self._key_file)!r} is missing, and the files beside it were signed with it",
                hint="bring it back, or move the directory away and trust anew",
            )
        keys.create_key(self._key_file, random=os.urandom)

    def _wait(self, fd: int) -> None:
        for _ in range(LIMITS.tries):
            if advisory.take(fd):
                return
            self._sleep(LIMITS.pause)
        raise ConfigError(
            f"cannot use {str(self.directory)!r}: another process does not let go of it",
            hint="end the one that hangs: its lock is the file 'lock' there",
        )

    def _read(self, path: Path, role: str, kind: type[T]) -> tuple[int, T]:
        files.private_dir(path.parent)  # nobody else may put one back
        data = files.read_private(path, max_bytes=LIMITS.lock_bytes)
        head, _, body = data.partition(b"\n")
        parts = head.split(b" ")
        if len(parts) != _PARTS or parts[0] != _MAGIC:
            raise self._bad(path, "is no file of pins, or was cut off")
        if not hmac.compare_digest(parts[3], self._mac(parts[1] + b" " + parts[2], body)):
            raise self._bad(path, "was not written here, or was changed or cut off since")
        if parts[1] != role.encode():
            raise self._bad(path, f"is of another kind than {role!r}")
        return int(parts[2]), msgspec.json.decode(body, type=kind)

    def _write(self, path: Path, role: str, generation: int, value: object) -> None:
        body = msgspec.json.encode(value, order="sorted")
        if len(body) >= LIMITS.lock_bytes:
            raise ConfigError(f"cannot write {str(path)!r}: it would be larger than {LIMITS.lock_bytes} bytes")
        head = f"{role} {generation}".encode()
        files.write_atomic(path, b" ".join([_MAGIC, head, self._mac(head, body)]) + b"\n" + body)

    def _mac(self, head: bytes, body: bytes) -> bytes:
        key = keys.derive(keys.load_key(self._key_file), _PURPOSE)
        return hmac.new(key, _MAGIC + b" " + head + b"\n" + body, "sha256").hexdigest().encode()

    def _bad(self, path: Path, what: str) -> ConfigError:
        return ConfigError(
            f"cannot use {str(path)!r}: it {what}",
            hint="nothing is overwritten; find out who did that, then move the file away and trust anew",
        )


def packed(items: Mapping[Key, Item]) -> Items:
    """Return items as they are kept."""
    found: Items = {}
    for one in items.values():
        found.setdefault(one.kind, {})[one.name] = one.canonical
    return found


def unpacked(found: Items) -> dict[Key, Item]:
    """Return items that were kept."""
    return {
        (kind, name): _items.stored(kind, name, canonical)
        for kind, names in found.items()
        for name, canonical in names.items()
    }

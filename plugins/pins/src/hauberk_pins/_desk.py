"""What the commands do, without a terminal: what is trusted, what was seen, and how one becomes the other."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, Literal, NamedTuple

from hauberk import files
from hauberk.config import Config
from hauberk.refusals import ConfigError, HauberkError
from hauberk_pins import _book, _items, _lock, _options, _store
from hauberk_pins._compare import Change, compare
from hauberk_pins._items import Item, Key, Lock
from hauberk_pins._limits import LIMITS
from hauberk_pins._store import Store

_LOCK_MODE: Final = 0o644
Status = Literal["pinned", "unpinned", "changed", "renamed", "gone"]
_STATUS: Final[Mapping[str, Status]] = {
    "added": "unpinned",
    "changed": "changed",
    "renamed": "renamed",
    "removed": "gone",
}


class Row(NamedTuple):
    """One item of one server, and how it stands."""

    server: str
    item: Item
    status: Status
    change: Change | None


class Desk:
    """The pins of one configuration."""

    def __init__(self, settings: Config) -> None:
        options = settings.options("pins", _options.Options)
        self.host: Final = settings.host
        self.lock_path: Final = _options.lock_path(options, settings)
        self.store: Final = Store(settings.state_dir, self.lock_path)

    # --- what there is ---

    def trusted(self) -> Lock:
        """Return what is trusted on this machine.

        Raises:
            ConfigError: It cannot be used.
        """
        return self.store.trusted()[0]

    def written(self) -> Lock | None:
        """Return what the file for review says, if there is one.

        Raises:
            ConfigError: It cannot be used.
        """
        data = self.lock_bytes()
        return None if data is None else _lock.read(data, str(self.lock_path))

    def lock_bytes(self) -> bytes | None:
        """Return the file for review, if there is one.

        Raises:
            ConfigError: It is no file that only its owner can change.
        """
        if self.lock_path is None or not os.path.lexists(self.lock_path):
            return None
        return files.read_trusted(self.lock_path, max_bytes=LIMITS.lock_bytes)

    def seen(self) -> dict[str, dict[Key, Item]]:
        """Return what each server showed last.

        Raises:
            ConfigError: It cannot be used.
        """
        return {name: _store.unpacked(one.now) for name, one in self.store.all_seen(self.host).items()}

    def rows(self, trusted: Lock, server: str | None = None, tool: str | None = None) -> Iterator[Row]:
        """Give each item that is trusted or was seen, and how it stands.

        Raises:
            HauberkError: There is nothing of that name.
        """
        seen = self.seen()
        names = sorted({*seen, *trusted.servers})
        if server is not None and server not in names:
            raise HauberkError(
                f"server {server!r} is not pinned and was not seen (servers: {', '.join(names) or 'none'})",
                hint="let a host connect to it once through the guard, or give --live",
            )
        found = [row for name in names if server in {None, name} for row in _rows(name, trusted, seen)]
        if tool is not None:
            found = [row for row in found if _is_of(row, tool)]
            if not found:
                raise HauberkError(f"tool {tool!r} is not pinned and was not seen", hint="hauberk pins list")
        yield from found

    def chosen(self, server: str | None, tool: str | None) -> Lock:
        """Return what is trusted of one server, or of one tool.

        Raises:
            HauberkError: There is nothing of that name.
        """
        trusted = self.trusted()
        found: dict[str, Mapping[Key, Item]] = {}
        for name, items in trusted.servers.items():
            kept = {key: one for key, one in items.items() if tool is None or key == ("tool", tool)}
            if server in {None, name} and kept:
                found[name] = kept
        if not found and (server, tool) != (None, None):
            raise HauberkError("nothing of that name is pinned", hint="hauberk pins list")
        return Lock(trusted.generation, found)

    def lock_diff(self) -> tuple[list[str], str]:
        """Return how the file for review differs from what is trusted here, and its own hash.

        Raises:
            HauberkError: There is none, or it cannot be used.
        """
        import difflib

        data = self.lock_bytes()
        if data is None:
            raise HauberkError("there is no hauberk.lock beside the configuration", hint="hauberk pins export")
        old, new = (_lock.write(lock).splitlines() for lock in (self.trusted(), _lock.read(data, str(self.lock_path))))
        return list(difflib.unified_diff(old, new, "trusted here", str(self.lock_path), lineterm="")), file_hash(data)

    # --- what changes ---

    def record(self, server: str, items: Mapping[Key, Item]) -> None:
        """Record what a server shows: all of it, in place of what it showed before.

        Raises:
            ConfigError: It cannot be written.
        """
        with self.store.locked():
            before = self.store.seen(self.host, server)
            self.store.record(_store.Seen(self.host, server, before.first, _store.packed(items), before.executable))

    def accept(self, rows: Iterable[Row]) -> Lock:
        """Trust what was seen of these items, and no longer what is gone; return what is trusted then.

        Raises:
            ConfigError: It cannot be written, or something is trusted meanwhile that was not shown.
        """
        return self._changed({(row.server, row.item.key): row for row in rows}, accepted=True)

    def reset(self, rows: Iterable[Row]) -> Lock:
        """Trust these items no longer; return what is trusted then.

        Raises:
            ConfigError: It cannot be written.
        """
        return self._changed({(row.server, row.item.key): row for row in rows}, accepted=False)

    def adopt(self, data: bytes) -> Lock:
        """Trust what the file for review says.

        Raises:
            ConfigError: It cannot be written, or the file is older than what is trusted.
        """
        lock = _lock.read(data, str(self.lock_path))
        with self.store.locked():
            trusted = self.trusted()
            if lock.generation < trusted.generation:
                raise ConfigError(
                    f"cannot trust {str(self.lock_path)!r}: it is of generation {lock.generation}, "
                    f"and generation {trusted.generation} is trusted",
                    hint="take the newer file from version control",
                )
            self.store.trust(lock, data.decode())
        return lock

    def forget(self, server: str) -> None:
        """Take away what was seen of a server; what is trusted stays."""
        with self.store.locked():
            self.store.forget(self.host, server)

    def _changed(self, rows: Mapping[tuple[str, Key], Row], *, accepted: bool) -> Lock:
        with self.store.locked():
            old = _book.checked(self.store, self.lock_path)
            servers = {name: dict(items) for name, items in old.servers.items()}
            for (server, key), row in rows.items():
                items = servers.setdefault(server, {})
                for gone in (key, *_before(row)):
                    items.pop(gone, None)
                if accepted and row.status != "gone":
                    items[key] = row.item
            lock = Lock(old.generation + 1, {name: items for name, items in servers.items() if items})
            text = _lock.write(lock)
            self.store.trust(lock, text)  # first: a guard that runs believes this one alone
            if self.lock_path is not None:
                files.write_atomic(self.lock_path, text.encode(), mode=_LOCK_MODE)
        return lock


def _rows(server: str, trusted: Lock, seen: Mapping[str, Mapping[Key, Item]]) -> list[Row]:
    pins, shown = trusted.servers.get(server, {}), seen.get(server)
    if shown is None:
        return [Row(server, one, "pinned", None) for one in _lock.ordered(pins)]
    changes = {change.item.key: change for change in compare(pins, shown)}
    rows = [Row(server, change.item, _STATUS[change.what], change) for change in changes.values()]
    rows += [Row(server, one, "pinned", None) for key, one in shown.items() if key not in changes]
    return sorted(rows, key=lambda row: (_items.place(row.item.kind), row.item.name))


def _is_of(row: Row, tool: str) -> bool:
    names = {key[1] for key in (row.item.key, *_before(row))}
    return row.item.kind == "tool" and tool in names


def _before(row: Row) -> tuple[Key, ...]:
    before = row.change.before if row.change is not None else None
    return () if before is None else (before.key,)


def hash_of(rows: Iterable[Row]) -> str:
    """Return the hash that stands for these items together, as they were seen: of one item its own."""
    items = [(row.server, row.item) for row in rows if row.status != "gone"]
    if len(items) == 1:
        return items[0][1].hash
    servers = sorted({server for server, _ in items})
    hashes = [_items.server_hash(server, (one for name, one in items if name == server)) for server in servers]
    return hashes[0] if len(hashes) == 1 else _items.hash_of("\n".join(hashes).encode())


def same_hash(given: str, expected: str) -> bool:
    """Whether a hash is the expected one, with or without ``sha256:``, in letters of either case."""
    return given.strip().lower().removeprefix("sha256:") == expected.removeprefix("sha256:")


def file_hash(data: bytes) -> str:
    """Return the SHA-256 of a file, as ``sha256sum`` prints it, with ``sha256:``."""
    return "sha256:" + hashlib.sha256(data).hexdigest()

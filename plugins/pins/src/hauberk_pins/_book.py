"""What is pinned, for one guard: the private copy, compared with the file for review; and what servers showed.

The private copy is what holds. The file for review must say the same to the byte: it is read by people, brought along
by version control, and written by whoever can write there. That it is missing is told by ``hauberk pins verify``.

What is pinned is read again when the private copy has changed, so that ``hauberk pins trust`` needs no restart. What
was seen never becomes a pin, but for a first sight where the options say so; a pin is not overwritten by either.

What is seen holds at once, and is written behind (`hauberk_pins._writer`). After the disk has failed nothing is taken
for recorded before it is.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from hauberk import files
from hauberk.refusals import ConfigError
from hauberk_pins import _store
from hauberk_pins._items import Item, Key, Lock, Shown
from hauberk_pins._limits import LIMITS
from hauberk_pins._program import Known
from hauberk_pins._store import Seen, Store

Whole = tuple[str, frozenset[Key]] | None


class News(NamedTuple):
    """What is to be recorded of one server."""

    seen: Seen
    kinds: frozenset[str]
    """Of which ``seen.now`` is the last sight."""


class Book:
    """The pins of one guard."""

    def __init__(self, store: Store, lock: Path | None, host: str, fixed: Mapping[str, Shown]) -> None:
        """Say where the pins are; nothing is read yet.

        Args:
            store: The private files.
            lock: The file for review.
            host: Whose servers they are.
            fixed: Pins of servers of which nothing is read and recorded.
        """
        self.store: Final = store
        self.lock: Final = lock
        self.trusted = Lock()
        self.version: object = object()
        """Another one whenever pins change; no two guards have the same."""
        self._host: Final = host
        self._fixed: Final = fixed
        self._mark: _store.Mark = None
        self._checked: float | None = None
        self._seen: Final[dict[str, Seen]] = {}
        self._pins: Final[dict[str, dict[Key, Item]]] = {}
        self._news: Final[dict[str, set[str]]] = {}
        """The kinds of each server of which there is news."""
        self._failing = False

    def open(self) -> None:
        """Read what is pinned.

        Raises:
            ConfigError: What is there cannot be used, or the file for review says something else.
        """
        mark = self.store.mark()
        self.trusted = checked(self.store, self.lock)
        self._mark = mark
        self._pins.clear()
        for server in self._seen.keys() - self._news.keys():
            del self._seen[server]
        self.version = object()

    def refresh(self, now: float) -> None:
        """Read again if somebody has changed what is trusted; looks at most once a second.

        It reads at once, on the event loop: until it has, nobody can tell what is pinned.

        Raises:
            ConfigError: As `open`.
        """
        if self._checked is not None and now - self._checked < LIMITS.check_seconds:
            return
        if self._checked is not None and self.store.mark() != self._mark:
            self.open()
        self._checked = now

    def pins(self, server: str) -> Shown:
        """Return the pins of one server: what is trusted, then what was seen first.

        Raises:
            ConfigError: What was recorded of the server cannot be used.
        """
        found = self._pins.get(server)
        if found is None:
            if server in self._fixed:
                return self._fixed[server]
            found = {**_store.unpacked(self._of(server).first), **self.trusted.servers.get(server, {})}
            while len(self._pins) >= LIMITS.servers:
                del self._pins[next(iter(self._pins))]
            self._pins[server] = found
        return found

    def last(self, server: str) -> Shown:
        """Return what a server showed last, whoever saw it.

        Raises:
            ConfigError: What was recorded of the server cannot be used.
        """
        return self._fixed.get(server) or _store.unpacked(self._of(server).now)

    def was_shown(self, server: str, key: Key) -> bool:
        """Whether a server showed an item, to whomever."""
        return key[1] in self._of(server).now.get(key[0], {})

    def was_listed(self, server: str, kind: str) -> bool:
        """Whether a server was seen to list a kind, be it that there is nothing of it."""
        return kind in self._of(server).now

    def is_fixed(self, server: str) -> bool:
        """Whether nothing is read or recorded of a server."""
        return server in self._fixed

    def executable(self, server: str) -> Known | None:
        """Return the file that a server was started from last.

        Raises:
            ConfigError: What was recorded of the server cannot be used.
        """
        return None if server in self._fixed else self._of(server).executable

    # --- what was seen ---

    def started(self, server: str, known: Known) -> None:
        """Keep the hash of the file that a server is started from."""
        seen = self._of(server)
        if seen.executable != known:
            self._keep(Seen(seen.host, seen.server, seen.first, seen.now, known), "")

    def see(self, server: str, items: Iterable[Item], *, whole: Whole = None, first: Iterable[Key] = ()) -> None:
        """Take note of what a server showed, if any of it is new.

        Args:
            server: The server.
            items: What it showed.
            whole: A kind, and the keys of all that there is of it.
            first: Which of them are pinned by this first sight.

        Raises:
            ConfigError: It cannot be recorded; then nothing of it is pinned.
            OSError: The disk fails still; as before.
        """
        shown, pinned = {one.key: one for one in items}, set(first)
        if server in self._fixed or not _is_news(self._of(server), shown, pinned, whole):
            return
        if server not in self._news and len(self._news) >= LIMITS.servers:
            raise ConfigError("too much is to be recorded at once")
        before = self._of(server)
        kinds = {one.kind for one in shown.values()} | ({whole[0]} if whole is not None else set())
        self._keep(_added(before, shown, pinned, whole), *kinds)
        if self._failing:
            try:
                self.wrote(write(self.store, self.news()))
            except BaseException:
                self._seen[server] = before
                self._news.setdefault(server, set()).update(kinds)
                raise
        if pinned:
            self._renew(server)

    @property
    def has_news(self) -> bool:
        """Whether anything is to be recorded."""
        return bool(self._news)

    def news(self) -> list[News]:
        """Return what is to be recorded; from now on somebody else sees to it."""
        found = [News(self._of(server), frozenset(kinds)) for server, kinds in self._news.items()]
        self._news.clear()
        return found

    def wrote(self, written: Iterable[Seen]) -> None:
        """Take what stands on the disk now: another guard may have been the first to see an item."""
        self._failing = False
        for seen in written:
            if seen.server in self._news:
                continue
            before = self._seen.get(seen.server)
            self._seen[seen.server] = seen
            if before is not None and before.first != seen.first:
                self._renew(seen.server)

    def lost(self, news: Iterable[News]) -> None:
        """Forget what could not be recorded: no first sight of it is a pin."""
        self._failing = True
        for one in news:
            self._seen.pop(one.seen.server, None)
            self._news.pop(one.seen.server, None)
            self._renew(one.seen.server)

    def _keep(self, seen: Seen, *kinds: str) -> None:
        self._seen[seen.server] = seen
        self._news.setdefault(seen.server, set()).update(kinds)

    def _renew(self, server: str) -> None:
        self._pins.pop(server, None)
        self.version = object()

    def _of(self, server: str) -> Seen:
        found = self._seen.get(server)
        if found is None:
            for name in [name for name in self._seen if name not in self._news][: len(self._seen) - LIMITS.servers + 1]:
                del self._seen[name]
            found = self._seen[server] = self.store.seen(self._host, server)
        return found


def write(store: Store, news: Iterable[News]) -> list[Seen]:
    """Record what was seen; return what stands there then. It waits for the disk, so a thread calls it.

    Raises:
        ConfigError: It cannot be recorded.
        OSError: The disk failed.
    """
    found = []
    for seen, kinds in news:
        with store.locked():
            there = store.seen(seen.host, seen.server)
            kept = _merged(there, seen, kinds)
            if kept != there:
                store.record(kept)
            found.append(kept)
    return found


def _merged(there: Seen, seen: Seen, kinds: Iterable[str]) -> Seen:
    """Return what is recorded then; a first sight stays the first."""
    first = {kind: dict(names) for kind, names in seen.first.items()}
    for kind, names in there.first.items():
        first.setdefault(kind, {}).update(names)
    now = there.now | {kind: seen.now.get(kind, {}) for kind in kinds if kind}
    return _bounded(Seen(seen.host, seen.server, first, now, seen.executable or there.executable))


def checked(store: Store, lock: Path | None) -> Lock:
    """Return what is trusted, compared with the file for review, if there is one.

    Raises:
        ConfigError: One of the two cannot be used, or they do not say the same.
    """
    trusted, digest = store.trusted()
    if lock is None or not os.path.lexists(lock):
        return trusted
    data = files.read_trusted(lock, max_bytes=LIMITS.lock_bytes)
    if hashlib.sha256(data).hexdigest() == digest:
        return trusted
    from hauberk_pins import _lock  # only to say what is wrong

    written = _lock.read(data, str(lock))
    raise ConfigError(f"cannot use {str(lock)!r}: {_difference(written, trusted)}", hint=_hint(written, trusted))


def _difference(written: Lock, trusted: Lock) -> str:
    if not trusted.generation:
        return "nothing is trusted on this machine"
    if written.generation < trusted.generation:
        return f"it is of generation {written.generation}, and generation {trusted.generation} was trusted here"
    if written.generation > trusted.generation:
        return f"it is of generation {written.generation}, and only generation {trusted.generation} was trusted here"
    return "it says something else than what was trusted on this machine"


def _hint(written: Lock, trusted: Lock) -> str:
    if trusted.generation and written.generation < trusted.generation:
        return "an older file was put back; `hauberk pins export` writes what is trusted on this machine"
    return "look at `hauberk pins diff --lock`; then `hauberk pins trust --lock`, or take the file back"


def _is_news(seen: Seen, shown: Shown, first: set[Key], whole: Whole) -> bool:
    if any(seen.now.get(kind, {}).get(name) != one.canonical for (kind, name), one in shown.items()):
        return True
    if whole is not None and seen.now.get(whole[0], {}).keys() != {name for _, name in whole[1]}:
        return True
    return any(name not in seen.first.get(kind, {}) for kind, name in first)


def _added(seen: Seen, shown: Shown, first: set[Key], whole: Whole) -> Seen:
    """Return what was seen then; a first sight stays the first.

    Raises:
        ConfigError: It is too much.
    """
    kept = {kind: dict(names) for kind, names in seen.first.items()}
    now = {kind: dict(names) for kind, names in seen.now.items()}
    if whole is not None:
        now[whole[0]] = {name: text for name, text in now.get(whole[0], {}).items() if (whole[0], name) in whole[1]}
    for (kind, name), one in shown.items():
        now.setdefault(kind, {})[name] = one.canonical
        if (kind, name) in first:
            kept.setdefault(kind, {}).setdefault(name, one.canonical)
    return _bounded(Seen(seen.host, seen.server, kept, now, seen.executable))


def _bounded(seen: Seen) -> Seen:
    """Return what was seen.

    Raises:
        ConfigError: It is too much.
    """
    size = sum(
        len(name) + len(text)
        for items in (seen.first, seen.now)
        for names in items.values()
        for name, text in names.items()
    )
    if size > LIMITS.server_bytes:
        raise ConfigError(f"server {seen.server!r} shows more than {LIMITS.server_bytes} bytes")
    return seen

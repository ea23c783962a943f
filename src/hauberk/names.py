"""What the servers of one host call their items, shared by all guards of the host in one file.

Five wrapped servers are five processes. None of them sees the lists of the others, so none can see that a server shows
a tool of a name that another one has already; this file is where they tell each other. It decides nothing.

The rules:

1. ``names.json`` is private (`hauberk.files`). It is replaced whole, by whoever holds the lock beside it, with what was
   read under that lock and what is new. So a crash leaves the old file or the new one, and a reader needs no lock.
2. What is no such file, or was cut off, is not believed in part: it is begun anew, and the caller is told. What others
   could have written is not read at all.
3. The file is read when it has changed, and written when there is news: a list that is known costs one ``stat``.
4. Names are added, never taken out one by one: a list comes in pages. A server that was not seen for long is forgotten
   whole; when there are too many servers the one that was not seen for longest is, and the caller is told.
5. A server chooses the names, so each has a length, and each server a number and a size; what is over is left out, and
   the caller is told. No server's names can push out another's.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Literal, NamedTuple, final

import msgspec

from hauberk import advisory, files
from hauberk.refusals import ConfigError

FILE_NAME: Final = "names.json"
_DAY: Final = 86_400

Kind = Literal["tools", "prompts", "resources", "templates"]
"""What a server lists; ``templates`` are resource templates."""
Shown = Mapping[str, Mapping[str, str]]
"""The digest of each definition, by name, by server."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The bounds of the file, each with its unit."""

    servers: int = 64
    """Servers of all hosts together (servers)."""
    names: int = 512
    """Names of one kind of one server (names)."""
    name_chars: int = 256
    """One name (characters)."""
    kind_bytes: int = 32 * 1024
    """Names of one kind of one server together (bytes of JSON)."""
    file_bytes: int = 20 * 1024 * 1024
    """The file; one at all other bounds, with SHA-256 in hexadecimal as digests, is smaller (bytes)."""
    days: int = 30
    """A server that was not seen for longer is forgotten (days)."""
    tries: int = 100
    """How often the lock is tried (times)."""
    pause: float = 0.01
    """Between two tries (seconds)."""


class Holder(NamedTuple):
    """Another server that has a name."""

    server: str
    digest: str


class Learned(NamedTuple):
    """What came of telling the others."""

    held: Mapping[str, tuple[Holder, ...]]
    """The names that other servers of the host have, with who has each."""
    left_out: int = 0
    """How many names are over a bound."""
    forgotten: tuple[str, ...] = ()
    """Servers that had to go, for a bound."""
    rebuilt: bool = False
    """Whether the file was no list of names, and was begun anew."""


class _Added(NamedTuple):
    news: bool
    left_out: int


class _Server(msgspec.Struct, forbid_unknown_fields=True):
    seen: int
    items: dict[str, dict[str, str]]


class _File(msgspec.Struct, forbid_unknown_fields=True):
    format: Literal[1] = 1
    hosts: dict[str, dict[str, _Server]] = {}


_Mark = tuple[int, int, int] | None
_DECODER: Final = msgspec.json.Decoder(_File)


@final
class Names:
    """The shared names, as one guard of a host sees them."""

    def __init__(
        self,
        path: Path,
        host: str,
        *,
        now: Callable[[], float],
        limits: Limits = Limits(),  # noqa: B008 - immutable
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Say where the names are; nothing is read yet.

        Args:
            path: The file, `FILE_NAME` in the state directory.
            host: Whose servers are compared with each other.
            now: Seconds since 1970.
            limits: The bounds.
            sleep: Waits between two tries to get the lock (seconds).
        """
        self._path: Final = path
        self._host: Final = host
        self._now: Final = now
        self._limits: Final = limits
        self._sleep: Final = sleep
        self._mark: _Mark = None
        self._told: Final[dict[tuple[str, Kind], set[str]]] = {}
        self._shown: Final[dict[Kind, tuple[_Mark, Shown]]] = {}

    def is_known(self, server: str, kind: Kind, names: Iterable[str]) -> bool:
        """Whether all of these were learned, and nobody has told anything since; costs one ``stat``."""
        told = self._told.get((server, kind))
        return told is not None and told.issuperset(names) and self._stat() == self._mark

    def held(self, server: str, kind: Kind, names: Iterable[str]) -> dict[str, tuple[Holder, ...]]:
        """Return which of these names other servers of the host have; reads, and tells nobody anything.

        Raises:
            ConfigError: The file cannot be used: others can read or change it.
        """
        return self._held(self._read()[0], server, kind, names)

    def shown(self, kind: Kind) -> Shown:
        """Return what each server of the host was seen with lately; the same object as long as that is the same.

        Costs one ``stat`` while the file stands as it was; reads, and tells nobody anything.

        Args:
            kind: What they show.

        Raises:
            ConfigError: The file cannot be used: others can read or change it.
        """
        mark = self._stat()
        before = self._shown.get(kind)
        if before is not None and before[0] == mark:
            return before[1]
        now: Shown = {name: one.items[kind] for name, one in self._lately(self._read()[0]) if one.items.get(kind)}
        if before is not None and before[1] == now:
            now = before[1]
        self._shown[kind] = mark, now
        return now

    def learn(self, server: str, kind: Kind, items: Mapping[str, str]) -> Learned:
        """Tell the other guards what a server shows, and return what others show under the same names.

        Args:
            server: Whose items they are.
            kind: What they are.
            items: The digest of each definition, by name.

        Raises:
            ConfigError: The file cannot be used: others can read or change it, or another guard does not let go of it.
            OSError: The disk failed; the old file stands.
        """
        mark, (file, rebuilt) = self._stat(), self._read()
        kept = self._within(items)
        forgotten: tuple[str, ...] = ()
        added = self._add(file, server, kind, kept)
        if rebuilt or added.news:
            with self._locked():
                file, rebuilt = self._read()
                added = self._add(file, server, kind, kept)
                forgotten = self._forget(file, server)
                self._write(file)
                mark = self._stat()
        self._remember(server, kind, items, mark)
        left_out = len(items) - len(kept) + added.left_out
        return Learned(self._held(file, server, kind, kept), left_out, forgotten, rebuilt)

    # --- what is in the file ---

    def _within(self, items: Mapping[str, str]) -> dict[str, str]:
        """Return the items whose names can be written, and are not too long."""
        most = self._limits.name_chars
        return {name: value for name, value in items.items() if len(name) <= most and _can_be_written(name)}

    def _add(self, file: _File, server: str, kind: Kind, items: Mapping[str, str]) -> _Added:
        """Add what is new, as far as the bounds go."""
        now = int(self._now())
        there = file.hosts.setdefault(self._host, {}).setdefault(server, _Server(0, {}))
        news = abs(now - there.seen) > _DAY
        there.seen = now if news else there.seen
        names = there.items.setdefault(kind, {})
        room = self._limits.kind_bytes - sum(map(_size, names))
        left_out = 0
        for name, digest in items.items():
            size = 0 if name in names else _size(name)
            if size > room or (name not in names and len(names) >= self._limits.names):
                left_out += 1
                continue
            news = news or names.get(name) != digest
            names[name] = digest
            room -= size
        return _Added(news, left_out)

    def _forget(self, file: _File, server: str) -> tuple[str, ...]:
        """Take out servers that were not seen for long, and the oldest of too many; return the latter."""
        oldest = self._now() - self._limits.days * _DAY
        for of_host in file.hosts.values():
            for name in [name for name, one in of_host.items() if one.seen < oldest]:
                del of_host[name]
        ages = sorted((one.seen, host, name) for host, all_ in file.hosts.items() for name, one in all_.items())
        ages = [age for age in ages if age[1:] != (self._host, server)]
        over = ages[: max(0, len(ages) + 1 - self._limits.servers)]
        for _, host, name in over:
            del file.hosts[host][name]
        for host in [host for host, of_host in file.hosts.items() if not of_host]:
            del file.hosts[host]
        return tuple(name for _, _, name in over)

    def _held(self, file: _File, server: str, kind: Kind, items: Iterable[str]) -> dict[str, tuple[Holder, ...]]:
        others = [(other, one.items.get(kind, {})) for other, one in self._lately(file) if other != server]
        found = {name: tuple(Holder(other, has[name]) for other, has in others if name in has) for name in items}
        return {name: holders for name, holders in found.items() if holders}

    def _lately(self, file: _File) -> list[tuple[str, _Server]]:
        """Return the servers of the host that were not forgotten yet, in the order of their names."""
        oldest = self._now() - self._limits.days * _DAY
        return [(name, one) for name, one in sorted(file.hosts.get(self._host, {}).items()) if one.seen >= oldest]

    def _remember(self, server: str, kind: Kind, names: Iterable[str], mark: _Mark) -> None:
        if mark != self._mark:
            self._told.clear()  # of the others nothing was read in this file
            self._mark = mark
        told = self._told.setdefault((server, kind), set())
        if len(told) > self._limits.names:
            told.clear()
        told.update(names)
        while len(self._told) > self._limits.servers:
            del self._told[next(iter(self._told))]

    # --- the file itself ---

    def _stat(self) -> _Mark:
        try:
            found = self._path.lstat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino, found.st_size

    def _read(self) -> tuple[_File, bool]:
        """Return what the file says, and whether it is no such file."""
        if not os.path.lexists(self._path):
            return _File(), False
        data = files.read_private(self._path, max_bytes=self._limits.file_bytes)
        try:
            return _DECODER.decode(data), False
        except msgspec.DecodeError:
            return _File(), True

    def _write(self, file: _File) -> None:
        for left in self._path.parent.glob(f".{self._path.name}.*.tmp"):  # of a guard that was killed: the lock is ours
            left.unlink(missing_ok=True)
        data = msgspec.json.encode(file, order="sorted")
        if len(data) > self._limits.file_bytes:
            raise ConfigError(
                f"cannot write {str(self._path)!r}: it would be larger than {self._limits.file_bytes} bytes",
                hint="delete it; the guards that run fill it again",
            )
        files.write_atomic(self._path, data)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock beside the file.

        Raises:
            ConfigError: Another guard holds it for too long.
        """
        if not os.path.lexists(self._path.parent):
            files.private_dir(self._path.parent)
        fd = files.append_private(self._path.with_name(f"{self._path.name}.lock"))
        try:
            self._wait(fd)
            yield
        finally:
            with suppress(OSError):
                os.close(fd)

    def _wait(self, fd: int) -> None:
        for _ in range(self._limits.tries):
            if advisory.take(fd):
                return
            self._sleep(self._limits.pause)
        raise ConfigError(
            f"cannot use {str(self._path)!r}: another guard does not let go of it",
            hint="end the guard that hangs: its lock is the file beside",
        )


def _size(name: str) -> int:
    return len(msgspec.json.encode(name))


def _can_be_written(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True

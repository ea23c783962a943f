"""Where checkpoints go: somewhere that who writes the log can add to, and no more.

A sink is named by a URL. ``file:/path``, ``https://…`` and ``witness+https://…`` are here. A package brings another
kind by an entry point of the group ``hauberk.audit_sinks``: its name is the scheme, and it is called with the URL and a
`Setting`, and returns a `Sink`. In production the package must be that of a plugin that is required, so that it is
locked as plugins are.
"""

from __future__ import annotations

import errno
import importlib.metadata
import os
import stat
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol, final

from hauberk.files import sync_directory
from hauberk.refusals import ConfigError, HauberkError, PluginError
from hauberk_audit.checkpoints import _reach

GROUP: Final = "hauberk.audit_sinks"
_FLAGS: Final[int] = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


Prove = Callable[[int], Sequence[bytes]]
"""Returns the proof that a log only grew since it had so many entries (RFC 6962 section 2.1.2)."""


class SinkError(HauberkError):
    """A sink could not take a checkpoint."""


class Sink(Protocol):
    """Somewhere for checkpoints. It is used by one thread, which may wait for it.

    One that has ``cosign(note, prove)`` is asked by that instead of ``send(note)``: it gets a `Prove` as well.
    """

    def send(self, note: bytes) -> bytes:
        """Keep a checkpoint, for good, before this returns.

        Args:
            note: A signed note, UTF-8, which ends with LF.

        Returns:
            Lines of signatures that were added to it, such as a witness makes, or nothing.

        Raises:
            SinkError: It is not kept.
        """
        ...

    def within_reach(self) -> str:
        """Return why who writes the log could change what is kept here, or nothing if it cannot.

        Raises:
            SinkError: That cannot be told.
        """
        ...


class Setting(NamedTuple):
    """What a sink is made with."""

    production: bool = False
    tokens: Mapping[str, Path] = {}
    """Files with a token each, by the name of the host that gets it."""
    ca_file: Path | None = None
    """Certificates of authorities that are trusted in place of those of the system (PEM)."""
    packages: frozenset[str] | None = None
    """The distributions that sinks may come from; None is any."""


Factory = Callable[[str, Setting], Sink]


def make(url: str, setting: Setting) -> Sink:
    """Return the sink of a URL; nothing is opened.

    Raises:
        ConfigError: There is none of this kind, or the URL is not one of it.
        PluginError: The package that brings it cannot be used.
    """
    scheme = url.partition(":")[0]
    if scheme == "file":
        return FileSink(url, setting)
    if scheme == "https":
        from hauberk_audit.checkpoints._https import HttpsSink  # only who uses it pays for its imports

        return HttpsSink(url, setting)
    if scheme == "witness+https":
        from hauberk_audit.checkpoints._witness import WitnessSink

        return WitnessSink(url, setting)
    return _brought(url, scheme, setting)


def _brought(url: str, scheme: str, setting: Setting) -> Sink:
    entries = list(importlib.metadata.entry_points(group=GROUP, name=scheme))
    if not entries:
        raise ConfigError(
            f"no sink for checkpoints takes {scheme!r} (there are: {', '.join(schemes())})",
            hint="write file:/path or https://host/path" + (", not http" if scheme == "http" else ""),
        )
    packages = sorted({entry.dist.name if entry.dist else "?" for entry in entries})
    if len(entries) > 1:
        raise PluginError(f"{' and '.join(packages)} both bring a sink {scheme!r}", hint="uninstall one of them")
    if setting.packages is not None and packages[0] not in setting.packages:
        raise PluginError(
            f"sink {scheme!r} is of {packages[0]!r}, which is no plugin that is required",
            hint="in production nothing runs that is not locked: name its plugin in plugins.require",
        )
    try:
        factory: Any = entries[0].load()
        sink: Sink = factory(url, setting)
    except (ConfigError, PluginError):
        raise
    except Exception as error:
        raise PluginError(
            f"sink {scheme!r} of {packages[0]!r} cannot be made ({type(error).__name__}: {error})"
        ) from error
    return sink


def schemes() -> list[str]:
    """Return the schemes that there are sinks for."""
    return sorted({"file", "https", "witness+https", *importlib.metadata.entry_points(group=GROUP).names})


@final
class FileSink:
    """A file that checkpoints are appended to. It is another user's, and append-only (`checkpoints._reach`)."""

    def __init__(self, url: str, setting: Setting) -> None:
        path = url.removeprefix("file:")
        path = path.removeprefix("//") if path.startswith("///") else path
        if not path.startswith("/") or path.startswith("//") or path.endswith("/") or not path.isprintable():
            raise ConfigError(f"{url!r} names no file for checkpoints", hint="write file:/path/from/the/root")
        self.path: Final = Path(path)
        self._make: Final = not setting.production
        self._whole = False
        """Whether what was written last was written by this object, and whole."""

    def send(self, note: bytes) -> bytes:
        """Append a checkpoint, and bring it to the disk."""
        try:
            self._append(note)
        except OSError as error:
            raise SinkError(
                f"cannot append to {str(self.path)!r}: {(error.strerror or type(error).__name__).lower()}"
            ) from error
        return b""

    def within_reach(self) -> str:
        """Return why the host could change the file, or nothing."""
        if os.name != "posix":
            return "there is no such file on this system"
        try:
            return _reach.within(_reach.place(self.path), os.geteuid())
        except OSError as error:
            reason = (error.strerror or type(error).__name__).lower()
            raise SinkError(f"cannot open {str(self.path)!r}: {reason}") from error

    def _append(self, note: bytes) -> None:
        fd = self._open()
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise OSError(errno.EINVAL, "it is no regular file")
            whole, self._whole = self._whole, False
            # After what may be half a checkpoint, two empty lines: one ends it, and one begins what follows.
            data = (b"\n" if whole else b"\n\n") + note
            if os.write(fd, data) != len(data):  # one write, so that those of two hosts do not mix
                raise OSError(errno.ENOSPC, "it was not written whole")
            os.fsync(fd)
            self._whole = True
        finally:
            os.close(fd)

    def _open(self) -> int:
        try:
            return os.open(self.path, _FLAGS)
        except FileNotFoundError:
            if not self._make:
                raise
        fd = os.open(self.path, _FLAGS | os.O_CREAT, 0o600)
        sync_directory(self.path.parent)
        return fd

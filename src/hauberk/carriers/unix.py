"""The listening end of a Unix socket, where nobody else can put one, and from where nobody else's is taken (S4.8, A80).

The rules:

1. The socket lies in a directory of mode 0700 that is ours; it is made if it is missing. Whoever could swap that
   directory is root or we.
2. The socket is bound under umask 0177: it has mode 0600 from its first moment, not from a ``chmod`` after it.
3. What is there already is removed only if it is a socket, is ours, and a connection to it is refused, so that nobody
   listens there. A link, a file, another user's socket, and one that somebody listens on stay, and we do not start.
   A lock on the directory makes looking and binding one step, for two servers that start at once. Whoever else holds it
   holds up a start for a second at most, and an end not at all.
4. The path fits ``sockaddr_un``; there are no abstract names, which have no owner and no mode.
5. At the end the socket is removed if it is still the one that we bound.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal, final

from hauberk import files
from hauberk.carriers import address as addresses
from hauberk.refusals import ConfigError, HauberkError

BACKLOG: Final = 1024
"""Connections that the kernel may hold until they are accepted; it may allow fewer."""
_UMASK: Final = 0o177
_TRIES: Final = 3
_PATIENCE: Final = 1.0
"""What a start waits for the lock of the directory (seconds)."""
_APART: Final = 0.02
_SHORT: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


@final
class NotNow(HauberkError):
    """It cannot be done at the moment."""


class UnixListener:
    """A socket that is listened on. ``sock`` does not block."""

    def __init__(self, path: Path) -> None:
        """Bind and listen.

        Raises:
            ConfigError: A rule of this module forbids it, or the system does.
        """
        addresses.check_length(path)
        self.path: Final = path
        try:
            self._bind(_PATIENCE)
        except NotNow as error:
            raise ConfigError(error.message, hint=error.hint) from error

    def _bind(self, patience: float) -> None:
        files.private_dir(self.path.parent)
        files.check_directory_of(self.path.parent)
        with _locked(self.path.parent, patience):
            try:
                _clear(self.path)
                sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            except OSError as error:
                raise _cannot(self.path, error) from error
            try:
                _bound(sock, self.path)
                self._is = _identity(self.path)
                sock.listen(BACKLOG)
            except BaseException:
                sock.close()
                raise
        self.sock = sock
        self.sock.setblocking(False)

    @property
    def found(self) -> Literal["there", "removed", "replaced"]:
        """What has become of the path."""
        try:
            return "there" if _identity(self.path) == self._is else "replaced"
        except FileNotFoundError:
            return "removed"
        except OSError:
            return "replaced"  # by a directory without its permissions, or a file in the place of a directory

    def again(self) -> None:
        """Bind anew, where the path was removed; who is connected stays so.

        Raises:
            NotNow: It may be done later; nothing has changed.
            ConfigError: It cannot be done.
        """
        before = self.sock
        self._bind(0)
        before.close()

    def close(self) -> None:
        """Listen no more; remove the path, if it is still ours.

        That takes no lock: for as long as we listen, nobody else takes the path for one that may be bound.
        """
        with contextlib.suppress(OSError):
            if self.found == "there":
                self.path.unlink()
        self.sock.close()


@contextlib.contextmanager
def _locked(directory: Path, patience: float) -> Iterator[None]:
    """Let no other server look or bind in this directory meanwhile.

    Raises:
        NotNow: Another one does, for longer than so many seconds.
        ConfigError: There is no such directory.
    """
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise _cannot(directory, error) from error
    try:
        _lock(fd, directory, time.monotonic() + patience)
        yield
    finally:
        os.close(fd)


def _lock(fd: int, directory: Path, until: float) -> None:
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                raise NotNow(
                    f"cannot listen in {str(directory)!r}: another process holds a lock on it",
                    hint="look at who holds it (lslocks), or take another directory",
                ) from None
            time.sleep(_APART)
        else:
            return


def _clear(path: Path) -> None:
    """Remove a socket of ours at which nobody listens any more.

    Raises:
        ConfigError: What is there is something else.
    """
    for _ in range(_TRIES):
        try:
            there = path.lstat()
        except FileNotFoundError:
            return
        except OSError as error:
            raise _cannot(path, error) from error
        if not stat.S_ISSOCK(there.st_mode):
            what = "a symbolic link" if stat.S_ISLNK(there.st_mode) else "no socket"
            raise ConfigError(f"cannot listen at {str(path)!r}: it is {what}", hint="look at who put it there")
        if there.st_uid != os.geteuid():
            raise ConfigError(
                f"cannot listen at {str(path)!r}: it is a socket of user {there.st_uid}",
                hint="look at who put it there",
            )
        if not _is_stale(path):
            raise ConfigError(
                f"cannot listen at {str(path)!r}: a server listens there already", hint="end it, or take another path"
            )
        path.unlink(missing_ok=True)
    raise ConfigError(f"cannot listen at {str(path)!r}: something is put there again and again")


def _is_stale(path: Path) -> bool:
    """Whether nobody listens at a socket. One that is full, or that we may not connect to, is in use."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        return probe.connect_ex(str(path)) == errno.ECONNREFUSED


def _bound(sock: socket.socket, path: Path) -> None:
    before = os.umask(_UMASK)
    try:
        sock.bind(str(path))
    except OSError as error:
        raise _cannot(path, error) from error
    finally:
        os.umask(before)


def _identity(path: Path) -> tuple[int, int]:
    """Return what tells a socket from another one: while it is open, no other file gets its inode."""
    there = path.lstat()
    return there.st_dev, there.st_ino


def _cannot(path: Path, error: OSError) -> HauberkError:
    reason = os.strerror(error.errno or 0).lower()
    kind = NotNow if error.errno in _SHORT else ConfigError
    return kind(f"cannot listen at {str(path)!r}: {reason}")

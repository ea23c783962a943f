"""Files that nobody else may read, change or swap (X.12, the file half of X.9).

The rules:

1. One open, with ``O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK``, relative to a descriptor of the directory. Every check is an
   ``fstat`` of those descriptors, and what is read is read from the one that was checked.
2. A regular file. A symbolic link, a directory, a FIFO and a device are refused; a FIFO does not block.
3. The owner is the effective user, or root.
4. *Private*: no permission for group or others. *Trusted*: group and others may read, nobody else may write.
5. The directory belongs to the effective user or root, and others may not write in it unless it is sticky.
6. A new file has its mode from the ``open`` that makes it. A replaced one is written beside, synced and renamed, and
   the directory is synced: after a crash there is the old file or the new one, whole.

On Windows there are no such owners and modes; only rules 2 and 6 hold.
"""

from __future__ import annotations

import errno
import itertools
import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from hauberk.refusals import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

MAX_TRUSTED_BYTES: Final = 1024 * 1024
"""A configuration or a policy is not larger than this (bytes)."""

_POSIX: Final = os.name == "posix"
_SAFE: Final[int] = sum(
    getattr(os, flag, 0) for flag in ("O_NOFOLLOW", "O_CLOEXEC", "O_NONBLOCK", "O_NOCTTY", "O_BINARY", "O_NOINHERIT")
)
_DIRECTORY: Final[int] = getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)
# A directory that may be entered but not listed can still be checked, where the system has O_PATH.
_ENTER: Final[int] = _DIRECTORY | getattr(os, "O_PATH", 0)
_NOFOLLOW: Final[int] = getattr(os, "O_NOFOLLOW", 0)

_PRIVATE: Final = 0o077
"""What a private file or directory grants to nobody."""
_TRUSTED: Final = 0o022
"""What a trusted file grants to nobody."""
_MODE: Final = 0o600

_serial = itertools.count()


def read_private(path: Path, *, max_bytes: int) -> bytes:
    """Return the content of a file that only its owner may read: a key, a token, a store.

    Raises:
        ConfigError: The file is missing, larger than ``max_bytes``, or breaks a rule of this module.
    """
    data, fault = _read(path, max_bytes, _PRIVATE)
    if fault:
        raise fault
    return data


def read_trusted(path: Path, *, max_bytes: int = MAX_TRUSTED_BYTES) -> bytes:
    """Return the content of a file that only its owner may change: a configuration, a policy.

    Raises:
        ConfigError: The file is missing, larger than ``max_bytes``, or breaks a rule of this module.
    """
    data, fault = read_judged(path, max_bytes=max_bytes)
    if fault:
        raise fault
    return data


def read_judged(path: Path, *, max_bytes: int = MAX_TRUSTED_BYTES) -> tuple[bytes, ConfigError | None]:
    """Return the content of a file, and what `read_trusted` would say against its owner, mode or directory.

    For a caller that must read the file to know how strict to be.

    Raises:
        ConfigError: The file is missing, no regular file, or larger than ``max_bytes``.
    """
    return _read(path, max_bytes, _TRUSTED)


def create_private(path: Path) -> int:
    """Make a new file of mode 0600 and return a descriptor to write to it.

    Raises:
        ConfigError: The path exists, or its directory cannot hold a private file.
    """
    check_directory_of(path)
    fd = _create(path, os.O_WRONLY)
    if fd is None:
        raise ConfigError(f"cannot make {str(path)!r}: it exists already")
    return fd


def append_private(path: Path, *, in_place: bool = False) -> int:
    """Open a private file to read it and to append to it, making it with mode 0600 if it is missing.

    Args:
        path: The file.
        in_place: Whether it is written where the descriptor stands, instead of at its end.

    Raises:
        ConfigError: The file or its directory breaks a rule of this module.
        OSError: The directory could not be synced after the file was made.
    """
    check_directory_of(path)
    flags = os.O_RDWR | (0 if in_place else os.O_APPEND)
    if os.path.lexists(path) or (fd := _create(path, flags)) is None:
        fd, directory = _open(path, flags)
        return _checked(fd, path, directory)
    try:
        sync_directory(path.parent)
    except BaseException:
        os.close(fd)
        raise
    return fd


def write_atomic(path: Path, data: bytes, *, mode: int = _MODE) -> None:
    """Replace the content of ``path`` so that a crash at any moment leaves the old file or the new one, whole.

    Raises:
        ConfigError: The directory cannot hold the file.
        OSError: The disk failed; the old file stands, and nothing is left beside it.
    """
    if not mode & _PRIVATE:
        check_directory_of(path)
    temporary = _write_beside(path, data, mode)
    try:
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def write_new(path: Path, data: bytes) -> None:
    """Make a private file that did not exist; a reader sees no file or the whole one, never a part.

    Raises:
        ConfigError: The path exists, or its directory cannot hold the file.
        OSError: The disk failed; there is no file.
    """
    check_directory_of(path)
    temporary = _write_beside(path, data, _MODE)
    try:
        path.hardlink_to(temporary)
    except OSError as exc:
        raise _cannot("make", path, exc) from exc
    finally:
        temporary.unlink(missing_ok=True)
    sync_directory(path.parent)


def private_dir(path: Path) -> Path:
    """Make a directory of mode 0700, with its parents, or check the one that is there. Return it.

    Raises:
        ConfigError: It cannot be made, is a symbolic link, belongs to somebody else, or lets others in.
    """
    try:
        for missing in reversed([p for p in (path, *path.parents) if not os.path.lexists(p)]):
            with suppress(FileExistsError):
                missing.mkdir(0o700)
        fd = os.open(path, _ENTER | _NOFOLLOW) if _POSIX else -1
    except OSError as exc:
        raise _cannot("use directory", path, exc) from exc
    if fd >= 0:
        try:
            info = _status(fd)
        finally:
            os.close(fd)
        if info.st_uid != os.geteuid():
            raise _foreign(path, info.st_uid)
        if info.st_mode & _PRIVATE:
            raise _loose(path, info.st_mode, "lets others in", "700")
    return path


def list_trusted(path: Path) -> list[str]:
    """Return the names in a directory that only its owner may change, sorted.

    Raises:
        ConfigError: It is missing or a symbolic link, belongs to somebody else, or others may change or swap it.
    """
    try:
        if not _POSIX:
            return sorted(os.listdir(path))  # noqa: PTH208 - as below
        fd = os.open(path, os.O_RDONLY | _DIRECTORY | _NOFOLLOW)
        try:
            info, names = _status(fd), os.listdir(fd)  # noqa: PTH208 - of the one that was checked
        finally:
            os.close(fd)
        above = path.parent.stat()
    except OSError as exc:
        raise _cannot("use directory", path, exc) from exc
    if info.st_mode & _TRUSTED:  # no sticky bit helps: others must not put files of their own there
        raise _loose(path, info.st_mode, "lets others put files there", "go-w")
    fault = _directory_fault(path, info) or _directory_fault(path.parent, above)
    if fault:
        raise fault
    return sorted(names)


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable (a rename is not, until then)."""
    if not _POSIX:
        return
    fd = os.open(path, os.O_RDONLY | _DIRECTORY)
    try:
        os.fsync(fd)
    except OSError as exc:
        if exc.errno != errno.EINVAL:  # a file system that cannot sync directories says EINVAL
            raise
    finally:
        os.close(fd)


def _read(path: Path, max_bytes: int, forbidden: int) -> tuple[bytes, ConfigError | None]:
    fd, directory = _open(path, os.O_RDONLY)
    try:
        fault = _fault(path, _regular(fd, path), directory, forbidden)
        data = _take(fd, max_bytes + 1)
    finally:
        os.close(fd)
    if len(data) > max_bytes:
        raise ConfigError(f"cannot use {str(path)!r}: it is larger than {max_bytes} bytes")
    return data, fault


def _take(fd: int, count: int) -> bytes:
    chunks = []
    while count > 0 and (chunk := os.read(fd, min(count, 1 << 16))):
        chunks.append(chunk)
        count -= len(chunk)
    return b"".join(chunks)


def _open(path: Path, flags: int) -> tuple[int, os.stat_result]:
    try:
        return _open_in_directory(path, flags)
    except OSError as exc:
        raise _cannot("open", path, exc) from exc


def _create(path: Path, flags: int) -> int | None:
    """Return a descriptor of a new file of mode 0600, or None if the path exists."""
    try:
        return _open_in_directory(path, flags | os.O_CREAT | os.O_EXCL)[0]
    except FileExistsError:
        return None
    except OSError as exc:
        raise _cannot("make", path, exc) from exc


def _open_in_directory(path: Path, flags: int) -> tuple[int, os.stat_result]:
    """Return a descriptor of the file, and the status of the very directory that it was opened in."""
    if not _POSIX:
        if path.is_symlink():
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        return os.open(path, flags | _SAFE, _MODE), path.parent.stat()
    at = os.open(path.parent, _ENTER)
    try:
        return os.open(path.name, flags | _SAFE, _MODE, dir_fd=at), _status(at)
    finally:
        os.close(at)


def _write_beside(path: Path, data: bytes, mode: int) -> Path:
    """Write ``data``, synced, to a new file in the directory of ``path``; on failure nothing is left."""
    fd = None
    while fd is None:  # a name that is taken was left by a process of this number that was killed
        temporary = path.with_name(f".{path.name}.{os.getpid()}.{next(_serial)}.tmp")
        fd = _create(temporary, os.O_WRONLY)
    try:
        with os.fdopen(fd, "wb") as stream:
            stream.write(data)
            stream.flush()
            if mode != _MODE and _POSIX:
                os.fchmod(fd, mode)
            os.fsync(fd)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def _status(fd: int) -> os.stat_result:
    return os.fstat(fd)


def _regular(fd: int, path: Path) -> os.stat_result:
    info = _status(fd)
    if not stat.S_ISREG(info.st_mode):
        kind = "a directory" if stat.S_ISDIR(info.st_mode) else "no regular file"
        raise ConfigError(f"cannot use {str(path)!r}: it is {kind}")
    return info


def _checked(fd: int, path: Path, directory: os.stat_result) -> int:
    """Return the descriptor of a private file, or close it and say what is wrong."""
    try:
        fault = _fault(path, _regular(fd, path), directory, _PRIVATE)
    except BaseException:
        os.close(fd)
        raise
    if fault:
        os.close(fd)
        raise fault
    return fd


def check_directory_of(path: Path) -> None:
    """Check that nobody but its owner and root can swap a file.

    Raises:
        ConfigError: The directory that it is in belongs to somebody else, or lets others write.
    """
    try:
        info = path.parent.stat()
    except OSError as exc:
        raise _cannot("use", path, exc) from exc
    fault = _directory_fault(path.parent, info)
    if fault:
        raise fault


def _fault(path: Path, info: os.stat_result, directory: os.stat_result, forbidden: int) -> ConfigError | None:
    if _POSIX and info.st_uid not in {0, os.geteuid()}:
        return _foreign(path, info.st_uid)
    if _POSIX and info.st_mode & forbidden:
        if forbidden == _PRIVATE:
            return _loose(path, info.st_mode, "lets others in", "600")
        return _loose(path, info.st_mode, "lets others change it", "go-w")
    return _directory_fault(path.parent, directory)


def _directory_fault(path: Path, info: os.stat_result) -> ConfigError | None:
    if not _POSIX:
        return None
    if info.st_uid not in {0, os.geteuid()}:
        return _foreign(path, info.st_uid)
    if info.st_mode & _TRUSTED and not info.st_mode & stat.S_ISVTX:
        return _loose(path, info.st_mode, "lets others swap the files in it", "go-w")
    return None


def _foreign(path: Path, uid: int) -> ConfigError:
    return ConfigError(
        f"cannot use {str(path)!r}: its owner is user {uid}, not user {os.geteuid()} or root",
        hint=f"chown {os.geteuid()} {_quoted(path)}, if you know where it came from",
    )


def _loose(path: Path, mode: int, harm: str, cure: str) -> ConfigError:
    return ConfigError(
        f"cannot use {str(path)!r}: its mode {stat.S_IMODE(mode):04o} {harm}", hint=f"chmod {cure} {_quoted(path)}"
    )


def _cannot(verb: str, path: Path, exc: OSError) -> ConfigError:
    hint = None
    if exc.errno in {errno.ELOOP, errno.EMLINK}:
        reason, hint = "it is a symbolic link", "name the file itself, not a link to it"
    elif exc.errno == errno.EEXIST:
        reason = "it exists already"
    elif exc.errno == errno.ENXIO:
        reason = "it is no regular file"
    else:
        reason = (exc.strerror or type(exc).__name__).lower()
    return ConfigError(f"cannot {verb} {str(path)!r}: {reason}", hint=hint)


def _quoted(path: Path) -> str:
    import shlex  # only for an error

    return shlex.quote(str(path))

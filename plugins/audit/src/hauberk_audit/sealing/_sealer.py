"""What seals the entries of a log that is written.

The rules:

1. The first recipient is the key of the host: it must open what is there. The others are copies, for whoever else is to
   read the log; a provider that can wrap and not unwrap is enough for them.
2. Each file of the log has a data key of its own. Another one is made for a file whose key has another set of
   recipients, or has sealed as much as it may.
3. Entries that somebody must understand who walks through the files of a log without any key stay clear: they close a
   file, begin the next one, or say which files were let go, and why. They hold nothing of a message.
4. Where the log has sealed lines and no data key for them, or a damaged one, nothing is sealed and the log does not
   open. A log that was written in clear goes on sealed; what was written stays as it is.
"""

from __future__ import annotations

import gzip
import mmap
import os
import re
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, final

from msgspec.structs import replace

from hauberk.refusals import ConfigError, HauberkError, PluginError
from hauberk_audit._bounds import BOUNDS
from hauberk_audit._paths import closed_files
from hauberk_audit.sealing import _recipients
from hauberk_audit.sealing._providers import KeyProvider
from hauberk_audit.sealing._recipients import EMPTY, KeyFile, keys_path
from hauberk_audit.sealing._sealing import NONCE, SEALED, Cipher, DataKey, is_sealed, seal
from hauberk_audit.writing._chain import FORMAT

_CLEAR: Final = re.compile(
    re.escape(FORMAT) + rb'"time":"[^"]{1,64}","code":"audit\.(?:continued|pruned|rotation)","id":"'
)
_HEAD: Final = len(SEALED) + 16
"""Bytes of a sealed line up to the end of the name of its data key."""

Random = Callable[[int], bytes]
Sealing = Callable[[Path], "Sealer"]
"""Makes what seals a log, which may be a numbered sibling of the one that was named."""


def sealing(recipients: Sequence[KeyProvider], *, random: Random = os.urandom, fresh: bool = False) -> Sealing:
    """Return what makes a `Sealer` for each log.

    Args:
        recipients: The keys; the first is the host's own.
        random: Where data keys and nonces come from.
        fresh: Whether the first line is sealed with a new data key, whatever is there.
    """
    return lambda path: Sealer(path, recipients, random, fresh=fresh)


@final
class Sealer:
    """Seals the entries of one log, whose lock its user holds."""

    __slots__ = ("_cipher", "_file", "_fresh", "_number", "_path", "_random", "_recipients", "_used")

    def __init__(self, path: Path, recipients: Sequence[KeyProvider], random: Random, *, fresh: bool = False) -> None:
        self._path: Final = path
        self._recipients: Final = tuple(recipients)
        self._random: Final = random
        self._fresh = fresh
        self._cipher: Cipher | None = None
        self._file = ""
        self._number = 0
        self._used = 0
        """Lines that the data key has sealed, those included that did not stay (at least as many)."""

    def begin(self, number: int, lines: int) -> Cipher:
        """Get ready to seal lines of a file, and return what seals them; its data key is on the disk then.

        Args:
            number: The number of the file, from 1.
            lines: How many lines it has.

        Raises:
            ConfigError: There are sealed lines and no sound data key for them, or none that the host's key opens.
            PluginError: A provider failed.
            OSError: The disk failed.
        """
        path = keys_path(self._path)
        there = _recipients.read(path)
        if self._cipher is None:
            self._check_known(path, there)
        data = None if there is None else self._last(path, there, number)
        if data is None:
            data, made = _recipients.new_key(number, self._recipients, self._random)
            stand = there or EMPTY
            _recipients.write(path, replace(stand, files=(*stand.files, made)))
            lines = 0
        self._file, self._number, self._used, self._fresh = data.file, number, lines, False
        self._cipher = cipher = data.cipher
        return cipher

    def seal(self, body: bytes, number: int, line: int) -> bytes:
        """Return the body of an entry as it is written: sealed, but for the few that stay clear.

        Args:
            body: The entry in clear.
            number: The number of the file that it is written to.
            line: The number of its line there, from 1.

        Raises:
            PluginError: The data key of a file that was just begun cannot be made.
            OSError: The disk failed.
        """
        if _CLEAR.match(body):
            return body
        cipher = self._cipher
        if cipher is None or number != self._number or self._used >= BOUNDS.sealed:
            self._fresh = self._fresh or (number == self._number and self._used >= BOUNDS.sealed)
            try:
                cipher = self.begin(number, line - 1)
            except HauberkError as error:
                raise PluginError(
                    f"cannot seal audit log {str(self._path)!r}: {error.message}", hint=error.hint
                ) from None
        self._used += 1
        return seal(body, cipher, self._file, line, self._random(NONCE))

    def _last(self, path: Path, there: KeyFile, number: int) -> DataKey | None:
        """Return the data key of a file, if it has one that can go on being used.

        Raises:
            ConfigError: The last data key of the log is damaged, or not of this host's key.
        """
        if not there.files:
            return None
        last = there.files[-1]
        try:
            data = _recipients.unwrap(last, self._recipients[:1])
        except ConfigError as error:
            raise ConfigError(f"cannot use data keys {str(path)!r}: {error.message}", hint=error.hint) from None
        same = last.key_ids == {one.key_id for one in self._recipients}
        return data if same and last.number == number and not self._fresh else None

    def _check_known(self, path: Path, there: KeyFile | None) -> None:
        """Check that there is a data key for what was sealed last.

        Raises:
            ConfigError: There is none.
            OSError: The disk failed.
        """
        found = _last_sealed(self._path)
        if found is None and (before := closed_files(self._path)):
            found = _first_sealed(before[max(before)])
        if found is None or (there is not None and found in {one.file for one in there.files}):
            return
        why = "it is gone" if there is None else f"it holds no data key {found!r}"
        raise _recipients.damaged(path, f"{why}, and the log has lines that are sealed with one")


def _last_sealed(path: Path) -> str | None:
    """Return the name of the data key of the last sealed line of a file, if it has one."""
    with path.open("rb") as file:
        if not os.fstat(file.fileno()).st_size:
            return None
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            place = data.rfind(b"\n" + SEALED) + 1
            return _name(data[place : place + _HEAD])


def _first_sealed(path: Path) -> str | None:
    """Return the name of the data key of the first sealed line of a file that was closed, if it has one."""
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        try:
            while line := file.readline(BOUNDS.line + 1):
                if (found := _name(line[:_HEAD])) is not None:
                    return found
        except (EOFError, zlib.error, gzip.BadGzipFile):  # verify says so
            pass
    return None


def _name(line: bytes) -> str | None:
    """Return the name of the data key of a line that is sealed, and None of any other."""
    return line[len(SEALED) : _HEAD].decode(errors="replace") if is_sealed(line) else None

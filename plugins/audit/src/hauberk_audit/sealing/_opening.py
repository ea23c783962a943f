"""What opens the sealed entries of logs, with the keys that are at hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, final

from hauberk.refusals import HauberkError
from hauberk_audit.queries._index import Index, Watch, ready
from hauberk_audit.queries._reading import Reader
from hauberk_audit.sealing import _recipients, _sqlcipher
from hauberk_audit.sealing._providers import KeyProvider
from hauberk_audit.sealing._recipients import FileKey, keys_path
from hauberk_audit.sealing._sealing import Cipher, DataKey, key_of, unseal


@final
class Opener:
    """Opens the entries of any logs. A data key is unwrapped once."""

    __slots__ = ("_ciphers", "_index", "_keys", "_providers")

    def __init__(self, providers: Sequence[KeyProvider], *, index: bool = True) -> None:
        """Take the keys that are at hand, and whether there may be an index of a log that they open."""
        self._index: Final = index
        self._providers: Final = tuple(providers)
        self._keys: Final[dict[Path, dict[str, FileKey]]] = {}
        self._ciphers: Final[dict[tuple[Path, str], Cipher | HauberkError]] = {}

    def __call__(
        self, entry: dict[str, Any], log: Path, /, *, number: int | None = None, line: int | None = None
    ) -> dict[str, Any]:
        """Return an entry as it was before it was sealed; one that is not sealed, as it is.

        Args:
            entry: A line of the log, as JSON.
            log: The log, by its name without the number of a closed file.
            number: The number of the file in which it stands, where that is known.
            line: The number of its line there, where that is known.

        Raises:
            HauberkError: It was changed or moved, or none of the keys at hand opens it.
            OSError: The disk failed.
        """
        name = key_of(entry)
        if name is None:
            return entry
        cipher = self._ciphers.get((log, name))
        if cipher is None:
            cipher = self._ciphers[log, name] = self._cipher(log, name)
        if isinstance(cipher, HauberkError):
            raise cipher
        if line not in {None, entry["line"]} or number not in {None, self._keys[log][name].number}:
            raise HauberkError("it was moved: it was sealed for another line, or for another file")
        return unseal(entry, cipher)

    def check(self, log: Path) -> None:
        """Check that the keys at hand open what was written last to a log.

        Raises:
            HauberkError: They do not.
        """
        if keys := self._read(log):
            self._data_key(log, [*keys][-1])

    def index_key(self, log: Path) -> bytes | None:
        """Return the key of the index of a log (32 bytes), or None if no line was sealed since its keys were changed.

        Raises:
            HauberkError: None of the keys at hand opens the data keys of the log.
        """
        keys = self._read(log)
        found = _recipients.read(keys_path(log))
        name = None if found is None else next((one.file for one in found.files[found.index :]), None)
        return None if name is None or name not in keys else self._data_key(log, name).index_key

    def indexing(self, reader: Reader, watch: Watch) -> Index | None:
        """Return the index of a log that this opens, in SQLCipher, or None if there can be none."""
        key = self.index_key(reader.log) if self._index and _sqlcipher.works() else None
        return None if key is None else ready(reader, connect=_sqlcipher.connector(key), watch=watch)

    def _cipher(self, log: Path, name: str) -> Cipher | HauberkError:
        try:
            return self._data_key(log, name).cipher
        except HauberkError as error:  # the same for all of its lines: a KMS is asked once
            return error

    def _data_key(self, log: Path, name: str) -> DataKey:
        keys = self._keys.get(log, {})
        if name not in keys:  # perhaps its file was just begun
            keys = self._read(log)
        if name not in keys:
            raise _recipients.damaged(keys_path(log), f"it holds no data key {name!r}")
        return _recipients.unwrap(keys[name], self._providers)

    def _read(self, log: Path) -> dict[str, FileKey]:
        found = _recipients.read(keys_path(log))
        self._keys[log] = {} if found is None else {one.file: one for one in found.files}
        return self._keys[log]

"""Queries over logs, and the ways to what they want.

The rules:

1. What is asked is asked of the entries themselves: an index (`queries._index`) only says where to look. What it
   names is read from the log, and compared with the query.
2. Where all entries are wanted, no index is used: the last ones are read from the end, and what that costs does not
   grow with the log.
3. Where a log is sealed no index is made in clear: it is read from one end to the other, unless there is a way to an
   encrypted one.
4. An index that leads to another entry than it says is not what the log holds: it is deleted, and made anew.
5. An index is believed in what it leaves out, and in what it counts: who can write it can hide entries from a query.
   Who does not trust it uses none that stands beside a log.
6. Nothing is verified. That a query is answered says nothing about the log.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from itertools import groupby, islice
from pathlib import Path
from typing import Final, Self, TypeVar, final

from hauberk_audit.queries import _index_files
from hauberk_audit.queries._index import Index, Unusable, Watch, ready, unwatched
from hauberk_audit.queries._lookup import Counts, Place, counted, place_of, places, tally
from hauberk_audit.queries._query import Query
from hauberk_audit.queries._reading import Found, Reader, merged, text_of

T = TypeVar("T")
Indexing = Callable[[Reader, Watch], Index | None]
"""Makes the index of a log that is sealed; None where there can be none."""
EVERYTHING: Final = Query()
_PAGE: Final = 512
"""Entries of one file that are read at once."""


@final
class Logs:
    """Some logs, to be asked. It is a context manager, which lets go of the indexes."""

    def __init__(
        self,
        readers: Iterable[Reader],
        *,
        indexing: Indexing | None = None,
        watch: Watch = unwatched,
        beside: bool = True,
    ) -> None:
        """Take logs.

        Args:
            readers: Of each log one.
            indexing: What makes the indexes of logs that are sealed.
            watch: Shows how the making of an index goes.
            beside: Whether to use, and make, indexes that stand beside the logs.
        """
        self.readers: Final = tuple(readers)
        self._indexing: Final = indexing
        self._watch: Final = watch
        self._indexes: Final[dict[Path, Index]] = {}
        self._beside = beside
        """Whether an index beside a log can be used."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the indexes."""
        for index in self._indexes.values():
            index.close()
        self._indexes.clear()

    @property
    def skipped(self) -> int:
        """How many lines were no entries: of the logs, or of what was read of them where no index was used."""
        indexes = self._indexes
        return sum(indexes[reader.log].skipped if reader.log in indexes else reader.skipped for reader in self.readers)

    # --- queries ---

    def entries(self, query: Query = EVERYTHING, *, newest: bool = False, page: int = _PAGE) -> Generator[Found]:
        """Yield the entries that a query wants, the oldest or the newest first.

        Raises:
            ConfigError: A log cannot be read.
            Unusable: An index is not what its log holds, or is damaged; it was deleted.
        """
        try:
            yield from merged(
                [self._of(reader, query, newest=newest, page=page) for reader in self.readers], newest=newest
            )
        except Unusable:
            self._drop()
            raise

    def last(self, query: Query, limit: int) -> list[Found]:
        """Return the last entries that a query wants, the newest first.

        Raises:
            ConfigError: A log cannot be read.
        """
        return self._surely(lambda: list(islice(self.entries(query, newest=True, page=min(limit, _PAGE)), limit)))

    def named(self, *, id: str = "", sequence: int = 0, log: str = "") -> list[Found]:
        """Return the entries of an id, or of a number; there may be one in each log.

        Args:
            id: The id.
            sequence: The number, where no id is given.
            log: The name of the one log that is meant.

        Raises:
            ConfigError: A log cannot be read.
        """
        readers = [reader for reader in self.readers if log in {"", reader.log.name}]
        return self._surely(lambda: [found for reader in readers for found in self._named(reader, id, sequence)])

    def counts(self, query: Query) -> Counts:
        """Return how many entries there are that a query wants.

        Raises:
            ConfigError: A log cannot be read.
        """
        return self._surely(lambda: self._counts(query))

    # --- one log ---

    def _of(self, reader: Reader, query: Query, *, newest: bool, page: int) -> Iterator[Found]:
        index = None if query.is_all else self._index(reader)
        if index is not None:
            return self._indexed(reader, index, query, newest=newest, page=page)
        found = reader.backwards() if newest else reader.forwards()
        return found if query.is_all else (one for one in found if query.takes(one.entry))

    def _indexed(self, reader: Reader, index: Index, query: Query, *, newest: bool, page: int) -> Iterator[Found]:
        for number, group in groupby(places(index, query, newest=newest), key=lambda place: place.file):
            while some := list(islice(group, page)):
                found = _read(reader, number, sorted(some))
                if not all(query.takes(one.entry) for one in found):
                    raise _stale()
                yield from reversed(found) if newest else found

    def _named(self, reader: Reader, id: str, sequence: int) -> list[Found]:
        def meant(found: Found) -> bool:
            return text_of(found.entry, "id") == id if id else found.sequence == sequence

        index = self._index(reader)
        if index is None:
            return [found for found in reader.forwards() if meant(found)]
        found = [
            one for place in place_of(index, id=id, sequence=sequence) for one in _read(reader, place.file, [place])
        ]
        if not all(map(meant, found)):
            raise _stale()
        return found

    def _counts(self, query: Query) -> Counts:
        counts = Counts()
        for reader in self.readers:
            index = self._index(reader)
            found = (one for one in reader.forwards() if query.takes(one.entry)) if index is None else ()
            counts.add(tally(found) if index is None else counted(index, query))
        return counts

    # --- indexes ---

    def _index(self, reader: Reader) -> Index | None:
        """Return the index of a log, up to date as of its first use here."""
        index = self._indexes.get(reader.log)
        if index is None:
            if not reader.opens:
                there = bool(reader.sizes())  # a log that is gone gets no index
                index = ready(reader, watch=self._watch, beside=self._beside and there)
            elif self._indexing is not None and self._beside:
                index = self._indexing(reader, self._watch)
            if index is not None:
                self._indexes[reader.log] = index
        return index

    def _surely(self, ask: Callable[[], T]) -> T:
        """Ask, and once more with other indexes if one is of no use."""
        try:
            return ask()
        except Unusable:
            self._drop()
            return ask()

    def _drop(self) -> None:
        self.close()
        if not self._beside:
            return  # those that were used are gone
        dropped = [
            _index_files.drop(reader.log) for reader in self.readers
        ]  # each of them, also after one that is held
        self._beside = all(dropped)


def _read(reader: Reader, number: int, found: list[Place]) -> list[Found]:
    """Return the entries at places of one file.

    Raises:
        Unusable: There is none at one of them.
    """
    entries = [one for one in reader.at(number, [(place.line, place.offset, place.size) for place in found]) if one]
    if len(entries) < len(found):
        raise _stale()
    return entries


def _stale() -> Unusable:
    return Unusable("it is not what the log holds now; it was deleted")

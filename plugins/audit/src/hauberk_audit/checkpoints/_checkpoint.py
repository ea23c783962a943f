"""Checkpoints: how many entries a chain had, and what they were (https://c2sp.org/tlog-checkpoint).

The rules:

1. A checkpoint is the text of a signed note (`checkpoints._note`). Its lines are the origin, which names the log; the
   number of entries; the root of the tree of their lines (`checkpoints._tree`) in base64; and extensions, none of
   them empty.
2. An extension is a word, a blank and a text. ``chain`` is the beginning, 32 hexadecimal digits, of the SHA-256 of the
   first line: which chain of that origin it is. ``time`` is when it was made (RFC 3339, in UTC).
3. What stands beside a log of which files are gone, the *cut*, has more: ``file``, the number of the last of them;
   ``entry_hash``, the hash of the last of their entries; ``peaks``, what a tree goes on with.
4. Checkpoints in a file follow one another, with empty lines between. What is none is a fault, and stops nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import Final, NamedTuple, Self

from hauberk_audit._bounds import BOUNDS
from hauberk_audit.checkpoints import _note
from hauberk_audit.checkpoints._note import NoteError
from hauberk_audit.checkpoints._tree import HASH_BYTES, Tree

CHAIN_DIGITS: Final = 32
_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,17}")
_FEWEST: Final = 3
_DASH: Final = "\u2014 ".encode()


class Checkpoint(NamedTuple):
    """What a log said of itself."""

    origin: str
    size: int
    """Entries."""
    root: bytes
    chain: str = ""
    time: str = ""
    extensions: tuple[tuple[str, str], ...] = ()
    """All others."""

    @property
    def text(self) -> bytes:
        """The text of its note."""
        known = (("chain", self.chain), ("time", self.time))
        extensions = [f"{word} {text}" for word, text in (*known, *self.extensions) if text]
        lines = [self.origin, str(self.size), _note.encode(self.root), *extensions]
        return "".join(f"{line}\n" for line in lines).encode()

    @classmethod
    def parse(cls, text: bytes) -> Self:
        """Read the text of a note.

        Raises:
            NoteError: It is no checkpoint.
        """
        lines = text.decode().removesuffix("\n").split("\n")
        if len(lines) < _FEWEST or not all(lines):
            raise NoteError("it is no checkpoint: an origin, a size and a root, and no empty line")
        origin, size, root, *rest = lines
        if not _SIZE.fullmatch(size) or len(decoded := _note.decode(root)) != HASH_BYTES:
            raise NoteError("it is no checkpoint: its size or its root is none")
        found = [(word, value) for word, _, value in (line.partition(" ") for line in rest)]
        if len({word for word, _ in found}) < len(found):
            raise NoteError("it has an extension twice")
        named = dict(found)
        others = tuple(one for one in found if one[0] not in {"chain", "time"})
        return cls(origin, int(size), decoded, named.get("chain", ""), named.get("time", ""), others)

    def extension(self, word: str) -> str:
        """Return an extension, or nothing."""
        return dict(self.extensions).get(word, "")


class Cut(NamedTuple):
    """Where a log begins of which files are gone."""

    file: int
    """The number of the last of them."""
    size: int
    """How many entries went with all of them: the number of the last."""
    hash: str
    """Its hash."""
    chain: str
    peaks: tuple[bytes, ...]

    def checkpoint(self, origin: str, time: str) -> Checkpoint:
        """Return the checkpoint that says so."""
        peaks = " ".join(map(_note.encode, self.peaks))
        extensions = (("file", str(self.file)), ("entry_hash", self.hash), ("peaks", peaks))
        return Checkpoint(origin, self.size, Tree(self.size, self.peaks).root(), self.chain, time, extensions)

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> Self:
        """Return what a checkpoint says of files that are gone.

        Raises:
            NoteError: It says nothing of that, or does not agree with itself.
        """
        try:
            peaks = tuple(map(_note.decode, checkpoint.extension("peaks").split()))
            root = Tree(checkpoint.size, peaks).root()
            number = int(checkpoint.extension("file"))
        except ValueError as error:
            raise NoteError(f"it does not say where a log begins: {error}") from None
        if root != checkpoint.root or number < 1:
            raise NoteError("it does not say where a log begins: its peaks are not those of its root")
        return cls(number, checkpoint.size, checkpoint.extension("entry_hash"), checkpoint.chain, peaks)


def chain_of(line: bytes) -> str:
    """Return what names a chain: of its first line, without the LF."""
    return sha256(line).hexdigest()[:CHAIN_DIGITS]


class Found(NamedTuple):
    """What looks like a note in a file of them."""

    line: int
    """Where it begins, from 1."""
    data: bytes
    fault: str
    """Why it is none, or nothing."""


def notes_in(lines: Iterable[bytes]) -> Iterator[Found]:
    """Yield the notes of a file, given by its lines without their LF, and what is none."""
    kept: list[bytes] = []
    start, size, signing = 0, 0, False
    for number, line in enumerate(lines, 1):
        if signing and not line.startswith(_DASH):
            yield _found(start, kept)
            kept, size, signing = [], 0, False
        if not line and not kept:
            continue
        start, size, signing = start if kept else number, size + len(line) + 1, signing or not line
        if size <= BOUNDS.note:  # what is longer is none, so its rest need not be kept
            kept.append(line)
    if kept:
        yield _found(start, kept)


def _found(start: int, lines: list[bytes]) -> Found:
    data = b"".join(line + b"\n" for line in lines)
    try:
        _note.parse(data)
    except NoteError as error:
        return Found(start, data, str(error))
    return Found(start, data, "")

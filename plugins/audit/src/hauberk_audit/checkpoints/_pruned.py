"""Let the oldest files of a log go, so that what is left can still be verified.

The rules:

1. Whole files go that were closed, the oldest first. The last one that was closed always stays: the numbers, and the
   chain, go on from it.
2. First an ``audit.pruned`` entry is on the disk: who, why, and up to which entry, with its hash. Then a checkpoint
   beside the log (``audit.jsonl.pruned``, the cut) says the same, and holds what the tree of the lines goes on with.
   Then the files go. A crash between two steps leaves more files than need be there, and they go the next time.
3. What is left is verified from its first entry on. With the key of the log, the entry shows that what is missing was
   to go; with the public key of the checkpoints alone, the cut does.
4. A log that is not what its writer wrote is left as it is.
5. A cut that is there counts only if who writes the log made it (`own_cut`): anybody who can put a file beside the log
   could have files removed otherwise, and let the host sign later that it was right.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson

from hauberk import files
from hauberk_audit._bounds import BOUNDS
from hauberk_audit._paths import closed, closed_files, packed, pruned_path
from hauberk_audit.checkpoints import _note
from hauberk_audit.checkpoints._checkpoint import Checkpoint, Cut
from hauberk_audit.checkpoints._follow import Follower, LogChanged, Place, opened, pieces
from hauberk_audit.checkpoints._note import NoteError, Signer
from hauberk_audit.checkpoints._tree import Tree
from hauberk_audit.verifying._heads import head
from hauberk_audit.writing._chain import read

PRUNED: Final = "audit.pruned"
_FLAGS: Final[int] = sum(
    getattr(os, flag, 0) for flag in ("O_RDONLY", "O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY")
)
_CODE: Final = b'","code":"audit.pruned","id":"'


class Keep(NamedTuple):
    """Which of the files that were closed stay."""

    before: float | None = None
    """Those go whose last entry is older (seconds since 1970)."""
    most: int | None = None
    """Those go of which so many newer ones are there."""
    least: int = 1
    """So many stay, however old they are."""


class Plan(NamedTuple):
    """What goes."""

    cut: Cut
    files: tuple[Path, ...]
    bytes: int
    newest: str
    """When the last of their entries was written; empty where that cannot be seen."""


class Named(NamedTuple):
    """What an ``audit.pruned`` entry says."""

    sequence: int
    hash: str


def plan(
    path: Path,
    keep: Keep,
    pause: Callable[[], object] = lambda: None,
    *,
    begun: Cut | None = None,
    signer: Signer | None = None,
) -> Plan | None:
    """Return what would go of a log, or None if all of it stays; nothing is changed.

    Args:
        path: The log.
        keep: Which of its files stay.
        pause: Is called while a file is read.
        begun: With what it begins, if that is known (`own_cut`).
        signer: The key of its checkpoints, if there are any.

    Raises:
        LogChanged: It is not what its writer wrote.
        OSError: The disk failed.
    """
    begun = begun or own_cut(path, signer, pause=pause)
    numbers = [number for number in closed_files(path) if begun is None or number > begun.file]
    follower, found, size = begin(path, begun, pause), None, 0
    going: list[Path] = []
    for place, number in enumerate(numbers[: len(numbers) - max(keep.least, 1)]):
        many = keep.most is not None and len(numbers) - place > keep.most
        name = _names(path, number)[0]
        if number != follower.file or not (many or _may_be_old(name, keep)):
            break
        size += name.stat().st_size
        follower.end_file()
        entry, written = read(follower.last), head(follower.last)
        if entry is None or entry.sequence != follower.tree.size:
            raise LogChanged(f"file {number} of audit log {str(path)!r} does not end with entry {follower.tree.size}")
        if not many and written is not None and keep.before is not None and written.seconds >= keep.before:
            break
        going.append(name)
        cut = Cut(number, entry.sequence, entry.hash.decode(), follower.chain, follower.tree.peaks)
        found = Plan(cut, tuple(going), size, written.time if written else "")
    return found


def _may_be_old(name: Path, keep: Keep) -> bool:
    """Whether it is worth while to read when the last entry of a file was written: the file is not older than that."""
    return keep.before is not None and name.stat().st_mtime < keep.before


def begin(path: Path, begun: Cut | None, pause: Callable[[], object] = lambda: None) -> Follower:
    """Return what reads a log from its first entry on that is there."""
    if begun is None:
        return Follower(path, pause=pause)
    tree = Tree(begun.size, begun.peaks)
    return Follower(path, tree, chain=begun.chain, place=Place(begun.file + 1), pause=pause)


def details(found: Plan, why: str, who: str) -> dict[str, Any]:
    """Return the details of the entry."""
    return {
        "files": len(found.files),
        "first": found.files[0].name,
        "last": found.files[-1].name,
        "sequence": found.cut.size,
        "hash": found.cut.hash,
        "root": _note.encode(Tree(found.cut.size, found.cut.peaks).root()),
        "reason": why,
        "changed_by": who,
    }


def execute(path: Path, found: Plan, record: Callable[[], None], note: bytes) -> None:
    """Let files go.

    Args:
        path: The log.
        found: What goes.
        record: Writes the entry, and brings it to the disk.
        note: The cut (`cut_note`).

    Raises:
        OSError: The disk failed; what is there can be verified.
        HauberkError: The entry could not be written; nothing has gone.
    """
    record()
    files.write_atomic(pruned_path(path), note)
    sweep(path, found.cut)


def sweep(path: Path, begun: Cut) -> list[Path]:
    """Remove the files before a cut; return those that were there."""
    names = [name for number in closed_files(path) if number <= begun.file for name in _names(path, number)]
    for name in names:
        name.unlink(missing_ok=True)
    if names:
        files.sync_directory(path.parent)
    return names


def _names(path: Path, number: int) -> list[Path]:
    """Return under which names a file that was closed is there: both while it is being compressed."""
    return [name for name in (closed(path, number), packed(path, number)) if os.path.lexists(name)]


def cut_note(cut: Cut, origin: str, time: str, signer: Signer | None) -> bytes:
    """Return what is kept beside a log: a note, of which no signature is asked where no checkpoints are made."""
    text = cut.checkpoint(origin, time).text
    return text + b"\n" if signer is None else signer.sign(text).data


def cut_of(path: Path) -> Cut | None:
    """Return with what a log begins of which files are gone, as it says itself; None if no files are.

    Raises:
        LogChanged: What it says makes no sense.
        OSError: The disk failed.
    """
    data = cut_data(path)
    if data is None:
        return None
    try:
        return Cut.of(Checkpoint.parse(data[: data.find(b"\n\n") + 1]))
    except NoteError as error:
        raise LogChanged(f"{str(pruned_path(path))!r} is damaged: {error}") from None


def own_cut(
    path: Path,
    signer: Signer | None,
    signed: Callable[[bytes], bool] | None = None,
    pause: Callable[[], object] = lambda: None,
) -> Cut | None:
    """Return with what a log begins of which files are gone, if who writes the log let them go.

    Args:
        path: The log.
        signer: The key of its checkpoints, if there are any: then it must have signed the cut.
        signed: Whether the key of the log signed a line, if that can be told: then an entry that says the same is as
            good. Without both keys, an entry will do.
        pause: Is called while a file is read.

    Raises:
        LogChanged: Somebody else wrote the cut, or it is not the one of this log.
        OSError: The disk failed, or what the log begins with is gone.
    """
    begun, data = cut_of(path), cut_data(path)
    if begun is None or data is None:
        return None
    if not (_is_signed(data, signer) or ((signer is None or signed) and _is_recorded(path, begun, signed, pause))):
        raise LogChanged(f"nobody vouches for {str(pruned_path(path))!r}, so nothing of the log goes")
    first = read(next(_lines(path, begun.file + 1), b""))
    if first is None or (first.sequence, first.prev_hash.decode()) != (begun.size + 1, begun.hash):
        raise LogChanged(f"file {begun.file + 1} of audit log {str(path)!r} does not follow its cut")
    return begun


def _is_signed(data: bytes, signer: Signer | None) -> bool:
    if signer is None:
        return False
    try:
        _note.check_signed(_note.parse(data), [signer.verifier])
    except NoteError:
        return False
    return True


def _is_recorded(path: Path, begun: Cut, signed: Callable[[bytes], bool] | None, pause: Callable[[], object]) -> bool:
    """Whether an entry after a cut says what the cut says. The newest files are read first."""
    wanted = Named(begun.size, begun.hash)
    last = max(closed_files(path), default=0) + 1
    for number in range(last, begun.file, -1):
        for line in _lines(path, number, pause):
            if says(line) == wanted and (signed is None or signed(line)):
                return True
    return False


def _lines(path: Path, number: int, pause: Callable[[], object] = lambda: None) -> Iterator[bytes]:
    """Yield the whole lines of a file without their LF, in bounded memory."""
    rest = b""
    with opened(path, number, written=True) as file:
        for piece in pieces(file, None):
            *lines, rest = (rest + piece).split(b"\n")
            yield from lines
            rest = rest[: BOUNDS.line + 1]
            pause()


def cut_data(path: Path) -> bytes | None:
    """Return what is kept beside a log of which files are gone, whoever signed it.

    Raises:
        LogChanged: It is no regular file: a pipe would keep its reader waiting.
        OSError: The disk failed.
    """
    name = pruned_path(path)
    try:
        fd = os.open(name, _FLAGS)
    except FileNotFoundError:
        return None
    with os.fdopen(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise LogChanged(f"{str(name)!r} is no regular file")
        return file.read(BOUNDS.note)


def says(line: bytes) -> Named | None:
    """Return what an ``audit.pruned`` entry says, or None of any other line."""
    if not line[: line.find(b'"id":"') + len(b'"id":"')].endswith(_CODE):
        return None
    try:
        said = orjson.loads(line)["details"]
        return Named(int(said["sequence"]), str(said["hash"]))
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return None

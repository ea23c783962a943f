"""Checkpoints of a log that is written: made now and then, signed, and given to who keeps them elsewhere.

The rules:

1. A round reads on where the last one ended, up to what is on the disk (`checkpoints._follow`); if there is anything
   new it signs a checkpoint, and gives it to each sink that does not have it. The events of a host never wait for it.
2. How far it is stands beside the log (``audit.jsonl.tree``), with the checkpoint that was signed last. It is a cache:
   where it is missing or damaged the log is read from its beginning.
3. Nothing is signed that does not begin with what was signed before. A log that has fewer entries than the last
   checkpoint, or others, gets none, and that is said.
4. A sink that fails is said once until it works again, and gets the newest checkpoint in each round. One that took it
   anchors the log, whatever the others do. What no sink has taken for too long is said as well, and the host may refuse
   whatever comes then.
5. A signature that a sink adds goes on with the note, to the sinks that are named after it.

No entry is made of a checkpoint: it would be new, and want another one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, Literal, final

import msgspec

from hauberk import files
from hauberk.event import Severity
from hauberk.refusals import HauberkError
from hauberk_audit._bounds import BOUNDS
from hauberk_audit._entry import rfc3339
from hauberk_audit._paths import tree_path
from hauberk_audit.checkpoints import _note
from hauberk_audit.checkpoints._checkpoint import Checkpoint
from hauberk_audit.checkpoints._follow import Follower, LogChanged, Place
from hauberk_audit.checkpoints._note import Note, NoteError, Signer
from hauberk_audit.checkpoints._pruned import begin, cut_data, cut_of
from hauberk_audit.checkpoints._sinks import Sink
from hauberk_audit.checkpoints._tree import Growth, Tree
from hauberk_audit.writing._reached import Reached

FAILED: Final = "audit.checkpoint_failed"
RESUMED: Final = "audit.checkpoint_resumed"
UNANCHORED: Final = "audit.unanchored"
_CACHE_BYTES: Final = 2 * BOUNDS.note

Tell = Callable[[str, Severity, int, dict[str, Any]], None]
"""Records an event: code, severity, count, details."""


class Cached(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How far the checkpoints of a log are."""

    format: Literal[1]
    file: int
    offset: int
    peaks: tuple[str, ...]
    note: str
    """The checkpoint that was signed last."""


class Keeper:
    """One sink, and what it has."""

    __slots__ = ("failures", "grown", "name", "reason", "sink", "size")

    def __init__(self, name: str, sink: Sink) -> None:
        self.name: Final = name
        self.sink: Final = sink
        self.size = -1
        """Of the last checkpoint that it took."""
        self.failures = 0
        """How often in a row it did not."""
        self.reason = ""
        self.grown: Growth | None = None
        """What was added since it took one, if it wants proofs."""


@final
class Checkpointer:
    """Makes the checkpoints of one log. It is used by one thread."""

    def __init__(
        self,
        path: Path,
        signer: Signer,
        origin: str,
        sinks: Iterable[tuple[str, Sink]],
        *,
        reached: Callable[[], Reached],
        now: Callable[[], float],
        clock: Callable[[], float],
        max_age: float,
        tell: Tell,
        pause: Callable[[], object] = lambda: None,
    ) -> None:
        """Nothing is read before the first round.

        Args:
            path: The log.
            signer: Its key.
            origin: What names the log in its checkpoints.
            sinks: Who gets them, each with the name under which it is spoken of.
            reached: Says how far the log is on the disk.
            now: Seconds since 1970.
            clock: Seconds that only go on.
            max_age: Seconds for which entries may be without a checkpoint that somebody keeps.
            tell: Records an event.
            pause: Is called while a log is read: it lets others go on.
        """
        self.path: Final = path
        self.origin: Final = origin
        self.keepers: Final = [Keeper(name, sink) for name, sink in sinks]
        self._signer: Final = signer
        self._reached: Final = reached
        self._now: Final = now
        self._clock: Final = clock
        self._max_age: Final = max_age
        self._tell: Final = tell
        self._pause: Final = pause
        self._follower: Follower | None = None
        self._signed: Checkpoint | None = None
        """What was signed last."""
        self._note: Note | None = None
        self._fault = ""
        """Why no checkpoint can be made."""
        self._changed = False
        """Whether the log is not what was signed: then none is made any more."""
        self._since: float | None = None
        """Since when there are entries without a checkpoint that somebody keeps."""
        self.overdue = False
        """Whether that is longer than it may be. Others look at it, too."""

    @property
    def anchored(self) -> int:
        """How many entries there are in the newest checkpoint that a sink took."""
        return max(0, *(keeper.size for keeper in self.keepers))

    @property
    def faults(self) -> list[str]:
        """What did not work in the last round."""
        failing = [f"{keeper.name}: {keeper.reason}" for keeper in self.keepers if keeper.failures]
        return [self._fault, *failing] if self._fault else failing

    def round(self) -> None:
        """Make a checkpoint, if there is anything new, and give it to those who do not have it."""
        sequence = None
        try:
            reached = self._reached()
            sequence = reached.sequence
            if not self._changed:
                self._make(reached)
                self._fault = ""
        except LogChanged as error:
            self._changed = True
            self._broken(error.message)
        except (HauberkError, NoteError, OSError) as error:
            self._broken(str(getattr(error, "strerror", "") or error))
        for keeper in self.keepers:
            if self._note is not None and self._signed is not None and keeper.size < self._signed.size:
                self._give(keeper, self._note, self._signed.size)
        self._judge_age(sequence)

    # --- making one ---

    def _make(self, reached: Reached) -> None:
        follower, before = self._begun()
        size = 0 if before is None else before.size
        if reached.sequence < size:
            raise LogChanged(
                f"audit log {str(self.path)!r} has {reached.sequence} entries, and its last checkpoint has {size}"
            )
        tree = follower.tree

        def read(leaf: bytes) -> None:
            self._compare(tree, before)
            for keeper in self.keepers:
                if keeper.grown is not None:
                    keeper.grown.push(leaf)

        follower.advance(reached, read)
        if tree.size > size:
            made = Checkpoint(self.origin, tree.size, tree.root(), follower.chain, rfc3339(self._now()))
            self._note, self._signed = self._signer.sign(made.text), made
            self._store(follower, self._note)

    def _begun(self) -> tuple[Follower, Checkpoint | None]:
        """Return what reads on, and what was signed last."""
        if self._follower is None:
            self._follower, note = self._restored()
            if note is not None:
                self._note, self._signed = note, Checkpoint.parse(note.text)
        return self._follower, self._signed

    def _compare(self, tree: Tree, before: Checkpoint | None) -> None:
        if before is not None and tree.size == before.size and tree.root() != before.root:
            raise LogChanged(f"audit log {str(self.path)!r} is not what its last checkpoint says")

    def _restored(self) -> tuple[Follower, Note | None]:
        """Return what reads on where the cache says, or from the beginning; and what was signed last."""
        cut, cached = cut_of(self.path), _cached(tree_path(self.path))
        note = None if cached is None else self._mine(cached.note.encode())
        if cached is None or note is None:
            return begin(self.path, cut, self._pause), None
        signed = Checkpoint.parse(note.text)
        if cut is not None and cut.size > signed.size and self._mine(cut_data(self.path) or b"") is None:
            # what was signed last can be compared with nothing any more, so who let files go must have had the key
            raise LogChanged(f"files of audit log {str(self.path)!r} are gone, and its key did not sign that")
        if cut is None or cached.file > cut.file:
            tree = _tree(cached, signed)
            if tree is not None:
                place = Place(cached.file, cached.offset)
                return Follower(self.path, tree, chain=signed.chain, place=place, pause=self._pause), note
        return begin(self.path, cut, self._pause), note

    def _mine(self, data: bytes) -> Note | None:
        """Return a checkpoint of this key, or None of anything else."""
        try:
            note = _note.parse(data)
            _note.check_signed(note, [self._signer.verifier])
            Checkpoint.parse(note.text)
        except NoteError:
            return None
        return note

    def _store(self, follower: Follower, note: Note) -> None:
        peaks = tuple(map(_note.encode, follower.tree.peaks))
        cached = Cached(1, follower.file, follower.offset, peaks, note.data.decode())
        files.write_atomic(tree_path(self.path), msgspec.json.encode(cached) + b"\n")

    # --- giving it away ---

    def _give(self, keeper: Keeper, note: Note, size: int) -> None:
        try:
            more = tuple(_note.signature_lines(self._sent(keeper, note)))
        except Exception as error:  # noqa: BLE001 - a sink is others' code, and this thread must not end
            keeper.failures += 1
            keeper.reason = error.message if isinstance(error, HauberkError) else f"{type(error).__name__}: {error}"
            if keeper.failures == 1:
                self._tell(FAILED, "warning", 1, {"sink": keeper.name, "reason": keeper.reason, "size": size})
            return
        keeper.size = size
        if keeper.failures:
            self._tell(RESUMED, "info", keeper.failures, {"sink": keeper.name, "size": size})
            keeper.failures = 0
        grown = note._replace(signatures=(*note.signatures, *more))
        if len(grown.data) <= BOUNDS.note:
            self._note = grown

    def _sent(self, keeper: Keeper, note: Note) -> bytes:
        cosign = getattr(keeper.sink, "cosign", None)
        if cosign is None:
            return keeper.sink.send(note.data)
        signed: bytes = cosign(note.data, lambda size: self._prove(keeper, size))
        if self._follower is not None:
            keeper.grown = Growth(self._follower.tree)
        return signed

    def _prove(self, keeper: Keeper, size: int) -> list[bytes]:
        """Return the proof that the log only grew since it had so many entries.

        Raises:
            LogChanged: It cannot be proven.
            OSError: The disk failed.
        """
        if not size:
            return []
        if keeper.grown is None or keeper.grown.start != size:
            keeper.grown = self._grown(size)
        return keeper.grown.proof()

    def _grown(self, size: int) -> Growth:
        """Read the log from its beginning: what was added since it had so many entries is not at hand."""
        follower, signed = begin(self.path, cut_of(self.path), self._pause), self._signed
        grown = Growth(follower.tree) if follower.tree.size == size else None

        def read(leaf: bytes) -> None:
            nonlocal grown
            if grown is not None:
                grown.push(leaf)
            elif follower.tree.size == size:
                grown = Growth(follower.tree)

        if self._follower is not None:
            follower.advance(Reached(self._follower.file, self._follower.offset, self._follower.tree.size), read)
        if grown is None or signed is None or follower.tree.root() != signed.root:
            raise LogChanged(f"that the log only grew since entry {size} cannot be shown")
        return grown

    # --- what is said ---

    def _broken(self, reason: str) -> None:
        if reason != self._fault:
            self._tell(FAILED, "critical", 1, {"reason": reason})
        self._fault = reason

    def _judge_age(self, sequence: int | None) -> None:
        """Tell if entries are without a checkpoint that somebody keeps for longer than they may be."""
        if not self._changed and sequence is not None and self.anchored >= sequence:
            self._since, self.overdue = None, False
            return
        now = self._clock()
        self._since = now if self._since is None else self._since
        if now - self._since > self._max_age and not self.overdue:
            self.overdue = True
            self._tell(UNANCHORED, "critical", 1, {"seconds": round(now - self._since), "anchored": self.anchored})


def _cached(path: Path) -> Cached | None:
    try:
        with path.open("rb") as file:
            return msgspec.json.decode(file.read(_CACHE_BYTES), type=Cached)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def _tree(cached: Cached, signed: Checkpoint) -> Tree | None:
    """Return the tree of a cache, or None if it does not agree with itself."""
    try:
        tree = Tree(signed.size, tuple(map(_note.decode, cached.peaks)))
    except ValueError:
        return None
    return tree if tree.root() == signed.root and cached.file > 0 <= cached.offset else None

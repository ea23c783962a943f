"""The Merkle tree over the lines of a log, of which no more is kept than what a root or a proof is made of.

The rules (RFC 6962 section 2.1, the same as RFC 9162 section 2.1):

1. A leaf is the bytes of one line without its LF. Its hash is SHA-256 of 0x00 and the leaf; that of a node is SHA-256
   of 0x01 and the hashes of its two children. So no leaf can be taken for a node.
2. A tree of n leaves has at its left the largest power of two of them that is less than n. The root of none is SHA-256
   of nothing.
3. What is kept are the peaks: the roots of the perfect trees that n is made of, one for each bit of n that is 1, the
   largest first. They are what a tree can be gone on with, and all that is left of leaves that are gone.

A consistency proof (RFC 6962 section 2.1.2) shows a witness that one tree begins with all of another. It is made of the
peaks of the smaller one and of what was added since.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Final, NamedTuple, Self, final

HASH_BYTES: Final = 32
EMPTY: Final = sha256(b"").digest()
"""The root of a tree without leaves."""


def leaf_hash(line: bytes) -> bytes:
    """Return the hash of a line (without its LF)."""
    return sha256(b"\0" + line).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of a node."""
    return sha256(b"\1" + left + right).digest()


def root_of(hashes: Sequence[bytes]) -> bytes:
    """Return the hash of the tree whose perfect parts these are, the largest first."""
    if not hashes:
        return EMPTY
    node = hashes[-1]
    for left in hashes[-2::-1]:
        node = node_hash(left, node)
    return node


@final
class Tree:
    """A tree that grows by one leaf at a time, in memory that grows with the logarithm of its size."""

    __slots__ = ("_peaks", "size")

    def __init__(self, size: int = 0, peaks: Sequence[bytes] = ()) -> None:
        """Begin with nothing, or go on with a tree of which the peaks are known.

        Raises:
            ValueError: There is no such tree.
        """
        if size < 0 or size.bit_count() != len(peaks) or any(len(peak) != HASH_BYTES for peak in peaks):
            raise ValueError(f"a tree of {size} leaves does not have {len(peaks)} such peaks")
        self.size = size
        self._peaks: Final = list(peaks)

    def push(self, leaf: bytes) -> None:
        """Add the hash of the next leaf."""
        peaks, size = self._peaks, self.size
        while size & 1:
            leaf = sha256(b"\1" + peaks.pop() + leaf).digest()
            size >>= 1
        peaks.append(leaf)
        self.size += 1

    @property
    def peaks(self) -> tuple[bytes, ...]:
        """The roots of its perfect trees, the largest first."""
        return tuple(self._peaks)

    def root(self) -> bytes:
        """Return its root."""
        return root_of(self._peaks)

    def copy(self) -> Self:
        """Return a tree that grows apart from this one."""
        return type(self)(self.size, self._peaks)


class _Part(NamedTuple):
    """A perfect tree within a larger one."""

    start: int
    """Its first leaf."""
    level: int
    """It has two to the power of this many leaves."""
    hash: bytes


@final
class Growth:
    """What was added to a tree since some size: enough to prove that nothing before was changed."""

    __slots__ = ("_parts", "_peaks", "end", "start")

    def __init__(self, tree: Tree) -> None:
        """Take the tree as it is before it grows."""
        self.start: Final = tree.size
        self.end = tree.size
        self._peaks: Final = tree.peaks
        self._parts: Final[list[_Part]] = []

    def push(self, leaf: bytes) -> None:
        """Add the hash of the next leaf."""
        part = _Part(self.end, 0, leaf)
        while self._parts and self._parts[-1].level == part.level and not (self._parts[-1].start >> part.level) & 1:
            left = self._parts.pop()
            part = _Part(left.start, left.level + 1, node_hash(left.hash, part.hash))
        self._parts.append(part)
        self.end += 1

    def proof(self) -> list[bytes]:
        """Return the proof that the tree of size `end` begins with the tree of size `start`.

        It is the way from the last peak of the smaller tree up to the root of the larger one: what stands at its left
        are peaks of the smaller tree, what stands at its right was added since. Of no leaves, and of no growth, it is
        empty.
        """
        if self.start in {0, self.end}:
            return []
        peaks = list(self._peaks)
        last = peaks.pop()
        path = [last] if peaks else []  # who checks the proof has the root of the smaller tree, which is its only peak
        level = (self.start & -self.start).bit_length() - 1
        mine, end = (self.start - 1) >> level, (self.end - 1) >> level
        while end:
            if mine & 1:
                path.append(peaks.pop())
            elif mine != end:
                path.append(self._between((mine + 1) << level, (mine + 2) << level))
            mine, end, level = mine >> 1, end >> 1, level + 1
        return path

    def _between(self, start: int, stop: int) -> bytes:
        return root_of([part.hash for part in self._parts if start <= part.start < stop])


def consistent(first: int, second: int, roots: tuple[bytes, bytes], proof: Sequence[bytes]) -> bool:
    """Whether a proof shows that a tree begins with all of a smaller one (RFC 9162 section 2.1.4.2).

    Args:
        first: The size of the smaller tree, at least 1.
        second: The size of the larger one.
        roots: Their roots, in this order.
        proof: Hashes, as `Growth.proof` returns them.
    """
    if not 0 < first <= second:
        return False
    if first == second:
        return not proof and roots[0] == roots[1]
    path = [roots[0], *proof] if first.bit_count() == 1 else list(proof)
    if not path:
        return False
    low, high = first - 1, second - 1
    while low & 1:
        low, high = low >> 1, high >> 1
    small = large = path[0]
    for node in path[1:]:
        if not high:
            return False
        if low & 1 or low == high:
            small, large = node_hash(node, small), node_hash(node, large)
            while not low & 1 and low:
                low, high = low >> 1, high >> 1
        else:
            large = node_hash(large, node)
        low, high = low >> 1, high >> 1
    return not high and (small, large) == roots

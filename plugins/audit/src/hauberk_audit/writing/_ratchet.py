"""A key that only goes forward: who takes the host over cannot write its past anew (S3.7).

The rules:

1. The initial key is with whoever verifies the log, and not on the host. The host has a root; each chain that it begins
   takes the first rung from it, and what is left is the root of the next chain. Chains are numbered from 1.
2. A rung signs the entries of one commit. Then the next rung is derived from it, and it is forgotten: overwritten in
   the state of the log, and let go of in memory. Rungs are numbered from 1 and none is left out, so who cut entries
   off and wrote others with the key of a later rung has left a gap.
3. Every step is HKDF-SHA256 (RFC 5869), so nothing leads back. ``root(1) = derive(initial, "audit-root")``,
   ``root(n + 1) = derive(root(n), "audit-root")``, ``rung(n, 1) = derive(root(n), "audit-rung")``,
   ``rung(n, i + 1) = derive(rung(n, i), "audit-rung")``, where ``derive`` is `hauberk.keys.derive`.
4. An entry names its key as ``K.n.i``: the id of the initial key, the number of the chain, the number of the rung.
"""

from __future__ import annotations

import re
from typing import Annotated, Final, NamedTuple, final

import msgspec

from hauberk import keys
from hauberk_audit.writing._chain import Chain

_ROOT: Final = "audit-root"
_RUNG: Final = "audit-rung"
_NAME: Final = re.compile(rb"([0-9a-f]{16})\.([1-9][0-9]{0,4})\.([1-9][0-9]{0,17})")
MOST_CHAINS: Final = 99_999
_KEPT: Final = 4096
"""A ladder keeps one rung of so many."""
_LEAPS: Final = 10_000_000
"""How many rungs a ladder leaps over in all. What a line claims must not keep a verifier busy for ever."""
_ENTRIES: Final = 100_000_000
"""The same for the first entries of logs of which files are gone: they are years after the first rung."""


class Name(NamedTuple):
    """How an entry names its rung."""

    key_id: str
    chain: int
    step: int


def named(key_id: bytes) -> Name | None:
    """Return what a key id of an entry says, or None if its key does not go forward."""
    found = _NAME.fullmatch(key_id)
    return None if found is None else Name(found[1].decode(), int(found[2]), int(found[3]))


class Rung(msgspec.Struct, frozen=True):
    """The key of one commit of one chain."""

    key_id: str
    """The id of the initial key."""
    chain: Annotated[int, msgspec.Meta(ge=1, le=MOST_CHAINS)]
    step: Annotated[int, msgspec.Meta(ge=1)]
    key: Annotated[bytes, msgspec.Meta(min_length=keys.KEY_BYTES, max_length=keys.KEY_BYTES)]

    @property
    def name(self) -> Name:
        """How entries name it."""
        return Name(self.key_id, self.chain, self.step)

    def signer(self) -> Chain:
        """Return what signs with it."""
        return Chain(self.key, key_id=b"%b.%d.%d" % (self.key_id.encode(), self.chain, self.step))

    def next(self) -> Rung:
        """Return the one after it."""
        return Rung(self.key_id, self.chain, self.step + 1, keys.derive(self.key, _RUNG))


class Root(NamedTuple):
    """What chains are begun from."""

    key_id: str
    """The id of the initial key."""
    chain: int
    """The number of the chain that begins next."""
    key: bytes

    def first(self) -> Rung:
        """Return the first rung of its chain."""
        return Rung(self.key_id, self.chain, 1, keys.derive(self.key, _RUNG))

    def next(self) -> Root:
        """Return the root of the chain after it."""
        return Root(self.key_id, self.chain + 1, keys.derive(self.key, _ROOT))


def first_root(initial: bytes) -> Root:
    """Return the root of the first chain under an initial key (32 bytes)."""
    return Root(keys.key_id(initial), 1, keys.derive(initial, _ROOT))


@final
class Ladder:
    """All keys under one initial key, for those who verify."""

    def __init__(self, initial: bytes) -> None:
        """Take the initial key, which is also that of plain chains."""
        self.plain: Final = Chain(initial)
        self._key_id: Final = keys.key_id(initial)
        self._root = first_root(initial)
        self._roots: Final = {1: self._root}
        self._kept: Final[dict[tuple[int, int], Rung]] = {}
        self._last: Rung | None = None
        self._leaps = _LEAPS
        self._entries = _ENTRIES

    def signer(self, key_id: bytes) -> Chain | None:
        """Return what signed an entry that names this key, or None if it is no key of this ladder, or out of reach."""
        if key_id == self.plain.key_id:
            return self.plain
        name = named(key_id)
        if name is None or name.key_id != self._key_id:
            return None
        rung = self.rung(name)
        return None if rung is None else rung.signer()

    def enter(self, key_id: bytes, sequence: int) -> Chain | None:
        """Return what signed the first entry that is left of a log, as `signer`. No rung signs less than an entry."""
        name = named(key_id)
        if name is not None and name.key_id == self._key_id and name.step <= min(sequence, self._entries):
            self._entries -= name.step
            leaps, self._leaps = self._leaps, name.step
            self.rung(name)
            self._leaps = leaps
        return self.signer(key_id)

    def rung(self, name: Name) -> Rung | None:
        """Return a rung of this ladder, or None if there is none of this name, or it is out of reach."""
        if not (1 <= name.chain <= MOST_CHAINS and name.step >= 1):
            return None
        at = self._below(name)
        far = name.step - at.step
        if far > 1:
            if far > self._leaps:
                return None
            self._leaps -= far
        while at.step < name.step:
            at = at.next()
            if at.step % _KEPT == 1:
                self._kept[name.chain, at.step] = at
        self._last = at
        return at

    def _below(self, name: Name) -> Rung:
        """Return a rung at hand from which one can be reached."""
        last = self._last
        if last is not None and last.chain == name.chain and last.step <= name.step:
            return last
        kept = (name.step - 1) // _KEPT * _KEPT + 1
        return self._kept.get((name.chain, kept)) or self._first(name.chain)

    def _first(self, chain: int) -> Rung:
        while self._root.chain < chain:
            self._root = self._root.next()
            self._roots[self._root.chain] = self._root
        return self._roots[chain].first()

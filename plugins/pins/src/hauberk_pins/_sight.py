"""What one connection was shown: the hash of each item as it came last, and whether that may have changed since.

The rules:

1. A page is known by the SHA-256 of the result as it came, so one that comes again unchanged costs a hash.
2. Of two entries with one name, on one page or on two, the last that came counts; on one page, if they differ, neither.
3. ``list_changed`` makes all items of its kinds stale, at no cost however often it comes (A67); a list makes those
   fresh that it brings. What is not there, or is stale, has to be listed before it is used.
4. An entry without a name, or with one that is too long, is nobody's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from hauberk.listings import Listing
from hauberk.refusals import Refused
from hauberk_pins import _items
from hauberk_pins._items import Item, Key
from hauberk_pins._limits import LIMITS

_CHANGED: Final[Mapping[str, tuple[str, ...]]] = {
    "notifications/tools/list_changed": ("tool",),
    "notifications/prompts/list_changed": ("prompt",),
    "notifications/resources/list_changed": ("resource", "template"),
}
METHODS: Final = tuple(_CHANGED)


class Page(msgspec.Struct, eq=False):
    """The entries of one list, as they came."""

    hashes: dict[Key, str]
    """Of each item; empty of those that differ among themselves."""
    malformed: int
    version: object = None
    """Of the pins that it was decided under."""
    epoch: int = 0
    current: bool = True
    """Whether it is the last that was seen of each of its items."""
    outcome: Any = None
    """What was decided on it."""


class Sight:
    """What one connection was shown."""

    __slots__ = ("_complete", "_epochs", "_held", "_items", "_memo", "_parts", "said")

    def __init__(self) -> None:
        self._items: Final[dict[Key, Page]] = {}
        self._memo: Final[dict[tuple[str, bytes], Page]] = {}
        self._epochs: Final[dict[str, int]] = {}
        self._complete: Final[dict[str, int]] = {}
        self._held: Final[dict[str, int]] = {}
        self._parts: Final[dict[str, set[Key]]] = {}
        """What came of each list that is under way."""
        self.said: Mapping[Key, str] = {}
        """The hashes of what the server said of itself."""

    def hash(self, key: Key, *, stale: bool = False) -> str | None:
        """Return the hash of an item as it is shown now, or was; None if it has to be listed first."""
        page = self._items.get(key)
        if page is None or (not stale and page.epoch != self._epochs.get(key[0], 0)):
            return None
        return page.hashes[key]

    def names(self, kind: str) -> Iterable[str]:
        """Give the names of one kind that were shown."""
        return (name for of, name in self._items if of == kind)

    def is_complete(self, kind: str) -> bool:
        """Whether all pages of a list have come since it may have changed."""
        return self._complete.get(kind, -1) == self._epochs.get(kind, 0)

    def changed(self, method: str) -> None:
        """Let what a notification is about have changed."""
        for kind in _CHANGED[method]:
            self._epochs[kind] = self._epochs.get(kind, 0) + 1

    def held(self, counts: Mapping[str, int]) -> None:
        """Let what news is about have changed that another plugin kept back."""
        for method in METHODS:
            count = counts.get(method, 0)
            if self._held.get(method, 0) != count:
                self._held[method] = count
                self.changed(method)

    def page(
        self, listing: Listing, entries: list[Any], digest: bytes, version: object
    ) -> tuple[Page, dict[Key, Item] | None]:
        """Take one page; return it with its items, or with None if that is what was shown of them last.

        Args:
            listing: What it lists.
            entries: Its entries, as the server sent them.
            digest: The SHA-256 of the result that they stand in (`hauberk.message.Message.result_digest`).
            version: Of the pins; what was decided under another is decided again.

        Raises:
            Refused: It brings more items than one connection may have, or what JSON does not carry.
        """
        known = listing.kind, digest
        page, items = self._memo.get(known), None
        if page is None or not page.current or page.version is not version:
            page, items = _read(listing, entries)
            self._point_to(page, listing.kind)
            for old in [key for key, one in self._memo.items() if not one.current]:
                del self._memo[old]
            while len(self._memo) >= LIMITS.memo:
                del self._memo[next(iter(self._memo))]
            self._memo[known] = page
        page.epoch = self._epochs.get(listing.kind, 0)
        return page, items

    def _point_to(self, page: Page, kind: str) -> None:
        if self._is_over(page):
            self._forget(kind)
        if self._is_over(page):
            raise Refused(
                "pins.too_many",
                "the server shows too many items",
                rule=f"at most {LIMITS.items} items",
                hint="report it to the author of the server",
            )
        for key in page.hashes:
            before = self._items.get(key)
            if before is not None:
                before.current = False
        self._items.update(dict.fromkeys(page.hashes, page))

    def _is_over(self, page: Page) -> bool:
        return len(self._items) + sum(key not in self._items for key in page.hashes) > LIMITS.items

    def _forget(self, kind: str) -> None:
        """Forget what was shown of a kind before the list that is under way: a server may have new names each time."""
        kept = self._parts.get(kind, set())
        for key in [key for key in self._items if key[0] == kind and key not in kept]:
            self._items.pop(key).current = False
        self._complete.pop(kind, None)

    def gathered(self, kind: str, page: Page, *, last: bool) -> frozenset[Key] | None:
        """Put pages together; return all that a list brought with its last one, unless it is too much to keep."""
        parts = self._parts.setdefault(kind, set())
        if len(parts) <= LIMITS.items:
            parts.update(page.hashes)
        if not last:
            return None
        self._complete[kind] = self._epochs.get(kind, 0)
        del self._parts[kind]
        return frozenset(parts) if len(parts) <= LIMITS.items else None


def _read(listing: Listing, entries: list[Any]) -> tuple[Page, dict[Key, Item]]:
    hashes: dict[Key, str] = {}
    items: dict[Key, Item] = {}
    malformed = 0
    for entry in entries:
        name = entry.get(listing.key) if isinstance(entry, dict) else None
        if not isinstance(name, str) or len(name) > LIMITS.key_chars:
            malformed += 1
            continue
        one = _items.item(listing.kind, name, entry)
        if hashes.setdefault(one.key, one.hash) != one.hash:
            hashes[one.key] = ""  # rule 2: the hash of nothing
        items[one.key] = one
    return Page(hashes, malformed), items

"""What differs between what is trusted and what is shown.

The rules:

1. An item that is there on one side only was added or removed.
2. An item of one name with two hashes was changed; the members that differ are named, nested ones by their path.
3. An item that was added, and one of its kind that was removed, with the same body, are one item that was renamed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal

import msgspec

from hauberk_pins import _items, _visible
from hauberk_pins._items import Item, Key, Shown

What = Literal["added", "removed", "changed", "renamed"]
_FIELDS: Final = 32
_DEEP: Final = 8


class Change(msgspec.Struct, frozen=True):
    """One difference."""

    what: What
    before: Item | None
    after: Item | None

    @property
    def item(self) -> Item:
        """Return the item as it is now, or as it was."""
        found = self.after or self.before
        if found is None:
            raise LookupError("a change has at least one side")
        return found

    @property
    def fields(self) -> list[str]:
        """Return the paths of the members that differ, the first of them."""
        if self.before is None or self.after is None:
            return []
        return sorted(set(_differing(self.before.value, self.after.value, ())))[:_FIELDS]


def compare(trusted: Shown, seen: Shown) -> list[Change]:
    """Return all differences, in the order of a lock."""
    changed = [Change("changed", trusted[key], seen[key]) for key in trusted if _differs(trusted, seen, key)]
    added = {key: one for key, one in seen.items() if key not in trusted}
    removed = {key: one for key, one in trusted.items() if key not in seen}
    renamed = list(_renames(added, removed))
    for change in renamed:
        added.pop(change.item.key)
        removed.pop((change.item.kind, change.before.name if change.before else ""))
    found = [
        *changed,
        *renamed,
        *(Change("added", None, one) for one in added.values()),
        *(Change("removed", one, None) for one in removed.values()),
    ]
    return sorted(found, key=lambda change: (_items.place(change.item.kind), change.item.name))


def _differs(trusted: Shown, seen: Shown, key: Key) -> bool:
    return key in seen and seen[key].hash != trusted[key].hash


def _renames(added: Shown, removed: Shown) -> Iterator[Change]:
    if not added or not removed:
        return
    bodies = {(one.kind, _items.body(one)): one for one in removed.values()}
    for one in added.values():
        before = bodies.pop((one.kind, _items.body(one)), None)
        if before is not None:
            yield Change("renamed", before, one)


def by_body(trusted: Shown) -> dict[tuple[str, str], str]:
    """Return the name of what is trusted by kind and body; of two of one body, the first."""
    found: dict[tuple[str, str], str] = {}
    for one in trusted.values():
        found.setdefault((one.kind, _items.body(one)), one.name)
    return found


def renamed_from(one: Item, bodies: Mapping[tuple[str, str], str]) -> str | None:
    """Return the trusted item of another name that has the very body of this one."""
    return bodies.get((one.kind, _items.body(one)))


def _differing(before: Any, after: Any, path: tuple[str, ...]) -> Iterator[str]:
    if isinstance(before, dict) and isinstance(after, dict) and len(path) < _DEEP:
        for key in before.keys() | after.keys():
            inside = (*path, _visible.shown(key))
            if key not in before or key not in after:
                yield ".".join(inside)
            else:
                yield from _differing(before[key], after[key], inside)
    elif type(before) is not type(after) or before != after or _visible.text(before) != _visible.text(after):
        yield ".".join(path) or "value"


def diff(change: Change) -> list[str]:
    """Return one difference as the lines of a unified diff of the full texts."""
    import difflib  # a guard compares hashes

    old, new = (lines(one) if one is not None else [] for one in (change.before, change.after))
    trusted = f"trusted {label(change.before)}" if change.before else "nothing"
    seen = f"seen {label(change.after)}" if change.after else "nothing"
    return list(difflib.unified_diff(old, new, trusted, seen, lineterm=""))


def lines(one: Item) -> list[str]:
    """Return the definition of an item as lines in which every character shows."""
    return _visible.text(one.value).split("\n")


def label(one: Item) -> str:
    """Return kind and name, as they may be shown."""
    return f"{one.kind} {_visible.string(one.name)}"

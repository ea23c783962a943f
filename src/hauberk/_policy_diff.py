"""What differs between two policies, rule by rule.

The rules:

1. Identity is what a rule says and where it stands, not how many there are: an allow that became a deny shows.
2. An item of an array is a rule, added or removed; items in another order, and any other value, are a modification.
3. A value is shown only where an options type says what it is and does not mark it as secret; else the place alone.
4. What is listed is bounded; what is counted is not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple, get_args, get_origin

import msgspec

from hauberk._options import bare, echo, fields_of, hides, is_table_type, masked, quoted

LISTED: Final = 64
"""Rules that a diff names."""
_UNSET: Final = object()
_CHARS: Final = 120


class Rule(NamedTuple):
    """One value of a policy."""

    value: Any
    shown: bool
    """Whether the value may be seen."""


class Diff(NamedTuple):
    """Two policies compared."""

    added: int
    removed: int
    modified: int
    lines: tuple[str, ...]
    """``+ place: item``, ``- place: item``, ``~ place: old → new``; no more than `LISTED`."""

    @property
    def summary(self) -> str:
        """How many rules differ: ``+2 rules, -1 rule, ~3 modified``."""
        return f"+{_rules(self.added)}, -{_rules(self.removed)}, ~{self.modified} modified"


def flat(path: str, value: Any, kind: Any = None) -> Iterator[tuple[str, Rule]]:
    """Give the values of one table by their place.

    Args:
        path: Where the table stands.
        value: The table as it was decoded from TOML, or a struct.
        kind: The type that it has; None where nobody knows, so that no value of it is shown.
    """
    if isinstance(value, msgspec.Struct):
        kind, value = type(value), msgspec.structs.asdict(value)
    if not isinstance(value, Mapping):
        # A table inside an array may hold what its own type marks as secret.
        yield (
            path,
            Rule(value, kind is not None and not any(is_table_type(bare(one)[0]) for one in get_args(bare(kind)[0]))),
        )
        return
    for key, item in value.items():
        yield from flat(f"{path}.{quoted(str(key))}" if path else quoted(str(key)), item, _shown_kind(kind, str(key)))


def compare(old: Mapping[str, Rule], new: Mapping[str, Rule]) -> Diff:
    """Compare two policies, given by the place of each value."""
    added: list[str] = []
    removed: list[str] = []
    modified: list[str] = []
    nothing = Rule(_UNSET, shown=True)
    for place in dict.fromkeys((*old, *new)):
        before, after = old.get(place, nothing), new.get(place, nothing)
        if before.value == after.value and type(before.value) is type(after.value):
            continue
        shown = before.shown and after.shown
        if any(isinstance(one.value, list | tuple) for one in (before, after)):
            came, went = _moved(before.value, after.value)
            added += [_line("+", place, item, shown=shown) for item in came]
            removed += [_line("-", place, item, shown=shown) for item in went]
            if came or went:
                continue
        modified.append(f"~ {place}{_change(before.value, after.value) if shown else ''}")
    return Diff(len(added), len(removed), len(modified), tuple([*added, *removed, *modified][:LISTED]))


def _shown_kind(kind: Any, key: str) -> Any:
    """Return the type of a key's value, or None where its value is not to be seen."""
    inner = bare(kind)[0]
    if is_table_type(inner):
        field = fields_of(inner).get(key)
        return None if field is None or hides(key, field.type) else field.type
    return get_args(inner)[1] if get_origin(inner) is dict and not hides(key, get_args(inner)[1]) else None


def _moved(before: Any, after: Any) -> tuple[list[Any], list[Any]]:
    """Return which items came and which went."""
    old, new = _items(before), _items(after)
    came, went = Counter(new.values()) - Counter(old.values()), Counter(old.values()) - Counter(new.values())
    return _taken(new, came), _taken(old, went)


def _items(value: Any) -> dict[int, str]:
    items: Iterable[Any] = value if isinstance(value, list | tuple) else () if value is _UNSET else (value,)
    return dict(enumerate(map(_text, items)))


def _taken(items: Mapping[int, str], counted: Counter[str]) -> list[str]:
    left = Counter(counted)
    taken = []
    for text in items.values():
        if left[text] > 0:
            left[text] -= 1
            taken.append(text)
    return taken


def _text(item: Any) -> str:
    """Return an item as it is compared."""
    return item if isinstance(item, str) else msgspec.json.encode(item, enc_hook=str, order="sorted").decode()


def _line(mark: str, place: str, item: str, *, shown: bool) -> str:
    return f"{mark} {place}: {_short(item)}" if shown else f"{mark} {place}"


def _short(text: str) -> str:
    text = masked(text)
    return text if len(text) <= _CHARS else f"{text[:_CHARS]}…"


def _change(before: Any, after: Any) -> str:
    return f": {_value(before)} → {_value(after)}"


def _value(value: Any) -> str:
    if value is _UNSET or value is None:
        return "unset"
    if isinstance(value, list | tuple):
        return f"[{_short(', '.join(map(_text, value)))}]"
    return echo(value if isinstance(value, bool | int | float | dict) else str(value))


def _rules(count: int) -> str:
    return f"{count} rule" if count == 1 else f"{count} rules"

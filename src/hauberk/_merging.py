"""How tables of several levels become one.

The rules, from the most general table to the most specific:

1. Tables merge by key; anything else in the more specific table takes the place of the more general value.
2. An option marked *narrow* (`hauberk.config.Narrow`) does not give way: it is united, cut down to what both tables
   have, or the stricter value stands, whatever the order.
3. ``override = true`` in a table lets the narrow options of this table stand as written. That is widening, and the
   production profile refuses it (`hauberk.config`).

The default of an option is no level: it holds only where no table names the option.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, get_args, get_origin

import msgspec

from hauberk._options import bare, fields_of, is_table_type

How = str | tuple[str, ...] | Callable[[Any, Any], Any]


def merge(general: Mapping[str, Any], specific: Mapping[str, Any], kind: Any, *, widen: bool = False) -> dict[str, Any]:
    """Return a checked table over a more general one; ``widen`` is the ``override`` of the more specific one.

    Raises:
        ValueError: A `Narrow.by` function cannot compare the values.
    """
    return _merge_tables(general, specific, kind, None, widen=widen)


def _merge_tables(
    a: Mapping[str, Any], b: Mapping[str, Any], kind: Any, how: How | None, *, widen: bool
) -> dict[str, Any]:
    common = how == "common" and not widen
    merged = {key: value for key, value in a.items() if key in b} if common else dict(a)
    for key, value in b.items():
        if key in a:
            merged[key] = _merge_value(a[key], value, _child_of(kind, key), how, widen=widen)
        elif not common:
            merged[key] = value
    return merged


def _merge_value(a: Any, b: Any, kind: Any, how: How | None, *, widen: bool) -> Any:
    inner, metas = bare(kind)
    how = _narrow(metas) or how  # a mark on a table holds for what is in it
    if isinstance(a, dict) and isinstance(b, dict):
        return _merge_tables(a, b, inner, how, widen=widen)
    return b if widen or how is None else _stricter(how, a, b, kind)


def _stricter(how: How, a: Any, b: Any, kind: Any) -> Any:
    if callable(how):
        return how(a, b)
    if isinstance(how, tuple):
        return min(a, b, key=how.index)
    match how:
        case "union" | "common":
            return _joined(how, a, b)
        case "min" | "max":
            pick = min if how == "min" else max
            return pick(a, b, key=lambda value: msgspec.convert(value, kind))
        case "or":
            return a or b
        case "and":
            return a and b
    raise ValueError(f"unknown narrow mark {how!r}")


def _joined(how: str, a: Any, b: Any) -> Any:
    if not isinstance(a, list) or not isinstance(b, list):
        if a == b:
            return a
        raise ValueError("two values that differ cannot be joined")
    if how == "common":
        return [item for item in a if item in b]
    seen = {repr(item): item for item in (*a, *b)}  # items may be tables, which have no hash
    return list(seen.values())


def _child_of(kind: Any, key: str) -> Any:
    if is_table_type(kind):
        field = fields_of(kind).get(key)
        return field.type if field else Any
    return get_args(kind)[1] if get_origin(kind) is dict else Any


def _narrow(metas: Iterable[Any]) -> How | None:
    return next((how for meta in metas if (how := (getattr(meta, "extra", None) or {}).get("narrow"))), None)

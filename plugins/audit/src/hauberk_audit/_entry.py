r"""What of an event goes into the log, and how: one JSON object that is safe to look at, of bounded size.

The rules:

1. The members are those of `hauberk.event.Event`, ``time`` first, as RFC 3339 in UTC with microseconds. What is empty
   is left out. Arguments of calls are in no event, so they are in no entry.
2. In a string, what is not printable (controls, line and paragraph separators, marks that turn the direction of text,
   lone surrogates) is written as Python's ``ascii()`` writes it, ``\x1b`` or ``\u2028``, so no viewer acts on it.
3. Strings, ``details`` and ``sizes`` are cut to `BOUNDS`, and say so.
4. In ``details``, what JSON does not carry is named by its type, never by its content.
"""

from __future__ import annotations

import time
from typing import Any, Final

import msgspec
import orjson
from msgspec import UNSET, UnsetType

from hauberk.event import Event
from hauberk_audit._bounds import BOUNDS
from hauberk_audit.writing._chain import FORMAT, NAME

_STRICT: Final = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_SUBCLASS
_YEAR_10000: Final = 253_402_300_800.0
"""Seconds since 1970 that RFC 3339 has no date for."""
_SECOND: Final = 1_000_000
_BACKSLASH: Final = 0x5C
_DELETE: Final = 0x7F
_MIN_INT: Final = -(2**63)
_MAX_INT: Final = 2**64

_JSON = msgspec.Raw | UnsetType


class Row(msgspec.Struct, omit_defaults=True, gc=False, tag_field="format", tag=NAME):
    """The members of an entry up to ``integrity``: after ``format``, in the order of `hauberk.event.Event`."""

    time: str
    code: str
    id: str
    category: str
    severity: str
    action: str
    host: str = ""
    server: str = ""
    principal: str = ""
    source: str = ""
    method: str = ""
    tool: str = ""
    exchange: str = ""
    digest: str = ""
    sizes: _JSON = UNSET
    rule: str = ""
    plugin: str = ""
    count: int = 0
    probe: bool = False
    details: _JSON = UNSET


_HEAD: Final = len(FORMAT) - 1
"""Bytes of an entry before the member that is the first of an event."""
_LATEST: Final = [(0, "1970-01-01T00:00:00.")]
"""The second that was written last, in microseconds and as text."""
_DIGITS: Final = tuple(f"{number:03}" for number in range(1000))
_Raw: Final = msgspec.Raw
_dumps: Final = orjson.dumps
_encode: Final = msgspec.json.Encoder().encode


def render(event: Event) -> bytes:
    """Return an event as the beginning of an entry: JSON without its closing brace."""
    sizes, details = event.sizes, event.details
    try:  # orjson writes the tables: msgspec would write bytes, keys that are equal as strings, and objects
        raw = _encode(
            Row(  # one by one: a tuple of them takes longer, and CPython 3.11 keeps 2,000 tuples of twenty for ever
                rfc3339(event.time),
                event.code,
                event.id,
                event.category,
                event.severity,
                event.action,
                event.host,
                event.server,
                event.principal,
                event.source,
                event.method,
                event.tool,
                event.exchange,
                event.digest,
                _Raw(_dumps(sizes, None, _STRICT)) if sizes else UNSET,
                event.rule,
                event.plugin,
                event.count,
                event.probe,
                _Raw(_dumps(details, None, _STRICT)) if details else UNSET,
            )
        )
    except (TypeError, UnicodeEncodeError):
        return _visible(event)
    # No string is longer than the whole, and a control character would have brought a backslash.
    if len(raw) <= BOUNDS.text + _HEAD and raw.isascii() and _BACKSLASH not in raw and _DELETE not in raw:
        return raw[:-1]
    return _visible(event)


def _visible(event: Event) -> bytes:
    """Return any event as the beginning of an entry: bounded, and all of it can be seen."""
    row: dict[str, Any] = {name: getattr(event, name) for name in Row.__struct_fields__}
    row = {name: visible(value) if isinstance(value, str) else value for name, value in row.items()}
    row |= {name: _bounded(row[name]) if row[name] else UNSET for name in ("sizes", "details")}
    return _encode(Row(**(row | {"time": rfc3339(event.time)})))[:-1]


def rfc3339(seconds: float) -> str:
    """Return seconds since 1970 as a date and time in UTC; what no date has is 1970 itself."""
    micros = int(seconds * 1e6 + 0.5) if 0.0 <= seconds < _YEAR_10000 else 0
    start, text = _LATEST[0]
    part = micros - start
    if not 0 <= part < _SECOND:
        part = micros % _SECOND
        text = time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(micros // _SECOND))
        _LATEST[0] = micros - part, text  # at once: threads share it
    return f"{text}{_DIGITS[part // 1000]}{_DIGITS[part % 1000]}Z"


def visible(text: str) -> str:
    """Return a string of bounded length in which every character can be seen."""
    over = len(text) - BOUNDS.text
    if over > 0:
        text = text[: BOUNDS.text]
    if not text.isprintable():
        text = "".join([c if c.isprintable() else ascii(c)[1:-1] for c in text])
    return f"{text}…[+{over} characters]" if over > 0 else text


def _bounded(table: dict[str, Any]) -> msgspec.Raw:
    """Return a table as JSON of bounded size in which everything can be seen."""
    raw = orjson.dumps(_Cleaner().value(table, BOUNDS.depth))
    return msgspec.Raw(raw if len(raw) <= BOUNDS.details else orjson.dumps({"cut": visible(raw.decode())}))


class _Cleaner:
    """Makes plain, bounded JSON of one value."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = BOUNDS.nodes

    def value(self, value: Any, depth: int) -> Any:
        self._left -= 1
        if isinstance(value, str):
            return visible(value)
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int):
            return int(value) if _MIN_INT <= value < _MAX_INT else f"<integer of {value.bit_length()} bits>"
        if isinstance(value, float):
            return float(value)
        return self._container(value, depth)

    def _container(self, value: Any, depth: int) -> Any:
        if isinstance(value, bytes | bytearray | memoryview):
            return f"<{len(value)} bytes>"
        if not isinstance(value, dict | list | tuple | set | frozenset):
            return visible(f"<{type(value).__name__}>")
        if depth == 0:
            return "…"
        return self._table(value, depth - 1) if isinstance(value, dict) else self._array(value, depth - 1)

    def _table(self, table: dict[Any, Any], depth: int) -> dict[str, Any]:
        clean: dict[str, Any] = {}
        for count, (key, value) in enumerate(table.items()):
            if self._left <= 0:
                clean["…"] = f"+{len(table) - count}"
                break
            clean[_key(key)] = self.value(value, depth)
        return clean

    def _array(self, array: Any, depth: int) -> list[Any]:
        clean: list[Any] = []
        for count, value in enumerate(array):
            if self._left <= 0:
                clean.append(f"…[+{len(array) - count}]")
                break
            clean.append(self.value(value, depth))
        return clean


def _key(key: Any) -> str:
    if isinstance(key, str):
        return visible(key)
    return str(key) if isinstance(key, bool | float | None) else visible(f"<{type(key).__name__}>")

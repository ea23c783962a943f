r"""Entries as text: for people, for programs, for spreadsheets; whatever is in them, no viewer acts on it (A25, S2.39).

The rules:

1. What is not printable is written as an escape: in JSON as ``\u202e``, elsewhere as Python's ``ascii()`` writes it.
   The log has it so already, but who changes a log need not keep to that.
2. A cell of a table that begins with ``=``, ``+``, ``-``, ``@``, TAB, CR or LF, also in full width or after blanks,
   gets an apostrophe before it, so that no spreadsheet takes it for a formula. Each cell is quoted (RFC 4180).
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, Literal

from hauberk_audit._entry import Row, visible
from hauberk_audit.queries._ocsf import event
from hauberk_audit.queries._reading import Found, count_of, table_of, text_of

Format = Literal["jsonl", "csv", "ocsf"]
_COLUMNS: Final = ("file", "line", "sequence", *Row.__struct_fields__, "prev_hash", "key_id", "entry_hash")
_FORMULA: Final = frozenset("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
_BMP: Final = 0xFFFF


def as_json(value: Any, *, indent: int | None = None) -> str:
    """Return a value as JSON in which everything can be seen."""
    separators = (",", ":") if indent is None else None
    return _escaped(json.dumps(value, indent=indent, ensure_ascii=False, separators=separators))


def as_line(found: Found) -> str:
    """Return the line of an entry as it stands, or as JSON where it was sealed, or cannot be shown."""
    text = found.raw.decode()
    return text if text and text.isprintable() else as_json(found.entry)


def as_text(found: Found, *, named: bool) -> str:
    """Return an entry as one line for people.

    Args:
        found: The entry.
        named: Whether the line names the log.
    """
    entry, count = found.entry, count_of(found.entry)
    where = "/".join(filter(None, (text_of(entry, "server"), text_of(entry, "tool") or text_of(entry, "method"))))
    words = [
        text_of(entry, "time"),
        f"{found.log.name if named else ''}#{found.sequence}",
        f"{text_of(entry, 'severity'):<8}",
        f"{text_of(entry, 'action'):<9}",
        f"{text_of(entry, 'code') + (f' x{count}' if count > 1 else ''):<22}",
        where,
        text_of(entry, "principal"),
        text_of(entry, "rule"),
        text_of(table_of(entry, "details"), "reason"),
    ]
    return visible("  ".join(filter(None, words)).rstrip())


def lines(found: Iterable[Found], kind: Format) -> Iterator[str]:
    """Yield entries as the lines of a file, each with its end."""
    if kind == "csv":
        yield _row(_COLUMNS)
    make = _MAKERS[kind]
    for one in found:
        yield make(one)


def cell(value: Any) -> str:
    """Return a value as a cell of a table."""
    if value is None:
        return ""
    text = value if isinstance(value, str) else as_json(value)
    shown = "".join([c if c.isprintable() else ascii(c)[1:-1] for c in text])
    return f"'{shown}" if text.lstrip(" ")[:1] in _FORMULA else shown


def _table_row(found: Found) -> str:
    own = {"file": found.file.name, "line": found.line, "sequence": found.sequence}
    every = own | table_of(found.entry, "integrity") | found.entry | own
    return _row(every.get(name) for name in _COLUMNS)


def _row(values: Iterable[Any]) -> str:
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL).writerow([cell(value) for value in values])
    return text.getvalue()


def _escaped(text: str) -> str:
    """Return JSON with escapes for what is not printable; that stands in strings alone, but for ends of lines."""
    if text.isprintable():
        return text
    return "".join([c if c.isprintable() or c == "\n" else _escape(c) for c in text])


def _escape(character: str) -> str:
    code = ord(character)
    if code <= _BMP:
        return f"\\u{code:04x}"
    high, low = divmod(code - _BMP - 1, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"


_MAKERS: Final[dict[Format, Callable[[Found], str]]] = {
    "jsonl": lambda found: f"{as_line(found)}\n",
    "csv": _table_row,
    "ocsf": lambda found: f"{as_json(event(found))}\n",
}

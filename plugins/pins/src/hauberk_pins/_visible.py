r"""JSON that a person can review: every character that does not show is written as an escape, and reads back the same.

The rules:

1. Keys are sorted as in the canonical form, one member a line, two blanks a level.
2. Control characters, what Unicode lets a renderer leave out or reorder (zero-width, bidirectional, variation
   selectors, fillers, tags), blanks other than U+0020, private characters and noncharacters are ``\uXXXX``. The set is
   fixed here, so that a file reads the same whatever the version of Python.
3. A string of several lines is written as several strings, one for each line, so that a diff is a diff of its lines.
4. Every number is in canonical form.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator
from typing import Any, Final

import orjson

from hauberk import canon
from hauberk_pins._limits import LIMITS

_HIDDEN: Final = (
    "[\x00-\x1f\x7f-\xa0\xad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u115f\u1160\u1680\u17b4\u17b5"
    "\u180b-\u180f\u2000-\u200f\u2028-\u202f\u205f-\u206f\u2800\u3000\u3164\ud800-\uf8ff\ufdd0-\ufdef\ufe00-\ufe0f"
    "\ufeff\uffa0\ufff0-\uffff\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U0010ffff]"
)
"""What is written as an escape (rule 2)."""
_PART: Final = re.compile(r"\\.|[^\\]+")
_NEWLINE: Final = r"\n"
_INDENT: Final = "  "
_MAX_INT: Final = 2**64 - 1
_MIN_INT: Final = -(2**63)


@functools.cache
def hidden() -> re.Pattern[str]:
    """Return what finds a character that does not show; made when it is wanted, which is after the start."""
    return re.compile(_HIDDEN)


def text(value: Any, indent: str = "") -> str:
    """Return a JSON value as lines; each but the first begins with ``indent``."""
    return "".join(_written(value, "\n" + indent))


def _written(value: Any, line: str) -> Iterator[str]:
    if isinstance(value, dict) and value:
        yield "{"
        for place, key in enumerate(sorted(value, key=lambda key: key.encode("utf-16-be"))):
            yield ("," if place else "") + line + _INDENT + string(key) + ": "
            yield from _written(value[key], line + _INDENT)
        yield line + "}"
    elif isinstance(value, list) and value:
        yield "["
        for place, item in enumerate(value):
            yield ("," if place else "") + line + _INDENT
            yield from _written(item, line + _INDENT)
        yield line + "]"
    elif isinstance(value, str):
        yield _broken(string(value), line + _INDENT)
    else:
        yield canon.dumps(value).decode()


def _broken(quoted: str, line: str) -> str:
    """Break a quoted string after each of its line feeds (rule 3)."""
    if r"\n" not in quoted:
        return quoted
    parts = _PART.findall(quoted[1:-1])
    broken = [f'{part}"{line}"' if part == _NEWLINE else part for part in parts[:-1]]
    return "".join(['"', *broken, parts[-1], '"'])


def string(value: str) -> str:
    """Return a string in quotes, with escapes for what does not show."""
    quoted = orjson.dumps(value).decode()
    return hidden().sub(_escape, quoted)


def _escape(found: re.Match[str]) -> str:
    return json.dumps(found.group())[1:-1]


_JOINT: Final = re.compile(r'\\n"\n *"')


def parse(body: str) -> Any:
    """Read what `text` wrote.

    Raises:
        ValueError: It is no JSON.
    """
    return json.loads(_JOINT.sub(r"\\n", body), parse_int=_integer, parse_constant=_no_number)


def _integer(digits: str) -> int | float:
    """Return an integer, or the double that has this canonical form."""
    if len(digits) <= len(str(_MIN_INT)) and _MIN_INT <= int(digits) <= _MAX_INT:
        return int(digits)
    return float(digits)


def _no_number(word: str) -> Any:
    raise ValueError(f"{word} is no number")


def shown(name: str, most: int = LIMITS.shown_chars) -> str:
    """Return a name as it may stand in an event, an error or a terminal: short, with escapes for what does not show."""
    cut = hidden().sub(_escape, name[: most + 1])
    return cut if len(cut) <= most else f"{cut[: most - 1]}…"

"""The strict edge: what is a frame, what is a message in it, and what is refused before anything else looks.

The rules, each with its code:

- only LF ends a line; a line, or the text of what another parser read, is at most ``core.bounds.line_bytes`` long
  (``core.line_too_long``);
- a line is one JSON text in UTF-8, RFC 8259: no byte order mark, no NaN or Infinity, no lone surrogate, nothing after
  it (``core.not_json``);
- it is an object (``core.not_an_object``); an array, which once meant a batch, is refused whole (``core.batch``);
- the keys of each object are unique once escapes are resolved, RFC 7493 section 2.3 (``core.duplicate_key``);
- integers lie within -2**63 and 2**64 - 1 and are carried exactly, other numbers are finite and carried as the nearest
  double (``core.number``);
- arrays and objects stand in each other at most 128 deep, the message itself counted (``core.depth``);
- a line that is longer than 1 MiB holds at most ``core.bounds.values`` values (``core.values``): parsed, each takes up
  to twenty times its bytes.

A line that equals our serialisation of it, byte for byte, keeps all of them: a key that is lost or a number that
changes would show. Any other line is compared with it token by token.

Pure: no input, no output, no clock. A refusal names the rule and never repeats what was in the message.
"""

from __future__ import annotations

import functools
import gc
import itertools
import math
import operator
from collections.abc import Iterable
from typing import Any, Final

import orjson

from hauberk import _depth
from hauberk import _strict as rules
from hauberk._framing import ENDS, Framer, Overlong, loose_id, salvage, salvage_id
from hauberk._strict import MAX_DEPTH
from hauberk.bounds import Bounds
from hauberk.refusals import Refused

__all__ = ["ENDS", "MAX_DEPTH", "Framer", "Overlong", "loose_id", "normalise", "read", "salvage", "salvage_id"]

_BLANK: Final = b" \t\r\n"
_SHALLOW_BYTES: Final = 2 * MAX_DEPTH + 1
"""No line this short is too deep: each level takes two brackets."""
_COUNTED_BYTES: Final = 1536
"""Up to here, counting brackets is cheaper than the gauge."""
_FEW: Final = 64
"""So many values are copied one by one."""
_SCALARS: Final = frozenset({str, int, bool, type(None)})
_LARGE_BYTES: Final = 1024 * 1024
"""From here, a line can hold so many values that the collector's walks are felt."""
_TOKEN_BYTES: Final = 64
"""With fewer blanks than one in so many bytes, splitting at quotes is cheaper than removing blanks."""
_NUMERALS: Final = b"-+.0123456789eE"
_SEPARATED: Final = bytes.maketrans(b'[]{}:"', b",,,,,,")


def read(line: bytes, *, bounds: Bounds) -> tuple[dict[str, Any], bytes]:
    """Parse one frame strictly.

    Args:
        line: The frame, without its line feed.
        bounds: ``line_bytes`` bounds its length (bytes).

    Returns:
        The message, and the core's own serialisation of it (compact UTF-8, keys in their order): what goes on.

    Raises:
        Refused: A rule of this module is broken; on the wire -32700 for what does not parse, else -32006.
    """
    size = len(line)
    if size > bounds.line_bytes:
        raise rules.LINE.refused()
    if size > _LARGE_BYTES:
        if gc.isenabled():
            return _read_large(line, bounds)
        _check_values(line, bounds.values)
    problem = None
    try:
        message = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        problem = error.msg
    if problem is not None:  # not raised in the handler: the error holds the whole line
        raise _unreadable(line, problem).refused()
    if type(message) is not dict:
        raise (rules.BATCH if type(message) is list else rules.NOT_OBJECT).refused()
    if size <= _SHALLOW_BYTES or _shallow(line):
        own = orjson.dumps(message)
        if own == line:
            return message, own
    else:
        gauge = _depth.installed()
        pad = gauge.pad
        wrapped = gauge.dumps(message)
        if wrapped.startswith(line, pad) and len(wrapped) == size + 2 * pad:
            return message, line
        own = wrapped[pad : len(wrapped) - pad]
    _read_again(line, own)
    return message, own


def _read_large(line: bytes, bounds: Bounds) -> tuple[dict[str, Any], bytes]:
    """Read without the collector: it walks what was parsed so far again and again, for seconds if it is hostile."""
    gc.disable()
    try:
        return read(line, bounds=bounds)
    except Refused as refused:
        refusal = refused.with_traceback(None)  # its frames hold what was parsed
    finally:
        gc.enable()
    raise refusal


def _check_values(line: bytes, most: int) -> None:
    """Refuse a line of very many values before they are made."""
    if _values(line) > most and _values(_parts(line)[0]) > most:  # what stands in strings is no value
        raise rules.VALUES.refused()


def _values(text: bytes) -> int:
    """Return how many values a text may hold: each comes after a comma, or first in an array or an object."""
    return text.count(b",") + text.count(b"[") + text.count(b"{")


def normalise(
    message: dict[str, Any], *, long: bool = False, bounds: Bounds | None = None
) -> tuple[dict[str, Any], bytes]:
    """Check an object that another parser made, and make it our own.

    Equality proves that nothing changed on the way: the serialiser writes true, 1 and 1.0 apart, so values of different
    types come back different or not at all, and NaN, which it writes as null, equals nothing.

    Args:
        message: The message; it is not changed.
        long: Whether it is likely to be long, so that its depth is measured while it is serialised.
        bounds: ``line_bytes`` bounds its serialisation (bytes), where they are given.

    Returns:
        A copy of plain JSON values, and its serialisation.

    Raises:
        Refused: ``core.not_an_object``, ``core.depth``, ``core.line_too_long``, or ``core.not_json`` for what JSON
            cannot carry: NaN, infinities, integers out of range, lone surrogates, keys that are no strings, tuples,
            dates and the like.
    """
    if not isinstance(message, dict):
        raise rules.NOT_OBJECT.refused()
    gauge = _depth.installed()
    if not gauge.pad and _depth.too_deep(message):  # the serialiser would not stop
        raise rules.DEPTH.refused()
    try:
        own = gauge.dumps(message)[gauge.pad : -gauge.pad or None] if long else orjson.dumps(message)
    except TypeError:
        own = b""
    if not own:
        raise (rules.DEPTH if _depth.too_deep(message) else rules.FOREIGN).refused()
    if bounds is not None and len(own) > bounds.line_bytes:
        raise rules.LINE.refused()
    if not long and len(own) > _SHALLOW_BYTES and not _shallow(own):
        gauge.dumps(message)
    plain = _copied(message, _FEW) if len(own) > _COUNTED_BYTES else None
    if plain is None:
        plain = orjson.loads(own)
        if plain != message:
            raise rules.FOREIGN.refused()
    return plain, own


def _copied(value: dict[str, Any], most: int) -> dict[str, Any] | None:
    """Return a copy of an object that is made of few values, each of them plain; None of any other.

    A long text is one value: to write it, to read it again and to compare it takes ten times as long.
    """
    copy: dict[str, Any] = {}
    rest: list[tuple[Any, Any]] = [(value, copy)]
    for source, target in rest:
        most -= len(source)
        if most < 0:
            return None
        for key, item in source.items() if type(source) is dict else enumerate(source):
            kind = type(item)
            if kind is dict or kind is list:
                item = kind()  # noqa: PLW2901 - filled when its turn comes
                rest.append((source[key], item))
            elif not (kind in _SCALARS or (kind is float and math.isfinite(item))):
                return None
            if type(target) is list:
                target.append(item)
            elif type(key) is str:
                target[key] = item
            else:
                return None
    return copy


# --- the second reading ---


def _read_again(line: bytes, own: bytes) -> None:
    """Refuse a line that means anything else than our serialisation of it.

    The parser keeps the last of two equal keys, reads an integer out of range as a double, and takes keys from a cache
    that compares hashes only. So the two texts are compared token by token. No values are made of the line a second
    time: a hostile one would hold millions.
    """
    line = line.strip(_BLANK)
    if line == own or _same_but_for_blanks(line, own):
        return
    structure, strings = _parts(line)
    own_structure, own_strings = _parts(own)
    if structure != own_structure:
        _compare_structures(structure, own_structure)
    if strings != own_strings:
        _compare_strings(strings, own_strings)


def _same_but_for_blanks(line: bytes, own: bytes) -> bool:
    """Whether the two texts are equal once every blank is gone, those in strings too.

    Sound, because blanks never join two tokens of a valid text: equal texts then have equal tokens, and of a key that
    was lost the colon would be missing in ``own``. Tried only where blanks are so many that it is cheaper than
    splitting (`json.dumps` writes one a token).
    """
    if (len(line) - len(own)) * _TOKEN_BYTES < len(line):
        return False
    return line.translate(None, _BLANK) == own.translate(None, _BLANK)


def _parts(text: bytes) -> tuple[bytes, list[bytes]]:
    """Return a valid text without its blanks and with one quote for each string, and what stands in the strings.

    Control characters cannot stand in a valid text, so two of them can stand for its escaped backslashes and quotes.
    """
    if b"\\" in text:
        text = text.replace(b"\\\\", b"\0").replace(b'\\"', b"\1")
    parts = text.split(b'"')
    return b'"'.join(parts[::2]).translate(None, _BLANK), parts[1::2]


def _compare_structures(structure: bytes, own: bytes) -> None:
    if structure.count(b":") != own.count(b":"):
        raise rules.DUPLICATE.refused()
    if structure.translate(None, _NUMERALS) != own.translate(None, _NUMERALS):
        raise rules.DISAGREE.refused()
    scalars, ours = structure.translate(_SEPARATED).split(b","), own.translate(_SEPARATED).split(b",")
    changed = [*map(operator.ne, scalars, ours)]
    numbers = [*itertools.compress(scalars, changed)]
    # An integer that is carried is written as it came, but for -0, which is 0.
    if any(number.lstrip(b"-").isdigit() and number != b"-0" for number in numbers):
        raise rules.NUMBER.refused()
    if [*map(float, numbers)] != [*map(float, itertools.compress(ours, changed))]:
        raise rules.DISAGREE.refused()


def _compare_strings(strings: list[bytes], own: list[bytes]) -> None:
    changed = [(string, ours) for string, ours in zip(strings, own, strict=True) if string != ours]
    if _unescaped(string for string, _ in changed) != _unescaped(ours for _, ours in changed):
        raise rules.DISAGREE.refused()


def _unescaped(strings: Iterable[bytes]) -> list[str]:
    text = b'["' + b'","'.join(strings) + b'"]'
    values: list[str] = orjson.loads(text.replace(b"\0", b"\\\\").replace(b"\1", b'\\"'))
    return values


# --- depth ---


def _shallow(text: bytes) -> bool:
    """Whether a text is so short, or has so few brackets, that it cannot be too deep."""
    size = len(text)
    return size <= _SHALLOW_BYTES or (size <= _COUNTED_BYTES and text.count(b"{") + text.count(b"[") <= MAX_DEPTH)


# --- what was wrong ---


@functools.cache
def _problems() -> dict[str, rules.Rule]:
    """What the parser that is installed says of texts that keep the grammar and break a rule."""
    samples = {
        b"[" * 2048 + b"]" * 2048: rules.DEPTH,
        b"1e999": rules.NUMBER,
        b'"\\ud800"': rules.SURROGATE,
        b'"\\udc00"': rules.SURROGATE,
        b'"\\ud800\\u0020"': rules.SURROGATE,
    }
    found = {}
    for sample, rule in samples.items():
        try:
            orjson.loads(sample)
        except orjson.JSONDecodeError as error:
            found[error.msg] = rule
    return found


def _unreadable(line: bytes, problem: str) -> rules.Rule:
    if line.startswith(b"\xef\xbb\xbf"):
        return rules.BOM
    if problem in _problems():
        return _problems()[problem]
    try:
        line.decode()
    except UnicodeDecodeError:
        return rules.UTF8
    return rules.NOT_JSON

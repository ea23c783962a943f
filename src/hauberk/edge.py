"""The strict edge: what is a frame, what is a message in it, and what is refused before anything else looks.

The rules, each with its code:

- only LF ends a line; a line is at most ``core.bounds.line_bytes`` long (``core.line_too_long``);
- a line is one JSON text in UTF-8, RFC 8259: no byte order mark, no NaN or Infinity, no lone surrogate, nothing after
  it (``core.not_json``);
- it is an object (``core.not_an_object``); an array, which once meant a batch, is refused whole (``core.batch``);
- the keys of each object are unique once escapes are resolved, RFC 7493 section 2.3 (``core.duplicate_key``);
- integers lie within -2**63 and 2**64 - 1 and are carried exactly, other numbers are finite and carried as the nearest
  double (``core.number``);
- arrays and objects stand in each other at most 128 deep, the message itself counted (``core.depth``).

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
from typing import Any, Final, NamedTuple, final

import orjson

from hauberk._framing import ENDS, Framer, Overlong, loose_id, salvage, salvage_id
from hauberk.bounds import Bounds
from hauberk.refusals import MEDIATION, PARSE_ERROR, Refused

__all__ = ["ENDS", "MAX_DEPTH", "Framer", "Overlong", "loose_id", "normalise", "read", "salvage", "salvage_id"]

MAX_DEPTH: Final = 128
"""Arrays and objects inside each other, the outermost counted."""

_BLANK: Final = b" \t\r\n"
_SHALLOW_BYTES: Final = 2 * MAX_DEPTH + 1
"""No line this short is too deep: each level takes two brackets."""
_COUNTED_BYTES: Final = 1536
"""Up to here, counting brackets is cheaper than the gauge."""
_FEW: Final = 64
"""So many values are copied one by one."""
_SCALARS: Final = frozenset({str, int, bool, type(None)})
_LIMIT_MAX: Final = 512
"""A limit of orjson above this is not looked for: brackets around each message would cost more than they save."""
_LARGE_BYTES: Final = 1024 * 1024
"""From here, a line can hold so many values that the collector's walks are felt."""
_TOKEN_BYTES: Final = 64
"""With fewer blanks than one in so many bytes, splitting at quotes is cheaper than removing blanks."""
_NUMERALS: Final = b"-+.0123456789eE"
_SEPARATED: Final = bytes.maketrans(b'[]{}:"', b",,,,,,")


class _Rule(NamedTuple):
    code: str
    problem: str
    text: str
    jsonrpc: int = MEDIATION
    hint: str | None = None

    def refused(self) -> Refused:
        return Refused(
            self.code, f"message refused: {self.problem}", rule=self.text, hint=self.hint, jsonrpc=self.jsonrpc
        )


_LINE: Final = _Rule(
    "core.line_too_long",
    "the line is longer than the bound",
    "a line is at most core.bounds.line_bytes long",
    hint="raise line_bytes in [core.bounds] if this peer may send that much",
)
_NOT_JSON: Final = _Rule("core.not_json", "it does not parse", "a line is one JSON text (RFC 8259)", PARSE_ERROR)
_BOM: Final = _Rule("core.not_json", "a byte order mark stands before it", "no byte order mark", PARSE_ERROR)
_UTF8: Final = _Rule("core.not_json", "it holds bytes that are not UTF-8", "JSON text is valid UTF-8", PARSE_ERROR)
_SURROGATE: Final = _Rule(
    "core.not_json", "it holds half a surrogate pair", "no lone surrogates (RFC 7493)", PARSE_ERROR
)
_DISAGREE: Final = _Rule("core.not_json", "it has two readings", "a line means one thing", PARSE_ERROR)
_FOREIGN: Final = _Rule("core.not_json", "it holds what JSON does not carry", "a message is made of JSON values")
_BATCH: Final = _Rule("core.batch", "it is an array", "a line is one message; a batch is refused whole")
_NOT_OBJECT: Final = _Rule("core.not_an_object", "it is no JSON object", "a message is a JSON object")
_DUPLICATE: Final = _Rule("core.duplicate_key", "an object names a key twice", "keys are unique in their object")
_NUMBER: Final = _Rule(
    "core.number", "a number is out of range", "integers lie within -2**63 and 2**64-1, other numbers are finite"
)
_DEPTH: Final = _Rule("core.depth", "it is nested too deep", f"arrays and objects nest at most {MAX_DEPTH} deep")


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
        raise _LINE.refused()
    if size > _LARGE_BYTES and gc.isenabled():
        return _read_large(line, bounds)
    problem = None
    try:
        message = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        problem = error.msg
    if problem is not None:  # not raised in the handler: the error holds the whole line
        raise _unreadable(line, problem).refused()
    if type(message) is not dict:
        raise (_BATCH if type(message) is list else _NOT_OBJECT).refused()
    if size <= _SHALLOW_BYTES or _shallow(line):
        own = orjson.dumps(message)
        if own == line:
            return message, own
    else:
        gauge = _gauge()
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


def normalise(message: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """Check an object that another parser made, and make it our own.

    Equality proves that nothing changed on the way: the serialiser writes true, 1 and 1.0 apart, so values of different
    types come back different or not at all, and NaN, which it writes as null, equals nothing.

    Args:
        message: The message; it is not changed.

    Returns:
        A copy of plain JSON values, and its serialisation.

    Raises:
        Refused: ``core.not_an_object``, ``core.depth``, or ``core.not_json`` for what JSON cannot carry: NaN,
            infinities, integers out of range, lone surrogates, keys that are no strings, tuples, dates and the like.
    """
    if not isinstance(message, dict):
        raise _NOT_OBJECT.refused()
    gauge = _gauge()
    if not gauge.pad and _too_deep(message):  # the serialiser would not stop
        raise _DEPTH.refused()
    try:
        own = orjson.dumps(message)
    except TypeError:
        own = b""
    if not own:
        raise (_DEPTH if _too_deep(message) else _FOREIGN).refused()
    if len(own) > _SHALLOW_BYTES and not _shallow(own):
        gauge.dumps(message)
    plain = _copied(message, _FEW) if len(own) > _COUNTED_BYTES else None
    if plain is None:
        plain = orjson.loads(own)
        if plain != message:
            raise _FOREIGN.refused()
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
        raise _DUPLICATE.refused()
    if structure.translate(None, _NUMERALS) != own.translate(None, _NUMERALS):
        raise _DISAGREE.refused()
    scalars, ours = structure.translate(_SEPARATED).split(b","), own.translate(_SEPARATED).split(b",")
    changed = [*map(operator.ne, scalars, ours)]
    numbers = [*itertools.compress(scalars, changed)]
    # An integer that is carried is written as it came, but for -0, which is 0.
    if any(number.lstrip(b"-").isdigit() and number != b"-0" for number in numbers):
        raise _NUMBER.refused()
    if [*map(float, numbers)] != [*map(float, itertools.compress(ours, changed))]:
        raise _DISAGREE.refused()


def _compare_strings(strings: list[bytes], own: list[bytes]) -> None:
    changed = [(string, ours) for string, ours in zip(strings, own, strict=True) if string != ours]
    if _unescaped(string for string, _ in changed) != _unescaped(ours for _, ours in changed):
        raise _DISAGREE.refused()


def _unescaped(strings: Iterable[bytes]) -> list[str]:
    text = b'["' + b'","'.join(strings) + b'"]'
    values: list[str] = orjson.loads(text.replace(b"\0", b"\\\\").replace(b"\1", b'\\"'))
    return values


# --- depth ---


def _shallow(text: bytes) -> bool:
    """Whether a text is so short, or has so few brackets, that it cannot be too deep."""
    size = len(text)
    return size <= _SHALLOW_BYTES or (size <= _COUNTED_BYTES and text.count(b"{") + text.count(b"[") <= MAX_DEPTH)


@final
class _Gauge:
    """Measures depth for nothing: orjson has a limit of its own, and brackets around a value bring it down to ours.

    What passes is not too deep; what fails is walked, since the limit may be one off for an empty list or object. A
    wrapper belongs to one call at a time: it is taken out of the idle ones, which threads can share.
    """

    __slots__ = ("_idle", "pad")

    def __init__(self, pad: int) -> None:
        self.pad: Final = pad
        self._idle: Final[list[tuple[list[Any], list[Any]]]] = []

    def dumps(self, value: Any) -> bytes:
        """Serialise a JSON value between ``pad`` brackets on each side.

        Raises:
            Refused: ``core.depth``.
        """
        if self.pad and (wrapped := self._wrapped(value)):
            return wrapped
        if _too_deep(value):
            raise _DEPTH.refused()
        return b"[" * self.pad + orjson.dumps(value) + b"]" * self.pad

    def _wrapped(self, value: Any) -> bytes | None:
        try:
            wrapper = self._idle.pop()
        except IndexError:  # asking first whether there is one would be a race
            wrapper = self._wrapper()
        outer, slot = wrapper
        slot[0] = value
        try:
            return orjson.dumps(outer)
        except TypeError:
            return None
        finally:
            slot[0] = None
            self._idle.append(wrapper)

    def _wrapper(self) -> tuple[list[Any], list[Any]]:
        slot: list[Any] = [None]
        outer = slot
        for _ in range(self.pad - 1):
            outer = [outer]
        return outer, slot

    def sound(self) -> bool:
        """Whether 129 levels never pass, whatever they are made of."""
        leaves: tuple[Any, ...] = (1, [], {})
        return not any(self._wrapped(_nest(kinds, leaf)) for kinds in ("[", "{", "[{") for leaf in leaves)


def _nest(kinds: str, leaf: Any) -> Any:
    """Return one level more than is allowed."""
    value = leaf
    for kind in itertools.islice(itertools.cycle(kinds), MAX_DEPTH + (leaf == 1)):
        value = [value] if kind == "[" else {"": value}
    return value


@functools.cache
def _gauge() -> _Gauge:
    """Measure the limit of the orjson that is installed; without a usable one, depth is walked."""
    nest: list[Any] = []
    for limit in range(_LIMIT_MAX):
        try:
            orjson.dumps(nest)
        except TypeError:
            gauge = _Gauge(max(0, limit - MAX_DEPTH))
            return gauge if gauge.pad and gauge.sound() else _Gauge(0)
        nest = [nest]
    return _Gauge(0)


def _too_deep(value: Any) -> bool:
    """Walk level by level; an object that holds itself is too deep."""
    level = {0: value}
    for _ in range(MAX_DEPTH):
        level = {
            id(item): item
            for node in level.values()
            for item in (node.values() if isinstance(node, dict) else node)
            if isinstance(item, dict | list | tuple)
        }
        if not level:
            return False
    return True


# --- what was wrong ---


@functools.cache
def _problems() -> dict[str, _Rule]:
    """What the parser that is installed says of texts that keep the grammar and break a rule."""
    samples = {
        b"[" * 2048 + b"]" * 2048: _DEPTH,
        b"1e999": _NUMBER,
        b'"\\ud800"': _SURROGATE,
        b'"\\udc00"': _SURROGATE,
        b'"\\ud800\\u0020"': _SURROGATE,
    }
    found = {}
    for sample, rule in samples.items():
        try:
            orjson.loads(sample)
        except orjson.JSONDecodeError as error:
            found[error.msg] = rule
    return found


def _unreadable(line: bytes, problem: str) -> _Rule:
    if line.startswith(b"\xef\xbb\xbf"):
        return _BOM
    if problem in _problems():
        return _problems()[problem]
    try:
        line.decode()
    except UnicodeDecodeError:
        return _UTF8
    return _NOT_JSON

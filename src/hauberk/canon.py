"""Canonical JSON: one value, one sequence of bytes (RFC 8785), for digests and signatures.

As RFC 8785 says: no blanks, keys sorted by their UTF-16 code units, strings with the shortest escapes, numbers as
ECMAScript writes them. One difference: an integer between -2**63 and 2**64 - 1 is written exactly, beyond 2**53 too,
where the RFC knows doubles only. So 1 and 1.0 are one value, and 2**53 + 1 is not 2**53. Beyond 2**53 the RFC pads the
shortest digits of a double with zeros: there a double has the form of an integer that reads back as this double.

The serialiser's sorted output is that already, but for doubles and for keys in which two sort orders differ. So it is
asked first, and its output is searched for both; a search that finds too much costs time and nothing else.
"""

from __future__ import annotations

import functools
import hashlib
import math
import re
from typing import Any, Final

import orjson

from hauberk.refusals import MEDIATION, Refused

_OPTIONS: Final = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME
_SORTED: Final = _OPTIONS | orjson.OPT_SORT_KEYS

_DOUBLE: Final = re.compile(rb"-?[0-9]++(?:\.[0-9]+(?:e[-+]?[0-9]+)?|e[-+]?[0-9]+)")
_ENDS: Final = rb"[0-9]*(?:[,\]}]|\Z)"
_TRACES: Final = (
    (b".", re.compile(rb"\.0(?<=[0-9]\.0)(?:[,\]}]|\Z)")),
    (b"+", re.compile(rb"\+[0-9](?<=[0-9]e\+[0-9])" + _ENDS)),
    (b"-", re.compile(rb"-[0-9](?<=[0-9]e-[0-9])" + _ENDS)),
)
"""A double that is whole or has an exponent is one that ECMAScript may write otherwise; of these one is found in the
output, by a character that is rare in text. A string may hold the like."""
_TRACEABLE: Final = orjson.dumps([1.0, 0.1, 1e300, 1e-300, 1.5e300]) == b"[1.0,0.1,1e+300,1e-300,1.5e+300]"
"""Whether the serialiser that is installed writes doubles in the form that the traces expect."""
_ABOVE_SURROGATES: Final = (b"\xee", b"\xef")
_SUPPLEMENTARY: Final = (b"\xf0", b"\xf1", b"\xf2", b"\xf3", b"\xf4")

_LONG: Final = 1024
"""A text of more bytes is not searched if few values make it: most of it is in strings."""
_SEARCHED: Final = _LONG if _TRACEABLE else 0
_FEW: Final = 64
_NO_FLOATS: Final = frozenset({str, int, bool, type(None)})

_FIXED_BELOW: Final = 21
_FIXED_ABOVE: Final = -7


def dumps(value: Any, *, finite: bool = False) -> bytes:
    """Write a JSON value in canonical form.

    Args:
        value: Dicts with string keys, lists, tuples (as lists), strings, integers, floats, booleans, None; what orjson
            writes of its own accord, a UUID or the value of an enumeration, as that.
        finite: Whether it is known that no NaN or infinity is in it, so that nothing looks for one.

    Returns:
        UTF-8.

    Raises:
        Refused: ``core.not_json`` for what JSON does not carry: NaN, infinities, integers out of range, lone
            surrogates, keys that are no strings, dates, dataclasses, other types.
    """
    try:
        out = orjson.dumps(value, option=_SORTED)
    except TypeError:
        raise _refused() from None
    if not finite and b"null" in out and orjson.loads(out) != value:
        _refuse_infinite(value)
    # What every trace holds is looked for first, here, for a digest is made of every call.
    if len(out) <= _SEARCHED and out.isascii() and not (b".0" in out or b"e+" in out or b"e-" in out):
        return out
    return _rewritten(value, out)


def digest(label: str, value: Any, *, finite: bool = False) -> str:
    r"""Return ``sha256:<hex>`` over ``label``, a line feed, and the canonical form of ``value``.

    Args:
        label: What the digest is for, with a version, as in ``"hauberk/call/v1"``: digests of different kinds never
            meet. It holds no line feed.
        value: As `dumps` takes it.
        finite: As in `dumps`.

    Raises:
        Refused: As `dumps`.
        ValueError: The label holds a line feed.
    """
    hashed = _labelled(label).copy()
    hashed.update(dumps(value, finite=finite))
    return "sha256:" + hashed.hexdigest()


@functools.lru_cache(maxsize=64)
def _labelled(label: str) -> hashlib._Hash:
    """Return the hash of a label and its line feed, to be copied."""
    if "\n" in label:
        raise ValueError("a label holds no line feed")
    return hashlib.sha256(label.encode() + b"\n")


def _rewritten(value: Any, out: bytes) -> bytes:
    """Return the canonical form of a value, given what the serialiser makes of it, sorted."""
    if len(out) > _LONG and _is_plain(value):
        return out
    if not (out.isascii() or _one_order(out)):
        out = orjson.dumps(_in_order(value), option=_OPTIONS)
    return _with_numbers(out) if _has_doubles(out) else out


def _refused() -> Refused:
    return Refused(
        "core.not_json",
        "no canonical form: the value holds what JSON does not carry",
        rule="objects, arrays, strings, finite numbers within 64 bits, booleans and null",
        jsonrpc=MEDIATION,
    )


def _refuse_infinite(value: Any) -> None:
    """Refuse NaN and the infinities, for which the serialiser writes null."""
    rest = [value]
    while rest:
        item = rest.pop()
        if isinstance(item, float) and not math.isfinite(item):
            raise _refused()
        if isinstance(item, dict):
            rest.extend(item.values())
        elif isinstance(item, list | tuple):
            rest.extend(item)


# --- keys: RFC 8785, section 3.2.3 ---


def _one_order(out: bytes) -> bool:
    """Whether sorting by code points, as was done, is sorting by UTF-16 code units.

    The orders differ between a character beyond U+FFFF, whose first unit is a surrogate, and one above the surrogates.
    """
    return not (any(lead in out for lead in _ABOVE_SURROGATES) and any(lead in out for lead in _SUPPLEMENTARY))


def _in_order(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _in_order(value[key]) for key in sorted(value, key=_utf16)}
    if isinstance(value, list | tuple):
        return [_in_order(item) for item in value]
    return value


def _utf16(key: str) -> bytes:
    return key.encode("utf-16-be")


# --- numbers: RFC 8785, section 3.2.2.3 ---


def _is_plain(value: Any) -> bool:
    """Whether these are few values, none of them can be a float, and their keys have one order."""
    rest = [value]
    for _ in range(_FEW):
        item = rest.pop()
        if type(item) is dict:
            if not all(map(str.isascii, item)):
                return False
            rest.extend(item.values())
        elif type(item) is list:
            rest.extend(item)
        elif type(item) not in _NO_FLOATS:
            return False
        if not rest:
            return True
    return False


def _has_doubles(out: bytes) -> bool:
    """Whether there may be a double in another form than the canonical one."""
    if not _TRACEABLE:
        return True
    if not (b"." in out or b"-" in out or b"+" in out):
        return False
    for char, trace in _TRACES:  # noqa: SIM110 - a generator would cost as much as a short text
        if char in out and trace.search(out):
            return True
    return False


def _with_numbers(out: bytes) -> bytes:
    """Rewrite the doubles of a JSON text.

    Every second part between quotes is outside of strings. Control characters cannot stand in JSON, so two of them can
    stand for escaped backslashes and quotes.
    """
    parts = out.replace(b"\\\\", b"\0").replace(b'\\"', b"\1").split(b'"')
    structure = b'"'.join(parts[::2])
    parts[::2] = _DOUBLE.sub(_ecmascript, structure).split(b'"')
    return b'"'.join(parts).replace(b"\0", b"\\\\").replace(b"\1", b'\\"')


def _ecmascript(double: re.Match[bytes]) -> bytes:
    return _number(float(double[0])).encode()


def _number(value: float) -> str:
    """Write a double as ECMAScript's ``Number::toString`` does (ECMA-262, section 6.1.6.1.20).

    Python's `repr` gives the same digits, the shortest that read back as the same double. What differs is where the
    exponent begins: here from 1e21 up and below 1e-6.
    """
    text = repr(value)
    if "e" not in text:
        return text.removesuffix(".0") if value else "0"
    mantissa, _, exponent = text.partition("e")
    power = int(exponent)
    if not _FIXED_ABOVE < power < _FIXED_BELOW:
        return f"{mantissa}e{power:+d}"
    sign, digits = ("-" if value < 0 else ""), mantissa.lstrip("-").replace(".", "")
    return sign + (digits.ljust(power + 1, "0") if power > 0 else "0." + "0" * (-power - 1) + digits)

"""One byte form of each object that is signed, hashed or bound (X.8).

The form of a label and fields: the label, a zero byte, the number of fields (2 bytes), then each field as one type
byte, its length (4 bytes) and its bytes; all numbers big-endian. The types are ``b`` (bytes), ``s`` (UTF-8), ``i`` (a
signed integer of 8 bytes) and ``n`` (nothing). So two lists of fields never have one form, whatever stands in them, and
no form for one label is a form for another: what was signed for one use is worth nothing in a second (A03).
"""

from __future__ import annotations

import struct
from typing import Final

DOMAIN: Final = "hauberk/envelope/"
"""Every label of this package begins so."""

Field = bytes | str | int | None

_HEAD: Final = struct.Struct(">cI")
_INTEGER: Final = struct.Struct(">cIq")
_NOTHING: Final = _HEAD.pack(b"n", 0)


def encode(label: str, *fields: Field) -> bytes:
    """Return the byte form of ``fields`` for the use that ``label`` names.

    Raises:
        ValueError: A text holds a lone surrogate, an integer is beyond 64 bits, or there are over 65535 fields.
    """
    parts = [label.encode(), b"\0", len(fields).to_bytes(2, "big")]
    for field in fields:
        if isinstance(field, int):
            if not -(1 << 63) <= field < 1 << 63:
                raise ValueError("an integer has at most 64 bits")
            parts.append(_INTEGER.pack(b"i", 8, field))
        elif field is None:
            parts.append(_NOTHING)
        else:
            kind, data = (b"b", field) if isinstance(field, bytes) else (b"s", field.encode())
            parts += (_HEAD.pack(kind, len(data)), data)
    return b"".join(parts)

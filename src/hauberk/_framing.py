"""Lines out of a stream of bytes, and what can be told of a frame that is refused.

Only LF ends a line, whatever else a line may hold that Unicode or a terminal would end one at. What is found of a
refused frame serves one end: that whoever waits for its answer is told. Nothing is decided on it.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final, TypeGuard, final

import msgspec
import orjson

from hauberk.bounds import Bounds

ENDS: Final = 512
"""What is kept of the beginning, and of the end, of a line too long to hold (bytes)."""
ID_CHARS: Final = 256
"""An id that is worth answering, if it is a string (characters)."""
SALVAGE_BYTES: Final = 256 * 1024
"""A refused frame up to here is parsed for its id; of a longer one the ends are enough (bytes)."""
_INT_CHARS: Final = 20
_LF: Final = ord("\n")


@final
class Overlong(msgspec.Struct, frozen=True):
    """A line over the bound, of which only the ends were kept."""

    size: int
    """Its length without the line feed (bytes)."""
    head: bytes
    """Its first bytes, at most 512."""
    tail: bytes
    """Its last bytes, at most 512."""


@final
class Framer:
    """Splits a stream of bytes into lines; only LF ends a line.

    Holds at most ``bounds.line_bytes`` and one chunk: a longer line is dropped while it streams. A line of nothing but
    blanks is no frame and is left out.
    """

    __slots__ = ("_dropped", "_head", "_held", "_limit", "_tail")

    def __init__(self, bounds: Bounds) -> None:
        self._limit: Final = bounds.line_bytes
        self._held: Final = bytearray()
        self._dropped = 0
        """Bytes so far of a line that is too long; 0 while the line is held."""
        self._head = b""
        self._tail = b""

    @property
    def rest(self) -> bytes:
        """Return what is held of a line that has not ended; of one that is too long, nothing is."""
        return bytes(self._held)

    @property
    def held(self) -> int:
        """Return how much is held of a line that has not ended (bytes)."""
        return len(self._held)

    @property
    def partial(self) -> bool:
        """Whether a line has begun and not ended."""
        return bool(self._held or self._dropped)

    def feed(self, chunk: bytes) -> list[bytes | Overlong]:
        """Take the next bytes of the stream; return the lines that end in them, without their line feeds."""
        end = chunk.find(b"\n")
        if end == len(chunk) - 1 and 0 < end <= self._limit and not (self._held or self._dropped):
            whole = chunk[:end]  # one line, as most chunks are
            return [] if whole.isspace() else [whole]
        lines = chunk.split(b"\n")
        rest = lines.pop()
        found: list[bytes | Overlong] = []
        if lines and (self._held or self._dropped):
            self._add(lines.pop(0))
            if (line := self.close()) is not None:
                found.append(line)
        limit = self._limit
        for line in lines:
            if len(line) > limit:
                found.append(Overlong(len(line), line[:ENDS], line[-ENDS:]))
            elif line and not line.isspace():
                found.append(line)
        if rest:
            self._add(rest)
        return found

    def only(self, buffer: bytearray, view: memoryview, size: int) -> bytes | None:
        """Take the next bytes from the beginning of a buffer if they are one whole line, as most are, and return it.

        Args:
            buffer: Where they are.
            view: The same buffer.
            size: How many they are.

        Returns:
            The line; None, with nothing taken, where it is for `take` to tell.
        """
        if buffer[size - 1] == _LF and size - 1 <= self._limit and not (self._held or self._dropped):
            line = view[: size - 1].tobytes()
            if line and _LF not in line and not line.isspace():  # to look into bytes is faster than into the buffer
                return line
        return None

    def take(self, buffer: bytearray, view: memoryview, size: int) -> list[bytes | Overlong]:
        """Take the next bytes of the stream from the beginning of a buffer, as `feed`; each is copied once."""
        end = buffer.find(b"\n", 0, size)
        if end == size - 1:
            self._add(view[:end])
            line = self.close()
            return [] if line is None else [line]
        if end < 0:
            self._add(view[:size])
            return []
        return self.feed(view[:size].tobytes())

    def close(self) -> bytes | Overlong | None:
        """End the line: return what stands after the last line feed, or None. The framer can go on."""
        line: bytes | Overlong
        if self._dropped:
            line = Overlong(self._dropped, self._head, self._tail)
            self._dropped, self._head, self._tail = 0, b"", b""
            return line
        line = bytes(self._held)
        self._held.clear()
        return line if line and not line.isspace() else None

    def _add(self, part: bytes | memoryview) -> None:
        if self._dropped:
            self._dropped += len(part)
            self._tail = (self._tail + bytes(part[-ENDS:]))[-ENDS:]
            return
        held = self._held
        held += part
        if len(held) > self._limit:
            self._dropped, self._head, self._tail = len(held), bytes(held[:ENDS]), bytes(held[-ENDS:])
            held.clear()


# --- who waits for it ---

_LENIENT: Final = json.JSONDecoder(
    object_pairs_hook=tuple, parse_int=lambda digits: int(digits) if len(digits) <= _INT_CHARS else None, strict=False
)
_ID: Final = rb'"id"\s*:\s*("(?:[^"\\]|\\.)*"|-?[0-9]+)'
_VERSION: Final = rb'"jsonrpc"\s*:\s*"2\.0"'
_HEAD_ID: Final = re.compile(rb"\s*\{\s*(?:%b\s*,\s*)?%b\s*[,}]" % (_VERSION, _ID))
_TAIL_ID: Final = re.compile(rb",\s*%b\s*(?:,\s*%b\s*)?\}\s*\Z" % (_ID, _VERSION))
_HEAD_KIND: Final = re.compile(rb'\s*\{\s*(?:%b\s*,\s*)?(?:%b\s*,\s*)?"(method|result|error)"\s*:' % (_VERSION, _ID))


def salvage(line: bytes) -> tuple[str | None, str | int | None]:
    """Find out, of a frame that was refused, what it was and whom an error should answer.

    Reads as leniently as Python's own parser does (NaN, lone surrogates, duplicate keys); of more than 256 KiB, only
    the ends.

    Args:
        line: The frame, without its line feed.

    Returns:
        ``"request"`` (it names a method), ``"response"`` (it has a result or an error) or None, and its id: a string
        of at most 256 characters or an integer within 64 bits, or None where the message has none, more than one, or
        another type.
    """
    if len(line) > SALVAGE_BYTES:
        head, tail = line[:ENDS], line[-ENDS:]
        match = _HEAD_KIND.match(head)
        return _kind({match[2].decode()} if match else set()), loose_id(head, tail)
    try:
        pairs = _LENIENT.decode(line.decode("utf-8-sig", "surrogateescape"))
    except (ValueError, RecursionError):
        return None, None
    if type(pairs) is not tuple:
        return None, None
    ids = [value for key, value in pairs if key == "id"]
    return _kind({key for key, _ in pairs}), ids[0] if len(ids) == 1 and _usable(ids[0]) else None


def salvage_id(line: bytes) -> str | int | None:
    """Return the id that `salvage` finds."""
    return salvage(line)[1]


def _kind(keys: set[str]) -> str | None:
    if "method" in keys:
        return "request"
    return "response" if keys & {"result", "error"} else None


def _usable(value: Any) -> TypeGuard[str | int]:
    if type(value) is not int and not (type(value) is str and len(value) <= ID_CHARS):
        return False
    try:
        orjson.dumps(value)
    except TypeError:  # an integer beyond 64 bits, or a lone surrogate
        return False
    return True


def loose_id(head: bytes, tail: bytes) -> str | int | None:
    """Return the id of a frame too long to hold, if it stands where the SDKs write it.

    Args:
        head: The first bytes of the frame; an id right after the opening brace, or after ``jsonrpc`` (Python, Go), is
            found there.
        tail: The last bytes; an id right before the closing brace, or before ``jsonrpc`` (TypeScript, C#), is found
            there. In a well-formed object the last brace is its own, so this is no inner id.

    Returns:
        The id, or None where there is none or both ends name different ones.
    """
    found = [match for match in (_HEAD_ID.match(head), _TAIL_ID.search(tail)) if match]
    values = [_value(match[1]) for match in found]
    return values[0] if values and values[0] == values[-1] else None


def _value(token: bytes) -> str | int | None:
    try:
        value = orjson.loads(token)
    except orjson.JSONDecodeError:
        return None
    return value if _usable(value) else None

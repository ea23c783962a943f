"""What a sealed message looks like from outside.

The rules:

1. A sealed message is one JSON-RPC message of the same kind, method and id. In place of its parameters, result or error
   stands one string, the *seal*, in ``_meta`` (of an error: in ``data``) under the name of the extension. Whoever
   stands between still sees a message of the protocol, and of which method.
2. Visible besides are those members of a request's ``_meta`` without which revision 2026-07-28 knows no request
   (`hauberk.outside.VISIBLE`), and nothing else: no other ``_meta``, no name of a tool, no code of an error.
3. There is one way to write what is visible: these members, in this order, compact. That text up to the seal is the
   *header*, and the cipher binds it.
4. A message that was parsed and written anew on its way is read member by member. It must hold these and no others.

::

    {"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"_meta":{"io.github.hauberk/seal":"…"}}}
    {"jsonrpc":"2.0","method":"notifications/initialized","params":{"_meta":{"io.github.hauberk/seal":"…"}}}
    {"jsonrpc":"2.0","id":7,"result":{"_meta":{"io.github.hauberk/seal":"…"}}}
    {"jsonrpc":"2.0","id":7,"error":{"code":-32004,"message":"sealed","data":{"io.github.hauberk/seal":"…"}}}
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import orjson

from hauberk import edge
from hauberk.bounds import Bounds
from hauberk.message import Kind
from hauberk.outside import VISIBLE, shown
from hauberk.refusals import Refused

EXTENSION: Final = "io.github.hauberk/seal"
"""The extension's id, as the protocol has it: a reversed domain name, a slash, a name (SEP-2133)."""
END: Final = b'"}}}'
"""What comes after the seal, whatever the kind."""
LARGE: Final = 4096
"""From here, to copy costs more than a view (bytes)."""
Meta = Mapping[str, Any] | None
Seen = tuple[Kind, str, Any, Meta, bytes, bytes | memoryview]
"""A sealed frame, taken apart: kind; method, empty of a result or an error; id; visible ``_meta``; header; seal."""

LEFT: Final = b'{"jsonrpc":"2.0","id":'
"""What comes before the id."""
RIGHTS: Final[dict[Kind, dict[str, bytes]]] = {"request": {}, "notification": {}, "result": {}, "error": {}}
"""What comes after the id, up to the seal, by kind and method, where no ``_meta`` is shown; filled by `header`. Nothing
stands here of notifications, which have no id."""

_KEY: Final = f'"{EXTENSION}":"'.encode()
_PLAIN_LEFT: Final = b'{"jsonrpc":"2.0"'
_RESULT: Final = b',"result":{"_meta":{' + _KEY
_ERROR: Final = b',"error":{"code":-32004,"message":"sealed","data":{' + _KEY
_END_BYTES: Final = len(END)
_KEY_BYTES: Final = len(_KEY)
_LEFT_BYTES: Final = len(LEFT)
_MEMO: Final = 256
"""Headers that are remembered of a kind, each without its id."""
_MEMO_BYTES: Final = 4096
"""One of them, at most (bytes)."""
_left: Final = re.compile(re.escape(LEFT) + rb"(0|[1-9][0-9]{0,17})").match
"""Finds an id that has one text, and is not too large for the edge."""

_known: Final[dict[bytes, tuple[Kind, str, Meta]]] = {}
"""What was read of headers before, by what follows their id."""


class NotSealed(Exception):
    """A frame holds no seal at all, or is not laid out as one that does."""

    def __init__(self, *, plain: bool) -> None:
        super().__init__()
        self.plain = plain
        """Whether there is no seal in it."""


def header(kind: Kind, method: str, id: Any, meta: Meta) -> bytes:
    """Return the text of a sealed message up to its seal.

    Args:
        kind: What the message is.
        method: Its method; not used of a result or an error.
        id: Its id; not used of a notification.
        meta: What is visible of a request's ``_meta``.

    Raises:
        NotSealed: There is another seal in what would be visible.
    """
    if kind == "notification":
        return _PLAIN_LEFT + _right(kind, method, None)
    if kind == "request" and meta is not None:
        right = _right(kind, method, meta)
    else:
        right = RIGHTS[kind].get(method) or _remembered(RIGHTS[kind], method, _right(kind, method, None))
    return b"%b%d%b" % (LEFT, id, right) if type(id) is int else b"%b%b%b" % (LEFT, orjson.dumps(id), right)


def _right(kind: Kind, method: str, meta: Meta) -> bytes:
    """Return what follows the id; the visible members are in the order of `VISIBLE`."""
    if kind == "result":
        return _RESULT
    if kind == "error":
        return _ERROR
    visible = b""
    if meta is not None:
        visible = orjson.dumps({name: meta[name] for name in VISIBLE if name in meta})
        if _KEY in visible:
            raise NotSealed(plain=False)
        visible = visible[1:-1] + b","
    return b',"method":%b,"params":{"_meta":{%b%b' % (orjson.dumps(method), visible, _KEY)


def _remembered(memo: dict[Any, Any], key: Any, value: Any) -> Any:
    """Keep what is likely to be asked for again, in bounds."""
    if len(key) <= _MEMO_BYTES:
        if len(memo) >= _MEMO:
            memo.clear()
        memo[key] = value
    return value


def read(frame: bytes, bounds: Bounds) -> Seen:
    """Take a sealed frame apart.

    Args:
        frame: The frame, as it came in.
        bounds: Those of the edge, for one that was written anew on its way.

    Raises:
        NotSealed: It is laid out otherwise.
    """
    at = frame.find(_KEY) + _KEY_BYTES
    left = _left(frame)
    if left is None:
        return _read_new(frame, at, bounds)
    known = _known.get(frame[left.end() : at])
    if known is None or not frame.endswith(END):
        return _read_new(frame, at, bounds)
    # The id is one that has one text, and what follows it was read before: nothing of the header is left to look at.
    kind, method, meta = known
    seal = frame[at:-_END_BYTES] if len(frame) < LARGE else memoryview(frame)[at:-_END_BYTES]
    return kind, method, int(left[1]), meta, frame[:at], seal


def _read_new(frame: bytes, at: int, bounds: Bounds) -> Seen:
    """Read a frame whose header is not remembered; `at` is where its seal begins, if it is laid out as it must be."""
    if at >= _KEY_BYTES and frame.endswith(END):
        seal = frame[at:-_END_BYTES] if len(frame) < LARGE else memoryview(frame)[at:-_END_BYTES]
        head = frame[:at]
        try:
            seen = _seen(orjson.loads(head + END), seal)
        except orjson.JSONDecodeError:
            seen = None
        if seen is not None and seen[4] == head:
            if type(seen[2]) is int:
                _remembered(_known, head[head.find(b",", _LEFT_BYTES) :], (seen[0], seen[1], seen[3]))
            return seen
    return _read_anew(frame, bounds)


def _read_anew(frame: bytes, bounds: Bounds) -> Seen:
    """Read a frame that is written in another way (rule 4)."""
    try:
        data, _ = edge.read(frame, bounds=bounds)
    except Refused:
        raise NotSealed(plain=False) from None
    seal = _place(data).get(EXTENSION)
    if type(seal) is not str or not seal.isascii():
        raise NotSealed(plain=seal is None)
    seen = _seen(data, seal.encode())
    if seen is None or orjson.loads(seen[4] + orjson.dumps(seal)[1:-1] + END) != data:
        raise NotSealed(plain=False)
    return seen


def _seen(data: Any, seal: bytes | memoryview) -> Seen | None:
    """Return what an object shows; it may show more than its header then says."""
    method = data.get("method", "")
    if type(method) is not str:
        return None
    kind: Kind = "result" if "result" in data else "error"
    meta: Meta = None
    id = data.get("id")
    if "method" in data:
        kind = "request" if "id" in data else "notification"
        meta = shown(_place(data))
    return kind, method, id, meta, header(kind, method, id, meta), seal


def _place(data: dict[str, Any]) -> dict[str, Any]:
    """Return the object that holds the seal; empty where there is none."""
    member, inner = ("error", "data") if "error" in data else ("params" if "method" in data else "result", "_meta")
    outer = data.get(member)
    place = outer.get(inner) if type(outer) is dict else None
    return place if type(place) is dict else {}

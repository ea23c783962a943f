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

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple

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

_KEY: Final = f'"{EXTENSION}":"'.encode()
_REQUEST: Final = b'{"jsonrpc":"2.0","id":%b,"method":%b,"params":{"_meta":{%b' + _KEY
_NOTIFICATION: Final = b'{"jsonrpc":"2.0","method":%b,"params":{"_meta":{' + _KEY
_RESULT: Final = b'{"jsonrpc":"2.0","id":%b,"result":{"_meta":{' + _KEY
_ERROR: Final = b'{"jsonrpc":"2.0","id":%b,"error":{"code":-32004,"message":"sealed","data":{' + _KEY

Meta = Mapping[str, Any] | None


class NotSealed(Exception):
    """A frame holds no seal at all, or is not laid out as one that does."""

    def __init__(self, *, plain: bool) -> None:
        super().__init__()
        self.plain = plain
        """Whether there is no seal in it."""


class Seen(NamedTuple):
    """A sealed frame, taken apart."""

    kind: Kind
    method: str
    """Empty of a result or an error."""
    id: Any
    meta: Meta
    """What is visible of a request's ``_meta``."""
    header: bytes
    """The text up to the seal, as rule 3 has it."""
    seal: bytes | memoryview


def header(kind: Kind, method: str, id: Any, meta: Meta) -> bytes:
    """Return the text of a sealed message up to its seal.

    Args:
        kind: What the message is.
        method: Its method; not used of a result or an error.
        id: Its id; not used of a notification.
        meta: What is visible of a request's ``_meta``.
    """
    if kind == "request":
        return _REQUEST % (_id(id), _quoted(method), b"" if meta is None else _visible(meta))
    if kind == "notification":
        return _NOTIFICATION % _quoted(method)
    return (_RESULT if kind == "result" else _ERROR) % _id(id)


def read(frame: bytes, bounds: Bounds) -> Seen:
    """Take a sealed frame apart.

    Args:
        frame: The frame, as it came in.
        bounds: Those of the edge, for one that was written anew on its way.

    Raises:
        NotSealed: It is laid out otherwise.
    """
    at = frame.find(_KEY) + len(_KEY)
    if at >= len(_KEY) and frame.endswith(END):
        head = frame[:at]
        try:
            seen = _seen(orjson.loads(head + END), memoryview(frame)[at : -len(END)])
        except orjson.JSONDecodeError:
            seen = None
        if seen is not None and seen.header == head:
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
    if seen is None or orjson.loads(seen.header + orjson.dumps(seal)[1:-1] + END) != data:
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
        place = _place(data)
        meta = shown(place)
    return Seen(kind, method, id, meta, header(kind, method, id, meta), seal)


def _place(data: dict[str, Any]) -> dict[str, Any]:
    """Return the object that holds the seal; empty where there is none."""
    member, inner = ("error", "data") if "error" in data else ("params" if "method" in data else "result", "_meta")
    outer = data.get(member)
    place = outer.get(inner) if type(outer) is dict else None
    return place if type(place) is dict else {}


def _id(id: Any) -> bytes:
    return b"%d" % id if type(id) is int else orjson.dumps(id)


@lru_cache(maxsize=256)
def _quoted(method: str) -> bytes:
    return orjson.dumps(method)


def _visible(meta: Mapping[str, Any]) -> bytes:
    """Return the visible members, in the order of `VISIBLE`; none may look like a seal of its own."""
    text = orjson.dumps({name: meta[name] for name in VISIBLE if name in meta})
    if _KEY in text:
        raise NotSealed(plain=False)
    return text[1:-1] + b","

"""Which part of a message a model may come to read, and as what.

The rules:

1. All that goes toward the client is read, whatever its method: no method is named here to be inspected, some are named
   to be definitions. What a method of tomorrow brings is a result.
2. A definition is what a list, ``initialize`` and ``server/discover`` answer: text about tools, before any is used.
   What a server asks the client is an ask, what it says in place of an answer an error: few words, and none of them an
   order. All else is a result: answers and notifications.
3. Of a message everything is inspected but ``jsonrpc``, ``id`` and ``method``, unknown members included.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from hauberk.listings import LISTS

if TYPE_CHECKING:
    from hauberk.message import Message
    from hauberk_sieve.text._leaves import Path
    from hauberk_sieve.text._packs import Place

_DEFINING: Final = frozenset({*LISTS, "initialize", "server/discover"})
_ENVELOPE: Final = frozenset({"jsonrpc", "id", "method"})
_MEMBER: Final = {"result": "result", "error": "error", "request": "params", "notification": "params"}
_PLACES: Final[dict[str, Place]] = {"request": "asks", "error": "errors"}
_COUNT: Final = {"result": 3, "error": 3, "request": 4, "notification": 3}


def place_of(message: Message) -> Place:
    """Return as what a message toward the client is read (rule 2)."""
    if message.kind == "result":
        return "definitions" if message.method in _DEFINING else "results"
    return _PLACES.get(message.kind, "results")


def part_of(message: Message) -> tuple[Path, Any]:
    """Return what of a message is inspected, and where it stands in it (rule 3)."""
    data, member = message.data, _MEMBER[message.kind]
    if len(data) <= _COUNT[message.kind] and member in data and message.embedded is None:
        return (member,), data[member]
    return (), {key: value for key, value in data.items() if key not in _ENVELOPE}

"""What a server shows, item by item: its canonical form, its hash, and where the items stand in a result.

An item is all of its fields, unknown ones too: the SHA-256 is taken over the canonical form (RFC 8785) of the whole
object as the server sent it. Its key is the pair of kind and name; a pin is the triple of server, kind and name.

What a server is reached by is an item as well, of kind ``origin``: ``command`` (the command line), ``executable`` (the
hash of the file that is started), ``url``. ``certificate`` is the name of what TLS proves of a server; nothing in this
package can see one yet.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from hauberk import canon
from hauberk.listings import LISTS
from hauberk_pins import _visible

Key = tuple[str, str]
"""Kind and name."""
NAMED_BY: Final[Mapping[str, str]] = {listing.kind: listing.key for listing in LISTS.values()}
SERVER_INFO: Final[Key] = ("server", "serverInfo")
INFO_META: Final = "io.modelcontextprotocol/serverInfo"
"""Where a server says who it is, in revision 2026-07-28: in the ``_meta`` of a result."""
META_INFO: Final[Key] = ("server", "_meta." + INFO_META)
INSTRUCTIONS: Final[Key] = ("server", "instructions")
ORIGIN: Final = "origin"
COMMAND: Final[Key] = (ORIGIN, "command")
EXECUTABLE: Final[Key] = (ORIGIN, "executable")
URL: Final[Key] = (ORIGIN, "url")
TWINS: Final[Mapping[Key, Key]] = {SERVER_INFO: META_INFO, META_INFO: SERVER_INFO}
"""What one revision of the protocol says in one place and another in the other: a pin of one holds for both."""
_ORDER: Final = (ORIGIN, "server", "tool", "prompt", "resource", "template")
_SERVER: Final = "hauberk/pins/server/v1"


LOCK_NAME: Final = "hauberk.lock"


class Item(msgspec.Struct, frozen=True):
    """One thing that a server shows."""

    kind: str
    name: str
    canonical: str
    """The canonical form of the whole definition."""
    hash: str
    """``sha256:`` and 64 hexadecimal digits, over the canonical form."""

    @property
    def key(self) -> Key:
        """Return kind and name."""
        return self.kind, self.name

    @property
    def value(self) -> Any:
        """Return the definition."""
        return _visible.parse(self.canonical)


Shown = Mapping[Key, Item]
"""What one server shows."""


class Lock(msgspec.Struct, frozen=True):
    """What is trusted."""

    generation: int = 0
    servers: Mapping[str, Mapping[Key, Item]] = {}


def item(kind: str, name: str, definition: Any) -> Item:
    """Return an item of a definition as it was parsed.

    Raises:
        Refused: ``core.not_json`` for what JSON does not carry.
    """
    canonical = canon.dumps(definition)
    return Item(kind, name, canonical.decode(), hash_of(canonical))


def stored(kind: str, name: str, canonical: str) -> Item:
    """Return an item of a canonical form that was kept."""
    return Item(kind, name, canonical, hash_of(canonical.encode()))


def hash_of(canonical: bytes) -> str:
    """Return ``sha256:<hex>`` of a canonical form."""
    return "sha256:" + hashlib.sha256(canonical).hexdigest()


def server_hash(server: str, items: Iterable[Item]) -> str:
    """Return one hash for all that a server of this name shows, whatever the order."""
    rows = sorted(([one.kind, one.name, one.hash] for one in items), key=lambda row: (place(row[0]), row[1:]))
    return canon.digest(_SERVER, [server, rows])


def place(kind: str) -> int:
    """Return where a kind stands among the kinds."""
    return _ORDER.index(kind)


def body(one: Item) -> str:
    """Return the hash of an item without its name: two items of one body are one thing under two names."""
    value = one.value
    named_by = NAMED_BY.get(one.kind)
    if isinstance(value, dict) and named_by is not None:
        value = {key: member for key, member in value.items() if key != named_by}
    return hash_of(canon.dumps(value))

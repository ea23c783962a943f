"""The format of the log: what one line is, and how each is tied to the one before it.

The rules, for format 1:

1. A line is one JSON object (RFC 8259) in UTF-8 and one LF. Its first member is ``"format":"hauberk-audit/1"``. Its
   last is ``"integrity":{"sequence":N,"prev_hash":"hmac-sha256:P","key_id":"K","entry_hash":"hmac-sha256:E"}``, without
   blanks and in this order.
2. N counts from 1. P is the E of the line before, 64 zeros in the first. K names the key: its id
   (`hauberk.keys.key_id`), and the numbers of chain and rung where it goes forward (`writing._ratchet`).
3. E is HMAC-SHA256 (RFC 2104), in lower-case hexadecimal, over the very bytes of the line without its LF and without
   ``,"entry_hash":"hmac-sha256:E"``. These stand always last, before ``}}``, so that nothing has to be parsed. The key
   is derived from the key file by HKDF with ``info`` ``hauberk/audit-chain/v1``.
4. In a line whose ``prev_hash`` is labelled ``sha256:`` the label of ``entry_hash`` is the same one. The labels are
   read, never written, and name the same HMAC.

So there is one line for each signed text: the only bytes that are not signed follow from those that are.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from hmac import compare_digest
from typing import Final, NamedTuple, final

from hauberk import keys

NAME: Final = "hauberk-audit/1"
FORMAT: Final = b'{"format":"%b",' % NAME.encode()
"""How every line begins."""
PURPOSE: Final = "audit-chain"
STATE: Final = "audit-state"

_HASH: Final = b',"entry_hash":"hmac-sha256:'
_CLOSED: Final = b"}}"
_OPEN: Final = -len(_CLOSED)
_END: Final = b'"' + _CLOSED
_LINE_END: Final = _END + b"\n"
_CUT: Final = len(_HASH) + 64 + len(_END)
_TAIL: Final = re.compile(
    rb',"integrity":\{"sequence":(?P<sequence>[1-9][0-9]{0,17}),"prev_hash":"(?P<label>(?:hmac-)?sha256:)'
    rb'(?P<prev>[0-9a-f]{64})","key_id":"(?P<key_id>[0-9a-f]{16}(?:\.[0-9]{1,5}\.[0-9]{1,18})?)"'
    rb'(?P<cut>,"entry_hash":"(?P=label)(?P<hash>[0-9a-f]{64}))"\}\}\Z'
)
_TAIL_BYTES: Final = 400
_BLOCK: Final = 64
"""Bytes of a block of SHA-256."""


GENESIS: Final = b"0" * 64
"""The hash before the first entry."""


class Entry(NamedTuple):
    """What a line says of its own place in a chain, signed or not."""

    sequence: int
    hash: bytes
    prev_hash: bytes
    key_id: bytes


def read(line: bytes) -> Entry | None:
    """Return what a line (without its LF) says of its place, or None if it is not of this format."""
    found = _TAIL.search(line, max(0, len(line) - _TAIL_BYTES))
    if found is None:
        return None
    return Entry(int(found["sequence"]), found["hash"], found["prev"], found["key_id"])


@final
class Chain:
    """Makes and checks the entries of one key. It holds no position, and does no I/O."""

    __slots__ = ("_inner", "_links", "_outer", "key_id", "state_key")

    def __init__(self, key: bytes, *, key_id: bytes = b"") -> None:
        """Take a key (32 bytes); what signs is derived from it.

        Args:
            key: The key of a key file, or of a rung.
            key_id: How entries name it; without it, its own id.
        """
        derived = keys.derive(key, PURPOSE).ljust(_BLOCK, b"\0")
        # RFC 2104 section 2, from the two states that all entries share: hmac.new().copy() takes twice the time.
        self._inner: Final = hashlib.sha256(bytes(byte ^ 0x36 for byte in derived))
        self._outer: Final = hashlib.sha256(bytes(byte ^ 0x5C for byte in derived))
        self.key_id: Final = key_id or keys.key_id(key).encode()
        self._links: Final = b',"integrity":{"sequence":%%d,"prev_hash":"hmac-sha256:%%b","key_id":"%b"}}' % self.key_id
        """What ties an entry to the one before it, and the braces that close it in what is signed."""
        self.state_key: Final = keys.derive(key, STATE)
        """What signs the state beside a log."""

    def seal(self, body: bytes, sequence: int, prev_hash: bytes) -> tuple[bytes, bytes]:
        """Return a line with its LF, and its hash.

        Args:
            body: The entry as JSON without its closing brace, beginning with `FORMAT`.
            sequence: Its number.
            prev_hash: The hash of the entry before it, or `GENESIS`.
        """
        (line,), digest = self.seal_all((body,), sequence, prev_hash)
        return line, digest

    def seal_all(self, bodies: Iterable[bytes], sequence: int, prev_hash: bytes) -> tuple[list[bytes], bytes]:
        """Return the lines of some entries, and the hash of the last one; `sequence` is the number of the first."""
        link, inner, outer, lines = self._links, self._inner.copy, self._outer.copy, []
        for number, body in enumerate(bodies, sequence):
            head = body + link % (number, prev_hash)
            first = inner()  # `_mac`, without a call for each entry
            first.update(head)
            second = outer()
            second.update(first.digest())
            prev_hash = second.hexdigest().encode()
            lines.append(b"".join((head[:_OPEN], _HASH, prev_hash, _LINE_END)))
        return lines, prev_hash

    def follow(self, line: bytes, sequence: int, prev_hash: bytes) -> bytes | None:
        """Return the hash of a line (without its LF) that belongs in this place, or None of any other line."""
        head = line[:-_CUT] + _CLOSED
        if not (head.endswith(self._links % (sequence, prev_hash)) and head.startswith(FORMAT)):
            return None
        digest = self._mac(head)
        # One comparison in constant time covers the hash and all that is not signed.
        return digest if compare_digest(b"".join((_HASH, digest, _END)), line[-_CUT:]) else None

    def signed(self, line: bytes) -> bool:
        """Whether this key made the hash of a line (without its LF), wherever its place is."""
        found = _TAIL.search(line, max(0, len(line) - _TAIL_BYTES))
        if found is None or not line.startswith(FORMAT):
            return False
        return compare_digest(self._mac(line[: found.start("cut")] + _CLOSED), found["hash"])

    def _mac(self, head: bytes) -> bytes:
        """Return the hash of the entry that begins with ``head``, which ends with two braces."""
        inner = self._inner.copy()
        inner.update(head)
        outer = self._outer.copy()
        outer.update(inner.digest())
        return outer.hexdigest().encode()

"""What a result holds, as one hash: a list that comes again unchanged is known without a walk through its entries.

The rules:

1. The digest is SHA-256 over the result as it entered the guard, in the core's own serialisation. So it tells ``1``
   from ``1.0`` and from ``true``, and one order of keys from another: two results of one digest are one text.
2. It is made when somebody asks for it, once for all who ask.
3. The last result of each kind of list that was hashed is kept with its digest. What equals it, byte for byte, has that
   digest: comparing takes a tenth of the time of hashing.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final

import orjson

KEPT_BYTES: Final = 4 * 1024 * 1024
"""A longer result is hashed each time (bytes; for each of the few methods that list)."""
KEPT: Final = frozenset({"tools/list", "prompts/list", "resources/list", "resources/templates/list"})
"""Methods whose last result is kept."""
_RESULT: Final = b',"result":'
_FIRST: Final = b'{"result":'


def digest_of(result: Any) -> bytes:
    """Return the digest of a result that came in no message of its own."""
    return hashlib.sha256(orjson.dumps(result)).digest()


class Content:
    """The bytes of one result."""

    __slots__ = ("_data", "_digest", "_encoded", "_latest", "_method")

    def __init__(
        self, encoded: bytes, data: dict[str, Any], method: str, latest: dict[str, tuple[bytes, bytes]]
    ) -> None:
        """Take a message.

        Args:
            encoded: The core's own serialisation of the whole message.
            data: The message itself.
            method: What the result answers.
            latest: By method, the last result that was hashed, and its digest; shared by one session.
        """
        self._encoded: Final = encoded
        self._data: Final = data
        self._method: Final = method
        self._latest: Final = latest
        self._digest = b""

    @property
    def digest(self) -> bytes:
        """Return the SHA-256 (32 bytes)."""
        if not self._digest:
            self._digest = self._made()
        return self._digest

    def _made(self) -> bytes:
        found = _place(self._encoded, tuple(self._data))
        if found is None:
            return digest_of(self._data["result"])
        start, end = found
        known, digest = self._latest.get(self._method, (b"", b""))
        if known and len(known) == end - start and self._encoded.startswith(known, start):
            return digest
        content = self._encoded[start:end]
        digest = hashlib.sha256(content).digest()
        if len(content) <= KEPT_BYTES:
            self._latest[self._method] = content, digest
        return digest


def _place(encoded: bytes, members: tuple[str, ...]) -> tuple[int, int] | None:
    """Return where the result stands in a message of three members; None where it is in their middle.

    In a string each quotation mark has a backslash before it, so what is looked for stands in no id.
    """
    if members[2:] == ("result",):
        return encoded.index(_RESULT) + len(_RESULT), len(encoded) - 1
    if members[:1] == ("result",) and len(members) == 3:  # noqa: PLR2004 - jsonrpc and id
        return len(_FIRST), encoded.rindex(f',"{members[1]}":'.encode())
    return None

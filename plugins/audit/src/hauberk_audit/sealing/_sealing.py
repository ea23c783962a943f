"""Sealed entries: what is written of an entry where the log is encrypted at rest (S3.13, S3.14).

The rules, for format 1:

1. A sealed line is ``{"format":"hauberk-audit/1","file":"F","line":N,"sealed":"S"`` and the ``integrity`` of any line
   (`writing._chain`). The chain signs what is written, so it is verified without the key that opens it.
2. S is nonce, ciphertext and tag of AES-256-GCM (NIST SP 800-38D; 12 bytes, as many as the text, 16 bytes) in base64url
   without padding (RFC 4648 section 5). The text is the members that would stand in the place of ``file``, ``line`` and
   ``sealed``.
3. F, 16 hexadecimal digits, names the data key. N is the number of the line in its file, from 1. All bytes of the line
   before S are the associated data. A reader that knows where it reads compares N and the file with that; one that
   does not, leaves it to verify, which finds what was moved by the chain.
4. Each file has a data key of 32 random bytes. It is not used itself: what seals lines, and what opens an index, are
   derived from it, by HKDF with ``info`` ``hauberk/audit-line/v1`` and ``hauberk/audit-index/v1``.
5. A nonce is 96 random bits, and not the number of the line: after a failed write, or a crash in the middle of a line,
   another text takes the same number under the same key, and two texts under one nonce would tell their difference and
   the key of the tag. A key seals at most 2^32 lines, so that two nonces are equal with a chance below 2^-32 (section
   8.3); `sealing._sealer` counts.

How many entries there are, when they were written and how long each is, stays to be seen.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, final

import orjson

from hauberk import keys
from hauberk.refusals import HauberkError
from hauberk_audit.writing._chain import FORMAT

NONCE: Final = 12
"""Bytes of a nonce."""
SEALED: Final = FORMAT + b'"file":"'
"""How every sealed line begins, and no other one."""

_LINE_PURPOSE: Final = "audit-line"
_INDEX_PURPOSE: Final = "audit-index"
_NAME: Final = re.compile(r"[0-9a-f]{16}")
_TEXT: Final = re.compile(r"[A-Za-z0-9_-]{38,}")
_MOST: Final = 10**18
"""Lines that a number of the format can count."""


@final
class Cipher:
    """AES-256-GCM with one key, 96-bit nonces and 128-bit tags."""

    __slots__ = ("_aead",)

    def __init__(self, key: bytes) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # only where something is sealed

        if len(key) != keys.KEY_BYTES:
            raise ValueError(f"a key has {keys.KEY_BYTES} bytes, got {len(key)}")
        self._aead: Final = AESGCM(key)

    def encrypt(self, nonce: bytes, text: bytes, bound: bytes) -> bytes:
        """Return ciphertext and tag; ``bound`` is the associated data.

        Raises:
            ValueError: The nonce has not 12 bytes.
        """
        return self._aead.encrypt(_checked(nonce), text, bound)

    def decrypt(self, nonce: bytes, sealed: bytes, bound: bytes) -> bytes:
        """Return the text of ciphertext and tag.

        Raises:
            ValueError: The nonce has not 12 bytes.
            HauberkError: It was made with another key, another nonce or other associated data, or was changed.
        """
        from cryptography.exceptions import InvalidTag

        try:
            return self._aead.decrypt(_checked(nonce), sealed, bound)
        except InvalidTag:
            raise HauberkError("it was changed, moved, or sealed with another key") from None


def _checked(nonce: bytes) -> bytes:
    if len(nonce) != NONCE:
        raise ValueError(f"a nonce has {NONCE} bytes, got {len(nonce)}")
    return nonce


@final
class DataKey(NamedTuple):
    """What seals the lines of one file."""

    file: str
    """Its name, 16 hexadecimal digits."""
    secret: bytes
    """32 random bytes."""

    @property
    def cipher(self) -> Cipher:
        """What seals and opens lines."""
        return Cipher(keys.derive(self.secret, _LINE_PURPOSE))

    @property
    def index_key(self) -> bytes:
        """What opens an index (32 bytes)."""
        return keys.derive(self.secret, _INDEX_PURPOSE)


def seal(body: bytes, cipher: Cipher, file: str, line: int, nonce: bytes) -> bytes:
    """Return the body of a sealed entry, as `writing._chain.Chain.seal` takes it.

    Args:
        body: The entry as `hauberk_audit._entry.render` returns it.
        cipher: Of the data key.
        file: The name of the data key.
        line: The number that the line will have in its file.
        nonce: 12 random bytes, never used before with this key.
    """
    head = _head(file, line)
    return b'%b%b"' % (head, _encoded(nonce + cipher.encrypt(nonce, body[len(FORMAT) :], head)))


def is_sealed(line: bytes) -> bool:
    """Whether a line is a sealed one."""
    return line.startswith(SEALED)


def key_of(entry: Mapping[str, Any]) -> str | None:
    """Return the name of the data key of an entry, or None of one that is not sealed.

    Raises:
        HauberkError: It is sealed, and not of this format.
    """
    if "sealed" not in entry:
        return None
    file, line, sealed = (entry.get(name) for name in ("file", "line", "sealed"))
    if not (isinstance(file, str) and _NAME.fullmatch(file) and type(line) is int and 0 < line < _MOST):
        raise HauberkError("it does not say what it was sealed with")
    if not (isinstance(sealed, str) and _TEXT.fullmatch(sealed)):
        raise HauberkError("what is sealed in it is no base64url")
    return file


def unseal(entry: Mapping[str, Any], cipher: Cipher) -> dict[str, Any]:
    """Return an entry as it was before it was sealed, with the integrity that it has now.

    Args:
        entry: One of which `key_of` returned a name.
        cipher: Of that data key.

    Raises:
        HauberkError: It was changed, moved, or sealed with another key.
    """
    text = entry["sealed"].encode()
    data = b"" if len(text) % 4 == 1 else base64.urlsafe_b64decode(text + b"==")
    if _encoded(data) != text:  # one text for one sealed entry: no unused bits
        raise HauberkError("what is sealed in it is not as it was written")
    members = cipher.decrypt(data[:NONCE], data[NONCE:], _head(entry["file"], entry["line"]))
    return {**orjson.loads(FORMAT + members + b"}"), "integrity": entry.get("integrity")}


def _head(file: str, line: int) -> bytes:
    """Return the bytes of a sealed line before what is sealed."""
    return b'%b%b","line":%d,"sealed":"' % (SEALED, file.encode(), line)


def _encoded(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")

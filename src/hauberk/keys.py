"""Key files and key derivation (X.9, X.10).

A key is 32 random bytes. Its file is one line: ``hauberk-key-v1:`` and the bytes in base64url without padding (RFC 4648
section 5), 43 characters, then at most one line feed. Nothing else is a key file: raw bytes, hexadecimal, other base64,
blanks around the line are refused and never trimmed, so a key cannot lose entropy by being read in another way than it
was written.

No key is used itself: `derive` makes one for each purpose from it, by HKDF-SHA256 (RFC 5869).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import itertools
from typing import TYPE_CHECKING, Final

from hauberk import files
from hauberk.refusals import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KEY_BYTES: Final = 32
"""The size of a key (bytes)."""
PREFIX: Final = "hauberk-key-v1:"
_FILE_BYTES: Final = 4096
_HASH_BYTES: Final = 32
_DISTINCT: Final = 12
"""32 random bytes have fewer different values than this once in about 10^24 keys."""


def load_key(path: Path) -> bytes:
    """Return the 32 bytes of a key file.

    Raises:
        ConfigError: The file is not private (`hauberk.files`), not in the one encoding, or holds a placeholder.
    """
    return parse_key(files.read_private(path, max_bytes=_FILE_BYTES), f"key file {str(path)!r}")


def parse_key(data: bytes, where: str) -> bytes:
    """Return the 32 bytes of a key that is kept elsewhere, in the encoding of a key file.

    Args:
        data: The line.
        where: Where it is from, as an error says it.

    Raises:
        ConfigError: It is not in the one encoding, or holds a placeholder.
    """
    key = _decode(data, where)
    if _is_placeholder(key):
        raise _bad(where, "is a placeholder, not a random key")
    return key


def key_line(key: bytes) -> str:
    """Return a key as `parse_key` reads it: what stands in a key file, without the line feed."""
    return f"{PREFIX}{_encode(key)}"


def create_key(path: Path, *, random: Callable[[int], bytes]) -> bytes:
    """Make a key file of mode 0600 with 32 bytes of ``random`` (`os.urandom`), and return them.

    The file appears whole or not at all, and one that exists is never overwritten.

    Raises:
        ConfigError: The path exists, its directory cannot hold a private file, or ``random`` gives a placeholder.
    """
    key = new_key(f"key file {str(path)!r}", random=random)
    files.write_new(path, f"{key_line(key)}\n".encode())
    return key


def new_key(where: str, *, random: Callable[[int], bytes]) -> bytes:
    """Return 32 bytes of ``random`` (`os.urandom`) for a key that is kept ``where`` an error says.

    Raises:
        ConfigError: ``random`` gives a placeholder.
    """
    key = random(KEY_BYTES)
    if len(key) != KEY_BYTES or _is_placeholder(key):
        raise ConfigError(f"cannot make {where}: the source of randomness is broken")
    return key


def hkdf_sha256(key: bytes, *, info: str | bytes, salt: bytes = b"", length: int = 32) -> bytes:
    """Return ``length`` bytes derived from ``key`` by HKDF-SHA256 (RFC 5869); a string ``info`` counts as UTF-8.

    Raises:
        ValueError: ``length`` is not in 1…8160 (RFC 5869 section 2.3: 255 blocks).
    """
    if not 1 <= length <= 255 * _HASH_BYTES:
        raise ValueError(f"hkdf: length must be 1 to {255 * _HASH_BYTES} bytes, got {length}")
    label = info.encode() if isinstance(info, str) else info
    pseudorandom = hmac.digest(salt or bytes(_HASH_BYTES), key, "sha256")
    block = output = b""
    for count in range(1, -(-length // _HASH_BYTES) + 1):
        block = hmac.digest(pseudorandom, block + label + bytes([count]), "sha256")
        output += block
    return output[:length]


def derive(key: bytes, purpose: str) -> bytes:
    """Return the 32-byte key for one purpose, ``info`` being ``hauberk/<purpose>/v1``.

    Keys of two purposes tell nothing about each other or about ``key``.

    Raises:
        ValueError: ``key`` is shorter than 32 bytes, or ``purpose`` is empty or not printable ASCII.
    """
    if len(key) < KEY_BYTES:
        raise ValueError(f"derive: a key has at least {KEY_BYTES} bytes, got {len(key)}")
    if not purpose or not purpose.isascii() or not purpose.isprintable():
        raise ValueError(f"derive: a purpose is printable ASCII, got {purpose!r}")
    return hkdf_sha256(key, info=f"hauberk/{purpose}/v1")


def key_id(key: bytes) -> str:
    """Return 16 hexadecimal digits that name ``key`` and give nothing away about it."""
    return hashlib.sha256(derive(key, "key-id")).hexdigest()[:16]


def _encode(key: bytes) -> str:
    return base64.urlsafe_b64encode(key).rstrip(b"=").decode()


def _decode(data: bytes, where: str) -> bytes:
    text = data.removesuffix(b"\n")
    body = text.removeprefix(PREFIX.encode())
    if body == text:
        raise _bad(where, _looks_like(data))
    try:
        key = base64.b64decode(body + b"=", altchars=b"-_", validate=True)
    except binascii.Error:
        raise _bad(where, "is damaged") from None
    # One key has one text: the last character carries two bits that must be zero.
    if len(key) != KEY_BYTES or _encode(key).encode() != body:
        raise _bad(where, "is damaged, or does not hold exactly 32 bytes")
    return key


def _looks_like(data: bytes) -> str:
    if data.strip().startswith(PREFIX.encode()):
        return "has characters before the key"
    if not data:
        return "is empty"
    if len(data) == KEY_BYTES:
        return "holds raw bytes"
    try:
        bytes.fromhex(data.decode("ascii"))
    except ValueError:
        return "is not a hauberk key"
    return "holds hexadecimal digits"


def _is_placeholder(key: bytes) -> bool:
    steps = {(b - a) % 256 for a, b in itertools.pairwise(key)}
    text = key.isascii() and key.decode().isprintable()
    return len(steps) == 1 or len(set(key)) < _DISTINCT or key[:16] == key[16:] or text


def _bad(where: str, what: str) -> ConfigError:
    return ConfigError(
        f"cannot use {where}: it {what}",
        hint=f"a key file is one line, {PREFIX!r} and 43 characters of base64url, made by hauberk where there is none",
    )

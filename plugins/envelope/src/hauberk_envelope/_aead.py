"""AES-256-GCM (NIST SP 800-38D) with one size of key, nonce and tag: 32, 12 and 16 bytes.

Other lengths of nonce lead through GHASH and are easy to get wrong; shorter tags are easier to forge. Neither is taken.
"""

from __future__ import annotations

from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16


class Unopened(Exception):
    """A ciphertext does not open."""


def seal(key: bytes, nonce: bytes, content: bytes, bound: bytes) -> bytes:
    """Return ``content`` encrypted, and its tag; ``bound`` is authenticated with it and not in it.

    Raises:
        ValueError: The key or the nonce has another length.
    """
    _check(key, nonce)
    return AESGCM(key).encrypt(nonce, content, bound)


def open_(key: bytes, nonce: bytes, sealed: bytes, bound: bytes) -> bytes:
    """Return what was sealed.

    Raises:
        Unopened: One bit of the four is another.
        ValueError: The key or the nonce has another length.
    """
    _check(key, nonce)
    try:
        return AESGCM(key).decrypt(nonce, sealed, bound)
    except InvalidTag:
        raise Unopened from None


def _check(key: bytes, nonce: bytes) -> None:
    if len(key) != KEY_BYTES or len(nonce) != NONCE_BYTES:
        raise ValueError(f"a key has {KEY_BYTES} bytes and a nonce {NONCE_BYTES}")

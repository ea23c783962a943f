"""X25519 (RFC 7748): a secret that two parties share."""

from __future__ import annotations

from typing import Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

KEY_BYTES: Final = 32
_PRIME: Final = (1 << 255) - 19
_SMALL: Final = frozenset(
    {
        0,
        1,
        325606250916557431795983626356110631294008115727848805560023387167927233504,
        39382357235489614581723060781553021112529911719440698176882885853963445705823,
        _PRIME - 1,
    }
)
"""The u coordinates of the points of small order, on the curve and its twist: with one of them the shared secret is
zero, whoever's the other key is."""


class Weak(Exception):
    """A public key with which nothing is secret."""


def public_of(secret: X25519PrivateKey) -> bytes:
    """Return the public key (32 bytes)."""
    return secret.public_key().public_bytes_raw()


def load(secret: bytes) -> X25519PrivateKey:
    """Return a secret key of 32 bytes in the form that `agree` takes."""
    return X25519PrivateKey.from_private_bytes(secret)


def agree(secret: X25519PrivateKey, public: bytes) -> bytes:
    """Return what both sides share (32 bytes): material for HKDF, not a key.

    Raises:
        Weak: ``public`` is not 32 bytes, or the result would be zero (RFC 7748, section 6.1): whoever sent such a key
            would know the secret without having one.
    """
    if len(public) != KEY_BYTES:
        raise Weak
    try:
        shared = secret.exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError:
        raise Weak from None
    if not any(shared):
        raise Weak
    return shared


def check_public(public: bytes) -> None:
    """Check that a public key is one that an honest party can have: canonical, and not of small order.

    Raises:
        Weak: It is not.
    """
    if len(public) != KEY_BYTES:
        raise Weak
    value = int.from_bytes(public, "little")
    if value >= _PRIME or value in _SMALL:
        raise Weak

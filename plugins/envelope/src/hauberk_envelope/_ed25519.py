"""Ed25519 (RFC 8032), by libsodium and by nothing else.

Implementations of Ed25519 differ on edge cases: which encodings of a point they take, whether a point of small order
counts, whether the cofactor is multiplied. A message that one accepts and another refuses is a way to make two parties
disagree, so one library signs and verifies here. Its verdicts are: S at least L is refused; a public key or R of small
order is refused; a public key in a non-canonical encoding is refused; the equation is the one without the cofactor. The
public keys that are trusted are held to more than that (`check_public`): they lie in the prime-order subgroup.
"""

from __future__ import annotations

from typing import Final

from nacl import bindings
from nacl.exceptions import BadSignatureError

SEED_BYTES: Final = 32
PUBLIC_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64


class Unverified(Exception):
    """A signature does not hold."""


def public_of(seed: bytes) -> tuple[bytes, bytes]:
    """Return the public key of a seed (32 bytes), and the signing key in the form that `sign` takes (64 bytes)."""
    return bindings.crypto_sign_seed_keypair(seed)


def sign(signing_key: bytes, data: bytes) -> bytes:
    """Return the signature of ``data`` (64 bytes); the same every time, so nothing depends on randomness here."""
    return bindings.crypto_sign(data, signing_key)[:SIGNATURE_BYTES]


def verify(public: bytes, signature: bytes, data: bytes) -> None:
    """Check a signature.

    Raises:
        Unverified: It does not hold, or one of the two has another length than it must.
    """
    if len(signature) != SIGNATURE_BYTES or len(public) != PUBLIC_BYTES:
        raise Unverified
    try:
        bindings.crypto_sign_open(signature + data, public)
    except BadSignatureError:
        raise Unverified from None


def check_public(public: bytes) -> None:
    """Check that a public key is one that an honest signer can have.

    Raises:
        Unverified: It is not 32 bytes, no canonical encoding of a point, of small order, or outside of the prime-order
            subgroup.
    """
    if len(public) != PUBLIC_BYTES or not bindings.crypto_core_ed25519_is_valid_point(public):
        raise Unverified

"""Two checks that take the same time whichever of them fails.

A signature that holds and one that does not cost about the same, and so do a tag that fits and one that does not, but
not exactly: an error is raised on one side and not on the other. Who can time refusals could tell the two apart. So a
refusal goes through both outcomes of both checks: those of the message, and of a known answer those that the message
did not have. What opens pays nothing for it.
"""

from __future__ import annotations

from typing import Final

from hauberk_envelope import _aead, _ed25519

_PUBLIC: Final = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
_GOOD: Final = bytes.fromhex(
    "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
)
"""RFC 8032 section 7.1, test 1: the signature of nothing."""
_BAD: Final = bytes([*_GOOD[:32], _GOOD[32] ^ 2, *_GOOD[33:]])
"""With another S, whose sliding window has its digits in the same places: verifying takes as many additions."""
_KEY: Final = bytes(_aead.KEY_BYTES)
_NONCE: Final = bytes(_aead.NONCE_BYTES)
_FITS: Final = bytes.fromhex("530f8afbc74536b9a963b4f1c4cb738b")
"""The tag of nothing under a key and a nonce of zeros (test case 13 of the specification of GCM)."""
_FITS_NOT: Final = bytes([_FITS[0] ^ 1]) + _FITS[1:]


def holds(public: bytes, signature: bytes, data: bytes) -> bool:
    """Whether a signature holds; `settle` follows one that does not."""
    try:
        _ed25519.verify(public, signature, data)
    except _ed25519.Unverified:
        return False
    return True


def opened(key: bytes, nonce: bytes, sealed: bytes, bound: bytes) -> bytes | None:
    """Return what was sealed, or None; `settle` follows where it is none."""
    try:
        return _aead.open_(key, nonce, sealed, bound)
    except _aead.Unopened:
        return None


def settle(*, held: bool, fitted: bool) -> None:
    """Go through the outcomes that a message to be refused did not have.

    Args:
        held: Whether its signature held.
        fitted: Whether its tag did.
    """
    holds(_PUBLIC, _BAD if held else _GOOD, b"")
    opened(_KEY, _NONCE, _FITS_NOT if fitted else _FITS, b"")

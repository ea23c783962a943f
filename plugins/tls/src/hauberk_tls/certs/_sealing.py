"""A private key under a passphrase: PKCS#8 ``EncryptedPrivateKeyInfo`` (RFC 5958) with PBES2 (RFC 8018 appendix A.4).

PBKDF2-HMAC-SHA256 with 600,000 rounds and a salt of 16 bytes, AES-256-CBC. `cryptography` reads it and writes the same
form, with 2,048 rounds, which is little for what a person can remember; so the few bytes round the ciphertext are
written here. OpenSSL reads it too. There is no authentication in PBES2: a changed file gives no key, or one that does
not belong to the CA's certificate, and both are refused where the key is opened.
"""

from __future__ import annotations

import base64
import hashlib
import textwrap
from collections.abc import Callable
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

from hauberk_tls.certs._limits import LIMITS

_INTEGER: Final = 0x02
_OCTETS: Final = 0x04
_NULL: Final = b"\x05\x00"
_SEQUENCE: Final = 0x30
_PBES2: Final = bytes.fromhex("06092a864886f70d01050d")
_PBKDF2: Final = bytes.fromhex("06092a864886f70d01050c")
_HMAC_SHA256: Final = bytes.fromhex("06082a864886f70d0209")
_AES_256_CBC: Final = bytes.fromhex("060960864801650304012a")
_BLOCK: Final = 16
_SHORT: Final = 0x80


def seal(key: bytes, passphrase: bytes, *, random: Callable[[int], bytes]) -> bytes:
    """Return a key (PKCS#8, DER) under a passphrase, as PEM."""
    salt, iv = random(_BLOCK), random(_BLOCK)
    secret = hashlib.pbkdf2_hmac("sha256", passphrase, salt, LIMITS.rounds, 32)
    padder = PKCS7(_BLOCK * 8).padder()
    encryptor = Cipher(algorithms.AES256(secret), modes.CBC(iv)).encryptor()
    hidden = encryptor.update(padder.update(key) + padder.finalize()) + encryptor.finalize()
    rounds = _der(_INTEGER, LIMITS.rounds.to_bytes(LIMITS.rounds.bit_length() // 8 + 1))
    derivation = _sequence(_PBKDF2, _sequence(_der(_OCTETS, salt), rounds, _sequence(_HMAC_SHA256, _NULL)))
    scheme = _sequence(_PBES2, _sequence(derivation, _sequence(_AES_256_CBC, _der(_OCTETS, iv))))
    return _pem(_sequence(scheme, _der(_OCTETS, hidden)))


def _sequence(*parts: bytes) -> bytes:
    return _der(_SEQUENCE, b"".join(parts))


def _der(tag: int, body: bytes) -> bytes:
    size = len(body)
    if size < _SHORT:
        return bytes([tag, size]) + body
    length = size.to_bytes((size.bit_length() + 7) // 8)
    return bytes([tag, _SHORT | len(length)]) + length + body


def _pem(der: bytes) -> bytes:
    lines = textwrap.wrap(base64.b64encode(der).decode(), 64)
    body = "\n".join(lines)
    return f"-----BEGIN ENCRYPTED PRIVATE KEY-----\n{body}\n-----END ENCRYPTED PRIVATE KEY-----\n".encode()

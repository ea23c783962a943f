"""A key provider: how a package lets a KMS keep the key of an encrypted audit log.

Here a file plays the KMS, so that the example runs alone: ``python key_provider.py kms.json`` makes it. A package says
in its ``pyproject.toml`` under which word it is to be found::

    [project.entry-points."hauberk.key_providers"]
    example-kms = "key_provider:connect"

and the host's configuration names that word, with whatever `connect` is to be given::

    [audit.encryption]
    enabled = true
    key = "example-kms:/srv/kms.json"

In production the package must also bring a plugin that is required: what is not locked does not run.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

NONCE = 12


class Kms:
    """Plays the service: it encrypts and decrypts for those who may ask, and never gives its key away."""

    def __init__(self, path: Path) -> None:
        name, _, key = path.read_text(encoding="ascii").strip().partition(":")
        self.name, self._aead = name, AESGCM(bytes.fromhex(key))

    @staticmethod
    def make(path: Path) -> None:
        """Make one, with a new key."""
        path.touch(0o600, exist_ok=False)
        path.write_text(f"key-{os.urandom(4).hex()}:{os.urandom(32).hex()}\n", encoding="ascii")

    def encrypt(self, text: bytes, context: bytes) -> bytes:
        """Return ciphertext that opens with the same context only."""
        nonce = os.urandom(NONCE)
        return nonce + self._aead.encrypt(nonce, text, context)

    def decrypt(self, sealed: bytes, context: bytes) -> bytes:
        """Return the text, or raise an exception."""
        return self._aead.decrypt(sealed[:NONCE], sealed[NONCE:], context)


class Provider:
    """What hauberk asks: a name for the key, and two functions that each take 40 bytes there and back.

    A real one gives its requests a time limit. What it raises stops the host, or the writing of the log, and hauberk
    shows nothing of it but the name of the exception.
    """

    def __init__(self, kms: Kms) -> None:
        self._kms, self._context = kms, b"hauberk audit log"
        self.key_id = f"example-kms/{kms.name}"

    def wrap(self, data_key: bytes) -> bytes:
        """Have a data key wrapped; the log keeps what is returned."""
        return self._kms.encrypt(data_key, self._context)

    def unwrap(self, wrapped: bytes) -> bytes:
        """Have it unwrapped again."""
        return self._kms.decrypt(wrapped, self._context)


def connect(reference: str) -> Provider:
    """Return the provider of a source; ``reference`` is what follows ``example-kms:``."""
    return Provider(Kms(Path(reference)))


if __name__ == "__main__":
    Kms.make(Path(sys.argv[1]))

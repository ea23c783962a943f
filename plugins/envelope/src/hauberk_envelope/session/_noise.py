"""The handshake ``Noise_KK_25519_AESGCM_SHA256``: two parties that know each other's static key agree on fresh ones.

The Noise Protocol Framework, revision 34, section 7.5::

    KK:
      -> s
      <- s
      ...
      -> e, es, ss
      <- e, ee, se

The rules:

1. Nothing of the framework is left out and nothing is added. Names are those of its section 5: ``ck`` is the chaining
   key, ``h`` the hash of all that was said, ``k`` and ``n`` the key and the counter of the cipher.
2. A message that does not decrypt ends the handshake: its object is of no use after that (section 5.3).
3. An ephemeral key is used for one handshake. Static keys stay with their owner: of one, this module knows the public
   half and a function that agrees.
4. A shared secret of zero is refused by whoever agrees (section 12.1 leaves that open; RFC 7748, section 6.1).
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Callable
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

NAME: Final = b"Noise_KK_25519_AESGCM_SHA256"
KEY_BYTES: Final = 32
TAG_BYTES: Final = 16
HASH_BYTES: Final = 32
NONCE: Final = struct.Struct(">IQ")
"""Section 12.4: 32 bits of zeros, then the counter, big-endian."""
REKEY_COUNTER: Final = (1 << 64) - 1
"""Section 4.2: no message has this counter."""
_ZEROS: Final = bytes(KEY_BYTES)


class Broken(Exception):
    """A handshake message is not what the pattern says, or was not made by who it should be of."""


class Pair(NamedTuple):
    """A key pair of X25519, as a handshake needs it."""

    public: bytes
    agree: Callable[[bytes], bytes]
    """Returns what the pair shares with a public key (32 bytes); refuses one with which that would be zero."""


class Keys(NamedTuple):
    """What a finished handshake leaves (``Split()``, section 5.2)."""

    initiator: bytes
    """The key of what the initiator sends (32 bytes)."""
    responder: bytes
    """The key of what the responder sends (32 bytes)."""
    hash: bytes
    """``h``: a name for this session that both parties, and nobody else's session, have (section 11.2; 32 bytes)."""


def rekey(key: bytes) -> bytes:
    """Return the key that comes after ``key`` (``REKEY``, section 4.2); nothing leads back."""
    return AESGCM(key).encrypt(NONCE.pack(0, REKEY_COUNTER), _ZEROS, b"")[:KEY_BYTES]


class _Symmetric:
    """The ``SymmetricState`` of section 5.2, with its cipher."""

    def __init__(self, prologue: bytes, initiator: bytes, responder: bytes) -> None:
        self.h = self._ck = NAME.ljust(HASH_BYTES, b"\0")
        self._n = 0
        self._cipher: AESGCM | None = None
        for known in (prologue, initiator, responder):
            self.mix_hash(known)

    def mix_hash(self, data: bytes) -> None:
        self.h = hashlib.sha256(self.h + data).digest()

    def mix_key(self, material: bytes) -> None:
        self._ck, key = _hkdf(self._ck, material)
        self._cipher, self._n = AESGCM(key), 0

    def encrypt(self, payload: bytes) -> bytes:
        sealed = self._keyed.encrypt(self._nonce(), payload, self.h)
        self.mix_hash(sealed)
        return sealed

    def decrypt(self, sealed: bytes) -> bytes:
        try:
            payload = self._keyed.decrypt(self._nonce(), sealed, self.h)
        except InvalidTag:
            raise Broken("a handshake message does not decrypt") from None
        self.mix_hash(sealed)
        return payload

    def split(self) -> Keys:
        return Keys(*_hkdf(self._ck, b""), self.h)

    @property
    def _keyed(self) -> AESGCM:
        if self._cipher is None:
            raise Broken("the steps of a handshake were taken out of order")
        return self._cipher

    def _nonce(self) -> bytes:
        self._n += 1
        return NONCE.pack(0, self._n - 1)


class Initiator:
    """Who speaks first."""

    def __init__(self, static: Pair, remote: bytes, prologue: bytes, ephemeral: Pair) -> None:
        """Begin.

        Args:
            static: Our own static key.
            remote: The public static key of who must answer (32 bytes).
            prologue: What both parties must agree about besides (section 6).
            ephemeral: A new key, for this handshake alone.
        """
        self._static: Final = static
        self._remote: Final = remote
        self._ephemeral: Final = ephemeral
        self._state: Final = _Symmetric(prologue, static.public, remote)

    def write(self, payload: bytes) -> bytes:
        """Return the first message: ``e, es, ss`` and the payload."""
        state, ephemeral = self._state, self._ephemeral
        state.mix_hash(ephemeral.public)
        state.mix_key(ephemeral.agree(self._remote))
        state.mix_key(self._static.agree(self._remote))
        return ephemeral.public + state.encrypt(payload)

    def read(self, message: bytes) -> tuple[bytes, Keys]:
        """Take the second message: ``e, ee, se`` and the payload; return it, and the keys of the session.

        Raises:
            Broken: It was not made by the owner of the remote key, for this handshake.
        """
        theirs, sealed = _parts(message)
        state = self._state
        state.mix_hash(theirs)
        state.mix_key(self._ephemeral.agree(theirs))
        state.mix_key(self._static.agree(theirs))
        payload = state.decrypt(sealed)
        return payload, state.split()


class Responder:
    """Who answers."""

    def __init__(self, static: Pair, remote: bytes, prologue: bytes, ephemeral: Pair) -> None:
        """Begin, as `Initiator`."""
        self._static: Final = static
        self._remote: Final = remote
        self._ephemeral: Final = ephemeral
        self._theirs = b""
        self._state: Final = _Symmetric(prologue, remote, static.public)

    def read(self, message: bytes) -> bytes:
        """Take the first message and return its payload.

        Raises:
            Broken: It was not made by the owner of the remote key, for us.
        """
        self._theirs, sealed = _parts(message)
        state = self._state
        state.mix_hash(self._theirs)
        state.mix_key(self._static.agree(self._theirs))
        state.mix_key(self._static.agree(self._remote))
        return state.decrypt(sealed)

    def write(self, payload: bytes) -> tuple[bytes, Keys]:
        """Return the second message, and the keys of the session."""
        state, ephemeral = self._state, self._ephemeral
        state.mix_hash(ephemeral.public)
        state.mix_key(ephemeral.agree(self._theirs))
        state.mix_key(ephemeral.agree(self._remote))
        return ephemeral.public + state.encrypt(payload), state.split()


def _parts(message: bytes) -> tuple[bytes, bytes]:
    if len(message) < KEY_BYTES + TAG_BYTES:
        raise Broken("a handshake message is too short")
    return message[:KEY_BYTES], message[KEY_BYTES:]


def _hkdf(key: bytes, material: bytes) -> tuple[bytes, bytes]:
    """Return the two outputs of ``HKDF`` (section 4.3; RFC 5869 with SHA-256, salt ``key``, no info)."""
    secret = hmac.digest(key, material, "sha256")
    first = hmac.digest(secret, b"\x01", "sha256")
    return first, hmac.digest(secret, first + b"\x02", "sha256")

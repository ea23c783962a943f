"""One direction of a session: its key, its counter, its epoch, and what it binds each message to.

The rules:

1. The nonce of a message is its counter (Noise, section 12.4), which starts at 0 and never goes back or stands still.
   Counter and key live in memory only, together: what is restarted, or forked, has no key to use a counter with again
   (S0.27, A05).
2. After `Rules.rekey` messages under one key, or sooner, the sender goes on to the next key (``Rekey()``, Noise,
   section 11.3) and says so by the epoch, which is one higher. The counter goes on. The receiver follows by one epoch
   at a time, never back, and only once a message has opened under the new key.
3. Nothing is sealed or opened under a key that has been used 2**32 - 1 times.
4. Each message binds, besides its counter, as associated data: a label; the hash of the handshake, so it is of this
   session; the direction, so it is not sent back; epoch and time; and the header that is visible outside.
5. On a carrier that keeps order, the counter of what comes is the next one. Anything else was dropped, doubled or held
   back by somebody.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from hauberk_envelope import _canonical
from hauberk_envelope.session._noise import NONCE, rekey

VERSION: Final = 1
HEAD: Final = struct.Struct(">BIQQ")
"""Before each ciphertext: version, epoch, counter, time (milliseconds since 1970)."""
_ERA: Final = struct.Struct(">BI")
"""Its first half, made once for each key: version, epoch."""
_HEAD: Final = struct.Struct(">5sQQ")
"""The head, with these two as one."""
REKEY: Final = 1 << 20
"""Messages under one key, at most, before the sender goes on to the next."""
HARD_STOP: Final = (1 << 32) - 1
"""Messages that may ever be sealed or opened under one key."""
LABEL: Final = _canonical.DOMAIN + "frame/v1"
Cipher = Callable[[bytes, bytes | memoryview, bytes], bytes]
_pack: Final = _HEAD.pack
_unpack: Final = _HEAD.unpack
_nonce: Final = NONCE.pack


class Unopened(Exception):
    """A message was not sealed by the other end of this session, for this direction, at this place."""


class OutOfOrder(Exception):
    """A message is not the next one: one was dropped, doubled, held back, or is of another epoch."""


class Exhausted(Exception):
    """The key of a direction may not be used again."""


def milliseconds(now: float) -> int:
    """Return a time as it is sealed; 0 for one before 1970, where no clock that is right stands.

    Args:
        now: Seconds since 1970.
    """
    return max(0, int(now * 1000))


def bound(hashed: bytes, sender: str) -> bytes:
    """Return what every message of one direction binds.

    Args:
        hashed: The hash of the handshake.
        sender: ``initiator`` or ``responder``.
    """
    return _canonical.encode(LABEL, hashed, sender)


class Sending:
    """What we seal."""

    __slots__ = ("_encrypt", "_era", "_every", "_key", "_last", "bound", "count", "epoch")

    def __init__(self, key: bytes, bound: bytes, every: int = REKEY) -> None:
        """Take a key (32 bytes), what each message binds, and how many messages a key is for."""
        self._every: Final = min(every, HARD_STOP)
        self.bound: Final = bound
        self.count = 0
        """The counter of the next message."""
        self._begin(key, 0)

    def _begin(self, key: bytes, epoch: int) -> None:
        """Begin an epoch."""
        self._era = _ERA.pack(VERSION, epoch)
        self._key = key
        self._encrypt: Cipher = AESGCM(key).encrypt
        self._last = self.count + self._every
        """The counter with which the next key begins."""
        self.epoch = epoch

    def seal(self, header: bytes, data: bytes, now: float) -> tuple[bytes, bytes, bytes]:
        """Return the head, the ciphertext, and what is associated with it.

        Args:
            header: What is visible outside.
            data: The message.
            now: Seconds since 1970.

        Raises:
            Exhausted: There is no key any more.
        """
        count = self.count
        if count >= self._last:
            self.rekey()
        try:
            head = _pack(self._era, count, int(now * 1000))
        except struct.error:  # before 1970
            head = _pack(self._era, count, milliseconds(now))
        self.count = count + 1  # before the cipher runs: whatever happens in it, no counter is used again
        associated = self.bound + head + header
        return head, self._encrypt(_nonce(0, count), data, associated), associated

    def rekey(self) -> None:
        """Go on to the next key with the next message."""
        if not self._key:
            raise Exhausted
        self._begin(rekey(self._key), self.epoch + 1)

    def forget(self) -> None:
        """Let go of the key."""
        self._key, self._encrypt, self._last = b"", _gone, 0


class Receiving:
    """What we open."""

    __slots__ = ("_decrypt", "_era", "_key", "_last", "bound", "count", "epoch")

    def __init__(self, key: bytes, bound: bytes) -> None:
        """Take a key (32 bytes), and what each message binds."""
        self.bound: Final = bound
        self.count = 0
        """The counter that the next message has."""
        self._begin(key, AESGCM(key).decrypt, 0)

    def _begin(self, key: bytes, decrypt: Cipher, epoch: int) -> None:
        """Begin an epoch with the message that is the next."""
        self._era = _ERA.pack(VERSION, epoch)
        self._key, self._decrypt = key, decrypt
        self._last = self.count + HARD_STOP
        """The counter from which on there is no key."""
        self.epoch = epoch

    def open(self, header: bytes, head: bytes, ciphertext: bytes | memoryview) -> tuple[bytes, int, int]:
        """Return the message, its counter, and when it was sealed (milliseconds since 1970).

        Raises:
            OutOfOrder: It is not the next one.
            Unopened: It was changed, or not sealed by the other end.
            Exhausted: There is no key any more.
        """
        era, count, time = _unpack(head)
        if era != self._era or count != self.count:
            return self._open_next(header, head, ciphertext), count, time
        if count >= self._last:
            raise Exhausted
        associated = self.bound + head + header
        try:
            data = self._decrypt(_nonce(0, count), ciphertext, associated)
        except InvalidTag:
            raise Unopened from None
        self.count = count + 1
        return data, count, time

    def _open_next(self, header: bytes, head: bytes, ciphertext: bytes | memoryview) -> bytes:
        """Open the first message under the next key, and only then go on to it."""
        version, epoch, count, _ = HEAD.unpack(head)
        if version != VERSION:
            raise Unopened
        if count != self.count or epoch != self.epoch + 1:
            raise OutOfOrder(f"counter {count} in epoch {epoch}, expected {self.count} in {self.epoch}")
        if not self._key:
            raise Exhausted
        key = rekey(self._key)
        decrypt = AESGCM(key).decrypt
        try:
            data = decrypt(_nonce(0, count), ciphertext, self.bound + head + header)
        except InvalidTag:
            raise Unopened from None
        self._begin(key, decrypt, epoch)
        self.count += 1
        return data

    def forget(self) -> None:
        """Let go of the key."""
        self._key, self._decrypt, self._last = b"", _gone, 0


def _gone(*_: object) -> bytes:
    """Stand where a cipher was."""
    raise Exhausted

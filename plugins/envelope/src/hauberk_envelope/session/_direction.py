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
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from hauberk_envelope import _canonical
from hauberk_envelope.session._noise import NONCE, rekey

VERSION: Final = 1
HEAD: Final = struct.Struct(">BIQQ")
"""Before each ciphertext: version, epoch, counter, time (milliseconds since 1970)."""
REKEY: Final = 1 << 20
"""Messages under one key, at most, before the sender goes on to the next."""
HARD_STOP: Final = (1 << 32) - 1
"""Messages that may ever be sealed or opened under one key."""
LABEL: Final = _canonical.DOMAIN + "frame/v1"


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

    __slots__ = ("_aead", "_every", "_key", "_left", "bound", "count", "epoch")

    def __init__(self, key: bytes, bound: bytes, every: int = REKEY) -> None:
        """Take a key (32 bytes), what each message binds, and how many messages a key is for."""
        self._key = key
        self._aead: AESGCM | None = AESGCM(key)
        self._every: Final = min(every, HARD_STOP)
        self._left = self._every
        self.bound: Final = bound
        self.count = 0
        """The counter of the next message."""
        self.epoch = 0

    def seal(self, header: bytes, data: bytes, time: int) -> tuple[bytes, bytes, bytes]:
        """Return the head, the ciphertext, and what is associated with it.

        Args:
            header: What is visible outside.
            data: The message.
            time: Milliseconds since 1970.

        Raises:
            Exhausted: There is no key any more.
        """
        if not self._left:
            self.rekey()
        self._left -= 1
        count = self.count
        self.count = count + 1  # before the cipher runs: whatever happens in it, no counter is used again
        head = HEAD.pack(VERSION, self.epoch, count, time)
        associated = b"%b%b%b" % (self.bound, head, header)
        return head, self._cipher().encrypt(NONCE.pack(0, count), data, associated), associated

    def rekey(self) -> None:
        """Go on to the next key with the next message."""
        self._cipher()
        self._key = rekey(self._key)
        self._aead = AESGCM(self._key)
        self._left = self._every
        self.epoch += 1

    def forget(self) -> None:
        """Let go of the key."""
        self._aead, self._key, self._left = None, b"", 0

    def _cipher(self) -> AESGCM:
        if self._aead is None:
            raise Exhausted
        return self._aead


class Receiving:
    """What we open."""

    __slots__ = ("_aead", "_key", "_left", "bound", "count", "epoch")

    def __init__(self, key: bytes, bound: bytes) -> None:
        """Take a key (32 bytes), and what each message binds."""
        self._key = key
        self._aead: AESGCM | None = AESGCM(key)
        self._left = HARD_STOP
        self.bound: Final = bound
        self.count = 0
        """The counter that the next message has."""
        self.epoch = 0

    def open(self, header: bytes, head: bytes, ciphertext: bytes | memoryview) -> tuple[bytes, int, int]:
        """Return the message, its counter, and when it was sealed (milliseconds since 1970).

        Raises:
            OutOfOrder: It is not the next one.
            Unopened: It was changed, or not sealed by the other end.
            Exhausted: There is no key any more.
        """
        version, epoch, count, time = HEAD.unpack(head)
        if version != VERSION:
            raise Unopened
        if count != self.count or epoch != self.epoch:
            if count != self.count or epoch != self.epoch + 1:
                raise OutOfOrder
            return self._open_next(header, head, ciphertext), count, time
        if not self._left or self._aead is None:
            raise Exhausted
        associated = b"%b%b%b" % (self.bound, head, header)
        try:
            data = self._aead.decrypt(NONCE.pack(0, count), ciphertext, associated)
        except InvalidTag:
            raise Unopened from None
        self._left -= 1
        self.count = count + 1
        return data, count, time

    def _open_next(self, header: bytes, head: bytes, ciphertext: bytes | memoryview) -> bytes:
        """Open the first message under the next key, and only then go on to it."""
        if self._aead is None:
            raise Exhausted
        key = rekey(self._key)
        aead = AESGCM(key)
        try:
            data = aead.decrypt(NONCE.pack(0, self.count), ciphertext, b"%b%b%b" % (self.bound, head, header))
        except InvalidTag:
            raise Unopened from None
        self._key, self._aead, self._left = key, aead, HARD_STOP - 1
        self.epoch += 1
        self.count += 1
        return data

    def forget(self) -> None:
        """Let go of the key."""
        self._aead, self._key, self._left = None, b"", 0

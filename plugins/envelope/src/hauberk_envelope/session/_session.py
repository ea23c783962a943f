"""A session that both ends have agreed on: it seals what leaves and opens what comes in.

The rules:

1. The seal is base64 (RFC 4648, section 4) of the head, the ciphertext, and with ``sign = "message"`` a signature.
   There is one text for these bytes, and no other is taken.
2. A signature is by Ed25519 over a label and the SHA-256 of what the message binds and its ciphertext. So whoever has
   the keys of the session, the receiver included, cannot make one.
3. Signature and tag are always both looked at, and one refusal is for both: nobody learns which of them was wrong.
4. Whatever does not open ends the session. What was dropped is never made up for, and a second try at a forgery is one
   too many.
5. A process that was forked has no session: two would use the same counters (A05).
"""

from __future__ import annotations

import hashlib
import os
from base64 import b32encode
from typing import Any, Final, NamedTuple
from weakref import WeakSet

import msgspec
import pybase64

from hauberk.bounds import Bounds
from hauberk.message import Kind
from hauberk.refusals import Refused
from hauberk_envelope import _canonical, _even
from hauberk_envelope._identity import Identity, PublicIdentity
from hauberk_envelope.session import _layout
from hauberk_envelope.session._direction import (
    HEAD,
    REKEY,
    Exhausted,
    OutOfOrder,
    Receiving,
    Sending,
    Unopened,
    bound,
    milliseconds,
)
from hauberk_envelope.session._layout import END, Meta, NotSealed
from hauberk_envelope.session._noise import TAG_BYTES, Keys
from hauberk_envelope.session._refusals import refused

ID_PREFIX: Final = "hbn1_"
SIGNATURE_LABEL: Final = _canonical.DOMAIN + "frame-signature/v1"
_SIGNED_HEAD: Final = _canonical.encode(SIGNATURE_LABEL, bytes(32))[:-32]
"""What is signed, up to the hash in it, which is all that changes."""
_ID_LABEL: Final = _canonical.DOMAIN + "session-id/v1"
_HEAD_BYTES: Final = HEAD.size
_HEAD_CHARS: Final = 4 * ((HEAD.size + 2) // 3)
_SIGNATURE_BYTES: Final = 64
_LAST: Final = (frozenset[int](), frozenset(b"AQgw"), frozenset(b"AEIMQUYcgkosw048"))
"""By how many bytes the last four characters stand for, what may stand before the padding: the rest of it is zero."""
_encode: Final = pybase64.b64encode
_decode: Final = pybase64.b64decode

_KNOWN: Final = bytes(32)

_live: Final[WeakSet[Session]] = WeakSet()


class Terms(NamedTuple):
    """What both ends have agreed on, besides keys."""

    signed: bool = False
    """Whether each message is signed."""
    rekey: int = REKEY
    """How many messages of ours a key is for."""
    longest: int = 1 << 24
    """The longest frame that the other end takes (bytes)."""
    until: float = float("inf")
    """When the first of the two static keys expires (seconds since 1970)."""


class Opened(msgspec.Struct, frozen=True):
    """A message that was sealed by the other end."""

    data: bytes
    kind: Kind
    method: str
    id: Any
    meta: Meta
    count: int
    """Its counter."""
    time: float
    """When it was sealed (seconds since 1970)."""


class Session:
    """One session, at one of its ends."""

    __slots__ = ("__weakref__", "_me", "_receiving", "_sending", "_terms", "id", "over", "peer", "receives")

    def __init__(self, keys: Keys, *, initiator: bool, me: Identity, peer: PublicIdentity, terms: Terms) -> None:
        ours, theirs = ("initiator", "responder") if initiator else ("responder", "initiator")
        self._sending: Final = Sending(getattr(keys, ours), bound(keys.hash, ours), terms.rekey)
        self._receiving: Final = Receiving(getattr(keys, theirs), bound(keys.hash, theirs))
        self._me: Final = me
        self._terms: Final = terms
        self.peer: Final = peer
        self.id: Final = session_id(keys.hash)
        self.receives: Final = f"{self.id}_{theirs}"
        """A name for what is received, under which each counter comes once."""
        self.over = ""
        """Why the session is over; empty while it is not."""
        _live.add(self)

    @property
    def me(self) -> PublicIdentity:
        """Return who we are in it."""
        return self._me.public

    @property
    def signed(self) -> bool:
        """Whether each message is signed."""
        return self._terms.signed

    def seal(self, kind: Kind, method: str, id: Any, meta: Meta, data: bytes, now: float) -> bytes:
        """Return the frame that carries a message (``data``) from here to the other end.

        Raises:
            Refused: ``envelope.session_over``, ``envelope.key_expired``, ``envelope.too_large``, or
                ``envelope.malformed``.
        """
        if now > self._terms.until:
            raise self._expired()
        try:
            header = _layout.header(kind, method, id, meta)
        except NotSealed:
            raise refused("envelope.malformed", "a message of our own", "its _meta holds a seal") from None
        signed = self._terms.signed
        content = len(data) + TAG_BYTES + signed * _SIGNATURE_BYTES
        size = len(header) + _HEAD_CHARS + 4 * ((content + 2) // 3) + len(END)
        if size > self._terms.longest:  # before a counter is used: what is never sent would be missed
            raise refused("envelope.too_large", "a message", f"{size} bytes, {self._terms.longest} are taken")
        try:
            head, sealed, associated = self._sending.seal(header, data, milliseconds(now))
        except Exhausted:
            raise self._ended() from None
        if signed:
            sealed += self._me.sign(_to_sign(associated, sealed))
        # The head is 28 characters, without padding. Joined, since formatting what is long moves it several times.
        return b"".join((header, _encode(head), _encode(sealed), END))

    def open(self, frame: bytes, now: float, bounds: Bounds) -> Opened:
        """Return the message in a frame of the other end.

        Raises:
            Refused: It is none, or not the next one; the session is over then.
        """
        if now > self._terms.until:
            raise self._expired()
        try:
            return self._open(frame, bounds)
        except Refused as error:
            self.end(error.code)
            raise

    def _open(self, frame: bytes, bounds: Bounds) -> Opened:
        try:
            kind, method, id, meta, header, text = _layout.read(frame, bounds)
            seal = decoded(text)
        except (NotSealed, ValueError) as found:
            plain = isinstance(found, NotSealed) and found.plain
            code = "envelope.plain" if plain else "envelope.malformed"
            raise refused(code, f"a message of {self.peer.agent}") from None
        head, held = seal[:_HEAD_BYTES], True
        sealed = seal[_HEAD_BYTES:] if len(seal) < _layout.LARGE else memoryview(seal)[_HEAD_BYTES:]
        if self._terms.signed:
            sealed, signature = sealed[:-_SIGNATURE_BYTES], seal[-_SIGNATURE_BYTES:]
            held = self._verified(header, head, signature, sealed)
        if len(sealed) < TAG_BYTES:
            raise refused("envelope.malformed", f"a message of {self.peer.agent}")
        try:
            taken = _taken(self._receiving, header, head, sealed)
        except OutOfOrder:
            raise self._out_of_order(head) from None
        except Exhausted:
            raise self._ended() from None
        if taken is not None and held:
            data, count, time = taken
            return Opened(data, kind, method, id, meta, count, time / 1000)
        if self._terms.signed:
            _settle(header, len(sealed), held=held, fitted=taken is not None)
        raise refused("envelope.forged", f"a message of {self.peer.agent}", session=self.id)

    def _verified(self, header: bytes, head: bytes, signature: bytes, sealed: bytes | memoryview) -> bool:
        associated = b"%b%b%b" % (self._receiving.bound, head, header)
        return _even.holds(self.peer.signing, signature, _to_sign(associated, sealed))

    def rekey(self) -> None:
        """Go on to another key with the next message that is sealed.

        Raises:
            Refused: ``envelope.session_over``.
        """
        try:
            self._sending.rekey()
        except Exhausted:
            raise self._ended() from None

    def end(self, why: str) -> None:
        """End the session: nothing is sealed or opened by it any more."""
        self.over = self.over or why
        self._sending.forget()
        self._receiving.forget()

    def _ended(self) -> Refused:
        return refused("envelope.session_over", self.peer.agent, self.over or "its key is used up", session=self.id)

    def _expired(self) -> Refused:
        self.end("envelope.key_expired")
        return refused("envelope.key_expired", f"a key of the session with {self.peer.agent}", session=self.id)

    def _out_of_order(self, head: bytes) -> Refused:
        _, epoch, count, _ = HEAD.unpack(head)
        receiving = self._receiving
        if self.over:
            return self._ended()
        detail = f"counter {count} in epoch {epoch}, expected {receiving.count} in {receiving.epoch}"
        return refused("envelope.out_of_order", self.peer.agent, detail, session=self.id)

    def __repr__(self) -> str:
        return f"<Session {self.id} with {self.peer.agent}>"


def session_id(hashed: bytes) -> str:
    """Return the name of a session: ``hbn1_`` and 52 characters of base32, of the hash of its handshake."""
    name = hashlib.sha256(_canonical.encode(_ID_LABEL, hashed)).digest()
    return ID_PREFIX + b32encode(name).decode().rstrip("=").lower()


def _to_sign(associated: bytes, sealed: bytes | memoryview) -> bytes:
    digest = hashlib.sha256(associated)
    digest.update(sealed)
    return _SIGNED_HEAD + digest.digest()


def decoded(text: bytes | memoryview) -> bytes:
    """Decode base64 of which there is one text for each value: the bits that padding leaves over are zero.

    Raises:
        ValueError: It is written otherwise.
    """
    data = _decode(text, validate=True)
    if (rest := len(data) % 3) and text[rest - 4] not in _LAST[rest]:
        raise ValueError("there is another text for the same bytes")
    return data


def _taken(
    receiving: Receiving, header: bytes, head: bytes, sealed: bytes | memoryview
) -> tuple[bytes, int, int] | None:
    """Return what a direction opens, or None."""
    try:
        return receiving.open(header, head, sealed)
    except Unopened:
        return None


def _settle(header: bytes, size: int, *, held: bool, fitted: bool) -> None:
    """Go through the outcomes that a frame to be refused did not have, so that all take the same time (`_even`).

    The first failure costs more than the next one, and one of the kinds would have it here and the other before: so
    there is one more, for both.

    Args:
        header: Of the frame.
        size: The length of its ciphertext (bytes).
        held: Whether its signature held.
        fitted: Whether its tag did.
    """
    _even.settle(held=True, fitted=True)
    _even.settle(held=held, fitted=True)
    head, known, _ = Sending(_KNOWN, b"").seal(header, bytes(size - TAG_BYTES), 0)
    _taken(Receiving(_KNOWN, b""), b" " + header[1:] if fitted else header, head, known)


def _forget() -> None:
    """Let go of every session, in a child process."""
    for session in _live:
        session.end("the process was forked")


os.register_at_fork(after_in_child=_forget)

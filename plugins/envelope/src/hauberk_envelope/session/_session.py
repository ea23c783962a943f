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
from typing import Final, NamedTuple
from weakref import WeakSet

import pybase64

from hauberk.bounds import Bounds
from hauberk.message import Frame, Proof
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
)
from hauberk_envelope.session._layout import END, LARGE, LEFT, RIGHTS, NotSealed
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
_AROUND: Final = _HEAD_CHARS + len(END) - (-4 * (TAG_BYTES + _SIGNATURE_BYTES + 2) // 3)
"""What a frame is longer by, at most, than four thirds of its header and its message (bytes)."""
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


class Session:
    """One session, at one of its ends."""

    __slots__ = (
        "__weakref__",
        "_least",
        "_me",
        "_receiving",
        "_sender",
        "_sending",
        "_short",
        "_terms",
        "_until",
        "id",
        "over",
        "peer",
        "receives",
        "signed",
    )

    def __init__(self, keys: Keys, *, initiator: bool, me: Identity, peer: PublicIdentity, terms: Terms) -> None:
        ours, theirs = ("initiator", "responder") if initiator else ("responder", "initiator")
        self._sending: Final = Sending(getattr(keys, ours), bound(keys.hash, ours), terms.rekey)
        self._receiving: Final = Receiving(getattr(keys, theirs), bound(keys.hash, theirs))
        self._me: Final = me
        self._terms: Final = terms
        self._until: Final = terms.until
        self._short: Final = (terms.longest - _AROUND) * 3 // 4
        """A header and a message that are no longer than this make a frame that the other end takes (bytes)."""
        self._least: Final = _HEAD_BYTES + TAG_BYTES + terms.signed * _SIGNATURE_BYTES
        """The shortest seal (bytes)."""
        self.peer: Final = peer
        self._sender: Final = peer.key_id
        self.id: Final = session_id(keys.hash)
        self.receives: Final = f"{self.id}_{theirs}"
        """A name for what is received, under which each counter comes once."""
        self.signed: Final = terms.signed
        """Whether each message is signed."""
        self.over = ""
        """Why the session is over; empty while it is not."""
        _live.add(self)

    @property
    def me(self) -> PublicIdentity:
        """Return who we are in it."""
        return self._me.public

    def seal(self, frame: Frame, now: float) -> Frame:
        """Return the frame that carries a message, one that leaves here, to the other end.

        Raises:
            Refused: ``envelope.session_over``, ``envelope.key_expired``, ``envelope.too_large``, or
                ``envelope.malformed``.
        """
        if now > self._until:
            raise self._expired()
        kind, method, id, data = frame.kind, frame.method, frame.id, frame.data
        right = RIGHTS[kind].get(method)  # type: ignore[index]
        if right is not None and frame.meta is None and type(id) is int:
            header = b"%b%d%b" % (LEFT, id, right)
        else:
            header = self._header(frame)
        if len(header) + len(data) > self._short:
            self._check_size(header, data)  # before a counter is used: what is never sent would be missed
        try:
            head, sealed, associated = self._sending.seal(header, data, now)
        except Exhausted:
            raise self._ended() from None
        if self.signed:
            sealed += self._me.sign(_to_sign(associated, sealed))
        # The head is 28 characters, without padding. Joined, since formatting what is long moves it several times.
        text = b"".join((header, _encode(head), _encode(sealed), END))
        return Frame(text, frame.toward, frame.peer, kind, method, id, None, frame.notes)

    def _header(self, frame: Frame) -> bytes:
        """Return what is visible of a message."""
        try:
            return _layout.header(frame.kind, frame.method, frame.id, frame.meta)  # type: ignore[arg-type]
        except NotSealed:
            raise refused("envelope.malformed", "a message of our own", "its _meta holds a seal") from None

    def _check_size(self, header: bytes, data: bytes) -> None:
        content = len(data) + TAG_BYTES + self.signed * _SIGNATURE_BYTES
        size, longest = len(header) + _HEAD_CHARS + 4 * ((content + 2) // 3) + len(END), self._terms.longest
        if size > longest:
            raise refused("envelope.too_large", "a message", f"{size} bytes, {longest} are taken")

    def open(self, frame: Frame, now: float, bounds: Bounds) -> Frame:
        """Return the message in a frame of the other end, with what its seal proves.

        Raises:
            Refused: It is none, or not the next one; the session is over then.
        """
        if now > self._until:
            raise self._expired()
        try:
            kind, method, id, meta, header, text = _layout.read(frame.data, bounds)
            seal = decoded(text, self._least)
            head = seal[:_HEAD_BYTES]
            sealed = seal[_HEAD_BYTES:] if len(seal) < LARGE else memoryview(seal)[_HEAD_BYTES:]
            if self.signed:
                data, count, time = self._open_signed(header, head, sealed)
            else:
                data, count, time = self._receiving.open(header, head, sealed)
        except (NotSealed, ValueError, Unopened, OutOfOrder, Exhausted) as found:
            raise self._failed(found) from None
        proof = Proof(key_id=self.receives, nonce=count, issued=time / 1000, sender=self._sender)
        return Frame(data, frame.toward, frame.peer, kind, method, id, proof, frame.notes, meta)

    def _open_signed(self, header: bytes, head: bytes, sealed: bytes | memoryview) -> tuple[bytes, int, int]:
        """Open what a signature follows, as `Receiving.open`, and look at both before either is acted on (rule 3)."""
        sealed, signature = sealed[:-_SIGNATURE_BYTES], bytes(sealed[-_SIGNATURE_BYTES:])
        associated = self._receiving.bound + head + header
        held = _even.holds(self.peer.signing, signature, _to_sign(associated, sealed))
        taken = _taken(self._receiving, header, head, sealed)
        if taken is not None and held:
            return taken
        _settle(header, len(sealed), held=held, fitted=taken is not None)
        raise Unopened

    def _failed(self, found: Exception) -> Refused:
        """End the session by what did not open, and return what that is called."""
        agent = self.peer.agent
        if isinstance(found, Unopened):
            error = refused("envelope.forged", f"a message of {agent}", session=self.id)
        elif isinstance(found, OutOfOrder) and not self.over:
            error = refused("envelope.out_of_order", agent, str(found), session=self.id)
        elif isinstance(found, OutOfOrder | Exhausted):
            error = self._ended()
        else:
            plain = isinstance(found, NotSealed) and found.plain
            error = refused("envelope.plain" if plain else "envelope.malformed", f"a message of {agent}")
        self.end(error.code)
        return error

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


def decoded(text: bytes | memoryview, least: int = 0) -> bytes:
    """Decode base64 of which there is one text for each value: the bits that padding leaves over are zero.

    Args:
        text: The text.
        least: How much it must stand for (bytes).

    Raises:
        ValueError: It is written otherwise, or stands for less.
    """
    data = _decode(text, None, True)  # the last is `validate`: by place, since by name it takes twice as long
    size = len(data)
    if size < least or ((rest := size % 3) and text[rest - 4] not in _LAST[rest]):
        raise ValueError("it is cut short, or there is another text for the same bytes")
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

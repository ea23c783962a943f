"""How two guards agree on a session: one request, one answer.

The rules:

1. The handshake is `hauberk_envelope.session._noise`. Its first message is in the parameters of the request, its second
   one in the result of the answer. Both static keys are those of the trust directories; whoever is in neither, or may
   not talk to the other one (S0.28), is refused before any of its bytes is decrypted (S0.23).
2. Both bind, as prologue, all that is said in clear: the extension and its version, both key ids, the name of the
   server that is asked for, and whether the asker wants each message signed. What is changed on the way, or taken from
   another agreement, fails the handshake (A02, A08).
3. Each says in its payload when that is, and how long a frame it takes; the answer says whether messages are signed.
   They are as soon as one side wants it. A time that is too far from ours is refused (S0.31, S0.32).
4. There is one version, and nothing to choose in it: no other pattern, curve, cipher or hash (A08).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from typing import Annotated, Any, Final, Literal, NamedTuple

import msgspec
import pybase64
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from hauberk.refusals import Refused
from hauberk_envelope import _canonical, _x25519
from hauberk_envelope._identity import Identity, PublicIdentity
from hauberk_envelope._trust import Trust
from hauberk_envelope.session._direction import REKEY, milliseconds
from hauberk_envelope.session._layout import EXTENSION
from hauberk_envelope.session._noise import Broken, Initiator, Keys, Pair, Responder
from hauberk_envelope.session._refusals import refused
from hauberk_envelope.session._session import Session, Terms, decoded

VERSION: Final = 1
MAX_AGE: Final = 300.0
"""How old an agreement may be when it comes (seconds)."""
SKEW: Final = 60.0
"""How far the clock of the other end may be ahead of ours (seconds)."""
MESSAGE_CHARS: Final = 256
"""A handshake message, in base64 (characters)."""
NAME_CHARS: Final = 256
"""The name of a server (characters)."""

_LABEL: Final = _canonical.DOMAIN + "session/v1"
_PAYLOAD: Final = struct.Struct(">QQB")
"""Time (milliseconds since 1970), longest frame (bytes), whether messages are signed (0 or 1)."""
Sign = Literal["session", "message"]


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"from_": "from"}):
    """The parameters of a request for a session."""

    version: int
    from_: str
    """The key id of who asks."""
    to: str
    """The key id of who is asked."""
    server: Annotated[str, msgspec.Meta(max_length=NAME_CHARS)]
    """The name of the server that is asked for."""
    sign: Sign
    """What who asks wants."""
    message: str
    """The first handshake message, in base64."""


class Answer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The result."""

    message: str
    """The second handshake message, in base64."""


class Party(NamedTuple):
    """One of the two, as itself."""

    identity: Identity
    trust: Trust
    sign: Sign = "session"
    rekey: int = REKEY
    """How many messages of its own a key is for."""
    longest: int = 1 << 24
    """The longest frame that it takes (bytes)."""
    max_age: float = MAX_AGE
    skew: float = SKEW


def new_pair() -> Pair:
    """Return a new key pair, for one handshake."""
    secret = X25519PrivateKey.generate()
    return Pair(_x25519.public_of(secret), lambda public: _agreed(secret, public))


def _agreed(secret: X25519PrivateKey, public: bytes) -> bytes:
    try:
        return _x25519.agree(secret, public)
    except _x25519.Weak:
        raise Broken("a key of small order") from None


class Offer:
    """A session that is asked for."""

    def __init__(
        self, party: Party, peer: PublicIdentity, server: str, now: float, new: Callable[[], Pair] = new_pair
    ) -> None:
        """Ask an agent for a session.

        Args:
            party: We.
            peer: Whom we ask; its key counts now.
            server: The server that we ask for, by the name that it has there.
            now: Seconds since 1970.
            new: Makes a key pair for this handshake.

        Raises:
            Refused: Our own key does not count, or one of us may not talk to the other.
        """
        me = party.identity
        party.trust.check(me.public, now)
        _may_talk(party.trust, me.public, peer)
        self._party: Final = party
        self._process: Final = os.getpid()
        self.peer: Final = peer
        prologue = _prologue(me.key_id, peer.key_id, server, party.sign)
        static = Pair(me.public.agreement, me.agree)
        self._handshake: Final = Initiator(static, peer.agreement, prologue, new())
        message = self._handshake.write(_payload(party, now, signed=party.sign == "message"))
        request = Request(VERSION, me.key_id, peer.key_id, server, party.sign, pybase64.b64encode(message).decode())
        self.params: Final[dict[str, Any]] = msgspec.to_builtins(request)
        """The parameters of the request."""

    def accept(self, result: Any, now: float) -> Session:
        """Take the answer, once, and return the session.

        Raises:
            Refused: It is none, or not of who was asked.
        """
        party, peer = self._party, self.peer
        if os.getpid() != self._process:  # both would have the session, with the same keys and counters (A05)
            raise refused("envelope.session_over", peer.agent, "the process was forked before it was agreed on")
        message = _decoded(_converted(result, Answer, peer.agent).message, peer.agent)
        try:
            payload, keys = self._handshake.read(message)
        except Broken:
            raise _forged(peer.agent) from None
        signed, longest = _read_payload(payload, party, peer.agent, now)
        if party.sign == "message" and not signed:
            raise refused("envelope.unsigned", peer.agent, "we want that")
        return _session(party, peer, keys, _terms(party, peer, longest, signed=signed), initiator=True)


def answer(
    party: Party, params: Any, server: str, now: float, new: Callable[[], Pair] = new_pair
) -> tuple[dict[str, Any], Session]:
    """Answer a request for a session.

    Args:
        party: We.
        params: The parameters of the request.
        server: The name of the server that we guard.
        now: Seconds since 1970.
        new: Makes a key pair for this handshake.

    Returns:
        The result, and the session.

    Raises:
        Refused: There is to be none.
    """
    who = "who asks for a session"
    request = _converted(params, Request, who)
    if request.version != VERSION:
        raise refused("envelope.unsupported", who, f"version {request.version}")
    me = party.identity
    if request.to != me.key_id or request.from_ == me.key_id:
        raise refused("envelope.wrong_recipient", "a request for a session")
    peer = party.trust.find(request.from_, now)
    party.trust.check(me.public, now)
    _may_talk(party.trust, peer, me.public)
    static = Pair(me.public.agreement, me.agree)
    prologue = _prologue(request.from_, request.to, request.server, request.sign)
    handshake = Responder(static, peer.agreement, prologue, new())
    try:
        payload = handshake.read(_decoded(request.message, peer.agent))
    except Broken:
        raise _forged(peer.agent) from None
    wanted, longest = _read_payload(payload, party, peer.agent, now)
    if request.server != server:  # once it is known who asks, and that it did
        raise refused("envelope.wrong_server", peer.agent, f"{request.server!r}, and this is {server!r}")
    signed = wanted or party.sign == "message"
    message, keys = handshake.write(_payload(party, now, signed=signed))
    session = _session(party, peer, keys, _terms(party, peer, longest, signed=signed), initiator=False)
    return msgspec.to_builtins(Answer(pybase64.b64encode(message).decode())), session


def _session(party: Party, peer: PublicIdentity, keys: Keys, terms: Terms, *, initiator: bool) -> Session:
    return Session(keys, initiator=initiator, me=party.identity, peer=peer, terms=terms)


def _terms(party: Party, peer: PublicIdentity, longest: int, *, signed: bool) -> Terms:
    until = min(peer.not_after, party.identity.public.not_after)
    return Terms(signed=signed, rekey=party.rekey, longest=longest, until=until)


def _may_talk(trust: Trust, asker: PublicIdentity, asked: PublicIdentity) -> None:
    if not trust.may(asker.agent, asked.agent):
        raise refused("envelope.not_allowed", asker.agent, recipient=asked.agent)


def _prologue(asker: str, asked: str, server: str, sign: str) -> bytes:
    return _canonical.encode(_LABEL, EXTENSION, VERSION, asker, asked, server, sign)


def _payload(party: Party, now: float, *, signed: bool) -> bytes:
    return _PAYLOAD.pack(milliseconds(now), party.longest, signed)


def _read_payload(payload: bytes, party: Party, who: str, now: float) -> tuple[bool, int]:
    """Return whether messages are signed, and how long a frame the other end takes."""
    if len(payload) != _PAYLOAD.size:
        raise refused("envelope.malformed", f"an agreement of {who}")
    time, longest, signed = _PAYLOAD.unpack(payload)
    if signed > 1:
        raise refused("envelope.malformed", f"an agreement of {who}")
    age = now - time / 1000
    if age > party.max_age or -age > party.skew:
        raise refused("envelope.stale", who, f"{age:.0f} s old" if age > 0 else f"{-age:.0f} s in the future")
    return bool(signed), longest


def _converted(value: Any, kind: Any, who: str) -> Any:
    try:
        return msgspec.convert(value, kind, strict=True)
    except msgspec.ValidationError:
        raise refused("envelope.malformed", f"what {who} said") from None


def _decoded(text: str, who: str) -> bytes:
    if len(text) > MESSAGE_CHARS:
        raise refused("envelope.malformed", f"an agreement of {who}")
    try:
        return decoded(text.encode())
    except ValueError:
        raise refused("envelope.malformed", f"an agreement of {who}") from None


def _forged(who: str) -> Refused:
    return refused("envelope.forged", f"an agreement of {who}", check="handshake")

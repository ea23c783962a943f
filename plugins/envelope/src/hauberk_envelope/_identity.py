"""Who an agent is: a key that signs, a key that agrees on secrets, and a statement that binds both to a name.

The rules:

1. Two keys, one purpose each (X.10): Ed25519 signs, X25519 agrees. Neither is made from the other.
2. The statement of an agent holds its name, both public keys and the time in which they count. It is signed by the
   Ed25519 key, so nobody can put another agreement key beside it, or another name.
3. The key id is a hash of both public keys. A name is what the statement says; who is meant is the key id (S0.24).
4. What is signed begins with a label of this package (`_canonical`); nothing else is (A03).
5. Public keys of small order, outside of the prime-order subgroup, or in a second encoding are refused when they are
   read (A07).
6. Secrets are in no text of this module, and an identity is not pickled or copied.

Python cannot wipe memory. A secret stays in it as long as its identity, and may stay longer.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Callable
from typing import Any, Final, NoReturn, final

import msgspec

from hauberk import keys
from hauberk_envelope import _canonical, _ed25519, _x25519
from hauberk_envelope._limits import DAY, LIMITS
from hauberk_envelope._refusals import refused

KEY_ID_PREFIX: Final = "hbk1_"
KEY_ID: Final = re.compile(KEY_ID_PREFIX + "[a-z2-7]{51}[aq]")
"""256 bits are 51 characters and one more bit."""
AGENT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@/:+-]*")

_IDENTITY_LABEL: Final = _canonical.DOMAIN + "identity/v1"
_KEY_ID_LABEL: Final = _canonical.DOMAIN + "key-id/v1"
_DOMAIN: Final = _canonical.DOMAIN.encode()


def check_agent(agent: str) -> str:
    """Return the name of an agent, or say what is wrong with it.

    Raises:
        ValueError: It is no name: letters, digits and ``. _ @ / : + -`` of ASCII, at most 128, the first a letter or a
            digit.
    """
    if len(agent) > LIMITS.agent_chars or not AGENT.fullmatch(agent):
        raise ValueError(
            f"an agent's name has at most {LIMITS.agent_chars} of A-Z a-z 0-9 . _ @ / : + -, and begins with a letter "
            "or a digit"
        )
    return agent


def verify(public: bytes, signature: bytes, data: bytes) -> None:
    """Check an Ed25519 signature over ``data``, which begins with a label of this package (`_canonical`).

    Raises:
        Refused: ``envelope.forged``: the signature does not hold.
    """
    try:
        _ed25519.verify(public, signature, data)
    except _ed25519.Unverified:
        raise refused("envelope.forged", "the signature", check="signature") from None


def key_id_of(signing: bytes, agreement: bytes) -> str:
    """Return the key id of two public keys: ``hbk1_`` and 52 characters of base32 (RFC 4648 section 6, lower case)."""
    hashed = hashlib.sha256(_canonical.encode(_KEY_ID_LABEL, signing, agreement)).digest()
    return KEY_ID_PREFIX + base64.b32encode(hashed).decode().rstrip("=").lower()


@final
class PublicIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """What others know of an agent. One that is at hand was checked: see `PublicIdentity.of`."""

    agent: str
    """Its name."""
    signing: bytes
    """The public Ed25519 key (32 bytes)."""
    agreement: bytes
    """The public X25519 key (32 bytes)."""
    not_before: float
    """From when on the keys count (whole seconds since 1970)."""
    not_after: float
    """Until when, inclusive (whole seconds since 1970)."""
    signature: bytes
    """By ``signing``, over all the other fields (64 bytes)."""
    key_id: str
    """The hash of both keys, as `key_id_of` writes it."""

    @classmethod
    def of(
        cls, *, agent: str, signing: bytes, agreement: bytes, not_before: float, not_after: float, signature: bytes
    ) -> PublicIdentity:
        """Return a statement that holds.

        Raises:
            Refused: ``envelope.forged``: the signature does not hold.
            ValueError: A name, a key or a time is none.
        """
        data = _statement(agent, signing, agreement, not_before, not_after)
        verify(signing, signature, data)
        return cls(
            agent=agent,
            signing=signing,
            agreement=agreement,
            not_before=not_before,
            not_after=not_after,
            signature=signature,
            key_id=key_id_of(signing, agreement),
        )


@final
class Identity:
    """An agent's own keys.

    ``public`` is what others may know. `sign` and `agree` use the secrets; nothing gives them away but
    `Identity.secrets`, for the key file.
    """

    __slots__ = ("_agreement", "_signing", "public")

    def __init__(self, *, agent: str, signing: bytes, agreement: bytes, not_before: float, not_after: float) -> None:
        """Take an agent's keys.

        Args:
            agent: Its name.
            signing: The seed of the Ed25519 key (32 bytes; RFC 8032, section 5.1.5).
            agreement: The X25519 key (32 bytes).
            not_before: From when on they count (whole seconds since 1970).
            not_after: Until when.

        Raises:
            ValueError: A name, a key or a time is none.
        """
        if len(signing) != keys.KEY_BYTES or len(agreement) != keys.KEY_BYTES or signing == agreement:
            raise ValueError("an identity has two different keys of 32 bytes")
        public, self._signing = _ed25519.public_of(signing)
        self._agreement = _x25519.load(agreement)
        agreed = _x25519.public_of(self._agreement)
        statement = _statement(agent, public, agreed, not_before, not_after)
        self.public: Final = PublicIdentity(
            agent=agent,
            signing=public,
            agreement=agreed,
            not_before=not_before,
            not_after=not_after,
            signature=self.sign(statement),
            key_id=key_id_of(public, agreed),
        )

    @classmethod
    def generate(
        cls, agent: str, *, now: float, days: int = LIMITS.valid_days, random: Callable[[int], bytes] = os.urandom
    ) -> Identity:
        """Return a new identity, valid from a little before ``now`` for ``days``.

        Raises:
            ConfigError: The source of randomness is broken.
            ValueError: The name or the number of days is none.
        """
        if not 1 <= days <= LIMITS.most_days:
            raise ValueError(f"a key is valid for 1 to {LIMITS.most_days} days")
        begin = max(0, int(now) - LIMITS.backdate)
        return cls(
            agent=agent,
            signing=keys.new_key(f"a signing key for {agent!r}", random=random),
            agreement=keys.new_key(f"an agreement key for {agent!r}", random=random),
            not_before=begin,
            not_after=begin + LIMITS.backdate + int(days * DAY),
        )

    @property
    def agent(self) -> str:
        """Return the name."""
        return self.public.agent

    @property
    def key_id(self) -> str:
        """Return the key id."""
        return self.public.key_id

    def sign(self, data: bytes) -> bytes:
        """Return the Ed25519 signature of ``data`` (64 bytes).

        Raises:
            ValueError: ``data`` does not begin with a label of this package, so the signature could be taken for one
                of something else.
        """
        if not data.startswith(_DOMAIN):
            raise ValueError("what is signed begins with a label of this package")
        return _ed25519.sign(self._signing, data)

    def agree(self, public: bytes) -> bytes:
        """Return what this agent shares with the owner of an X25519 key (32 bytes): material for HKDF, not a key.

        Raises:
            Refused: ``envelope.forged``: the key is of small order, and nothing would be secret (RFC 7748 section 6.1).
        """
        try:
            return _x25519.agree(self._agreement, public)
        except _x25519.Weak:
            raise refused("envelope.forged", "the agreement key of the other side", check="agreement") from None

    def secrets(self) -> tuple[bytes, bytes]:
        """Return the seed of the Ed25519 key and the X25519 key, for the key file and nothing else."""
        return self._signing[: _ed25519.SEED_BYTES], self._agreement.private_bytes_raw()

    def __repr__(self) -> str:
        return f"<Identity {self.agent} {self.key_id}>"

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError("an identity is not pickled or copied: it holds secrets")


def _statement(agent: str, signing: bytes, agreement: bytes, not_before: float, not_after: float) -> bytes:
    """Return the byte form of what an agent says of itself."""
    check_agent(agent)
    if not (float(not_before).is_integer() and float(not_after).is_integer() and 0 <= not_before < not_after):
        raise ValueError("the validity of a key is from one whole second to a later one")
    if not_after - not_before > LIMITS.most_days * DAY + LIMITS.backdate:
        raise ValueError(f"no key is valid for more than {LIMITS.most_days} days")
    try:
        _ed25519.check_public(signing)
        _x25519.check_public(agreement)
    except (_ed25519.Unverified, _x25519.Weak):
        raise ValueError("a public key is weak, or none") from None
    return _canonical.encode(_IDENTITY_LABEL, agent, signing, agreement, int(not_before), int(not_after))

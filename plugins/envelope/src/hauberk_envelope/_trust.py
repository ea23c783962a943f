"""Whose messages are taken: the trust directory, and who may talk to whom.

The rules:

1. The directory holds one public file a key, and a revocation beside it where there is one (`_keyfiles`). Nobody but
   its owner can write in it. All of it is read at the start and at each reload; one file that does not hold stops that.
2. Who is meant is the key id. A name that a message claims is compared with the one in the statement of the key, and is
   never looked up (S0.24).
3. A key counts from ``not_before`` to ``not_after``, unless it is revoked. Past the rotation period it is old, which is
   reported; past the grace period after that, production refuses it (S0.26).
4. No two keys of the directory share a signing key or an agreement key.
5. Who may talk to whom is written down; what is not is denied (S0.28). The sender and the recipient both look.
6. A key that no longer counts still verifies what it signed before, for archives; one that was compromised does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final, final

import msgspec

from hauberk import files
from hauberk.refusals import ConfigError, Refused
from hauberk_envelope import _keyfiles
from hauberk_envelope._identity import PublicIdentity
from hauberk_envelope._keyfiles import PUBLIC, REVOKED, SECRET, Revocation
from hauberk_envelope._limits import DAY, LIMITS
from hauberk_envelope._options import ANYBODY
from hauberk_envelope._refusals import refused

_NOBODY: Final[Mapping[str, frozenset[str]]] = MappingProxyType({})


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What is expected of keys, and who may talk to whom."""

    can_communicate_with: Mapping[str, frozenset[str]] = _NOBODY
    """By the sender's name: the names of those it may talk to; ``*`` is everybody."""
    privileged_agents: frozenset[str] = frozenset()
    """Who may talk to everybody."""
    rotation_days: float = LIMITS.rotation_days
    """From when on a key is old."""
    grace_days: float = LIMITS.grace_days
    """How much older it may get in production."""
    production: bool = False
    """Whether a key that is past both is refused."""

    def may(self, sender: str, recipient: str | None) -> bool:
        """Whether ``sender`` may talk to ``recipient``, by their names; None is everybody at once."""
        if sender in self.privileged_agents:
            return True
        allowed = self.can_communicate_with.get(sender, frozenset())
        return ANYBODY in allowed or recipient in allowed


@final
class Trust:
    """The keys that are known here, as they were when the directory was read. It never changes; a reload reads anew."""

    __slots__ = ("_keys", "_revoked", "rules")

    def __init__(
        self, keys: Mapping[str, PublicIdentity], revoked: Mapping[str, Revocation] | None = None, *, rules: Rules
    ) -> None:
        self._keys: Final = dict(keys)
        self._revoked: Final = dict(revoked or {})
        self.rules: Final = rules

    @classmethod
    def read(cls, directory: Path, *, rules: Rules | None = None) -> Trust:
        """Return what a trust directory says.

        Raises:
            ConfigError: It, or a file in it, may be changed by others, cannot be read, or does not hold.
        """
        listed = _keyfiles.names(directory)
        if listed[SECRET]:
            raise ConfigError(
                f"cannot use {str(directory)!r}: it holds a secret key",
                hint="keep secret keys out of the directory of those who are trusted",
            )
        keys = {key_id: _public(directory, key_id) for key_id in listed[PUBLIC]}
        _check_distinct(directory, keys)
        revoked = {key_id: _revocation(directory, key_id) for key_id in listed[REVOKED]}
        return cls(keys, revoked, rules=rules or Rules())

    def find(self, key_id: str, now: float) -> PublicIdentity:
        """Return the identity of a key that counts ``now`` (seconds since 1970).

        Raises:
            Refused: ``envelope.untrusted``, ``envelope.key_revoked``, ``envelope.key_not_yet_valid``,
                ``envelope.key_expired``, or in production ``envelope.key_too_old``.
        """
        identity = self._keys.get(key_id)
        if identity is None or key_id in self._revoked:
            code = "envelope.key_revoked" if key_id in self._revoked else "envelope.untrusted"
            raise refused(code, "the sender's key" if identity is None else f"the key of {identity.agent}")
        self.check(identity, now)
        return identity

    def check(self, identity: PublicIdentity, now: float) -> None:
        """Check that a key counts ``now``; for one's own key, which need not be in the directory.

        Raises:
            Refused: As `find`, but for ``envelope.untrusted``.
        """
        if identity.key_id in self._revoked:
            code = "envelope.key_revoked"
        elif now < identity.not_before:
            code = "envelope.key_not_yet_valid"
        elif now > identity.not_after:
            code = "envelope.key_expired"
        elif self.rules.production and self._age(identity, now) > self.rules.rotation_days + self.rules.grace_days:
            code = "envelope.key_too_old"
        else:
            return
        raise refused(code, f"the key of {identity.agent}", key_id=identity.key_id)

    def old(self, identity: PublicIdentity, now: float) -> bool:
        """Whether a key is past its rotation period, which is to be reported (``envelope.key_old``)."""
        return self._age(identity, now) > self.rules.rotation_days

    def archived(self, key_id: str) -> PublicIdentity:
        """Return the identity of a key that signed what lies in an archive, whether it counts today or not.

        Raises:
            Refused: ``envelope.untrusted``, or ``envelope.key_revoked``: somebody else may have had the key.
        """
        revocation = self._revoked.get(key_id)
        if revocation is not None and revocation.reason == "compromised":
            raise refused("envelope.key_revoked", "the key", "somebody else may have it", key_id=key_id)
        identity = self._keys.get(key_id)
        if identity is None:
            raise refused("envelope.untrusted", "the key")
        return identity

    def may(self, sender: str, recipient: str | None) -> bool:
        """Whether ``sender`` may talk to ``recipient``, by their names; None is everybody at once."""
        return self.rules.may(sender, recipient)

    def identities(self) -> tuple[PublicIdentity, ...]:
        """Return every key of the directory, whether it counts or not."""
        return tuple(self._keys.values())

    def keys_of(self, agent: str, now: float) -> tuple[PublicIdentity, ...]:
        """Return the keys of an agent that count ``now``, the newest first; several while it rotates."""
        found = [
            identity for identity in self._keys.values() if identity.agent == agent and self._counts(identity, now)
        ]
        return tuple(sorted(found, key=lambda identity: (-identity.not_before, identity.key_id)))

    def revocation(self, key_id: str) -> Revocation | None:
        """Return what revokes a key, or None."""
        return self._revoked.get(key_id)

    def _counts(self, identity: PublicIdentity, now: float) -> bool:
        try:
            self.check(identity, now)
        except Refused:
            return False
        return True

    @staticmethod
    def _age(identity: PublicIdentity, now: float) -> float:
        return (now - identity.not_before) / DAY


def _public(directory: Path, key_id: str) -> PublicIdentity:
    identity = _keyfiles.read_public(directory / f"{key_id}{PUBLIC}")
    _check_name(directory, key_id, identity.key_id, PUBLIC)
    return identity


def _revocation(directory: Path, key_id: str) -> Revocation:
    path = directory / f"{key_id}{REVOKED}"
    data = files.read_trusted(path, max_bytes=LIMITS.key_file_bytes)
    found = _keyfiles.parse_revocation(data, f"revocation {str(path)!r}")
    _check_name(directory, key_id, found.key_id, REVOKED)
    return found


def _check_name(directory: Path, named: str, holds: str, suffix: str) -> None:
    if named != holds:
        raise ConfigError(
            f"cannot use {str(directory / (named + suffix))!r}: it is about {holds}",
            hint="a key file is named by its key id; add keys with hauberk keys trust",
        )


def _check_distinct(directory: Path, keys: Mapping[str, PublicIdentity]) -> None:
    """Check that nobody calls another's key its own (an unknown key share): each key stands in one statement."""
    seen: dict[bytes, str] = {}
    for identity in keys.values():
        for key in (identity.signing, identity.agreement):
            if (other := seen.setdefault(key, identity.key_id)) != identity.key_id:
                raise ConfigError(
                    f"cannot use {str(directory)!r}: {identity.key_id} and {other} share a key",
                    hint="find out whose it is, and remove the other file",
                )

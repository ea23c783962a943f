"""What the commands do, on two directories and a time.

The rules:

1. Nothing is overwritten or removed. A key is revoked by a file beside it, and rotated by another one.
2. A key is trusted by its key id, which the other side told some other way; what a file says of itself is no reason.
3. A key that was revoked here is never trusted again, nor is one that was revoked before it came.
4. A change is made while `Places.locked` is held, by a desk that read under it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal, NamedTuple

from hauberk import files
from hauberk.refusals import ConfigError, Refused
from hauberk_envelope import _keyfiles
from hauberk_envelope._identity import KEY_ID, Identity, PublicIdentity
from hauberk_envelope._keyfiles import PUBLIC, REVOKED, Reason
from hauberk_envelope._trust import Rules, Trust
from hauberk_envelope.keys._places import Places

Whose = Literal["own", "trusted"]
State = Literal["valid", "old", "expired", "not yet valid", "revoked"]
_STATES: Final[dict[str, State]] = {
    "envelope.key_revoked": "revoked",
    "envelope.key_expired": "expired",
    "envelope.key_not_yet_valid": "not yet valid",
}


class Row(NamedTuple):
    """One key."""

    whose: Whose
    identity: PublicIdentity
    state: State
    reason: Reason | None
    """Why it is revoked, if it is."""


class Desk:
    """An agent's own keys, and those that it trusts, as they are now."""

    def __init__(self, places: Places, now: float, *, rotation_days: float) -> None:
        """Read both directories; one that is not there is empty.

        Args:
            places: The directories.
            now: Seconds since 1970.
            rotation_days: From when on a key is old.

        Raises:
            ConfigError: One may be changed by others, or holds what does not hold.
        """
        self.places: Final = places
        self.now: Final = now
        self._own: Final = _keyfiles.read_own(places.own) if os.path.lexists(places.own) else []
        rules = Rules(rotation_days=rotation_days)
        there = os.path.lexists(places.agents)
        self.trust: Final = Trust.read(places.agents, rules=rules) if there else Trust({}, rules=rules)

    def rows(self, words: tuple[str, ...] = ()) -> list[Row]:
        """Return the keys that words name, by agent or key id; all of them where there is no word.

        Raises:
            ConfigError: A word names none.
        """
        own = [self._row("own", identity.public) for identity in self._own]
        rows = own + [self._row("trusted", identity) for identity in self.trust.identities()]
        rows.sort(key=lambda row: (row.whose, row.identity.agent, -row.identity.not_before, row.identity.key_id))
        for word in words:
            if not any(word in _names(row) for row in rows):
                raise _unknown(word)
        return [row for row in rows if not words or any(word in _names(row) for word in words)]

    def generate(self, agent: str, days: int, random: Callable[[int], bytes]) -> tuple[Identity, Path] | None:
        """Make the keys of an agent, unless it has some that count.

        Raises:
            ConfigError: The directory cannot hold them.
            ValueError: The name is none.
        """
        if self._counting(agent):
            return None
        return self._make(agent, days, random)

    def rotate(self, agent: str, days: int, random: Callable[[int], bytes]) -> tuple[Identity, Path]:
        """Make further keys of an agent that has some.

        Raises:
            ConfigError: It has none.
        """
        if not any(identity.agent == agent for identity in self._own):
            raise ConfigError(f"there is no key of {agent!r} here", hint=f"hauberk keys generate {agent}")
        return self._make(agent, days, random)

    def export(self, word: str) -> str:
        """Return the public file of an own key: of an agent, its newest.

        Raises:
            ConfigError: There is none that counts.
        """
        for identity in self._counting(word):
            return _keyfiles.public_text(identity.public)
        raise ConfigError(f"there is no key of {word!r} here that counts", hint=f"hauberk keys generate {word}")

    def known(self, identity: PublicIdentity) -> bool:
        """Whether a key is trusted already.

        Raises:
            ConfigError: It was revoked, shares a key with another, or is one of our own.
        """
        if self.trust.revocation(identity.key_id):
            raise ConfigError(
                f"{identity.key_id} was revoked here", hint="ask its owner for another one (hauberk keys generate)"
            )
        keys = {identity.signing, identity.agreement}
        for other in (*self.trust.identities(), *(own.public for own in self._own)):
            if other == identity and other in self.trust.identities():
                return True
            if keys & {other.signing, other.agreement}:
                raise ConfigError(f"{identity.key_id} and {other.key_id} share a key", hint="find out whose it is")
        return False

    def take(self, identity: PublicIdentity) -> Path:
        """Trust a key.

        Raises:
            ConfigError: As `known`, or the directory cannot hold it.
        """
        path = self.places.agents / f"{identity.key_id}{PUBLIC}"
        if not self.known(identity):
            files.write_new(path, _keyfiles.public_text(identity).encode())
        return path

    def revoke(self, word: str, reason: Reason) -> Path:
        """Say that a key counts no longer here, by its agent or key id; a key id need not be here yet.

        Raises:
            ConfigError: The word names none or several, or it was revoked already.
        """
        found = {word} if KEY_ID.fullmatch(word) else {row.identity.key_id for row in self.rows((word,))}
        if len(found) > 1:
            raise ConfigError(f"{word!r} has {len(found)} keys", hint="name the key id; hauberk keys list has them")
        (key_id,) = found
        if self.trust.revocation(key_id):
            raise ConfigError(f"{key_id} was revoked already")
        path = self.places.agents / f"{key_id}{REVOKED}"
        files.write_new(path, _keyfiles.revocation_text(key_id, now=self.now, reason=reason).encode())
        return path

    def _make(self, agent: str, days: int, random: Callable[[int], bytes]) -> tuple[Identity, Path]:
        identity = Identity.generate(agent, now=self.now, days=days, random=random)
        return identity, _keyfiles.write_secret(self.places.own, identity)

    def _counting(self, word: str) -> list[Identity]:
        """Return the own keys of a word that count, the newest first."""
        counting = {"valid", "old"}
        found = [one for one in self._own if word in {one.agent, one.key_id}]
        found = [one for one in found if self._row("own", one.public).state in counting]
        return sorted(found, key=lambda one: (-one.public.not_before, one.key_id))

    def _row(self, whose: Whose, identity: PublicIdentity) -> Row:
        revocation = self.trust.revocation(identity.key_id)
        state: State = "old" if self.trust.old(identity, self.now) else "valid"
        try:
            self.trust.check(identity, self.now)
        except Refused as exc:
            state = _STATES[exc.code]
        return Row(whose, identity, state, revocation.reason if revocation else None)


def _names(row: Row) -> tuple[str, str]:
    return row.identity.agent, row.identity.key_id


def _unknown(word: str) -> ConfigError:
    return ConfigError(f"there is no key of {word!r} here", hint="hauberk keys list has what there is")

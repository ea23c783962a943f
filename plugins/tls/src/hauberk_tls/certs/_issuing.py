"""Issue and renew certificates where the key of the CA is.

The rules:

1. What is there is kept: no key is ever overwritten by `issue`. Whoever asks for other names than the certificate has
   is told so; it is not kept in silence.
2. `renew` keeps the key and the names unless it is told otherwise. The old certificate counts until it expires: it is
   revoked by `revoke`.
3. The passphrase is asked for before the lock is taken, and only if something is to be signed.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Literal, NamedTuple

from hauberk.refusals import ConfigError
from hauberk_tls.certs import _making, _names, _store
from hauberk_tls.certs._authority import Authority, Order
from hauberk_tls.certs._holding import Held, contents, facts_of, held, lags, mend, replace
from hauberk_tls.certs._limits import LIMITS
from hauberk_tls.certs._making import Algorithm, Key, Source
from hauberk_tls.certs._names import Name
from hauberk_tls.certs._passphrases import Passphrases
from hauberk_tls.certs._pem import Facts
from hauberk_tls.certs._places import Folder, Kind, Places


class Wish(NamedTuple):
    """One certificate that is asked for."""

    kind: Kind
    names: tuple[Name, ...]
    days: int = LIMITS.leaf_days
    algorithm: Algorithm = "p256"

    def folder(self, places: Places) -> Folder:
        """Return where it goes."""
        return places.folder(self.kind, self.names[0].value)


class Change(NamedTuple):
    """How a certificate is renewed."""

    names: tuple[Name, ...] = ()
    """Its further names from now on; none leaves them as they are."""
    new_key: bool = False
    days: int = LIMITS.leaf_days
    algorithm: Algorithm | None = None
    """Of a new key; None is that of the old one."""


class Done(NamedTuple):
    """What became of one certificate."""

    what: Literal["made", "kept", "renewed", "asked", "installed"]
    folder: Folder
    facts: Facts | None


def issue(places: Places, wishes: Sequence[Wish], passphrases: Passphrases, source: Source) -> list[Done]:
    """Make the certificates that are not there yet.

    Raises:
        ConfigError: One is there that is not what is asked for, or the CA cannot be opened.
        OSError: The disk failed.
    """
    done = {wish.folder(places): there(wish, wish.folder(places)) for wish in wishes}
    if None in done.values():
        authority = Authority.open(places, passphrases, source)
        with _store.locked(places):
            missing = [wish for wish in wishes if there(wish, wish.folder(places)) is None]  # another run may be done
            keys = [_making.new_key(wish.algorithm) for wish in missing]
            orders = [
                Order(key.public_key(), wish.kind, wish.names, wish.days)
                for wish, key in zip(missing, keys, strict=True)
            ]
            for wish, key, signed in zip(missing, keys, authority.sign(orders) if orders else [], strict=True):
                folder = wish.folder(places)
                _store.publish(folder.path, contents(signed, key=key))
                done[folder] = Done("made", folder, facts_of(folder, Held((signed,), key)))
    for wish in wishes:
        folder = wish.folder(places)
        done[folder] = done[folder] or there(wish, folder)
        _mend(places, folder)
    return [found for found in done.values() if found]


def renew(
    places: Places, folders: Sequence[Folder], change: Change, passphrases: Passphrases, source: Source
) -> list[Done]:
    """Sign the certificates of folders anew.

    Raises:
        ConfigError: A folder holds none, its key is elsewhere and a new one was asked for, or the key was revoked.
        OSError: The disk failed; those that were not replaced are as they were.
    """
    authority = Authority.open(places, passphrases, source)
    with _store.locked(places):
        found = [(folder, _renewable(folder, change)) for folder in folders]
        keys = [_key(one, change) for _, one in found]
        orders = [
            Order(
                _making.usable((key or one.leaf).public_key(), repr(str(folder.path))),
                folder.kind,
                renamed(folder, facts_of(folder, one), change),
                change.days,
            )
            for (folder, one), key in zip(found, keys, strict=True)
        ]
        done = []
        for (folder, _), key, signed in zip(found, keys, authority.sign(orders), strict=True):
            replace(folder, signed, key=key)
            done.append(Done("renewed", folder, facts_of(folder, Held((signed,), key))))
    return done


def there(wish: Wish, folder: Folder) -> Done | None:
    """Return a certificate that is there already.

    Raises:
        ConfigError: It lacks a name that is asked for, or waits for a CA elsewhere (rule 1).
    """
    found = held(folder)
    if found is None:
        if os.path.lexists(folder.request):
            raise ConfigError(
                f"{wish.names[0].value!r} waits for the answer to {str(folder.request)!r}",
                hint="hauberk certs install NAME FILE, or remove the folder",
            )
        return None
    known = facts_of(folder, found)
    missing = [str(name) for name in wish.names if name not in known.names]
    if missing:
        raise ConfigError(
            f"{wish.names[0].value!r} is there already, without {', '.join(map(repr, missing))}",
            hint=f"hauberk certs renew {wish.names[0].value}, with every --san that it shall have",
        )
    return Done("kept", folder, known)


def _mend(places: Places, folder: Folder) -> None:
    """Write the certificate that is to give away anew, where a command was killed before it did."""
    found = held(folder)
    if found and lags(folder, found):
        with _store.locked(places):
            if (now := held(folder)) and lags(folder, now):
                mend(folder, now)


def renamed(folder: Folder, known: Facts, change: Change) -> tuple[Name, ...]:
    """Return the names of a renewed certificate, each one read as if it were typed."""
    others = change.names or tuple(_names.further(str(name)) for name in known.names)
    return _names.together(_names.main(folder.name), others)


def _renewable(folder: Folder, change: Change) -> Held:
    found = held(folder)
    if found is None:
        raise ConfigError(f"there is no certificate in {str(folder.path)!r}", hint="hauberk certs list")
    if found.key is None and change.new_key:
        raise ConfigError(
            f"the key of {folder.name!r} is elsewhere, so no new one can be made here",
            hint=f"hauberk certs renew {folder.name} --new-key --csr where it is, then renew --from-csr here",
        )
    return found


def _key(found: Held, change: Change) -> Key | None:
    if not change.new_key:
        return found.key
    return _making.new_key(change.algorithm or _making.algorithm_of(found.leaf.public_key()))

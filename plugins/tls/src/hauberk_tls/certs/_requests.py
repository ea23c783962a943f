"""A CA elsewhere: ask it to sign (`request`), sign what was asked (`sign`), take in what came back (`install`).

The rules:

1. The key is made where it is used, and never leaves it.
2. What is signed is what is typed where the CA is: of a request only the key counts, and a request for more names than
   were typed is refused. It came from elsewhere, and whoever wrote it must not choose who they are.
3. What comes back is installed if it is of a key that is here, for the NAME and the purpose, and of the CA in ``ca/``,
   by CAs from link to link.
   Key and certificate then appear in one rename.
4. A key that waits for its certificate is never overwritten.
"""

from __future__ import annotations

import os
from pathlib import Path

from hauberk import files
from hauberk.refusals import ConfigError
from hauberk_tls.certs import _making, _pem, _store
from hauberk_tls.certs._authority import Authority, Order, certificate_of
from hauberk_tls.certs._holding import Held, contents, facts_of, held, replace
from hauberk_tls.certs._issuing import Change, Done, Wish, renamed, there
from hauberk_tls.certs._limits import LIMITS
from hauberk_tls.certs._making import Key, PublicKey, Source
from hauberk_tls.certs._passphrases import Passphrases
from hauberk_tls.certs._places import PRIVATE, PUBLIC, REQUEST, REQUEST_KEY, Folder, Places
from hauberk_tls.certs._store import Content


def ask(places: Places, wish: Wish) -> Done:
    """Make a key and a request for a certificate that is not there yet.

    Raises:
        ConfigError: It is there, and lacks a name that is asked for.
        OSError: The disk failed; there is nothing.
    """
    with _store.locked(places):
        folder = wish.folder(places)
        if os.path.lexists(folder.request):
            return Done("kept", folder, None)
        if found := there(wish, folder):
            return found
        key = _making.new_key(wish.algorithm)
        made = _making.request(key, wish.kind, wish.names)
        asked = Content(REQUEST, _pem.text(made), PUBLIC)
        _store.publish(folder.path, [Content(REQUEST_KEY, _pem.key_text(key), PRIVATE), asked])
        return Done("asked", folder, None)


def ask_again(places: Places, folder: Folder, change: Change) -> Done:
    """Make a request for a certificate that is there, of its key or of a new one (rule 4).

    Raises:
        ConfigError: There is none, or its key is elsewhere.
        OSError: The disk failed.
    """
    with _store.locked(places):
        found = held(folder)
        if found is None or found.key is None:
            raise ConfigError(f"there is no key in {str(folder.path)!r}", hint="go where the key is")
        if os.path.lexists(folder.request):
            return Done("kept", folder, None)
        key = _waiting(folder)
        if key is None and change.new_key:
            key = _making.new_key(change.algorithm or _making.algorithm_of(found.leaf.public_key()))
            files.write_atomic(folder.request_key, _pem.key_text(key), mode=PRIVATE)
        names = renamed(folder, facts_of(folder, found), change)
        made = _making.request(key or found.key, folder.kind, names)
        files.write_atomic(folder.request, _pem.text(made), mode=PUBLIC)
        return Done("asked", folder, None)


def sign(
    places: Places, wish: Wish, file: Path, passphrases: Passphrases, source: Source, *, again: bool = False
) -> Done:
    """Sign the key of a request, for the names that were typed (rule 2).

    Args:
        places: The directory of the CA.
        wish: What was typed.
        file: The request.
        passphrases: Opens the CA.
        source: Time and chance.
        again: Whether it may replace the certificate of another key.

    Raises:
        ConfigError: The request is damaged, or asks for more; or there is a certificate of another key.
        OSError: The disk failed.
    """
    public = _asked(wish, file)
    folder = wish.folder(places)
    if not again and (found := _signed(wish, folder, public)):
        return found
    authority = Authority.open(places, passphrases, source)
    with _store.locked(places):
        if not again and (found := _signed(wish, folder, public)):
            return found
        if os.path.lexists(folder.pair):
            raise ConfigError(
                f"the key of {folder.name!r} is here: {str(folder.pair)!r}", hint="renew it without a request"
            )
        (made,) = authority.sign([Order(public, wish.kind, wish.names, wish.days)])
        if os.path.lexists(folder.path):
            replace(folder, made, key=None)
        else:
            _store.publish(folder.path, contents(made, key=None))
        return Done("renewed" if again else "made", folder, facts_of(folder, Held((made,), None)))


def install(places: Places, folder: Folder, file: Path) -> Done:
    """Take in a certificate that a CA elsewhere has signed (rule 3).

    Raises:
        ConfigError: It is not what was asked for.
        OSError: The disk failed; what was there stands.
    """
    chain = tuple(_pem.certificates(file))
    known = _pem.facts(chain[0], repr(str(file)))
    if folder.kind not in known.kinds or folder.name not in {name.value for name in known.names}:
        raise ConfigError(f"{str(file)!r} is no certificate of the {folder.kind} {folder.name!r}")
    if not _pem.chained(chain, certificate_of(places)):
        raise ConfigError(
            f"{str(file)!r} is not signed by the CA in {str(places.ca)!r}", hint="copy the ca.pem of the CA there first"
        )
    with _store.locked(places):
        key = _key_of(folder, chain[0].public_key())
        replace(folder, *chain, key=key)
        _forget(folder, key)
    return Done("installed", folder, known)


def _asked(wish: Wish, file: Path) -> PublicKey:
    public, names, common = _pem.request(file)
    more = [str(name) for name in names if name not in wish.names]
    if more or common not in {"", wish.names[0].value}:
        raise ConfigError(
            f"the request {str(file)!r} asks for more than was typed: {', '.join(map(repr, more or [common]))[:1000]}",
            hint="if it may have them, type them: --san",
        )
    return public


def _signed(wish: Wish, folder: Folder, public: PublicKey) -> Done | None:
    found = there(wish, folder)
    if found is None:
        return None
    one = held(folder)
    if one is not None and one.leaf.public_key() != public:
        raise ConfigError(
            f"{folder.name!r} is there already, with another key",
            hint=f"hauberk certs renew {folder.name} --from-csr FILE",
        )
    return found


def _waiting(folder: Folder) -> Key | None:
    if not os.path.lexists(folder.request_key):
        return None
    data = files.read_private(folder.request_key, max_bytes=LIMITS.pem_bytes)
    return _pem.key(data, repr(str(folder.request_key)))


def _key_of(folder: Folder, public: object) -> Key:
    found = held(folder)
    for key in (_waiting(folder), found and found.key):
        if key is not None and key.public_key() == public:
            return key
    raise ConfigError(
        f"there is no key in {str(folder.path)!r} for this certificate", hint="is it of the last request?"
    )


def _forget(folder: Folder, key: Key) -> None:
    """Remove the request that was answered, and the copy of its key; one that still waits stays."""
    if os.path.lexists(folder.request) and _pem.request(folder.request)[0] == key.public_key():
        _store.remove(folder.request)
    waiting = _waiting(folder)
    if waiting is not None and waiting.public_key() == key.public_key():
        _store.remove(folder.request_key)

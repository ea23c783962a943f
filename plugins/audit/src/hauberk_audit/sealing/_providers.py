"""Where keys come from: a file, the environment, the keyring of the system, or a package that speaks to a KMS.

The rules:

1. A source is ``SCHEME:REST``. ``file:PATH`` is a key file (`hauberk.keys`). ``env:NAME`` is a variable that holds the
   line of a key file; production refuses it, since an environment is seen by more than its process. In
   ``keyring:SERVICE/USER`` the keyring of the system holds that line.
2. Any other scheme is the name of an entry point in the group ``hauberk.key_providers``: a function that takes REST and
   returns a `KeyProvider`. The three above cannot be replaced. In production the package must be that of a plugin which
   is required, since only those are locked.
3. A provider wraps and unwraps data keys, so a KMS never gives its key away. A key of our own does the same by AES Key
   Wrap (RFC 3394) with a key derived for it, by HKDF with ``info`` ``hauberk/audit-seal/v1``.
4. What a package of somebody else raises or returns is checked, and is an error that names the scheme and says nothing
   of what was raised: that may hold a secret.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol, final

from hauberk import files, keys
from hauberk.refusals import ConfigError, HauberkError, PluginError

GROUP: Final = "hauberk.key_providers"
_SCHEME: Final = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]+):(?P<rest>.+)", re.DOTALL)
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_PURPOSE: Final = "audit-seal"
_ID_CHARS: Final = 256
_WRAPPED_BYTES: Final = 16 * 1024


class KeyProvider(Protocol):
    """What wraps data keys: a key of our own, or a KMS. A package gives one by an entry point (rule 2)."""

    @property
    def key_id(self) -> str:
        """The name of the key: printable ASCII, at most 256 characters, another one for another key."""
        ...

    def wrap(self, data_key: bytes, /) -> bytes:
        """Return a data key (40 bytes) so that only this key opens it: at most 16 KiB, authenticated.

        It is called when a host starts and when a file is begun, in the thread that writes: an answer that takes long
        needs a time limit of its own.
        """
        ...

    def unwrap(self, wrapped: bytes, /) -> bytes:
        """Return the data key that `wrap` was given. Raise any exception if it was changed, or is of another key."""
        ...


@final
class LocalKey:
    """A key that is at hand."""

    __slots__ = ("_kek", "key_id")

    def __init__(self, key: bytes) -> None:
        """Take a key (32 bytes); what wraps is derived from it."""
        self._kek: Final = keys.derive(key, _PURPOSE)
        self.key_id: Final = keys.key_id(key)

    def wrap(self, data_key: bytes, /) -> bytes:
        """Return a data key, wrapped (RFC 3394 section 2.2.1: eight bytes longer)."""
        from cryptography.hazmat.primitives.keywrap import aes_key_wrap

        return aes_key_wrap(self._kek, data_key)

    def unwrap(self, wrapped: bytes, /) -> bytes:
        """Return a data key.

        Raises:
            HauberkError: It was changed, or wrapped with another key.
        """
        from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap

        try:
            return aes_key_unwrap(self._kek, wrapped)
        except (InvalidUnwrap, ValueError):
            raise HauberkError("it was changed, or wrapped with another key") from None


@final
class _Foreign:
    """The provider of a package of somebody else, checked (rule 4)."""

    __slots__ = ("_provider", "_scheme", "key_id")

    def __init__(self, scheme: str, make: Callable[[], Any]) -> None:
        self._scheme: Final = scheme
        self._provider: Final = self._call("start", make)
        found = self._call("name its key", lambda: self._provider.key_id)
        if not (isinstance(found, str) and found.isascii() and found.isprintable() and 0 < len(found) <= _ID_CHARS):
            raise PluginError(f"key provider {scheme!r} has no key_id of 1 to {_ID_CHARS} printable characters")
        self.key_id: Final[str] = found

    def wrap(self, data_key: bytes, /) -> bytes:
        found = self._bytes("wrap a data key", lambda: self._provider.wrap(data_key))
        if data_key in found or not len(data_key) <= len(found) <= _WRAPPED_BYTES:
            raise PluginError(f"key provider {self._scheme!r} returned no wrapped key")
        return found

    def unwrap(self, wrapped: bytes, /) -> bytes:
        return self._bytes("unwrap a data key", lambda: self._provider.unwrap(wrapped))

    def _bytes(self, what: str, call: Callable[[], Any]) -> bytes:
        found = self._call(what, call)
        if not isinstance(found, bytes):
            raise PluginError(f"key provider {self._scheme!r} returned no bytes when it had to {what}")
        return found

    def _call(self, what: str, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except HauberkError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the key is not to be had
            raise PluginError(
                f"key provider {self._scheme!r} failed to {what} ({type(error).__name__})",
                hint="see whether its service answers, and knows this key",
            ) from None


class Sources(NamedTuple):
    """What sources of keys are taken from."""

    resolve: Callable[[Path], Path]
    """Makes a path absolute."""
    production: bool
    variable: Callable[[str], str | None]
    """Returns a variable of the environment."""
    packages: Callable[[], frozenset[str]] = frozenset
    """Returns the distributions that are locked; it is asked in production."""

    def check(self, source: str) -> None:
        """Check what can be said of a source before anything is read.

        Raises:
            ConfigError: It is none, or may not be used here.
        """
        if parse(source)[0] == "env" and self.production:
            raise ConfigError(
                f"key {source!r} is in the environment, which is for development only",
                hint="use file:PATH, keyring:SERVICE/USER, or the provider of a KMS",
            )

    def provider(self, source: str) -> KeyProvider:
        """Return what wraps data keys.

        Raises:
            ConfigError: The key cannot be used.
            PluginError: There is no provider of this scheme, or it fails.
        """
        self.check(source)
        scheme, rest = parse(source)
        if scheme in _RAW:
            return LocalKey(self._raw(scheme, rest))
        return _foreign(scheme, rest, self.packages() if self.production else None)

    def key(self, source: str) -> bytes:
        """Return a key itself (32 bytes), which a KMS does not give away.

        Raises:
            ConfigError: The key cannot be used.
        """
        self.check(source)
        scheme, rest = parse(source)
        if scheme not in _RAW:
            raise _gives_none(source)
        return self._raw(scheme, rest)

    def file(self, source: str) -> Path | None:
        """Return the key file that a source is, if it is one."""
        scheme, rest = parse(source)
        return self.resolve(Path(rest)) if scheme == "file" else None

    def make(self, source: str) -> bytes:
        """Make a key where there is none, and return it.

        Raises:
            ConfigError: There is one, or none can be made there.
        """
        self.check(source)
        path, (scheme, rest) = self.file(source), parse(source)
        if path is not None:
            if not os.path.lexists(path.parent):
                files.private_dir(path.parent)
            return keys.create_key(path, random=os.urandom)
        if scheme == "keyring":
            return _to_keyring(rest)
        raise ConfigError(f"cannot make key {source!r}: only those of file: and keyring: are made here")

    def _raw(self, scheme: str, rest: str) -> bytes:
        if scheme == "file":
            return keys.load_key(self.resolve(Path(rest)))
        if scheme == "keyring":
            return _from_keyring(rest)
        line = self.variable(rest)
        if line is None:
            raise ConfigError(f"key {f'env:{rest}'!r}: there is no variable of this name")
        return keys.parse_key(line.encode(errors="surrogateescape"), f"key {f'env:{rest}'!r}")


_RAW: Final = ("file", "env", "keyring")


@final
@dataclass(frozen=True, slots=True)
class KeySource:
    """A key that is in no file: what stands for its path where one is read."""

    source: str
    sources: Sources = field(compare=False, repr=False)

    def __str__(self) -> str:
        """Return the source."""
        return self.source

    def key(self) -> bytes:
        """Return the key (32 bytes).

        Raises:
            ConfigError: It cannot be used.
        """
        return self.sources.key(self.source)


KeyPlace = Path | KeySource
"""Where a key is."""


def place_of(source: str, sources: Sources) -> KeyPlace:
    """Return where the key of a source is: its path, if it is in a file.

    Raises:
        ConfigError: It is no source, may not be used here, or gives no key away.
    """
    sources.check(source)
    if parse(source)[0] not in _RAW:
        raise _gives_none(source)
    return sources.file(source) or KeySource(source, sources)


def parse(source: str) -> tuple[str, str]:
    """Return scheme and rest of a source.

    Raises:
        ConfigError: It is none.
    """
    found = _SCHEME.fullmatch(source)
    if found is None:
        raise _bad(source, "is no source of a key")
    scheme, rest = found["scheme"], found["rest"]
    if scheme == "env" and not _NAME.match(rest):
        raise _bad(source, "names no variable")
    if scheme == "keyring" and not all(rest.rpartition("/")[::2]):
        raise _bad(source, "names no service and user")
    return scheme, rest


def is_source(text: str) -> bool:
    """Whether a text is a source, and no plain path."""
    return _SCHEME.fullmatch(text) is not None


def _bad(source: str, what: str) -> ConfigError:
    return ConfigError(
        f"key {source!r} {what}",
        hint="write file:PATH, env:NAME, keyring:SERVICE/USER, or SCHEME:… for the provider of a KMS",
    )


def _gives_none(source: str) -> ConfigError:
    return ConfigError(
        f"key {source!r} cannot be used here: a key provider wraps keys, and gives none away",
        hint=f"use {', '.join(f'{name}:' for name in _RAW)}",
    )


def _foreign(scheme: str, rest: str, packages: frozenset[str] | None) -> KeyProvider:
    from importlib.metadata import entry_points

    found = list(entry_points(group=GROUP, name=scheme))
    if not found:
        raise PluginError(
            f"no key provider {scheme!r} is installed",
            hint=f"install the package that brings it (entry-point group {GROUP!r})",
        )
    names = sorted(entry.dist.name if entry.dist else "?" for entry in found)
    if len(found) > 1:
        raise PluginError(
            f"key provider {scheme!r} is declared by {' and '.join(map(repr, names))}",
            hint="uninstall all but one of them",
        )
    if packages is not None and names[0] not in packages:
        raise PluginError(
            f"key provider {scheme!r} is of {names[0]!r}, which is no plugin that is required",
            hint="in production nothing runs that is not locked: name its plugin in plugins.require",
        )
    return _Foreign(scheme, lambda: found[0].load()(rest))


# --- the keyring of the system ---


def _keyring() -> Any:
    try:
        import keyring
    except ImportError:
        raise ConfigError(
            "keys in the keyring of the system need the package 'keyring'", hint="pip install 'hauberk-audit[keyring]'"
        ) from None
    return keyring


def _ask(what: str, rest: str, call: Callable[[], Any]) -> Any:
    try:
        return call()
    except Exception as error:  # noqa: BLE001 - each backend has errors of its own
        raise ConfigError(
            f"cannot {what} key {f'keyring:{rest}'!r}: the keyring of the system failed ({type(error).__name__})",
            hint="see whether it is unlocked, and there for this user",
        ) from None


def _from_keyring(rest: str) -> bytes:
    keyring = _keyring()
    service, _, user = rest.rpartition("/")
    line = _ask("read", rest, lambda: keyring.get_password(service, user))
    if line is None:
        raise ConfigError(f"key {f'keyring:{rest}'!r}: the keyring of the system holds none of this name")
    return keys.parse_key(str(line).encode(errors="surrogateescape"), f"key {f'keyring:{rest}'!r}")


def _to_keyring(rest: str) -> bytes:
    keyring = _keyring()
    service, _, user = rest.rpartition("/")
    if _ask("read", rest, lambda: keyring.get_password(service, user)) is not None:
        raise ConfigError(f"cannot make key {f'keyring:{rest}'!r}: it exists already")
    key = keys.new_key(f"key {f'keyring:{rest}'!r}", random=os.urandom)
    _ask("make", rest, lambda: keyring.set_password(service, user, keys.key_line(key)))
    return _from_keyring(rest)  # a keyring that keeps nothing must not seal a log

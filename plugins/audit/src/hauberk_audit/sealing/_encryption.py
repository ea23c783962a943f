"""``[audit.encryption]``: whether the log is encrypted at rest, and with whose keys."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Final, Literal, NamedTuple

import msgspec

from hauberk.config import Config, Narrow
from hauberk.refusals import ConfigError, HauberkError, PluginError
from hauberk_audit._bounds import BOUNDS
from hauberk_audit._paths import sibling
from hauberk_audit.sealing import _sqlcipher
from hauberk_audit.sealing._providers import KeyProvider, Sources, parse
from hauberk_audit.sealing._recipients import keys_path
from hauberk_audit.sealing._sealer import Sealing, sealing
from hauberk_audit.sealing._sealing import Cipher

_CHECK: Final = bytes.fromhex("530f8afbc74536b9a963b4f1c4cb738b")
"""The tag of nothing under key and nonce of zeros (test case 13 of the specification of GCM)."""


class Encryption(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``[audit.encryption]``."""

    enabled: Annotated[bool, Narrow.OR] = False
    """Whether entries are sealed before they are written."""
    key: str | None = None
    """Where the host's key is: ``"file:PATH"``, ``"env:NAME"`` (in development), ``"keyring:SERVICE/USER"``, or
    ``"SCHEME:…"`` for the provider of a KMS; without it ``audit-seal.key`` in the state directory.
    """
    recipients: Annotated[tuple[str, ...], Narrow.UNION] = ()
    """Further keys that open the log, such as one in escrow."""
    index: Literal["auto", "sqlcipher", "none"] = "auto"
    """Whether queries keep an index of a sealed log, in SQLCipher; ``"auto"`` is where its package is installed. With
    ``"sqlcipher"`` no host starts without it.
    """

    def __post_init__(self) -> None:
        for source in (self.key, *self.recipients):
            if source is not None:
                try:
                    parse(source)
                except ConfigError as error:
                    raise ValueError(f"encryption: {error.message}") from None


class AtHand(NamedTuple):
    """The keys that a command can open logs with."""

    providers: tuple[KeyProvider, ...]
    missing: tuple[str, ...]
    """Why others cannot be used."""


def sources(settings: Config) -> Sources:
    """Return where the keys of a configuration come from."""
    return Sources(
        settings.resolve, settings.production, lambda name: variable(settings, name), lambda: locked(settings)
    )


def locked(settings: Config) -> frozenset[str]:
    """Return the distributions of the plugins that are required, which are those that a lock is about."""
    from hauberk.plugins import installed

    return frozenset(one.distribution for name, one in installed().items() if name in settings.plugins.require)


def variable(settings: Config, name: str) -> str | None:
    """Return a variable of the environment, as a child would get it."""
    return settings.child_env(None, names=(name,)).get(name)


def key_source(encryption: Encryption, settings: Config) -> str:
    """Return where the host's own key is."""
    return encryption.key or f"file:{settings.state_dir / 'audit-seal.key'}"


def check(encryption: Encryption, settings: Config) -> None:
    """Check what can be said of the keys before anything is read.

    Raises:
        ConfigError: One of them may not be used here.
    """
    for source in (encryption.key, *encryption.recipients):
        if source is not None:
            sources(settings).check(source)


def sealing_for(encryption: Encryption, settings: Config, log: Path, chain_key: str) -> Sealing | None:
    """Return what seals a log, or None if it is not encrypted.

    Args:
        encryption: The options.
        settings: The configuration.
        log: The log that is named; a sibling of it may be written.
        chain_key: The id of the key that signs the log.

    Raises:
        ConfigError: A key cannot be used, is missing and may not be made, or is the one that signs.
        PluginError: A provider fails, or what seals or keeps an index does not work here.
    """
    if not encryption.enabled:
        return None
    found = recipients(encryption, settings, log)
    if chain_key in {one.key_id for one in found}:
        raise ConfigError(
            f"key {chain_key} of [audit.encryption] is the one that signs the log: whoever verifies could read it",
            hint="name another key: hauberk audit init --encryption makes one",
        )
    return sealing(found)


def recipients(encryption: Encryption, settings: Config, log: Path) -> tuple[KeyProvider, ...]:
    """Return the keys that the log is sealed for, the host's own first; a key file that is missing may be made.

    That is so in development, where nothing was sealed yet.

    Raises:
        ConfigError: A key cannot be used, or is missing and may not be made.
        PluginError: A provider fails, or what seals or keeps an index does not work here.
    """
    check_backend(encryption)
    found, own = sources(settings), key_source(encryption, settings)
    path = found.file(own)
    if path is not None and not os.path.lexists(path):
        if settings.production or _is_sealed(log):
            raise _missing(path)
        try:
            found.make(own)
        except ConfigError:  # perhaps just made by another process of this host
            if not os.path.lexists(path):
                raise
    return distinct(found.provider(source) for source in (own, *encryption.recipients))


def at_hand(encryption: Encryption, settings: Config) -> AtHand:
    """Return the keys of a configuration that can be used here and now, in order to read."""
    providers, missing = [], []
    for source in (None, *encryption.recipients):
        try:
            providers.append(sources(settings).provider(source or key_source(encryption, settings)))
        except HauberkError as error:
            missing.append(error.message)
    return AtHand(tuple(providers), tuple(missing))


def distinct(providers: Iterable[KeyProvider]) -> tuple[KeyProvider, ...]:
    """Return providers, each key once."""
    found: dict[str, KeyProvider] = {}
    for one in providers:
        found.setdefault(one.key_id, one)
    return tuple(found.values())


def check_backend(encryption: Encryption) -> None:
    """Check that what seals works here, and what keeps the index if one was chosen.

    Raises:
        PluginError: It does not.
    """
    try:
        works = Cipher(bytes(32)).encrypt(bytes(12), b"", b"") == _CHECK
    except ImportError:
        works = False
    if not works:
        raise PluginError(
            "[audit.encryption]: AES-256-GCM of package 'cryptography' does not work here",
            hint="reinstall it: pip install --force-reinstall cryptography",
        )
    if encryption.index == "sqlcipher" and not _sqlcipher.works():
        raise PluginError(
            "[audit.encryption] index: SQLCipher of package 'sqlcipher3' does not work here",
            hint='pip install "hauberk-audit[sqlcipher]", or write index = "none"',
        )


def _is_sealed(log: Path) -> bool:
    """Whether a log, or a sibling of it, has data keys."""
    return any(os.path.lexists(keys_path(sibling(log, number))) for number in range(BOUNDS.siblings + 1))


def _missing(path: Path) -> ConfigError:
    return ConfigError(
        f"key file {str(path)!r} of [audit.encryption] is missing, and none is made at start",
        hint="bring it back; or make one (hauberk audit init --encryption) and keep a copy off this host. A log whose "
        "key is lost nobody can read: put it away by hauberk audit chain reset",
    )

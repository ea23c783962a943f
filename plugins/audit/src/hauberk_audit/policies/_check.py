"""Whether a policy is one that was signed, as the trust stores of this machine say.

The rules:

1. Each store that is there and not ``off`` must accept the policy: another one only narrows. What an ``enforce`` store
   does not accept is refused; what a ``warn`` store does not accept is told.
2. A signature is one by a key of the store that has not expired, under the name that the store has for it, for the
   store's audience, over the bytes that were read and the ``policy.py`` that will be run.
3. The serial is no lower than ``min_serial``, nor than the highest that was accepted in this place; with the same
   serial it is the same policy.
4. Where no serial is remembered, because nothing was accepted yet or the state is gone, nothing says how old a policy
   may be: it is not accepted, until somebody says from which serial on (``hauberk policy serial --at-least``).
5. What is remembered lies where the store says, never where the policy says: an older policy could name an older state.
6. A policy that is not there has no signature. So it is with the file that somebody took away.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

import msgspec

from hauberk import files
from hauberk.config import Config
from hauberk.refusals import ConfigError, HauberkError
from hauberk.signatures import Signed
from hauberk_audit.policies import _signing
from hauberk_audit.policies._history import Accepted, History, behind, content_of
from hauberk_audit.policies._limits import LIMITS
from hauberk_audit.policies._rows import place_of
from hauberk_audit.policies._signing import Signature
from hauberk_audit.policies._store import Store


def check(config: Config, policy_file: str, stores: Sequence[Path], now: float) -> Signed | None:
    """Return what the trust stores say of a policy; None where each of them is ``off``.

    Args:
        config: The policy as it was read.
        policy_file: The version of its ``policy.py``, empty where it has none.
        stores: The trust stores that are there.
        now: Seconds since 1970.

    Raises:
        ConfigError: A store that enforces does not accept it, or a store cannot be read.
    """
    asked = [store for store in map(Store, stores) if store.settings.mode != "off"]
    if not asked:
        return None
    fault, found = "", None
    signature = _read(config)  # once, as the policy was
    for store in asked:
        try:
            found = _accepted(signature, config, policy_file, store, now)
        except HauberkError as error:
            if store.settings.mode == "enforce":
                raise
            fault = fault or error.message
    signed = Signed(enforced=any(store.settings.mode == "enforce" for store in asked), fault=fault)
    if found is None:
        return signed
    return msgspec.structs.replace(signed, signer=found.signer, key_id=found.key_id, serial=found.serial)


def _accepted(found: Signature | HauberkError, config: Config, policy_file: str, store: Store, now: float) -> Signature:
    """Return the signature of a policy that a store accepts.

    Raises:
        HauberkError: It does not.
    """
    if isinstance(found, HauberkError):
        raise found
    path = signature_of(config.path or Path())
    _check_key(found, path, store, now)
    if found.policy_version != config.version:
        raise ConfigError(
            f"{path}: it is the signature of another policy: {config.name} was changed, or is not the one",
            hint="sign what is there now with a higher serial, or put back what was signed",
        )
    if found.policy_file != policy_file:
        raise ConfigError(
            f"{path}: it is not the signature of this policy.py", hint="sign the policy again, with a higher serial"
        )
    if found.audience != store.settings.audience:
        raise ConfigError(
            f"{path}: it is for {found.audience!r}, and the trust store is of {store.settings.audience!r}",
            hint="hauberk policy sign --audience says for whom",
        )
    _check_serial(found, config, store)
    return found


def signature_of(path: Path) -> Path:
    """Return where the signature of a policy is."""
    return path.with_name(path.name + _signing.SUFFIX)


def _read(config: Config) -> Signature | HauberkError:
    """Return the signature of a policy, or why there is none."""
    if config.path is None:
        return ConfigError(
            f"there is no policy {str(config.place)!r}, and it has to be a signed one",
            hint="put the policy and its signature back",
        )
    path = signature_of(config.path)
    if not os.path.lexists(path):
        return ConfigError(
            f"{config.name} is not signed: there is no {str(path)!r}",
            hint="hauberk policy sign makes it, with a key that the trust store knows",
        )
    try:
        return _signing.parse(files.read_judged(path, max_bytes=LIMITS.signature)[0], str(path))
    except HauberkError as error:
        return error


def _check_key(found: Signature, path: Path, store: Store, now: float) -> None:
    key = store.keys().get(found.key_id)
    if key is None:
        raise ConfigError(
            f"{path}: it was signed with key {found.key_id[:16]}…, which trust store {str(store.path)!r} does not know",
            hint="sign it with one that it knows",
        )
    if key.expires_at.timestamp() <= now:
        raise ConfigError(
            f"{path}: key {found.key_id[:16]}… of {key.name!r} expired at {key.expires_at.isoformat()}",
            hint="sign the policy with another key, or renew the file of this one in the trust store",
        )
    if found.signer != key.name:
        raise ConfigError(
            f"{path}: it calls its signer {found.signer!r}, and the trust store calls the key {key.name!r}",
            hint="hauberk policy sign --signer says the name",
        )
    if not _signing.holds(key.raw, found):
        raise ConfigError(f"{path}: the signature is wrong", hint="it was changed after it was made; sign again")


def _check_serial(found: Signature, config: Config, store: Store) -> None:
    if config.state_dir != store.state_dir:
        raise ConfigError(
            f"{config.name}: its state directory is {str(config.state_dir)!r}, and that of trust store "
            f"{str(store.path)!r} is {str(store.state_dir)!r}",
            hint="write state_dir into store.toml: serials are remembered where the policy cannot say",
        )
    if found.serial < store.settings.min_serial:
        raise ConfigError(
            f"{config.name}: its serial is {found.serial}, and the trust store takes none below "
            f"{store.settings.min_serial}",
            hint="an older policy was put back; if it is meant, sign it with a higher serial",
        )
    known = History(config.state_dir).serial(place_of(config))
    if known is None:
        raise ConfigError(
            f"{config.name}: nobody knows which serial was the last: none was accepted here yet, or the state is gone",
            hint=f"if this policy is the newest: hauberk policy serial --at-least {found.serial} "
            f"--config {shlex.quote(str(config.path))}",
        )
    new = Accepted(found.serial, content_of(found.policy_version, found.policy_file))
    if (fault := behind(known, new)) is not None:
        raise ConfigError(
            f"{config.name}: {fault}",
            hint="an older policy was put back; if it is meant, sign it with a higher serial",
        )

"""Key files: what an agent keeps to itself, what it gives to others, and what says that a key counts no longer.

All three are TOML, a few lines that a person can read and compare. One file holds one thing, under a name that says
which: ``<key id>.key`` is secret (mode 0600), ``<key id>.toml`` is public, ``<key id>.revoked`` is a revocation. A file
whose content has another key id than its name is refused, and so is a member that is unknown, missing or written in a
second way: bytes are base64url without padding (RFC 4648 section 5), times are whole seconds of UTC (RFC 3339), secrets
are lines of `hauberk.keys`. A file is read from the one descriptor that was checked (`hauberk.files`).
"""

from __future__ import annotations

import base64
import binascii
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal, TypeVar

import msgspec

from hauberk import files, keys
from hauberk.refusals import ConfigError, Refused
from hauberk_envelope._identity import KEY_ID, Identity, PublicIdentity
from hauberk_envelope._limits import LIMITS

SECRET: Final = ".key"  # noqa: S105 - a suffix
PUBLIC: Final = ".toml"
REVOKED: Final = ".revoked"
VERSION: Final = 1
_TIME: Final = "%Y-%m-%dT%H:%M:%SZ"
_T = TypeVar("_T")

Reason = Literal["superseded", "retired", "compromised"]
"""Why a key counts no longer. ``compromised``: somebody else may have it, so nothing it ever signed counts either."""


class Revocation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A key that counts no longer."""

    version: Literal[1]
    key_id: str
    revoked: str
    """When (RFC 3339)."""
    reason: Reason


class _Public(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: Literal[1]
    agent: str
    key_id: str
    signing: str
    agreement: str
    not_before: str
    not_after: str
    signature: str


class _Secret(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: Literal[1]
    agent: str
    key_id: str
    signing_secret: str
    agreement_secret: str
    not_before: str
    not_after: str


def public_text(identity: PublicIdentity) -> str:
    """Return the public file of an identity."""
    return _written(
        "the public key of an agent: hauberk keys trust FILE",
        agent=identity.agent,
        key_id=identity.key_id,
        signing=_base64(identity.signing),
        agreement=_base64(identity.agreement),
        not_before=time_text(identity.not_before),
        not_after=time_text(identity.not_after),
        signature=_base64(identity.signature),
    )


def parse_public(data: bytes, where: str) -> PublicIdentity:
    """Return what a public file says, which is checked: the form, the keys, the signature, the key id.

    Args:
        data: The file.
        where: Where it is from, as an error says it.

    Raises:
        ConfigError: It is no public file, or it does not hold.
    """
    found = _parsed(data, _Public, where)
    try:
        identity = PublicIdentity.of(
            agent=found.agent,
            signing=_bytes(found.signing),
            agreement=_bytes(found.agreement),
            not_before=parse_time(found.not_before),
            not_after=parse_time(found.not_after),
            signature=_bytes(found.signature),
        )
    except Refused:
        raise _bad(where, "its signature does not hold") from None
    except ValueError as exc:
        raise _bad(where, str(exc)) from None
    if identity.key_id != found.key_id:
        raise _bad(where, "its key id is not the one of its keys")
    return identity


def read_public(path: Path) -> PublicIdentity:
    """Return what a public file of any name says.

    Raises:
        ConfigError: The file may be changed by others, or does not hold.
    """
    return parse_public(files.read_trusted(path, max_bytes=LIMITS.key_file_bytes), f"public key {str(path)!r}")


def write_secret(directory: Path, identity: Identity) -> Path:
    """Write the secret file of an identity, which must not exist yet, and return its path.

    Raises:
        ConfigError: It exists, or the directory cannot hold a private file.
    """
    signing, agreement = identity.secrets()
    public = identity.public
    text = _written(
        "the secret keys of an agent: give this file to nobody",
        agent=public.agent,
        key_id=public.key_id,
        signing_secret=keys.key_line(signing),
        agreement_secret=keys.key_line(agreement),
        not_before=time_text(public.not_before),
        not_after=time_text(public.not_after),
    )
    path = directory / f"{public.key_id}{SECRET}"
    files.write_new(path, text.encode())
    return path


def read_secret(path: Path) -> Identity:
    """Return the identity of a secret file of any name.

    Raises:
        ConfigError: The file is not private, or does not hold.
    """
    where = f"secret key {str(path)!r}"
    found = _parsed(files.read_private(path, max_bytes=LIMITS.key_file_bytes), _Secret, where)
    try:
        identity = Identity(
            agent=found.agent,
            signing=keys.parse_key(found.signing_secret.encode(), where),
            agreement=keys.parse_key(found.agreement_secret.encode(), where),
            not_before=parse_time(found.not_before),
            not_after=parse_time(found.not_after),
        )
    except ValueError as exc:
        raise _bad(where, str(exc)) from None
    if identity.key_id != found.key_id:
        raise _bad(where, "its key id is not the one of its keys")
    return identity


def read_own(directory: Path, agent: str | None = None) -> list[Identity]:
    """Return the identities whose secret files are in a directory, the newest first: of one agent, or of all.

    Raises:
        ConfigError: It may be changed by others, holds files of another kind, or one does not hold.
    """
    listed = names(directory)
    for suffix in (PUBLIC, REVOKED):
        if listed[suffix]:
            raise ConfigError(
                f"cannot use {str(directory)!r}: it holds {listed[suffix][0]}{suffix}",
                hint="it is for own keys; hauberk keys trust puts those of others beside it",
            )
    found = [(key_id, read_secret(directory / f"{key_id}{SECRET}")) for key_id in listed[SECRET]]
    for key_id, identity in found:
        if identity.key_id != key_id:
            raise ConfigError(f"cannot use {str(directory / (key_id + SECRET))!r}: it is about {identity.key_id}")
    kept = [identity for _, identity in found if agent in (None, identity.agent)]
    return sorted(kept, key=lambda identity: (-identity.public.not_before, identity.key_id))


def revocation_text(key_id: str, *, now: float, reason: Reason) -> str:
    """Return the file that says that a key counts no longer."""
    return _written("a key that counts no longer", key_id=key_id, revoked=time_text(now), reason=reason)


def parse_revocation(data: bytes, where: str) -> Revocation:
    """Return what a revocation says.

    Raises:
        ConfigError: It is none.
    """
    found = _parsed(data, Revocation, where)
    try:
        parse_time(found.revoked)
    except ValueError as exc:
        raise _bad(where, str(exc)) from None
    if not KEY_ID.fullmatch(found.key_id):
        raise _bad(where, "key_id is none")
    return found


def time_text(seconds: float) -> str:
    """Return a time in whole seconds, as key files have it."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime(_TIME)


def parse_time(text: str) -> float:
    """Return the seconds since 1970 of a time in a key file.

    Raises:
        ValueError: It is written in another way.
    """
    found = datetime.strptime(text, _TIME).replace(tzinfo=UTC).timestamp()
    if time_text(found) != text:
        raise ValueError("a time is written as 2026-01-31T00:00:00Z")
    return found


def _written(comment: str, **members: str) -> str:
    """Return the lines of a file. No member can hold a quote or a backslash: names, base64, times and key ids."""
    lines = [f"# {comment}", f"version = {VERSION}", *(f'{name} = "{value}"' for name, value in members.items())]
    return "\n".join(lines) + "\n"


def _parsed(data: bytes, kind: type[_T], where: str) -> _T:
    try:
        return msgspec.convert(tomllib.loads(data.decode()), kind)
    except msgspec.ValidationError as exc:
        raise _bad(where, str(exc)) from None
    except ValueError:  # of TOML, or of UTF-8; what they say quotes the file
        raise _bad(where, "it is no TOML") from None


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars="-_", validate=True)
    except binascii.Error:
        raise ValueError("bytes are base64url without padding") from None
    if _base64(data) != text:  # one text for one value
        raise ValueError("bytes are base64url without padding")
    return data


def _bad(where: str, what: str) -> ConfigError:
    return ConfigError(f"cannot use {where}: {what}", hint="ask its owner for it again (hauberk keys export)")


def names(directory: Path) -> dict[str, list[str]]:
    """Return the files of a directory by their kind: ``{suffix: [key id, …]}``, hidden files left out.

    Raises:
        ConfigError: The directory is not trusted (`hauberk.files.list_trusted`), holds more files than it may, or a
            file of another kind: a revocation whose name is misspelt would revoke nothing.
    """
    found: dict[str, list[str]] = {SECRET: [], PUBLIC: [], REVOKED: []}
    listed = [name for name in files.list_trusted(directory) if not name.startswith(".")]
    if len(listed) > LIMITS.keys:
        raise ConfigError(f"cannot use {str(directory)!r}: it holds over {LIMITS.keys} files")
    for name in listed:
        key_id, dot, suffix = name.partition(".")
        if dot + suffix not in found or not KEY_ID.fullmatch(key_id):
            raise ConfigError(
                f"cannot use {str(directory)!r}: it holds {name[: LIMITS.agent_chars]!r}, which is no key file",
                hint="a key file is named <key id>.toml, .revoked or .key; keep others elsewhere",
            )
        found[dot + suffix].append(key_id)
    return found

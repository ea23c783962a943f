"""The lock: which packages a production host may run, and what is in their files.

The rules:

1. The file is ``hauberk-plugins.lock``, beside the configuration file and nowhere else. It is TOML, sorted, and written
   by ``hauberk plugins lock`` alone, so that a change of it can be reviewed as a diff.
2. It names the core and each plugin of ``plugins.require`` that a package brings: distribution, version, and one digest
   of the files. It holds the SHA-256 of the ``policy.py`` that ``plugins.policy`` names.
3. The digest is over what the wheel brought, as its RECORD says: so it is the same on every machine, whoever installed
   the wheel and where. A package that has no such RECORD, as one that is installed editable, has a digest over its
   files, under another key: one never stands for the other.
4. What is locked and what is there are the same, or the host does not start: one missing, one extra, one changed.

How packages are read is `hauberk._installed`; here nothing is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import msgspec

from hauberk._document import parse as parse_toml
from hauberk._options import Decoder, quoted
from hauberk.refusals import ConfigError

FILE_NAME: Final = "hauberk-plugins.lock"
CORE: Final = "hauberk"
"""What the core is called among the plugins; no plugin can be, as it is no word of an entry point."""
POLICY: Final = "policy"
_HEAD: Final = "# Written by `hauberk plugins lock`: in production nothing else starts. Review each change.\n"
_RELOCK: Final = "hauberk plugins lock writes a new one"


class Package(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One installed distribution; ``record`` and ``editable`` are ``sha256:…``, and one of them is there."""

    distribution: str
    version: str
    record: str = ""
    """Over what RECORD says that the wheel brought."""
    editable: str = ""
    """Over the files themselves."""

    def __post_init__(self) -> None:
        if bool(self.record) == bool(self.editable):
            raise ValueError("expected one of record and editable")


class Lock(msgspec.Struct, frozen=True):
    """What is locked, or what is there."""

    core: Package
    plugins: Mapping[str, Package]
    policy: str = ""
    """``sha256:…`` of the local policy; empty where there is none."""


class Difference(NamedTuple):
    """One way in which what is there is not what is locked."""

    name: str
    """The plugin, ``policy``, or ``hauberk``."""
    text: str


def digest(rows: Iterable[tuple[str, str]]) -> str:
    """Return the digest of rows of path and hash, in whatever order they come."""
    lines = sorted(f"{path}\0{value}\n" for path, value in rows)
    return f"sha256:{hashlib.sha256(''.join(lines).encode('utf-8', 'surrogateescape')).hexdigest()}"


# --- the file ---


def render(lock: Lock) -> bytes:
    """Return the lock as text."""
    parts = [_HEAD, "format = 1\n", _table("core", lock.core)]
    parts += [_table(f"plugins.{quoted(name)}", lock.plugins[name]) for name in sorted(lock.plugins)]
    if lock.policy:
        parts.append(f"\n[policy]\nfile = {_string(lock.policy)}\n")
    return "".join(parts).encode()


def _table(name: str, package: Package) -> str:
    lines = [f"{key} = {_string(value)}\n" for key, value in msgspec.to_builtins(package).items()]
    return "".join((f"\n[{name}]\n", *lines))


def _string(value: str) -> str:
    return msgspec.json.encode(value).decode().replace("\x7f", "\\u007f")


class _Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    file: str


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: Literal[1]
    core: dict[str, Any]
    plugins: dict[str, dict[str, Any]] = {}
    policy: dict[str, Any] = {}


def parse(data: bytes, name: str) -> Lock:
    """Read a lock.

    Args:
        data: The bytes of the file.
        name: Its path, for errors.

    Raises:
        ConfigError: It is no lock, or one of another format.
    """
    decoder = Decoder(name, Path)
    try:
        top: _File = _decoded(decoder, "", parse_toml(data, name), _File)
        plugins = {
            word: _decoded(decoder, f"[plugins.{quoted(word)}]", table, Package) for word, table in top.plugins.items()
        }
        policy = _decoded(decoder, "[policy]", top.policy, _Policy).file if top.policy else ""
        return Lock(_decoded(decoder, "[core]", top.core, Package), plugins, policy)
    except ConfigError as error:
        raise ConfigError(error.message, hint=error.hint or _RELOCK) from None


def _decoded(decoder: Decoder, where: str, table: dict[str, Any], kind: type[Any]) -> Any:
    decoder.check(where, table, kind, whole=True)
    return decoder.decode(where, table, kind)


# --- what has changed ---


def differences(locked: Lock, there: Lock) -> list[Difference]:
    """Return how what is there is not what is locked, the core first, then by name."""
    found = list(_changes(CORE, locked.core, there.core))
    for name in sorted({*locked.plugins, *there.plugins}):
        found += _changes(name, locked.plugins.get(name), there.plugins.get(name))
    if locked.policy != there.policy:
        found.append(Difference(POLICY, _policy_change(locked.policy, there.policy)))
    return found


def _changes(name: str, locked: Package | None, there: Package | None) -> Iterator[Difference]:
    if locked is None:
        yield Difference(name, "is required and not locked")
    elif there is None:
        yield Difference(name, "is locked and no package that is required brings it")
    elif locked != there:
        texts = [
            f"{key} {_short(getattr(locked, key))} is locked, {_short(getattr(there, key))} is installed"
            for key in Package.__struct_fields__
            if getattr(locked, key) != getattr(there, key)
        ]
        yield Difference(name, "; ".join(texts))


def _policy_change(locked: str, there: str) -> str:
    if not locked:
        return "is named in plugins.policy and not locked"
    if not there:
        return "is locked and not named in plugins.policy"
    return f"{_short(locked)} is locked, the file is {_short(there)}"


def _short(value: str) -> str:
    """Return a value for people: of a digest as much as tells it from another."""
    if not value:
        return "none"
    return f"{value[:19]}…" if value.startswith("sha256:") else repr(value)

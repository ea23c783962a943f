"""A trust store: who may sign policies on this machine, and whether somebody has to.

The rules:

1. It is a directory of the operator's (`hauberk.signatures`): the owner is root or the user that runs the host, and
   nobody else may write in it, or in its files, or swap it. A symbolic link is no store and no file of one.
2. ``store.toml`` holds the mode and what else a policy must not say of itself. Where it is missing, the mode is
   ``enforce``: taking it away makes nothing weaker.
3. Each other file ``*.toml`` is one public key, with a name and the time from which it is not believed any more.
4. A store that cannot be read, or says something that nothing reads, is an error, in each mode that it might have.
"""

from __future__ import annotations

import datetime as dt
import tomllib
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec

from hauberk import files, signatures
from hauberk.refusals import ConfigError
from hauberk_audit.policies._limits import LIMITS
from hauberk_audit.policies._signing import Hex32, Name, key_id

SETTINGS: Final = "store.toml"
Mode = Literal["enforce", "warn", "off"]
T = TypeVar("T")


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``store.toml``."""

    mode: Mode = "enforce"
    audience: Annotated[str, msgspec.Meta(max_length=LIMITS.name)] = ""
    """What signatures must say whom they are for: keys that sign for several fleets need one."""
    min_serial: Annotated[int, msgspec.Meta(ge=0, le=LIMITS.serial)] = 0
    """No policy of a lower serial is accepted, whatever is remembered."""
    state_dir: str = ""
    """The state directory, where serials are remembered; without it the user's own."""


class Key(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of one public key."""

    name: Name
    """Whose it is."""
    public_key: Hex32
    """32 bytes in hexadecimal."""
    expires_at: Annotated[dt.datetime, msgspec.Meta(tz=True)]

    @property
    def raw(self) -> bytes:
        """The 32 bytes."""
        return bytes.fromhex(self.public_key)


class Store:
    """One trust store. Its settings are read when it is made, its keys when somebody asks for one."""

    def __init__(self, path: Path) -> None:
        """Read the settings.

        Raises:
            ConfigError: The store breaks a rule of this module.
        """
        self.path: Final = path
        self._names: Final = files.list_trusted(path)
        self.settings: Final = _read(path / SETTINGS, Settings) if SETTINGS in self._names else Settings()
        if self.settings.state_dir and not Path(self.settings.state_dir).is_absolute():
            raise ConfigError(f"{path / SETTINGS}: state_dir is not absolute", hint="write the whole path")

    @property
    def state_dir(self) -> Path | None:
        """Where the state has to be; None where the system has no home for the user and nothing is said."""
        return Path(self.settings.state_dir) if self.settings.state_dir else signatures.state_dir()

    def keys(self) -> dict[str, Key]:
        """Return the keys by id.

        Raises:
            ConfigError: A file breaks a rule of this module, or two are of one key.
        """
        names = [name for name in self._names if _is_key(name)]
        if len(names) > LIMITS.keys:
            raise ConfigError(f"trust store {str(self.path)!r} holds more than {LIMITS.keys} keys")
        found: dict[str, Key] = {}
        for name in names:
            key = _read(self.path / name, Key)
            if found.setdefault(key_id(key.raw), key) is not key:
                raise ConfigError(f"{self.path / name}: this key is there twice", hint="remove one of the two files")
        return found


def _is_key(name: str) -> bool:
    return name.endswith(".toml") and name != SETTINGS and not name.startswith(".")


def _read(path: Path, kind: type[T]) -> T:
    try:
        table: Any = tomllib.loads(files.read_trusted(path, max_bytes=LIMITS.key).decode())
        return msgspec.convert(table, kind)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ConfigError(f"{path}: {error}", hint="see what a trust store holds: docs/policy-history.md") from None


def key_file(name: str, public: bytes, expires_at: dt.datetime) -> bytes:
    """Return the file of a public key, for a trust store."""
    quoted = msgspec.json.encode(name).decode()
    return f'name = {quoted}\npublic_key = "{public.hex()}"\nexpires_at = {expires_at:%Y-%m-%dT%H:%M:%SZ}\n'.encode()

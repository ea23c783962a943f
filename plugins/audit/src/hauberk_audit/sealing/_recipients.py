"""The data keys of a log, wrapped: a file beside it, ``audit.jsonl.keys``.

The rules:

1. It is one JSON object: ``{"format":"hauberk-audit-keys/1","files":[…]}``. Each of ``files`` is a data key: its name
   ``file``, the ``number`` of the file of the log that was written with it (from 1), and ``keys``, a wrapped copy for
   each recipient: ``key_id`` and ``wrapped`` (base64url without padding).
2. What is wrapped is 40 bytes: the eight of the name, and the data key. A copy that was put in the place of another one
   does not open as it.
3. A data key is on the disk, wrapped, before the first line that is sealed with it. The file is private, and replaced
   whole: after a crash there is the old one or the new one.
4. What is there and cannot be read is an error. No new key is made in its place: what was sealed with the old one is
   still there, and whoever gets it back must not find it overwritten.
5. ``rekeying`` is there from the first step of a change of the key until the log says that it was changed
   (`sealing._rekey`).

All this is in no line of the log, so a change of the key changes nothing that the chain signs. Any one of the
recipients' keys opens the log; without them all it is lost.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec.structs import replace

from hauberk import files, keys
from hauberk.refusals import ConfigError, HauberkError, PluginError
from hauberk_audit._bounds import BOUNDS
from hauberk_audit.sealing._providers import KeyProvider
from hauberk_audit.sealing._sealing import DataKey

FORMAT: Final = "hauberk-audit-keys/1"
_NAME_BYTES: Final = 8
_AGAIN: Final = "bring back a copy of the data keys, which stand beside the log"

Random = Callable[[int], bytes]


class Wrapped(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A data key for one recipient."""

    key_id: str
    wrapped: str


class FileKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The data key of one file."""

    file: Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{16}\Z")]
    number: Annotated[int, msgspec.Meta(ge=1)]
    keys: Annotated[tuple[Wrapped, ...], msgspec.Meta(min_length=1)]

    @property
    def key_ids(self) -> frozenset[str]:
        """Whose keys open it."""
        return frozenset(one.key_id for one in self.keys)


class Rekeying(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A change of the key that the log does not know of yet."""

    old: str
    new: str


class KeyFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """All data keys of one log, the oldest first."""

    format: Literal["hauberk-audit-keys/1"]
    files: tuple[FileKey, ...] = ()
    rekeying: Rekeying | None = None
    index: int = 0
    """The place of the data key from which the index has its key: the first that no key wrapped which is gone."""


EMPTY: Final = KeyFile(FORMAT)


def keys_path(log: Path) -> Path:
    """Return where the data keys of a log are."""
    return log.with_name(f"{log.name}.keys")


def read(path: Path) -> KeyFile | None:
    """Return what is in a file of data keys, or None if there is no file.

    Raises:
        ConfigError: It is not private, or damaged.
    """
    if not path.is_symlink() and not path.exists():
        return None
    data = files.read_private(path, max_bytes=BOUNDS.keys)
    try:
        found = msgspec.json.decode(data, type=KeyFile)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise damaged(path, "it is no list of data keys") from None
    if len({one.file for one in found.files}) < len(found.files):
        raise damaged(path, "two data keys have one name")
    return found


def write(path: Path, found: KeyFile) -> None:
    """Replace a file of data keys, whole and durably.

    Raises:
        ConfigError: Its directory cannot hold a private file, or there are too many keys.
        OSError: The disk failed; the old file stands.
    """
    data = msgspec.json.encode(found)
    if len(data) > BOUNDS.keys:
        raise ConfigError(
            f"cannot keep more data keys in {str(path)!r}: it would be larger than {BOUNDS.keys} bytes",
            hint=f"begin a new log: {_reset(path)}",
        )
    files.write_atomic(path, data)


def damaged(path: Path, why: str) -> ConfigError:
    """Return the error for data keys that cannot be used."""
    return ConfigError(
        f"cannot use data keys {str(path)!r}: {why}",
        hint="bring back a copy of the file; without one, what was sealed with them is lost: keep the log, and begin a "
        f"new one: {_reset(path)}",
    )


def _reset(path: Path) -> str:
    import shlex  # only for an error

    return f"hauberk audit chain reset {shlex.quote(str(path.with_suffix('')))} --reason '…'"


def new_key(number: int, recipients: Sequence[KeyProvider], random: Random) -> tuple[DataKey, FileKey]:
    """Make a data key for a file, and wrap it for each recipient.

    Raises:
        HauberkError: It cannot be wrapped, or the first recipient cannot unwrap it.
    """
    name, secret = random(_NAME_BYTES), random(keys.KEY_BYTES)
    made = DataKey(name.hex(), secret)
    entry = FileKey(made.file, number, tuple(_wrapped(one, name + secret) for one in recipients))
    if unwrap(entry, recipients[:1]) != made:  # before anything is sealed with it
        raise PluginError(f"key {recipients[0].key_id!r} does not give back what it wrapped")
    return made, entry


def unwrap(entry: FileKey, providers: Iterable[KeyProvider]) -> DataKey:
    """Return a data key, opened by the first of these keys that can.

    Raises:
        ConfigError: It was wrapped for none of them, no copy for them is whole, or no provider answers.
    """
    at_hand = {one.key_id: one for one in providers}
    failed: ConfigError | None = None
    for copy in entry.keys:
        if (provider := at_hand.get(copy.key_id)) is not None:
            try:
                return _opened(entry.file, copy, provider)
            except ConfigError as error:
                failed = failed or error
    raise failed or ConfigError(
        f"data key {entry.file} is wrapped for key {' and '.join(one.key_id for one in entry.keys)}, "
        f"and at hand is {' and '.join(at_hand) or 'none'}",
        hint="name the key in [audit.encryption]; where a change of the key was interrupted, end it: "
        "hauberk audit rekey --new-key …",
    )


def rewrapped(entry: FileKey, data: DataKey, recipients: Sequence[KeyProvider]) -> FileKey:
    """Return a data key, wrapped for these recipients and no others.

    Raises:
        HauberkError: It cannot be wrapped, or the first of them cannot unwrap it.
    """
    plain = bytes.fromhex(data.file) + data.secret
    made = replace(entry, keys=tuple(_wrapped(one, plain) for one in recipients))
    if unwrap(made, recipients[:1]) != data:
        raise PluginError(f"key {recipients[0].key_id!r} does not give back what it wrapped")
    return made


def _wrapped(provider: KeyProvider, plain: bytes) -> Wrapped:
    wrapped = base64.urlsafe_b64encode(provider.wrap(plain)).rstrip(b"=").decode()
    return Wrapped(provider.key_id, wrapped)


def _opened(file: str, copy: Wrapped, provider: KeyProvider) -> DataKey:
    text = copy.wrapped
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        plain = provider.unwrap(data)
    except ValueError:
        raise ConfigError(f"data key {file} is damaged: it is no base64url", hint=_AGAIN) from None
    except HauberkError as error:
        raise ConfigError(f"data key {file} does not open: {error.message}", hint=error.hint or _AGAIN) from None
    if len(plain) != _NAME_BYTES + keys.KEY_BYTES or plain[:_NAME_BYTES].hex() != file:
        raise ConfigError(f"data key {file} is damaged: it is the key of something else", hint=_AGAIN)
    return DataKey(file, plain[_NAME_BYTES:])

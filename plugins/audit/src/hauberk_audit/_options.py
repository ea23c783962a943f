"""The options of ``[audit]``, where log and key are, and how the key comes to be."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec

from hauberk import config, files, keys
from hauberk.refusals import ConfigError
from hauberk_audit.checkpoints._checkpoint_options import Checkpoints
from hauberk_audit.sealing._encryption import Encryption, sources
from hauberk_audit.sealing._providers import KeyPlace, KeySource, place_of
from hauberk_audit.writing._chain import Chain
from hauberk_audit.writing._custody import Signing, load
from hauberk_audit.writing._rotation import Rotation
from hauberk_audit.writing._writer import Durability

Required = bool | Literal["both"]
_LOOSE_TO_STRICT: Final = (False, True, "both")


def _stricter(general: Required, specific: Required) -> Required:
    return max(general, specific, key=_LOOSE_TO_STRICT.index)


class Options(config.Options, frozen=True, kw_only=True):
    """``[audit]``."""

    path: Path | None = None
    """The log; without it, ``audit/audit.jsonl`` in the state directory."""
    key_file: Path | None = None
    """The key of the chain; without it, ``audit.key`` in the state directory."""
    key: str | None = None
    """The same where it is in no file: ``"env:NAME"`` (in development), or ``"keyring:SERVICE/USER"``; it cannot go
    forward.
    """
    required: Annotated[Required | None, config.Narrow.by(_stricter)] = None
    """Whether what cannot be recorded does not pass: decisions, or with ``"both"`` results too. In production: true."""
    durability: Annotated[Durability | None, config.Narrow.strictest("event", "group", "interval")] = None
    """When an entry is on the disk: ``"group"`` before its message goes on, all that wait with one write; ``"event"``
    the same, each with a write of its own; ``"interval"`` within 0.1 s. It is ``"group"`` where the log is required.
    """
    ratchet: bool | None = None
    """Whether the key must be one that only goes forward (``hauberk audit init --escrow``). In production: true."""
    rotation: Rotation = Rotation()
    """When a file of the log is closed, and the next one begun."""
    heartbeat: Annotated[float, msgspec.Meta(ge=0)] | None = None
    """Seconds after which an entry is written where there was none, so that silence shows; 0 is never. Without it 300
    where the log is required."""
    checkpoints: Checkpoints = Checkpoints()
    """Who gets signed checkpoints of the log."""
    encryption: Encryption = Encryption()
    """Whether the log is encrypted at rest, and with whose keys."""
    arguments: dict[str, tuple[str, ...]] = msgspec.field(default_factory=dict)
    """Arguments of calls that are recorded in clear, by ``"server/tool"`` (``*`` and ``?`` stand for any). Of all
    others only a digest and their size are in the log.
    """

    def __post_init__(self) -> None:
        if self.key is not None and self.key_file is not None:
            raise ValueError("key and key_file: one key signs the log")


def log_path(options: Options, settings: config.Config) -> Path:
    """Return the log of a host."""
    return options.path or settings.state_dir / "audit" / "audit.jsonl"


def key_path(options: Options, settings: config.Config) -> KeyPlace:
    """Return where the key of a host's log is.

    Raises:
        ConfigError: It may not be there.
    """
    if options.key is not None:
        return place_of(options.key, sources(settings))
    return options.key_file or settings.state_dir / "audit.key"


def key_for(path: KeyPlace, log: Path, *, production: bool, ratchet: bool) -> Signing:
    """Return the key of a log; one that nothing was signed with yet is made, but not in production.

    Args:
        path: Where the key is.
        log: The log.
        production: Whether no key is made.
        ratchet: Whether the key must be one that only goes forward; such a one is never made here.

    Raises:
        ConfigError: The key file cannot be used, or is missing and may not be made.
    """
    signing = _key_for(path, log, make=not (production or ratchet))
    if ratchet and isinstance(signing, Chain):
        raise ConfigError(
            f"key {str(path)!r} is a plain one: whoever takes this host over could write the log's past anew",
            hint="put it away and make one that only goes forward: hauberk audit init --escrow FILE (FILE is for who "
            "verifies, off this host); or say that it need not be: [audit] ratchet = false",
        )
    return signing


def _key_for(path: KeyPlace, log: Path, *, make: bool) -> Signing:
    if isinstance(path, KeySource):
        return load(path)
    written = _is_written(log)  # first: whoever writes the log has made the key before
    if not os.path.lexists(path):
        if written or not make:
            raise _missing(path, log, written=written)
        try:
            return Chain(make_key(path))
        except ConfigError:
            if not os.path.lexists(path):
                raise
    return load(path)  # perhaps just made by another process of this host


def make_key(path: KeyPlace) -> bytes:
    """Make a key that did not exist, in a file of mode 0600 or where its source says, and return it.

    Raises:
        ConfigError: It exists, its directory cannot hold a private file, or none is made there.
    """
    if isinstance(path, KeySource):
        return path.sources.make(path.source)
    if not os.path.lexists(path.parent):
        files.private_dir(path.parent)
    return keys.create_key(path, random=os.urandom)


def _is_written(log: Path) -> bool:
    try:
        return log.stat().st_size > 0
    except OSError:
        return False


def _missing(path: Path, log: Path, *, written: bool) -> ConfigError:
    import shlex  # only for an error

    if written:
        return ConfigError(
            f"key file {str(path)!r} is missing, and audit log {str(log)!r} was signed with it",
            hint=f"bring it back, or keep the log and begin a new one: mv {shlex.quote(str(log))} "
            f"{shlex.quote(f'{log}.old')}",
        )
    return ConfigError(
        f"key file {str(path)!r} is missing, and none is made at start",
        hint=f"hauberk audit init --key-file {shlex.quote(str(path))} --escrow FILE, and keep FILE off this host",
    )


def same_for(server: str, options: Options, host: Options, settings: config.Config) -> None:
    """Check that a server's own table says nothing else than the host's.

    Raises:
        ConfigError: It does.
    """
    if options != host:
        raise ConfigError(
            f"{settings.name}: [server.{server}.audit]: a host has one log for all its servers",
            hint="write it into [audit], or into [host.NAME.audit] for one host",
        )

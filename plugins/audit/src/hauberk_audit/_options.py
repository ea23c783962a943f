"""The options of ``[audit]``, where log and key are, and how the key comes to be."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Final, Literal

from hauberk import config, files, keys
from hauberk.refusals import ConfigError
from hauberk_audit._rotation import Rotation
from hauberk_audit._writer import Durability

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
    required: Annotated[Required | None, config.Narrow.by(_stricter)] = None
    """Whether what cannot be recorded does not pass: decisions, or with ``"both"`` results too. In production: true."""
    durability: Annotated[Durability | None, config.Narrow.strictest("event", "group", "interval")] = None
    """When an entry is on the disk: ``"group"`` before its message goes on, all that wait with one write; ``"event"``
    the same, each with a write of its own; ``"interval"`` within 0.1 s. It is ``"group"`` where the log is required.
    """
    rotation: Rotation = Rotation()
    """When a file of the log is closed, and the next one begun."""


def log_path(options: Options, settings: config.Config) -> Path:
    """Return the log of a host."""
    return options.path or settings.state_dir / "audit" / "audit.jsonl"


def key_path(options: Options, settings: config.Config) -> Path:
    """Return the key file of a host's log."""
    return options.key_file or settings.state_dir / "audit.key"


def key_for(path: Path, log: Path, *, production: bool) -> bytes:
    """Return the key of a log; one that nothing was signed with yet is made, but not in production.

    Raises:
        ConfigError: The key file cannot be used, or is missing and may not be made.
    """
    written = _is_written(log)  # first: whoever writes the log has made the key before
    if not os.path.lexists(path):
        if written or production:
            raise _missing(path, log, written=written)
        try:
            return make_key(path)
        except ConfigError:
            if not os.path.lexists(path):
                raise
    return keys.load_key(path)  # perhaps just made by another process of this host


def make_key(path: Path) -> bytes:
    """Make a key file of mode 0600 that did not exist, and return its key.

    Raises:
        ConfigError: It exists, or its directory cannot hold a private file.
    """
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
        f"key file {str(path)!r} is missing, and in production none is made at start",
        hint=f"hauberk audit init --key-file {shlex.quote(str(path))}, and keep a copy where this host cannot write",
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

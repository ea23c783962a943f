"""Which key signs the checkpoints of a host, how its log is called in them, and who gets them."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path
from typing import Final

from hauberk import files
from hauberk.config import Config
from hauberk.refusals import ConfigError
from hauberk_audit.checkpoints import _note, _sinks
from hauberk_audit.checkpoints._checkpoint_options import Checkpoints
from hauberk_audit.checkpoints._note import NoteError, Signer, Verifier
from hauberk_audit.checkpoints._sinks import Setting, Sink

_KEY_BYTES: Final = 4096
_PUBLIC_MODE: Final = 0o644


def key_path(options: Checkpoints, settings: Config) -> Path:
    """Return the file of the key that signs the checkpoints of a host's log."""
    return options.key_file or settings.state_dir / "checkpoint.key"


def public_path(key_file: Path) -> Path:
    """Return where the public key is, for who verifies."""
    return key_file.with_name(f"{key_file.name}.pub")


def origin_of(options: Checkpoints, configured: Path, host: str, log: Path) -> str:
    """Return what names a log: the one that was configured, or a numbered sibling of it."""
    if not options.origin:
        parts = ("hauberk", platform.node() or "localhost", host, log.name)
        return "/".join(re.sub(r"[\s+/]|[^ -~]", "-", part) for part in parts)
    return options.origin if log == configured else f"{options.origin}/{log.name}"


def signer_for(path: Path, name: str, *, production: bool) -> Signer:
    """Return the key that signs checkpoints; one that is missing is made, but not in production.

    Raises:
        ConfigError: The key file cannot be used, or is missing and may not be made.
    """
    if not os.path.lexists(path):
        if production:
            import shlex  # only for an error

            raise ConfigError(
                f"key file {str(path)!r} is missing, and in production none is made at start",
                hint=f"hauberk audit init --checkpoints --key-file {shlex.quote(str(path))}",
            )
        try:
            return make_signer(path, name)
        except ConfigError:
            if not os.path.lexists(path):
                raise
    return load_signer(path)  # perhaps just made by another process of this host


def make_signer(path: Path, name: str) -> Signer:
    """Make a key that did not exist, private, and its public key beside it.

    Raises:
        ConfigError: It exists, or its directory cannot hold a private file.
    """
    if not os.path.lexists(path.parent):
        files.private_dir(path.parent)
    signer = Signer(name, os.urandom(_note.KEY_BYTES))
    files.write_new(path, f"{signer.line}\n".encode())
    files.write_atomic(public_path(path), f"{signer.verifier.line}\n".encode(), mode=_PUBLIC_MODE)
    return signer


def load_signer(path: Path) -> Signer:
    """Return the key of a key file.

    Raises:
        ConfigError: The file is not private, or holds no such key.
    """
    data = files.read_private(path, max_bytes=_KEY_BYTES)
    try:
        return Signer.parse(data.removesuffix(b"\n").decode())
    except (NoteError, UnicodeDecodeError) as error:
        reason = "it is no text" if isinstance(error, UnicodeDecodeError) else str(error)
        raise ConfigError(
            f"cannot use key file {str(path)!r}: {reason}",
            hint="a key for checkpoints is made by hauberk audit init --checkpoints",
        ) from None


def verifier_of(text: str) -> Verifier:
    """Return a public key, given itself or as the file that it is in.

    Raises:
        ConfigError: It is none.
    """
    try:
        return Verifier.parse(text)
    except NoteError:
        path = Path(text)
    try:
        with path.open("rb") as file:
            return Verifier.parse(file.read(_KEY_BYTES).removesuffix(b"\n").decode())
    except (OSError, NoteError, UnicodeDecodeError, ValueError) as error:
        reason = (error.strerror or "").lower() if isinstance(error, OSError) else str(error)
        raise ConfigError(
            f"cannot use public key {text!r}: {reason}",
            hint="name the key, NAME+NUMBER+BASE64, or the file that it is in (checkpoint.key.pub)",
        ) from None


def make_sinks(options: Checkpoints, settings: Config) -> list[tuple[str, Sink]]:
    """Return who gets checkpoints, each with the name under which it is spoken of; nothing is opened.

    Raises:
        ConfigError: A URL is not one of a sink.
        PluginError: A package that brings one cannot be used.
    """
    packages = None
    if settings.production:
        from hauberk.plugins import installed

        required = settings.plugins.require
        packages = frozenset(one.distribution for name, one in installed().items() if name in required)
    setting = Setting(settings.production, options.tokens, options.ca_file, packages)
    return [(url, _sinks.make(url, setting)) for url in options.sinks]

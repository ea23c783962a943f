"""Which log and which key a command is about."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import click

from hauberk.cli.options import configured
from hauberk.config import Config
from hauberk.refusals import HauberkError
from hauberk_audit import _options
from hauberk_audit._entry import visible
from hauberk_audit.sealing import _encryption
from hauberk_audit.sealing._opening import Opener
from hauberk_audit.sealing._providers import KeyPlace
from hauberk_audit.sealing._recipients import keys_path

F = TypeVar("F", bound=Callable[..., Any])


def keyed(function: F) -> F:
    """Give a command the options that say which log and which key."""
    key = click.option(
        "--key-file",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="Key of the log [default: from the configuration].",
    )
    return key(configured(function))


def places(config: Path | None, host: str, log: Path | None = None, key: Path | None = None) -> tuple[Path, KeyPlace]:
    """Return where a log and its key are; what is not given is what the configuration says."""
    if log is not None and key is not None:
        return log, key
    settings, options = configuration(config, host)
    return log or _options.log_path(options, settings), key or _options.key_path(options, settings)


def configuration(config: Path | None, host: str) -> tuple[Config, _options.Options]:
    """Return the configuration, and what it says of the log."""
    settings = Config.read(config, host=host)
    for warning in settings.warnings:
        click.echo(f"hauberk: warning: {warning}", err=True)
    return settings, settings.options("audit", _options.Options)


def openers(config: Path | None, host: str, logs: Iterable[Path]) -> dict[Path, Opener]:
    """Return what opens those of some logs that are sealed, where a key is at hand; say of which none is."""
    sealed = [log for log in logs if os.path.lexists(keys_path(log))]
    if not sealed:
        return {}
    settings, options = configuration(config, host)
    keys = _encryption.at_hand(options.encryption, settings)
    opener = Opener(keys.providers, index=options.encryption.index != "none")
    found = {}
    for log in sealed:
        try:
            opener.check(log)
            found[log] = opener
        except HauberkError as error:
            why = visible("; ".join((*keys.missing, *([] if keys.missing else [error.message]))))
            name = visible(str(log))
            click.echo(f"hauberk: warning: {name} is sealed, and what is in it cannot be shown: {why}", err=True)
    return found

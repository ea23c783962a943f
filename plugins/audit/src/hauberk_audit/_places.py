"""Which log and which key a command is about."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from hauberk.cli.options import configured
from hauberk.config import Config
from hauberk_audit import _options

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


def places(config: Path | None, host: str, log: Path | None = None, key: Path | None = None) -> tuple[Path, Path]:
    """Return where a log and its key are; what is not given is what the configuration says."""
    if log is not None and key is not None:
        return log, key
    settings = Config.read(config, host=host)
    for warning in settings.warnings:
        click.echo(f"hauberk: warning: {warning}", err=True)
    options = settings.options("audit", _options.Options)
    return log or _options.log_path(options, settings), key or _options.key_path(options, settings)

"""What the commands share: options, exit statuses, and how they speak."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

if TYPE_CHECKING:
    from hauberk.config import Config

PROGRAM: Final = "hauberk"
COULD_NOT_TELL: Final = 2
"""Exit status of usage, configuration, and input or output that failed."""

HELP: Final = {"help_option_names": ["-h", "--help"]}
"""Context settings of every command."""

F = TypeVar("F", bound=Callable[..., Any])


def configured(function: F) -> F:
    """Give a command ``--config`` and ``--host``."""
    file = click.option(
        "--config",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="Configuration [default: hauberk.toml in the user's configuration directory].",
    )
    host = click.option("--host", metavar="NAME", default="default", help="Whose tables [host.NAME] hold.")
    return file(host(function))


def printing(function: F) -> F:
    """Give a command ``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)


def complain(message: str, hint: str | None = None) -> None:
    """Tell the operator what went wrong, and the one thing to do about it."""
    click.echo(f"{click.style('hauberk:', fg='red')} {message}", err=True)
    if hint:
        click.echo(f"{click.style('hint:', fg='cyan')} {hint}", err=True)


def read(config: Path | None, host: str) -> Config:
    """Read the configuration; what it warns of goes to standard error.

    Raises:
        ConfigError: It cannot be read, or says something that nothing reads.
    """
    from hauberk.config import Config

    found = Config.read(config, host=host)
    for warning in found.warnings:
        click.echo(f"{PROGRAM}: warning: {warning}", err=True)
    return found


def print_json(value: Any) -> None:
    """Print one JSON value."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def table(rows: Iterable[tuple[str, ...]]) -> Iterable[str]:
    """Return rows as lines with aligned columns; the last column may be of any length."""
    lines = list(rows)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for row in lines:
        cells = [cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=False)]
        yield "  ".join([*cells, row[-1]]).rstrip()

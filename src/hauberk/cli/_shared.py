"""What the commands share: options, and how they print."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

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

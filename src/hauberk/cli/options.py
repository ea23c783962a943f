"""What commands share, those that plugins bring included: options, and how they print."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from hauberk.refusals import HauberkError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

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


def started(function: F) -> F:
    """Give a command that starts a server ``--server``, ``--env`` and ``-p``, and the words that say which."""
    server = click.option(
        "--server",
        metavar="NAME",
        shell_complete=servers,
        help="The server's name in rules and events [default: the command's name].",
    )
    env = click.option(
        "--env", multiple=True, metavar="NAME", help="Pass a variable of the environment on to the server."
    )
    words = click.argument("words", nargs=-1, metavar="NAME", shell_complete=servers)
    return server(env(without(words(function))))


def without(function: F) -> F:
    """Give a command ``-p``."""
    return click.option(
        "-p", "plugins", multiple=True, metavar="no:NAME", help="Leave a plugin out (never in production)."
    )(function)


def servers(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the servers of the configuration whose names begin so."""
    from click.shell_completion import CompletionItem

    from hauberk.config import Config

    try:
        names = Config.read(ctx.params.get("config"), host=ctx.params.get("host") or "default").servers
    except HauberkError:
        return []  # nobody wants to read of it between two words
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def printing(function: F) -> F:
    """Give a command ``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)


def print_json(value: Any) -> None:
    """Print one JSON value; on a terminal only in characters that no terminal acts on."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=sys.stdout.isatty()))


def table(rows: Iterable[tuple[str, ...]]) -> Iterable[str]:
    """Return rows as lines with aligned columns; the last column may be of any length."""
    lines = list(rows)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for row in lines:
        cells = [cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=False)]
        yield "  ".join([*cells, row[-1]]).rstrip()

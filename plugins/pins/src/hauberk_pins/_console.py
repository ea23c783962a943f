"""What the commands share: which items are meant, what a terminal gets, and what stands between two tabs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from hauberk.cli.options import servers
from hauberk.config import Config
from hauberk.connection import Program
from hauberk.refusals import HauberkError
from hauberk_pins import _compare
from hauberk_pins._desk import Desk, Row
from hauberk_pins._visible import shown

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

F = TypeVar("F", bound=Callable[..., Any])
COLOURS: Final = {"pinned": "green", "unpinned": "yellow", "changed": "red", "renamed": "red", "gone": "blue"}
_OF_LINE: Final = {"+": "green", "-": "red", "@": "cyan"}


def selecting(function: F) -> F:
    """Give a command ``--server`` and ``--tool``."""
    server = click.option("--server", metavar="NAME", shell_complete=_servers, help="Of one server [default: all].")
    tool = click.option("--tool", metavar="NAME", shell_complete=_tools, help="Of one tool [default: all items].")
    return server(tool(function))


def starting(function: F) -> F:
    """Give a command ``--live``, and a command line after ``--``."""
    live = click.option(
        "--live",
        is_flag=True,
        help="Start the servers of the configuration, or the COMMAND, and look at what they show now.",
    )
    return live(click.argument("words", nargs=-1, metavar="[-- COMMAND ARGS...]", type=click.UNPROCESSED)(function))


def opened(config: Path | None, host: str) -> tuple[Desk, Config]:
    """Return the pins of a configuration, and itself; what it warns of goes to standard error."""
    settings = Config.read(config, host=host)
    for warning in settings.warnings:
        click.echo(f"hauberk: warning: {warning}", err=True)
    return Desk(settings), settings


def look(desk: Desk, settings: Config, server: str | None, words: tuple[str, ...]) -> list[str]:
    """Start servers and record what they show; return their names.

    Raises:
        HauberkError: One cannot be asked, or there is none.
    """
    programs = _programs(settings, server, words)
    for name, program in programs.items():
        _look(desk, settings, name, program)
    return list(programs)


def _look(desk: Desk, settings: Config, name: str, program: Program) -> None:
    from hauberk_pins import _live  # no other command needs a server

    def say(text: str) -> None:
        click.echo(f"{shown(name)}: {text}", err=True)

    say(f"starting {shown(program.command)}")
    try:
        found = asyncio.run(_live.look(program, settings.core.bounds, say))
    except HauberkError as error:
        raise HauberkError(f"server {name!r}: {error.message}", hint=error.hint) from error
    desk.record(name, found)


def _programs(settings: Config, server: str | None, words: tuple[str, ...]) -> dict[str, Program]:
    if words:
        name = server or Path(words[0]).name
        return {name: Program(words[0], words[1:], settings.child_env(name))}
    found = {}
    for name in settings.servers:
        options = settings.server(name)
        if server not in {None, name} or options is None:
            continue
        if options.command is None:
            click.echo(f"{shown(name)}: has no command, so it is not started", err=True)
            continue
        cwd = None if options.cwd is None else str(options.cwd)
        found[name] = Program(options.command, tuple(options.args), settings.child_env(name), cwd)
    if not found:
        raise HauberkError(
            f"{settings.name}: there is no server to start{'' if server is None else f' of the name {server!r}'}",
            hint="--live --server NAME -- COMMAND ARGS… starts one that is not in the configuration",
        )
    return found


def show(row: Row, *, err: bool = False) -> None:
    """Print one item in full: what it is, or what changed in it."""
    head = f"{row.status}: {shown(row.server)}: {_compare.label(row.item)} {row.item.hash}"
    click.secho(head, fg=COLOURS[row.status], bold=True, err=err)
    if row.change is not None and row.change.before is not None and row.change.after is not None:
        show_diff(_compare.diff(row.change), "  ", err=err)
    else:
        for line in _compare.lines(row.item):
            click.echo(f"  {line}", err=err)


def show_diff(lines: Iterable[str], indent: str = "", *, err: bool = False) -> None:
    """Print the lines of a unified diff."""
    for line in lines:
        click.secho(indent + line, fg=_OF_LINE.get(line[:1]), err=err)


def json_of(row: Row) -> dict[str, Any]:
    """Return one item as the commands print it with ``--json``."""
    change = row.change
    before = None if change is None or change.before is None else change.before
    return {
        "server": row.server,
        "kind": row.item.kind,
        "name": row.item.name,
        "status": row.status,
        "hash": row.item.hash,
        "pinned": row.item.hash if row.status == "pinned" else before.hash if before is not None else None,
        "pinned_name": before.name if before is not None else None,
        "fields": change.fields if change is not None and row.status == "changed" else [],
        "diff": _compare.diff(change) if change is not None else [],
    }


# --- between two tabs ---


def _servers(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem

    found = servers(ctx, param, incomplete)
    there = {item.value for item in found}
    names = dict.fromkeys(row.server for row in _rows(ctx))
    return [*found, *(CompletionItem(name) for name in names if name.startswith(incomplete) and name not in there)]


def _tools(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem

    server = ctx.params.get("server")
    tools = (row for row in _rows(ctx) if row.item.kind == "tool" and server in {None, row.server})
    names = dict.fromkeys(row.item.name for row in tools)
    return [CompletionItem(name) for name in names if name.startswith(incomplete) and name.isprintable()]


def _rows(ctx: click.Context) -> list[Row]:
    try:
        desk = Desk(Config.read(ctx.params.get("config"), host=ctx.params.get("host") or "default"))
        return list(desk.rows(desk.trusted()))
    except HauberkError:
        return []  # nobody wants to read of it between two words

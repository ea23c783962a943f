"""``hauberk wrap``: let a client's servers be started through ``hauberk run``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from hauberk.cli import _run
from hauberk.cli._boundary import PROGRAM
from hauberk.cli.options import HELP, configured, print_json, printing, table

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from hauberk._entries import Server
    from hauberk.cli._rewriting import Source
    from hauberk.wrapping import Rewritten, Via

_EPILOG: Final = """\b
Examples:
  hauberk wrap
  hauberk wrap ~/.cursor/mcp.json --dry-run
  hauberk wrap ~/.cursor/mcp.json
  hauberk wrap .vscode/mcp.json --config hauberk.toml --only files

Without FILE it shows where known clients keep theirs, and changes nothing. `hauberk unwrap FILE` is the way back.

Exit status: 0 done, or nothing to do; 2 it could not.
"""
_STATES: Final = {"url": "left", "unknown": "left"}
FILE: Final = click.Path(path_type=Path, dir_okay=False)


def keys(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the keys of the servers in FILE that begin so."""
    from click.shell_completion import CompletionItem

    from hauberk.cli import _clients

    file = ctx.params.get("file") or next(iter(ctx.args), None)  # click has not got to FILE where an option waits
    found = _clients.look(_clients.Client("", Path(file))).servers if file else ()
    return [
        CompletionItem(server.key)
        for _, server in found
        if server.key.startswith(incomplete) and server.key.isprintable()
    ]


@click.command("wrap", epilog=_EPILOG, context_settings=HELP)
@click.argument("file", required=False, type=FILE)
@configured
@click.option("--only", multiple=True, metavar="NAME", shell_complete=keys, help="Change this server alone.")
@click.option("--env", multiple=True, metavar="NAME", help="Pass a variable on to each server, besides those in env.")
@click.option("--bare-command", is_flag=True, help="Write the command hauberk, not the path of this program.")
@click.option("--dry-run", is_flag=True, help="Print the change, without secrets, and leave the file.")
@printing
def command(
    *,
    file: Path | None,
    config: Path | None,
    host: str,
    only: tuple[str, ...],
    env: tuple[str, ...],
    bare_command: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Let the servers in a client's FILE be started through hauberk.

    FILE is JSON with mcpServers, or servers as VS Code has it. Only commands and arguments change, a backup stays
    beside the file, and twice is once. Variables in env are passed on by name.
    """
    if file is None:
        _show_clients(as_json=as_json)
        return
    from hauberk import wrapping
    from hauberk.cli import _rewriting

    via = _via(config, host, env, bare=bare_command)
    source = _rewriting.load(file)
    finish(file, source, wrapping.wrap(source.text, via, name=str(file), only=only), dry_run=dry_run, as_json=as_json)


def _via(config: Path | None, host: str, env: tuple[str, ...], *, bare: bool) -> Via:
    """Return how servers are to be started, once it is known that a host would start so.

    Raises:
        HauberkError: ``hauberk run`` would fail with this configuration, and so would every server.
    """
    from hauberk.cli import _program
    from hauberk.guard import Guard
    from hauberk.wrapping import Via

    _run.check_env(env)
    found = _run.read(config, host)
    Guard.load(found)
    own = _program.written(found.path) if found.path is not None else None
    return Via(
        PROGRAM if bare else _program.path(),
        None if bare else _program.python(),
        config=own if config is not None else None,
        own=own,
        host=host,
        env=env,
    )


def finish(file: Path, source: Source, done: Rewritten, *, dry_run: bool, as_json: bool) -> None:
    """Write what was rewritten unless it is a trial, and print what became of the file.

    Raises:
        ConfigError: It could not be written; the file is as before.
    """
    from hauberk.cli import _diff, _rewriting

    changed = done.text != source.text
    backup = _rewriting.replace(source, done.text) if changed and not dry_run else None
    if as_json:
        shown: dict[str, Any] = {"file": str(source.path), "changed": changed, "dry_run": dry_run}
        servers = [_rewriting.facts(server) for server in done.servers]
        print_json(shown | {"backup": str(backup) if backup else None, "servers": servers})
        return
    for line in _told(done.servers):
        click.echo(line)
    if dry_run:
        for line in _diff.lines(source.text, done.text, str(file)):
            click.echo(line)
        click.echo("nothing was written")
    elif backup is None:
        click.echo("nothing to do")
    else:
        click.echo(f"written: {source.path}\nbackup:  {backup}\nnext: start the client anew")


def _told(servers: tuple[Server, ...]) -> list[str]:
    from hauberk.cli._text import printable

    rows = [(printable(one.key), _STATES.get(one.state, one.state), "; ".join(_notes(one))) for one in servers]
    return list(table(rows)) if rows else ["no servers"]


def _notes(server: Server) -> tuple[str, ...]:
    renamed = server.state == "wrapped" and server.name != server.key
    return (f"rules call it {server.name!r}", *server.notes) if renamed else server.notes


def _show_clients(*, as_json: bool) -> None:
    from hauberk.cli import _clients

    found = [_clients.look(client) for client in _clients.known()]
    if as_json:
        print_json([_clients.facts(one) for one in found])
        return
    rows = [(one.client.name, _clients.told(one), str(one.client.path)) for one in found]
    for one, line in zip(found, table(rows), strict=True):
        click.echo(line if one.servers else click.style(line, dim=True))
    click.echo(f"next: {PROGRAM} wrap FILE --dry-run")

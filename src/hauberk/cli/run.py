"""``hauberk run`` as click sees it: its help, and its mistakes. What it does is in `hauberk.cli._run`."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from hauberk.cli import _run
from hauberk.cli.options import HELP, configured, started

_EPILOG: Final = """\b
Examples:
  hauberk run -- npx -y @modelcontextprotocol/server-filesystem ~/notes
  hauberk run --config hauberk.toml --server files -- server-filesystem ~/notes
  hauberk run --config hauberk.toml files

In the settings of a client, put `hauberk run --` before the server's command.

Exit status: the server's; 125 hauberk failed, 126 the command cannot be executed, 127 it is not found.
"""


class Separated(click.Command):
    """A command whose ``--`` is more than the end of options: what follows is the command to start."""

    failed = _run.FAILED

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep what stands after ``--`` as it is."""
        args, ctx.meta[_run.SEPARATOR] = _run.split(args)
        return super().parse_args(ctx, args)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """Return the usage line's pieces."""
        return [*super().collect_usage_pieces(ctx)[:1], "[NAME | -- COMMAND ARGS...]"]


@click.command("run", cls=Separated, epilog=_EPILOG, context_settings=HELP | {"allow_interspersed_args": False})
@configured
@started
@click.pass_context
def command(
    ctx: click.Context,
    /,
    *,
    config: Path | None,
    host: str,
    server: str | None,
    env: tuple[str, ...],
    plugins: tuple[str, ...],
    words: tuple[str, ...],
) -> int:
    """Start a server and guard it.

    The client speaks on standard input and output. NAME is a table [server.NAME] of the configuration; after -- stands
    any command.
    """
    return _run.run(_run.Request(config, host, server, env, plugins, words, ctx.meta[_run.SEPARATOR]))

"""``hauberk serve`` as click sees it: its help, and its mistakes. What it does is in `hauberk.cli._serve`."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from hauberk.cli import _run, _serve
from hauberk.cli.options import HELP, configured, started
from hauberk.cli.run import Separated

_EPILOG: Final = """\b
Examples:
  hauberk serve files
  hauberk serve files --listen unix:///run/hauberk/files.sock
  hauberk serve files --listen tls://0.0.0.0:8443
  hauberk serve --listen unix --server time -- mcp-server-time

`hauberk connect unix:///…` is the other end, for a client that speaks on standard input and output.

SIGTERM ends it once what is in flight is answered, a second one at once; SIGHUP reads the configuration again.

Exit status: 0 ended in order; 125 hauberk failed, 126 the command cannot be executed, 127 it is not found; 128 and the
signal's number where something in flight was lost.
"""


@click.command("serve", cls=Separated, epilog=_EPILOG, context_settings=HELP)
@configured
@click.option(
    "--listen",
    multiple=True,
    metavar="ADDRESS",
    help="unix:///PATH or tls://HOST:PORT; 'unix' is NAME.sock in the user's own directory for sockets. May be given"
    " more than once [default: address in [server.NAME.listen], else 'unix'].",
)
@started
@click.pass_context
def command(
    ctx: click.Context,
    /,
    *,
    config: Path | None,
    host: str,
    listen: tuple[str, ...],
    server: str | None,
    env: tuple[str, ...],
    plugins: tuple[str, ...],
    words: tuple[str, ...],
) -> int:
    """Offer a server on sockets, and guard it.

    NAME is a table [server.NAME] of the configuration; after -- stands any command that speaks MCP on standard input
    and output. Each connection gets a process of its own, started when it asks for something.
    """
    run = _run.Request(config, host, server, env, plugins, words, ctx.meta[_run.SEPARATOR])
    return _serve.serve(_serve.Request(run, listen))

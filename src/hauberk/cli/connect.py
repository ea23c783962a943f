"""``hauberk connect`` as click sees it: its help, and its mistakes. What it does is in `hauberk.cli._connect`."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from hauberk.cli import _connect
from hauberk.cli._run import Request
from hauberk.cli.options import HELP, configured, servers, without

_EPILOG: Final = """\b
Examples:
  hauberk connect files
  hauberk connect tls://files.example:8443
  hauberk connect --server files unix:///run/user/1000/hauberk/files.sock

In the settings of a client this is the server's command. A connection that is lost is dialled again.

Exit status: 0 the client has ended; 125 hauberk failed, or there is no connection.
"""


class _Connect(click.Command):
    """A command with a status of its own for its failures."""

    failed = _connect.FAILED


@click.command("connect", cls=_Connect, epilog=_EPILOG, context_settings=HELP)
@configured
@click.option("--server", metavar="NAME", help="The server's name in rules and events [default: from the address].")
@without
@click.argument("words", nargs=-1, metavar="NAME|ADDRESS", shell_complete=servers)
def command(
    *, config: Path | None, host: str, server: str | None, plugins: tuple[str, ...], words: tuple[str, ...]
) -> int:
    """Connect to a server that listens, and guard it.

    The client speaks on standard input and output. NAME is a table [server.NAME] with a socket or a url; an ADDRESS is
    tls://HOST:PORT or unix:///PATH.
    """
    return _connect.run(Request(config, host, server, (), plugins, words))

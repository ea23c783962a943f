"""``hauberk unwrap``: let a client start its servers by itself again."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from hauberk.cli.options import HELP, printing
from hauberk.cli.wrap import FILE, finish, keys

_EPILOG: Final = """\b
Examples:
  hauberk unwrap ~/.cursor/mcp.json --dry-run
  hauberk unwrap ~/.cursor/mcp.json --only files

Exit status: 0 done, or nothing to do; 2 it could not.
"""


@click.command("unwrap", epilog=_EPILOG, context_settings=HELP)
@click.argument("file", type=FILE)
@click.option("--only", multiple=True, metavar="NAME", shell_complete=keys, help="Change this server alone.")
@click.option("--dry-run", is_flag=True, help="Print the change, without secrets, and leave the file.")
@printing
def command(*, file: Path, only: tuple[str, ...], dry_run: bool, as_json: bool) -> None:
    """Let the servers in a client's FILE be started without hauberk again.

    It needs no backup: each command stands in its entry. What was changed since stays.
    """
    from hauberk import wrapping
    from hauberk.cli import _rewriting

    source = _rewriting.load(file)
    finish(file, source, wrapping.unwrap(source.text, name=str(file), only=only), dry_run=dry_run, as_json=as_json)

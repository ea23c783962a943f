"""``hauberk completion``: the script that lets a shell complete commands and options."""

from __future__ import annotations

from typing import cast

import click
from click.shell_completion import ShellComplete, get_completion_class

from hauberk.cli._boundary import PROGRAM
from hauberk.cli.options import HELP

_EPILOG = """\b
Examples:
  hauberk completion bash > ~/.local/share/bash-completion/completions/hauberk
  hauberk completion zsh > ~/.zfunc/_hauberk
  hauberk completion fish > ~/.config/fish/completions/hauberk.fish
"""


@click.command("completion", epilog=_EPILOG, context_settings=HELP)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print a shell's completion script."""
    kind = cast("type[ShellComplete]", get_completion_class(shell))
    click.echo(kind(click.Group(PROGRAM), {}, PROGRAM, f"_{PROGRAM.upper()}_COMPLETE").source())

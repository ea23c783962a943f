"""The reference of the command line: the help of every command, as the program prints it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import click
from contrib.docs.pages import NOTE

from hauberk.cli._app import App

COLUMNS: Final = 78
"""What is left of a terminal of 80 columns (characters)."""
_HEAD: Final = f"""{NOTE}# The command line

What `--help` says of each command. Commands beside those of the core come with the plugins that are installed.

`hauberk run` exits with the server's status, with 125 where hauberk itself failed, 126 where the command cannot be
executed and 127 where it is not found; `hauberk serve` with 0 after an orderly end, else likewise. All other commands
exit with 0 where all is well, 1 where something is found, and 2 where they could not tell.
"""


def page() -> str:
    """Return the page."""
    parts = [f"## `{path}`\n\n```text\n{text}\n```\n" for path, text in helps()]
    return "\n".join([_HEAD, *parts])


def helps() -> Iterator[tuple[str, str]]:
    """Yield each command's words, and its help."""
    app = App()
    yield from _walk(app, click.Context(app, info_name="hauberk", **_settings(app)))


def _settings(command: click.Command) -> dict[str, Any]:
    return {**command.context_settings, "terminal_width": COLUMNS, "max_content_width": COLUMNS}


def _walk(command: click.Command, context: click.Context) -> Iterator[tuple[str, str]]:
    yield context.command_path, command.get_help(context).rstrip()
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            sub = command.get_command(context, name)
            if sub is not None and not sub.hidden:
                yield from _walk(sub, click.Context(sub, parent=context, info_name=name, **_settings(sub)))

"""The program: its commands, found by name, and what an error or an interrupt looks like from outside."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Final

import click
from click.exceptions import Exit, UsageError

from hauberk import __version__
from hauberk.cli._boundary import COULD_NOT_TELL, PROGRAM, Manner, bounded, complain
from hauberk.cli.options import HELP
from hauberk.refusals import HauberkError

_OWN: Final = {
    name: f"hauberk.cli.{name}"
    for name in (
        "run",
        "serve",
        "connect",
        "wrap",
        "unwrap",
        "doctor",
        "explain",
        "rejudge",
        "plugins",
        "config",
        "completion",
    )
}
_EPILOG: Final = """\b
Examples:
  hauberk run -- npx -y @modelcontextprotocol/server-filesystem ~/notes
  hauberk connect tls://files.example:8443
  hauberk wrap ~/.cursor/mcp.json
  hauberk doctor
  hauberk plugins
  hauberk config check --config hauberk.toml
"""


class App(click.Group):
    """``hauberk``: the commands of the core, and those that installed plugins bring."""

    def __init__(self) -> None:
        super().__init__(
            PROGRAM,
            help="Guard what an agent's host and MCP servers say to each other.",
            epilog=_EPILOG,
            params=[click.Option(["--debug"], is_flag=True, help="Show the traceback of an internal error.")],
            callback=_no_command,
            invoke_without_command=True,
            context_settings=HELP,
        )
        click.version_option(__version__, prog_name=PROGRAM, message="%(prog)s %(version)s")(self)
        self._manner: Final = Manner()

    # --- commands ---

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names of all commands."""
        from hauberk.cli import _brought

        return [*_OWN, *sorted(set(_brought.commands()) - set(_OWN))]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - as above
        """Return a command; a plugin never takes the place of one of the core's."""
        if cmd_name in _OWN:
            command: click.Command = importlib.import_module(_OWN[cmd_name]).command
            return command
        from hauberk.cli import _brought

        return _brought.command(cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that is named, and note how it reports a failure of its own.

        Raises:
            HauberkError: There is none of that name.
        """
        self._manner.debug = ctx.params.get("debug", False)
        word = args[0]
        command = self.get_command(ctx, word)
        if command is None and not ctx.resilient_parsing:
            raise HauberkError(f"there is no command {word!r}", hint=self._nearest(ctx, word))
        self._manner.failed = getattr(command, "failed", COULD_NOT_TELL)
        return word, command, args[1:]

    def _nearest(self, ctx: click.Context, word: str) -> str:
        from hauberk._options import suggestion

        return suggestion(word, self.list_commands(ctx)) or f"{PROGRAM} --help lists the commands"

    def start(self, args: Sequence[str]) -> int:
        """Run a command line; return the exit status."""
        return bounded(lambda: self._run(list(args)), self._manner)

    def _run(self, args: list[str]) -> int:
        try:
            self._main_shell_completion({}, PROGRAM)
        except SystemExit as end:
            return int(end.code or 0)
        try:
            with self.make_context(PROGRAM, args) as ctx:
                done = self.invoke(ctx)
        except Exit as end:
            done = end.exit_code
        except click.Abort:
            raise KeyboardInterrupt from None
        except click.ClickException as error:
            _explain(error)
            done = self._manner.failed
        return done if isinstance(done, int) else 0


@click.pass_context
def _no_command(ctx: click.Context, /, *, debug: bool) -> None:  # noqa: ARG001 - read from the context
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help(), err=True)
        ctx.exit(COULD_NOT_TELL)


def _explain(error: click.ClickException) -> None:
    text = error.format_message()
    if text.startswith("Usage:"):  # a group without a command
        click.echo(text, err=True)
        return
    context = error.ctx if isinstance(error, UsageError) else None
    path = PROGRAM if context is None else context.command_path
    complain((text[:1].lower() + text[1:]).rstrip("."), f"{path} --help")

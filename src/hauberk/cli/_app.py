"""The program: its commands, found by name, and what an error or an interrupt looks like from outside."""

from __future__ import annotations

import errno
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Final

import click
from click.exceptions import Abort, Exit, UsageError

from hauberk import __version__
from hauberk.cli._shared import COULD_NOT_TELL, HELP, PROGRAM, complain
from hauberk.refusals import HauberkError

INTERRUPTED: Final = 130
BROKEN_PIPE: Final = 141
"""As the shell reports a program that SIGPIPE has ended."""

_OWN: Final = {name: f"hauberk.cli.{name}" for name in ("run", "plugins", "config", "completion")}
_EPILOG: Final = """\b
Examples:
  hauberk run -- npx -y @modelcontextprotocol/server-filesystem ~/notes
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
        self._failed = COULD_NOT_TELL
        self._debug = False

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
        self._debug = ctx.params.get("debug", False)
        word = args[0]
        command = self.get_command(ctx, word)
        if command is None and not ctx.resilient_parsing:
            raise HauberkError(f"there is no command {word!r}", hint=self._nearest(ctx, word))
        self._failed = getattr(command, "failed", COULD_NOT_TELL)
        return word, command, args[1:]

    def _nearest(self, ctx: click.Context, word: str) -> str:
        from hauberk._options import suggestion

        return suggestion(word, self.list_commands(ctx)) or f"{PROGRAM} --help lists the commands"

    # --- the boundary ---

    def start(self, args: Sequence[str]) -> int:
        """Run a command line; whatever happens becomes an exit status and at most a few lines."""
        try:
            return self._run(list(args))
        except (KeyboardInterrupt, Abort):
            return INTERRUPTED
        except HauberkError as error:
            complain(error.message, error.hint)
        except click.ClickException as error:
            _explain(error)
        except OSError as error:
            if error.errno == errno.EPIPE:
                return _nobody_reads()
            self._internal(error, os.strerror(error.errno or 0).lower())
        except Exception as error:  # noqa: BLE001 - the last boundary: a line and a status, whatever it was
            self._internal(error, type(error).__name__)
        return self._failed

    def _run(self, args: list[str]) -> int:
        self._main_shell_completion({}, PROGRAM)
        try:
            with self.make_context(PROGRAM, args) as ctx:
                done = self.invoke(ctx)
        except Exit as end:
            done = end.exit_code
        if sys.stdout is not None:  # closed by whoever started us
            sys.stdout.flush()
        return done if isinstance(done, int) else 0

    def _internal(self, error: Exception, what: str) -> None:
        # The text of an error that nobody foresaw may hold anything; what kind it is may be shown.
        complain(f"internal error: {what}", None if self._debug else f"{PROGRAM} --debug … shows the traceback")
        if self._debug:
            sys.excepthook(type(error), error, error.__traceback__)


@click.pass_context
def _no_command(ctx: click.Context, /, *, debug: bool) -> None:  # noqa: ARG001 - read from the context
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help(), err=True)
        ctx.exit(COULD_NOT_TELL)


def _explain(error: click.ClickException) -> None:
    text = error.format_message()
    if not isinstance(error, UsageError) or error.ctx is None:
        complain(text)
    elif text.startswith("Usage:"):  # a group without a command
        click.echo(text, err=True)
    else:
        complain((text[:1].lower() + text[1:]).rstrip("."), f"{error.ctx.command_path} --help")


def _nobody_reads() -> int:
    # Or the interpreter flushes again when it ends, and complains.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return BROKEN_PIPE

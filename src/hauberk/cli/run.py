"""``hauberk run``: stand between a client, on standard input and output, and a server that is started as a child."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import click

from hauberk.cli._shared import HELP, PROGRAM, complain, configured, read
from hauberk.refusals import ConfigError

if TYPE_CHECKING:
    from hauberk.config import Config
    from hauberk.guard import Guard

FAILED: Final = 125
"""Exit status of a failure of our own."""
_SEPARATOR: Final = "--"
_NO: Final = "no:"
_EPILOG = """\b
Examples:
  hauberk run -- npx -y @modelcontextprotocol/server-filesystem ~/notes
  hauberk run --config hauberk.toml --server files -- server-filesystem ~/notes
  hauberk run --config hauberk.toml files

In the settings of a client, put `hauberk run --` before the server's command.

Exit status: the server's; 125 hauberk failed, 126 the command cannot be executed, 127 it is not found.
"""


class Target(NamedTuple):
    """What is to be started."""

    server: str
    command: str
    args: Sequence[str]
    cwd: Path | None


class _Run(click.Command):
    """A command whose ``--`` is more than the end of options: what follows is the command to start."""

    failed = FAILED

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep what stands after ``--`` as it is."""
        if _SEPARATOR in args:
            at = args.index(_SEPARATOR)
            ctx.meta[_SEPARATOR] = args[at + 1 :]
            args = args[:at]
        return super().parse_args(ctx, args)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """Return the usage line's pieces."""
        return [*super().collect_usage_pieces(ctx)[:1], "[NAME | -- COMMAND ARGS...]"]


@click.command("run", cls=_Run, epilog=_EPILOG, context_settings=HELP | {"allow_interspersed_args": False})
@configured
@click.option("--server", metavar="NAME", help="The server's name in rules and events [default: the command's name].")
@click.option("--env", multiple=True, metavar="NAME", help="Pass a variable of the environment on to the server.")
@click.option("-p", "plugins", multiple=True, metavar="no:NAME", help="Leave a plugin out (never in production).")
@click.argument("words", nargs=-1, metavar="NAME")
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
    started: Sequence[str] | None = ctx.meta.get(_SEPARATOR)
    _check_words(words, started, server)
    _check_env(env)
    off = _disabled(plugins)
    _open_standard()

    found = read(config, host)
    target = _configured(found, words[0]) if started is None else _named(started, server)
    from hauberk.guard import Guard

    guard = Guard.load(found, disable=off)
    if found.path is None:
        complain(_defaults(guard))
    return _start(guard, target, _environment(found, target.server, env))


def _start(guard: Guard, target: Target, env: dict[str, str]) -> int:
    import asyncio

    from hauberk.cli import _log
    from hauberk.hosts import proxy

    _log.to_standard_error()
    return asyncio.run(proxy.run(guard, target.server, target.command, target.args, env=env, cwd=target.cwd))


# --- what was asked for ---


def _check_words(words: Sequence[str], started: Sequence[str] | None, server: str | None) -> None:
    if started is None and len(words) > 1:
        example = " ".join(words[:2])
        raise ConfigError("a command stands after '--'", hint=f"{PROGRAM} run -- {example} …")
    if started is None and not words:
        raise ConfigError("nothing to run: give a server's NAME or -- COMMAND", hint=f"{PROGRAM} run --help")
    if started is not None and words:
        raise ConfigError(
            f"{words[0]!r} and a command after '--' are two servers", hint="give one; --server names a command"
        )
    if started is not None and not started:
        raise ConfigError("no command after '--'", hint=f"{PROGRAM} run -- COMMAND ARGS…")
    if started is None and server is not None:
        raise ConfigError(f"--server names a command, and {words[0]!r} has its name", hint="leave --server out")


def _check_env(names: Sequence[str]) -> None:
    for name in names:
        if not name or "=" in name:
            # The arguments of a process are there for everybody to read.
            raise ConfigError(
                f"--env takes a name, not a value: {name.partition('=')[0]!r}",
                hint="set the variable for hauberk, or write it into [server.NAME] env",
            )


def _disabled(words: Sequence[str]) -> list[str]:
    for word in words:
        if not word.startswith(_NO) or word == _NO:
            raise ConfigError(f"-p takes no:NAME, got {word!r}", hint="-p no:NAME leaves the plugin NAME out")
    return [word.removeprefix(_NO) for word in words]


def _named(started: Sequence[str], server: str | None) -> Target:
    from hauberk._document import is_name

    name = Path(started[0]).name if server is None else server
    if not is_name(name):
        raise ConfigError(
            f"{name!r} cannot name a server",
            hint="give --server NAME, up to 128 characters without '/', '*', '?', '[' or ']'",
        )
    return Target(name, started[0], started[1:], None)


def _configured(config: Config, name: str) -> Target:
    """Return a server of the configuration.

    Raises:
        ConfigError: There is no such server, or it has no command.
    """
    options = config.server(name)
    if options is None:
        from hauberk._options import suggestion

        there = ", ".join(config.servers) or "none"
        near = suggestion(name, config.servers)
        raise ConfigError(
            f"{config.name}: there is no server {name!r} (servers: {there})",
            hint=near or f"{PROGRAM} run -- {name} starts the command of that name",
        )
    if options.command is None:
        raise ConfigError(
            f"{config.name}: [server.{name}] has no command", hint=f"{PROGRAM} run starts commands; give it one"
        )
    return Target(name, options.command, options.args, options.cwd)


def _environment(config: Config, server: str, names: Sequence[str]) -> dict[str, str]:
    env = config.child_env(server, names=names)
    for name in names:
        if name not in env:
            complain(f"warning: --env {name} is not set, the server does not get it")
    return env


def _defaults(guard: Guard) -> str:
    active = sorted(guard.loaded)
    if not active:
        return "no configuration and no plugin: only the protocol itself is checked"
    return f"no configuration; {', '.join(active)} with their defaults"


def _open_standard() -> None:
    """Give each standard descriptor that is closed the null device; else another file would get its number."""
    import os

    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)

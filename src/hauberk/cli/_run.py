"""What ``hauberk run`` does, without click: it is in the way of every server's start, and click takes a tenth of that.

A command line of the plain kind, which is what clients are configured with, is read here; help, mistakes and whatever
else is left to click, which reads the plain kind in the same way (a test compares the two).
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from hauberk.cli import _streams
from hauberk.cli._boundary import PROGRAM, complain
from hauberk.refusals import ConfigError

if TYPE_CHECKING:
    from hauberk._servers import ServerOptions
    from hauberk.config import Config
    from hauberk.guard import Guard

FAILED: Final = 125
"""Exit status of a failure of our own."""
SEPARATOR: Final = "--"
_NO: Final = "no:"


class Request(NamedTuple):
    """A command line of ``hauberk run``."""

    config: Path | None = None
    host: str = "default"
    server: str | None = None
    env: tuple[str, ...] = ()
    plugins: tuple[str, ...] = ()
    """As given: ``no:NAME``."""
    words: tuple[str, ...] = ()
    """What stands before the separator and is no option."""
    started: tuple[str, ...] | None = None
    """What stands after the separator, if there is one."""


class Target(NamedTuple):
    """What is to be started."""

    server: str
    command: str
    args: Sequence[str]
    cwd: Path | None


def split(args: Sequence[str]) -> tuple[list[str], tuple[str, ...] | None]:
    """Return what stands before the separator, and what stands after it."""
    if SEPARATOR not in args:
        return list(args), None
    at = args.index(SEPARATOR)
    return list(args[:at]), tuple(args[at + 1 :])


def plain(args: Sequence[str]) -> Request | None:
    """Read a command line of the plain kind: long options with their values, ``-p``, one name. None for any other."""
    rest, started = split(args)
    single: dict[str, str] = {}
    several: dict[str, list[str]] = {"--env": [], "-p": []}
    while rest and rest[0].startswith("-"):
        option, given, value = rest.pop(0).partition("=")
        if not given and rest:
            value = rest.pop(0)
        elif not given or not option.startswith("--"):
            return None
        if option in several:
            several[option].append(value)
        elif option in {"--config", "--host", "--server"}:
            single[option] = value
        else:
            return None
    return Request(
        config=Path(single["--config"]) if "--config" in single else None,
        host=single.get("--host", "default"),
        server=single.get("--server"),
        env=tuple(several["--env"]),
        plugins=tuple(several["-p"]),
        words=tuple(rest),
        started=started,
    )


def run(request: Request) -> int:
    """Start the server that is asked for, and guard it; return the exit status.

    Raises:
        HauberkError: It is not started.
    """
    check_words(request)
    check_env(request.env)
    off = disabled(request.plugins)
    with _streams.taken() as (stdin, stdout):
        with no_collection():
            config = read(request.config, request.host)
            target = configured(config, request.words[0]) if request.started is None else named(request)
            guard = loaded(config, off)
            env = environment(config, target.server, request.env)
            import asyncio

            from hauberk.hosts import proxy
        server, command, args, cwd = target
        return asyncio.run(proxy.run(guard, server, command, args, env=env, cwd=cwd, stdin=stdin, stdout=stdout))


def read(config: Path | None, host: str) -> Config:
    """Read the configuration; what it warns of goes to standard error.

    Raises:
        ConfigError: It cannot be read, or says something that nothing reads.
    """
    from hauberk.config import Config

    settings = Config.read(config, host=host)
    for warning in settings.warnings:
        complain(f"warning: {warning}")
    return settings


def loaded(config: Config, off: Sequence[str]) -> Guard:
    """Load the guard; with the built-in defaults, a line on standard error says so."""
    from hauberk.cli import _log
    from hauberk.guard import Guard

    _log.to_standard_error()
    guard = Guard.load(config, disable=off)
    if config.path is None:
        complain(_defaults(guard))
    return guard


@contextlib.contextmanager
def no_collection() -> Iterator[None]:
    """Collect no garbage while what stays for ever is loaded: looking through it costs a tenth of the start."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


# --- what was asked for ---


def check_words(request: Request, verb: str = "run") -> None:
    """Check that one server is named, or one command given.

    Raises:
        ConfigError: It is neither, or both.
    """
    words, started = request.words, request.started
    if started is None and len(words) > 1:
        raise ConfigError("a command stands after '--'", hint=f"{PROGRAM} {verb} -- {' '.join(words[:2])} …")
    if started is None and not words:
        raise ConfigError(f"nothing to {verb}: give a server's NAME or -- COMMAND", hint=f"{PROGRAM} {verb} --help")
    if started is not None and words:
        raise ConfigError(
            f"{words[0]!r} and a command after '--' are two servers", hint="give one; --server names a command"
        )
    if started is not None and not started:
        raise ConfigError("no command after '--'", hint=f"{PROGRAM} {verb} -- COMMAND ARGS…")
    if started is None and request.server is not None:
        raise ConfigError(f"--server names a command, and {words[0]!r} has its name", hint="leave --server out")


def check_env(names: Sequence[str]) -> None:
    """Check that what ``--env`` was given are names.

    Raises:
        ConfigError: One is none; it may hold a value, which is not shown.
    """
    for name in names:
        if not name or "=" in name:
            # The arguments of a process are there for everybody to read.
            raise ConfigError(
                f"--env takes a name, not a value: {name.partition('=')[0]!r}",
                hint="set the variable for hauberk, or write it into [server.NAME] env",
            )


def disabled(words: Sequence[str]) -> list[str]:
    """Return the plugins that ``-p`` leaves out.

    Raises:
        ConfigError: A word is not ``no:NAME``.
    """
    for word in words:
        if not word.startswith(_NO) or word == _NO:
            raise ConfigError(f"-p takes no:NAME, got {word!r}", hint="-p no:NAME leaves the plugin NAME out")
    return [word.removeprefix(_NO) for word in words]


def named(request: Request) -> Target:
    """Return the command that was given.

    Raises:
        ConfigError: Its name cannot name a server.
    """
    from hauberk._document import is_name

    command, *args = request.started or ()
    name = Path(command).name if request.server is None else request.server
    if not is_name(name):
        raise ConfigError(
            f"{name!r} cannot name a server",
            hint="give --server NAME, up to 128 characters without '/', '*', '?', '[' or ']', and not the doctor's",
        )
    return Target(name, command, args, None)


def found(config: Config, name: str, *, otherwise: str) -> ServerOptions:
    """Return a server of the configuration.

    Args:
        config: The configuration.
        name: The server.
        otherwise: What to do about one that is not there, where nothing of a like name is.

    Raises:
        ConfigError: There is no such server.
    """
    options = config.server(name)
    if options is None:
        from hauberk._options import suggestion

        there = ", ".join(config.servers) or "none"
        raise ConfigError(
            f"{config.name}: there is no server {name!r} (servers: {there})",
            hint=suggestion(name, config.servers) or otherwise,
        )
    return options


def configured(config: Config, name: str, verb: str = "run") -> Target:
    """Return what starts a server of the configuration.

    Raises:
        ConfigError: There is no such server, or it has no command.
    """
    options = found(config, name, otherwise=f"{PROGRAM} {verb} -- {name} starts the command of that name")
    if options.command is None:
        dialled = options.socket is not None or (options.url or "").lower().startswith("tls://")
        hint = f"{PROGRAM} connect {name}" if dialled else f"{PROGRAM} {verb} starts commands; give it one"
        raise ConfigError(f"{config.name}: [server.{name}] has no command", hint=hint)
    return Target(name, options.command, options.args, options.cwd)


def environment(config: Config, server: str, names: Sequence[str]) -> dict[str, str]:
    """Return the environment of a child; what is named and not set is said."""
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

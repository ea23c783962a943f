"""What ``hauberk connect`` does, without click: as `hauberk.cli._run`, it is in the way of a server's start."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hauberk.carriers import address
from hauberk.cli import _run, _streams
from hauberk.cli._boundary import PROGRAM
from hauberk.cli._run import Request
from hauberk.refusals import ConfigError

if TYPE_CHECKING:
    from hauberk.config import Config

FAILED = _run.FAILED


def plain(args: Sequence[str]) -> Request | None:
    """Read a command line of the plain kind, the word last; None for any other."""
    request = _run.plain(args)
    if request is None or request.started is not None or request.env:
        return None
    return None if any(word.startswith("-") for word in request.words) else request


def run(request: Request) -> int:
    """Dial the server that is asked for, and guard it; return the exit status.

    Raises:
        HauberkError: There is no connection.
    """
    _check_words(request)
    off = _run.disabled(request.plugins)
    with _streams.taken() as (stdin, stdout):
        with _run.no_collection():
            config = _run.read(request.config, request.host)
            server, target = _asked_for(config, request)
            guard = _run.loaded(config, off)

            import asyncio

            from hauberk.hosts import connect
        return asyncio.run(connect.run(guard, server, target, stdin=stdin, stdout=stdout))


def _check_words(request: Request) -> None:
    if len(request.words) != 1:
        what = "nothing to connect to" if not request.words else "several words"
        raise ConfigError(
            f"{what}: give a server's NAME, tls://HOST:PORT or unix:///PATH", hint=f"{PROGRAM} connect --help"
        )
    if request.server is not None and "://" not in request.words[0]:
        raise ConfigError(
            f"--server names an address, and {request.words[0]!r} has its name", hint="leave --server out"
        )


def _asked_for(config: Config, request: Request) -> tuple[str, str | None]:
    """Return the server's name, and its address where that was given.

    Raises:
        ConfigError: There is nothing to dial.
    """
    word = request.words[0]
    if "://" in word:
        return _named(address.parse(word), request.server), word
    options = _run.found(config, word, otherwise=f"{PROGRAM} connect takes an address, too")
    if options.command is not None:
        raise ConfigError(
            f"{config.name}: [server.{word}] has a command, which is started and not dialled",
            hint=f"{PROGRAM} run {word}",
        )
    if options.socket is None and not address.is_address(options.url or ""):
        raise ConfigError(
            f"{config.name}: [server.{word}] has neither a socket nor a url of tls://",
            hint=f"give it one; {PROGRAM} connect speaks no HTTP",
        )
    return word, None


def _named(where: address.Address, name: str | None) -> str:
    from hauberk._document import is_name

    if name is None:
        name = where.path.stem if where.carrier == "unix" else where.host
    if not is_name(name):
        raise ConfigError(
            f"{name!r} cannot name a server",
            hint="give --server NAME, up to 128 characters without '/', '*', '?', '[' or ']', and not the doctor's",
        )
    return name

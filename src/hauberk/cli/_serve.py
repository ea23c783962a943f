"""What ``hauberk serve`` does, without click."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from hauberk.cli import _run, _streams
from hauberk.cli._boundary import complain

if TYPE_CHECKING:
    from hauberk._servers import Listen
    from hauberk.carriers.address import Address
    from hauberk.config import Config

_MANAGER: Final = "NOTIFY_SOCKET"
"""Where systemd wants to hear that it listens (sd_notify)."""
DEFAULT: Final = "unix://"
"""Stands for a socket with the server's name in the user's own directory for sockets."""


class Request(NamedTuple):
    """A command line of ``hauberk serve``."""

    run: _run.Request
    """What it has in common with that of ``hauberk run``."""
    listen: tuple[str, ...] = ()


def serve(request: Request) -> int:
    """Offer the server that is asked for; return the exit status.

    Raises:
        HauberkError: It cannot be offered.
    """
    asked = request.run
    _run.check_words(asked, "serve")
    _run.check_env(asked.env)
    off = _run.disabled(asked.plugins)
    with _streams.taken():
        from hauberk._servers import Listen
        from hauberk.connection import Program
        from hauberk.hosts import serve as host
        from hauberk.hosts._backends import Children
        from hauberk.hosts._shared import SharedChild

        config = _run.read(asked.config, asked.host)
        target = _run.configured(config, asked.words[0], "serve") if asked.started is None else _run.named(asked)
        listen = _listen(config, target.server) or Listen()
        addresses = _addresses(request.listen, listen.address, target.server)
        guard = _run.loaded(config, off)
        env = _run.environment(config, target.server, asked.env)
        program = Program(target.command, tuple(target.args), env, None if target.cwd is None else str(target.cwd))
        if (status := host.missing(program)) is not None:
            return status
        manager = config.child_env(None, names=[_MANAGER]).get(_MANAGER)

        def ready(where: Sequence[Address]) -> None:
            complain(f"listening at {' and '.join(map(str, where))}")
            host.notify(manager, "READY=1")

        return asyncio.run(
            host.serve(
                guard,
                target.server,
                SharedChild(guard, program) if listen.shared else Children(program, guard.bounds),
                addresses,
                listen=listen,
                ready=ready,
                stopping=lambda: host.notify(manager, "STOPPING=1"),
            )
        )


def _listen(config: Config, server: str) -> Listen | None:
    options = config.server(server)
    return None if options is None else options.listen


def _addresses(asked: Sequence[str], written: str | None, server: str) -> list[Address]:
    """Return where to listen: what was asked for, else what is written, else the default.

    Raises:
        ConfigError: One is no address.
    """
    return list(dict.fromkeys(_address(text, server) for text in asked or (written or DEFAULT,)))


def _address(text: str, server: str) -> Address:
    from hauberk.carriers import address as addresses

    if text not in {DEFAULT, "unix"}:
        return addresses.parse(text, listening=True)
    from hauberk._homes import runtime_dir

    path = runtime_dir() / f"{server}.sock"
    addresses.check_length(path)
    return addresses.Address("unix", path=path)

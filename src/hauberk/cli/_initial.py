"""A first configuration on the disk."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from hauberk import _first, files
from hauberk.cli import _clients
from hauberk.cli._boundary import PROGRAM, complain
from hauberk.refusals import ConfigError


class Made(NamedTuple):
    """What was written."""

    file: Path
    servers: tuple[str, ...]
    next: tuple[str, ...]
    """What to run now."""


def write(file: Path | None, clients: Sequence[Path]) -> Made:
    """Write a first configuration; one that is there is never overwritten.

    Args:
        file: Where to; None for the user's own.
        clients: Files of clients; none for those of the known ones.

    Raises:
        ConfigError: It exists, or a file cannot be read or written.
        PluginError: A host would not start with it.
    """
    from hauberk import config, plugins

    path = config.default_path() if file is None else Path(os.path.abspath(file))  # noqa: PTH100 - a link stays one
    if os.path.lexists(path):
        raise ConfigError(f"{str(path)!r} exists, and is left as it is", hint="name another file, or edit this one")
    found = list(_found(clients))
    starts = [(str(one.client.path), start) for one in found for start in _starts(one)]
    text = _first.text(starts, plugins.installed())
    _check(text, path)
    if file is None:
        files.private_dir(path.parent)
    try:
        files.write_new(path, text.encode())
    except OSError as error:
        raise ConfigError(f"cannot make {str(path)!r}: {(error.strerror or '').lower()}") from error
    names = tuple(dict.fromkeys(start.name for _, start in starts))
    return Made(path, names, tuple(_next(found, path if file is not None else None)))


def _found(clients: Sequence[Path]) -> Iterator[_clients.Found]:
    """Give what clients hold; a file that was named must be sound."""
    given = [_clients.Client(str(path), Path(os.path.abspath(path))) for path in clients]  # noqa: PTH100 - as above
    for one in map(_clients.look, given or _clients.known()):
        if given and not one.exists:
            raise ConfigError(f"cannot open {str(one.client.path)!r}: no such file or directory")
        if one.fault and given:
            raise ConfigError(one.fault)
        if one.fault:
            complain(f"warning: {one.fault}")
        elif one.servers:
            yield one


def _starts(found: _clients.Found) -> Iterator[_first.Start]:
    from hauberk import wrapping

    for entry, server in found.servers:
        if server.state == "url":
            yield _first.Start(server.name)
        elif server.state != "unknown":
            yield _first.Start(server.name, tuple(wrapping.started(entry)), tuple(entry.env))


def _check(text: str, path: Path) -> None:
    """Check that a host would start with the text."""
    from hauberk.config import Config
    from hauberk.guard import Guard

    Guard.load(Config.from_toml(text, name=str(path), base=path.parent))


def _next(found: Sequence[_clients.Found], named: Path | None) -> Iterator[str]:
    """Give the commands that come next; a configuration that is not the user's own must be named."""
    option = f" --config {shlex.quote(str(named))}" if named is not None else ""
    yield f"{PROGRAM} config check{option}"
    for one in found:
        if any(server.state == "unguarded" for _, server in one.servers):
            yield f"{PROGRAM} wrap {shlex.quote(str(one.client.path))}{option}"

"""Which policy and which history a command is about."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import click

from hauberk import differences
from hauberk.cli.options import configured
from hauberk.config import Config, Options, default_path
from hauberk.refusals import ConfigError, HauberkError
from hauberk_audit import _options
from hauberk_audit._entry import visible
from hauberk_audit.policies._history import History, kept_of
from hauberk_audit.policies._rows import Row, place_of, text, version_of

F = TypeVar("F", bound=Callable[..., Any])
_DIGITS = 12


class Site(NamedTuple):
    """A policy file, and the history that it is in."""

    path: Path
    host: str
    settings: Config | None
    """What the file says; None where it cannot be loaded."""
    history: History
    fault: str = ""
    """Why it cannot be loaded."""

    @property
    def place(self) -> str:
        """What the rows of the file have in common."""
        return text(self.path) if self.settings is None else place_of(self.settings)

    def config(self, content: bytes) -> Config:
        """Return what other bytes would say in the place of the file.

        Raises:
            ConfigError: They say something that nothing reads.
        """
        if self.settings is not None and self.settings.path is not None:
            return differences.like(self.settings, content)
        return Config(content, name=str(self.path), host=self.host, base=self.path.parent, path=self.path)


def sited(function: F) -> F:
    """Give a command the options that say which policy and which history."""
    folder = click.option(
        "--state-dir",
        metavar="DIR",
        type=click.Path(path_type=Path),
        help="State directory with the history [default: from the configuration].",
    )
    return configured(folder(function))


def site(config: Path | None, host: str, state_dir: Path | None) -> Site:
    """Return where the policy and its history are; a policy that cannot be loaded is told of, and has a history too.

    Raises:
        ConfigError: Nobody says where the history is.
    """
    path = default_path() if config is None else Path(os.path.abspath(config))  # noqa: PTH100 - follows no link
    try:
        settings = Config.read(config, host=host)
    except ConfigError as error:
        click.echo(f"hauberk: warning: {visible(error.message)}", err=True)
        return Site(path, host, None, History(state_dir or Config.default().state_dir), error.message)
    for warning in settings.warnings:
        click.echo(f"hauberk: warning: {visible(warning)}", err=True)
    if state_dir is not None:
        return Site(path, host, settings, History(state_dir))
    log = _options.log_path(settings.options("audit", _options.Options), settings)
    return Site(path, host, settings, History.of(settings, log))


def rows_of(found: Site) -> list[Row]:
    """Return the rows of a history that there is.

    Raises:
        ConfigError: There is none.
    """
    if not (rows := found.history.rows()):
        raise ConfigError(
            f"there is no history of policies in {str(found.history.path.parent)!r}",
            hint="a host with hauberk-audit writes it when it starts; --state-dir names another directory",
        )
    return rows


def content_of(found: Site, prefix: str) -> tuple[str, bytes]:
    """Return the version that begins so, and what it said.

    Raises:
        ConfigError: None does, or several do, or what is kept is not what it said.
    """
    contents = found.history.contents()
    version = kept_of(contents, prefix)
    if version_of(contents[version]) != version:
        raise ConfigError(
            f"version {visible(short(version))} is not what was kept: somebody changed it in the history",
            hint="hauberk policy verify says more; take it from a copy of the history, or from where policies are kept",
        )
    return version, contents[version]


def in_force(rows: list[Row]) -> dict[str, int]:
    """Return the number of the row that was last put in force in each place."""
    return {row.place: row.number for row in rows if row.how != "kept"}


def kinds(*configs: Config) -> Mapping[str, type[Options] | None]:
    """Return the options types of the plugins that have tables, as far as a host would import them."""
    from hauberk import loading, plugins

    words = {place.word for config in configs for place in config.tables}
    try:
        there = {name: source for name, source in plugins.installed().items() if name in words}
        for config in configs:
            there = loading.imported(config, there)
        return {name: plugins.load_class(source).Options for name, source in there.items()}
    except HauberkError:
        return {}  # then no value is shown


def local_version(config: Config) -> str:
    """Return the version of the ``policy.py`` that a configuration names; empty where there is none."""
    from hauberk import plugins

    path = config.plugins.policy
    return "" if path is None else plugins.policy_source(config.resolve(path)).version


def short(version: str) -> str:
    """Return the beginning of a version, enough to name it by."""
    return version.removeprefix("sha256:")[:_DIGITS]


def when(seconds: float) -> str:
    """Return a time in UTC, to the second; ``?`` for one that no calendar has."""
    try:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
    except (OverflowError, ValueError, OSError):  # the row says what somebody wrote into it
        return "?"

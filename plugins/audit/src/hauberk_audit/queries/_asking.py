"""What commands that read the log share: which logs and entries are asked about, and how they print."""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Self, TypeVar, final, get_args

import click

from hauberk.cli.options import configured
from hauberk.event import Action, Severity
from hauberk.refusals import HauberkError
from hauberk_audit._entry import visible
from hauberk_audit._paths import log_set
from hauberk_audit._places import openers, places
from hauberk_audit.queries._completing import known
from hauberk_audit.queries._export import as_line, as_text
from hauberk_audit.queries._parts import Progress
from hauberk_audit.queries._queries import Logs
from hauberk_audit.queries._query import FIELDS, Query, moment
from hauberk_audit.queries._reading import Found, Reader
from hauberk_audit.sealing._opening import Opener
from hauberk_audit.sealing._recipients import keys_path

F = TypeVar("F", bound=Callable[..., Any])
_COLOURS: Final = {"warning": "yellow", "critical": "red"}
_MUCH: Final = 16 * 1024 * 1024
"""Bytes to index above which a bar is shown."""


# --- options ---


def asking(function: F) -> F:
    """Give a command the paths of logs, and the options that say which and how it prints."""
    paths = click.argument("paths", nargs=-1, type=click.Path(path_type=Path), metavar="[PATH]...")
    alone = click.option("--no-index", is_flag=True, help="Read the log alone: believe no index that stands beside it.")
    return paths(configured(alone(function)))


def filtering(function: F) -> F:
    """Give a command the options of a query."""
    choices = {"severity": click.Choice(get_args(Severity)), "action": click.Choice(get_args(Action))}
    for name in reversed(FIELDS):
        kind, text = choices.get(name), f"Only of this {name}; more than one: any of them."
        complete = None if kind else known
        metavar = None if kind else "TEXT"
        function = click.option(
            f"--{name}", type=kind, metavar=metavar, multiple=True, shell_complete=complete, help=text
        )(function)
    until = click.option("--until", metavar="TIME", help="Only before this time.")
    since = click.option(
        "--since", metavar="TIME", help="Only from this time on: RFC 3339, a date, or 30m, 2h, 7d ago."
    )
    return since(until(function))


def limiting(default: int, what: str) -> Callable[[F], F]:
    """Return what gives a command ``--limit``."""
    return click.option(
        "--limit", "-n", type=click.IntRange(min=1), default=default, show_default=True, help=f"At most so many {what}."
    )


def query_of(asked: dict[str, Any], now: Callable[[], float] = time.time) -> Query:
    """Return the query that the options of `filtering` say."""
    since, until = (moment(asked[name], now()) if asked[name] else None for name in ("since", "until"))
    return Query(since, until, {name: asked[name] for name in FIELDS if asked[name]})


# --- logs ---


@final
class Sources:
    """The logs that a command was asked about; what is sealed is opened where a key is at hand."""

    def __init__(self, paths: tuple[Path, ...], config: Path | None, host: str, *, beside: bool = True) -> None:
        """Take paths, what says where the log is without them, and whether to use indexes that stand beside logs."""
        self._named: Final = paths or (places(config, host)[0],)
        self._config: Final = config
        self._host: Final = host
        self._beside: Final = beside
        self._openers: Final[dict[tuple[Path, bool], Opener | None]] = {}
        """By the log, and whether there are keys of it: a log may be sealed from some time on."""

    @classmethod
    def of(cls, asked: dict[str, Any]) -> Self:
        """Return what the options of `asking` say."""
        return cls(asked["paths"], asked["config"], asked["host"], beside=not asked["no_index"])

    def readers(self) -> list[Reader]:
        """Return the readers of the logs that there are now.

        Raises:
            ConfigError: There are none.
        """
        logs = {log: os.path.lexists(keys_path(log)) for path in self._named for log in log_set(path, to="read")}
        if fresh := {log: sealed for log, sealed in logs.items() if (log, sealed) not in self._openers}:
            found = openers(self._config, self._host, fresh)
            self._openers.update({(log, sealed): found.get(log) for log, sealed in fresh.items()})
        return [Reader(log, opener=self._openers[log, sealed]) for log, sealed in logs.items()]

    @contextmanager
    def open(self) -> Iterator[Logs]:
        """Open the logs for queries."""
        with readable():
            readers = self.readers()
            opener = next((one for one in self._openers.values() if one is not None), None)
            with Logs(readers, indexing=opener and opener.indexing, watch=_watch, beside=self._beside) as logs:
                yield logs


@contextmanager
def readable() -> Iterator[None]:
    """Say which file cannot be read.

    Raises:
        HauberkError: The disk failed.
    """
    try:
        yield
    except OSError as error:
        if error.errno == errno.EPIPE:
            raise
        what = f"cannot read {visible(str(error.filename))!r}" if error.filename else "reading or writing failed"
        raise HauberkError(f"{what}: {(error.strerror or type(error).__name__).lower()}") from error


@contextmanager
def _watch(size: int) -> Iterator[Progress | None]:
    """Show a bar, where somebody looks and there is much to do."""
    if size < _MUCH or not sys.stderr.isatty():
        yield None
        return
    with click.progressbar(length=size, label="index", file=sys.stderr) as bar:
        yield bar.update


def show(found: Iterable[Found], *, named: bool, as_json: bool = False) -> None:
    """Print entries, each on a line; ``named`` says that the line names the log."""
    for one in found:
        if as_json:
            click.echo(as_line(one))
        else:
            click.secho(as_text(one, named=named), fg=_COLOURS.get(str(one.entry.get("severity"))))


def told(skipped: int) -> int:
    """Say how many lines are no entries; return the exit status."""
    if not skipped:
        return 0
    which = "1 line is no entry and was" if skipped == 1 else f"{skipped} lines are no entries and were"
    click.echo(f"hauberk: warning: {which} skipped; hauberk audit verify says where", err=True)
    return 1

"""``hauberk audit list``, ``tail``, ``show``, ``stats``, ``export`` and ``schema``: what the log says."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final, get_args

import click

from hauberk import files
from hauberk.cli.options import HELP, printing
from hauberk.refusals import HauberkError
from hauberk_audit._entry import visible
from hauberk_audit._entry_schema import published
from hauberk_audit.queries._asking import Sources, asking, filtering, limiting, query_of, readable, show, told
from hauberk_audit.queries._export import Format, lines
from hauberk_audit.queries._export import as_json as as_json_text
from hauberk_audit.queries._lookup import COUNTED, Counts
from hauberk_audit.queries._query import Query
from hauberk_audit.queries._reading import Found, time_text
from hauberk_audit.queries._tail import INTERVAL, Follower

_NUMBER: Final = re.compile(r"(?:(?P<log>.*)#)?(?P<sequence>[0-9]{1,18})")
_STATUS: Final = "Exit status: 0 all was read, 1 some lines of the log are no entries, 2 it cannot be read."
_LIST_EPILOG: Final = f"""\b
Examples:
  hauberk audit list
  hauberk audit list --since 2h --action blocked
  hauberk audit list --code 'sieve.*' --server files --limit 100 --json

{_STATUS}
"""
_TAIL_EPILOG: Final = f"""\b
Examples:
  hauberk audit tail -f
  hauberk audit tail -f --severity critical --json

With --json each entry is one line. {_STATUS}
"""
_SHOW_EPILOG: Final = """\b
Examples:
  hauberk audit show 1207
  hauberk audit show 'audit.1.jsonl#1207'
  hauberk audit show 3f0c6a52-9d5b-8c11-a7c4-000000000007 --json

Exit status: 0 it is there, 1 it is not, or it is there twice, 2 the log cannot be read.
"""
_STATS_EPILOG: Final = f"""\b
Examples:
  hauberk audit stats
  hauberk audit stats --since 7d --action blocked --json

{_STATUS}
"""
_EXPORT_EPILOG: Final = f"""\b
Examples:
  hauberk audit export --format csv --output audit.csv
  hauberk audit export --format ocsf --since 1d | send-to-siem

{_STATUS}
"""


# --- list, tail ---


@click.command("list", epilog=_LIST_EPILOG, context_settings=HELP)
@asking
@filtering
@limiting(20, "entries")
@printing
@click.pass_context
def list_command(ctx: click.Context, /, *, limit: int, as_json: bool, **asked: Any) -> None:
    """List the last entries, the newest first.

    PATH is a log, with its numbered siblings, or a directory of logs; without it, the log of the configuration.
    """
    query = query_of(asked)
    with Sources.of(asked).open() as logs:
        found = logs.last(query, limit)
        if as_json:
            click.echo(as_json_text([one.entry for one in found], indent=2))
        else:
            show(found, named=len(logs.readers) > 1)
        ctx.exit(told(logs.skipped))


@click.command("tail", epilog=_TAIL_EPILOG, context_settings=HELP)
@asking
@click.option("--follow", "-f", is_flag=True, help="Go on with what is added, until interrupted.")
@filtering
@limiting(10, "entries")
@printing
@click.pass_context
def tail_command(ctx: click.Context, /, *, follow: bool, limit: int, as_json: bool, **asked: Any) -> None:
    """Print the last entries, the newest last.

    PATH is a log, with its numbered siblings, or a directory of logs; without it, the log of the configuration.
    """
    query, sources = query_of(asked), Sources.of(asked)
    follower = Follower(sources.readers)
    if follow:
        with readable():
            follower.skip()
    with sources.open() as logs:
        found = [one for one in logs.last(query, limit) if not (follow and follower.is_new(one))]
        named = len(logs.readers) > 1
        status = told(logs.skipped)
    show(reversed(found), named=named, as_json=as_json)
    if follow:
        go_on(follower, query, lambda added: show(added, named=True, as_json=as_json))
    ctx.exit(status)


def go_on(
    follower: Follower,
    query: Query,
    taker: Callable[[Iterable[Found]], None],
    wait: Callable[[float], object] = time.sleep,
) -> None:
    """Show what is added to logs, until interrupted."""
    while True:
        skipped = follower.skipped
        with readable():
            taker(found for found in follower.added() if query.takes(found.entry))
        told(follower.skipped - skipped)
        wait(INTERVAL)


# --- show ---


@click.command("show", epilog=_SHOW_EPILOG, context_settings=HELP)
@click.argument("entry", metavar="ID|NUMBER")
@asking
@printing
@click.pass_context
def show_command(ctx: click.Context, /, *, entry: str, as_json: bool, **asked: Any) -> None:
    """Print one entry whole.

    It is named by its id, or by its number in its log: 1207, or audit.1.jsonl#1207 where there are several logs. PATH
    is a log, with its numbered siblings, or a directory of logs; without it, the log of the configuration.
    """
    number = _NUMBER.fullmatch(entry)
    with Sources.of(asked).open() as logs:
        if number is not None:
            found = logs.named(sequence=int(number["sequence"]), log=number["log"] or "")
        else:
            found = logs.named(id=entry)
    if not found:
        click.echo(f"there is no entry {visible(entry)}", err=True)
    elif len({one.log for one in found}) > 1:
        raise HauberkError(
            f"entry {visible(entry)} is in {len({one.log for one in found})} logs",
            hint=f"name one: {', '.join(repr(f'{visible(one.log.name)}#{one.sequence}') for one in found)}",
        )
    for one in found[: 1 if as_json else None]:
        whole = {"file": str(one.file), "line": one.line, "entry": one.entry}
        click.echo(as_json_text(whole if as_json else one.entry, indent=2) if as_json else _whole(one))
    if len(found) > 1:
        click.echo(f"hauberk: warning: {len(found)} entries are named so; hauberk audit verify says why", err=True)
    ctx.exit(0 if len(found) == 1 else 1)


def _whole(found: Found) -> str:
    return f"{visible(str(found.file))}:{found.line}\n{as_json_text(found.entry, indent=2)}"


# --- stats ---


@click.command("stats", epilog=_STATS_EPILOG, context_settings=HELP)
@asking
@filtering
@limiting(10, "lines of each table")
@printing
@click.pass_context
def stats_command(ctx: click.Context, /, *, limit: int, as_json: bool, **asked: Any) -> None:
    """Count entries by code, server, tool, severity and day.

    An entry that stands for many of its kind counts as many. PATH is a log, with its numbered siblings, or a directory
    of logs; without it, the log of the configuration.
    """
    query = query_of(asked)
    with Sources.of(asked).open() as logs:
        counts = logs.counts(query)
        if as_json:
            click.echo(as_json_text(_numbers(counts), indent=2))
        else:
            for line in _tables(counts, limit):
                click.echo(line)
        ctx.exit(told(logs.skipped))


def _numbers(counts: Counts) -> dict[str, Any]:
    tables = {name: dict(_sorted(counts, name)) for name in (*COUNTED, "day")}
    times = {"first": _time(counts.first), "last": _time(counts.last)}
    return {"entries": counts.entries, "events": counts.events, **times, **tables}


def _tables(counts: Counts, limit: int) -> Iterator[str]:
    yield f"{counts.events} events in {counts.entries} entries"
    if counts.first is not None:
        yield f"from {_time(counts.first)} to {_time(counts.last)}"
    for name in (*COUNTED, "day"):
        rows = _sorted(counts, name)
        shown = rows[-limit:] if name == "day" else rows[:limit]
        if rows:
            yield click.style(f"\n{name}", bold=True)
            yield from (f"{count:>12}  {visible(text)}" for text, count in shown)
        if len(rows) > limit:
            yield f"{'':>12}  … and {len(rows) - limit} more"


def _sorted(counts: Counts, name: str) -> list[tuple[str, int]]:
    """Return the rows of a table: days in their order, others with the most frequent first."""
    rows: list[tuple[str, int]] = sorted(getattr(counts, name).items())
    return rows if name == "day" else sorted(rows, key=lambda one: -one[1])


def _time(micros: int | None) -> str | None:
    return None if micros is None else time_text(micros)


# --- export ---


@click.command("export", epilog=_EXPORT_EPILOG, context_settings=HELP)
@asking
@click.option("--format", "kind", type=click.Choice(get_args(Format)), default="jsonl", show_default=True, help="Form.")
@click.option("--output", metavar="FILE", type=click.Path(path_type=Path), help="Write a new file [default: print].")
@filtering
@click.pass_context
def export_command(ctx: click.Context, /, *, kind: Format, output: Path | None, **asked: Any) -> None:
    """Write entries as JSON Lines, as a table, or as events of OCSF 1.8, the oldest first.

    PATH is a log, with its numbered siblings, or a directory of logs; without it, the log of the configuration.
    """
    query = query_of(asked)
    with Sources.of(asked).open() as logs, closing(logs.entries(query)) as found:  # closed before its index
        text = lines(found, kind)
        if output is None:
            for line in text:
                click.echo(line, nl=False)
        else:
            _write(output, text)
        ctx.exit(told(logs.skipped))


def _write(path: Path, text: Iterable[str]) -> None:
    """Write a private file that did not exist; if that fails there is none."""
    file = os.fdopen(files.create_private(path), "wb")
    try:
        with file:
            for line in text:
                file.write(line.encode())
    except BaseException:
        path.unlink(missing_ok=True)
        raise


@click.command("schema", context_settings=HELP)
def schema_command() -> None:
    """Print a JSON Schema of a line of the log."""
    click.echo(published(), nl=False)


COMMANDS: Final = (list_command, tail_command, show_command, stats_command, export_command, schema_command)

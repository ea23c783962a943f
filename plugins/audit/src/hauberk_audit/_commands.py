"""``hauberk audit``: verify logs, make the key."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click
import msgspec

from hauberk import keys
from hauberk.cli.options import HELP, printing
from hauberk.refusals import HauberkError
from hauberk_audit import _options
from hauberk_audit._chain_commands import chain
from hauberk_audit._entry import visible
from hauberk_audit._paths import log_set
from hauberk_audit._places import keyed, places
from hauberk_audit._verify import Report, verify
from hauberk_audit._walk import Break

_UNANCHORED: Final = "nothing outside anchors the log: what was cut off its end together with its state is not missed"
_VERIFY_EPILOG: Final = """\b
Examples:
  hauberk audit verify
  hauberk audit verify audit.jsonl --key-file audit.key
  hauberk audit verify /srv/logs --key-file audit.key --json

Exit status: 0 each entry is in its place, 1 something was changed, 2 there is nothing to verify, or it cannot be read.
"""


@click.group("audit", context_settings=HELP)
def audit() -> None:
    """Verify the tamper-evident log."""


@audit.command("verify", epilog=_VERIFY_EPILOG, context_settings=HELP)
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path), metavar="[PATH]...")
@keyed
@printing
@click.pass_context
def verify_command(
    ctx: click.Context,
    /,
    *,
    paths: tuple[Path, ...],
    key_file: Path | None,
    config: Path | None,
    host: str,
    as_json: bool,
) -> None:
    """Say where logs are not what was written.

    PATH is a log, with its numbered siblings, or a directory of logs; without it, the log of the configuration.
    """
    log, key = places(config, host, paths[0] if paths else None, key_file)
    report = _verified(paths or (log,), keys.load_key(key))
    if as_json:
        found = msgspec.structs.asdict(report) | {"entries": report.entries, "status": report.status}
        click.echo(msgspec.json.format(msgspec.json.encode(found)).decode())
    else:
        _print(report)
    ctx.exit(report.status)


audit.add_command(chain)


@audit.command("init", context_settings=HELP)
@keyed
def init_command(*, key_file: Path | None, config: Path | None, host: str) -> None:
    """Make the key of the log, where there is none."""
    path = places(config, host, key=key_file)[1]
    key = _options.make_key(path)
    click.echo(f"made key {keys.key_id(key)}: {visible(str(path))}")
    click.echo("hint: keep a copy where this host cannot write; without the key nobody can verify the log")


def _verified(paths: tuple[Path, ...], key: bytes) -> Report:
    try:
        with _progress(paths) as progress:
            return verify(paths, key, progress=progress)
    except OSError as error:
        name = visible(str(error.filename or "the log"))
        raise HauberkError(f"cannot read {name!r}: {(error.strerror or type(error).__name__).lower()}") from error


@contextmanager
def _progress(paths: tuple[Path, ...]) -> Iterator[Callable[[int], None] | None]:
    """Show a bar, where somebody looks."""
    if not sys.stderr.isatty():
        yield None
        return
    size = sum(log.stat().st_size for path in paths for log in log_set(path) if log.is_file())
    with click.progressbar(length=size, label="verify", file=sys.stderr) as bar:
        yield bar.update


def _print(report: Report) -> None:
    for found in report.breaks:
        click.secho(_line(found), fg="red")
    if (more := report.broken - len(report.breaks)) > 0:
        click.secho(f"… and {more} more", fg="red")
    for name in report.empty:
        click.secho(f"{visible(name)}: nothing to verify: it has no entries", fg="yellow")
    total = f"{_count(report.entries, 'entry', 'entries')} in {_count(len(report.logs), 'log', 'logs')}"
    if report.broken:
        places = _count(report.broken, "break", "breaks")
        click.secho(f"broken: {places}; {total} signed with key {report.key_id}", fg="red", bold=True)
        if {found.kind for found in report.breaks} == {"wrong_key"}:
            click.echo("hint: name the key of this log with --key-file")
    elif report.status == 0:
        click.secho(f"whole: {total}, each in its place and signed with key {report.key_id}", fg="green", bold=True)
        click.echo(f"note: {_UNANCHORED}")


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _line(found: Break) -> str:
    last = found.line + found.lines - 1
    where = f":{found.line}" if found.lines == 1 else f":{found.line}-{last}"
    entry = f" entry {found.sequence}:" if found.sequence else ""
    return f"{visible(found.file)}{where if found.line else ''}: {found.kind}:{entry} {found.detail}"

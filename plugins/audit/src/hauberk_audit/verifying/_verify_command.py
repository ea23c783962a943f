"""``hauberk audit verify``."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click
import msgspec

from hauberk.cli.options import HELP, printing
from hauberk.refusals import HauberkError
from hauberk_audit import _options
from hauberk_audit._entry import visible
from hauberk_audit._paths import log_set
from hauberk_audit._places import configuration, keyed, places
from hauberk_audit.checkpoints._checkpoint_keys import verifier_of
from hauberk_audit.verifying._anchor import Anchor
from hauberk_audit.verifying._heads import seconds
from hauberk_audit.verifying._verify import Report, Terms, load_checkpoints, verify
from hauberk_audit.verifying._walk import Break
from hauberk_audit.writing._custody import load_initial

_UNANCHORED: Final = "nothing outside anchors the log: what was cut off its end together with its state is not missed"
_EPILOG: Final = """\b
Examples:
  hauberk audit verify
  hauberk audit verify audit.jsonl --key-file audit.key
  hauberk audit verify /srv/logs --key-file audit.key --json
  hauberk audit verify audit.jsonl --checkpoints host1.checkpoints --public-key checkpoint.key.pub

Exit status: 0 each entry is in its place, 1 something was changed, 2 there is nothing to verify, or it cannot be read.
"""


@click.command("verify", epilog=_EPILOG, context_settings=HELP)
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path), metavar="[PATH]...")
@click.option(
    "--checkpoints",
    "files",
    multiple=True,
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Checkpoints of the logs, as a sink kept them. May be repeated.",
)
@click.option(
    "--public-key",
    "public_keys",
    multiple=True,
    metavar="KEY",
    help="Who is trusted to sign checkpoints: a key, or its file. May be repeated.",
)
@click.option(
    "--max-silence", metavar="SECONDS", type=float, help="Say where a host that ran wrote nothing for longer."
)
@click.option("--as-of", metavar="TIME", help="When the logs were copied, for their end, as RFC 3339 [default: now].")
@keyed
@printing
@click.pass_context
def verify_command(
    ctx: click.Context,
    /,
    *,
    paths: tuple[Path, ...],
    files: tuple[Path, ...],
    public_keys: tuple[str, ...],
    max_silence: float | None,
    as_of: str | None,
    key_file: Path | None,
    config: Path | None,
    host: str,
    as_json: bool,
) -> None:
    """Say where logs are not what was written.

    PATH is a log, with its numbered siblings, or a directory of logs; without it, the log of the configuration.

    With --checkpoints and --public-key logs are compared with what was signed elsewhere as well: then an end that was
    cut off shows, a log that is gone, and one that was put back. Without --key-file that is all that is done.
    """
    if bool(files) != bool(public_keys):
        raise click.UsageError("--checkpoints and --public-key go together")
    if public_keys and key_file is None:
        key = None
        paths = paths or (_configured(config, host),)
    else:
        log, file = places(config, host, paths[0] if paths else None, key_file)
        key, paths = load_initial(file), paths or (log,)
    report = _verified(paths, key, files, public_keys, max_silence, _until(as_of))
    if as_json:
        found = msgspec.structs.asdict(report) | {"entries": report.entries, "status": report.status}
        click.echo(msgspec.json.format(msgspec.json.encode(found)).decode())
    else:
        _print(report)
    ctx.exit(report.status)


def _configured(config: Path | None, host: str) -> Path:
    settings, options = configuration(config, host)
    return _options.log_path(options, settings)


def _until(text: str | None, now: Callable[[], float] = time.time) -> float:
    if text is None:
        return now()
    found = seconds(text)
    if not found:
        raise click.BadParameter(f"{text!r} is no time such as 2026-01-31T12:00:00Z", param_hint="--as-of")
    return found


def _verified(
    paths: tuple[Path, ...],
    key: bytes | None,
    files: tuple[Path, ...],
    public_keys: tuple[str, ...],
    silence: float | None,
    until: float,
) -> Report:
    try:
        anchor = Anchor([verifier_of(text) for text in public_keys]) if public_keys else None
        bad: list[tuple[Break, Path]] = []
        for name in files:
            if anchor is not None:
                load_checkpoints(anchor, name, lambda found, path: bad.append((found, path)))
        with progress_bar(paths) as progress:
            return verify(paths, key, Terms(anchor, silence, until, tuple(bad)), progress=progress)
    except OSError as error:
        where = visible(str(error.filename or "the log"))
        raise HauberkError(f"cannot read {where!r}: {(error.strerror or type(error).__name__).lower()}") from error


@contextmanager
def progress_bar(paths: tuple[Path, ...]) -> Iterator[Callable[[int], None] | None]:
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
    _print_logs(report)
    _print_sum(report)


def _print_logs(report: Report) -> None:
    """Say of which logs nothing could be told, and what is missing because it was to go."""
    for name in report.empty:
        click.secho(f"{visible(name)}: nothing to verify: it has no entries", fg="yellow")
    for name in report.uncovered:
        click.secho(f"{visible(name)}: no checkpoint is about it", fg="yellow")
    for name in report.unheard:
        click.secho(f"{visible(name)}: it is sealed, so whether it was silent cannot be told", fg="yellow")
    for one in report.let_go:
        said = f"as entry {one.said} says" if one.said else "as the checkpoint beside it says"
        click.echo(f"{visible(one.file)}: entries 1 to {one.entries} were let go, {said}")


def _print_sum(report: Report) -> None:
    total = f"{_count(report.entries, 'entry', 'entries')} in {_count(len(report.logs), 'log', 'logs')}"
    signed = f" signed with key {report.key_id}" if report.key_id else ""
    if report.broken:
        click.secho(f"broken: {_count(report.broken, 'break', 'breaks')}; {total}{signed}", fg="red", bold=True)
        if {found.kind for found in report.breaks} == {"wrong_key"}:
            click.echo("hint: name the key of this log with --key-file")
    elif report.status == 0 and report.key_id:
        click.secho(f"whole: {total}, each in its place and{signed}", fg="green", bold=True)
        click.echo(_anchored(report) if report.anchored else f"note: {_UNANCHORED}")
    elif report.status == 0:
        click.secho(f"whole: {_anchored(report).removeprefix('anchored: ')}", fg="green", bold=True)


def _anchored(report: Report) -> str:
    """Return how much of the logs checkpoints cover."""
    checkpoints = _count(report.checkpoints, "checkpoint", "checkpoints")
    text = f"anchored: {report.covered} of {_count(report.entries, 'entry', 'entries')} as {checkpoints} have them"
    if report.newest:
        text = f"{text}, the newest of {report.newest}"
    left = report.entries - report.covered
    return f"{text}; the last {left} are in none" if left else text


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _line(found: Break) -> str:
    last = found.line + found.lines - 1
    where = f":{found.line}" if found.lines == 1 else f":{found.line}-{last}"
    entry = f" entry {found.sequence}:" if found.sequence else ""
    return f"{visible(found.file)}{where if found.line else ''}: {found.kind}:{entry} {visible(found.detail)}"

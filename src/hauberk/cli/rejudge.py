"""``hauberk rejudge``: what a new policy would have said of the calls in a log."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import click

from hauberk.cli._boundary import COULD_NOT_TELL
from hauberk.cli._run import read
from hauberk.cli.options import HELP, configured, print_json, printing, table
from hauberk.refusals import ConfigError, HauberkError

if TYPE_CHECKING:
    from click._termui_impl import ProgressBar

    from hauberk.config import Config
    from hauberk.rejudging import Change, Outcome

_EPILOG: Final = """\b
Examples:
  hauberk rejudge ~/.local/state/hauberk/audit/audit.jsonl --config new.toml
  hauberk rejudge audit.1.jsonl audit.jsonl --config new.toml --json
  zcat audit.jsonl.gz | hauberk rejudge - --config new.toml

Exit status: 0 every call would be treated as it was; 1 some would be treated otherwise; 2 of some it could not be told,
or the log or the configuration could not be used.
"""
_COLOURS: Final = {"refused": "red", "passes": "green", "asks": "yellow", "unknown": "bright_black"}
_WORDS: Final = {"refused": "refuse", "passes": "allow", "asks": "ask", "unknown": "cannot tell"}
_STDIN: Final = Path("-")


@click.command("rejudge", epilog=_EPILOG, context_settings=HELP)
@click.argument("logs", metavar="LOG...", nargs=-1, required=True, type=click.Path(path_type=Path, allow_dash=True))
@configured
@printing
@click.pass_context
def command(ctx: click.Context, /, *, logs: tuple[Path, ...], config: Path | None, host: str, as_json: bool) -> None:
    """Say what a policy would have made of the calls in a log.

    LOG is a log as the audit plugin writes it; - is standard input. It holds no arguments: where a verdict depends on
    them it cannot be told. Nothing is sent, counted or recorded, and the log itself is not checked (hauberk audit
    verify does that).
    """
    try:
        found = read(config, host)
        outcome = _rejudged(found, logs)
    except HauberkError as error:
        if not as_json:
            raise
        print_json({"status": COULD_NOT_TELL, "error": error.message, "hint": error.hint})
        ctx.exit(COULD_NOT_TELL)
    if as_json:
        print_json(_plain(found, outcome))
    else:
        for line in _lines(found, outcome):
            click.echo(line)
    ctx.exit(outcome.status)


def _rejudged(config: Config, logs: tuple[Path, ...]) -> Outcome:
    import asyncio

    from hauberk.guard import Guard
    from hauberk.rejudging import rejudge

    guard = Guard.load(config)
    with ExitStack() as stack:
        files = [_opened(log, stack) for log in logs]
        with _progress(sum(map(_size, files))) as seen:
            return asyncio.run(rejudge(guard, _read(files), seen))


@contextmanager
def _progress(size: int) -> Iterator[Callable[[int], object]]:
    """Show how far a log of this size (bytes) is read, to somebody who looks."""
    if not (size and sys.stderr.isatty()):
        yield lambda _: None
        return
    bar: ProgressBar[int] = click.progressbar(length=size, label="judging", file=sys.stderr)
    with bar:
        yield bar.update


def _opened(log: Path, stack: ExitStack) -> IO[bytes]:
    """Open one log.

    Raises:
        ConfigError: It cannot be read.
    """
    try:
        file = click.open_file(str(log), "rb")
    except OSError as error:
        raise ConfigError(
            f"cannot read the log {str(log)!r}: {(error.strerror or '').lower()}",
            hint="give a log, or - for standard input; hauberk config show names the directory of logs",
        ) from None
    return file if log == _STDIN else stack.enter_context(file)


def _size(file: IO[bytes]) -> int:
    """Return how long a file is, where that is known (bytes)."""
    import os

    try:
        return os.fstat(file.fileno()).st_size
    except (OSError, ValueError):
        return 0


def _read(files: list[IO[bytes]]) -> Iterator[bytes]:
    from hauberk.rejudging import LIMITS

    for file in files:
        yield from iter(lambda file=file: file.readline(LIMITS.line_bytes + 1), b"")  # type: ignore[misc]


def _lines(config: Config, outcome: Outcome) -> Iterator[str]:
    rows = [_row(change, count) for change, count in outcome.changes.most_common()]
    yield from table(rows) if rows else ()
    told = sum(outcome.changes.values())
    if (more := outcome.refused + outcome.allowed + outcome.asked + outcome.unknown - told) > 0:
        yield f"and {more} calls with further differences"
    if outcome.left_out:
        yield f"left out: {outcome.left_out} calls that something else than a judge refused"
    said = f"would have refused {outcome.refused}, allowed {outcome.allowed}, asked for {outcome.asked}"
    where = f"{config.name}, profile {config.profile}, host {config.host}"
    yield f"{said}, cannot tell {outcome.unknown}; the same {outcome.same} of {outcome.calls}; {where}"


def _row(change: Change, count: int) -> tuple[str, ...]:
    from hauberk.cli._text import printable

    verdict = change.verdict
    word = click.style(_WORDS[verdict.after].ljust(len("cannot tell")), fg=_COLOURS[verdict.after])
    why = verdict.code or verdict.plugin
    rule = f" ({verdict.rule})" if verdict.rule else ""
    return (
        word,
        f"{count}x",
        printable(f"{change.server}/{change.tool}"),
        printable(f"was {change.before}"),
        printable(f"{why}{rule}".strip()),
    )


def _plain(config: Config, outcome: Outcome) -> dict[str, Any]:
    import msgspec

    names = ("calls", "same", "refused", "allowed", "asked", "unknown", "left_out")
    changes = [
        {
            "count": count,
            "server": change.server,
            "tool": change.tool,
            "before": change.before,
            **msgspec.to_builtins(change.verdict._asdict()),
        }
        for change, count in outcome.changes.most_common()
    ]
    return {
        "file": config.name,
        "version": config.version,
        "host": config.host,
        "profile": config.profile,
        **{name: getattr(outcome, name) for name in names},
        "changes": changes,
        "status": outcome.status,
    }

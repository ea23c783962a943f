"""``hauberk doctor``: whether the controls that are configured stop what they are there to stop."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from hauberk.cli._run import read
from hauberk.cli.options import HELP, configured, print_json, printing
from hauberk.refusals import HauberkError

if TYPE_CHECKING:
    from hauberk.config import Config
    from hauberk.doctor import Finding, Report, State

_EPILOG: Final = """\b
Examples:
  hauberk doctor
  hauberk doctor --config hauberk.toml
  hauberk doctor --config hauberk.toml --json

Exit status: 0 everything was stopped, 1 something got through or is not as it must be, 2 something could not be told
(the configuration, a plugin that does not open, a plugin without probes).
"""
_LABELS: Final[dict[State, tuple[str, str]]] = {
    "ok": ("ok", "green"),
    "not_stopped": ("NOT STOPPED", "red"),
    "faulty": ("FAULTY", "red"),
    "unknown": ("could not tell", "yellow"),
    "unprobed": ("no probe", "yellow"),
}
_WIDTH: Final = max(len(label) for label, _ in _LABELS.values())


@click.command("doctor", epilog=_EPILOG, context_settings=HELP)
@configured
@printing
@click.pass_context
def command(ctx: click.Context, /, *, config: Path | None, host: str, as_json: bool) -> None:
    """Send each control what it must stop, and say what came of it.

    Configuration and plugins are loaded as a host does. What is sent passes the real chains between two ends in memory:
    no server is started or called, and what is recorded of it says that it was a probe.
    """
    found = read(config, host)
    report = _examined(found)
    if as_json:
        print_json(_plain(found, report))
    else:
        _print(found, report)
    ctx.exit(report.status)


def _examined(config: Config) -> Report:
    """Examine a host; what cannot even be loaded is a finding."""
    import asyncio

    from hauberk import doctor
    from hauberk.guard import Guard

    lock = doctor.locked(config)
    first = () if lock is None else (lock,)
    try:
        guard = Guard.load(config)
    except HauberkError as error:
        loads = () if lock is not None and lock.state != "ok" else (doctor.cannot("loads", "a host loads", error),)
        return doctor.Report((*first, *loads))
    return doctor.Report((*first, *asyncio.run(doctor.run(guard)).findings))


def _print(config: Config, report: Report) -> None:
    width = max((len(one.name) for one in report.findings), default=0)
    for one in report.findings:
        label, colour = _LABELS[one.state]
        click.echo(f"{click.style(label.ljust(_WIDTH), fg=colour)}  {one.name.ljust(width)}  {_text(one)}")
        if one.hint:
            click.echo(f"{' ' * _WIDTH}  {click.style('hint:', fg='cyan')} {one.hint}")
    click.echo(_summary(config, report))


def _text(one: Finding) -> str:
    return f"{one.control}: {one.detail}" if one.detail else one.control


def _summary(config: Config, report: Report) -> str:
    """Return the last line: how many of which, and of what."""
    where = f"{config.name}, profile {config.profile}, host {config.host}"
    count = len(report.findings)
    if not report.status:
        return f"{click.style('live', fg='green', bold=True)}: {count} of {count} controls; {where}"
    counts = {state: len(report.of(state)) for state in _LABELS}
    said = ", ".join(f"{number} {_LABELS[state][0]}" for state, number in counts.items() if number)
    word, colour = ("not live", "red") if report.status == 1 else ("could not tell", "yellow")
    return f"{click.style(word, fg=colour, bold=True)}: {said}; {where}"


def _plain(config: Config, report: Report) -> dict[str, Any]:
    import msgspec

    return {
        "file": config.name,
        "version": config.version,
        "host": config.host,
        "profile": config.profile,
        "status": report.status,
        "findings": [msgspec.structs.asdict(one) for one in report.findings],
    }

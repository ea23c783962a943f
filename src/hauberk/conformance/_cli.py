"""The command line of ``python -m hauberk.conformance``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from hauberk import files
from hauberk.cli._boundary import Manner, bounded
from hauberk.conformance._checks import CHECKS, Result, plain, run
from hauberk.conformance._subject import Fault, Limits, Subject

_WIDTH = max(len(check.name) for check in CHECKS)
_EPILOG = """\b
Exit status: 0 it passes, 1 it does not, 2 it could not be tested.

\b
Examples:
  python -m hauberk.conformance sieve
  python -m hauberk.conformance policy --config examples/business_hours.toml
"""


@click.command(epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.argument("name", required=False)
@click.option("--config", type=click.Path(path_type=Path), help="A configuration under which the plugin runs.")
@click.option("--peers", default=Limits().peers, show_default=True, help="Peers that may fill what is bounded.")
@click.option("--patience", default=Limits().patience, show_default=True, help="Seconds that a hook may take.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--list", "listed", is_flag=True, help="List the checks.")
@click.pass_context
def command(context: click.Context, /, *, name: str | None, listed: bool, **options: Any) -> None:
    """Test whether the plugin NAME keeps the promises that every plugin makes."""
    if listed:
        for check in CHECKS:
            click.echo(f"{check.name:{_WIDTH}}  {check.claim}")
        return
    if name is None:
        raise click.UsageError("give the NAME of a plugin")
    context.exit(bounded(lambda: _tested(name, **options), Manner()))


def _tested(name: str, *, config: Path | None, peers: int, patience: float, as_json: bool) -> int:
    text = files.read_judged(config)[0].decode() if config else ""
    base = config.resolve().parent if config else None
    subject = Subject(name, text, base=base, limits=Limits(peers=peers, patience=patience))
    results = []
    if not as_json:
        click.echo(f"{name}: {subject.source.distribution} {subject.source.version}")
    for result in run(subject):
        results.append(result)
        if not as_json:
            _print(result)
    failed = sum(not result.passed for result in results)
    if as_json:
        click.echo(json.dumps({"plugin": name, "passed": not failed, "checks": list(map(plain, results))}, indent=2))
    else:
        click.echo(f"{len(results)} checks, {failed} not passed" if failed else f"{len(results)} checks passed")
    return 1 if failed else 0


def _print(result: Result) -> None:
    word = "not run" if result.faults is None else "FAILED" if result.faults else "ok"
    click.echo(f"  {word:7}  {result.check.name:{_WIDTH}}  {result.check.claim}")
    for fault in result.faults or ():
        click.echo(f"{'':11}{_line(fault)}")


def _line(fault: Fault) -> str:
    return f"{fault.reason}  [{fault.where}]" if fault.where else fault.reason

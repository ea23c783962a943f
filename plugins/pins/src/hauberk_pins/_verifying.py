"""``hauberk pins verify``: for a pipeline, by its exit status, and for code scanning, by SARIF."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path
from typing import Final

import click

from hauberk import files
from hauberk.cli.options import HELP, configured, print_json, printing
from hauberk_pins import _verify
from hauberk_pins._console import look, opened, selecting, starting
from hauberk_pins._desk import Desk

_MODE: Final = 0o644


@click.command("verify", context_settings=HELP)
@configured
@selecting
@starting
@printing
@click.option(
    "--sarif",
    metavar="FILE",
    type=click.Path(path_type=Path, allow_dash=True),
    help="Write SARIF 2.1.0 for code scanning; - prints it.",
)
@click.pass_context
def verify_command(
    ctx: click.Context,
    /,
    *,
    config: Path | None,
    host: str,
    server: str | None,
    tool: str | None,
    live: bool,
    words: tuple[str, ...],
    as_json: bool,
    sarif: Path | None,
) -> None:
    """Compare hauberk.lock, what is trusted on this machine, and what servers showed, or with --live show now.

    Exit status: 0 all agree, 1 they do not, 2 something cannot be read.
    """
    desk, settings = opened(config, host)
    if words and not live:
        raise click.UsageError("a COMMAND is started only with --live")
    if live and len(names := look(desk, settings, server, words)) == 1:
        server = names[0]
    findings = _verify.verify(desk, server, tool)
    if sarif is not None:
        _write(sarif, findings, desk)
    if as_json:
        print_json([one.data() for one in findings])
    elif sarif is None or str(sarif) != "-":
        _show(findings)
    ctx.exit(1 if any(one.fails for one in findings) else 0)


def _show(findings: list[_verify.Finding]) -> None:
    fails = any(one.fails for one in findings)
    for one in findings:
        click.secho(one.text, fg="red" if one.fails else "yellow")
    click.secho("not as trusted" if fails else "as trusted", fg="red" if fails else "green", bold=True)


def _write(file: Path, findings: list[_verify.Finding], desk: Desk) -> None:
    log = json.dumps(_verify.sarif(findings, desk, importlib.metadata.version("hauberk-pins")), indent=2)
    if str(file) == "-":
        click.echo(log)
    else:
        files.write_atomic(file, f"{log}\n".encode(), mode=_MODE)

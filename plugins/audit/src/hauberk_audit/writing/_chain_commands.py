"""``hauberk audit chain``: how a log stands, and a way out where it cannot go on."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, get_args

import click
import msgspec

from hauberk.cli.options import HELP, print_json, printing
from hauberk.event import Event, id_source
from hauberk.refusals import ConfigError, HauberkError
from hauberk_audit._entry import render, visible
from hauberk_audit._options import key_path, log_path
from hauberk_audit._paths import log_set
from hauberk_audit._places import configuration, keyed, places
from hauberk_audit.sealing._encryption import sealing_for
from hauberk_audit.sealing._recipients import keys_path
from hauberk_audit.writing._custody import Signing, key_id, load
from hauberk_audit.writing._reset import Code, Status, reset, status

_STATUS_EPILOG: Final = """\b
Examples:
  hauberk audit chain status
  hauberk audit chain status audit.jsonl --key-file audit.key --json

Exit status: 0 each log can be gone on with, 1 one cannot, 2 it could not be told.
"""
_RESET_EPILOG: Final = """\b
Example:
  hauberk audit chain reset ~/.local/state/hauberk/audit/audit.jsonl --reason 'the key was lost'

Nothing is deleted: the log is put into a directory beside it, as it is.
"""


@click.group("chain", context_settings=HELP)
def chain() -> None:
    """Look at a log that cannot go on, and begin another one."""


@chain.command("status", epilog=_STATUS_EPILOG, context_settings=HELP)
@click.argument("path", required=False, type=click.Path(path_type=Path))
@keyed
@printing
@click.pass_context
def status_command(
    ctx: click.Context, /, *, path: Path | None, key_file: Path | None, config: Path | None, host: str, as_json: bool
) -> None:
    """Say how logs stand.

    PATH is a log, with its numbered siblings, or a directory of logs; without it, the log of the configuration.
    """
    log, key = places(config, host, path, key_file)
    signer = load(key)
    found = [_told(one, signer) for one in log_set(log)]
    if as_json:
        print_json([msgspec.to_builtins(one) for one in found])
    else:
        for one in found:
            click.echo(_line(one))
    ctx.exit(0 if all(one.goes_on for one in found) else 1)


@chain.command("reset", epilog=_RESET_EPILOG, context_settings=HELP)
@click.argument("path", required=False, type=click.Path(path_type=Path))
@click.option("--reason", required=True, help="Why; it is recorded.")
@click.option("--reason-code", type=click.Choice(get_args(Code)), default="manual_reset", help="The same for programs.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@keyed
def reset_command(
    *,
    path: Path | None,
    reason: str,
    reason_code: str,
    yes: bool,
    key_file: Path | None,
    config: Path | None,
    host: str,
) -> None:
    """Put a log away and begin a new chain.

    PATH is the log; without it, that of the configuration.
    """
    settings, options = configuration(config, host)
    log, signer = path or log_path(options, settings), load(key_file or key_path(options, settings))
    sealing = sealing_for(options.encryption, settings, log, key_id(signer))
    if sealing is None and os.path.lexists(keys_path(log)):
        raise ConfigError(
            f"audit log {str(log)!r} is encrypted, and the new one would not be",
            hint="name the configuration of its host: --config FILE with [audit.encryption]",
        )
    if not yes:
        click.confirm(f"put {visible(str(log))} away and begin a new chain?", abort=True, err=True)
    details = {"reason": reason, "reason_code": reason_code, "changed_by": f"uid:{os.getuid()}"}
    try:
        away = reset(log, signer, say, details, sealing=sealing)
    except OSError as error:
        raise HauberkError(f"cannot put {str(log)!r} away: {(error.strerror or '').lower()}") from None
    click.echo(f"put away: {visible(str(away))}")
    click.echo(f"begun: {visible(str(log))}, signed with key {key_id(signer)}")


def _told(path: Path, signer: Signing) -> Status:
    try:
        return status(path, signer)
    except OSError as error:
        raise HauberkError(f"cannot read {str(path)!r}: {(error.strerror or '').lower()}") from None


def _line(found: Status) -> str:
    name = visible(found.path)
    if not found.goes_on:
        return click.style(f"{name}: cannot go on: {visible(found.reason)}", fg="red")
    words = ["written by a process" if found.held else "can be gone on with", f"entry {found.sequence}"]
    words += [f"{len(found.files)} files before it"] if found.files else []
    words += [f"its state is {found.state}"] if found.state else []
    return click.style(f"{name}: {', '.join(words)}", fg="yellow" if found.state else "green")


def say(code: str, details: dict[str, Any], now: Callable[[], float] = time.time) -> bytes:
    """Return an entry of this command."""
    return render(
        Event(code=code, id=id_source()(), time=now(), category="system", severity="warning", details=details)
    )

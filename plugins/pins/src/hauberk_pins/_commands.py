"""``hauberk pins``: see, trust, compare and verify what servers show."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

import click

from hauberk import files
from hauberk.cli.options import HELP, configured, print_json, printing
from hauberk.refusals import HauberkError
from hauberk_pins import _compare, _desk, _lock
from hauberk_pins._console import COLOURS, json_of, opened, selecting, show, show_diff
from hauberk_pins._desk import Desk
from hauberk_pins._trusting import trust_command
from hauberk_pins._verifying import verify_command
from hauberk_pins._visible import shown

_SHORT: Final = 19
"""Characters of a hash in a table: ``sha256:`` and twelve digits."""
_LOCK_MODE: Final = 0o644


@click.group("pins", context_settings=HELP)
def pins() -> None:
    """See and trust what servers show, and find what changed."""


pins.add_command(trust_command)
pins.add_command(verify_command)


@pins.command("list", context_settings=HELP)
@configured
@selecting
@printing
def list_command(*, config: Path | None, host: str, server: str | None, tool: str | None, as_json: bool) -> None:
    """List what is pinned and what was seen."""
    desk, _ = opened(config, host)
    rows = list(desk.rows(desk.trusted(), server, tool))
    if as_json:
        print_json([json_of(row) for row in rows])
        return
    if not rows:
        click.echo("nothing is pinned, and nothing was seen yet")
    for row in rows:
        status = click.style(f"{row.status:<8}", fg=COLOURS[row.status])
        click.echo(f"{status}  {row.item.hash[:_SHORT]}  {shown(row.server)}  {_compare.label(row.item)}")


@pins.command("diff", context_settings=HELP)
@configured
@selecting
@printing
@click.option("--lock", "of_lock", is_flag=True, help="Compare hauberk.lock with what is trusted on this machine.")
@click.pass_context
def diff_command(
    ctx: click.Context,
    /,
    *,
    config: Path | None,
    host: str,
    server: str | None,
    tool: str | None,
    as_json: bool,
    of_lock: bool,
) -> None:
    """Show what differs from what is trusted.

    Exit status: 0 nothing differs, 1 something does, 2 it cannot be told.
    """
    desk, _ = opened(config, host)
    if of_lock:
        ctx.exit(_diff_lock(desk, as_json=as_json))
    rows = [row for row in desk.rows(desk.trusted(), server, tool) if row.change is not None]
    if as_json:
        print_json([json_of(row) for row in rows])
    else:
        for row in rows:
            show(row)
        if any(row.status != "gone" for row in rows):
            click.echo(f"together as seen: {_desk.hash_of(rows)}")
    ctx.exit(1 if rows else 0)


def _diff_lock(desk: Desk, *, as_json: bool) -> int:
    lines, digest = desk.lock_diff()
    if as_json:
        print_json({"hash": digest, "diff": lines})
    else:
        show_diff(lines)
        if lines:
            click.echo(f"hauberk.lock: {digest}")
    return 1 if lines else 0


@pins.command("reset", context_settings=HELP)
@configured
@selecting
@printing
@click.option("--seen", is_flag=True, help="Forget what was seen, its first sight too; what is trusted stays.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def reset_command(
    *, config: Path | None, host: str, server: str | None, tool: str | None, as_json: bool, seen: bool, yes: bool
) -> None:
    """Trust something no longer: it is hidden and refused until it is trusted again."""
    if server is None:
        raise click.UsageError("--server is needed: of which server?")
    desk, _ = opened(config, host)
    rows = [row for row in desk.rows(desk.trusted(), server, tool) if row.status != "unpinned"]
    if not yes:
        if not sys.stdin.isatty():
            raise HauberkError("there is nobody to ask", hint="--yes")
        question = "Forget what was seen?" if seen else f"Trust {len(rows)} items no longer?"
        click.confirm(question, abort=True, err=as_json)
    done: dict[str, Any] = {"server": server}
    if seen:
        desk.forget(server)
        text = f"forgotten: what server {shown(server)} showed"
    else:
        generation = desk.reset(rows).generation
        done |= {"reset": [json_of(row) for row in rows], "generation": generation}
        text = f"reset: {len(rows)} items, generation {generation}"
    if as_json:
        print_json(done)
    else:
        click.echo(text)


@pins.command("export", context_settings=HELP)
@configured
@selecting
@printing
@click.option("--output", metavar="FILE", type=click.Path(path_type=Path), help="Write there [default: print].")
def export_command(
    *, config: Path | None, host: str, server: str | None, tool: str | None, as_json: bool, output: Path | None
) -> None:
    """Write what is trusted on this machine, in the form of hauberk.lock."""
    lock = opened(config, host)[0].chosen(server, tool)
    text = _lock.as_json(lock) if as_json else _lock.write(lock)
    if output is None:
        click.echo(text, nl=False)
    else:
        files.write_atomic(output, text.encode(), mode=_LOCK_MODE)

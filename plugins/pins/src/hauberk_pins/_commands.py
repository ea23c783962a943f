"""``hauberk pins``: see, trust, compare and verify what servers show."""

from __future__ import annotations

import importlib.metadata
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from hauberk import files
from hauberk.cli.options import HELP, configured, printing
from hauberk.config import Config
from hauberk.refusals import HauberkError
from hauberk_pins import _compare, _desk, _lock, _verify
from hauberk_pins._desk import Desk, Row
from hauberk_pins._visible import shown

_SHORT: Final = 19
"""Characters of a hash in a table: ``sha256:`` and twelve digits."""
F = TypeVar("F", bound=Callable[..., Any])


def _selecting(function: F) -> F:
    """Give a command ``--server`` and ``--tool``."""
    server = click.option("--server", metavar="NAME", help="Of one server [default: all].")
    tool = click.option("--tool", metavar="NAME", help="Of one tool [default: all items].")
    return server(tool(function))


def _desk_of(config: Path | None, host: str) -> Desk:
    settings = Config.read(config, host=host)
    for warning in settings.warnings:
        click.echo(f"hauberk: warning: {warning}", err=True)
    return Desk(settings)


@click.group("pins", context_settings=HELP)
def pins() -> None:
    """See and trust what servers show, and find what changed."""


@pins.command("list", context_settings=HELP)
@configured
@_selecting
@printing
def list_command(*, config: Path | None, host: str, server: str | None, tool: str | None, as_json: bool) -> None:
    """List what is pinned and what was seen."""
    desk = _desk_of(config, host)
    rows = list(desk.rows(desk.trusted(), server, tool))
    if as_json:
        _print_json([_json(row) for row in rows])
    elif not rows:
        click.echo("nothing is pinned, and nothing was seen yet")
    for row in () if as_json else rows:
        name = f"{shown(row.server)}  {_compare.label(row.item)}"
        click.echo(f"{row.status:<8}  {row.item.hash[:_SHORT]}  {name}")


@pins.command("diff", context_settings=HELP)
@configured
@_selecting
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
    desk = _desk_of(config, host)
    if of_lock:
        ctx.exit(_diff_lock(desk))
    rows = [row for row in desk.rows(desk.trusted(), server, tool) if row.change is not None]
    if as_json:
        _print_json([_json(row) for row in rows])
    else:
        for row in rows:
            _show(row)
        if any(row.status != "gone" for row in rows):
            click.echo(f"together as seen: {_desk.hash_of(rows)}")
    ctx.exit(1 if rows else 0)


def _diff_lock(desk: Desk) -> int:
    import difflib

    written = desk.written()
    if written is None:
        raise HauberkError("there is no hauberk.lock beside the configuration", hint="hauberk pins export")
    old, new = (_lock.write(lock).splitlines() for lock in (desk.trusted(), written))
    lines = list(difflib.unified_diff(old, new, "trusted here", str(desk.lock_path), lineterm=""))
    for line in lines:
        click.echo(line)
    if lines:
        click.echo(f"hauberk.lock: {_desk.file_hash(desk.lock_bytes() or b'')}")
    return 1 if lines else 0


@pins.command("trust", context_settings=HELP)
@configured
@_selecting
@click.option("--lock", "of_lock", is_flag=True, help="Trust what hauberk.lock says, after a review.")
@click.option("--yes", is_flag=True, help="Do not ask; needs --hash.")
@click.option("--hash", "given", metavar="HASH", help="The hash of what is trusted, as `hauberk pins diff` prints it.")
def trust_command(
    *,
    config: Path | None,
    host: str,
    server: str | None,
    tool: str | None,
    of_lock: bool,
    yes: bool,
    given: str | None,
) -> None:
    """Show each new or changed definition in full, and pin it if you say so."""
    desk = _desk_of(config, host)
    if of_lock:
        data = desk.lock_bytes()
        if data is None:
            raise HauberkError("there is no hauberk.lock beside the configuration", hint="take it from version control")
        _diff_lock(desk)
        _agreed(_desk.file_hash(data), given, yes=yes)
        click.echo(f"trusted: generation {desk.adopt(data).generation}, as in {desk.lock_path}")
        return
    rows = list(desk.rows(desk.trusted(), server, tool))
    news = [row for row in rows if row.status != "pinned"]
    if not news:
        click.echo("nothing to trust: all that was seen is pinned")
        return
    for row in news:
        _show(row)
    _agreed(_desk.hash_of(news), given, yes=yes)
    lock = desk.accept(news)
    where = f", written to {desk.lock_path}" if desk.lock_path is not None else ""
    click.echo(f"trusted: {len(news)} items, generation {lock.generation}{where}")


def _agreed(expected: str, given: str | None, *, yes: bool) -> None:
    """Go on if somebody has looked and says so.

    Raises:
        HauberkError: Nobody has.
    """
    if given is not None and not _desk.same_hash(given, expected):
        raise HauberkError(f"what was seen has the hash {expected}, not {shown(given)}", hint="hauberk pins diff")
    if yes:
        if given is None:
            raise HauberkError("--yes needs the hash of what is trusted", hint=f"--hash {expected}, after a review")
        return
    if not sys.stdin.isatty():
        raise HauberkError("there is nobody to ask", hint=f"--yes --hash {expected}, after a review")
    click.echo(f"hash: {expected}")
    click.confirm("Trust this?", abort=True)


@pins.command("reset", context_settings=HELP)
@configured
@click.option("--server", metavar="NAME", required=True, help="Of which server.")
@click.option("--tool", metavar="NAME", help="Of one tool [default: all items].")
@click.option("--seen", is_flag=True, help="Forget what was seen, its first sight too; what is trusted stays.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def reset_command(*, config: Path | None, host: str, server: str, tool: str | None, seen: bool, yes: bool) -> None:
    """Trust something no longer: it is hidden and refused until it is trusted again."""
    desk = _desk_of(config, host)
    rows = [row for row in desk.rows(desk.trusted(), server, tool) if row.status != "unpinned"]
    if not yes:
        if not sys.stdin.isatty():
            raise HauberkError("there is nobody to ask", hint="--yes")
        click.confirm("Forget what was seen?" if seen else f"Trust {len(rows)} items no longer?", abort=True)
    if seen:
        desk.forget(server)
        click.echo(f"forgotten: what server {shown(server)} showed")
        return
    click.echo(f"reset: {len(rows)} items, generation {desk.reset(rows).generation}")


@pins.command("verify", context_settings=HELP)
@configured
@printing
@click.option("--sarif", is_flag=True, help="Print SARIF 2.1.0, for code scanning.")
@click.pass_context
def verify_command(ctx: click.Context, /, *, config: Path | None, host: str, as_json: bool, sarif: bool) -> None:
    """Compare hauberk.lock, what is trusted on this machine, and what servers showed.

    Exit status: 0 all agree, 1 they do not, 2 something cannot be read.
    """
    desk = _desk_of(config, host)
    findings = _verify.verify(desk)
    fails = any(one.fails for one in findings)
    if sarif:
        _print_json(_verify.sarif(findings, desk, importlib.metadata.version("hauberk-pins")))
    elif as_json:
        _print_json(
            [{"rule": f.rule, "text": f.text, "server": f.server, "item": f.item, "fields": f.fields} for f in findings]
        )
    else:
        for one in findings:
            click.secho(one.text, fg="red" if one.fails else "yellow")
        click.secho("not as trusted" if fails else "as trusted", fg="red" if fails else "green", bold=True)
    ctx.exit(1 if fails else 0)


@pins.command("export", context_settings=HELP)
@configured
@click.option("--output", metavar="FILE", type=click.Path(path_type=Path), help="Write there [default: print].")
def export_command(*, config: Path | None, host: str, output: Path | None) -> None:
    """Write what is trusted on this machine, in the form of hauberk.lock."""
    text = _lock.write(_desk_of(config, host).trusted())
    if output is None:
        click.echo(text, nl=False)
    else:
        files.write_atomic(output, text.encode(), mode=0o644)


def _show(row: Row) -> None:
    """Print one item in full: what it is, or what changed in it."""
    click.echo(f"{row.status}: {shown(row.server)}: {_compare.label(row.item)} {row.item.hash}")
    if row.change is not None and row.change.before is not None and row.change.after is not None:
        lines = _compare.diff(row.change)
    else:
        lines = _compare.lines(row.item)
    for line in lines:
        click.echo(f"  {line}")


def _json(row: Row) -> dict[str, Any]:
    change = row.change
    before = None if change is None or change.before is None else change.before
    return {
        "server": row.server,
        "kind": row.item.kind,
        "name": row.item.name,
        "status": row.status,
        "hash": row.item.hash,
        "pinned": row.item.hash if row.status == "pinned" else before.hash if before is not None else None,
        "pinned_name": before.name if before is not None else None,
        "fields": change.fields if change is not None and row.status == "changed" else [],
        "diff": _compare.diff(change) if change is not None else [],
    }


def _print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2))

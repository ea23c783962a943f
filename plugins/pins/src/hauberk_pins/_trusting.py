"""``hauberk pins trust``: somebody looks at the whole of what is new, and says yes to exactly that."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from hauberk.cli.options import HELP, configured, print_json, printing
from hauberk.refusals import HauberkError
from hauberk_pins import _desk
from hauberk_pins._console import json_of, look, opened, selecting, show, show_diff, starting
from hauberk_pins._desk import Desk, Row
from hauberk_pins._visible import shown


@click.command("trust", context_settings=HELP)
@configured
@selecting
@starting
@printing
@click.option("--lock", "of_lock", is_flag=True, help="Trust what hauberk.lock says, after a review.")
@click.option("--yes", is_flag=True, help="Do not ask; needs --hash.")
@click.option("--hash", "given", metavar="HASH", help="The hash of what is trusted, as `hauberk pins diff` prints it.")
def trust_command(
    *,
    config: Path | None,
    host: str,
    server: str | None,
    tool: str | None,
    live: bool,
    words: tuple[str, ...],
    as_json: bool,
    of_lock: bool,
    yes: bool,
    given: str | None,
) -> None:
    """Show each new or changed definition in full, and pin it if you say so."""
    desk, settings = opened(config, host)
    if words and not live:
        raise click.UsageError("a COMMAND is started only with --live")
    if of_lock:
        _trust_lock(desk, given, yes=yes, as_json=as_json)
        return
    names = look(desk, settings, server, words) if live else []
    if len(names) == 1:
        server = names[0]
    news = [row for row in desk.rows(desk.trusted(), server, tool) if row.status != "pinned"]
    if not news:
        _say("nothing to trust: all that was seen is pinned", {"trusted": []}, as_json=as_json)
        return
    for row in news:
        show(row, err=as_json)
    _agreed(_desk.hash_of(news), given, yes=yes)
    generation = desk.accept(news).generation
    _told(desk, news, generation, as_json=as_json)


def _told(desk: Desk, news: list[Row], generation: int, *, as_json: bool) -> None:
    where = f", written to {desk.lock_path}" if desk.lock_path is not None else ""
    found = {"trusted": [json_of(row) for row in news], "generation": generation, "lock": str(desk.lock_path or "")}
    _say(f"trusted: {len(news)} items, generation {generation}{where}", found, as_json=as_json)


def _trust_lock(desk: Desk, given: str | None, *, yes: bool, as_json: bool) -> None:
    data = desk.lock_bytes()
    if data is None:
        raise HauberkError("there is no hauberk.lock beside the configuration", hint="take it from version control")
    lines, digest = desk.lock_diff()
    show_diff(lines, err=as_json)
    _agreed(digest, given, yes=yes)
    generation = desk.adopt(data).generation
    found = {"generation": generation, "lock": str(desk.lock_path)}
    _say(f"trusted: generation {generation}, as in {desk.lock_path}", found, as_json=as_json)


def _say(text: str, value: object, *, as_json: bool) -> None:
    if as_json:
        print_json(value)
    else:
        click.echo(text)


def _is_terminal() -> bool:
    return sys.stdin.isatty()


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
    if not _is_terminal():
        raise HauberkError("there is nobody to ask", hint=f"--yes --hash {expected}, after a review")
    click.echo(f"hash: {expected}", err=True)
    click.confirm("Trust this?", abort=True, err=True)

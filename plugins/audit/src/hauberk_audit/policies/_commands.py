"""``hauberk policy``: which policies were in force, what they said, and how to go back to one."""

from __future__ import annotations

import sys
import unicodedata
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from hauberk import differences
from hauberk.cli.options import HELP, print_json, printing, table
from hauberk.refusals import ConfigError, HauberkError
from hauberk_audit._entry import visible
from hauberk_audit.policies import _site
from hauberk_audit.policies._rollback import rollback
from hauberk_audit.policies._rows import Row, version_of
from hauberk_audit.policies._sign_commands import keygen, serial, sign
from hauberk_audit.policies._site import Site, content_of, rows_of, short, site, sited, when
from hauberk_audit.policies._verify_command import verify

_UNSEEN: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Categories of Unicode whose characters act on a terminal, or cannot be seen there."""
_HISTORY_EPILOG: Final = """\b
Examples:
  hauberk policy history
  hauberk policy history --config hauberk.toml --json

Exit status: 0 there is a history, 2 there is none, or it cannot be read.
"""
_SHOW_EPILOG: Final = """\b
Examples:
  hauberk policy show 3f9a2c
  hauberk policy show 3f9a2c --raw > before.toml

Exit status: 0 it was printed, 2 it was not.
"""
_DIFF_EPILOG: Final = """\b
Examples:
  hauberk policy diff 3f9a2c
  hauberk policy diff 3f9a2c 81d0e7

Exit status: 0 they say the same, 1 they differ, 2 they cannot be compared.
"""


@click.group("policy", context_settings=HELP)
def policy() -> None:
    """Look at the policies that were in force, go back to one, or sign one."""


@policy.command(epilog=_HISTORY_EPILOG, context_settings=HELP)
@sited
@printing
def history(*, config: Path | None, host: str, state_dir: Path | None, as_json: bool) -> None:
    """List the policies that came into force, the newest first.

    The row with a star is what was last put in force from its file.
    """
    found = site(config, host, state_dir)
    rows = rows_of(found)
    current = _site.in_force(rows)
    if as_json:
        shown = [msgspec.to_builtins(row) | {"in_force": current.get(row.place) == row.number} for row in rows]
        print_json(shown[::-1])
        return
    head = ("", "row", "version", "serial", "loaded at", "how", "changed by", "signed by", "changes", "policy")
    lines = [_line(row, starred=current.get(row.place) == row.number) for row in reversed(rows)]
    for line in table([head, *lines]):
        click.echo(line)
    _note_file(found, rows)


def _line(row: Row, *, starred: bool) -> tuple[str, ...]:
    signer = visible(row.signer) or ("" if row.signature in {"", "valid"} else "nobody")
    return (
        "*" if starred else "",
        str(row.number),
        visible(short(row.version)),
        str(row.serial or ""),
        when(row.loaded_at),
        row.how,
        visible(row.changed_by),
        signer,
        visible(row.summary),
        visible(row.place or row.policy_name),
    )


def _note_file(found: Site, rows: list[Row]) -> None:
    """Say that the file is not what was last put in force, if so."""
    newest = [row for row in rows if row.place == found.place and row.how != "kept"][-1:]
    if newest and found.settings is not None and found.settings.version != newest[0].version:
        click.echo(f"note: {visible(found.settings.name)} has changed since; hosts that run enforce what they loaded")


@policy.command(epilog=_SHOW_EPILOG, context_settings=HELP)
@click.argument("version")
@click.option("--raw", is_flag=True, help="Print it though it holds secrets, or what acts on a terminal.")
@sited
@printing
def show(*, version: str, raw: bool, config: Path | None, host: str, state_dir: Path | None, as_json: bool) -> None:
    """Print what a version said, to the byte.

    VERSION is the beginning of its hash, of a policy or of a policy.py.
    """
    found = site(config, host, state_dir)
    name, content = content_of(found, version)
    rows = [row for row in found.history.rows() if name in {row.version, row.policy_file}]
    if not raw:
        _check_secrets(found, name, content, rows)
        _check_seen(name, content)
    if as_json:
        print_json(
            {
                "version": name,
                "content": content.decode(errors="backslashreplace"),
                "rows": [msgspec.to_builtins(row) for row in rows],
            }
        )
        return
    click.echo(_harmless(content) if sys.stdout.isatty() else content, nl=False)


def _check_seen(name: str, content: bytes) -> None:
    """Check that all of a content can be seen: it is printed as it is, or not at all.

    Raises:
        ConfigError: A character of it acts on a terminal, or hides what is there.
    """
    if _harmless(content) != content.decode(errors="surrogateescape"):
        raise ConfigError(
            f"version {short(name)} holds characters that act on a terminal, and is not shown",
            hint="--raw prints it: on a terminal with those characters escaped, elsewhere to the byte",
        )


def _harmless(content: bytes) -> str:
    """Return a content in which what acts on a terminal is escaped, and so are bytes that are no text."""
    found = content.decode(errors="surrogateescape")
    lines = found.replace("\r\n", "\n")
    if not any(_acts(c) for c in set(lines)):
        return found
    return "".join([ascii(c)[1:-1] if _acts(c) else c for c in lines])


def _acts(character: str) -> bool:
    return character not in "\n\t" and unicodedata.category(character) in _UNSEEN


def _check_secrets(found: Site, name: str, content: bytes, rows: list[Row]) -> None:
    """Check that a policy holds no secret that would be printed; what it says is printed as it is, or not at all.

    Raises:
        ConfigError: It does, or nobody can tell.
    """
    if all(row.version != name for row in rows):
        return  # a policy.py: a program, of which nobody can tell
    try:
        settings = found.config(content)
        places = differences.hidden(settings, _site.kinds(settings))
    except HauberkError as error:
        places = [error.message]
    if places:
        more = f" and {len(places) - 1} more" if len(places) > 1 else ""
        raise ConfigError(
            f"version {short(name)} may hold secrets, and is not shown: {visible(places[0])}{more}",
            hint="--raw prints it as it was; `hauberk policy diff` shows what changed, with no secret in it",
        )


@policy.command(epilog=_DIFF_EPILOG, context_settings=HELP)
@click.argument("a")
@click.argument("b", required=False)
@sited
@printing
@click.pass_context
def diff(
    ctx: click.Context,
    /,
    *,
    a: str,
    b: str | None,
    config: Path | None,
    host: str,
    state_dir: Path | None,
    as_json: bool,
) -> None:
    """Compare two versions rule by rule, as a reload does.

    A and B are beginnings of their hashes; without B, A is compared with the file as it is. No secret is shown.
    """
    found = site(config, host, state_dir)
    compared = _compared(found, content_of(found, a), content_of(found, b) if b is not None else _file(found))
    if as_json:
        print_json(compared)
    else:
        click.echo(f"{short(compared['from'])} → {short(compared['to'])}: {visible(compared['summary'])}")
        for line in compared["lines"]:
            click.secho(f"  {visible(line)}", fg={"+": "green", "-": "red"}.get(line[0], "yellow"))
    ctx.exit(1 if compared["added"] or compared["removed"] or compared["modified"] else 0)


def _file(found: Site) -> tuple[str, bytes]:
    if found.settings is None:
        raise ConfigError(
            f"{found.path} cannot be loaded, so nothing can be compared with it", hint="name two versions"
        )
    return found.settings.version, found.settings.content


def _compared(found: Site, a: tuple[str, bytes], b: tuple[str, bytes]) -> dict[str, Any]:
    """Compare two contents."""
    rows = {row.version: row for row in found.history.rows()}
    sides = []
    for version, content in (a, b):
        if version not in rows and (found.settings is None or version != found.settings.version):
            raise ConfigError(
                f"version {short(version)} is a policy.py, which has no rules that could be compared",
                hint="hauberk policy show prints it",
            )
        sides.append(found.config(content))
    old, new = sides
    local = tuple(_local(rows.get(version_of(one.content)), found) for one in sides)
    made = differences.between(old, new, _site.kinds(old, new), local=(local[0], local[1]))
    return {"from": old.version, "to": new.version, "summary": made.summary, **made._asdict()}


def _local(row: Row | None, found: Site) -> str:
    """Return the ``policy.py`` of a version as it was loaded last, or of the file as it is."""
    if row is not None:
        return row.policy_file
    return "" if found.settings is None else _site.local_version(found.settings)


for _one in (rollback, verify, sign, keygen, serial):
    policy.add_command(_one)

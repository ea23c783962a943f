"""``hauberk certs list`` and ``check``: what there is, and what is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from hauberk.cli.options import HELP, print_json, printing, table
from hauberk.refusals import ConfigError
from hauberk_tls.certs import _checking, _options, _rows
from hauberk_tls.certs._checking import Asked, Finding
from hauberk_tls.certs._limits import LIMITS
from hauberk_tls.certs._places import Places
from hauberk_tls.certs._text import shown

_LIST_EPILOG: Final = """\b
Examples:
  hauberk certs list
  hauberk certs list --all --json
  hauberk certs list server.pem
"""
_CHECK_EPILOG: Final = """\b
Examples:
  hauberk certs check
  hauberk certs check --days 14 --quiet
  hauberk certs check server.pem --ca ca.pem

Exit status: 0 all is well; 1 something expires, has expired, is revoked, damaged, or open to others; 2 it cannot be
told.
"""
_COLOURS: Final = {"fault": "red", "unknown": "red", "note": "yellow"}
_CANNOT_TELL: Final = 2


@click.command("list", epilog=_LIST_EPILOG, context_settings=HELP)
@click.argument("paths", metavar="[FILE...]", nargs=-1, type=click.Path(path_type=Path))
@click.option("--all", "every", is_flag=True, help="All that the CA has signed, those that were replaced too.")
@_options.placed
@printing
def list_command(*, paths: tuple[Path, ...], every: bool, base: Path | None, as_json: bool) -> None:
    """List the certificates; or those in FILEs from elsewhere."""
    places, now = Places.of(base), _options.now()
    if paths:
        rows = [row for path in paths for row in _rows.foreign(path, now)]
    elif not places.base.is_dir():
        raise ConfigError(f"there are no certificates in {str(places.base)!r}", hint="hauberk certs init")
    else:
        rows = list((_rows.signed if every else _rows.current)(places, now))
    if as_json:
        print_json([row.json() for row in rows])
    elif not rows:
        click.echo("no certificates")
    else:
        for line in table([_rows.HEAD, *(row.cells() for row in rows)]):
            click.echo(line)


@click.command("check", epilog=_CHECK_EPILOG, context_settings=HELP)
@click.argument("paths", metavar="[FILE...]", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--days",
    default=LIMITS.warn_days,
    show_default=True,
    type=click.IntRange(0, LIMITS.most_days),
    help="Warn of what expires within so many days.",
)
@click.option("--ca", metavar="FILE", type=click.Path(path_type=Path), help="Who must have signed the FILEs.")
@click.option("--quiet", is_flag=True, help="Print nothing where all is well: cron mails what is printed.")
@_options.placed
@printing
@click.pass_context
def check_command(
    ctx: click.Context,
    /,
    *,
    paths: tuple[Path, ...],
    days: int,
    ca: Path | None,
    quiet: bool,
    base: Path | None,
    as_json: bool,
) -> None:
    """Check the certificates, the revocation list, and who can get at the keys; or FILEs from elsewhere."""
    if ca and not paths:
        raise click.UsageError("--ca is for FILEs; the CA of a directory is in it")
    asked = Asked(_options.now(), days)
    if paths:
        found = [one for path in paths for one in _checking.foreign(path, ca, asked)]
    else:
        found = list(_checking.directory(Places.of(base), asked))
    bad = [one for one in found if one.level != "note"]
    if as_json:
        print_json({"ok": not bad, "findings": [one.json() for one in found]})
    else:
        _print(found if bad or not quiet else [])
        if not bad and not quiet:
            click.echo("all is well")
    ctx.exit(_CANNOT_TELL if any(one.level == "unknown" for one in bad) else int(bool(bad)))


def _print(found: list[Finding]) -> None:
    for one in found:
        subject = click.style(shown(one.subject, 4096), fg=_COLOURS[one.level])
        click.echo(f"{subject}: {shown(one.text, 4096)}")
        if one.hint:
            click.echo(f"  hint: {shown(one.hint, 4096)}")

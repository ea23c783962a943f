"""``hauberk certs revoke`` and ``crl``: a certificate that no longer counts, and the list that says so."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from hauberk.cli.options import HELP
from hauberk_tls.certs import _options, _store
from hauberk_tls.certs._authority import Authority
from hauberk_tls.certs._index import REASONS
from hauberk_tls.certs._limits import LIMITS
from hauberk_tls.certs._passphrases import Passphrases
from hauberk_tls.certs._places import Kind, Places
from hauberk_tls.certs._revoking import chosen
from hauberk_tls.certs._text import shown

_REVOKE_EPILOG: Final = """\b
Examples:
  hauberk certs revoke laptop --reason key-compromise
  hauberk certs revoke 3fa2c1d09b7e

A NAME means each of its certificates that has not expired; a serial number, as `list --all` shows it, means one. There
is no way back. Peers refuse it once they have the new ca/crl.pem: bring it to them.

Exit status: 0 it is revoked, 2 it is not.
"""
_CRL_EPILOG: Final = """\b
Examples:
  hauberk certs crl
  hauberk certs crl --days 90

A list that counts no longer lets peers refuse everybody: `check` warns before. `issue`, `renew` and `revoke` make it
anew too, once half of its time is over.
"""


@click.command("revoke", epilog=_REVOKE_EPILOG, context_settings=HELP)
@click.argument("words", metavar="NAME|SERIAL...", nargs=-1, required=True, shell_complete=_options.names)
@click.option("--reason", type=click.Choice(list(REASONS)), default="unspecified", show_default=True, help="Why.")
@_options.of_kind
@_options.placed
@_options.opening
def revoke_command(
    *, words: tuple[str, ...], reason: str, kind: Kind | None, base: Path | None, passphrase_file: Path | None
) -> None:
    """Revoke certificates, and make the list that says so."""
    places, source = Places.of(base), _options.source()
    authority = Authority.open(places, Passphrases(passphrase_file), source)
    with _store.locked(places):
        fresh = authority.revoke(lambda index: [x for w in words for x in chosen(index, w, kind, source.now)], reason)
    for one in fresh:
        click.echo(f"revoked: {one.kind} {shown(one.name)}, serial {one.serial}")
    if not fresh:
        click.echo("revoked already")
    click.echo(f"for peers: {shown(places.crl, 4096)}")


@click.command("crl", epilog=_CRL_EPILOG, context_settings=HELP)
@click.option("--days", type=click.IntRange(1, LIMITS.most_days), help="How long it counts [default: as before].")
@_options.placed
@_options.opening
def crl_command(*, days: int | None, base: Path | None, passphrase_file: Path | None) -> None:
    """Make the revocation list anew."""
    places = Places.of(base)
    authority = Authority.open(places, Passphrases(passphrase_file), _options.source())
    with _store.locked(places):
        number = authority.write_list(days)
    click.echo(f"list {number}: {shown(places.crl, 4096)}")

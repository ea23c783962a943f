"""``hauberk certs init``, ``issue``, ``renew``, ``install``: make a CA, and certificates."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import click

from hauberk.cli.options import HELP
from hauberk.refusals import ConfigError
from hauberk_tls.certs import _authority, _issuing, _names, _options, _requests
from hauberk_tls.certs._authority import Plan
from hauberk_tls.certs._holding import facts_of, held
from hauberk_tls.certs._inspecting import check_command, list_command
from hauberk_tls.certs._issuing import Change, Done, Wish
from hauberk_tls.certs._limits import LIMITS
from hauberk_tls.certs._making import ALGORITHMS, Algorithm
from hauberk_tls.certs._names import Name
from hauberk_tls.certs._passphrases import Passphrases
from hauberk_tls.certs._places import Folder, Kind, Places
from hauberk_tls.certs._revocation import crl_command, revoke_command
from hauberk_tls.certs._rows import standing
from hauberk_tls.certs._text import shown

_GROUP_EPILOG: Final = """\b
Examples:
  hauberk certs init
  hauberk certs issue files time --san localhost
  hauberk certs issue --client laptop
  hauberk certs check --days 30
"""
_INIT_EPILOG: Final = """\b
Examples:
  hauberk certs init
  hauberk certs init --passphrase-file ~/ca.pass
  hauberk certs init --dir /media/stick/certs --days 1825

Whoever has the key and its passphrase can be any server and any client. Exit status: 0 there is a CA, 2 there is not.
"""
_ISSUE_EPILOG: Final = """\b
Examples:
  hauberk certs issue files time git --san localhost --san 127.0.0.1
  hauberk certs issue --client laptop --san email:ann@example.org
  hauberk certs issue files --csr
  hauberk certs issue files --from-csr request.pem

A server NAME goes to certs/mcp-servers/NAME, a client to certs/NAME: pair.pem is for its host, cert.pem to give away.
What is there is kept. With --csr the key is made here and the request is signed elsewhere, with --from-csr.

Exit status: 0 all are there, 2 they are not.
"""
_RENEW_EPILOG: Final = """\b
Examples:
  hauberk certs renew files
  hauberk certs renew --due 30
  hauberk certs renew laptop --new-key

A running host takes the new pair for its next connection. The old certificate counts until it expires; if the key is no
longer yours alone, `revoke` it. Exit status: 0 all are renewed, or none was due; 2 they are not.
"""
_INSTALL_EPILOG: Final = """\b
Examples:
  hauberk certs install files cert.pem

FILE is what the CA made of request.pem. The ca.pem and crl.pem of the CA belong into certs/ca first.
"""


@click.group("certs", epilog=_GROUP_EPILOG, context_settings=HELP)
def certs() -> None:
    """Make and look after a CA, and certificates of servers and clients."""


@certs.command("init", epilog=_INIT_EPILOG, context_settings=HELP)
@_options.placed
@_options.opening
@click.option("--no-passphrase", is_flag=True, help="Leave the CA's key unencrypted.")
@click.option("--name", metavar="TEXT", help="Name of the CA [default: one made up].")
@click.option("--algorithm", type=click.Choice(ALGORITHMS), default="p256", show_default=True, help="Kind of key.")
@click.option(
    "--days",
    default=LIMITS.ca_days,
    show_default=True,
    type=click.IntRange(1, LIMITS.most_days),
    help="How long it counts.",
)
@click.option(
    "--path-length",
    default=LIMITS.path_length,
    show_default=True,
    type=click.IntRange(0, 5),
    help="CAs that may stand below it.",
)
@click.option(
    "--crl-days",
    default=LIMITS.crl_days,
    show_default=True,
    type=click.IntRange(1, LIMITS.most_days),
    help="How long a revocation list counts.",
)
def init_command(
    *,
    base: Path | None,
    passphrase_file: Path | None,
    no_passphrase: bool,
    name: str | None,
    algorithm: Algorithm,
    days: int,
    path_length: int,
    crl_days: int,
) -> None:
    """Make a CA: its key, its certificate, an empty revocation list."""
    places = Places.of(base)
    if no_passphrase and passphrase_file:
        raise click.UsageError("--passphrase-file and --no-passphrase: which?")
    if name is not None and not (0 < len(name) <= LIMITS.name_chars and name.isprintable()):
        raise ConfigError(f"the name of a CA has 1 to {LIMITS.name_chars} characters that can be seen")
    found = None
    if not os.path.lexists(places.ca_certificate):
        passphrase = None if no_passphrase else Passphrases(passphrase_file).new()
        plan = Plan(name, algorithm, days, path_length, crl_days)
        found = _authority.make(places, plan, passphrase, _options.source())
    if found is None:
        click.echo(f"there is a CA already, kept: {shown(places.ca_certificate, 4096)}")
        return
    click.echo(f"made CA {shown(found.common_name)!r}, until {found.end:%Y-%m-%d}")
    click.echo(f"for peers: {shown(places.ca_certificate, 4096)}, {shown(places.crl, 4096)}")
    click.echo(f"its key, to keep: {shown(places.ca_key, 4096)}{' (not encrypted)' if no_passphrase else ''}")


@certs.command("issue", epilog=_ISSUE_EPILOG, context_settings=HELP)
@click.argument("words", metavar="NAME...", nargs=-1, required=True)
@click.option("--client", "as_client", is_flag=True, help="Of clients [default: of servers].")
@_options.naming
@_options.lasting
@_options.keyed
@click.option("--csr", is_flag=True, help="Make a key and a request that a CA elsewhere signs.")
@click.option("--from-csr", metavar="FILE", type=click.Path(path_type=Path), help="Sign the key of a request.")
@_options.placed
@_options.opening
def issue_command(
    *,
    words: tuple[str, ...],
    as_client: bool,
    sans: tuple[str, ...],
    days: int,
    algorithm: Algorithm | None,
    csr: bool,
    from_csr: Path | None,
    base: Path | None,
    passphrase_file: Path | None,
) -> None:
    """Make a certificate of each NAME, with a key of its own."""
    kind: Kind = "client" if as_client else "server"
    others = tuple(map(_names.further, sans))
    wishes = [Wish(kind, _names.together(name, others), days, algorithm or "p256") for name in _read(words)]
    places, passphrases = Places.of(base), Passphrases(passphrase_file)
    if csr and from_csr:
        raise click.UsageError("--csr and --from-csr: which?")
    if csr:
        _say(_requests.ask(places, wish) for wish in wishes)
    elif from_csr:
        if len(wishes) > 1:
            raise click.UsageError("--from-csr signs for one NAME")
        _say([_requests.sign(places, wishes[0], from_csr, passphrases, _options.source())])
    else:
        _say(_issuing.issue(places, wishes, passphrases, _options.source()))


@certs.command("renew", epilog=_RENEW_EPILOG, context_settings=HELP)
@click.argument("words", metavar="[NAME...]", nargs=-1, shell_complete=_options.names)
@click.option("--due", metavar="DAYS", type=click.IntRange(0), help="All that expire within DAYS days.")
@click.option("--new-key", is_flag=True, help="With a new key; the old one is gone then.")
@_options.naming
@_options.lasting
@_options.keyed
@_options.of_kind
@click.option("--csr", is_flag=True, help="Make a request that a CA elsewhere signs.")
@click.option("--from-csr", metavar="FILE", type=click.Path(path_type=Path), help="Sign the new key of a request.")
@_options.placed
@_options.opening
def renew_command(
    *,
    words: tuple[str, ...],
    due: int | None,
    new_key: bool,
    sans: tuple[str, ...],
    days: int,
    algorithm: Algorithm | None,
    kind: Kind | None,
    csr: bool,
    from_csr: Path | None,
    base: Path | None,
    passphrase_file: Path | None,
) -> None:
    """Sign the certificate of each NAME anew; key and names stay, unless you say otherwise."""
    if bool(words) == (due is not None) or (csr and from_csr) or (from_csr and len(words) != 1):
        raise click.UsageError("give NAMEs or --due; --csr or --from-csr, the latter with one NAME")
    places, passphrases = Places.of(base), Passphrases(passphrase_file)
    change = Change(tuple(map(_names.further, sans)), new_key, days, algorithm)
    folders = _due(places, due) if due is not None else [places.find(word, kind) for word in dict.fromkeys(words)]
    if not folders:
        click.echo("none is due")
    elif csr:
        _say(_requests.ask_again(places, folder, change) for folder in folders)
    elif from_csr:
        wish = _again(folders[0], change)
        _say([_requests.sign(places, wish, from_csr, passphrases, _options.source(), again=True)])
    else:
        _say(_issuing.renew(places, folders, change, passphrases, _options.source()))


@certs.command("install", epilog=_INSTALL_EPILOG, context_settings=HELP)
@click.argument("word", metavar="NAME", shell_complete=_options.names)
@click.argument("file", type=click.Path(path_type=Path))
@_options.of_kind
@_options.placed
def install_command(*, word: str, file: Path, kind: Kind | None, base: Path | None) -> None:
    """Take in the certificate that a CA elsewhere has signed."""
    places = Places.of(base)
    _say([_requests.install(places, places.find(word, kind), file)])


certs.add_command(list_command)
certs.add_command(check_command)
certs.add_command(revoke_command)
certs.add_command(crl_command)


def _read(words: Iterable[str]) -> list[Name]:
    found = list(dict.fromkeys(map(_names.main, words)))
    if len(found) > LIMITS.names:
        raise ConfigError(f"at most {LIMITS.names} NAMEs at once")
    return found


def _due(places: Places, days: int) -> list[Folder]:
    """Return the folders whose certificates expire soon, or have; one that cannot be read is an error."""
    at, found = _options.now(), []
    for folder in places.folders():
        one = held(folder)
        if one is not None and standing(facts_of(folder, one), at, days) in {"expired", "expires"}:
            found.append(folder)
    return found


def _again(folder: Folder, change: Change) -> Wish:
    one = held(folder)
    if one is None:
        raise ConfigError(f"there is no certificate in {str(folder.path)!r}", hint="hauberk certs issue --from-csr")
    return Wish(folder.kind, _issuing.renamed(folder, facts_of(folder, one), change), change.days)


def _say(done: Iterable[Done]) -> None:
    for what, folder, facts in done:
        who = f"{folder.kind} {shown(folder.name)}"
        if what == "asked":
            click.echo(f"asked: {who}: {shown(folder.request, 4096)}")
        elif facts is None:
            click.echo(f"kept: {who}: {shown(folder.request, 4096)} waits for its answer")
        else:
            path = folder.pair if folder.pair.exists() else folder.certificate
            click.echo(f"{what}: {who}, until {facts.end:%Y-%m-%d}: {shown(path, 4096)}")

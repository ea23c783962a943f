"""``hauberk bulkhead``: see what is in flight and who is suspended; suspend, resume, begin anew."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click
import msgspec

from hauberk.cli.options import HELP, configured, print_json, printing, table
from hauberk.config import Config
from hauberk.guard import Guard
from hauberk.principal import Principal
from hauberk.refusals import HauberkError
from hauberk_bulkhead._book import Book, Live
from hauberk_bulkhead._callers import kept, readable
from hauberk_bulkhead._limits import LIMITS
from hauberk_bulkhead._suspended import Kind, Suspension

_EPILOG: Final = """\b
Examples:
  hauberk bulkhead show
  hauberk bulkhead suspend --principal uid:1000 --for 3600 --reason 'floods'
  hauberk bulkhead resume --principal uid:1000
  hauberk bulkhead reset
"""
F = TypeVar("F", bound=Callable[..., Any])


@click.group("bulkhead", epilog=_EPILOG, context_settings=HELP)
def bulkhead() -> None:
    """See what is in flight and who is suspended, and change that.

    Guards that run take it up within a second.
    """


def _who(function: F) -> F:
    """Give a command the options that say whom it is about."""
    principal = click.option("--principal", metavar="ID", help="Who calls, as events name him.")
    tenant = click.option("--tenant", metavar="NAME", help="Of --principal: his tenant, if he has one.")
    server = click.option("--server", metavar="NAME", help="A server.")
    address = click.option("--address", metavar="IP", help="Who connects, by his address; of IPv6, by a /64.")
    return principal(tenant(server(address(function))))


def _one(principal: str | None, tenant: str | None, server: str | None, address: str | None) -> tuple[Kind, str]:
    given: list[tuple[Kind, str]] = []
    if principal is not None:
        given.append(("principal", Principal(id=principal, kind="user", tenant=tenant).key if principal else ""))
    elif tenant is not None:
        raise click.UsageError("--tenant is that of a --principal")
    if server is not None:
        given.append(("server", server))
    if address is not None:
        given.append(("address", _address(address)))
    if len(given) != 1 or not given[0][1]:
        raise click.UsageError("give exactly one of --principal, --server and --address")
    return given[0]


def _address(text: str) -> str:
    from hauberk_bulkhead._addresses import address_of

    found = address_of(text) or address_of(text.removesuffix("/64"))
    if not found:
        raise click.UsageError(f"{text!r} is no address")
    return found


def _book(config: Path | None, host: str) -> tuple[Book, Guard]:
    guard = Guard(Config.read(config, host=host))
    return Book(guard.config.state_dir, now=guard.now), guard


@bulkhead.command("show", context_settings=HELP)
@configured
@printing
def show_command(*, config: Path | None, host: str, as_json: bool) -> None:
    """Show who is suspended, and what the guards that run have in flight."""
    book, guard = _book(config, host)
    now = guard.now()
    held = [one for one in book.read().suspended if one.holds(now)]
    live = book.all_live()
    if as_json:
        print_json({"suspended": msgspec.to_builtins(held), "running": msgspec.to_builtins(live)})
        return
    if not held:
        click.echo("nobody is suspended")
    for line in table(
        [(one.kind, _shown(readable(one.name)), _until(one), _shown(one.why)) for one in held] or [("",)]
    ):
        if line:
            click.echo(line)
    for one in live:
        _show(one)


def _show(live: Live) -> None:
    load = "".join(f", {what} {percent:.0f} %" for what, percent in live.load.items())
    click.echo(f"process {live.pid}: {live.memory} bytes held{load}")
    for name, room in live.rooms.items():
        counts = ", ".join(f"{count} {_WORDS.get(what, what)}" for what, count in room.items())
        click.echo(f"  {_shown(name)}: {counts}")
    for one in live.breakers:
        of = " ".join(_shown(str(one.get(part, ""))) for part in ("server", "tool", "tenant"))
        click.echo(f"  breaker {of.strip()}: {_shown(str(one.get('state', '')))}")


_WORDS: Final = {"in_flight": "in flight", "waiting": "waiting", "connections": "connections"}


@bulkhead.command("suspend", context_settings=HELP)
@configured
@_who
@click.option("--for", "seconds", type=click.FloatRange(min=1, max=31_536_000), metavar="SECONDS", help="How long.")
@click.option("--reason", default="", metavar="TEXT", help="Why; shown to operators.")
@printing
def suspend_command(
    *,
    config: Path | None,
    host: str,
    principal: str | None,
    tenant: str | None,
    server: str | None,
    address: str | None,
    seconds: float | None,
    reason: str,
    as_json: bool,
) -> None:
    """Refuse a principal, a server or an address, until it is resumed or the time is over."""
    kind, name = _one(principal, tenant, server, address)
    if len(reason) > LIMITS.reason_chars:
        raise click.UsageError(f"--reason is of at most {LIMITS.reason_chars} characters")
    if seconds is not None and math.isnan(seconds):
        raise click.UsageError("--for is a number of seconds")
    book, guard = _book(config, host)
    now = guard.now()
    one = Suspension(kind, kept(name), now, now + seconds if seconds is not None else 0.0, reason, "operator")
    book.add([one])
    if as_json:
        print_json(msgspec.to_builtins(one))
    else:
        click.echo(f"suspended: {kind} {_shown(readable(name))} {_until(one)}")


@bulkhead.command("resume", context_settings=HELP)
@configured
@_who
@printing
def resume_command(
    *,
    config: Path | None,
    host: str,
    principal: str | None,
    tenant: str | None,
    server: str | None,
    address: str | None,
    as_json: bool,
) -> None:
    """Let somebody pass again who is suspended."""
    kind, name = _one(principal, tenant, server, address)
    book, _ = _book(config, host)
    if not (book.lift(kind, kept(name)) or book.lift(kind, name)):  # a long one may be given as it is shown
        raise HauberkError(f"{kind} {readable(name)!r} is not suspended", hint="hauberk bulkhead show")
    if as_json:
        print_json({"kind": kind, "name": name})
    else:
        click.echo(f"resumed: {kind} {_shown(readable(name))}")


@bulkhead.command("reset", context_settings=HELP)
@configured
@printing
def reset_command(*, config: Path | None, host: str, as_json: bool) -> None:
    """Close every breaker, and count events anew; who is suspended stays so."""
    book, _ = _book(config, host)
    book.reset()
    if as_json:
        print_json({"reset": True})
    else:
        click.echo("reset: guards that run close their breakers within a second")


def _until(one: Suspension) -> str:
    if not one.until:
        return "until it is resumed"
    end = dt.datetime.fromtimestamp(one.until, dt.UTC)
    return f"until {end.isoformat(timespec='seconds')}"


def _shown(text: str) -> str:
    """Return a text that somebody else chose as a terminal may have it."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)

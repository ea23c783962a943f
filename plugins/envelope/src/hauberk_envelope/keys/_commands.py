"""``hauberk keys generate``, ``show``, ``trust``, ``list``, ``revoke``, ``rotate``, ``export``."""

from __future__ import annotations

import hmac
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar, get_args

import click

from hauberk import files
from hauberk.cli.options import HELP, print_json, printing
from hauberk.refusals import ConfigError
from hauberk_envelope import _keyfiles
from hauberk_envelope._identity import PublicIdentity, check_agent
from hauberk_envelope._keyfiles import Reason
from hauberk_envelope._limits import LIMITS
from hauberk_envelope.keys._desk import Desk, Row
from hauberk_envelope.keys._places import Places

F = TypeVar("F", bound=Callable[..., Any])

_COLOURS: Final = {"valid": "green", "old": "yellow", "not yet valid": "yellow", "expired": "red", "revoked": "red"}
_EPILOG: Final = """\b
Examples:
  hauberk keys generate CodeExpert
  hauberk keys export CodeExpert > CodeExpert.toml
  hauberk keys trust SecurityExpert.toml
  hauberk keys list
"""
_TRUST_EPILOG: Final = """\b
Examples:
  hauberk keys trust SecurityExpert.toml
  hauberk keys trust SecurityExpert.toml --agent SecurityExpert --key-id hbk1_…

Anybody can write a file with any name in it. What proves whose it is, is the key id, read to you by the other side: on
the phone, in person, in a message that is signed otherwise. It proves the keys and no name: whose voice that was, only
you know. So that name is given with the key id. Exit status: 0 it is trusted, 2 it is not.
"""
_REVOKE_EPILOG: Final = """\b
Examples:
  hauberk keys revoke SecurityExpert --reason compromised
  hauberk keys revoke hbk1_… --reason superseded

compromised: somebody else may have the key, so nothing that it ever signed counts. superseded, retired: messages in
archives still count. Revoke on each machine that trusts the key. A key id that is not here yet is revoked ahead.
"""
_ROTATE_EPILOG: Final = """\b
Examples:
  hauberk keys rotate CodeExpert

The old keys count until they expire or are revoked, so that nothing is lost on the way: export the new one, let all
others trust it, let the agent use it, then revoke the old one as superseded.
"""


def placed(function: F) -> F:
    """Give a command ``--dir``."""
    return click.option(
        "--dir",
        "base",
        metavar="DIR",
        type=click.Path(path_type=Path),
        help="Where keys are [default: keys beside the user's hauberk.toml].",
    )(function)


def lasting(function: F) -> F:
    """Give a command ``--days``."""
    return click.option(
        "--days",
        default=LIMITS.valid_days,
        show_default=True,
        type=click.IntRange(1, LIMITS.most_days),
        help="How long it counts.",
    )(function)


@click.group("keys", epilog=_EPILOG, context_settings=HELP)
def keys() -> None:
    """Make and look after the keys of agents, and say whose are trusted."""


@keys.command("generate", context_settings=HELP)
@click.argument("agent", metavar="AGENT")
@lasting
@placed
def generate_command(*, agent: str, days: int, base: Path | None) -> None:
    """Make the keys of AGENT, unless it has some that count."""
    name = _agent(agent)
    with _changing(base) as desk:
        made = desk.generate(name, days, os.urandom)
    if made is None:
        click.echo(f"kept: {agent} has a key that counts; hauberk keys rotate {agent} makes another")
        return
    _say_made(made[0].public, made[1])


@keys.command("rotate", epilog=_ROTATE_EPILOG, context_settings=HELP)
@click.argument("agent", metavar="AGENT")
@lasting
@placed
def rotate_command(*, agent: str, days: int, base: Path | None) -> None:
    """Make further keys of AGENT; the old ones go on for now."""
    name = _agent(agent)
    with _changing(base) as desk:
        identity, path = desk.rotate(name, days, os.urandom)
    _say_made(identity.public, path)


@keys.command("export", context_settings=HELP)
@click.argument("word", metavar="AGENT|KEY-ID")
@placed
def export_command(*, word: str, base: Path | None) -> None:
    """Print the public file of an own key, for others to trust."""
    click.echo(_desk(base).export(word), nl=False)


@keys.command("trust", epilog=_TRUST_EPILOG, context_settings=HELP)
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@click.option("--key-id", metavar="KEY-ID", help="What the other side told you [default: ask on the terminal].")
@click.option("--agent", metavar="NAME", help="Who told you; to be given with --key-id.")
@placed
def trust_command(*, file: Path, key_id: str | None, agent: str | None, base: Path | None) -> None:
    """Trust the key in FILE; - is standard input."""
    identity = _given(file)
    desk = _desk(base)
    if desk.known(identity):
        click.echo(f"kept: {identity.key_id} of {identity.agent} is trusted")
        return
    _confirm(desk, identity, key_id, agent)
    with _changing(base) as changing:
        changing.take(identity)
    click.echo(f"trusted: {identity.agent}, {identity.key_id}, until {_keyfiles.time_text(identity.not_after)}")


@keys.command("list", context_settings=HELP)
@click.option(
    "--older",
    "rotation_days",
    metavar="DAYS",
    default=LIMITS.rotation_days,
    show_default=True,
    type=click.IntRange(1),
    help="From when on a key is old.",
)
@placed
@printing
@click.pass_context
def list_command(ctx: click.Context, *, rotation_days: int, base: Path | None, as_json: bool) -> None:
    """List own keys and those that are trusted; exit with 1 if one is old or counts no longer."""
    rows = _desk(base, rotation_days).rows()
    if as_json:
        print_json([_json(row) for row in rows])
    elif not rows:
        click.echo("there are no keys")
    else:
        for row in rows:
            state = click.style(f"{row.state:<13}", fg=_COLOURS[row.state])
            click.echo(f"{row.whose:<7}  {state}  {row.identity.key_id}  {row.identity.agent}")
    if any(row.state in ("old", "expired") for row in rows):
        ctx.exit(1)


@keys.command("show", context_settings=HELP)
@click.argument("words", metavar="[AGENT|KEY-ID...]", nargs=-1)
@placed
@printing
def show_command(*, words: tuple[str, ...], base: Path | None, as_json: bool) -> None:
    """Show keys in full, but for what is secret."""
    rows = _desk(base).rows(words)
    if as_json:
        print_json([_json(row) for row in rows])
        return
    for row in rows:
        reason = f" ({row.reason})" if row.reason else ""
        click.echo(f"{row.identity.agent}: {row.whose}, {row.state}{reason}")
        for name, value in _json(row).items():
            if name in ("key_id", "not_before", "not_after"):
                click.echo(f"    {name:<11} {value}")


@keys.command("revoke", epilog=_REVOKE_EPILOG, context_settings=HELP)
@click.argument("word", metavar="AGENT|KEY-ID")
@click.option("--reason", type=click.Choice(get_args(Reason)), required=True, help="Why.")
@placed
def revoke_command(*, word: str, reason: Reason, base: Path | None) -> None:
    """Say that a key counts no longer, own or trusted."""
    with _changing(base) as desk:
        path = desk.revoke(word, reason)
    click.echo(f"revoked: {path.stem}, {reason}; running hosts learn of it when they reload")
    if all(row.identity.key_id != path.stem for row in desk.rows()):
        click.echo("there is no such key here; should it come, it is not trusted", err=True)


def _desk(base: Path | None, rotation_days: float = LIMITS.rotation_days, now: Callable[[], float] = time.time) -> Desk:
    return Desk(Places.of(base), now(), rotation_days=rotation_days)


@contextmanager
def _changing(base: Path | None) -> Iterator[Desk]:
    """Give what is there while nobody else changes it."""
    with Places.of(base).locked():
        yield _desk(base)


def _agent(word: str) -> str:
    try:
        return check_agent(word)
    except ValueError as exc:
        raise ConfigError(str(exc)) from None


def _given(file: Path) -> PublicIdentity:
    """Return what a file says that anybody may have written: the key id is what is compared."""
    if str(file) == "-":
        return _keyfiles.parse_public(sys.stdin.buffer.read(LIMITS.key_file_bytes + 1), "standard input")
    data, _ = files.read_judged(file, max_bytes=LIMITS.key_file_bytes)
    return _keyfiles.parse_public(data, f"public key {str(file)!r}")


def _confirm(desk: Desk, identity: PublicIdentity, told: str | None, teller: str | None) -> None:
    """Compare key id and name with what the other side told, or let a person do it.

    A key id is of keys, whatever name their owner puts beside them: who has a right key id may write another's name.
    """
    agent = identity.agent
    if teller is not None and teller != agent:
        raise ConfigError(f"the file is of {agent}, not of {teller}", hint="do not trust this file; ask its owner")
    others = [row.identity.key_id for row in desk.rows() if row.identity.agent == agent]
    if told is not None:
        if not hmac.compare_digest(told.encode(), identity.key_id.encode()):
            raise ConfigError("the key id is another one", hint="do not trust this file; ask its owner")
        if teller is None:
            why = (
                f"{agent} has a key here already: {others[0]}" if others else f"only the file says that it is {agent}'s"
            )
            raise ConfigError(
                why,
                hint=f"a key id proves no name: if it was {agent} who told you, add --agent {agent}",
            )
        return
    click.echo(f"{agent} says that its key is\n    {identity.key_id}", err=True)
    for other in others:
        click.echo(f"{agent} has a key here already: {other}", err=True)
    if not sys.stdin.isatty():
        raise ConfigError("nobody is here to compare the key id", hint="give --key-id as it was told, and --agent")
    click.confirm(f"Was it {agent} who told you this key id, some other way?", abort=True, err=True)


def _say_made(identity: PublicIdentity, path: Path) -> None:
    click.echo(f"made: {identity.agent}, until {_keyfiles.time_text(identity.not_after)}")
    click.echo(f"its key id, to tell others: {identity.key_id}")
    click.echo(f"its secret keys, to keep: {path}")


def _json(row: Row) -> dict[str, Any]:
    identity = row.identity
    return {
        "agent": identity.agent,
        "key_id": identity.key_id,
        "whose": row.whose,
        "state": row.state,
        "reason": row.reason,
        "not_before": _keyfiles.time_text(identity.not_before),
        "not_after": _keyfiles.time_text(identity.not_after),
    }

"""``hauberk policy sign``, ``keygen`` and ``serial``: who said yes to a policy, and that no older one comes back."""

from __future__ import annotations

import datetime as dt
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import click

from hauberk import files, keys
from hauberk.cli.options import HELP, print_json, printing
from hauberk.config import Config
from hauberk.refusals import ConfigError
from hauberk_audit._entry import visible
from hauberk_audit.policies import _signing, _site, _store
from hauberk_audit.policies._check import signature_of
from hauberk_audit.policies._limits import LIMITS
from hauberk_audit.policies._rows import version_of
from hauberk_audit.policies._signing import Signature
from hauberk_audit.policies._site import short, site, sited, when

_PUBLIC: Final = 0o644
_DAY: Final = 86_400
_SIGN_EPILOG: Final = """\b
Examples:
  hauberk policy sign hauberk.toml --key ops.key --serial 7 --signer ops

Exit status: 0 it is signed, 2 it is not. What is signed is the file as it is, and the policy.py that it names: check it
first with `hauberk config check`.
"""
_KEYGEN_EPILOG: Final = """\b
Examples:
  hauberk policy keygen ops.key --signer ops
  hauberk policy keygen ops.key --signer ops --days 90

Keep the key where the guarded host cannot read it. The file with the public key goes into the trust store.
"""
_SERIAL_EPILOG: Final = """\b
Examples:
  hauberk policy serial
  hauberk policy serial --at-least 7

Exit status: 0 a serial is remembered, 1 none is, 2 it could not be told.
"""
_NAME: Final = click.option("--signer", required=True, metavar="NAME", help="Whose key it is, as trust stores have it.")


@click.command("sign", epilog=_SIGN_EPILOG, context_settings=HELP)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--key", "key_file", required=True, metavar="FILE", type=click.Path(path_type=Path), help="The key.")
@click.option("--serial", "number", required=True, type=click.IntRange(1, LIMITS.serial), help="Higher than the last.")
@_NAME
@click.option("--audience", default="", metavar="NAME", help="Whose trust stores it is for, where they say so.")
def sign(*, file: Path, key_file: Path, number: int, signer: str, audience: str) -> None:
    """Sign a policy: FILE.sig beside FILE."""
    made = _made(file, number, signer, audience, time.time)
    path = signature_of(file)
    _check_replaced(path, made)
    signed = _signing.sign(keys.load_key(key_file), made)
    data = _signing.render(signed)
    _signing.parse(data, str(path))
    try:
        files.write_atomic(path, data, mode=_PUBLIC)
    except OSError as error:
        raise ConfigError(f"cannot write {str(path)!r}: {(error.strerror or '').lower()}") from error
    click.echo(f"signed: {visible(str(file))}, version {short(made.policy_version)}, serial {number}")
    click.echo(f"written: {visible(str(path))}, with key {signed.key_id}")


def _made(file: Path, number: int, signer: str, audience: str, now: Callable[[], float]) -> Signature:
    """Return what is to be signed: of the bytes that are read here, once."""
    path = Path(os.path.abspath(file))  # noqa: PTH100 - follows no link
    data, fault = files.read_judged(path)
    if fault:
        click.echo(f"hauberk: warning: {fault.message}", err=True)
    config = Config(data, name=str(file), host="default", base=path.parent, path=path)
    return Signature(
        version=1,
        algorithm="ed25519",
        key_id="",
        signer=signer,
        signed_at=when(now()),
        serial=number,
        policy_version=version_of(data),
        policy_file=_site.local_version(config),
        audience=audience,
    )


def _check_replaced(path: Path, made: Signature) -> None:
    """Check that no signature is replaced that a host may have accepted already with this serial or a higher one.

    Raises:
        ConfigError: It is.
    """
    if not os.path.lexists(path):
        return
    before = _signing.parse(files.read_judged(path, max_bytes=LIMITS.signature)[0], str(path))
    same = (before.policy_version, before.policy_file) == (made.policy_version, made.policy_file)
    if before.serial > made.serial or (before.serial == made.serial and not same):
        raise ConfigError(
            f"{path}: the signature that is there has serial {before.serial}, and hosts refuse another policy of it",
            hint=f"--serial {before.serial + 1}",
        )


@click.command("keygen", epilog=_KEYGEN_EPILOG, context_settings=HELP)
@click.argument("file", type=click.Path(path_type=Path))
@_NAME
@click.option("--days", default=365, show_default=True, type=click.IntRange(1, 36_500), help="Until it expires.")
def keygen(*, file: Path, signer: str, days: int) -> None:
    """Make a key that signs policies: FILE, and FILE.toml for trust stores."""
    public_file = file.with_name(f"{file.name}.toml")
    if os.path.lexists(public_file):
        raise ConfigError(f"cannot make {str(public_file)!r}: it exists already", hint="give another name")
    if not 1 <= len(signer) <= LIMITS.name:
        raise ConfigError(f"a signer's name has 1 to {LIMITS.name} characters")
    public = _signing.public_key(keys.create_key(file, random=os.urandom))
    expires = _later(days, time.time)
    files.write_atomic(public_file, _store.key_file(signer, public, expires), mode=_PUBLIC)
    click.echo(f"made key {_signing.key_id(public)}: {visible(str(file))}")
    click.echo(f"for trust stores: {visible(str(public_file))}, until {when(expires.timestamp())}")
    click.echo("hint: keep the key off the guarded host; whoever has it can sign any policy")


def _later(days: int, now: Callable[[], float]) -> dt.datetime:
    return dt.datetime.fromtimestamp(int(now()) + days * _DAY, dt.UTC)


@click.command("serial", epilog=_SERIAL_EPILOG, context_settings=HELP)
@click.option("--at-least", "number", type=click.IntRange(1, LIMITS.serial), help="No lower one from now on.")
@sited
@printing
@click.pass_context
def serial(
    ctx: click.Context,
    /,
    *,
    number: int | None,
    config: Path | None,
    host: str,
    state_dir: Path | None,
    as_json: bool,
) -> None:
    """Print the highest serial that was accepted of a policy, or say from which one on.

    A host that enforces signatures accepts nothing while no serial is remembered. It is never lowered.
    """
    found = site(config, host, state_dir)
    known = found.history.serial(found.place) if number is None else found.history.at_least(found.place, number)
    if as_json:
        print_json(None if known is None else known._asdict())
    elif known is None:
        click.echo(f"no serial is remembered of {visible(found.place)}")
    else:
        click.echo(f"serial {known.serial}: {visible(found.place)}")
    ctx.exit(1 if known is None else 0)

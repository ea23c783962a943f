"""``hauberk policy rollback``: an older policy in the place of the one that is there.

The rules:

1. What is put back is what is kept, to the byte, and only if a host could load it: plugins, options, ``policy.py``, and
   the signature where one has to be there.
2. What it replaces is kept first, whether it was ever in force or not.
3. The file is replaced whole, keeps its mode, and only if it is still the one that was compared.
4. Nothing is reloaded: a host does that when it is told to, with all its checks.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import click

from hauberk import differences, files, signatures
from hauberk.cli.options import HELP
from hauberk.config import Config
from hauberk.guard import Guard
from hauberk.refusals import ConfigError, HauberkError
from hauberk_audit._entry import visible
from hauberk_audit.policies import _site
from hauberk_audit.policies._rows import Row, text, version_of
from hauberk_audit.policies._site import Site, content_of, short, site, sited

_MODE: Final = 0o600
_EPILOG: Final = """\b
Examples:
  hauberk policy rollback 3f9a2c
  hauberk policy rollback 3f9a2c --config hauberk.toml --yes

Exit status: 0 it is in its place, 2 it is not, and nothing has changed.
"""


@click.command("rollback", epilog=_EPILOG, context_settings=HELP)
@click.argument("version")
@click.option("--yes", is_flag=True, help="Do not ask.")
@sited
def rollback(*, version: str, yes: bool, config: Path | None, host: str, state_dir: Path | None) -> None:
    """Put the file back to what a version said.

    VERSION is the beginning of its hash. What is there now is kept in the history first.
    """
    found = site(config, host, state_dir)
    name, content = content_of(found, version)
    rows = [row for row in found.history.rows() if row.version == name]
    if not rows:
        raise ConfigError(
            f"version {short(name)} is a policy.py, and not a policy", hint=f"hauberk policy show {short(name)}"
        )
    before = _there(found.path)
    if before == content:
        click.echo(f"{visible(str(found.path))} is {short(name)} already")
        return
    new = _loadable(found, content, name)
    _announce(found, new, rows[-1], before)
    if not yes:
        click.confirm(f"put {visible(str(found.path))} back to {short(name)}?", abort=True, err=True)
    kept = None if before is None else found.history.keep(_kept(found, before), before)
    _write(found.path, before, content)
    click.echo(f"put back: {visible(str(found.path))} is {short(name)}")
    if before is not None:
        click.echo(f"kept: what was there, as {short(version_of(before))}{'' if kept is None else ' (new)'}")
    click.echo(
        "next: hosts that run go on as before until they reload: SIGHUP for hauberk run, guard.reload() elsewhere"
    )


def _there(path: Path) -> bytes | None:
    """Return what is to be replaced."""
    if not os.path.lexists(path):
        return None
    data, fault = files.read_judged(path)
    if fault:
        click.echo(f"hauberk: warning: {fault.message}", err=True)
    return data


def _loadable(found: Site, content: bytes, name: str, now: Callable[[], float] = time.time) -> Config:
    """Return an older policy that a host could load.

    Raises:
        HauberkError: None could.
    """
    hint = None
    try:
        new = found.config(content)
        local = _site.local_version(new)
        hint = f"hauberk policy show {short(name)} --raw > FILE, sign FILE with a higher serial, and put both in place"
        signed = signatures.checked(new, local, now())
        hint = None
        if signed is not None and signed.fault:
            click.echo(f"hauberk: warning: {visible(signed.fault)}", err=True)
        Guard.load(new)
    except HauberkError as error:
        raise ConfigError(f"cannot put {short(name)} back: {error.message}", hint=hint or error.hint) from error
    return new


def _announce(found: Site, new: Config, row: Row, before: bytes | None) -> None:
    """Say what will change, rule by rule."""
    if before is not None:
        try:
            old = found.config(before)
            made = differences.between(old, new, _site.kinds(old, new))
            lines = (made.summary, *made.lines)
        except HauberkError:
            lines = ("what is there cannot be loaded, and so not be compared",)
        for line in lines:
            click.echo(f"  {visible(line)}", err=True)
    now = _site.local_version(new)
    if row.policy_file != now:
        was = f"{short(row.policy_file)}, which `hauberk policy show` prints" if row.policy_file else "none"
        click.echo(f"hauberk: warning: policy.py is not put back: with this version it was {was}", err=True)


def _kept(found: Site, content: bytes, now: Callable[[], float] = time.time) -> Row:
    return Row(
        number=0,
        version=version_of(content),
        policy_name=text(found.path.name),
        place=text(found.path),
        host=found.host,
        loaded_at=now(),
        how="kept",
        changed_by=f"uid:{os.getuid()}",
    )


def _write(path: Path, before: bytes | None, content: bytes) -> None:
    """Replace a file that is still what it was.

    Raises:
        ConfigError: It is not, or it cannot be replaced; it is as before.
    """
    if _there(path) != before:
        raise ConfigError(f"{str(path)!r} was changed meanwhile, and is left as it is", hint="run the command again")
    info = None if before is None else path.lstat()
    if info is not None and hasattr(os, "geteuid") and info.st_uid != os.geteuid():
        raise ConfigError(
            f"cannot put {str(path)!r} back: its owner is user {info.st_uid}, not user {os.geteuid()}",
            hint="run the command as its owner",
        )
    mode = _MODE if info is None else stat.S_IMODE(info.st_mode)
    try:
        files.write_atomic(path, content, mode=mode)
    except OSError as error:
        raise ConfigError(
            f"cannot put {str(path)!r} back: {(error.strerror or type(error).__name__).lower()}; it is as before"
        ) from error

"""``hauberk plugins lock`` and ``verify``: what a production host may run, written down and compared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from hauberk.cli._boundary import COULD_NOT_TELL
from hauberk.cli._run import read
from hauberk.cli.options import HELP, configured, print_json, printing
from hauberk.refusals import ConfigError, HauberkError, PluginError

if TYPE_CHECKING:
    from hauberk.config import Config
    from hauberk.lock import Difference, Lock
    from hauberk.locking import There
    from hauberk.plugins import Source

DIFFERS: Final = 1
_LOCK_EPILOG: Final = """\b
Examples:
  hauberk plugins lock --config hauberk.toml
  hauberk plugins lock --config hauberk.toml --editable

Exit status: 0 the lock is as things are, 2 it could not be written.
"""
_VERIFY_EPILOG: Final = """\b
Examples:
  hauberk plugins verify --config hauberk.toml
  hauberk plugins verify --config hauberk.toml --json

Exit status: 0 nothing differs, 1 something does, 2 there is no lock, or it cannot be read.
"""


@click.command("lock", epilog=_LOCK_EPILOG, context_settings=HELP)
@configured
@click.option("--editable", is_flag=True, help="Lock packages without a RECORD of their files by the files themselves.")
@printing
def lock(*, config: Path | None, host: str, editable: bool, as_json: bool) -> None:
    """Write hauberk-plugins.lock beside the configuration.

    It names the core, the package of each plugin in plugins.require, and policy.py: version and digest of the files.
    In production nothing else starts. What has changed since the last lock is shown.
    """
    from hauberk import locking

    found = read(config, host)
    now = _there(found)
    _check(now, found, editable=editable)
    before = _before(found)
    changes = _changes(before, now.lock)
    if before != now.lock:
        locking.write(found, now.lock)
    if as_json:
        print_json(_facts(found, changes) | {"ok": True, "written": before != now.lock})
        return
    for change in changes:
        click.echo(f"{change.name}: {change.text}")
    word = "unchanged" if before == now.lock else "written"
    click.echo(f"{click.style(word, fg='green')}: {locking.path_of(found)}: {_named(now.lock)}")


@click.command("verify", epilog=_VERIFY_EPILOG, context_settings=HELP)
@configured
@printing
@click.pass_context
def verify(ctx: click.Context, /, *, config: Path | None, host: str, as_json: bool) -> None:
    """Compare what is installed with the lock, file by file."""
    from hauberk import locking

    try:
        found = read(config, host)
        sources = _sources(found)
        changes = locking.compare(found, sources) + _missing(found, sources)
    except HauberkError as error:
        if not as_json:
            raise
        print_json({"ok": False, "error": error.message, "hint": error.hint})
        ctx.exit(COULD_NOT_TELL)
    if as_json:
        print_json(_facts(found, changes) | {"ok": not changes})
    else:
        for change in changes:
            click.echo(f"{click.style('differs', fg='red')}: {change.name}: {change.text}")
        if not changes:
            click.echo(f"{click.style('ok', fg='green')}: {locking.path_of(found)}")
    ctx.exit(DIFFERS if changes else 0)


def marks(config: Config, sources: Mapping[str, Source]) -> dict[str, str]:
    """Return of each plugin that is required or locked whether it is ``as locked`` or ``differs``; none without a lock.

    Raises:
        HauberkError: The lock cannot be read.
    """
    from hauberk import locking

    if config.base is None or not locking.path_of(config).exists():
        return {}
    names = {*locking.read(config).plugins, *config.plugins.require}
    changed = {change.name for change in locking.compare(config, sources)}
    return {name: "differs" if name in changed else "as locked" for name in names}


def _sources(config: Config) -> dict[str, Source]:
    from hauberk import loading

    return loading.sources(config, discover=True)


def _there(config: Config) -> There:
    """Read what the configuration would run; all of it must be there.

    Raises:
        HauberkError: Something is missing.
    """
    from hauberk import loading, locking

    sources = _sources(config)
    loading.all_there(config, set(sources), config.disabled())
    return locking.there(config, sources)


def _check(now: There, config: Config, *, editable: bool) -> None:
    """Check that what is there can be locked.

    Raises:
        PluginError: A file is not what its package says.
        ConfigError: A package has no RECORD, and ``--editable`` was not given.
    """
    from hauberk import locking

    if now.faults:
        name, text = now.faults[0]
        raise PluginError(
            f"{name} cannot be locked: {text}", hint=f"install it again: pip install --force-reinstall {_of(now, name)}"
        )
    if now.editable and not editable:
        raise ConfigError(
            f"{now.editable[0]} has no RECORD of its files, as one that is installed editable",
            hint=f"install a wheel, or take its files as they are: {locking.command('lock', config)} --editable",
        )


def _of(now: There, name: str) -> str:
    package = now.lock.plugins.get(name, now.lock.core)
    return package.distribution


def _before(config: Config) -> Lock | None:
    """Return the lock that is there; what is no lock is replaced, what cannot be trusted is not.

    Raises:
        ConfigError: The file can be changed by others.
    """
    from hauberk import files, locking
    from hauberk.lock import parse

    path = locking.path_of(config)
    if not path.is_symlink() and not path.exists():
        return None
    data = files.read_trusted(path)
    try:
        return parse(data, str(path))
    except ConfigError as error:
        click.echo(f"replaced, as it is no lock: {error.message}", err=True)
        return None


def _changes(before: Lock | None, now: Lock) -> list[Difference]:
    from hauberk.lock import differences

    return [] if before is None else differences(before, now)


def _missing(config: Config, sources: Iterable[str]) -> list[Difference]:
    from hauberk.lock import Difference

    names = [name for name in config.plugins.require if name not in set(sources)]
    return [Difference(name, "is required and not installed") for name in names]


def _named(now: Lock) -> str:
    parts = [f"hauberk {now.core.version}", *(f"{name} {package.version}" for name, package in now.plugins.items())]
    return ", ".join([*parts, "policy.py"] if now.policy else parts)


def _facts(config: Config, changes: Iterable[Difference]) -> dict[str, Any]:
    from hauberk import locking

    return {"lock": str(locking.path_of(config)), "differences": [change._asdict() for change in changes]}

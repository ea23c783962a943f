"""The lock of one configuration: where it is, what is there now, and whether a host may start with it."""

from __future__ import annotations

import importlib.metadata
import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from hauberk import files, lock
from hauberk._installed import Examined, examine
from hauberk.config import Config
from hauberk.lock import CORE, POLICY, Difference, Lock, Package
from hauberk.plugins import Source
from hauberk.refusals import ConfigError, PluginError

_MODE = 0o644
"""The lock holds no secret, and a host that runs as another user reads it."""

_imported: Final[dict[str, Package]] = {}
"""What was checked before this process imported it, by module."""


class There(NamedTuple):
    """What a configuration would run."""

    lock: Lock
    faults: tuple[Difference, ...]
    """Files that are not what the packages themselves say."""

    @property
    def editable(self) -> tuple[str, ...]:
        """The names of what has no RECORD of its files."""
        packages = {CORE: self.lock.core, **self.lock.plugins}
        return tuple(name for name, package in packages.items() if package.editable)


def path_of(config: Config) -> Path:
    """Return where the lock of a configuration is: beside its file.

    Raises:
        ConfigError: The configuration is no file.
    """
    if config.base is None:
        raise ConfigError(
            f"{config.name}: {lock.FILE_NAME} is beside the configuration file, and this configuration is no file",
            hint="write it into a file, or give base=",
        )
    return config.base / lock.FILE_NAME


def there(config: Config, sources: Mapping[str, Source]) -> There:
    """Read what the configuration would run; nothing is imported.

    Args:
        config: The configuration.
        sources: Every plugin that there is.

    Raises:
        PluginError: The core is not installed as a package.
    """
    try:
        core = examine(importlib.metadata.distribution(CORE), CORE)
    except importlib.metadata.PackageNotFoundError:
        raise PluginError("hauberk is not installed as a package", hint="pip install hauberk") from None
    faults = [Difference(CORE, text) for text in core.faults]
    packages: dict[str, Package] = {}
    for name in sorted(set(config.plugins.require) & set(sources) - {POLICY}):
        found = _examined(sources[name])
        packages[name] = found.package
        faults += [Difference(name, text) for text in found.faults]
    policy = sources[POLICY].version if config.plugins.policy and POLICY in sources else ""
    return There(Lock(core.package, packages, policy), tuple(faults))


def _examined(source: Source) -> Examined:
    if source.package is None:
        raise PluginError(f"plugin {source.name!r} is of no installed package", hint="install it with pip")
    return examine(source.package, source.module)


def read(config: Config) -> Lock:
    """Read the lock of a configuration.

    Raises:
        ConfigError: It is missing, can be changed by others, or is no lock.
    """
    path = path_of(config)
    if not os.path.lexists(path):
        raise ConfigError(f"there is no lock {str(path)!r}", hint=f"{command('lock', config)} writes it")
    return lock.parse(files.read_trusted(path), str(path))


def write(config: Config, made: Lock) -> None:
    """Write the lock of a configuration, so that there is the old one or the new one, whole.

    Raises:
        ConfigError: Its directory cannot hold a file that a host may trust.
        OSError: The disk failed; the old lock stands.
    """
    path = path_of(config)
    files.write_atomic(path, lock.render(made), mode=_MODE)
    files.read_trusted(path)


def compare(config: Config, sources: Mapping[str, Source]) -> list[Difference]:
    """Return how what the configuration would run is not what is locked, and files that are not what packages say.

    Raises:
        ConfigError: There is no lock, or none that can be trusted.
        PluginError: A plugin is of no package.
    """
    return _compared(config, sources)[0]


def _compared(config: Config, sources: Mapping[str, Source]) -> tuple[list[Difference], Lock]:
    locked, now = read(config), there(config, sources)
    return [*now.faults, *lock.differences(locked, now.lock)], now.lock


def check(config: Config, sources: Mapping[str, Source]) -> None:
    """Check that a host may start: what it is about to import is what was locked, file by file.

    Raises:
        ConfigError: There is no lock, or none that can be trusted.
        PluginError: Something is missing, extra or changed, or was changed since this process imported it.
    """
    found, now = _compared(config, sources)
    if not found:
        _check_running(now, sources)
        return
    name, text = found[0]
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    raise PluginError(
        f"{_called(name)} is not what {str(path_of(config))!r} names: {text}{more}",
        hint=f"{command('verify', config)} shows all; install what was locked, "
        f"or review it and run {command('lock', config)}",
    )


def _check_running(now: Lock, sources: Mapping[str, Source]) -> None:
    """Check that what was imported before is what is installed: a reload imports nothing anew.

    Raises:
        PluginError: Another build was imported.
    """
    modules = {CORE: CORE} | {name: sources[name].module for name in now.plugins}
    for name, module in modules.items():
        package = now.core if name == CORE else now.plugins[name]
        imported = _imported.get(module, package) if module in sys.modules else package
        if imported != package:
            raise PluginError(
                f"{_called(name)} was replaced on the disk, and this process still runs what it imported before "
                f"(version {imported.version}, installed is {package.version})",
                hint="start the host anew",
            )
        _imported[module] = package


def command(word: str, config: Config) -> str:
    """Return the command line that locks or verifies a configuration."""
    file = "" if config.path is None else f" --config {shlex.quote(str(config.path))}"
    return f"hauberk plugins {word}{file}"


def _called(name: str) -> str:
    return "the core" if name == CORE else "the local policy" if name == POLICY else f"plugin {name!r}"

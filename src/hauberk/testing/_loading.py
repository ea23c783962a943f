"""A guard of what a text names, and of nothing else that happens to be installed."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec

from hauberk import plugins
from hauberk.config import Config
from hauberk.guard import Guard

_CORE_TABLE = r"(?m)^[ \t]*\[[ \t]*core[ \t]*\][^\n]*$"


def load(
    toml: str,
    folder: Path,
    objects: Iterable[Any],
    clock: Callable[[], float],
    *,
    base: Path | None = None,
    name: str = "<inline>",
) -> Guard:
    """Load a guard from text.

    Args:
        toml: The configuration.
        folder: Where plugins keep their state, unless the text says where.
        objects: Further plugin objects.
        clock: The monotonic clock and the time of day.
        base: Where relative paths start; without it, the folder.
        name: What errors call the text.

    Raises:
        ConfigError: The text says something that nothing reads.
        PluginError: A plugin is missing or broken.
    """
    config = Config.from_toml(with_state(toml, folder / "state"), name=name, base=base or folder)
    idle = () if config.production else unnamed(config)
    return _timed(clock).load(config, objects=objects, disable=idle)


def _timed(clock: Callable[[], float]) -> type[Guard]:
    class Timed(Guard):
        def __init__(self, config: Config, *args: Any) -> None:
            super().__init__(config, *args, clock=clock, now=clock)

    return Timed


def unnamed(config: Config) -> list[str]:
    """Return the installed plugins that a configuration neither has a table for, nor requires, nor turns off."""
    named = {*config.plugins.require, *config.plugins.disable}
    return [name for name in plugins.installed() if name not in named and not config.has_table(name)]


def with_state(toml: str, folder: Path) -> str:
    """Return a configuration whose state is in a folder, unless it says where."""
    try:
        core = tomllib.loads(toml).get("core", {})
    except tomllib.TOMLDecodeError:
        return toml  # whoever decodes it says what is wrong
    if not isinstance(core, dict) or "state_dir" in core:
        return toml
    line = f"state_dir = {msgspec.json.encode(str(folder)).decode()}"
    if re.search(_CORE_TABLE, toml):
        return re.sub(_CORE_TABLE, lambda header: f"{header[0]}\n{line}", toml, count=1)
    return f"core.{line}\n{toml}"

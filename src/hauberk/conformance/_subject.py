"""The plugin under test: how it is found, loaded and opened, and where its code is."""

from __future__ import annotations

import importlib.util
import inspect
import sys
import tempfile
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from hauberk import loading, plugins
from hauberk.config import Config, Options
from hauberk.hookspecs import hookimpl
from hauberk.layers import Layer, layer_of
from hauberk.message import Frame
from hauberk.plugins import HOOKS, Source
from hauberk.refusals import PluginError
from hauberk.testing import Clock, Recorder
from hauberk.testing._loading import load, with_state

if TYPE_CHECKING:
    from hauberk.connection import Connection
    from hauberk.guard import Guard

NAME: Final = "<conformance>"


class Fault(msgspec.Struct, frozen=True):
    """What is wrong, and where."""

    reason: str
    where: str = ""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What the checks allow a plugin."""

    peers: int = 10_000
    """Peers that may fill what is bounded; as many come after them."""
    each: int = 26
    """What each later peer may add (bytes); less than any name takes."""
    patience: float = 30.0
    """A hook that has not ended after this does not end (seconds)."""


class Seal:
    """Stands in SEAL for a plugin of REPLAY, which does not load without one."""

    name = "conformance_seal"
    layer = Layer.SEAL
    Options = Options

    @hookimpl
    def on_send(self, message: Frame, connection: Connection) -> None:
        """Seal nothing."""


class Opened(msgspec.Struct, frozen=True):
    """A guard with the plugin under test."""

    guard: Guard
    plugin: Any
    steps: tuple[Any, ...]
    recorder: Recorder
    clock: Clock
    folder: Path


class Subject:
    """The plugin under test, by its name."""

    def __init__(self, name: str, toml: str = "", *, base: Path | None = None, limits: Limits | None = None) -> None:
        """Name the plugin.

        Args:
            name: Its word: that of its entry point, or ``policy``.
            toml: A configuration under which it can run; without a table for it, it gets an empty one.
            base: Where relative paths of the configuration start.
            limits: What the checks allow.

        Raises:
            ConfigError: The configuration says something that nothing reads.
            PluginError: No plugin of this name is installed, or named by the configuration.
        """
        self.name: Final = name
        self.base: Final = base
        self.limits: Final = limits or Limits()
        config = Config.from_toml(toml, name=NAME, base=base)
        needs_table = name not in ("policy", *config.plugins.require) and not config.has_table(name)
        self.toml: Final = f"{toml}\n[{name}]\n" if needs_table else toml
        sources = loading.sources(config, discover=True)
        if name not in sources:
            there = ", ".join(sorted(sources)) or "none"
            raise PluginError(
                f"plugin {name!r} is not installed (installed: {there})",
                hint="install its package; a policy.py is named by --config FILE and plugins.policy",
            )
        self.source: Final[Source] = sources[name]
        self.apart: Any = None
        """What `hauberk.conformance._apart` found out: one process answers two checks."""
        self._class: Any = None

    @property
    def cls(self) -> Any:
        """Import the plugin's class, once.

        Raises:
            PluginError: It does not import, or is no plugin.
        """
        if self._class is None:
            self._class = plugins.load_class(self.source)
        return self._class

    def guard(self, folder: Path, clock: Clock, *objects: Any) -> Guard:
        """Load a guard with the plugin.

        Raises:
            ConfigError: Its options are wrong.
            PluginError: It does not load.
        """
        seal = [Seal()] if any(layer_of(self.cls, hook) is Layer.REPLAY for hook in self.hooks()) else []
        return load(self.toml, folder, (*seal, *objects), clock, base=self.base, name=NAME)

    def hooks(self) -> list[Any]:
        """Return the names of the hooks that it implements."""
        return [hook for hook in HOOKS if hasattr(self.cls, hook)]

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Opened]:
        """Open a guard with the plugin, in a folder that goes with it."""
        with tempfile.TemporaryDirectory(prefix="hauberk-") as name:
            recorder, clock, folder = Recorder(), Clock(), Path(name)
            guard = self.guard(folder, clock, recorder)
            async with guard:
                loaded = guard.loaded[self.name]
                yield Opened(guard, loaded.plugin, loaded.steps, recorder, clock, folder)

    def refuses(self, text: str) -> bool:
        """Whether a line more in its table is an error of the configuration."""
        from hauberk.refusals import ConfigError

        folder = Path(tempfile.gettempdir())
        toml = with_state(f"{self.toml}\n[server.conformance.{self.name}]\n{text}\n", folder)
        config = Config.from_toml(toml, name=NAME, base=self.base or folder)
        try:
            config.options(self.name, self.cls.Options, "conformance")
        except ConfigError:
            return True
        return False

    # --- where it is ---

    def files(self) -> list[Path]:
        """Return the source files of the plugin's package, or its one file."""
        top = self.cls.__module__.partition(".")[0]
        if top == plugins.POLICY_MODULE:
            return [Path(self.source.distribution)]
        spec = importlib.util.find_spec(top)
        folders = [Path(folder) for folder in (spec.submodule_search_locations or ())] if spec else []
        if folders:
            return sorted(path for folder in folders for path in folder.rglob("*.py"))
        return [Path(spec.origin)] if spec and spec.origin else []

    def own(self) -> set[str]:
        """Return the names of the source files, as code objects have them."""
        return {str(path) for path in self.files()}

    def place(self, hook: str) -> str:
        """Return where one of its functions is."""
        function = inspect.unwrap(getattr(self.cls, hook))
        code = getattr(function, "__code__", None)
        return shown(code.co_filename, code.co_firstlineno) if code else ""

    def raised_at(self, error: BaseException) -> str:
        """Return the innermost place in its own code that an exception came through."""
        own = self.own()
        trace, found = error.__traceback__, ""
        while trace is not None:
            name = trace.tb_frame.f_code.co_filename
            found = shown(name, trace.tb_lineno) if name in own else found
            trace = trace.tb_next
        return found

    def state(self) -> dict[str, Any]:
        """Return what another process needs to test the same plugin."""
        return {"path": sys.path, "name": self.name, "toml": self.toml, "base": str(self.base) if self.base else None}


def shown(file: str, line: int) -> str:
    """Return a place as a report shows it."""
    path = Path(file)
    return f"{path.parent.name}/{path.name}:{line}"


def unique(faults: Iterable[Fault], most: int = 5) -> list[Fault]:
    """Return the first of the faults, each once."""
    return list(dict.fromkeys(faults))[:most]


def walk(path: Path) -> Iterator[Path]:
    """Yield the files in a folder."""
    yield from (found for found in sorted(path.rglob("*")) if found.is_file() and not found.is_symlink())

"""Installed packages of a test's own: real metadata and modules in a folder, and nothing else in sight."""

from __future__ import annotations

import base64
import csv
import hashlib
import re
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from hauberk import loading, locking
from hauberk.config import Config
from hauberk.plugins import GROUP


class House:
    """A folder of installed packages, and nothing else that is installed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._modules: dict[str, list[Path]] = {}

    def install(self, name: str, source: str, *, distribution: str = "", target: str = "Plugin") -> str:
        """Install a package with one plugin; return its module."""
        distribution = distribution or f"hauberk-{name}"
        module = "installed_" + re.sub(r"\W", "_", f"{distribution}_{name}_{self.folder.name}")
        (self.folder / f"{module}.py").write_text(source)
        info = self.folder / f"{distribution.replace('-', '_')}-1.2.dist-info"
        info.mkdir(exist_ok=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2\n")
        with (info / "entry_points.txt").open("a") as file:
            file.write(f"[{GROUP}]\n{name} = {module}:{target}\n")
        modules = self._modules.setdefault(distribution, [])
        modules.append(self.folder / f"{module}.py")
        record(info, [*modules, info / "METADATA", info / "entry_points.txt"])
        return module


def record(info: Path, files: Iterable[Path]) -> None:
    """Write the RECORD of a distribution, as an installer does."""
    with (info / "RECORD").open("w", newline="") as file:
        rows = csv.writer(file)
        for path in files:
            data = path.read_bytes()
            value = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
            rows.writerow((path.relative_to(info.parent).as_posix(), f"sha256={value}", len(data)))
        rows.writerow((f"{info.name}/RECORD", "", ""))


def locked(config: Config) -> Config:
    """Write the lock of a configuration, as ``hauberk plugins lock --editable`` does; return the configuration."""
    locking.write(config, locking.there(config, loading.sources(config, discover=True)).lock)
    return config


def source(name: str, *members: str, hook: str = "def on_tool_call(self, call): return None") -> str:
    """Return the source of a package with one plugin; ``members`` are further lines of its class."""
    lines = [
        "from __future__ import annotations",
        "import hauberk",
        "class Plugin:",
        f"    name = {name!r}",
        "    layer = hauberk.Layer.POLICY",
        "    class Options(hauberk.Options):",
        "        limit: int = 3",
        "    def __init__(self, options, guard):",
        "        self.options, self.guard = options, guard",
        "    @hauberk.hookimpl",
        f"    {hook}",
        *(f"    {line}" for line in members),
    ]
    return "\n".join(lines) + "\n"


def empty_house(folder: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    """Return an empty house; the packages of the real one are out of sight."""

    def entry_points(*, group: str) -> Any:
        found = [e for d in metadata.distributions(path=[str(folder)]) for e in d.entry_points if e.group == group]
        return metadata.EntryPoints(found)

    monkeypatch.setattr(metadata, "entry_points", entry_points)
    monkeypatch.syspath_prepend(folder)
    return House(folder)

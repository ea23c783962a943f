"""Servers from their registries, and where what they need is kept: in pytest's cache folder."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

_TIME: Final = "mcp-server-time"


@pytest.fixture(scope="session")
def npx() -> str:
    """Return the program that runs a package of npm."""
    found = shutil.which("npx")
    if found is None:
        pytest.skip("npx is not installed: a server from the npm registry cannot be started")
    return found


@pytest.fixture(scope="session")
def kept(pytestconfig: pytest.Config) -> Path:
    """Return the folder that is the same in the next run."""
    assert pytestconfig.cache is not None
    return Path(pytestconfig.cache.mkdir("registry"))


@pytest.fixture(scope="session")
def server_time(kept: Path) -> str:
    """Install the server into an environment of its own; return its program."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    folder = kept / f"{_TIME}-{version}"
    program = folder / "bin" / _TIME
    if not (folder / "complete").exists():
        pip = [str(folder / "bin" / "python"), "-m", "pip", "--quiet", "--disable-pip-version-check"]
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        subprocess.run([*pip, "install", _TIME], check=True)
        (folder / "complete").touch()
    return str(program)

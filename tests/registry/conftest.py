"""Servers from their registries, and where what they need is kept: in pytest's cache folder."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

import pytest
from tests.alone import alone
from tests.registry.servers import ALL, Published, Registry

_TIME: Final = "mcp-server-time"
_FLAGGED: Final = pytest.StashKey[Counter[str]]()
# Plain text: what turns HTML into text is a program of its own, whose newest version wants a newer Node than some have.
_PAGE: Final = b"""Tea

Tea is made of *leaves* and hot water; see [milk](/milk).
It is drunk everywhere, and most of all in the morning.
"""


@pytest.fixture(scope="session")
def npx() -> str:
    """Return the program that runs a package of npm."""
    return _of_npm("npx")


def _of_npm(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed: a server from the npm registry cannot be started")
    return found


@pytest.fixture(scope="session")
def kept(pytestconfig: pytest.Config) -> Path:
    """Return the folder that is the same in the next run."""
    assert pytestconfig.cache is not None
    return Path(pytestconfig.cache.mkdir("registry"))


@pytest.fixture(scope="session")
def server_time(kept: Path) -> str:
    """Install the server into an environment of its own; return its program."""
    return str(_from_pypi(kept / f"{_TIME}-{_python()}", _TIME) / _TIME)


@pytest.fixture(scope="session")
def installed(kept: Path) -> Callable[[Published], str]:
    """Return what installs a published server, with all others of its registry, and gives its program."""
    places: dict[Registry, Path] = {}

    def program(published: Published) -> str:
        registry = published.registry
        if registry not in places:
            specs = [one.spec for one in ALL if one.registry == registry]
            install, name = (_from_npm, "node") if registry == "npm" else (_from_pypi, _python())
            places[registry] = install(kept / f"servers-{name}", *specs)
        return str(places[registry] / published.program)

    return program


def _python() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def _from_pypi(folder: Path, *specs: str) -> Path:
    """Install packages into an environment of their own, unless they are; return where their programs are."""
    with alone(folder):
        if not _is_complete(folder, specs):
            pip = [str(folder / "bin" / "python"), "-m", "pip", "--quiet", "--disable-pip-version-check"]
            subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
            subprocess.run([*pip, "install", *specs], check=True)
            (folder / "complete").write_text("\n".join(specs), encoding="utf-8")
    return folder / "bin"


def _from_npm(folder: Path, *specs: str) -> Path:
    """Install packages into a folder of their own, unless they are; return where their programs are."""
    npm = _of_npm("npm")
    with alone(folder):
        if not _is_complete(folder, specs):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            quiet = ["--silent", "--no-fund", "--no-audit", "--ignore-scripts"]
            subprocess.run([npm, "install", *quiet, "--prefix", folder, *specs], check=True)
            (folder / "complete").write_text("\n".join(specs), encoding="utf-8")
    return folder / "node_modules" / ".bin"


def _is_complete(folder: Path, specs: tuple[str, ...]) -> bool:
    stamp = folder / "complete"
    return stamp.exists() and stamp.read_text(encoding="utf-8") in ("\n".join(specs), "")


class _Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/" else 404)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.end_headers()
        if self.path == "/":
            self.wfile.write(_PAGE)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="session")
def web() -> Iterator[str]:
    """Serve one page on the loopback interface; give its URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Page) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        serving.join()


@pytest.fixture(scope="session")
def flagged(pytestconfig: pytest.Config) -> Counter[str]:
    """Return the counts of what is printed at the end: what the sieve said of servers that mean no harm."""
    counts: Counter[str] = pytestconfig.stash.setdefault(_FLAGGED, Counter())
    return counts


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print what the sieve said of servers that mean no harm."""
    counts = config.stash.get(_FLAGGED, None)
    if counts is not None:
        terminalreporter.section("published servers behind a strict guard")
        for said, count in sorted(counts.items()):
            terminalreporter.write_line(f"{count:5}  {said}")

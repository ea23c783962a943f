"""Where the scanners come from: PyPI, the system, a repository. None of their code is here."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
REPOSITORY: Final = "https://github.com/tlsfuzzer/tlsfuzzer"
COMMIT: Final = "14555fe211456c46deccc4b2d94751dbd894aece"
"""Of 9 January 2026; there are no releases."""
CHECKOUT: Final = "HAUBERK_TLSFUZZER"
"""The variable that names a checkout of tlsfuzzer, which is then used as it is."""
_PATIENCE: Final = 120
"""Seconds that a step of an installation may take."""
_SAID: Final = 300
"""How much is told of what a step that failed has said (characters)."""


class MissingError(Exception):
    """A tool cannot be had here; the text says why."""


@dataclass(frozen=True, slots=True)
class Tool:
    """One of them."""

    command: tuple[str, ...]
    version: str
    folder: Path | None = None
    """Where it has to be started, if that matters."""


def sslyze(folder: Path) -> Tool:
    """Install sslyze into an environment of its own, unless it is there.

    Raises:
        MissingError: The registry cannot be reached, or there is no build for this system.
    """
    python = _environment(folder / "sslyze", HERE / "sslyze.txt")
    return Tool((str(python), "-W", "ignore", "-m", "sslyze"), _pinned("sslyze.txt", "sslyze"))


def testssl() -> Tool:
    """Find testssl.

    Raises:
        MissingError: It is not installed.
    """
    found = shutil.which("testssl") or shutil.which("testssl.sh")
    if found is None:
        raise MissingError("testssl is not installed; on Debian and Ubuntu: apt install testssl.sh")
    said = _do([found, "--version"])
    version = re.search(r"testssl(?:\.sh)?\s+(?:version\s+)?(\d[\w.-]*)", re.sub(r"\x1b\[[\d;]*m", "", said))
    return Tool((found,), version[1] if version else "unknown")


def tlsfuzzer(folder: Path) -> Tool:
    """Get tlsfuzzer, unless it is there; what it needs has an environment of its own.

    Raises:
        MissingError: The registry or the repository cannot be reached.
    """
    python = _environment(folder / "tlslite", HERE / "tlsfuzzer.txt")
    version = f"{COMMIT[:12]} with tlslite-ng {_pinned('tlsfuzzer.txt', 'tlslite-ng')}"
    named = os.environ.get(CHECKOUT)
    checkout = _checkout(folder / "tlsfuzzer") if not named else Path(named)
    if not (checkout / "tlsfuzzer" / "runner.py").exists():
        raise MissingError(f"{checkout} is no checkout of tlsfuzzer")
    return Tool((str(python), "-W", "ignore", "-m"), version, checkout)


def _pinned(file: str, package: str) -> str:
    found = re.search(rf"(?m)^{package}==(.+)$", (HERE / file).read_text(encoding="utf-8"))
    assert found is not None
    return found[1]


def _environment(folder: Path, requirements: Path) -> Path:
    python, stamp = folder / "bin" / "python", folder / "complete"
    wanted = requirements.read_text(encoding="utf-8")
    if not (stamp.exists() and stamp.read_text(encoding="utf-8") == wanted):
        _do([sys.executable, "-m", "venv", "--clear", str(folder)])
        pip = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check"]
        _do([*pip, "install", "--requirement", str(requirements)])
        stamp.write_text(wanted, encoding="utf-8")
    return python


def _checkout(folder: Path) -> Path:
    stamp = folder / ".git" / "complete"
    if not (stamp.exists() and stamp.read_text(encoding="utf-8") == COMMIT):
        git = shutil.which("git")
        if git is None:
            raise MissingError("git is not installed: tlsfuzzer is in no registry")
        shutil.rmtree(folder, ignore_errors=True)
        _do([git, "init", "--quiet", str(folder)])
        inside = [git, "-C", str(folder)]
        _do([*inside, "fetch", "--quiet", "--depth", "1", REPOSITORY, COMMIT])
        _do([*inside, "checkout", "--quiet", "FETCH_HEAD"])
        stamp.write_text(COMMIT, encoding="utf-8")
    return folder


def _do(command: list[str]) -> str:
    environment = os.environ | {"GIT_TERMINAL_PROMPT": "0"}
    try:
        done = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise MissingError(f"{shlex.join(command)} took more than {_PATIENCE} s") from None
    if done.returncode != 0:
        said = " ".join((done.stderr or done.stdout).split())
        raise MissingError(f"{shlex.join(command)} gave {done.returncode}: {said[-_SAID:]}")
    return done.stdout

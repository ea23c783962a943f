"""The peers, each in an environment of its own, which ``make bench-peers`` makes."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[3]
NAMES: Final = {
    "fastmcp": ("fastmcp", "mcp"),
    "mcp-gateway": ("mcp-gateway", "mcp"),
    "cpex": ("cpex",),
}
"""Each peer, and the distributions whose versions are told."""


@dataclass(frozen=True, slots=True)
class Peer:
    """One that is installed."""

    name: str
    folder: Path
    versions: dict[str, str]

    @property
    def python(self) -> str:
        """Return its interpreter."""
        return str(self.folder / "bin" / "python")


class MissingError(Exception):
    """A peer is not there; the text says why."""


def find(name: str) -> Peer:
    """Return a peer.

    Raises:
        MissingError: Its environment is not there or not whole.
    """
    folder = ROOT / ".venvs" / f"peers-{name}"
    if not (folder / ".synced").exists():
        raise MissingError(f"{name} could not be installed from tests/bench/peers/{name}.txt: see what uv said above")
    code = "import sys; from importlib.metadata import version; print(*map(version, sys.argv[1:]))"
    command = [str(folder / "bin" / "python"), "-c", code, *NAMES[name]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise MissingError(f"{name} does not start: {done.stderr.strip().splitlines()[-1]}")
    return Peer(name, folder, dict(zip(NAMES[name], done.stdout.split(), strict=True)))

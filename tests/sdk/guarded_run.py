"""`hauberk run` with the sieve and the audit log in front of a command, as the SDK's client starts it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from mcp import StdioServerParameters

OPEN = """
[sieve.asks]
sampling = "allow"
elicitation = "allow"
roots = "allow"
tokens = 9223372036854775807
[sieve.text]
act = "alert"
[sieve.addresses]
act = "alert"
"""
"""What lets the server ask back, and say what it likes."""


class GuardedRun:
    """The configuration of one `hauberk run`, in a folder of its own."""

    def __init__(self, folder: Path, *, server: str, deny: Iterable[str]) -> None:
        folder.chmod(0o700)
        self._folder = folder
        self._server = server
        denied = json.dumps([f"{server}/{tool}" for tool in deny])
        self.config = folder / "hauberk.toml"
        self.config.write_text(
            f'[sieve]\ndefault = "allow"\ndeny = {denied}\n{OPEN}'
            '[audit]\npath = "audit.jsonl"\nkey_file = "audit.key"\n'
        )
        self.config.chmod(0o600)

    def params(self, command: Sequence[str]) -> StdioServerParameters:
        """Return what starts the command under `hauberk run`."""
        words = ["-m", "hauberk", "run", "--config", str(self.config), "--server", self._server, "--", *command]
        return StdioServerParameters(command=sys.executable, args=words, env=environment())

    def verify(self) -> None:
        """Check the log of all that happened: it is there, and nobody has touched it."""
        log, key = self._folder / "audit.jsonl", self._folder / "audit.key"
        command = [sys.executable, "-m", "hauberk", "audit", "verify", str(log), "--key-file", str(key)]
        subprocess.run(command, check=True, env=environment(), capture_output=True)

    @property
    def codes(self) -> list[str]:
        """Return the code of each event in the log."""
        lines = (self._folder / "audit.jsonl").read_text().splitlines()
        return [json.loads(line)["code"] for line in lines]


def unguarded(command: Sequence[str]) -> StdioServerParameters:
    """Return what starts the command alone."""
    return StdioServerParameters(command=command[0], args=list(command[1:]), env=environment())


def environment() -> dict[str, str]:
    """Return our own environment: hauberk gets all of it, and gives its child what the child may have."""
    return dict(os.environ)

"""A sink for checkpoints: how a package keeps them where hauberk itself has no way to.

This one hands each checkpoint to a program, on its standard input, such as ``systemd-cat`` or one that talks to a
hardware module. A package says in its ``pyproject.toml`` under which scheme it is to be found::

    [project.entry-points."hauberk.audit_sinks"]
    run = "checkpoint_sink:Program"

and the host's configuration names a URL of that scheme::

    [audit.checkpoints]
    sinks = ["run:/usr/local/bin/keep-checkpoint"]

In production the package must also bring a plugin that is required: what is not locked does not run.
"""

from __future__ import annotations

import subprocess
from typing import Any

SECONDS = 10


class Program:
    """Somewhere for checkpoints. One thread uses it, and waits for it; no message does."""

    def __init__(self, url: str, setting: Any) -> None:  # noqa: ARG002 - every sink is made with both
        """Take the URL; ``setting`` has what else [audit.checkpoints] says."""
        self._program = url.removeprefix("run:")

    def send(self, note: bytes) -> bytes:
        """Keep a checkpoint for good, or raise.

        What is returned are lines of signatures that were added to it, if any were.
        """
        command = [self._program]  # the operator named it
        return subprocess.run(command, input=note, capture_output=True, timeout=SECONDS, check=True).stdout  # noqa: S603

    def within_reach(self) -> str:
        """Return why who writes the log could change what is kept, or nothing if it cannot."""
        return f"nobody knows where {self._program!r} keeps them"

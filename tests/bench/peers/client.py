"""The client in front of each proxy: plain pipes, one call at a time, each answer read only as far as it must be."""

from __future__ import annotations

import json
import subprocess
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Self

from tests.running import environment

REVISION: Final = "2025-11-25"
_PATIENCE: Final = 900
"""Seconds for everything; a proxy that has not answered by then is ended, and named."""


class Line:
    """A line to the server, through whatever a command puts between."""

    def __init__(self, command: list[str], home: Path) -> None:
        home.mkdir(mode=0o700)
        self._stderr = (home / "stderr").open("wb")
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env=environment(home),
            cwd=home,
        )
        self._patience = threading.Timer(_PATIENCE, self._process.kill)
        self._patience.daemon = True
        self._patience.start()
        self._ids = 0
        self._tool = ""
        self._command = command
        self._said = home / "stderr"

    def ask(self, method: str, params: dict[str, Any]) -> Any:
        """Send a request and return its result."""
        answer = json.loads(self.cross(self.frame(method, params)))
        if "result" not in answer:
            raise RuntimeError(f"{method} failed: {answer}")
        return answer["result"]

    def frame(self, method: str, params: dict[str, Any]) -> tuple[bytes, bytes]:
        """Return the line of a request, and the id that its answer will have, as it is written."""
        self._ids += 1
        message = {"jsonrpc": "2.0", "id": self._ids, "method": method, "params": params}
        return json.dumps(message, separators=(",", ":")).encode() + b"\n", b'"id":%d' % self._ids

    def cross(self, frame: tuple[bytes, bytes]) -> bytes:
        """Send a line and return the line that answers it."""
        line, own = frame
        self._write(line)
        assert self._process.stdout is not None
        while answer := self._process.stdout.readline():
            if own in answer and b'"method":' not in answer:
                return answer
        raise self._ended()

    def _ended(self) -> RuntimeError:
        return RuntimeError(f"{self._command[0]} has ended: {self._said.read_text(errors='replace').strip()[-1000:]}")

    def _write(self, line: bytes) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line)
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._ended() from None

    def begin(self) -> None:
        """Shake hands and find the tool, whatever the proxy calls it."""
        client = {"capabilities": {}, "clientInfo": {"name": "bench", "version": "1"}}
        self.ask("initialize", {"protocolVersion": REVISION} | client)
        self._write(b'{"jsonrpc":"2.0","method":"notifications/initialized"}\n')
        names = [tool["name"] for tool in self.ask("tools/list", {})["tools"]]
        self._tool = next(name for name in names if name.endswith("echo"))

    def call(self, text: str) -> tuple[bytes, bytes]:
        """Return the line of a call."""
        return self.frame("tools/call", {"name": self._tool, "arguments": {"text": text}})

    def counts(self) -> dict[str, int]:
        """Return how often the server was asked what."""
        result = json.loads(self.cross(self.call("counts")))["result"]
        found: dict[str, int] = json.loads(result["content"][0]["text"])
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._patience.cancel()
        for channel in (self._process.stdin, self._process.stdout, self._stderr):
            assert channel is not None
            with suppress(BrokenPipeError):  # it has ended, and what was written to it is still here
                channel.close()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

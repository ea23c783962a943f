"""A real ``redis-server`` for tests: in a folder of its own, on a Unix socket and a TCP port of this machine.

Use the fixture by importing it: ``from tests.redis_server import redis_server``. Where there is no ``redis-server``
the test is skipped, and says so.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

PATIENCE = 20.0
"""Seconds; a server that is not there by then has failed."""


class RedisServer:
    """One server; ``with RedisServer() as server:``."""

    def __init__(self, *settings: str, tls: tuple[Path, Path] | None = None) -> None:
        """Describe a server.

        Args:
            settings: Further lines of its configuration, such as ``"maxmemory 2mb"``.
            tls: The file of who signed, and that of certificate and key, to serve TLS on the port instead.
        """
        self._settings = settings
        self._tls = tls
        self._folder = tempfile.TemporaryDirectory(prefix="hb-redis-")  # short: a socket's path has 107 bytes
        self.path = Path(self._folder.name) / "s"
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        if shutil.which("redis-server") is None:
            pytest.skip("redis-server is not installed")
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def uri(self) -> str:
        """Where it is, by its Unix socket."""
        return f"unix://{self.path}"

    @property
    def tcp_uri(self) -> str:
        """Where it is, by its port."""
        return f"redis{'s' if self._tls else ''}://127.0.0.1:{self.port}"

    # --- its life ---

    def start(self) -> None:
        """Start it, and wait until it answers."""
        assert self._process is None, "it runs"
        port = ["port 0", f"tls-port {self.port}", *_certificates(*self._tls)] if self._tls else [f"port {self.port}"]
        lines = [
            *port,
            "bind 127.0.0.1",
            f"unixsocket {self.path}",
            "unixsocketperm 700",
            f"dir {self._folder.name}",
            'save ""',
            "appendonly no",
            *self._settings,
        ]
        self._process = subprocess.Popen(
            ["redis-server", "-"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        assert self._process.stdin is not None
        self._process.stdin.write("\n".join(lines).encode() + b"\n")
        self._process.stdin.close()
        until = time.monotonic() + PATIENCE
        while not self._answers():
            assert self._process.poll() is None, "redis-server does not start"
            assert time.monotonic() < until, "redis-server does not answer"
            time.sleep(0.01)

    def kill(self) -> None:
        """Kill it, as by the kernel; what it held in memory is gone."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait(PATIENCE)
        self.path.unlink(missing_ok=True)

    def restart(self) -> None:
        """Kill it, and start it again in the same place."""
        self.kill()
        self.start()

    def pause(self) -> None:
        """Stop it: it accepts no more than the kernel does for it, and answers nothing."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on, and answer what has waited."""
        self._signal(signal.SIGCONT)

    def close(self) -> None:
        """End it, and remove its folder."""
        self.kill()
        self._folder.cleanup()

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None, "it does not run"
        self._process.send_signal(number)

    # --- talking to it past the code that is tested ---

    def ask(self, *words: str) -> bytes:
        """Send one command on a connection of its own; return the answer as it came."""
        with socket.socket(socket.AF_UNIX) as there:
            there.settimeout(PATIENCE)
            there.connect(str(self.path))
            parts = [word.encode() for word in words]
            there.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts))
            return there.recv(1 << 20)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError):
            return self.ask("PING").startswith((b"+PONG", b"-NOAUTH"))
        return False


def _certificates(ca: Path, pair: Path) -> list[str]:
    return [f"tls-cert-file {pair}", f"tls-key-file {pair}", f"tls-ca-cert-file {ca}", "tls-auth-clients no"]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def begun(server: RedisServer, *groups: str) -> None:
    """Let the memory of nonces of these groups begin now; in a new store it begins later, by replay's ``skew``."""
    now = int(time.time() * 1000)
    (run,) = re.findall(r"run_id:(\w+)", server.ask("INFO", "server").decode())
    state = {"since": now, "reset": now - 10**6, "run": run, "life": 1, "looked": now, "evicted": 0}
    words = [str(word) for pair in state.items() for word in pair]
    for group in groups or ("default",):
        server.ask("HSET", f"hauberk:replay:{group}:state", *words, "policy", "noeviction")


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    """Return a running server."""
    with RedisServer() as server:
        yield server

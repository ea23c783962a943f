"""The demonstration with a network between: the guarded hosts reach their servers over TLS, with certificates on both.

usage: python examples/demo_tls.py

``hauberk certs`` makes an authority, a server's certificate and a client's. Each server stands behind ``hauberk serve``
and its guard; one host dials it in its own process, the others through ``hauberk connect``. What is tried, and what
counts as refused, is as in `demo`.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, cast

from demo import HAUBERK, HERE, Wire, demonstrate

from hauberk import Guard

CLIENT: Final = """
[tls]
ca = "certs/ca/ca.pem"
crl = "certs/ca/crl.pem"
certificate = "certs/laptop/pair.pem"
key = "certs/laptop/pair.pem"
server_name = "notes"
"""
SERVER: Final = """
[core]
state_dir = "../serve"
[plugins]
disable = ["sieve", "pins"]
[audit]
path = "../serve/audit.jsonl"
key_file = "../serve/audit.key"
[tls]
ca = "certs/ca/ca.pem"
crl = "certs/ca/crl.pem"
certificate = "certs/mcp-servers/notes/pair.pem"
key = "certs/mcp-servers/notes/pair.pem"
client_certificates = "required"
"""


class Network(Wire):
    """Servers behind ``hauberk serve``, and hosts that dial them."""

    def __init__(self, config: Path) -> None:
        self._config = config
        self._serve = config.with_name("serve.toml")
        self._serve.write_text(SERVER.replace("../serve", str(config.parent / "serve")), encoding="utf-8")
        self._serve.chmod(0o600)
        for words in (["init", "--no-passphrase"], ["issue", "notes"], ["issue", "--client", "laptop"]):
            command = [*HAUBERK, "certs", *words, "--dir", str(config.parent / "certs")]
            subprocess.run(command, check=True, stdout=DEVNULL)  # noqa: S603 - a command of our own

    @asynccontextmanager
    async def target(self, folder: Path) -> AsyncIterator[Any]:
        """Yield a transport that dials the server of notes."""
        async with self._listening(sys.executable, str(HERE / "notes_server.py"), str(folder)) as address:
            yield Guard.load(self._config).wrap(address, server="notes")

    @asynccontextmanager
    async def command(self, *server: str) -> AsyncIterator[Sequence[str]]:
        """Yield the command that dials a server."""
        async with self._listening(*server) as address:
            yield (*HAUBERK, "connect", "--config", str(self._config), "--server", "notes", address)

    @asynccontextmanager
    async def _listening(self, *server: str) -> AsyncIterator[str]:
        words = ("serve", "--config", str(self._serve), "--server", "notes", "--listen", "tls://127.0.0.1:0", "--")
        process = await asyncio.create_subprocess_exec(*HAUBERK, *words, *server, stderr=PIPE)
        try:
            said = (await cast("asyncio.StreamReader", process.stderr).readline()).decode()
            if "listening at" not in said:
                raise RuntimeError(said)
            yield said.split()[-1]
        finally:
            process.terminate()
            await process.communicate()


if __name__ == "__main__":
    sys.exit(
        demonstrate(
            [
                "Three hosts, each without a guard and with one; the guarded ones reach their servers over TLS 1.3,",
                "with certificates on both sides: one dials in its process, two through `hauberk connect`.",
            ],
            CLIENT,
            Network,
        )
    )

"""``hauberk serve`` under TLS from end to end, with ``hauberk certs`` and ``hauberk connect``."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.running import ANSWERING, PATIENCE, PING, configure, environment, server
from tests.serving import Serving, serving, until_true

from hauberk import plugins

HALVES = """
[tls]
ca = "certs/ca/ca.pem"
crl = "certs/ca/crl.pem"

[server.files]
command = {command}
args = {args}

[server.files.tls]
certificate = "certs/mcp-servers/files/pair.pem"
key = "certs/mcp-servers/files/pair.pem"
client_certificates = "required"

[server.remote]
url = "tls://localhost:{port}"

[server.remote.tls]
{pair}server_name = "files"
"""
PAIR = 'certificate = "certs/laptop/pair.pem"\nkey = "certs/laptop/pair.pem"\n'


@pytest.fixture(scope="module")
def certs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certs")
    for line in ("init --no-passphrase", "issue files --san localhost", "issue --client laptop"):
        subprocess.run(
            [sys.executable, "-m", "hauberk", "certs", *line.split(), "--dir", str(folder / "certs")],
            env=environment(folder),
            check=True,
            capture_output=True,
            timeout=PATIENCE,
        )
    return folder / "certs"


def written(folder: Path, port: int, pair: str = PAIR) -> list[str]:
    """Write a configuration for both ends, with the plugin tls and the witness."""
    command, *args = server(folder, ANSWERING)
    text = HALVES.format(command=json.dumps(command), args=json.dumps(args), port=port, pair=pair)
    options = configure(folder, text)
    path = folder / "hauberk.toml"
    off = json.dumps(sorted(set(plugins.installed()) - {"tls"}))
    path.write_text(
        re.sub(r"disable = .*", f"disable = {off}", path.read_text()) + "\n[features]\nmcp_tls_enabled = true\n"
    )
    path.chmod(0o600)
    return options


@contextmanager
def secured(folder: Path, certs: Path) -> Iterator[tuple[Serving, int]]:
    shutil.copytree(certs, folder / "certs")
    with serving(folder, (), "files", options=written(folder, 1), listen=["tls://127.0.0.1:0"]) as serve:
        found = re.search(r"listening at tls://127\.0\.0\.1:(\d+)", serve.stderr())
        assert found is not None
        yield serve, int(found[1])


def connect(folder: Path, port: int, pair: str = PAIR) -> subprocess.CompletedProcess[str]:
    other = folder / "other"
    other.mkdir()
    shutil.copytree(folder / "certs", other / "certs")
    return subprocess.run(
        [sys.executable, "-m", "hauberk", "connect", *written(other, port, pair), "remote"],
        env=environment(other),
        input=json.dumps(PING) + "\n",
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def test_both_ends(tmp_path: Path, certs: Path) -> None:
    """A client with a certificate of the same authority is served, and is who its certificate says (S2.6)."""
    with secured(tmp_path, certs) as (serve, port):
        done = connect(tmp_path, port)
        assert (done.returncode, done.stdout) == (0, '{"jsonrpc":"2.0","id":1,"result":{}}\n'), done.stderr
        (event,) = serve.told("core.connected")
        assert (event["source"], "laptop" in event["principal"]) == ("mtls", True)
        assert event["details"]["peer"].startswith("127.0.0.1:")
        assert serve.stop() == 0


def test_client_without_a_certificate(tmp_path: Path, certs: Path) -> None:
    """A client without a certificate is refused, with an event, and no server is started."""
    with secured(tmp_path, certs) as (serve, port):
        done = connect(tmp_path, port, pair="")
        assert (done.returncode, done.stdout) == (125, "")
        (event,) = serve.told("tls.no_client_certificate")
        assert event["action"] == "blocked"
        assert (serve.events("core.connected"), serve.children()) == ([], [])


def test_what_is_no_tls(tmp_path: Path, certs: Path) -> None:
    """Plain bytes get nothing, TLS 1.2 gets no handshake, and the next client is served (A81)."""
    with secured(tmp_path, certs) as (serve, port):
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as plain:
            plain.sendall(b'{"jsonrpc":"2.0","id":1,"method":"ping"}\n')
            assert b"jsonrpc" not in plain.recv(100)
        if (openssl := shutil.which("openssl")) is not None:
            done = subprocess.run(
                [openssl, "s_client", "-connect", f"127.0.0.1:{port}", "-tls1_2"],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=PATIENCE,
                check=False,
            )
            assert done.returncode != 0
            until_true(lambda: serve.events("tls.old_version"))
        until_true(lambda: serve.events("tls.not_tls"))
        assert connect(tmp_path, port).returncode == 0


def test_no_certificate_no_listening(tmp_path: Path, certs: Path) -> None:
    """A server without a certificate of its own does not listen, and says what it needs."""
    shutil.copytree(certs, tmp_path / "certs")
    options = written(tmp_path, 1)
    path = tmp_path / "hauberk.toml"
    path.write_text(re.sub(r"\[server\.files\.tls\]\n(.+\n)+", "", path.read_text()))
    done = subprocess.run(
        [sys.executable, "-m", "hauberk", "serve", *options, "files", "--listen", "tls://127.0.0.1:0"],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, "cannot listen at tls://127.0.0.1:0" in done.stderr) == (125, True), done.stderr

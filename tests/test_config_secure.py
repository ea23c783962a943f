"""The template of a secure configuration, with certificates of the commands, between two processes."""

from __future__ import annotations

import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.prose import PATIENCE, README, ROOT, Place, block, call

TEMPLATE = (ROOT / "contrib" / "config-secure.toml").read_text(encoding="utf-8")
DIAL = "hauberk connect remote-files"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Return a home with the template, on a port of its own, and what the template's comment says to make."""
    place = Place(tmp_path)
    assert place.run("hauberk certs init --no-passphrase").status == 0
    for line in re.findall(r"(?m)^#   (hauberk certs issue .*)$", TEMPLATE):
        assert place.run(line).status == 0
    place.write("config/hauberk/hauberk.toml", TEMPLATE.replace(":8443", f":{free_port()}"))
    assert f"`{DIAL}`" in TEMPLATE
    return place


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@contextmanager
def served(place: Place) -> Iterator[None]:
    """Run the server's half."""
    line = ["hauberk", "serve", "files"]
    with subprocess.Popen(
        line, cwd=place.home, env=place.env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        try:
            assert process.stderr is not None
            assert b"listening at tls://" in process.stderr.readline()
            yield
        finally:
            process.terminate()
            process.communicate(timeout=PATIENCE)


def test_both_halves_of_the_template_meet(place: Place) -> None:
    """S0.7, S0.11, S0.14: a call goes through `connect` and `serve` of the template, by TLS with both certificates."""
    with served(place):
        answers = place.answers(DIAL, call("read_note", name="milk"))
    assert answers[1]["result"]["content"][0]["text"] == "buy milk"


def test_renewed_and_revoked_while_it_runs(place: Place) -> None:
    """S0.18, S0.19, A84: a running server takes a new pair, and refuses a client that has been revoked since."""
    with served(place):
        assert place.run("hauberk certs renew files laptop --new-key").status == 0
        assert place.answers(DIAL, call("read_note", name="milk"))[1]["result"]
        assert place.run("hauberk certs revoke laptop").status == 0
        done = place.run(DIAL, {"jsonrpc": "2.0", "id": 1, "method": "ping"})
    assert (done.status, done.out) == (125, "")
    logs = list((place.home / "state").rglob("audit*.jsonl"))
    assert any(b'"tls.revoked"' in log.read_bytes() for log in logs)


def test_both_halves_of_the_readme_meet(tmp_path: Path) -> None:
    """S0.11, S0.14: what the README shows of a server on another machine is all that two machines need."""
    place = Place(tmp_path)
    for line in block(README, "console", "certs init").splitlines():
        command = line.removeprefix("$ ")
        assert place.run(f"{command} --no-passphrase" if command.endswith("init") else command).status == 0
    text = block(README, "toml", "mcp_tls_enabled")
    port = free_port()
    text = text.replace("0.0.0.0:8443", f"127.0.0.1:{port}").replace("files.example:8443", f"127.0.0.1:{port}")
    place.write("config/hauberk/hauberk.toml", text)
    assert re.findall(r"hauberk (serve|connect) (\w+)", text) == [("serve", "files"), ("connect", "remote")]
    with served(place):
        answers = place.answers("hauberk connect remote", call("read_note", name="milk"))
    assert answers[1]["result"]["content"][0]["text"] == "buy milk"

"""Sealed sessions from end to end: the SDK's client, a guard, somebody between, ``hauberk serve``, a real server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import signal
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from tests.running import PATIENCE, WITNESS, environment, guarding
from tests.serving import Serving, serving, until

from hauberk import Config, Guard, plugins
from hauberk.carriers.address import ALPN
from hauberk.refusals import Refused

ROOT = Path(__file__).parents[1]
SERVER = [sys.executable, str(ROOT / "tests" / "bench" / "servers.py")]
CANARY = "canary-5f1c-argument"
ENVELOPE = """
[envelope]
own_keys = "keys/own"
keys_directory = "keys/agents"
sign = "{sign}"
can_communicate_with = {{ laptop = ["vault"] }}
match_certificates = {match}
"""
MODES = ("legacy", "auto")


def hauberk(folder: Path, line: str, **more: Any) -> str:
    """Run a command and return what it says."""
    done: subprocess.CompletedProcess[str] = subprocess.run(
        [sys.executable, "-m", "hauberk", *line.split()],
        env=environment(folder),
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        **more,
    )
    return done.stdout


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the keys of two agents who trust each other, and certificates for them and a proxy."""
    folder = tmp_path_factory.mktemp("agents")
    for name in ("laptop", "vault"):
        hauberk(folder, f"keys generate {name} --dir {name}")
    for name, other in (("laptop", "vault"), ("vault", "laptop")):
        public = folder / f"{other}.toml"
        public.write_text(hauberk(folder, f"keys export {other} --dir {other}"))
        known = json.loads(hauberk(folder, f"keys show {other} --dir {other} --json"))[0]["key_id"]
        hauberk(folder, f"keys trust {public} --key-id {known} --agent {other} --dir {name}")
    hauberk(folder, "certs init --no-passphrase --dir certs")
    hauberk(folder, "certs issue files --san localhost --dir certs")
    for client in ("laptop", "proxy"):
        hauberk(folder, f"certs issue --client {client} --dir certs")
    return folder


def placed(made: Path, folder: Path, agent: str) -> None:
    """Put the keys of an agent, and certificates, beside its configuration."""
    folder.mkdir(mode=0o700, exist_ok=True)
    shutil.copytree(made / agent, folder / "keys")
    shutil.copytree(made / "certs", folder / "certs")


def configured(folder: Path, *tables: str, used: tuple[str, ...] = ("envelope", "tls", "replay")) -> str:
    """Write a configuration with a witness, and return it."""
    (folder / "policy.py").write_text(WITNESS.replace("{path!r}", repr(str(folder / "events"))))
    off = json.dumps(sorted(set(plugins.installed()) - set(used)))
    text = "\n".join(
        [f'[core]\nstate_dir = "{folder}/state"', f'[plugins]\ndisable = {off}\npolicy = "policy.py"', *tables]
    )
    path = folder / "hauberk.toml"
    path.write_text(text)
    path.chmod(0o600)
    return text


@contextlib.asynccontextmanager
async def somebody(reach: Any, *, listen: dict[str, Any]) -> AsyncIterator[tuple[Any, list[bytes]]]:
    """Stand in the middle: pass on what comes, both ways, and keep it."""
    seen: list[bytes] = []

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(65536):
                seen.append(chunk)
                writer.write(chunk)
                await writer.drain()
        writer.close()

    async def met(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await reach()
        await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer))

    if "path" in listen:
        server = await asyncio.start_unix_server(met, **listen)
    else:
        server = await asyncio.start_server(met, "127.0.0.1", 0, **listen)
    async with server:
        yield server.sockets[0].getsockname(), seen


async def toured(folder: Path, text: str, mode: str) -> None:
    """Call the server through a guard, with the SDK's client."""
    async with (
        Guard.load(Config.from_toml(text, base=folder)) as guard,
        Client(guard.wrap(server="files"), mode=mode) as client,
    ):
        assert [tool.name for tool in (await client.list_tools()).tools] == ["echo"]
        for n in range(20):
            said = f"{CANARY} {n}"
            result = await client.call_tool("echo", {"text": said})
            assert [getattr(one, "text", None) for one in result.content] == [said]


def sealed(seen: list[bytes]) -> None:
    """Check what somebody in the middle has seen: methods, and nothing of what was said."""
    text = b"".join(seen)
    lines = [json.loads(line) for line in text.splitlines()]
    assert text.count(b'"method":"tools/call"') == 20
    assert text.count(b"io.github.hauberk/seal") >= 44
    assert CANARY.encode() not in text
    assert b'"echo"' not in text
    plain = [line for line in lines if "io.github.hauberk/seal" not in json.dumps(line)]
    assert {line.get("method", "result") for line in plain} <= {"ping", "result"}  # those before the session


def served(folder: Path, *tables: str, listen: str) -> contextlib.AbstractContextManager[Serving]:
    configured(folder, f"[server.files]\ncommand = {json.dumps(SERVER[0])}\nargs = {json.dumps(SERVER[1:])}", *tables)
    return serving(folder, (), "files", options=["--config", str(folder / "hauberk.toml")], listen=[listen])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("sign", ["session", "message"])
async def test_over_a_unix_socket(made: Path, tmp_path: Path, mode: str, sign: str) -> None:
    """Somebody between two guards on a Unix socket reads no argument and no result, in either era (S0.29)."""
    ours, theirs = tmp_path / "c", tmp_path / "s"
    placed(made, theirs, "vault")
    placed(made, ours, "laptop")
    envelope = ENVELOPE.format(sign=sign, match="true")
    with served(theirs, envelope, listen=f"unix://{tmp_path}/s/x.sock") as serve:

        async def reach() -> Any:
            return await asyncio.open_unix_connection(tmp_path / "s" / "x.sock", limit=1 << 20)

        async with somebody(reach, listen={"path": tmp_path / "m.sock"}) as (_, seen):
            text = configured(ours, f'[server.files]\nurl = "unix://{tmp_path}/m.sock"', envelope, 'peer = "vault"')
            await toured(ours, text, mode)
        sealed(seen)
        (agreed,) = serve.told("envelope.agreed")
        assert (agreed["principal"], agreed["source"]) == ("agent:laptop", "envelope")
        assert agreed["details"]["sign"] == sign
        assert {event["principal"] for event in serve.events("core.allowed")} <= {"agent:laptop"}
        assert [event["code"] for event in serve.events() if event.get("action") == "blocked"] == []


TLS = """
[tls]
ca = "certs/ca/ca.pem"
[server.files.tls]
certificate = "certs/{pair}/pair.pem"
key = "certs/{pair}/pair.pem"
"""


@pytest.mark.parametrize("mode", MODES)
async def test_behind_a_proxy_that_ends_tls(made: Path, tmp_path: Path, mode: str) -> None:
    """A proxy that ends TLS, with a certificate of its own, reads no argument and no result either."""
    ours, theirs = tmp_path / "c", tmp_path / "s"
    placed(made, theirs, "vault")
    placed(made, ours, "laptop")
    pair = made / "certs" / "mcp-servers" / "files" / "pair.pem"
    near = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(made / "certs" / "ca" / "ca.pem"))
    near.load_cert_chain(pair)
    far = ssl.create_default_context(cafile=str(made / "certs" / "ca" / "ca.pem"))
    far.load_cert_chain(made / "certs" / "proxy" / "pair.pem")
    for context in (near, far):
        context.set_alpn_protocols([ALPN])
    with served(
        theirs,
        ENVELOPE.format(sign="session", match="false"),
        TLS.format(pair="mcp-servers/files") + 'client_certificates = "required"\n',
        listen="tls://127.0.0.1:0",
    ) as serve:
        port = int(serve.stderr().rpartition("listening at tls://127.0.0.1:")[2].split()[0])

        async def reach() -> Any:
            return await asyncio.open_connection("127.0.0.1", port, ssl=far, server_hostname="files")

        async with somebody(reach, listen={"ssl": near}) as (name, seen):
            text = configured(
                ours,
                f'[server.files]\nurl = "tls://localhost:{name[1]}"',
                TLS.format(pair="laptop") + 'server_name = "files"\n',
                ENVELOPE.format(sign="session", match="true"),
                'peer = "vault"',
            )
            await toured(ours, text, mode)
        sealed(seen)
        (agreed,) = serve.told("envelope.agreed")
        assert agreed["principal"] == "agent:laptop"
        (connected,) = serve.told("core.connected")
        assert connected["principal"] == "proxy"


async def test_a_proxy_whose_name_must_match(made: Path, tmp_path: Path) -> None:
    """Where certificates must name the agent, who comes by another one's certificate is refused (S0.16)."""
    ours, theirs = tmp_path / "c", tmp_path / "s"
    placed(made, theirs, "vault")
    placed(made, ours, "laptop")
    with served(
        theirs,
        ENVELOPE.format(sign="session", match="true"),
        TLS.format(pair="mcp-servers/files") + 'client_certificates = "required"\n',
        listen="tls://127.0.0.1:0",
    ) as serve:
        port = int(serve.stderr().rpartition("listening at tls://127.0.0.1:")[2].split()[0])
        for pair, agrees in (("proxy", False), ("laptop", True)):
            text = configured(
                ours,
                f'[server.files]\nurl = "tls://localhost:{port}"',
                TLS.format(pair=pair) + 'server_name = "files"\n',
                ENVELOPE.format(sign="session", match="true"),
                'peer = "vault"',
            )
            if agrees:
                await toured(ours, text, "legacy")
                assert serve.told("envelope.agreed")[0]["principal"] == "laptop"
            else:
                with pytest.raises(Refused, match="did not agree"):
                    await toured(ours, text, "legacy")
                assert len(serve.told("envelope.wrong_name")) == 1


async def test_a_connection_that_is_lost(made: Path, tmp_path: Path) -> None:
    """`hauberk connect` dials again when a connection is lost, and agrees anew before it passes on anything."""
    ours, theirs = tmp_path / "c", tmp_path / "s"
    placed(made, theirs, "vault")
    placed(made, ours, "laptop")
    envelope = ENVELOPE.format(sign="session", match="true")
    lines: list[asyncio.StreamWriter] = []
    with served(theirs, envelope, listen=f"unix://{tmp_path}/s/x.sock") as serve:

        async def reach() -> Any:
            reader, writer = await asyncio.open_unix_connection(tmp_path / "s" / "x.sock", limit=1 << 20)
            lines.append(writer)
            return reader, writer

        async with somebody(reach, listen={"path": tmp_path / "m.sock"}) as (_, seen):
            configured(ours, f'[server.files]\nurl = "unix://{tmp_path}/m.sock"', envelope, 'peer = "vault"')
            with guarding(ours, ["connect", "--config", str(ours / "hauberk.toml"), "files"]) as client:
                hello = {
                    "protocolVersion": "2025-11-25",
                    "capabilities": {},
                    "clientInfo": {"name": CANARY, "version": "1"},
                }
                first = await asyncio.to_thread(
                    client.ask, {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}
                )
                assert first["result"]["serverInfo"]["name"] == "echo"
                client.send({"jsonrpc": "2.0", "method": "notifications/initialized"})
                for id in (2, 3):
                    lines[-1].close()
                    for again in range(200):
                        call = {"jsonrpc": "2.0", "id": 100 * id + again, "method": "tools/call"}
                        call["params"] = {"name": "echo", "arguments": {"text": CANARY}}
                        answer = await asyncio.to_thread(client.ask, call)
                        while "id" not in answer:
                            answer = await asyncio.to_thread(client.receive)
                        if "result" in answer:
                            break
                        await asyncio.sleep(0.05)
                    assert answer["result"]["content"][0]["text"] == CANARY
                assert await asyncio.to_thread(client.end) == 0
        assert CANARY.encode() not in b"".join(seen)
        assert len(serve.told("envelope.agreed", count=3)) == len(lines) == 3
        assert serve.events("envelope.plain", "envelope.out_of_order") == []


async def test_a_key_that_is_revoked_while_all_runs(made: Path, tmp_path: Path) -> None:
    """After SIGHUP a revoked key counts no longer and a new one does, though ``hauberk.toml`` is untouched (S0.24)."""
    ours, theirs = tmp_path / "c", tmp_path / "s"
    placed(made, theirs, "vault")
    placed(made, ours, "laptop")
    (known,) = json.loads(hauberk(made, "keys show laptop --dir laptop --json"))
    key_id, trusted = known["key_id"], theirs / "keys" / "agents" / f"{known['key_id']}.toml"
    public = trusted.read_bytes()
    trusted.unlink()
    envelope = ENVELOPE.format(sign="session", match="true")
    with served(theirs, envelope, listen=f"unix://{tmp_path}/s/x.sock") as serve:
        text = configured(ours, f'[server.files]\nurl = "unix://{tmp_path}/s/x.sock"', envelope, 'peer = "vault"')

        async def hung_up() -> None:
            count = len(serve.events("policy.changed"))
            serve.process.send_signal(signal.SIGHUP)
            await until(lambda: len(serve.events("policy.changed")) > count, PATIENCE)

        with pytest.raises(Refused):
            await toured(ours, text, "legacy")
        trusted.write_bytes(public)
        trusted.chmod(0o600)
        await hung_up()
        guard = Guard.load(Config.from_toml(text, base=ours))
        async with guard, Client(guard.wrap(server="files"), mode="legacy", raise_exceptions=False) as client:
            assert (await client.call_tool("echo", {"text": "one"})).content
            hauberk(theirs, f"keys revoke {key_id} --reason compromised --dir keys")
            await hung_up()
            with pytest.raises(Exception):  # noqa: B017, PT011 - as the SDK tells of a connection that has ended
                async with asyncio.timeout(PATIENCE):
                    await client.call_tool("echo", {"text": "two"})
        with pytest.raises(Refused):
            await toured(ours, text, "legacy")
        assert len(serve.told("envelope.untrusted")) == 1
        assert serve.told("envelope.key_revoked")
        assert len(serve.told("core.allowed")) == 1
        assert serve.told("policy.changed")[-1]["details"]["diff"] == [f"~ envelope: {theirs}/keys/agents"]


async def test_a_client_without_a_guard(made: Path, tmp_path: Path) -> None:
    """Behind a guard that seals nobody is served in plain: he is told no, and then the connection ends (A04)."""
    theirs = tmp_path / "s"
    placed(made, theirs, "vault")
    with served(theirs, ENVELOPE.format(sign="session", match="true"), listen=f"unix://{tmp_path}/s/x.sock") as serve:
        reader, writer = await asyncio.open_unix_connection(tmp_path / "s" / "x.sock")
        hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "a", "version": "1"}}
        message = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}
        writer.write(json.dumps(message).encode() + b"\n")
        answer = json.loads(await reader.readline())
        assert answer["error"] == {"code": -32004, "message": "refused", "data": {"code": "envelope.refused"}}
        assert await reader.read() == b""
        writer.close()
        assert len(serve.told("envelope.plain")) == 1

"""Who is scanned: a real ``hauberk serve``, and servers that answer tlsfuzzer; and who sees that it is alive."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import PrivateFormat
from mcp import Client
from plugins.tls.tests.maker import CLIENT, Ca, Key, put
from tests.running import configure
from tests.serving import Serving, serving, until_true
from tests.tls_scan.responder import ANSWER, SERVER

from hauberk import plugins
from hauberk.config import Config
from hauberk.guard import Guard

ROOT: Final = Path(__file__).resolve().parents[2]
KINDS: Final = ("rsa", "ec", "ed25519")
Kind = Literal["rsa", "ec", "ed25519"]
Clients = Literal["none", "optional", "required"]
CALLER: Final = "caller.example"
"""Who calls to see that the server is alive; the scanners have another name."""
SCANNER: Final = "scanner.example"
ANSWER_SECONDS: Final = 120.0
"""What a session with the server may take, on a machine that scans it meanwhile."""
_OURS: Final = """
[tls]
ca = "{kind}/ca.pem"

[server.files]
command = {command}
args = {args}

[server.files.listen]
shared = true

[server.files.tls]
certificate = "{kind}/server.pem"
key = "{kind}/server.key"
client_certificates = "{clients}"

[features]
mcp_tls_enabled = true
"""
_CALLERS: Final = """
[core]
state_dir = "state-of-the-caller"

[tls]
ca = "{kind}/ca.pem"
certificate = "{kind}/caller.pem"
key = "{kind}/caller.key"
"""


def new_key(kind: Kind) -> Key:
    """Return a key."""
    if kind == "rsa":
        return rsa.generate_private_key(65537, 2048)
    return ec.generate_private_key(ec.SECP256R1()) if kind == "ec" else ed25519.Ed25519PrivateKey.generate()


def certificates(folder: Path) -> None:
    """Make an authority of each kind, with a server, and clients with keys of each kind."""
    folder.chmod(0o700)
    for kind in KINDS:
        place = folder / kind
        place.mkdir(0o700)
        ca = Ca(key=new_key(kind))
        put(place / "ca.pem", ca.pem, 0o644)
        ca.issue("localhost", "127.0.0.1", key=new_key(kind)).write(place, "server")
        ca.issue(CALLER, purposes=[CLIENT], key=new_key(kind)).write(place, "caller")
        for client in KINDS:
            form = PrivateFormat.PKCS8 if client == "ed25519" else PrivateFormat.TraditionalOpenSSL
            ca.issue(SCANNER, purposes=[CLIENT], key=new_key(client)).write(place, f"scanner-{client}", form=form)


# --- hauberk serve ---


@dataclass(frozen=True, slots=True)
class Target:
    """One ``hauberk serve`` under TLS, with a real MCP server behind it."""

    folder: Path
    kind: Kind
    port: int
    serve: Serving

    def check_alive(self) -> None:
        """Hold a session with the server over TLS, with a certificate.

        Raises:
            AssertionError: There is no answer, or somebody else got one.
        """
        assert self.serve.process.poll() is None, self.serve.stderr()
        tools = asyncio.run(asyncio.wait_for(self._tools(), ANSWER_SECONDS))
        assert "read_note" in tools, tools
        assert self.served <= {CALLER}, self.served

    @property
    def served(self) -> set[str]:
        """Return who was let in so far."""
        return {_name(event["principal"]) for event in self.serve.events("core.connected")}

    async def _tools(self) -> list[str]:
        config = Config.from_toml(_CALLERS.format(kind=self.kind), base=self.folder)
        others = [name for name in plugins.installed() if name != "tls"]
        async with (
            Guard.load(config, disable=others) as guard,
            Client(guard.wrap(f"tls://localhost:{self.port}", server=SERVER)) as client,
        ):
            return [tool.name for tool in (await client.list_tools()).tools]


def _name(principal: object) -> str:
    """Return the id of a principal, as an event has it."""
    return str(principal["id"]) if isinstance(principal, dict) else str(principal)


def written(folder: Path, kind: Kind, clients: Clients) -> list[str]:
    """Write the configuration of a server, with the plugin tls and a witness; return the options that name it."""
    args = json.dumps([str(ROOT / "examples" / "notes_server.py"), str(folder / "notes")])
    text = _OURS.format(kind=kind, clients=clients, command=json.dumps(sys.executable), args=args)
    options = configure(folder, text)
    path = folder / "hauberk.toml"
    off = json.dumps(sorted(set(plugins.installed()) - {"tls"}))
    path.write_text(re.sub(r"(?m)^disable = .*$", f"disable = {off}", path.read_text()))
    path.chmod(0o600)
    return options


@contextlib.contextmanager
def served(folder: Path, kind: Kind = "ec", clients: Clients = "required") -> Iterator[Target]:
    """Run ``hauberk serve`` for as long as the body lasts; at the end it has to end in order.

    Args:
        folder: Where `certificates` has put some.
        kind: Of which kind its key is.
        clients: Whether it asks for certificates.
    """
    (folder / "notes").mkdir(exist_ok=True)
    options = written(folder, kind, clients)
    with serving(folder, (), SERVER, options=options, listen=["tls://127.0.0.1:0"]) as serve:
        found = re.search(r"listening at tls://127\.0\.0\.1:(\d+)", serve.stderr())
        assert found is not None
        target = Target(folder, kind, int(found[1]), serve)
        target.check_alive()
        yield target
        target.check_alive()
        assert serve.stop() == 0, serve.stderr()


# --- what answers tlsfuzzer ---


@contextlib.contextmanager
def answering(folder: Path, kind: Kind, clients: Clients) -> Iterator[int]:
    """Run `tests.tls_scan.responder`; give its port."""
    place = folder / f"{kind}-{clients}"
    place.mkdir(0o700)
    for name in ("ca.pem", "server.pem", "server.key"):
        (place / name).write_bytes((folder / kind / name).read_bytes())
    (place / "server.key").chmod(0o600)
    text = _OURS.replace("{kind}/", "").format(clients=clients, command='"false"', args="[]")
    (place / "hauberk.toml").write_text(f'[core]\nstate_dir = "state"\n{text}')
    (place / "hauberk.toml").chmod(0o600)
    with (place / "out").open("wb") as out:
        command = [sys.executable, "-m", "tests.tls_scan.responder", str(place / "hauberk.toml")]
        process = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT)
    try:
        said = place / "out"
        until_true(lambda: b"\n" in said.read_bytes() or process.poll() is not None)
        assert process.poll() is None, said.read_text()
        yield int(said.read_text().split("\n", 1)[0])
        assert process.poll() is None, said.read_text()[-2000:]
    finally:
        process.kill()
        process.wait()


class Answering:
    """Responders, each started when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = contextlib.ExitStack()
        self._ports: dict[tuple[Kind, Clients], int] = {}
        self._lock = threading.Lock()

    def port(self, kind: Kind, clients: Clients) -> int:
        """Return the port of one."""
        with self._lock:
            if (kind, clients) not in self._ports:
                self._ports[kind, clients] = self._stack.enter_context(answering(self._folder, kind, clients))
            return self._ports[kind, clients]

    def close(self) -> None:
        """End all; each has to be there still."""
        self._stack.close()


# --- what is not as it should be ---


@contextlib.contextmanager
def older(folder: Path, kind: Kind) -> Iterator[int]:
    """Run a server that speaks TLS 1.2, too, which the tools have to tell; give its port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.load_cert_chain(folder / kind / "server.pem", folder / kind / "server.key")
    ports, ready = list[int](), threading.Event()

    async def taken(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.TimeoutError):
            if (await asyncio.wait_for(reader.read(1000), 5)).startswith(b"GET "):
                writer.write(ANSWER)
                await asyncio.wait_for(reader.read(1000), 5)
            writer.close()
            await asyncio.wait_for(writer.wait_closed(), 5)
        writer.transport.abort()

    async def run() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        stops.append(asyncio.get_running_loop())
        server = await asyncio.start_server(taken, "127.0.0.1", 0, ssl=context)
        async with server:
            ports.append(server.sockets[0].getsockname()[1])
            ready.set()
            await stop.wait()

    stop, stops = asyncio.Event(), list[asyncio.AbstractEventLoop]()
    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    try:
        assert ready.wait(20)
        yield ports[0]
    finally:
        stops[0].call_soon_threadsafe(stop.set)
        thread.join(60)

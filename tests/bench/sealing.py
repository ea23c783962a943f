"""Sealed sessions: a secured message beside the raw primitives that it must call, calls of the SDK, the agreement.

A secured message crosses two guards. The one beside the client judges it (sieve, with the tool's schema), charges it
(ratelimit), records the decision (audit) and seals it (envelope); the one in front of the server opens it, looks
whether it came before (replay), and records it. There is no carrier between them. The raw primitives are:

- beside the client: ``orjson.loads`` of what the host wrote; ``is_valid`` of a compiled jsonschema-rs validator on the
  arguments; the clock and one addition for a rate; ``orjson.dumps`` of the message; SHA-256 of the name and arguments
  in their canonical form; ``orjson.dumps`` and HMAC-SHA256 of a log entry; AES-256-GCM and base64;
- in front of the server: base64 and AES-256-GCM; ``orjson.loads``; a look-up and a comparison of the counter;
  ``orjson.dumps`` of what goes on; SHA-256, ``orjson.dumps`` and HMAC-SHA256 of a log entry;
- where each message is signed: SHA-256 of the ciphertext and an Ed25519 signature, and the same with a verification.

All threads are counted, until both logs stand on the disk: that the log has a thread of its own saves nothing here. Of
the raw side nothing is written to a disk.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import jsonschema_rs
import orjson
import pybase64
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from mcp import Client
from mcp.client._memory import InMemoryTransport
from nacl import bindings
from tests.bench import carriers, samples
from tests.bench.measure import SHUFFLE, Row, Times, micros, ratio, rounds, rounds_async, run_async
from tests.bench.servers import echo
from tests.sdk.kit import Streams, behind

from hauberk import Config, Guard
from hauberk.connection import Role
from hauberk_envelope import _keyfiles
from hauberk_envelope._identity import Identity
from hauberk_envelope._trust import Rules, Trust
from hauberk_envelope.session._agreement import Offer, Party, answer

BARS: Final = {"200 B": (3.2, 2.0), "1 KiB": (2.2, 1.5), "16 KiB": (1.3, 1.1), "256 KiB": (1.15, 1.05)}
SCHEMA: Final = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
_TOOL: Final = {"name": "echo", "description": "Say it again.", "inputSchema": SCHEMA}
_CORE: Final = """
[core]
state_dir = "{path}/{name}"
[plugins]
disable = ["pins", "tls", "bulkhead"{off}]
[audit]
path = "{path}/{name}/audit.jsonl"
key_file = "{path}/{name}/audit.key"
[server.bench]
command = "none"
"""
_POLICY: Final = """
[sieve]
allow = ["bench/*"]
[ratelimit]
calls = "100000/second burst 1000000"
"""
_ENVELOPE: Final = """
[envelope]
own_keys = "{path}/{agent}-own"
keys_directory = "{path}/agents"
{signing}
peer = "server"
can_communicate_with = {{ client = ["server"] }}
"""
_PLAIN: Final = """
[core]
state_dir = "{path}/{name}"
[plugins]
disable = ["pins", "tls", "bulkhead", "sieve", "audit", "ratelimit", "replay"]
"""


def run() -> list[Row]:
    """Measure messages, calls and agreements."""
    with TemporaryDirectory() as directory:
        path = Path(directory)
        path.chmod(0o700)
        _make_keys(path)
        rows = run_async(lambda: _messages(path))
        return [*rows, *run_async(lambda: _calls(path)), run_async(lambda: _agreement(path))]


def _make_keys(path: Path) -> None:
    (path / "agents").mkdir(mode=0o700)
    for name in ("client", "server"):
        (path / f"{name}-own").mkdir(mode=0o700)
        identity = Identity.generate(name, now=time.time())
        _keyfiles.write_secret(path / f"{name}-own", identity)
        public = path / "agents" / f"{identity.key_id}.toml"
        public.write_text(_keyfiles.public_text(identity.public))
        public.chmod(0o600)


def _guard(path: Path, agent: str, sign: str, template: str, **more: str) -> Guard:
    """Return a guard of one of the two agents, with a directory of its own."""
    name = f"{agent}-{len(list(path.iterdir()))}"
    (path / name).mkdir(mode=0o700)
    signing = 'seal = "off"' if sign == "off" else f'sign = "{sign}"'
    known = {"path": str(path), "name": name, "agent": agent, "signing": signing, **more}
    return Guard.load(Config.from_toml((template + _ENVELOPE).format(**known), base=path))


# --- messages ---


class End:
    """One end of two guards in a row."""

    bytes_only = True

    def __init__(self) -> None:
        self.take: Callable[[bytes], object] = lambda _: None
        self.count = 0

    def deliver(self, data: Any, _ticket: Any) -> None:
        """Take one message."""
        self.count += 1
        self.take(data)

    def unanswered(self, _ticket: Any) -> None:
        """Take no notice."""


class Couple:
    """Two guards in a row."""

    def __init__(self, guards: tuple[Guard, Guard]) -> None:
        self.host, self.server = End(), End()
        self.id = 0
        self.sessions: list[Any] = []
        self._logs: Final = [guard.loaded["audit"].plugin for guard in guards]

    @classmethod
    async def made(cls, guards: tuple[Guard, Guard]) -> Couple:
        """Connect two guards, and let the client know the tool."""
        made, wires = cls(guards), (End(), End())
        roles: tuple[Role, Role] = ("client", "server")
        for guard, near, wire, role in zip(guards, (made.host, made.server), wires, roles, strict=True):
            connection = await guard.admit("bench", role, carrier="unix")
            made.sessions.append(guard.session(connection, near, wire))
        one, other = made.sessions
        wires[0].take = lambda data: other.receive(other.inn, data)
        wires[1].take = lambda data: one.receive(one.inn, data)
        await one.agree()
        one.receive(one.out, b'{"jsonrpc":"2.0","id":"list","method":"tools/list"}')
        other.receive(other.out, b'{"jsonrpc":"2.0","id":"list","result":%b}' % orjson.dumps({"tools": [_TOOL]}))
        await asyncio.sleep(0)
        return made

    def frames(self, message: dict[str, Any], count: int) -> list[bytes]:
        """Return calls with ids that are new."""
        self.id += count
        return [orjson.dumps({**message, "id": id}) for id in range(self.id - count, self.id)]

    async def send(self, frames: list[bytes]) -> float:
        """Let calls cross both guards, and their entries reach the logs; return the time (seconds of CPU)."""
        one, before = self.sessions[0], self.server.count
        start = time.process_time_ns()
        for frame in frames:
            one.receive(one.out, frame)
        for log in self._logs:
            if (settling := log.settled()) is not None:
                await settling
        took = (time.process_time_ns() - start) / 1e9
        if self.server.count - before != len(frames):
            raise RuntimeError("a call did not arrive")
        return took

    async def drain(self, count: int) -> None:
        """Answer the last calls."""
        other = self.sessions[1]
        for id in range(self.id - count, self.id):
            other.receive(other.out, b'{"jsonrpc":"2.0","id":%d,"result":{}}' % id)
        await asyncio.sleep(0.002)


class Raw:
    """The primitives."""

    def __init__(self, *, signed: bool) -> None:
        self._cipher: Final = AESGCM(os.urandom(32))
        self._valid: Final = jsonschema_rs.Draft202012Validator(SCHEMA, validate_formats=True, offline=True).is_valid
        self._mac: Final = os.urandom(32)
        self._public, self._secret = bindings.crypto_sign_seed_keypair(os.urandom(32))
        self._signed: Final = signed
        self._rates: Final = {"bench": 0.0}
        self._counters: Final = {"session": -1}
        self._count = 0

    def entry(self, call: dict[str, Any]) -> None:
        """Digest a call, and chain an entry about it."""
        params = call["params"]
        digest = hashlib.sha256(orjson.dumps([params["name"], params["arguments"]], option=orjson.OPT_SORT_KEYS))
        entry = {
            "code": "core.allowed",
            "id": "867f8af5-f5e1-83e7-b99d-000000000005",
            "time": 1_800_000_000.25,
            "category": "decision",
            "action": "allowed",
            "host": "default",
            "server": "bench",
            "principal": "host:default",
            "source": "local",
            "method": "tools/call",
            "tool": params["name"],
            "digest": digest.hexdigest(),
            "rule": "bench/*",
            "plugin": "sieve",
        }
        hmac.digest(self._mac, orjson.dumps(entry), "sha256")

    def message(self, frame: bytes) -> bytes:
        """Do to one message what both sides must."""
        call = orjson.loads(frame)
        if not self._valid(call["params"]["arguments"]):
            raise RuntimeError("the arguments are not valid")
        self._rates["bench"] = max(self._rates["bench"], time.monotonic()) + 1e-6
        data = orjson.dumps(call)
        self.entry(call)
        self._count += 1
        nonce = self._count.to_bytes(12, "big")
        sealed = self._cipher.encrypt(nonce, data, nonce)
        if self._signed:
            sealed += bindings.crypto_sign(hashlib.sha256(sealed).digest(), self._secret)[:64]
        return self.opened(nonce, pybase64.b64encode(sealed))

    def opened(self, nonce: bytes, text: bytes) -> bytes:
        """Do what the second side must."""
        sealed = pybase64.b64decode(text, validate=True)
        if self._signed:
            sealed, signature = sealed[:-64], sealed[-64:]
            bindings.crypto_sign_open(signature + hashlib.sha256(sealed).digest(), self._public)
        call = orjson.loads(self._cipher.decrypt(nonce, sealed, nonce))
        if self._count <= self._counters["session"]:
            raise RuntimeError("it came before")
        self._counters["session"] = self._count
        data = orjson.dumps(call)
        self.entry(call)
        return data

    async def send(self, frames: list[bytes]) -> float:
        """Do it to some messages; return the time (seconds of CPU)."""
        start = time.process_time_ns()
        for frame in frames:
            self.message(frame)
        return (time.process_time_ns() - start) / 1e9


async def _messages(path: Path) -> list[Row]:
    rows = []
    async with AsyncExitStack() as stack:
        for sign in ("session", "message"):
            near = _guard(path, "client", sign, _CORE + _POLICY, off=', "replay"')
            far = _guard(path, "server", sign, _CORE + "[replay]\n", off=', "sieve", "ratelimit"')
            for guard in (near, far):
                await stack.enter_async_context(guard)
            couple, raw = await Couple.made((near, far)), Raw(signed=sign == "message")
            for size in BARS if sign == "session" else ("200 B",):
                times = await _compared(couple, raw, samples.SIZES[size])
                rows.append(_message_row(times, size, sign))
    return rows


async def _compared(couple: Couple, raw: Raw, size: int) -> Times:
    message = samples.long_string(size - 100)
    count = 200 if size < 10_000 else 20
    times: Times = {"guards": [], "raw": []}
    for _ in range(25):
        frames = couple.frames(message, count)
        turns: list[tuple[str, Callable[[list[bytes]], Awaitable[float]]]] = [
            ("guards", couple.send),
            ("raw", raw.send),
        ]
        SHUFFLE.shuffle(turns)
        for name, send in turns:
            times[name].append(await send(frames) / count)
        await couple.drain(count)
    return times


def _message_row(times: Times, size: str, sign: str) -> Row:
    signed = sign == "message"
    bar, aim = (1.25, 1.12) if signed else BARS[size]
    what = (
        f"{size}{', each signed' if signed else ''} ({micros(times, 'guards'):.0f} µs; raw {micros(times, 'raw'):.0f})"
    )
    return Row("secured message / raw primitives", what, ratio(times, "guards", "raw"), bar=bar, aim=aim)


# --- calls of the SDK ---


async def _calls(path: Path) -> list[Row]:
    """Call in memory through two guards that seal, against no guard at all."""
    async with AsyncExitStack() as stack:
        clients = {"bare": await stack.enter_async_context(Client(InMemoryTransport(echo()), mode="legacy"))}
        for sign in ("off", "session", "message"):
            near, far = (_guard(path, name, sign, _PLAIN) for name in ("client", "server"))
            streams = await stack.enter_async_context(behind(echo(), far, "bench"))
            wrapped = near.wrap(Streams(streams), server="bench")
            clients[sign] = await stack.enter_async_context(Client(wrapped, mode="legacy"))

        def caller(client: Any) -> Callable[[], Awaitable[Any]]:
            return lambda: client.call_tool("echo", {"text": samples.text(60)})

        calls = {name: caller(client) for name, client in clients.items()}
        times = await rounds_async(calls, repeat=31, count=40, clock=time.process_time_ns)
    group = f"SDK in memory, sealed both ways / bare ({micros(times, 'bare'):.0f} µs bare)"
    return [
        Row(group, "200 B", ratio(times, "session", "bare"), bar=1.35, aim=1.2),
        Row(group, "200 B, each message signed", ratio(times, "message", "bare"), bar=2.1, aim=1.28),
        Row(group, "200 B, by the same two guards, not sealed", ratio(times, "off", "bare")),
    ]


# --- the agreement ---


async def _agreement(path: Path) -> Row:
    """Measure what agreeing costs both ends, against a handshake with certificates on both sides."""
    folder = path / "tls"
    folder.mkdir(mode=0o700)
    trust = Trust.read(path / "agents", rules=Rules(can_communicate_with={"client": frozenset({"server"})}))
    one, other = (Party(_keyfiles.read_own(path / f"{name}-own")[0], trust) for name in ("client", "server"))
    now = time.time()

    def agree() -> None:
        offer = Offer(one, other.identity.public, "bench", now)
        result, _ = answer(other, offer.params, "bench", now)
        offer.accept(result, now)

    async with carriers.grounded(folder) as ground:
        shake = await carriers.shaking(ground)
        times = rounds({"agree": agree, "full": lambda: shake("once")}, repeat=21, count=20)
    what = f"agreement ({micros(times, 'agree'):.0f} µs; handshake {micros(times, 'full'):.0f})"
    group = "agreement on a session / full TLS handshake, certificates on both sides, CPU"
    return Row(group, what, ratio(times, "agree", "full"), bar=0.4, aim=0.22)

"""Fuzz a session: bytes from both sides, through plugins that hide, refuse, rewrite, wait and fail.

    python tests/fuzz/fuzz_session.py --runs 1000000 --seed 7

Each line is one execution; a session takes some dozens of them, then it is closed. After each line: a request has gone
on or was answered, exactly one of the two; anything else has gone on, or left an event, or is dropped for a reason that
is known; nothing that leaves breaks a rule of the edge; no hidden tool is listed or called. At the end nothing is left.

With atheris installed, coverage guides it; else a driver of its own, the same for a seed on every machine.
"""

from __future__ import annotations

import asyncio
import faulthandler
import importlib
import logging
import random
import sys
from collections import Counter
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, Final

import orjson

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.core.harness import ring
from tests.fuzz import driver, fuzz_edge

from hauberk import edge
from hauberk.config import Config
from hauberk.connection import Role
from hauberk.event import Event
from hauberk.guard import Guard
from hauberk.layers import Layer
from hauberk.message import Frame, Message
from hauberk.methods import METHODS
from hauberk.refusals import Refused
from hauberk.session import Session
from hauberk.verdict import Allow, Deny

LINES: Final = 48
"""Lines of one session, at most."""
STUCK: Final = 60
"""Seconds after which a session that does not end is a failure, with a stack."""
TOML: Final = (
    "core.request_timeout = 3600.0\n[core.bounds]\nline_bytes = 65536\nexchanges = 16\ntombstones = 4\ntasks = 4\n"
    "rounds = 4\nwaiting = 8\nembedded = 4"
)


class Port:
    """One side: it keeps what it gets, and counts."""

    bytes_only = True

    def __init__(self) -> None:
        self.got: list[bytes] = []

    def deliver(self, data: Any, _ticket: Any) -> Awaitable[None] | None:
        self.got.append(data)
        return None

    def unanswered(self, _ticket: Any) -> Awaitable[None] | None:
        return None


class Bench:
    """A guard with the plugins of one kind, and what it noticed."""

    def __init__(self, kind: str, role: Role) -> None:
        self.kind = kind
        self.role = role
        self.events = 0
        self.begun = 0
        self.ended = 0
        self.guard = Guard(Config.from_toml(TOML), self._plugins())

    def _plugins(self) -> list[Any]:
        hook = self._act_slowly if self.kind == "async" else self._act
        plugins = [
            ring("act", Layer.POLICY, on_send=hook, on_receive=hook, on_tool_call=self._judge),
            ring("gauge", Layer.ADMIT, on_send=self._gauge, on_receive=self._gauge),
            ring("sink", on_audit=self._note, required=True),
        ]
        if self.kind == "frames":
            plugins.append(ring("gate", Layer.GATE, on_send=self._gate, on_receive=self._gate))
        return plugins

    def _note(self, _event: Event) -> None:
        self.events += 1

    def _gauge(self, message: Message, _connection: Any) -> None:
        if message.kind == "request" and message.exchange is not None and message.embedded is None:
            self.begun += 1
            message.exchange.defer(self._freed)

    def _freed(self, _outcome: str) -> None:
        self.ended += 1

    def _judge(self, call: Any, _connection: Any) -> Any:
        return Deny("act.denied", "no") if call.name.startswith("hidden") else Allow()

    def _act(self, message: Message, _connection: Any) -> Message | None:
        result = message.result
        if message.method == "tools/list" and result is not None:
            return message.with_result({**result, "tools": _visible(result.get("tools"))})
        do = (message.params if result is None else result).get("do")
        if do == "refuse":
            raise Refused("act.refused", "no")
        if do == "raise":
            raise ZeroDivisionError
        if do == "rewrite" and result is not None:
            return message.with_result({**result, "do": "rewritten"})
        return None

    async def _act_slowly(self, message: Message, connection: Any) -> Message | None:
        if message.size % 3:
            await asyncio.sleep(0)
        return self._act(message, connection)

    def _gate(self, frame: Frame, _connection: Any) -> None:
        if b"shut!" in frame.data:
            raise Refused("gate.closed", "no", public=True)


def _visible(tools: Any) -> list[Any]:
    return [tool for tool in tools if not _hidden(tool)] if isinstance(tools, list) else []


def _hidden(tool: Any) -> bool:
    return not isinstance(tool, dict) or str(tool.get("name", "hidden")).startswith("hidden")


# --- one session ---


class Episode:
    """One session, and what is known of it from outside."""

    def __init__(self, bench: Bench, session: Session, near: Port, far: Port) -> None:
        self.bench = bench
        self.session = session
        self.near, self.far = near, far
        self.lists: Counter[tuple[bool, bytes]] = Counter()
        self.asked: dict[bytes, str] = {}
        """Method of the last request that the client's side sent under an id, and that went on."""
        self.codes: Counter[str] = Counter()

    async def feed(self, outward: bool, line: bytes) -> None:
        """Let one line come in, and check what became of it.

        Raises:
            AssertionError: It was lost, answered twice, or something left that must not.
        """
        source, target = (self.near, self.far) if outward else (self.far, self.near)
        before = len(source.got), len(target.got), self.bench.events
        self.session.receive(self.session.out if outward else self.session.inn, line)
        await self._settle()
        await asyncio.sleep(0)  # events that nobody waits for
        back, on = source.got[before[0] :], target.got[before[1] :]
        events = self.bench.events - before[2]
        expected = _understood(line)
        for data in (*back, *on):
            _valid(data)
        for data in on:
            self._harmless(outward, data)
        if expected is not None and "method" in expected and "id" in expected:
            assert len(back) + len(on) == 1, f"a request was lost or answered twice: {line!r} {back} {on}"
        else:
            assert len(on) <= 1, line
            assert len(back) <= (not on), (line, back, on)
            assert back or on or events or _quiet(expected), f"dropped without a word: {line!r}"
        self.codes["forwarded" if on else "answered" if back else "dropped"] += 1

    async def _settle(self) -> None:
        for _ in range(100):
            if not self.session._underway:
                return
            await asyncio.sleep(0)
        raise AssertionError("a message waits for ever")

    def _harmless(self, outward: bool, data: bytes) -> None:
        """Check that no hidden tool is called or listed."""
        message = orjson.loads(data)
        to_server = outward == (self.bench.role == "client")
        id = orjson.dumps(message.get("id"))
        if "method" in message:
            if to_server:
                self.asked[id] = message["method"]
            if message["method"] == "tools/call":
                assert to_server, data
                assert not message["params"]["name"].startswith("hidden"), data
        elif "result" in message and not to_server and self.asked.pop(id, "") == "tools/list":
            assert not any(_hidden(tool) for tool in message["result"]["tools"]), data

    async def close(self) -> None:
        """Close it, and check that nothing is left."""
        session, bench = self.session, self.bench
        await session.close()
        await asyncio.sleep(0)
        for way in (session.out, session.inn):
            assert not way.exchanges.flight
            assert not way.exchanges.tombstones
            assert (way.waiting, way.tail) == (0, None)
        assert not session._underway
        assert session not in bench.guard._sessions
        assert bench.begun == bench.ended, "a deferred function did not run exactly once"


def _understood(line: bytes) -> dict[str, Any] | None:
    """Return the message in a line if it is JSON by the slow reader and its id is one; else None."""
    try:
        message = fuzz_edge.reference(line)
    except fuzz_edge.Rejected:
        return None
    id = message.get("id", 0)
    usable = type(id) is int or (type(id) is str and len(id) <= 256)
    return message if usable and isinstance(message.get("method", ""), str) else None


def _valid(data: bytes) -> None:
    """Check that what leaves keeps the rules of the edge, which a fuzz target of its own holds to."""
    assert b"\n" not in data
    message, own = edge.read(data, bounds=fuzz_edge.BOUNDS)
    assert own == data
    assert message["jsonrpc"] == "2.0"
    assert ("method" in message) + ("result" in message) + ("error" in message) == 1, data


def _quiet(message: dict[str, Any] | None) -> bool:
    """Whether a message may be dropped without an event: a cancel that came too late, a late answer."""
    if message is None:
        return False
    return message.get("method") == "notifications/cancelled" or "method" not in message


# --- lines ---

IDS: Final = (1, 2, 3, "1", "01", "+2", " 3", "x", "", 2**53 + 1, -1, 1.0, None, True, "y" * 257, [1])
NAMES: Final = ("ls", "hidden", "hidden/rm", "", "LS", 5)
TOKENS: Final = (1, "1", "p", "p", 0, 1.5, None)
WORDS: Final = ("pass", "pass", "refuse", "raise", "rewrite", "shut!")
STATES: Final = ("s1", "s2", "t1", "t2")
KEYS: Final = ("params", "Params", "id", "ID", "method", "result", "error", "jsonrpc", "x", "_meta")
OFTEN: Final = (
    "tools/call",
    "tools/list",
    "sampling/createMessage",
    "notifications/cancelled",
    "notifications/progress",
)
METHOD_NAMES: Final = (*METHODS, "no/such", "")
SENT: Final = {
    side: [name for name in (*METHODS, *OFTEN * 4) if METHODS[name].sender in (side, "both")]
    for side in ("client", "server")
}


def made(rnd: random.Random, side: str) -> bytes:
    """Return a line that is nearly a message of this side, and mostly one."""
    data: dict[str, Any] = {"jsonrpc": "2.0" if rnd.randrange(40) else rnd.choice(("1.0", 2, None))}
    kind = rnd.randrange(8)
    id = rnd.randint(1, 12) if rnd.randrange(4) else rnd.choice(IDS[:10] if rnd.randrange(8) else IDS)
    if kind < 4:
        method = rnd.choice(SENT[side]) if rnd.randrange(10) else rnd.choice(METHOD_NAMES)
        data["method"] = method
        if rnd.randrange(20):
            data["params"] = _params(rnd, method)
        if method.startswith("notifications/") == (not rnd.randrange(20)):
            data["id"] = id
    else:
        data["id"] = id
        if kind < 7:
            data["result"] = _result(rnd)
        else:
            data["error"] = {"code": -1, "message": "m"} if rnd.randrange(8) else rnd.choice(({}, None, "e"))
    if not rnd.randrange(15):
        data[rnd.choice(KEYS)] = rnd.choice((1, None, {}, "x", "2.0"))
    line = orjson.dumps(data)
    return line if rnd.randrange(10) else wounded(rnd, line)


PARAMS: Final[dict[str, Any]] = {
    "uri": "file:///x",
    "messages": [],
    "message": "m",
    "level": "info",
    "notifications": {},
    "elicitationId": "e",
    "status": "working",
    "progress": 1,
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {},
    "ref": {},
    "argument": {},
}


def _params(rnd: random.Random, method: str) -> Any:
    if not rnd.randrange(30):
        return rnd.choice(([], None, "x", 1))
    params = PARAMS | {
        "name": rnd.choice(NAMES) if not rnd.randrange(3) else "ls",
        "do": rnd.choice(WORDS) if not rnd.randrange(3) else "pass",
        "taskId": rnd.choice(STATES),
        "progressToken": rnd.choice(TOKENS),
        "requestId": rnd.randint(1, 12) if rnd.randrange(3) else rnd.choice(IDS[:10]),
    }
    if method == "tools/call":
        params["arguments"] = {"n": rnd.choice((1, 2, 2**63, 0.5))}
    if method == "tasks/update" or not rnd.randrange(8):
        params["inputResponses"] = _inner(rnd)
    if not rnd.randrange(10):
        del params[rnd.choice(sorted(params))]
    if not rnd.randrange(3):
        params["_meta"] = {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}
        params["requestState"] = rnd.choice(STATES)
    if not rnd.randrange(3):
        params["_meta"] = params.get("_meta", {}) | {"progressToken": rnd.choice(TOKENS)}
    return params


def _result(rnd: random.Random) -> Any:
    do = rnd.choice(WORDS) if not rnd.randrange(3) else "pass"
    result: dict[str, Any] = {"do": do, "tools": [{"name": rnd.choice(NAMES)} for _ in range(3)]}
    if not rnd.randrange(3):
        result |= {"resultType": "input_required", "inputRequests": _inner(rnd), "requestState": rnd.choice(STATES)}
    if not rnd.randrange(4):
        result |= {"taskId": rnd.choice(STATES), "task": {"taskId": rnd.choice(STATES)}}
    if not rnd.randrange(4):
        result |= {"ttlMs": rnd.choice((0, 2**53, None, "x")), "cacheScope": rnd.choice(("public", "private", 1))}
    return result if rnd.randrange(30) else rnd.choice(([], None, "x", 1))


def _inner(rnd: random.Random) -> Any:
    members: list[Any] = [
        {"method": "roots/list"},
        {"method": "sampling/createMessage", "params": {"messages": [], "do": rnd.choice(WORDS)}},
        {"method": "tools/call", "params": {"name": "hidden"}},
        {"action": "accept", "do": rnd.choice(WORDS)},
        {"roots": []},
        {"role": "assistant"},
        {},
        5,
    ]
    few = rnd.randrange(6) if not rnd.randrange(3) else rnd.randrange(3)
    return {f"k{n}": rnd.choice(members[:2] if rnd.randrange(4) else members) for n in range(few)}


def wounded(rnd: random.Random, line: bytes) -> bytes:
    """Return a line with one wound; it keeps no line feed."""
    data = bytearray(line)
    at, to = sorted((rnd.randint(0, len(data)), rnd.randint(0, len(data))))
    match rnd.randrange(5):
        case 0:
            data[at:at] = rnd.choice(fuzz_edge.ATOMS)
        case 1:
            del data[at:to]
        case 2:
            data[at:at] = data[at:to]
        case 3:
            data[at : at + 1] = bytes([rnd.randrange(256)])
        case _:
            return fuzz_edge.written(rnd).replace(b"\n", b" ")
    return bytes(data).replace(b"\n", b" ")


# --- drivers ---

BENCHES: Final = [(kind, role) for kind in ("plain", "async", "frames") for role in ("client", "server")]


async def episode(bench: Bench, lines: list[tuple[bool, bytes]]) -> Counter[str]:
    """Run one session over these lines; return what became of them.

    Raises:
        AssertionError: Something is wrong.
    """
    near, far = Port(), Port()
    connection = await bench.guard.connect("files", bench.role)
    made = Episode(bench, bench.guard.session(connection, near, far), near, far)
    for outward, line in lines:
        await made.feed(outward, line)
    await made.close()
    return made.codes


async def drive(runs: int, seed: int) -> Counter[str]:
    """Run ``runs`` lines made from ``seed``, in sessions of all kinds; return what became of them."""
    rnd = random.Random(seed)
    benches = [Bench(kind, role) for kind, role in BENCHES]  # type: ignore[arg-type]
    codes: Counter[str] = Counter()
    for bench in benches:
        await bench.guard.open()
    done = 0
    while done < runs:
        bench = rnd.choice(benches)
        ways = [bool(rnd.randrange(2)) for _ in range(min(runs - done, rnd.randint(1, LINES)))]
        lines = [(way, made(rnd, "client" if way == (bench.role == "client") else "server")) for way in ways]
        if not codes["sessions"] % 256:  # it starts a thread
            faulthandler.dump_traceback_later(STUCK, exit=True)
        try:
            codes.update(await episode(bench, lines))
        except AssertionError:
            print(f"in a session {bench.kind} {bench.role} of seed {seed}:", *lines, sep="\n  ", file=sys.stderr)
            raise
        codes["sessions"] += 1
        done += len(lines)
    faulthandler.cancel_dump_traceback_later()
    for bench in benches:
        await bench.guard.close()
    return codes


def run(runs: int, seed: int) -> Counter[str]:
    """Run in an event loop of its own; what hooks log as they fail is not shown."""
    logging.getLogger("hauberk").setLevel(logging.CRITICAL)
    return asyncio.run(drive(runs, seed))


def run_guided(runs: int, seed: int) -> None:
    """Let atheris choose the bytes: a kind, then lines, each after the side that it comes from; it ends the process."""
    atheris = importlib.import_module("atheris")
    atheris.instrument_all()
    logging.getLogger("hauberk").setLevel(logging.CRITICAL)
    loop = asyncio.new_event_loop()
    benches = [Bench(kind, role) for kind, role in BENCHES]  # type: ignore[arg-type]
    for bench in benches:
        loop.run_until_complete(bench.guard.open())

    def one(data: bytes) -> None:
        lines = [(bool(line[0] & 1), line[1:]) for line in data[1:].split(b"\n") if line[1:]][:LINES]
        loop.run_until_complete(episode(benches[(data or b"\0")[0] % len(benches)], lines))

    atheris.Setup([sys.argv[0], f"-runs={runs}", f"-seed={seed}"], one)
    atheris.Fuzz()


if __name__ == "__main__":
    driver.main("a session", run, guided=run_guided)

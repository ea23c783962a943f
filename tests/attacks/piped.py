"""The same walk through a pipe: ``hauberk run`` with the hostile server as its child, and a host that reads lines.

One process serves many attacks of one era, one after the other: the child reads its state anew, the host lists all
there is anew. Attacks on the opening, and on the lines themselves, have a process of their own; there all is said at
once, since not each answer comes.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, Self

from tests.attacks.guarding import NOBODY, accept, codes_of
from tests.attacks.matrix import PINS, POLICY, Row, Seen, honest
from tests.attacks.walks import ARGUMENTS, PAGES, ROUNDS, calls
from tests.running import PATIENCE, WITNESS, environment

from hauberk.testing import Era, HostileServer
from hauberk.testing._attacks_wire import line

LISTS: Final = ("tools/list", "prompts/list", "resources/list", "resources/templates/list")
MODERN: Final[dict[str, Any]] = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "host", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {"sampling": {}, "elicitation": {"form": {}, "url": {}}, "roots": {}},
    "io.modelcontextprotocol/logLevel": "debug",
}
OPENING: Final = {
    "protocolVersion": "2025-11-25",
    "capabilities": {"sampling": {}, "elicitation": {"form": {}, "url": {}}, "roots": {}},
    "clientInfo": {"name": "host", "version": "1"},
}
MARK: Final = "mark-"
"""A tool that nobody has; its refusal shows that all before it was recorded."""
Message = dict[str, Any]
Step = tuple[str, dict[str, Any]]


class Asking:
    """Makes requests of one era."""

    def __init__(self, era: Era) -> None:
        self.era = era
        self._ids = itertools.count(1)

    def request(self, method: str, params: dict[str, Any]) -> Message:
        """Return a request."""
        id = next(self._ids)
        if method == "initialize":
            return {"jsonrpc": "2.0", "id": id, "method": method, "params": params}
        meta = dict(MODERN) if self.era == "2026-07-28" else {}
        if method == "tools/call":
            meta["progressToken"] = id
        full = params | ({"_meta": meta} if meta else {})
        return {"jsonrpc": "2.0", "id": id, "method": method, "params": full}

    def opening(self) -> Message:
        """Return what a host says first."""
        return self.request("initialize", OPENING) if self.era == "2025-11-25" else self.request("server/discover", {})


def steps(row: Row) -> Iterator[Step]:
    """Yield what a host asks on its walk, but for pages and rounds."""
    for again in (False, True):
        yield from ((method, {}) for method in (LISTS[:1] if again else LISTS))
        yield from (("tools/call", {"name": name, "arguments": ARGUMENTS}) for name in calls(row))
        if not again:
            yield "prompts/get", {"name": "welcome"}
            yield "resources/read", {"uri": "note://1"}


def walk(row: Row, ask: Callable[[str, dict[str, Any]], Message]) -> None:
    """Ask for all, page by page and round by round."""
    for method, params in steps(row):
        result: dict[str, Any] = ask(method, params).get("result", {})
        for _ in range(PAGES if method in LISTS else 0):
            if "nextCursor" not in result:
                break
            result = ask(method, {"cursor": result["nextCursor"]}).get("result", {})
        for _ in range(ROUNDS if method == "tools/call" else 0):
            if result.get("resultType") != "input_required":
                break
            more = params | {"requestState": result["requestState"], "inputResponses": {}}
            result = ask(method, more).get("result", {})


class Run:
    """One ``hauberk run``, one era."""

    def __init__(self, folder: Path, era: Era, *, pinned: bool) -> None:
        self.folder = folder
        self.asking = Asking(era)
        self._marks = itertools.count(1)
        self._out, self._log, self.heard = b"", b"", b""
        self.events: list[dict[str, Any]] = []
        folder.mkdir(parents=True, exist_ok=True)
        self.files = {name: folder / name for name in ("state.json", "called", "events", "stderr", "hauberk.toml")}
        self._configure(pinned=pinned)
        self.process: subprocess.Popen[bytes]

    def _configure(self, *, pinned: bool) -> None:
        fifo = self.files["events"]
        if not fifo.exists():
            os.mkfifo(fifo)
        (self.folder / "policy.py").write_text(WITNESS.replace("{path!r}", repr(str(fifo))))
        off = ["audit"] if pinned else ["audit", "pins"]
        plugins = f'[plugins]\ndisable = {json.dumps(off)}\npolicy = "policy.py"\n'
        text = f'core.state_dir = "{self.folder}/held"\n{plugins}{POLICY}{PINS if pinned else ""}'
        self.files["hauberk.toml"].write_text(text)

    def arm(self, row: Row) -> None:
        """Let the server attack from its next message on."""
        server = honest()
        row.arm(server)
        self._written(server.state())

    def calm(self) -> None:
        """Let the server be honest."""
        self._written(honest().state())

    def _written(self, state: str) -> None:
        self.files["called"].write_text("")
        beside = self.files["state.json"].with_suffix(".new")
        beside.write_text(state, "utf-8")
        beside.replace(self.files["state.json"])

    def __enter__(self) -> Self:
        self._fifo = os.open(self.files["events"], os.O_RDWR | os.O_NONBLOCK)
        server = [sys.executable, str(Path(__file__).with_name("served.py"))]
        server += [str(self.files["state.json"]), str(self.files["called"])]
        command = [sys.executable, "-m", "hauberk", "run", "--config", str(self.files["hauberk.toml"])]
        with self.files["stderr"].open("wb") as stderr:
            self.process = subprocess.Popen(
                [*command, "--server", "files", "--", *server],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=environment(self.folder),
            )
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        for channel in (self.process.stdin, self.process.stdout):
            if channel is not None:
                channel.close()
        os.close(self._fifo)

    # --- what crosses ---

    def _send(self, *messages: Message) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"".join(json.dumps(message).encode() + b"\n" for message in messages))
        self.process.stdin.flush()

    def _pump(self, seconds: float) -> bool:
        """Take what has come; return whether the output goes on."""
        assert self.process.stdout is not None
        out = self.process.stdout.fileno()
        ready, _, _ = select.select([out, self._fifo], [], [], max(seconds, 0))
        assert ready, f"nothing came: {self.files['stderr'].read_text()}"
        if self._fifo in ready:
            self._log += os.read(self._fifo, 1 << 20)
            *whole, self._log = self._log.split(b"\n")
            self.events += map(json.loads, whole)
        if out in ready:
            chunk = os.read(out, 1 << 20)
            self._out += chunk
            self.heard += chunk
            return bool(chunk)
        return True

    def ask(self, method: str, params: dict[str, Any]) -> Message:
        """Send a request and return its answer."""
        asked = self.asking.request(method, params)
        self._send(asked)
        until = time.monotonic() + PATIENCE
        while True:
            while b"\n" not in self._out:
                assert self._pump(until - time.monotonic()), self.files["stderr"].read_text()
            found, _, self._out = self._out.partition(b"\n")
            message: Message = json.loads(found)
            if message.get("id") == asked["id"] and "method" not in message:
                return message

    def open(self) -> None:
        """Say what a host says first."""
        first = self.asking.opening()
        self.ask(first["method"], OPENING if first["method"] == "initialize" else {})
        if first["method"] == "initialize":
            self._send({"jsonrpc": "2.0", "method": "notifications/initialized"})

    def seen(self) -> Seen:
        """Wait until all is recorded, and return what came of it since the last time."""
        mark = f"{MARK}{next(self._marks)}"
        self.ask("tools/call", {"name": mark})
        until = time.monotonic() + PATIENCE
        while not any(event.get("tool") == mark for event in self.events):
            self._pump(until - time.monotonic())
        return self._taken()

    def _taken(self) -> Seen:
        events = [event for event in self.events if not event.get("tool", "").startswith(MARK)]
        heard = b"\n".join(one for one in self.heard.split(b"\n") if MARK.encode() not in one)
        self.events, self.heard = [], b""
        called = tuple(self.files["called"].read_text().split("\n")[:-1])
        return Seen(heard.decode(errors="replace"), called, codes_of(events))

    def all_at_once(self, row: Row) -> Seen:
        """Say all there is to say, end the input, and return what came of it."""
        self._send(self.asking.opening(), *(self.asking.request(method, params) for method, params in steps(row)))
        assert self.process.stdin is not None
        self.process.stdin.close()
        until = time.monotonic() + PATIENCE
        while self._pump(until - time.monotonic()):
            pass
        self.process.wait(PATIENCE)
        os.write(self._fifo, b'{"tool":"end"}\n')
        while not any(event.get("tool") == "end" for event in self.events):
            self._pump_log()
        self.events = self.events[:-1]
        return self._taken()

    def _pump_log(self) -> None:
        self._log += os.read(self._fifo, 1 << 20)
        *whole, self._log = self._log.split(b"\n")
        self.events += map(json.loads, whole)


def trust(run: Run) -> None:
    """Show the honest server, and trust all of it as ``hauberk pins trust`` does."""
    run.calm()
    with run:
        run.open()
        walk(NOBODY, run.ask)
        assert run.process.stdin is not None
        run.process.stdin.close()
        run.process.wait(PATIENCE)
    accept(run.folder)


class Yard:
    """All runs of the matrix, each made when it is first needed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._shared: dict[tuple[Era, bool], Run] = {}
        self._stack = contextlib.ExitStack()

    def guarded(self, row: Row, era: Era) -> Seen:
        """Let a host walk through ``hauberk run``, which knew the honest server before."""
        if row.place != "shared":
            return self._alone(row, era)
        run = self._shared.get((era, row.pinned))
        if run is None:
            run = self._shared[era, row.pinned] = Run(self._home(era, pinned=row.pinned), era, pinned=row.pinned)
            run.calm()
            self._stack.enter_context(run)
            run.open()
        run.calm()
        walk(NOBODY, run.ask)  # what the guard remembers of the attack before is no more
        run.seen()
        run.arm(row)
        walk(row, run.ask)
        return run.seen()

    def _alone(self, row: Row, era: Era) -> Seen:
        home = self._folder / f"alone-{era}-{row.pinned}"
        if not home.exists():
            self._settle(home, era, pinned=row.pinned)
        run = Run(home, era, pinned=row.pinned)
        run.arm(row)
        with run:
            if row.place == "at once":
                return run.all_at_once(row)
            run.open()
            walk(row, run.ask)
            return run.seen()

    def _home(self, era: Era, *, pinned: bool) -> Path:
        home = self._folder / f"shared-{era}-{pinned}"
        self._settle(home, era, pinned=pinned)
        return home

    def _settle(self, home: Path, era: Era, *, pinned: bool) -> None:
        run = Run(home, era, pinned=pinned)
        if pinned:
            trust(run)

    def close(self) -> None:
        """End all processes."""
        self._stack.close()


def unguarded(row: Row, era: Era) -> Seen:
    """Return what a host hears on its walk where nothing stands before the server."""
    server: HostileServer = honest()
    server.attach("bytes")
    row.arm(server)
    asking, said = Asking(era), list(server.outbox)

    def ask(method: str, params: dict[str, Any]) -> Message:
        return hear(asking.request(method, params))

    def hear(asked: Message) -> Message:
        server.outbox.clear()
        server.hear(asked)
        said.extend(server.outbox)
        answers = [one for one in server.outbox if isinstance(one, dict) and one.get("id") == asked["id"]]
        return answers[-1] if answers else {}

    hear(asking.opening())
    walk(row, ask)
    heard = b"".join(map(line, said))
    return Seen(heard.decode(errors="replace"), tuple(call["name"] for call in server.called()))

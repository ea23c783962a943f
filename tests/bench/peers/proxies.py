"""The latency that a proxy adds to a call, hauberk's beside its peers': the same server behind, one client in front.

Every proxy runs as its own documentation says, with its defaults, and keeps one session to the server open:

* ``hauberk run -- COMMAND``, without a configuration: the sieve and the audit log, both of which see every call
* ``fastmcp run mcp.json``: the proxy of a server in a client's configuration; no policy, no log
* ``mcp-gateway --mcp-json-path mcp.json``: no guardrail is enabled, no tracing; it logs each call to standard error
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from tests.bench import samples
from tests.bench.measure import SHUFFLE, Row, Times, micros
from tests.bench.peers.client import Line
from tests.bench.peers.environments import Peer
from tests.bench.proxied import one_core

SERVER: Final = [sys.executable, "-S", str(Path(__file__).with_name("server.py"))]
SIZES: Final = {"200 B": 100, "16 KiB": 16_000}
"""The lengths of the texts that make calls of about that size."""
BARS: Final = {"fastmcp": (0.12, 0.05), "mcp-gateway": (0.2, 0.08)}
"""What part of a peer's added latency hauberk's may be, and should be, at 200 B on one core.

On all cores there is no bar: there a shared machine measures how long it takes to wake one.
"""
_ROUNDS: Final = 40
_CALLS: Final = 15


def run(peers: list[Peer]) -> list[Row]:
    """Measure what each adds to a call, first on one core, then on all of them."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o700)
        candidates = commands(peers, folder)
        with one_core():
            rows = _measure("one core", candidates, folder)
        return [*rows, *_measure("all cores", candidates, folder)]


def check(peer: Peer) -> None:
    """Make one call through a peer.

    Raises:
        RuntimeError: It ends, or does not give what the server says.
    """
    with TemporaryDirectory() as name:
        folder = Path(name)
        with Line(commands([peer], folder)[peer.name], folder / "home") as line:
            line.begin()
            if not line.counts()["tools/call"]:
                raise RuntimeError("the call did not reach the server")


def commands(peers: list[Peer], folder: Path) -> dict[str, list[str]]:
    """Return the command of each candidate."""
    command, *args = SERVER
    entry = {"command": command, "args": args}
    (folder / "fastmcp.json").write_text(json.dumps({"mcpServers": {"bench": entry}}))
    (folder / "gateway.json").write_text(json.dumps({"mcpServers": {"gateway": {"servers": {"bench": entry}}}}))
    known = {
        "fastmcp": ["bin/fastmcp", "run", str(folder / "fastmcp.json"), "--no-banner"],
        "mcp-gateway": ["bin/mcp-gateway", "--mcp-json-path", str(folder / "gateway.json")],
    }
    found = {peer.name: [str(peer.folder / known[peer.name][0]), *known[peer.name][1:]] for peer in peers}
    own = [sys.executable, "-m", "hauberk", "run", "--", *SERVER]
    return {"direct": SERVER, "hauberk": own} | found


def _measure(where: str, candidates: dict[str, list[str]], folder: Path) -> list[Row]:
    rows = []
    with ExitStack() as stack:
        homes = {name: folder / f"{where} {name}" for name in candidates}
        lines = {name: stack.enter_context(Line(command, homes[name])) for name, command in candidates.items()}
        for line in lines.values():
            line.begin()
        for size, length in SIZES.items():
            before = {name: line.counts() for name, line in lines.items()}
            times = _trip(lines, samples.text(length))
            told = {name: _per_call(before[name], line.counts()) for name, line in lines.items()}
            rows += _rows(f"{where}, {size}", times, told, barred=(where, size) == ("one core", "200 B"))
    _recorded(homes["hauberk"])
    return rows


def _trip(lines: dict[str, Line], text: str) -> Times:
    """Time calls in shuffled rounds: seconds a call."""
    times: Times = {name: [] for name in lines}
    for line in lines.values():
        for _ in range(3 * _CALLS):
            line.cross(line.call(text))
    names = list(lines)
    for _ in range(_ROUNDS):
        SHUFFLE.shuffle(names)
        for name in names:
            line, wanted = lines[name], text.encode()
            frames = [line.call(text) for _ in range(_CALLS)]
            start = time.perf_counter_ns()
            answers = [line.cross(frame) for frame in frames]
            times[name].append((time.perf_counter_ns() - start) / _CALLS / 1e9)
            if not all(wanted in answer and b'"isError":true' not in answer for answer in answers):
                raise RuntimeError(f"{name} gave a wrong answer: {answers[-1][:500]!r}")
    return times


def _per_call(before: dict[str, int], after: dict[str, int]) -> str:
    """Say what the server was asked for each call; a handshake in there is a session that did not last."""
    calls = after["tools/call"] - before["tools/call"]
    more = {method: (count - before.get(method, 0)) / calls for method, count in after.items()}
    return ", ".join(f"{count:.2g} {method}" for method, count in more.items() if count)


def _rows(group: str, times: Times, told: dict[str, str], *, barred: bool) -> list[Row]:
    """Return the added latency of each, as the part that hauberk's is of it."""
    added = {name: statistics.median(differences(times, name)) for name in times if name != "direct"}
    rows = []
    for name, seconds in added.items():
        bar, aim = BARS.get(name, (None, None)) if barred else (None, None)
        what = f"{name} adds {seconds * 1e6:.0f} µs to {micros(times, 'direct'):.0f} (the server got: {told[name]})"
        rows.append(
            Row(f"added by hauberk run / added by it: {group}", what, added["hauberk"] / seconds, bar=bar, aim=aim)
        )
    return rows


def differences(times: Times, name: str) -> list[float]:
    """Return what a candidate took longer than the direct way, round by round."""
    return [own - direct for own, direct in zip(times[name], times["direct"], strict=True)]


def _recorded(home: Path) -> None:
    """Make sure that hauberk did its work: each call was judged, and is in its log."""
    entries = [line for log in home.rglob("*.jsonl") for line in log.read_text().splitlines()]
    judged = sum('"core.allowed"' in entry for entry in entries)
    calls = len(SIZES) * (_ROUNDS + 3) * _CALLS
    if judged < calls:
        raise RuntimeError(f"hauberk recorded {judged} of at least {calls} calls under {home}")

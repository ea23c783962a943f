"""Does the time of a refusal tell a bad signature from a bad tag? Welch's t-test, on single messages in random order.

usage: python -m tests.bench.opening_time [--frames] [--samples N] [--json FILE]

With ``--frames`` it is frames of a session whose messages are signed, and not messages between agents.

Both kinds are messages of 200 bytes: of the one a bit of the signature is another, of the other a bit of the tag, and
its sender signed that. Each message is a new one, since verifying takes a little more or less with each (Ed25519 is
verified in variable time, of nothing that is secret). The clock is the wall's, as who waits for an answer has it. A
busy machine adds noise that would hide a difference, so the test is made again on the fastest of all samples, as dudect
does: on nine tenths, three quarters and half of them. |t| below 4.5 in each is no difference that was found.

At the end a fifth of it is measured where a refusal does not go through both outcomes (`_even.settle`): that the test
finds, or it would find nothing.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import platform
import random
import statistics
import time
from pathlib import Path
from typing import Any, Final

import orjson
import pybase64
from msgspec.structs import replace

from hauberk.bounds import Bounds
from hauberk.message import Frame
from hauberk.refusals import Refused
from hauberk_envelope import _even
from hauberk_envelope._identity import Identity
from hauberk_envelope._sealing import _signed, open_message, seal_message
from hauberk_envelope._trust import Rules, Trust
from hauberk_envelope.session import _session
from hauberk_envelope.session._direction import HEAD, bound
from hauberk_envelope.session._layout import END, EXTENSION
from hauberk_envelope.session._noise import Keys
from hauberk_envelope.session._session import Session, Terms, _to_sign

BAR: Final = 4.5
PARTS: Final = (1.0, 0.9, 0.75, 0.5)
"""The parts of the samples that are looked at, the fastest."""
NOW: Final = 1_790_000_000.0
BOUNDS: Final = Bounds()
SIZE: Final = 200
KINDS: Final = ("bad signature", "bad tag")


class Scene:
    """Two agents, and messages of both kinds from the one to the other."""

    def __init__(self, seed: int) -> None:
        self._source: Final = random.Random(seed).randbytes
        self.alice, self.bob = (Identity.generate(name, now=NOW, random=self._source) for name in ("alice", "bob"))
        rules = Rules(privileged_agents=frozenset({"alice"}))
        self.trust: Final = Trust({one.key_id: one.public for one in (self.alice, self.bob)}, rules=rules)

    def made(self, kind: str) -> bytes:
        """Return a new message of a kind; both are made each time, so that what ran before is the same."""
        message = seal_message(bytes(SIZE), sender=self.alice, to=self.bob.public, now=NOW, random=self._source)
        bit = self._source(1)[0] % 128
        sealed = _flipped(message.encrypted_content, 8 * SIZE + bit)
        signature = self.alice.sign(_signed(message.header(), sealed))
        kinds = (
            replace(message, signature=_flipped(message.signature, bit)).encode(),
            replace(message, encrypted_content=sealed, signature=signature).encode(),
        )
        return kinds[KINDS.index(kind)]

    def refused(self, data: bytes) -> int:
        """Return how long the refusal of a message takes (nanoseconds)."""
        start = time.perf_counter_ns()
        try:
            open_message(data, recipients=(self.bob,), trust=self.trust, now=NOW)
        except Refused:
            return time.perf_counter_ns() - start
        raise AssertionError("it opened")


class Frames:
    """Two guards with a session, and frames of both kinds from the one to the other."""

    def __init__(self, seed: int) -> None:
        self._random: Final = random.Random(seed)
        self.alice, self.bob = (Identity.generate(name, now=NOW, random=self._random.randbytes) for name in "ab")
        self._keys: Final = Keys(*(self._random.randbytes(32) for _ in range(3)))
        self._call: Final = orjson.dumps({"jsonrpc": "2.0", "id": 7, "method": "ping", "params": {"x": "x" * SIZE}})

    def made(self, kind: str) -> bytes:
        """Return a new frame of a kind, in a session that is as new; both are made each time."""
        own, other, terms = self.alice.public, self.bob.public, Terms(signed=True)
        one = Session(self._keys, initiator=True, me=self.alice, peer=other, terms=terms)
        self._end = Session(self._keys, initiator=False, me=self.bob, peer=own, terms=terms)
        frame = one.seal(Frame(self._call, "server", "", "request", "ping", 7), NOW).data
        start = frame.index(EXTENSION.encode()) + len(EXTENSION) + 3
        seal = pybase64.b64decode(frame[start : -len(END)])
        head, sealed, signature = seal[: HEAD.size], seal[HEAD.size : -64], seal[-64:]
        bit = self._random.randrange(128)
        wrong = _flipped(sealed, 8 * (len(sealed) - 16) + bit)
        signed = self.alice.sign(_to_sign(bound(self._keys.hash, "initiator") + head + frame[:start], wrong))
        kinds = (head + sealed + _flipped(signature, bit), head + wrong + signed)
        return frame[:start] + pybase64.b64encode(kinds[KINDS.index(kind)]) + END

    def refused(self, data: bytes) -> int:
        """Return how long the refusal of a frame takes (nanoseconds)."""
        frame = Frame(data, "server")
        start = time.perf_counter_ns()
        try:
            self._end.open(frame, NOW, BOUNDS)
        except Refused:
            return time.perf_counter_ns() - start
        raise AssertionError("it opened")


def _flipped(data: bytes, bit: int) -> bytes:
    return data[: bit // 8] + bytes([data[bit // 8] ^ 1 << bit % 8]) + data[bit // 8 + 1 :]


def measured(samples: int, seed: int, kind_of: type[Scene | Frames] = Scene) -> dict[str, list[int]]:
    """Return how long each of ``samples`` refusals of each kind took (nanoseconds)."""
    scene = kind_of(seed)
    order = [kind for kind in KINDS for _ in range(samples)]
    random.Random(seed).shuffle(order)
    times: dict[str, list[int]] = {kind: [] for kind in KINDS}
    gc.disable()
    for number, kind in enumerate(order):
        times[kind].append(scene.refused(scene.made(kind)))
        if number % 1000 == 0:
            gc.collect(0)
    gc.enable()
    return times


def welch(one: list[int], other: list[int]) -> float:
    """Return Welch's t."""
    spread = statistics.variance(one) / len(one) + statistics.variance(other) / len(other)
    return (statistics.fmean(one) - statistics.fmean(other)) / math.sqrt(spread)


def judged(times: dict[str, list[int]]) -> list[dict[str, Any]]:
    """Return the test on each part of the samples."""
    both = sorted(value for kind in KINDS for value in times[kind])
    found = []
    for part in PARTS:
        most = both[int(part * len(both)) - 1]
        kept = [[value for value in times[kind] if value <= most] for kind in KINDS]
        found.append(
            {
                "part": part,
                "samples": {kind: len(values) for kind, values in zip(KINDS, kept, strict=True)},
                "mean_ns": {kind: round(statistics.fmean(values)) for kind, values in zip(KINDS, kept, strict=True)},
                "t": round(welch(*kept), 2),
            }
        )
    return found


def largest(rows: list[dict[str, Any]]) -> float:
    """Return the largest |t|."""
    return max(abs(float(row["t"])) for row in rows)


def main() -> None:
    """Measure, print, and write the record."""
    parser = argparse.ArgumentParser(description="time refusals of messages")
    parser.add_argument("--samples", type=int, default=100_000, help="of each kind")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--frames", action="store_true", help="frames of sessions, and not messages between agents")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    scene: type[Scene | Frames] = Frames if args.frames else Scene
    measured(1000, 0, scene)
    found = judged(measured(args.samples, args.seed, scene))
    for row in found:
        means = ", ".join(f"{kind} {mean / 1000:.1f} µs" for kind, mean in row["mean_ns"].items())
        print(f"fastest {row['part']:4.0%}: {means}, t = {row['t']:+.2f}")
    _even.settle = lambda **_: None
    _session._settle = lambda *_, **__: None
    control = largest(judged(measured(args.samples // 5, args.seed, scene)))
    print(f"largest |t| {largest(found)}, bar {BAR}; without settling {control}")
    if args.json:
        about = {"python": platform.python_version(), "machine": platform.machine(), "system": platform.system()}
        record = {"samples": args.samples, "seed": args.seed, "bar": BAR, "rows": found}
        record |= {"without_settling": control, "about": about}
        args.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

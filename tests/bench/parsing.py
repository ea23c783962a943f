"""Parse, check and serialise, against orjson alone; and the share of real frames that take the fast path."""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

import orjson
from tests.bench import samples
from tests.bench.measure import Row, micros, ratio, rounds, run_async

from hauberk import edge
from hauberk.bounds import Bounds

BOUNDS = Bounds()


def run() -> list[Row]:
    """Measure three kinds of JSON in four sizes."""
    rows = []
    for size, length in samples.SIZES.items():
        for kind, make, write, bars in (
            ("dense", samples.dense, samples.compact, {"bar": 2.0, "aim": 1.3}),
            ("one string", samples.long_string, samples.compact, {}),
            ("spaced", samples.dense, samples.spaced, {"bar": 7.0}),
        ):
            frame = write(make(length))
            times = rounds(
                {"orjson": partial(_theirs, frame), "edge": partial(_ours, frame)},
                repeat=21,
                count=max(3, 400_000 // len(frame)),
            )
            what = f"{size} {kind} ({micros(times, 'edge'):.1f} µs)"
            rows.append(Row("parse + check + serialise / orjson", what, ratio(times, "edge", "orjson"), **bars))
    frames = run_async(_frames)
    fast = sum(orjson.dumps(orjson.loads(frame)) == frame for frame in frames)
    rows.append(Row("frames of real peers", f"fast path: {fast} of {len(frames)}", fast / len(frames)))
    return rows


def _theirs(frame: bytes) -> bytes:
    return orjson.dumps(orjson.loads(frame))


def _ours(frame: bytes) -> bytes:
    return edge.read(frame, bounds=BOUNDS)[1]


async def _frames() -> list[bytes]:
    """Return every frame of a session of the SDK's client with the SDK's server, both ways."""
    from mcp import Client, StdioServerParameters

    from hauberk import Config, Guard, Layer, hookimpl
    from hauberk import Options as Options_

    seen: list[bytes] = []

    class Tap:
        name = "tap"
        layer = Layer.WIRE
        Options = Options_

        @hookimpl
        def on_send(self, message: Any) -> None:
            seen.append(message.data)

        @hookimpl
        def on_receive(self, message: Any) -> None:
            seen.append(message.data)

    server = StdioServerParameters(command=sys.executable, args=["-m", "tests.bench.servers"])
    for mode in ("legacy", "2026-07-28"):
        async with Client(Guard(Config.default(), [Tap()]).wrap(server, server="bench"), mode=mode) as client:
            await client.list_tools()
            for length in (10, 1000, 20_000):
                await client.call_tool("echo", {"text": "é" * length, "rows": samples.dense(length)})
    return seen

"""Attacks on `hauberk serve` that were found by somebody who had not written it: what they must not reach."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.serving import Offered, Stubs, offered, until

from hauberk.hosts import _served

LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
LARGE = 3_000_000


# --- answers that are not read at once ---


async def _owed(made: Offered, stubs: Stubs) -> Any:
    """Return a client that has been answered, and has read nothing of it."""
    client = await made.session()
    client.reads(False)
    client.send(LIST)
    await until(lambda: stubs.there)
    stubs.there[0].answer(1, x="y" * LARGE)
    await until(lambda: any(one._stream.held for one in made.server._served))
    return client


@pytest.mark.parametrize("way", ["the server goes", "the input ends", "it drains"])
async def test_last_answers_are_not_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """Whoever reads late, but before ``stalled_seconds``, reads all of the last answer, whatever ends (A65, S4.16)."""
    monkeypatch.setattr(_served, "_FAREWELL", 0.05)
    stubs = Stubs(answers=False)
    async with offered(tmp_path, target=stubs) as made:
        client = await _owed(made, stubs)
        if way == "the server goes":
            stubs.there[0].gone()
        elif way == "the input ends":
            client.writer.write_eof()
        else:
            made.server.stop()
        await asyncio.sleep(0.5)
        client.reads(True)
        got = await asyncio.wait_for(client.reader.read(), 10)
        assert got.endswith(b"\n")
        assert len(got) > LARGE
        await until(lambda: not made.server._served)
        assert not made.server.lost
        assert "core.stalled" not in made.codes


@pytest.mark.parametrize("signals", [1, 2])
async def test_answer_that_is_cut_off_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signals: int) -> None:
    """An answer that was not read when there was no time left is recorded, and the exit status tells it (S4.16)."""
    monkeypatch.setattr(_served, "_FAREWELL", 0.05)
    stubs = Stubs(answers=False)
    async with offered(tmp_path, target=stubs, drain_seconds=0.3 if signals == 1 else 60.0) as made:
        await _owed(made, stubs)
        for _ in range(signals):
            made.server.stop()
        await asyncio.wait_for(made.running, 10)
        assert made.server.lost
        event = await made.recorded("core.stalled")
        assert "bytes of them are lost" in event.details["reason"]

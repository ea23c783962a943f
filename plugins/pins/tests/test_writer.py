"""What was seen is written behind the messages, and nothing of it is lost or believed before it is safe."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from plugins.pins.tests.conftest import STRICT, Showing, codes, desk_of, listed, recorded, tool

from hauberk_pins import _book
from hauberk_pins._store import Store

if TYPE_CHECKING:
    from plugins.pins.tests.conftest import Guarded

FIRST = STRICT + "auto_trust_first = true\n"


async def test_disk_is_written_by_no_event_loop(guarded: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
    """What servers show is written by another thread than the one that messages pass through."""
    threads: list[threading.Thread] = []
    record = Store.record

    def recording(store: Store, seen: Any) -> None:
        threads.append(threading.current_thread())
        record(store, seen)

    monkeypatch.setattr(Store, "record", recording)
    async with guarded(Showing(tool("read")), FIRST) as rig:
        assert await listed(rig) == ["read"]
        await recorded(rig)
    assert len(threads) == 1
    assert threads[0] is not threading.main_thread()


async def test_nothing_is_lost_at_the_end(guarded: Guarded, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What comes while a write is under way, and what came last, is on the disk once the guard is closed."""
    going, write = threading.Event(), _book.write

    def slow(store: Store, news: Any) -> Any:
        assert going.wait(60)
        return write(store, news)

    monkeypatch.setattr(_book, "write", slow)
    server = Showing(tool("t0"))
    async with guarded(server, FIRST) as rig:
        for number in range(5):
            server.show(*[tool(f"t{n}") for n in range(number + 1)])
            await listed(rig)
            await asyncio.sleep(0)
        assert desk_of(tmp_path).seen() == {}
        going.set()
    assert {name for kind, name in desk_of(tmp_path).seen()["files"] if kind == "tool"} == {f"t{n}" for n in range(5)}


async def test_first_sight_that_is_not_on_the_disk_is_no_pin(guarded: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the disk fails a first sight is told of as lost, and then nothing is believed before it is written."""
    fails = True
    record = Store.record

    def failing(store: Store, seen: Any) -> None:
        if fails:
            raise OSError(28, "No space left on device")
        record(store, seen)

    monkeypatch.setattr(Store, "record", failing)
    server = Showing(tool("read"))
    async with guarded(server, FIRST) as rig:
        await listed(rig)
        await recorded(rig)
        assert await listed(rig) == []
        await rig.call("read")
        rig.assert_refused("pins.unpinned")
        assert server.called("read") == []
        await recorded(rig)  # a write that is under way and fails takes with it what comes meanwhile
        fails = False
        assert await listed(rig) == ["read"]
        await recorded(rig)
        await rig.call("read")
        assert len(server.called("read")) == 1
    lost = [event for event in rig.recorder.events if event.code == "pins.unrecorded"]
    assert {event.details["reason"] for event in lost} == {"no space left on device"}
    assert codes(rig)[0] == "pins.first_sight"


async def test_reload_goes_on_with_what_was_seen(guarded: Guarded, trust: Callable[..., None], tmp_path: Path) -> None:
    """A reload writes what was seen, and its new plugin pins nothing anew (S3.40)."""
    server = Showing(tool("read"))
    async with guarded(server, FIRST) as rig:
        assert await listed(rig) == ["read"]
        text = f'core.state_dir = "{rig.guard.config.state_dir}"\n{FIRST}lock = "{tmp_path}/hauberk.lock"\n'
        await rig.guard.reload(rig.guard.config.from_toml(text, base=tmp_path))
        server.show(tool("read", title="x"))
        assert await listed(rig) == []
        await rig.call("read")
        assert server.called("read") == []


async def test_other_guard_may_have_been_the_first(guarded: Guarded, tmp_path: Path) -> None:
    """Of two guards that see an item for the first time, what is written first is the pin of both."""
    one, other = Showing(tool("read")), Showing(tool("read", title="x"))
    async with guarded(one, FIRST) as first, guarded(other, FIRST) as second:
        assert await listed(first) == ["read"]
        await recorded(first)
        await listed(second)
        await recorded(second)
        assert await listed(second) == []
        await second.call("read")
        assert other.called("read") == []

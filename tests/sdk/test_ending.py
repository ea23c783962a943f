"""Clean-up that is done to its end, whatever cancels whoever waits for it."""

from __future__ import annotations

import asyncio

import anyio
import pytest
from tests.sdk.kit import settled, within

from hauberk.hosts import _ending
from hauberk.hosts._ending import to_the_end


async def _clean(done: list[str]) -> None:
    await settled(5)
    done.append("cleaned")


async def test_what_it_raises_is_raised() -> None:
    """Without a cancellation it is an await of the clean-up, errors included."""
    done: list[str] = []
    await to_the_end(_clean(done))
    assert done == ["cleaned"]

    async def fail() -> None:
        raise KeyError

    with pytest.raises(KeyError):
        await to_the_end(fail())


@pytest.mark.parametrize("times", [1, 3])
async def test_a_cancelled_task(times: int) -> None:
    """However often the task is cancelled the clean-up is done first, and the cancellation is raised after it."""
    done: list[str] = []
    task = asyncio.create_task(to_the_end(_clean(done)))
    for _ in range(times):
        await settled(1)
        task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert done == ["cleaned"]


async def test_a_cancelled_scope() -> None:
    """The same in a scope of anyio, which cancels each wait anew."""
    done: list[str] = []
    with anyio.CancelScope() as scope:
        scope.cancel()
        await to_the_end(_clean(done))
        await anyio.lowlevel.checkpoint()
        done.append("never")
    assert done == ["cleaned"]


@pytest.mark.parametrize("scoped", [False, True], ids=["task", "scope"])
async def test_one_that_never_ends(scoped: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clean-up that hangs is cancelled when the patience of a cancelled caller is over."""
    monkeypatch.setattr(_ending, "PATIENCE", 0.01)
    ended: list[str] = []

    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cancelled")

    async def run() -> None:
        with anyio.CancelScope() as scope:
            if scoped:
                scope.cancel()
            await to_the_end(hang())

    task = asyncio.create_task(run())
    await settled(2)
    if not scoped:
        task.cancel()
    await within(asyncio.wait([task]))
    assert ended == ["cancelled"]

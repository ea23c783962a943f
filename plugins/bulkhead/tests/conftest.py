"""A guard with a bulkhead, and what it holds."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from hauberk import plugins
from hauberk.testing import Clock, Rig, guard_from
from hauberk_bulkhead import Bulkhead

Opened = Callable[..., AbstractAsyncContextManager[Rig]]


@pytest.fixture
def clock() -> Clock:
    """Return the clock of the guard, which a test moves."""
    return Clock()


@pytest.fixture
def guarded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, clock: Clock) -> Opened:
    """Return a function that opens a guard of this TOML, in which bulkhead is all that is installed."""
    source = plugins.Source("bulkhead", "hauberk-bulkhead", "0", lambda: Bulkhead)
    monkeypatch.setattr(plugins, "installed", lambda: {"bulkhead": source})

    def opened(toml: str = "", *objects: Any, **more: Any) -> AbstractAsyncContextManager[Rig]:
        text = toml if "[bulkhead]" in toml else f"[bulkhead]\n{toml}"
        return guard_from(text, *objects, folder=tmp_path, clock=clock, **more)

    return opened


def plugin_of(rig: Rig) -> Bulkhead:
    """Return the plugin of a rig."""
    found: Bulkhead = rig.guard.loaded["bulkhead"].plugin
    return found


def nothing_held(rig: Rig) -> bool:
    """Whether no place, no byte and no call is held by anybody."""
    gate = plugin_of(rig).gate
    state = gate.state
    return (
        not state.rooms and not len(state.account) and not state.account.total and not gate._calls and not state.asking
    )


def codes(rig: Rig) -> list[str]:
    """Return the codes of the events of bulkhead so far."""
    return [event.code for event in rig.recorder.events if event.code.startswith("bulkhead.")]

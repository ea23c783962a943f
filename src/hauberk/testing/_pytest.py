"""The fixtures of the kit; ``pytest -p hauberk.testing`` brings them, and nothing else does."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import pytest

from hauberk.testing import _rig
from hauberk.testing._clock import Clock
from hauberk.testing._hostile import HostileServer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def clock() -> Clock:
    """Give a clock that only the test turns."""
    return Clock()


@pytest.fixture
def hostile_server() -> HostileServer:
    """Give a server with the tools ``read`` and ``write``, honest until it is told otherwise."""
    return HostileServer()


@pytest.fixture
def guard_from(tmp_path: Path, clock: Clock) -> Callable[..., Any]:
    """Give `hauberk.testing.guard_from` with the clock of the test; plugins keep their state in ``tmp_path``."""
    return functools.partial(_rig.guard_from, clock=clock, folder=tmp_path)

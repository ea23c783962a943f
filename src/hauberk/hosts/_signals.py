"""The signals that end a host in order."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator
from typing import Final

_ENDING: Final = (signal.SIGTERM, signal.SIGINT)


@contextlib.contextmanager
def told(stopped: Callable[[signal.Signals], object]) -> Iterator[None]:
    """Call a function for each of them, in place of what they do else."""
    loop = asyncio.get_running_loop()
    for number in _ENDING:
        loop.add_signal_handler(number, stopped, number)
    try:
        yield
    finally:
        for number in _ENDING:
            loop.remove_signal_handler(number)

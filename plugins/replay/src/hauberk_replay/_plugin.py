"""The hooks."""

from __future__ import annotations

from typing import Any

from hauberk.config import Options as Base
from hauberk.hookspecs import hookimpl
from hauberk.layers import Layer


class Options(Base, frozen=True, kw_only=True):
    """``[replay]``."""


class Replay:
    """A message is accepted once: age, expiry and the memory of nonces, in memory, SQLite or Redis."""

    name = "replay"
    layer = Layer.REPLAY
    Options = Options

    def __init__(self, options: Options, guard: Any) -> None:
        self.options = options
        self.guard = guard

    @hookimpl
    def on_receive(self, message: object) -> None:
        """Refuse what came before."""

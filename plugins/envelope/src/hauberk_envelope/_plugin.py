"""The hooks."""

from __future__ import annotations

from typing import Any

from hauberk.config import Options as Base
from hauberk.hookspecs import hookimpl
from hauberk.layers import Layer


class Options(Base, frozen=True, kw_only=True):
    """``[envelope]``."""


class Envelope:
    """Messages that prove who sent them: sealed messages between agents, and sealed MCP sessions between two guards."""

    name = "envelope"
    layer = Layer.SEAL
    Options = Options

    def __init__(self, options: Options, guard: Any) -> None:
        self.options = options
        self.guard = guard

    @hookimpl
    def on_receive(self, message: object) -> None:
        """Open what is sealed."""

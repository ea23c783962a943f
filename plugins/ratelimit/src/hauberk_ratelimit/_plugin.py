"""The hooks."""

from __future__ import annotations

from typing import Any

from hauberk.config import Options as Base
from hauberk.hookspecs import hookimpl
from hauberk.layers import Layer


class Options(Base, frozen=True, kw_only=True):
    """``[ratelimit]``."""


class RateLimit:
    """Rate limits and quotas by server, tool, domain, principal and address, in memory or shared."""

    name = "ratelimit"
    layer = Layer.ADMIT
    Options = Options

    def __init__(self, options: Options, guard: Any) -> None:
        self.options = options
        self.guard = guard

    @hookimpl
    def on_tool_call(self, call: object) -> None:
        """Charge a call."""

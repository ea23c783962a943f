"""A guard for agentic MCP hosts: every message passes through small, ordered plugins.

The names here are all that a host and a plugin need. They are imported when they are first used, so that ``import
hauberk`` costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from hauberk.bounds import Bounds as Bounds
    from hauberk.config import SECRET as SECRET
    from hauberk.config import Config as Config
    from hauberk.config import Narrow as Narrow
    from hauberk.config import Options as Options
    from hauberk.connection import Connection as Connection
    from hauberk.event import Event as Event
    from hauberk.exchange import Exchange as Exchange
    from hauberk.guard import Guard as Guard
    from hauberk.hookspecs import hookimpl as hookimpl
    from hauberk.layers import Layer as Layer
    from hauberk.message import Frame as Frame
    from hauberk.message import Message as Message
    from hauberk.message import Proof as Proof
    from hauberk.message import SecretRef as SecretRef
    from hauberk.message import ToolCall as ToolCall
    from hauberk.principal import Principal as Principal
    from hauberk.refusals import ConfigError as ConfigError
    from hauberk.refusals import HauberkError as HauberkError
    from hauberk.refusals import HookError as HookError
    from hauberk.refusals import PluginError as PluginError
    from hauberk.refusals import Refused as Refused
    from hauberk.session import Session as Session
    from hauberk.verdict import Allow as Allow
    from hauberk.verdict import Approved as Approved
    from hauberk.verdict import Ask as Ask
    from hauberk.verdict import Deny as Deny

__version__ = "0.1.0"

_ROOMS: Final = {
    "bounds": "Bounds",
    "config": "SECRET Config Narrow Options",
    "connection": "Connection",
    "event": "Event",
    "exchange": "Exchange",
    "guard": "Guard",
    "hookspecs": "hookimpl",
    "layers": "Layer",
    "message": "Frame Message Proof SecretRef ToolCall",
    "principal": "Principal",
    "refusals": "ConfigError HauberkError HookError PluginError Refused",
    "session": "Session",
    "verdict": "Allow Approved Ask Deny",
}
_HOME: Final = {name: room for room, names in _ROOMS.items() for name in names.split()}
__all__ = [  # noqa: PLE0604 - the names are those of _ROOMS, which a test compares with the imports above
    *sorted(_HOME)
]


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'hauberk' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"hauberk.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})

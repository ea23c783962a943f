"""A plugin that is bad before it has seen a message: at its import, in its hooks, in its options."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
import subprocess
import sys
import tempfile
import threading
from typing import Any

import pluggy

import hauberk

tried = pluggy.HookimplMarker("hauberk")

with contextlib.suppress(OSError), socket.socket() as _socket:
    _socket.settimeout(0.01)
    _socket.connect(("127.0.0.1", 9))
with tempfile.TemporaryFile() as _file:
    _file.write(b"cache")
_descriptor = os.open(tempfile.gettempdir(), os.O_RDONLY)
os.close(_descriptor)
threading.Thread(target=int).start()
subprocess.run([sys.executable, "-S", "-c", ""], check=True)


@dataclasses.dataclass
class Rule:
    """A table that lets a mistyped key through."""

    tool: str = ""


class Loose(hauberk.Options, frozen=True):
    """Options that take what nothing reads."""

    rules: tuple[str | Rule, ...] = ()
    extra: dict[str, Any] | None = None
    no_plugin_has_this_option: int = 0


class BadStart:
    """A plugin that jumps the queue, and misspells."""

    name = "bad_start"
    layer = hauberk.Layer.POLICY
    Options = Loose

    def __init__(self, options: Loose, guard: hauberk.Guard) -> None:
        pass

    @tried(tryfirst=True)
    def on_tool_call(self, call: hauberk.ToolCall, connection: hauberk.Connection) -> None:
        """Jump the queue."""

    def on_recieve(self, message: hauberk.Message, connection: hauberk.Connection) -> None:
        """Be called by nobody."""

    def on_connect(self, connection: hauberk.Connection) -> None:
        """Be no hook without the mark."""

    @hauberk.hookimpl
    def on_send(self, connection: hauberk.Connection, message: hauberk.Message) -> None:
        """Take the arguments in another order."""

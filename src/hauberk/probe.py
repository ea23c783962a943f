"""Probes: how a plugin shows that its controls are live.

A plugin's ``probes()`` returns one `Probe` for each thing that it promises to stop. ``hauberk doctor``, and a host in
production before it lets anything through, send them through the real chains and see what comes out. The server of
these connections is called `SERVER`, and so is who speaks; each event that a probe causes says ``probe``. By these
names a plugin keeps probes from what others own: a counter or a record of `SERVER` is the doctor's.

A plugin that refuses calls of a tool writes::

    def probes(self):
        return [
            Probe(
                "curfew.refuses_at_night",
                "a call at night is refused",
                (client(call("hauberk-doctor-night")),),
                refused="curfew.night",
            )
        ]

Of the messages, the last is the one that is tried; those before it prepare the ground, and must pass. Each probe says
exactly one of: the code by which the last message is ``refused``; a text that must be ``hidden`` from what goes on;
that the message is ``dropped`` without a word; or a ``check`` of something that no message shows, such as a file.

A probe is worth something if it can fail: take the control away in a test, and see ``hauberk doctor`` say so.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Literal

import msgspec
import orjson

from hauberk.connection import Role
from hauberk.event import Event
from hauberk.principal import DOCTOR
from hauberk.refusals import PluginError

SERVER: Final = DOCTOR.id
"""The name of the server that probes are sent to, and come from."""
BOTH: Final[tuple[Role, ...]] = ("client", "server")

Check = Callable[[Sequence[Event]], Awaitable[str | None] | str | None]
"""Gets the events that the probe's messages caused; returns, or raises as a `HauberkError`, what is wrong."""


class Sent(msgspec.Struct, frozen=True):
    """One message of a probe, and who sends it."""

    by: Literal["client", "server"]
    data: bytes
    """The line, without its line feed."""


class Probe(msgspec.Struct, frozen=True):
    """One thing that must be stopped, or must be so."""

    name: str
    """The plugin's word, a dot, and what is tried: ``sieve.refuses_denied_call``."""
    control: str
    """The control that is tried, in one line of plain words."""
    messages: tuple[Sent, ...] = ()
    refused: str = ""
    """The code that must stop the last message."""
    hidden: str = ""
    """The text that must be gone when the last message has passed."""
    dropped: bool = False
    """Whether nothing at all may come of the last message."""
    check: Check | None = None
    """What finds a fault once the messages are sent, if there are any, and everything is recorded."""
    roles: tuple[Role, ...] = BOTH
    """Where the guard stands: beside a client, in front of a server, or one after the other."""

    def __post_init__(self) -> None:
        plugin, _, what = self.name.partition(".")
        if not (plugin.isidentifier() and what.isidentifier()):
            raise PluginError(
                f"probe {self.name!r} has no proper name", hint="write the plugin's word, a dot, and what"
            )
        ways = [bool(self.refused), bool(self.hidden), self.dropped, self.check is not None]
        if sum(ways) != 1:
            raise PluginError(
                f"probe {self.name!r} says {sum(ways)} of refused, hidden, dropped and check", hint="say exactly one"
            )
        if not self.messages and self.check is None:
            raise PluginError(f"probe {self.name!r} sends nothing", hint="give it a message")


def client(message: dict[str, Any] | bytes) -> Sent:
    """Return a message that the client sends: an object, or a line of bytes as it stands."""
    return Sent("client", message if isinstance(message, bytes) else orjson.dumps(message))


def server(message: dict[str, Any] | bytes) -> Sent:
    """Return a message that the server sends."""
    return Sent("server", message if isinstance(message, bytes) else orjson.dumps(message))


def request(method: str, params: dict[str, Any] | None = None, *, id: str | int = 1) -> dict[str, Any]:
    """Return a request."""
    return {"jsonrpc": "2.0", "id": id, "method": method, "params": params or {}}


def call(tool: str, arguments: dict[str, Any] | None = None, *, id: str | int = 1) -> dict[str, Any]:
    """Return a ``tools/call``."""
    return request("tools/call", {"name": tool, "arguments": arguments or {}}, id=id)


def notification(method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return a notification."""
    return {"jsonrpc": "2.0", "method": method, "params": params or {}}


def result(value: dict[str, Any], *, id: str | int = 1) -> dict[str, Any]:
    """Return the answer to a request."""
    return {"jsonrpc": "2.0", "id": id, "result": value}

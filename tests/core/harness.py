"""A session in memory: plugins made of functions, two ports that remember, and a clock that a test turns.

Use it so::

    async with rig(ring("no", on_tool_call=Deny("no.way", "no"))) as r:
        await r.call("ls", {"path": "/"})
        assert r.reached == []
        assert r.codes == ["no.way"]
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any, Final

from hauberk import hookspecs, testing
from hauberk.config import Config, Options
from hauberk.connection import Role
from hauberk.guard import Guard
from hauberk.hookspecs import hookimpl
from hauberk.layers import Layer
from hauberk.testing import Clock, Port, Recorder, call_params, notification, request

__all__ = ["META", "RESULT", "Clock", "Port", "Recorder", "Rig", "call_params", "make_rig", "notification"]
__all__ += ["request", "rig", "ring"]

HOOKS: Final = ("on_connect", "on_send", "on_receive", "on_tool_call", "on_audit")
RESULT: Final[dict[str, Any]] = {"content": []}
META: Final = {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}
"""``_meta`` of a request of the 2026 revision."""


class Rig(testing.Rig):
    """The rig of the kit, whose calls have the id 1 unless a test says otherwise."""

    async def call(
        self, name: str = "ls", arguments: Any = None, *, id: Any = 1, **params: Any
    ) -> dict[str, Any] | None:
        """Let the client call a tool."""
        return await super().call(name, arguments, id=id, **params)

    async def passed(self, data: dict[str, Any]) -> dict[str, Any] | None:
        """Let the host send one object in its own task; return the answer to a refused request."""
        reply, waiting = self.session.pass_object(self.session.out, data)
        return reply if waiting is None else await waiting


def ring(name: str = "ring", layer: Any = Layer.POLICY, **members: Any) -> Any:
    """Return a plugin object made of functions.

    A member named like a hook is a function ``(item, connection)`` (``(event)`` for ``on_audit``), plain or async, or a
    constant answer. Any other member is an attribute: ``mode``, ``layers``, ``must_judge``, ``required``, ``approve``.
    """
    attributes: dict[str, Any] = {"name": name, "layer": layer, "Options": Options}
    for member, value in members.items():
        attributes[member] = _hook(member, value) if member in HOOKS else value
        if inspect.isfunction(value) and member not in HOOKS:
            attributes[member] = staticmethod(value)
    return type("Ring", (), attributes)()


def _hook(hook: str, value: Any) -> Any:
    if inspect.iscoroutinefunction(value):

        async def method(self: Any, *args: Any) -> Any:
            return await value(*args)

        made: Any = method
    elif callable(value):
        made = lambda self, *args: value(*args)  # noqa: E731
    else:
        made = lambda self, *args: value  # noqa: E731
    made.__name__ = hook
    of_spec = inspect.signature(getattr(hookspecs, hook)).parameters.values()
    itself = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    made.__signature__ = inspect.Signature([itself, *of_spec])
    return hookimpl(made)


def make_rig(
    plugins: Iterable[Any], *, toml: str = "", bytes_only: bool = True, clock: Clock | None = None, record: bool = True
) -> Rig:
    """Return a rig that has not started."""
    clock, recorder = clock or Clock(), Recorder()
    objects = [*plugins, recorder] if record else list(plugins)
    guard = Guard(Config.from_toml(toml), objects, clock=clock, now=clock)
    return Rig(guard, clock, recorder, Port(bytes_only=bytes_only), Port(bytes_only=bytes_only))


@asynccontextmanager
async def rig(
    *plugins: Any,
    toml: str = "",
    role: Role = "client",
    bytes_only: bool = True,
    clock: Clock | None = None,
    record: bool = True,
) -> AsyncIterator[Rig]:
    """Open a guard of these plugins with one session; ``record=False`` leaves out the recorder."""
    made = make_rig(plugins, toml=toml, bytes_only=bytes_only, clock=clock, record=record)
    async with made.guard:
        await made.start(role)
        yield made
        await made.session.close()

"""A client that has gone and does not say so is no fault of the reload that was to be told to it."""

from __future__ import annotations

from tests.core.harness import rig

from hauberk.config import Config
from hauberk.testing import Port, Rig

CHANGED = {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}
RESULT = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": "s", "version": "1"}}


async def _initialize(r: Rig) -> None:
    params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}}
    await r.request("initialize", params, id=1)
    await r.answer(RESULT, id=1)


def _broken(_: object) -> None:
    raise ConnectionResetError


async def test_port_that_breaks_stops_no_reload() -> None:
    """A reload is done though a client cannot be written to; the others are told, and the event says who was not."""
    async with rig() as r:
        other = Rig(r.guard, r.clock, r.recorder, Port(), Port())
        await other.start()
        await _initialize(r)
        await _initialize(other)
        r.near.on_deliver = _broken
        new = Config.from_toml("# another\n")
        done = await r.guard.reload(new)
        assert done.new_version == r.guard.config.version == new.version
        assert CHANGED in other.replies
        (event,) = r.recorder.of("policy.untold")
        assert (event.exchange.split(".")[0], event.details) == (r.connection.id, {"why": "ConnectionResetError"})
        await other.session.close()

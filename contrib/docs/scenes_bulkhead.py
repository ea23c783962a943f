"""How the codes of bulkhead come about."""

from __future__ import annotations

from typing import Final

from contrib.docs.scene import Line, Scene
from contrib.docs.scene import call as _call

_ONE: Final = _call("read_note", 1, name="milk")
_TWO: Final = _call("read_note", 2, name="birthday")


def _failed(id: int) -> Line:
    return "server", {"jsonrpc": "2.0", "id": id, "error": {"code": -32603, "message": "database is gone"}}


_LONG: Final = _call("write_note", 1, text="x" * 1024)
_DEEP: Final = _call("write_note", 1, text=[[[[[["deep"]]]]]])
_WIDE: Final = _call("write_note", 1, text=list(range(9)))
_FRAGILE: Final = "[bulkhead.breaker]\nfailures = 1\nminimum_requests = 1\n"
_STRICT: Final = (
    '[sieve]\nallow = ["files/read_*"]\n[bulkhead.isolation]\nevents = 1\nof_principals = ["sieve.denied"]\n'
)
REFUSALS: Final = {
    "bulkhead.full": Scene((_ONE, _TWO), "[bulkhead]\nin_flight = 1\nqueue = 0\n"),
    "bulkhead.late": Scene((_ONE, _TWO), "[bulkhead]\nin_flight = 1\nqueue = 10\nqueue_seconds = 0.05\n"),
    "bulkhead.too_large": Scene((_LONG,), "[bulkhead]\nto_server_bytes = 1024\n"),
    "bulkhead.too_deep": Scene((_DEEP,), "[bulkhead]\ndepth = 8\n"),
    "bulkhead.too_wide": Scene((_WIDE,), "[bulkhead]\nwidth = 8\n"),
    "bulkhead.memory": Scene((_LONG,), "[bulkhead]\nmemory_bytes = 1024\n"),
    "bulkhead.open": Scene((_ONE, _failed(1), _TWO), _FRAGILE),
    "bulkhead.suspended": Scene((_call("delete_all", 1), _TWO), _STRICT),
}
UNPLAYED_CONNECTIONS: Final = {"bulkhead.too_many_connections": (-32005, "warning")}
UNPLAYED_REFUSALS: Final = {
    **UNPLAYED_CONNECTIONS,
    "bulkhead.overloaded": (-32005, "warning"),
    "bulkhead.store_down": (-32005, "warning"),
}
"""Number and severity of those that need connections, a busy machine or a store; plugins/bulkhead/tests has them."""
EVENTS: Final = {
    "bulkhead.near_limit": Scene((_ONE,), "[bulkhead]\nin_flight = 1\n"),
    "bulkhead.opened": Scene((_ONE, _failed(1)), _FRAGILE),
    "bulkhead.isolated": Scene((_call("delete_all", 1),), _STRICT),
}
UNPLAYED_EVENTS: Final = {
    "bulkhead.half_open": ("policy", "info", "logged", "`was`, `tenant`"),
    "bulkhead.closed": ("policy", "info", "logged", "`was`, `tenant`"),
    "bulkhead.idle": ("connection", "info", "logged", "`carrier`, `target`, `peer`, `seconds`, `ended`"),
    "bulkhead.shedding": ("system", "critical", "blocked", "`what`, `percent`"),
    "bulkhead.shedding_ended": ("system", "info", "logged", "`what`, `percent`"),
    "bulkhead.unsampled": ("system", "warning", "logged", "`reason`"),
    "bulkhead.unwritten": ("system", "warning", "logged", "`reason`"),
    "bulkhead.store_lost": ("system", "warning", "logged", "`reason`, `store`"),
    "bulkhead.store_back": ("system", "warning", "logged", "`reason`, `store`"),
}
"""Category, severity, action and details of those that need time, a machine or a store."""

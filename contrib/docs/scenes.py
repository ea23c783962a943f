"""How each code comes about: small scenes, played on a real guard. What a page shows is what the guard did."""

from __future__ import annotations

from typing import Final

from contrib.docs import (
    rings,
    scenes_asks,
    scenes_audit,
    scenes_bulkhead,
    scenes_dial,
    scenes_envelope,
    scenes_names,
    scenes_pins,
    scenes_ratelimit,
    scenes_replay,
    scenes_schemas,
    scenes_serve,
    scenes_text,
    scenes_tls,
    scenes_who,
)
from contrib.docs.scene import Line, Scene
from contrib.docs.scene import answer as _answer
from contrib.docs.scene import call as _call
from contrib.docs.scene import request as _request

_META: Final = {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}
_CAPABILITIES: Final = {
    **_META,
    "io.modelcontextprotocol/clientInfo": {"name": "agent", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {"roots": {}, "sampling": {}, "elicitation": {}},
}
_IMPATIENT: Final = "[core]\nrequest_timeout = 0.05\n"
_SIEVE: Final = '[sieve]\nallow = ["files/read_*"]\n'


def _raw(line: str) -> tuple[Line]:
    return (("client", line.encode()),)


_READ: Final = _call("read_note", name="milk")
_DONE: Final = _answer({"content": [{"type": "text", "text": "buy milk"}]})
_ASKED: Final = _request("tools/call", {"name": "read_note", "arguments": {}, "_meta": _META})


def _needs(*kinds: str) -> Line:
    """Return an answer that asks for more input."""
    asks = {f"q{place}": {"method": kind, "params": {}} for place, kind in enumerate(kinds)}
    return _answer({"resultType": "input_required", "inputRequests": asks, "requestState": "s1"})


def _retry(id: int) -> Line:
    params = {"name": "read_note", "arguments": {}, "_meta": _META, "requestState": f"s{id - 1}"}
    return _request("tools/call", {**params, "inputResponses": {"q": {"roots": []}}}, id)


def _more(id: int) -> Line:
    asks = {"q": {"method": "roots/list", "params": {}}}
    return _answer({"resultType": "input_required", "inputRequests": asks, "requestState": f"s{id}"}, id)


_EDGE: Final = {
    "core.not_json": Scene(_raw('{"jsonrpc":"2.0","id":1,"method":}')),
    "core.not_an_object": Scene(_raw('"hello"')),
    "core.batch": Scene(_raw('[{"jsonrpc":"2.0","id":1,"method":"ping"}]')),
    "core.duplicate_key": Scene(
        _raw(
            '{"jsonrpc":"2.0","id":1,"method":"tools/call",'
            '"params":{"name":"read_note","arguments":{},"name":"delete_all"}}'
        )
    ),
    "core.number": Scene(
        _raw(
            '{"jsonrpc":"2.0","id":1,"method":"tools/call",'
            '"params":{"name":"read_note","arguments":{"line":18446744073709551616}}}'
        )
    ),
    "core.depth": Scene(
        _raw('{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":' + "[" * 127 + "]" * 127 + "}}"),
    ),
    "core.values": Scene(
        _raw('{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":["' + "x" * 2**20 + '",1,2,3,4,5,6,7,8]}}'),
        "[core.bounds]\nvalues = 8\n",
    ),
    "core.line_too_long": Scene(
        _raw('{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":"' + "x" * 1024 + '"}}'),
        "[core.bounds]\nline_bytes = 1024\n",
    ),
    "core.envelope": Scene((("client", {"jsonrpc": "1.0", "id": 1, "method": "ping"}),)),
    "core.id": Scene((_request("ping", id=1.5),)),
    "core.method_unknown": Scene((_request("tools/destroy"),)),
    "core.direction": Scene((_request("sampling/createMessage", {"messages": [], "maxTokens": 1}),)),
    "core.kind": Scene((("client", {"jsonrpc": "2.0", "method": "tools/list"}),)),
    "core.params": Scene((_request("tools/call", {"arguments": {}}),)),
    "core.embedded": Scene((_ASKED, _needs("tools/list"))),
}
_MATCHING: Final = {
    "core.unmatched": Scene((_answer({"tools": []}, 99),)),
    "core.progress_unknown": Scene(
        (
            (
                "server",
                {
                    "jsonrpc": "2.0",
                    "method": "notifications/progress",
                    "params": {"progressToken": "x", "progress": 1},
                },
            ),
        )
    ),
    "core.mislabelled": Scene((_READ, _DONE), plugins=(rings.Mislabels,)),
    "core.id_in_flight": Scene((_call("read_note", 7, name="milk"), _call("read_note", "7", name="birthday"))),
    "core.discover_refused": Scene(
        (
            _request("server/discover", {"_meta": _CAPABILITIES}),
            _request(
                "initialize",
                {
                    "protocolVersion": "2025-11-25",
                    "capabilities": {},
                    "clientInfo": {"name": "agent", "version": "1"},
                },
                2,
            ),
        ),
        plugins=(rings.Hides,),
    ),
}
_POLICY: Final = {
    "core.unjudged": Scene((_READ,), plugins=(rings.Silent,)),
    "core.unapproved": Scene((_READ,), plugins=(rings.Asks,)),
    "core.secret": Scene((_READ,), plugins=(rings.Borrows,)),
    "core.refused": Scene((_call("delete_all"),), _SIEVE, role="server"),
    "sieve.denied": Scene((_call("delete_all"),), _SIEVE),
    "sieve.malformed_list": Scene((_request("tools/list"), _answer({"tools": "all of them"})), _SIEVE),
}
_LIMITS: Final = {
    "core.busy": Scene((_READ, _call("read_note", 2, name="birthday")), "[core.bounds]\nexchanges = 1\n"),
    "core.timed_out": Scene((_request("tools/list"),), _IMPATIENT),
    "core.rounds": Scene((_ASKED, _more(1), _retry(2), _more(2), _retry(3)), "[core.bounds]\nretries = 1\n"),
}
_FAILURES: Final = {
    "core.hook_failed": Scene((_READ,), plugins=(rings.Raises,)),
    "core.hook_answer": Scene((_READ,), plugins=(rings.Answers,)),
    "core.deadline": Scene((_READ,), "[core.bounds]\ndeadline = 0.05\n", (rings.Waits,)),
    "core.call_changed": Scene((_READ,), plugins=(rings.Changes,)),
    "core.unrecorded": Scene((_READ,), plugins=(rings.Loses,)),
}
EVENTS: Final = {
    **scenes_pins.EVENTS,
    **scenes_names.EVENTS,
    **scenes_asks.EVENTS,
    **scenes_schemas.EVENTS,
    **scenes_text.EVENTS,
    **scenes_who.EVENTS,
    **scenes_bulkhead.EVENTS,
    "policy.loaded": Scene(()),
    "policy.changed": Scene((), _SIEVE, then='[sieve]\nallow = ["files/*"]\n'),
    "policy.rejected": Scene((), _SIEVE, then="[sieve]\nalow = []\n"),
    "core.started": Scene(()),
    "core.stopped": Scene(()),
    "core.connected": Scene(()),
    "core.disconnected": Scene(()),
    "core.allowed": Scene((_READ,)),
    "core.approved": Scene((_READ,), '[core]\napprovers = ["policy"]\n', (rings.Approves,)),
    "core.answered": Scene((_READ, _DONE)),
    "core.error": Scene((_READ, ("server", {"jsonrpc": "2.0", "id": 1, "error": {"code": -32602, "message": "no"}}))),
    "core.cancelled": Scene(
        (
            _READ,
            ("client", {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}),
        )
    ),
    "core.closed": Scene((_READ,)),
    "core.timed_out": Scene((_READ,), _IMPATIENT),
    "core.would_refuse": Scene((_call("delete_all"),), f'{_SIEVE}mode = "audit"\n'),
    "core.would_rewrite": Scene((_READ,), plugins=(rings.Rewrites,)),
    "core.sink_failed": Scene((_READ,), plugins=(rings.Breaks,)),
    "sieve.hidden": Scene((_request("tools/list"), _answer({"tools": [{"name": "delete_all"}]})), _SIEVE),
}
"""Events that are no refusals."""
REFUSALS: Final[dict[str, Scene]] = {
    **_EDGE,
    **_MATCHING,
    **_POLICY,
    **_LIMITS,
    **_FAILURES,
    **scenes_pins.REFUSALS,
    **scenes_names.REFUSALS,
    **scenes_asks.REFUSALS,
    **scenes_schemas.REFUSALS,
    **scenes_text.REFUSALS,
    **scenes_who.REFUSALS,
    **scenes_bulkhead.REFUSALS,
    **scenes_replay.REFUSALS,
    **scenes_ratelimit.REFUSALS,
}

UNPLAYED_REFUSALS: Final = {
    **scenes_dial.UNPLAYED_REFUSALS,
    **scenes_pins.UNPLAYED_REFUSALS,
    **scenes_serve.UNPLAYED_REFUSALS,
    **scenes_tls.UNPLAYED_REFUSALS,
    **scenes_envelope.UNPLAYED_REFUSALS,
    **scenes_who.UNPLAYED_REFUSALS,
    **scenes_bulkhead.UNPLAYED_REFUSALS,
    **scenes_replay.UNPLAYED_REFUSALS,
    **scenes_ratelimit.UNPLAYED_REFUSALS,
    "core.internal": (-32007, "critical"),
    "core.closed": (None, None),
    "core.peer_error": (None, None),
}
"""Number and severity of those that need a mistake in the core, a broken disk or server, or that nobody reads."""
UNPLAYED_EVENTS: Final = {
    **scenes_dial.UNPLAYED_EVENTS,
    **scenes_pins.UNPLAYED_EVENTS,
    **scenes_names.UNPLAYED_EVENTS,
    **scenes_asks.UNPLAYED_EVENTS,
    **scenes_text.UNPLAYED_EVENTS,
    **scenes_serve.UNPLAYED_EVENTS,
    **scenes_tls.UNPLAYED_EVENTS,
    **scenes_envelope.UNPLAYED_EVENTS,
    **scenes_who.UNPLAYED_EVENTS,
    **scenes_bulkhead.UNPLAYED_EVENTS,
    **scenes_replay.UNPLAYED_EVENTS,
    **scenes_ratelimit.UNPLAYED_EVENTS,
    **scenes_audit.UNPLAYED_EVENTS,
    "policy.untold": ("policy", "warning", "logged", "`why`"),
    "core.events_lost": ("system", "critical", "logged", ""),
    "core.unprobed": ("system", "warning", "logged", ""),
}
"""Category, severity, action and details of those that need a slow machine or two guards, or that only the log gets."""
CONNECTIONS: Final = frozenset(
    (
        *scenes_dial.BEFORE,
        *scenes_serve.UNPLAYED_REFUSALS,
        *scenes_tls.UNPLAYED_REFUSALS,
        *scenes_bulkhead.UNPLAYED_CONNECTIONS,
        *scenes_envelope.CONNECTIONS,
    )
)
"""Refusals that are recorded of a connection, and not of a message."""

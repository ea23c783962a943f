"""The core's own controls, each with what must not get past it.

Some need a plugin that does what none should, a bound that is reached at once, or a sink that is broken: they are put
beside what the policy has, for this one message.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec

from hauberk._stand import DOCTOR
from hauberk.chains import HookName, Step
from hauberk.connection import Connection, Peer
from hauberk.edge import MAX_DEPTH
from hauberk.event import Event
from hauberk.layers import Layer
from hauberk.probe import Probe, Sent, call, client, notification, request, result, server
from hauberk.refusals import Refused
from hauberk.sinks import Sink
from hauberk.verdict import Allow, Ask, Deny

CORE: Final = "core"
"""The plugin's name of the core's own controls."""
_LINE: Final = 1024
"""The least that ``core.bounds.line_bytes`` may be (bytes)."""
_LONG: Final = 1024 * 1024
"""From here ``core.bounds.values`` holds (bytes)."""
_PING: Final = b'{"jsonrpc":"2.0","id":1,"method":"ping"%b}'
_LIST: Final = client(request("tools/list"))


class Case(msgspec.Struct, frozen=True):
    """A probe of the core, and what it needs to be tried."""

    probe: Probe
    bounds: dict[str, Any] = {}
    """Those that differ from the policy's."""
    steps: tuple[Step, ...] = ()
    """Hooks of the doctor."""
    alone: bool = False
    """Whether no plugin is to stand in the chains."""
    unrecorded: bool = False
    """Whether the only sink is one that fails."""

    def sinks(self) -> list[Sink]:
        """Return the sinks in place of the policy's: thirty refusals at each start would be noise in its log."""
        return [_broken_sink()] if self.unrecorded else []


def cases(*, production: bool) -> Iterator[Case]:
    """Yield all of them."""
    yield from (Case(probe) for probe in _edge())
    yield from (Case(probe) for probe in _protocol())
    yield from _bounded()
    yield from _judged()
    yield from (Case(probe) for probe in _wired())
    if production:
        unjudged = _refused("unjudged_call", "a call that nobody allowed is refused", "unjudged", client(_call()))
        yield Case(unjudged, alone=True)


def _refused(name: str, control: str, code: str, *messages: Sent) -> Probe:
    return Probe(f"core.refuses_{name}", control, messages, refused=f"core.{code}", roles=("client",))


def _call() -> dict[str, Any]:
    return call("hauberk-doctor-call")


def _edge() -> Iterator[Probe]:
    """What is no message: found before anything else looks."""
    deep = b"[" * MAX_DEPTH + b"]" * MAX_DEPTH
    for name, control, code, line in (
        ("broken_text", "bytes that are not UTF-8 are refused", "not_json", _PING % b',"params":{"a":"\xff"}'),
        ("array", "a batch is refused whole", "batch", b"[" + _PING % b"" + b"]"),
        ("scalar", "a line that is no object is refused", "not_an_object", b"7"),
        ("duplicate_key", "an object that names a key twice is refused", "duplicate_key", _PING % b',"id":2'),
        ("number", "a number out of range is refused", "number", _PING % b',"params":{"a":18446744073709551616}'),
        ("depth", "nesting that is too deep is refused", "depth", _PING % b',"params":{"a":%b}' % deep),
    ):
        yield _refused(name, control, code, client(line))


def _protocol() -> Iterator[Probe]:
    """What is a message, and none that the protocol has or anybody asked for."""
    ping, odd = request("ping"), request("resources/read", {"uri": 5})
    asked = {"inputRequests": {"a": {"method": "tools/call", "params": {"name": "a"}}}}
    progress = {"progressToken": "hauberk-doctor", "progress": 1}
    for name, control, code, messages in (
        ("envelope", "a message that is not JSON-RPC 2.0 is refused", "envelope", [client(ping | {"jsonrpc": "1"})]),
        ("twin", "a member that looks like another is refused", "envelope", [client(ping | {"Method": "tools/list"})]),
        ("id", "an id that is no string or integer is refused", "id", [client(ping | {"id": 1.5})]),
        ("unknown_method", "a method of no revision is refused", "method_unknown", [client(request("hauberk/doctor"))]),
        ("direction", "a method of the other side is refused", "direction", [server(_call())]),
        ("kind", "a request that comes as a notification is refused", "kind", [client(notification("tools/list"))]),
        ("params", "parameters of the wrong type are refused", "params", [client(odd)]),
        ("embedded", "a request in an answer is held to the rules", "embedded", [_LIST, server(result(asked))]),
        ("second_id", "an id that is in flight is refused", "id_in_flight", [_LIST, client(request("ping", id="+1"))]),
        ("unasked_answer", "an answer that nobody asked for is dropped", "unmatched", [server(result({}))]),
        ("unasked_progress", "progress that nobody asked for is dropped", "progress_unknown",
         [server(notification("notifications/progress", progress))]),
    ):  # fmt: skip
        yield _refused(name, control, code, *messages)
    yield Probe(
        "core.drops_late_answer",
        "the answer to a cancelled request is dropped",
        (_LIST, client(notification("notifications/cancelled", {"requestId": 1})), server(result({"tools": []}))),
        dropped=True,
        roles=("client",),
    )


def _bounded() -> Iterator[Case]:
    line = client(_PING % b"" + b" " * _LINE)
    long = _refused("long_line", "a line over the bound is refused", "line_too_long", line)
    yield Case(long, {"line_bytes": _LINE})
    many = client(_PING % (b',"params":{"a":["%b",1,2]}' % (b" " * _LONG)))
    crowded = _refused("many_values", "a long line of more values than the bound is refused", "values", many)
    yield Case(crowded, {"line_bytes": 2 * _LONG, "values": 2})
    busy = _refused("too_many", "a request over the bound is refused", "busy", _LIST, client(request("ping", id=2)))
    yield Case(busy, {"exchanges": 1})


def _wired() -> Iterator[Probe]:
    """Who must not be let in, before there is any message."""
    for name, control, check in (
        ("other_user", "a socket that another user holds is refused", _other_user),
        ("wire_without_tls", "a network is not spoken to without TLS", _without_tls),
    ):
        yield Probe(f"core.refuses_{name}", control, check=check, roles=("client",))


def _other_user(_: Any) -> str | None:
    """Let the kernel say who holds a socket, and expect somebody else."""
    import os
    import socket

    from hauberk.carriers._kernel import credentials
    from hauberk.hosts import _dial  # who attaches is above the core, and only who examines it looks there

    one, other = socket.socketpair()
    with one, other:
        peer = Peer("unix", "hauberk-doctor", credentials(one))
    return _passes("core.peer_user", lambda: _dial.check_owner(peer, {os.geteuid() + 1}))


def _without_tls(_: Any) -> str | None:
    from hauberk.carriers.address import Address
    from hauberk.hosts import _dial

    address = Address("tls", "hauberk-doctor.invalid", 1)
    connection = Connection(id="", host="", server=DOCTOR, role="client", carrier="tls")
    return _passes("core.no_tls", lambda: _dial.secured(connection, address))


def _passes(code: str, tried: Callable[[], object]) -> str | None:
    """Return what is wrong where something is not refused under a code."""
    try:
        tried()
    except Refused as refused:
        return None if refused.code == code else f"it was refused as {refused.code}, and not as {code}"
    return "it got through"


def _judged() -> Iterator[Case]:
    """What plugins must not be able to do, whatever they do."""
    tried = client(_call())
    allows = _step("on_tool_call", Layer.POLICY, lambda *_: Allow("doctor"))
    denies = _step("on_tool_call", Layer.CONTENT, lambda *_: Deny("doctor.denied", "the doctor says no"))
    yield Case(
        Probe(
            "core.keeps_denied",
            "no plugin takes back what another denied",
            (tried,),
            refused="doctor.denied",
            roles=("client",),
        ),
        steps=(denies, allows),
    )
    for name, control, code, hook, function in _MISDEEDS:
        yield Case(_refused(name, control, code, tried), steps=(_step(hook, Layer.CONTENT, function),))
    unrecorded = _refused("unrecorded_call", "what a required sink cannot record is refused", "unrecorded", tried)
    yield Case(unrecorded, steps=(allows,), alone=True, unrecorded=True)


def _fail(*_: Any) -> None:
    raise RuntimeError("the doctor's hook fails, as it is meant to")


def _change(judged: Any, _: Any) -> Allow:
    judged.arguments["changed"] = True
    return Allow("doctor")


_MISDEEDS: Final[tuple[tuple[str, str, str, HookName, Any], ...]] = (
    ("failed_judge", "a call is refused if a judge raises", "hook_failed", "on_tool_call", _fail),
    ("failed_hook", "a message is refused if a hook raises", "hook_failed", "on_send", _fail),
    ("odd_answer", "an answer that is no verdict is refused", "hook_answer", "on_tool_call", lambda *_: "yes"),
    ("unapproved_call", "a call that nobody approved is refused", "unapproved", "on_tool_call",
     lambda *_: Ask("the doctor asks")),
    ("changed_call", "a call that was changed after it was judged is refused", "call_changed", "on_tool_call", _change),
)  # fmt: skip
"""What a plugin may do, and must not get away with."""


def _step(hook: HookName, layer: Layer, function: Any) -> Step:
    return Step(DOCTOR, hook, layer, function)


def _broken_sink() -> Sink:
    def broken(_: Event) -> None:
        raise OSError("the doctor's sink fails, as it is meant to")

    return Sink(_step("on_audit", Layer.ADMIT, broken), required=True)

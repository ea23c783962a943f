"""The five hooks: everything that a plugin can do to the traffic of a host.

They stand here in the order in which a message meets them. A plugin implements those it needs, marked with `hookimpl`;
it takes the arguments it needs, in this order. A hook may be ``def`` or ``async def`` (in WIRE and SEAL ``def`` only).

A hook gains arguments; it never loses or renames one, so a plugin that works keeps working.

Order comes from the plugin's layer and the configuration, never from the hook: `hookimpl` takes no options. Nothing
wraps a hook and nothing stops at a first answer, because a wrapper can hide a refusal and a first answer can come
before one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

import pluggy

from hauberk.connection import Connection
from hauberk.event import Event
from hauberk.message import Frame, Message, ToolCall
from hauberk.verdict import Verdict

PROJECT: Final = "hauberk"
_F = TypeVar("_F", bound=Callable[..., object])

hookspec = pluggy.HookspecMarker(PROJECT)
_marker = pluggy.HookimplMarker(PROJECT)


def hookimpl(function: _F) -> _F:
    """Mark a method as the implementation of the hook of its name. It takes no options."""
    return _marker(function)


@hookspec
def on_connect(connection: Connection) -> None:
    """Prepare or refuse a connection.

    Args:
        connection: Set ``tls`` and ``headers``; add to ``verify`` what has to be checked once the peer is known;
            ``defer`` what has to be undone at its end.

    Raises:
        Refused: The connection is not made.

    When:
        At first contact with a peer identity: before dialling beside a client, at accept in front of a server. It is
        not the protocol's own handshake: revision 2026-07-28 has none. Order: wire to host.

    Failure:
        Whatever else is raised, or a deadline passed, refuses the connection and names the plugin.

    Added in 0.1.
    """


@hookspec
def on_send(message: Message | Frame, connection: Connection) -> Message | Frame | None:
    """See each message on its way out; rewrite it or refuse it.

    Args:
        message: A `Frame` in WIRE, GATE and SEAL, a `Message` in the other layers.
        connection: The connection that it leaves by.

    Returns:
        A rewritten message of the same type, or None to leave it as it is. Arguments, parameters and results may
        change; method, id, ``params.name``, ``params.uri`` and the protocol's ``_meta`` may not.

    Raises:
        Refused: A request is answered with an error, a result is replaced by one, a notification is dropped.

    When:
        For every message from the host to the wire: requests, results, errors, notifications. Order: host to wire.

    Failure:
        Whatever else is raised, an answer of another type, or a deadline passed, refuses the message and names the
        plugin.

    Added in 0.1.
    """


@hookspec
def on_receive(message: Message | Frame, connection: Connection) -> Message | Frame | None:
    """See each message on its way in; rewrite it or refuse it.

    Args:
        message: A `Frame` in WIRE, GATE and SEAL, a `Message` in the other layers.
        connection: The connection that it came by.

    Returns:
        A rewritten message of the same type, or None to leave it as it is, as in `on_send`.

    Raises:
        Refused: A request is answered with an error, a result is replaced by one, a notification is dropped.

    When:
        For every message from the wire to the host. Order: wire to host.

    Failure:
        Whatever else is raised, an answer of another type, or a deadline passed, refuses the message and names the
        plugin.

    Added in 0.1.
    """


@hookspec
def on_tool_call(call: ToolCall, connection: Connection) -> Verdict | None:
    """Judge a tool call whose arguments are final.

    Args:
        call: The frozen call; reading it is all that is allowed.
        connection: The connection that it travels by.

    Returns:
        `Deny`, `Ask`, `Allow`, or None for no opinion. The strictest answer of all plugins wins; one Deny is final.

    When:
        For each ``tools/call``, once nothing will rewrite it any more: after ``on_send`` of CONTENT and POLICY beside a
        client, after ``on_receive`` in front of a server. In rounds: POLICY and CONTENT judge, without side effects;
        then ADMIT charges; then, if the strictest answer is Ask, an approver is asked.

    Failure:
        Whatever is raised, an answer of another type, a change to the call, or a deadline passed, is a Deny that names
        the plugin.

    Added in 0.1.
    """


@hookspec
def on_audit(event: Event) -> None:
    """Record, count or alert on an event.

    Args:
        event: What happened; it holds no secret, and no argument but those that a policy names.

    When:
        For each event, after the chain that it comes from. Sinks whose plugin says ``required`` are awaited before a
        message that carries a decision goes on; one that says ``quick`` (it only puts the event aside) is called at
        once; the others are behind a bounded queue. No order.

    Failure:
        A required sink that raises or is late refuses the message. Any other failing sink is reported to the others and
        to standard error.

    Added in 0.1.
    """

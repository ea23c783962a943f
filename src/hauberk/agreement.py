"""Plugins that speak with the guard at the other end: one asks before anything is said, the other one answers.

The rules:

1. Beside a client, ``agree(connection, ask)`` of each plugin that has it runs once the peer is reached, and again on
   each new connection; no message of the host is taken before. What it raises refuses the connection.
2. In front of a server, a request of a method that a plugin names in ``answers`` is answered by its
   ``answer(method, params, connection)`` and goes no further. It passes WIRE, GATE and SEAL, the strict edge and the
   table of exchanges; message hooks are for what reaches the host or the server.
3. Such a method crosses no guard: neither a host nor a server can send it.
4. What was agreed on ends with the plugin: where a reload takes it out, nothing passes on that connection any more.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from hauberk import admission, pipeline
from hauberk.methods import METHODS, REVISIONS, Method, check
from hauberk.refusals import HookError, PluginError, Refused

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hauberk.crossing import Crossing, Walk
    from hauberk.message import Message
    from hauberk.plugins import Loaded
    from hauberk.session import Session

SECONDS: Final = 10.0
"""What all of one plugin's agreement with a peer may take."""
Answer = Callable[[str, dict[str, Any], Any], dict[str, Any]]


def answers_of(loaded: Mapping[str, Loaded]) -> dict[str, tuple[str, Answer]]:
    """Return who answers which method: the name of the plugin and its ``answer``.

    Raises:
        PluginError: A method is of the protocol, has no prefix of its own, or two plugins answer it.
    """
    found: dict[str, tuple[str, Answer]] = {}
    for name, one in loaded.items():
        for method in getattr(one.plugin, "answers", ()):
            domain, _, word = method.partition("/")
            if method in METHODS or not word or "." not in domain:
                raise PluginError(
                    f"plugin {name!r} answers {method!r}, which is no method of an extension",
                    hint="name it under a domain of yours, reversed: com.example/hello",
                )
            if method in found:
                raise PluginError(
                    f"plugins {found[method][0]!r} and {name!r} both answer {method!r}", hint="turn one of them off"
                )
            found[method] = name, one.plugin.answer
    return found


def agreeing(loaded: Mapping[str, Loaded]) -> tuple[tuple[str, Any], ...]:
    """Return the plugins that have something to agree on with a peer."""
    return tuple((name, one.plugin.agree) for name, one in loaded.items() if hasattr(one.plugin, "agree"))


def methods(answers: Iterable[str]) -> dict[str, Method]:
    """Return what is known of the methods that plugins answer."""
    return {name: Method(name, "client", "request", REVISIONS, "plugin") for name in answers}


async def agree(session: Session) -> None:
    """Let the plugins agree with the peer of a session that was made just now, beside a client.

    Raises:
        Refused: One of them said no, or could not tell; it is recorded, and the connection is not to be used.
    """
    guard, connection = session.guard, session.connection
    policy = guard.policy
    if connection.role != "client" or not policy.agreeing:
        return
    try:
        with policy.users.one():
            for name, agree in policy.agreeing:
                try:
                    await pipeline.ask(name, "agree", agree, connection, _asking(session, name), seconds=SECONDS)
                except TimeoutError as error:
                    raise pipeline.failed(name, "agree", error) from None
    except (Refused, HookError) as error:
        admission.refused(guard, connection, error)
        raise (error.refusal() if isinstance(error, HookError) else error) from None


def _asking(session: Session, name: str) -> Callable[..., Any]:
    """Return how a plugin asks the peer of a session."""

    def ask(method: str, params: dict[str, Any] | None = None, **more: Any) -> Any:
        session.connection.relies.add(name)
        return session.request(method, params, **more)

    return ask


def cross(crossing: Crossing, message: Message) -> Walk:
    """Take what one plugin says to another one to it, and no further.

    Raises:
        Refused: The plugin said no; or the request came from the host, or stands in front of no server.
        HookError: The plugin failed.
    """
    if message.kind == "request":
        yield from _answer(crossing, message)
        return
    exchange = crossing.asked
    if exchange.resolve is not None:
        exchange.resolve(message.data)
    crossing.flush()
    exchange.end("answered" if message.kind == "result" else "error")


def _answer(crossing: Crossing, message: Message) -> Walk:
    """Answer a request that is for a plugin, and not for the server.

    Raises:
        Refused: The plugin said no; or the request came from the host, or stands in front of no server.
        HookError: The plugin failed.
    """
    session, way, method = crossing.session, crossing.way, message.method
    if way.outward or session.connection.role != "server":
        check(method, "request", way.sender, message.params, {}, session.bounds)  # whatever the configuration declares
    name, function = crossing.policy.answers[method]
    try:
        result: object = function(method, message.params, session.connection)
    except Refused as refused:
        refused.plugin = refused.plugin or name
        raise
    except HookError:
        raise
    except BaseException as error:
        raise pipeline.failed(name, "answer", error) from error
    if type(result) is not dict:
        if inspect.iscoroutine(result):
            result.close()
        what = f"plugin {name!r} answered {method} with {type(result).__name__}"
        raise HookError(what, plugin=name, hook="answer", code="core.hook_answer")
    session.connection.relies.add(name)
    if crossing.after is not None:
        yield from crossing.turn()
    way.exchanges.drop(crossing.asked, "answered", tombstone=False)
    crossing.flush()
    reply = {"jsonrpc": "2.0", "id": message.id, "result": result}
    waiting = session.emit(crossing.policy, way.source, reply, ticket=message.ticket, method=method)
    if waiting is not None:
        yield waiting

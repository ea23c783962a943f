"""What travels inside other messages in revision 2026-07-28, and what outlives one exchange.

A server that needs something answers ``input_required`` with requests inside; the client retries with responses inside
(SEP-2322). A task carries such requests in what ``tasks/get`` answers and in ``notifications/tasks``, and takes the
responses by ``tasks/update`` (SEP-2663). Each of them runs the chains as a message of its own method, so one rule
serves both eras; one refused inner message refuses the whole outer one. A result fetched by task id belongs to the call
that made the task.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Generator
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from hauberk._twins import check_embedded
from hauberk.methods import ABSENT, INPUT_REQUESTS, check
from hauberk.refusals import LIMITS, MEDIATION, Refused

if TYPE_CHECKING:
    from hauberk.bounds import Bounds
    from hauberk.crossing import Crossing
    from hauberk.exchange import Exchange, Exchanges, Outcome
    from hauberk.message import Message, ToolCall

Walk = Generator[Awaitable[Any], Any, Any]
_Minted = tuple[bytes, str, str]
"""Digests of a state and of a call, and whose call it is."""


def requests(crossing: Crossing, message: Message, holder: dict[str, Any]) -> Walk:
    """Take each request inside a result, or inside a task's state, through the chains.

    Args:
        crossing: The outer message's.
        message: The outer message.
        holder: Its result or its params; ``inputRequests`` is a member.

    Returns:
        The holder itself, or a copy with what came out.

    Raises:
        Refused: One of them was refused, is malformed, or may not be asked this way.
    """
    inner = _members(holder.get("inputRequests"), "inputRequests", crossing.session.bounds)
    passed: dict[str, Any] = {}
    for key, request in inner.items():
        method = request.get("method")
        if type(method) is not str or method not in INPUT_REQUESTS:
            raise _refused("method", "an answer may ask for sampling, elicitation or roots, nothing else")
        check_embedded(request)
        check(method, "request", "server", request.get("params", ABSENT), {}, crossing.session.bounds)
        passed[key] = yield from _cross(crossing, message, key, "request", method, request)
    rounds, methods = crossing.session.rounds, {key: request["method"] for key, request in inner.items()}
    state, task = holder.get("requestState"), holder.get("taskId")
    if crossing.exchange is not None and type(state) is str:
        rounds.mint(state, crossing.exchange)
    for name, value in (("state", state), ("task", task)):
        if type(value) is str:
            rounds.asked(name, value, methods)
    if all(passed[key] is inner[key] for key in inner):
        return holder
    crossing.encoded = None
    return {**holder, "inputRequests": passed}


def responses(crossing: Crossing, message: Message) -> Walk:
    """Take each response inside a retry, or for a task, through the chains; return the request with what came out."""
    params = message.params
    inner = _members(params["inputResponses"], "inputResponses", crossing.session.bounds)
    rounds, state, task = crossing.session.rounds, params.get("requestState"), params.get("taskId")
    methods = rounds.methods("state", state) or rounds.methods("task", task)
    passed: dict[str, Any] = {}
    for key, response in inner.items():
        method = methods.get(key) or _asked(response)
        data = yield from _cross(crossing, message, key, "result", method, {"result": response})
        passed[key] = data["result"]
    if all(passed[key] is inner[key] for key in inner):
        return message
    crossing.encoded = None
    return message.with_params({**params, "inputResponses": passed})


def _cross(crossing: Crossing, outer: Message, key: str, kind: Any, method: str, data: dict[str, Any]) -> Walk:
    inner = replace(outer, kind=kind, method=method, data=data, embedded=key, first=None, id=None, content=None)
    inner = yield from crossing.hooks(inner)
    return inner.data


def _members(inner: Any, name: str, bounds: Bounds) -> dict[str, dict[str, Any]]:
    if inner is None:
        return {}
    if type(inner) is not dict or not all(type(member) is dict for member in inner.values()):
        raise _refused(name, f"{name} is not an object of objects")
    if len(inner) > bounds.embedded:
        raise Refused(
            "core.embedded", f"{name} has {len(inner)} members", rule=f"at most {bounds.embedded}", jsonrpc=LIMITS
        )
    return inner


def _asked(response: dict[str, Any]) -> str:
    """Return the method that a response answers, from its shape, where the guard did not see the question."""
    if "action" in response:
        return "elicitation/create"
    if "roots" in response:
        return "roots/list"
    if "role" in response:
        return "sampling/createMessage"
    raise _refused("inputResponses", "a response is of no kind that can be asked for")


def _refused(rule: str, text: str) -> Refused:
    return Refused("core.embedded", text, rule=rule, jsonrpc=MEDIATION)


class Rounds:
    """``requestState`` values that wait for the retry of their call; each is good once, for the same call."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds: Final = bounds
        self._minted: OrderedDict[_Minted, tuple[int, bool, list[Callable[[Exchange], object]]]] = OrderedDict()
        self._methods: OrderedDict[bytes, dict[str, str]] = OrderedDict()

    def mint(self, state: str, exchange: Exchange) -> None:
        """Remember that this state was given in answer to this call; with one that failed nothing goes on."""
        if exchange.digest and not exchange.failed:
            key = _hash("state", state), exchange.digest, exchange.principal.key
            exchange.goes_on = True
            exchange.defer(partial(self._forget, key))
            self._minted[key] = exchange.round, exchange.approved, exchange.of_call
            if len(self._minted) > self._bounds.rounds:
                self._minted.popitem(last=False)

    def _forget(self, key: _Minted, outcome: Outcome) -> None:
        """Forget a state whose answer did not reach who asked: what his call was charged he has back."""
        if outcome != "answered":
            self._minted.pop(key, None)

    def asked(self, name: str, value: str, methods: dict[str, str]) -> None:
        """Remember what was asked for with this state, or for this task: the method of each request, by key."""
        if methods:
            self._methods[_hash(name, value)] = methods
            if len(self._methods) > self._bounds.rounds:
                self._methods.popitem(last=False)

    def methods(self, name: str, value: Any) -> dict[str, str]:
        """Return the methods of the requests that were asked with this state, or for this task, by key."""
        return self._methods.get(_hash(name, value), {}) if type(value) is str else {}

    def claim(self, state: Any, call: ToolCall) -> int:
        """Return the number of this retry, or 0 where the state was not minted for this very call and caller.

        What was approved stays approved, and what was deferred to the end of the call is (`Exchange.defer_call`);
        nothing else is.

        Raises:
            Refused: ``core.rounds``: the call has been retried too often.
        """
        if not isinstance(state, str):
            return 0
        exchange = call.exchange
        minted = self._minted.pop((_hash("state", state), call.digest, exchange.principal.key), None)
        if minted is None:
            return 0
        before, exchange.approved, exchange.of_call = minted
        if before >= self._bounds.retries:
            raise Refused(
                "core.rounds",
                f"the server asked for more input {before} times",
                jsonrpc=LIMITS,
                hint="raise core.bounds.retries if this server needs it",
            )
        return before + 1


def _hash(name: str, value: str) -> bytes:
    return hashlib.sha256(f"{name}:{value}".encode()).digest()


class Tasks:
    """Task handles: what is fetched by one belongs to the call that made it."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds: Final = bounds
        self._made: OrderedDict[str, tuple[str, str, Any, Exchanges]] = OrderedDict()

    def remember(self, exchange: Exchange, result: dict[str, Any], exchanges: Exchanges) -> None:
        """Remember the task that this result hands out, and let its progress go on."""
        task = result.get("task")
        task_id = task.get("taskId") if type(task) is dict else result.get("taskId")
        if not exchange.tool or type(task_id) is not str or len(task_id) > self._bounds.id_chars:
            return
        if task_id in self._made:
            return
        if exchange.token is not None:
            exchanges.hold(exchange.token)
        self._made[task_id] = (exchange.tool, exchange.digest, exchange.token, exchanges)
        if len(self._made) > self._bounds.tasks:
            _, (_, _, token, where) = self._made.popitem(last=False)
            if token is not None:
                where.release(token)

    def inherit(self, exchange: Exchange, params: dict[str, Any]) -> None:
        """Give a request for a task's state or result the tool and digest of the call that made the task."""
        made = self._made.get(params["taskId"]) if type(params.get("taskId")) is str else None
        if made is not None:
            exchange.tool, exchange.digest = made[0], made[1]

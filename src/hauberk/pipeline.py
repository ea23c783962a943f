"""The frozen chains: order, deadline, fail closed. The one place with a broad ``except``, where it refuses and records.

The rules:

- a chain is a tuple made at load; nothing is looked up while a message passes;
- whatever a hook does that is not an answer, the message is refused and the plugin named: it raises (BaseException
  included), it answers something of another type, it changes what it may not change, it outlives the chain's deadline;
- one deadline for a chain, checked when a plain chain ends and enforced while an async one runs;
- a chain of plain hooks never touches the event loop;
- a Deny ends a round; nothing that comes later can take it back.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import operator
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from hauberk.chains import Chain, Step
from hauberk.connection import Connection
from hauberk.layers import Layer
from hauberk.message import Frame, Message, ToolCall, freeze
from hauberk.refusals import HookError, Refused
from hauberk.verdict import Allow, Ask, Deny, Verdict

logger = logging.getLogger("hauberk")
PROTOCOL_META: Final = ("io.modelcontextprotocol/", "mcp/")


# --- messages and frames ---


def walk(chain: Chain, item: Any, connection: Connection, until: float, clock: Callable[[], float]) -> Any:
    """Run a plain chain over a message or frame, and return what comes out.

    Raises:
        Refused: A plugin said no.
        HookError: A plugin could not tell.
    """
    calls = iter(chain.calls)
    try:
        for call in calls:
            answer = call(item, connection)
            if answer is None:
                continue
            if type(answer) is type(item) is Frame and b"\n" not in answer.data:
                item = answer  # as `accept` would: a seal answers each frame
            else:
                item = accept(chain.at(operator.length_hint(calls)), item, answer)
    except Refused as refused:
        raise _owned(refused, chain.at(operator.length_hint(calls))) from None
    except HookError:
        raise
    except BaseException as error:
        raise failure(chain.at(operator.length_hint(calls)), error) from error
    if clock() > until:
        raise late(chain)
    return item


async def walk_async(
    chain: Chain, item: Any, connection: Connection, seconds: float, clock: Callable[[], float]
) -> Any:
    """Run a chain with async hooks over a message or frame, as `walk`."""
    step, until = chain.steps[0], clock() + seconds
    try:
        async with asyncio.timeout(seconds) as timer:
            for step in chain.steps:
                answer = await answered(step, item, connection)
                if answer is not None:
                    item = accept(step, item, answer)
                if timer.expired() or clock() > until:
                    raise late(chain, step)
    except TimeoutError:
        raise late(chain, step) from None
    return item


async def connect(chain: Chain, connection: Connection, seconds: float, clock: Callable[[], float]) -> None:
    """Run ``on_connect``; it has no answer."""
    if not chain:
        return
    step, until = chain.steps[0], clock() + seconds
    try:
        async with asyncio.timeout(seconds) as timer:
            for step in chain.steps:
                answer = await answered(step, connection)
                connection.whose += [step.plugin] * (len(connection.verify) - len(connection.whose))
                if answer is not None:
                    raise nonsense(step, answer)
                if timer.expired() or clock() > until:
                    raise late(chain, step)
    except TimeoutError:
        raise late(chain, step) from None


async def answered(step: Step, *args: Any) -> Any:
    """Call one hook, plain or async, and turn whatever it raises into a refusal."""
    try:
        answer = step.call(*args)
        return await answer if step.is_async else answer
    except Refused as refused:
        raise _owned(refused, step) from None
    except asyncio.CancelledError as error:
        if is_cancelled():
            raise
        raise failure(step, error) from error
    except HookError:
        raise
    except BaseException as error:
        raise failure(step, error) from error


def is_cancelled() -> bool:
    """Whether the running task is being cancelled; if not, a CancelledError is a plugin's own."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def accept(step: Step, item: Any, answer: Any) -> Any:
    """Check a rewritten message or frame, and return it.

    Raises:
        HookError: It is of another type, or changes what may not change.
    """
    try:
        return _accepted(step, item, answer)
    except (Refused, HookError):
        raise
    except Exception as error:
        raise failure(step, error) from error


def _accepted(step: Step, item: Any, answer: Any) -> Any:
    if type(answer) is not type(item):
        raise nonsense(step, answer)
    if answer is item:
        return item
    if type(item) is Frame:
        if b"\n" in answer.data:
            raise broke(step, "put a line feed into a frame")
        return answer
    for fixed in ("kind", "toward", "method", "id", "embedded", "exchange", "ticket"):
        if getattr(answer, fixed) is not getattr(item, fixed) and getattr(answer, fixed) != getattr(item, fixed):
            raise broke(step, f"changed {fixed}")
    if identity(answer.data) != identity(item.data):
        raise broke(step, "changed the method, the id, params.name, params.uri or the protocol's _meta")
    if not answer.principal.narrows(item.principal):
        raise broke(step, "widened the principal")
    if step.layer <= Layer.ADMIT and item.method == "tools/call" and _arguments(answer) != _arguments(item):
        raise broke(step, "changed the arguments of a call, which only POLICY and CONTENT may")
    return answer if answer.first is item.original else msgspec.structs.replace(answer, first=item.original)


def identity(data: dict[str, Any]) -> tuple[Any, ...]:
    """Return what no plugin may change in a message: method, id, name, URI, and the protocol's own ``_meta``."""
    params = data.get("params")
    name = uri = state = meta = None
    if type(params) is dict:
        name, uri, state, meta = params.get("name"), params.get("uri"), params.get("requestState"), params.get("_meta")
    if type(meta) is dict:
        meta = {k: v for k, v in meta.items() if k == "progressToken" or k.startswith(PROTOCOL_META)}
    return data.get("method"), data.get("id"), name, uri, state, meta or None


def _arguments(message: Message) -> bytes:
    return freeze(message.params.get("arguments") or {}) if message.kind == "request" else b""


# --- tool calls ---


def judge(
    chain: Chain, call: ToolCall, connection: Connection, until: float, clock: Callable[[], float]
) -> tuple[str, Verdict] | None:
    """Run one plain round over a call, and return the strictest verdict with its plugin.

    Raises:
        HookError: A plugin could not tell, or changed the call.
    """
    strictest: tuple[str, Verdict] | None = None
    calls, strict, read = iter(chain.calls), chain.must_judge, call.read
    try:
        for ask in calls:
            verdict = ask(call, connection)
            if verdict is not None or strict:
                strictest = stricter(strictest, chain.at(operator.length_hint(calls)), verdict, call)
                if strictest is not None and type(strictest[1]) is Deny:
                    break
    except Refused as refused:
        return _denied(chain.at(operator.length_hint(calls)), refused)
    except HookError:
        raise
    except BaseException as error:
        raise failure(chain.at(operator.length_hint(calls)), error) from error
    if clock() > until:
        raise late(chain)
    if call.read != read:
        untouched(chain, call)
    return strictest


async def judge_async(
    chain: Chain, call: ToolCall, connection: Connection, seconds: float, clock: Callable[[], float]
) -> tuple[str, Verdict] | None:
    """Run one round with async hooks over a call, as `judge`."""
    strictest: tuple[str, Verdict] | None = None
    step, until = chain.steps[0], clock() + seconds
    try:
        async with asyncio.timeout(seconds) as timer:
            for step in chain.steps:
                verdict = await answered(step, call, connection)
                if timer.expired() or clock() > until:
                    raise late(chain, step)
                strictest = stricter(strictest, step, verdict, call)
                if strictest is not None and type(strictest[1]) is Deny:
                    break
    except TimeoutError:
        raise late(chain, step) from None
    except Refused as refused:
        return _denied(step, refused)
    untouched(chain, call)
    return strictest


def stricter(
    strictest: tuple[str, Verdict] | None, step: Step, verdict: Any, call: ToolCall
) -> tuple[str, Verdict] | None:
    """Return the stricter of two answers; an Ask is also left on the call.

    None is no opinion, but a Deny of a plugin that must judge.

    Raises:
        HookError: The answer is no verdict.
    """
    if type(verdict) is Allow:
        return strictest or (step.plugin, verdict)
    if verdict is None:
        if not step.must_judge:
            return strictest
        verdict = Deny("core.unjudged", f"plugin {step.plugin!r} gave no verdict")
    height = rank(verdict)
    if not height:
        raise nonsense(step, verdict)
    if type(verdict) is Ask:
        call.asks.append((step.plugin, verdict))
    if strictest is not None and rank(strictest[1]) >= height:
        return strictest
    return step.plugin, verdict


_RANK: Final[dict[type, int]] = {Allow: 1, Ask: 2, Deny: 3}


def rank(verdict: Any) -> int:
    """Return how strict a verdict is; 0 of what is none."""
    return _RANK.get(type(verdict), 0)


def call_changed(*chains: Chain) -> HookError:
    """Return the refusal of a call that is no longer the one that was judged; who could have changed it is named."""
    names = dict.fromkeys(step.plugin for chain in chains for step in chain.steps)
    plugins = ", ".join(names) or "a plugin"
    return HookError(
        f"a call was changed after it was frozen, by one of {plugins}",
        plugin=plugins,
        hook=next((step.hook for chain in chains for step in chain.steps), "on_tool_call"),
        code="core.call_changed",
    )


def untouched(chain: Chain, call: ToolCall) -> None:
    """Refuse a call that a judge changed.

    Raises:
        HookError: The arguments are not those that were frozen; the judges of the round are named.
    """
    if call.read and call.changed():
        raise call_changed(chain)


# --- what a failing plugin becomes ---


def failure(step: Step, error: BaseException) -> HookError:
    """Return the refusal for a hook that raised."""
    return failed(step.plugin, step.hook, error)


def failed(plugin: str, hook: str, error: BaseException) -> HookError:
    """Return the refusal for a plugin that raised, and log where it did.

    The exception's text stays out of both, it may hold a secret (X.14).
    """
    places = [
        f"{Path(frame.filename).name}:{frame.lineno} in {frame.name}"
        for frame in traceback.extract_tb(error.__traceback__, limit=-3)
    ]
    logger.error("plugin %r failed in %s with %s at %s", plugin, hook, type(error).__name__, ", ".join(places))
    return HookError(f"plugin {plugin!r} failed in {hook} ({type(error).__name__})", plugin=plugin, hook=hook)


async def ask(plugin: str, method: str, function: Callable[..., Any], *args: Any, seconds: float) -> Any:
    """Return what a method of a plugin that is no hook (``approve``, ``resolve``) answers, plain or async.

    Raises:
        Refused: The plugin said no.
        HookError: It could not tell.
        TimeoutError: It did not answer in time.
    """
    timer = asyncio.timeout(seconds)
    try:
        async with timer:
            value = function(*args)
            if inspect.isawaitable(value):
                value = await value
    except Refused as refused:
        refused.plugin = refused.plugin or plugin
        raise
    except BaseException as error:
        if timer.expired() and isinstance(error, TimeoutError):
            raise
        if isinstance(error, HookError) or (isinstance(error, asyncio.CancelledError) and is_cancelled()):
            raise
        raise failed(plugin, method, error) from error
    if timer.expired():
        raise TimeoutError
    return value


def late(chain: Chain, step: Step | None = None) -> HookError:
    """Return the refusal for a chain that outlived its deadline."""
    plugin = step.plugin if step else chain.names
    hook = chain.steps[0].hook
    return HookError(f"{hook} of {plugin} outlived the deadline", plugin=plugin, hook=hook, code="core.deadline")


def nonsense(step: Step, answer: Any) -> HookError:
    """Return the refusal for an answer that is none, which it does not repeat; a plain hook's coroutine is closed."""
    if inspect.iscoroutine(answer):
        answer.close()
    return HookError(
        f"plugin {step.plugin!r} answered {step.hook} with {type(answer).__name__}",
        plugin=step.plugin,
        hook=step.hook,
        code="core.hook_answer",
    )


def broke(step: Step, what: str) -> HookError:
    """Return the refusal for a rewrite that is not allowed."""
    return HookError(
        f"plugin {step.plugin!r} {what} in {step.hook}", plugin=step.plugin, hook=step.hook, code="core.hook_answer"
    )


def _owned(refused: Refused, step: Step) -> Refused:
    """Put the name of the plugin on its refusal."""
    refused.plugin = refused.plugin or step.plugin
    return refused


def _denied(step: Step, refused: Refused) -> tuple[str, Deny]:
    """Take a judge's Refused for the Deny that it means."""
    return step.plugin, Deny(
        code=refused.code,
        reason=refused.message,
        rule=refused.rule,
        hint=refused.hint,
        retry_after=refused.retry_after,
        public=refused.public,
        data=refused.data,
        details=refused.details,
    )

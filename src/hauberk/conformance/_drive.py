"""A plugin meets what is in the corpus, hook by hook, with nothing of the core between."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any, Final

import msgspec

from hauberk.chains import Step
from hauberk.conformance import _corpus as corpus
from hauberk.conformance._corpus import Sample
from hauberk.conformance._subject import Opened
from hauberk.connection import Connection
from hauberk.exchange import Exchange
from hauberk.message import Message, ToolCall
from hauberk.refusals import Refused

_FOREVER: Final = 30.0
"""A hook that waits longer than this waits for ever (seconds)."""


class Meeting(msgspec.Struct, frozen=True):
    """One hook, and what it is given."""

    step: Step
    args: tuple[Any, ...]
    what: str

    @property
    def item(self) -> Any:
        """Return the message, frame, call, connection or event."""
        return self.args[0]


class Outcome(msgspec.Struct, frozen=True):
    """What came of a meeting."""

    meeting: Meeting
    answer: Any = None
    error: BaseException | None = None

    @property
    def refused(self) -> Refused | None:
        """Return the refusal that it ended in."""
        return self.error if isinstance(self.error, Refused) else None

    @property
    def failed(self) -> bool:
        """Whether the hook could not tell."""
        return self.error is not None and not isinstance(self.error, Refused)


def meetings(steps: Iterable[Step], samples: Iterable[Sample]) -> Iterator[Meeting]:
    """Yield each meeting of these hooks with these messages, with connections and with events."""
    steps = tuple(steps)
    for sample in samples:
        for step in steps:
            yield from _with(step, sample)
    for step in steps:
        if step.hook == "on_connect":
            yield Meeting(step, (corpus.connection("client"),), "a connection")
            yield Meeting(step, (corpus.connection("server"),), "a connection")
        if step.hook == "on_audit":
            yield from (Meeting(step, (event,), f"event {event.code}") for event in corpus.events())


def _with(step: Step, sample: Sample) -> Iterator[Meeting]:
    what = f"{sample.kind} {sample.method}"
    if step.hook in ("on_send", "on_receive"):
        outward = step.hook == "on_send"
        where = corpus.connection("client" if outward == (sample.toward == "server") else "server")
        yield Meeting(step, (item(step, made(sample, where), where), where), what)
    elif step.hook == "on_tool_call" and sample.kind == "request" and _is_call(sample):
        for where in (corpus.connection("client"), corpus.connection("server")):
            yield Meeting(step, (corpus.call(made(sample, where), where), where), what)


def _is_call(sample: Sample) -> bool:
    return sample.method == "tools/call" and isinstance((sample.body or {}).get("name"), str)


def made(sample: Sample, where: Connection, number: int = 1) -> Message:
    """Return a sample as a message of a connection."""
    return corpus.message(sample.kind, sample.toward, sample.method, sample.body, where, number)


def item(step: Step, message: Message, where: Connection) -> Any:
    """Return a message as a hook of this layer gets it."""
    if step.layer not in corpus.FRAMES:
        return message
    return corpus.frame(message, where, parsed=step.hook == "on_send")


async def give(meeting: Meeting) -> Outcome:
    """Let a hook see what it is given; whatever it raises is its outcome."""
    try:
        answer = meeting.step.call(*meeting.args)
        if meeting.step.is_async:
            async with asyncio.timeout(_FOREVER):
                answer = await answer
    except (Exception, SystemExit, asyncio.CancelledError) as error:  # noqa: BLE001 - whatever it does is looked at
        return Outcome(meeting, error=error)
    if inspect.iscoroutine(answer):
        answer.close()
    return Outcome(meeting, answer)


async def outcomes(opened: Opened, samples: Iterable[Sample]) -> AsyncIterator[Outcome]:
    """Let each hook of the plugin under test meet everything; end each exchange, and yield what came of it."""
    for meeting in meetings(opened.steps, samples):
        yield await give(meeting)
        end(meeting)


def exchange_of(meeting: Meeting) -> Exchange | None:
    """Return the request in flight that a meeting belongs to."""
    return meeting.item.exchange if isinstance(meeting.item, ToolCall | Message) else None


def end(meeting: Meeting) -> None:
    """End the request that a meeting belongs to, as answered."""
    exchange = exchange_of(meeting)
    if exchange is not None:
        exchange.end("answered")

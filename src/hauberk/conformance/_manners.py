"""How a plugin behaves among others: what it receives stays as it was, what it says is its own and holds no secret."""

from __future__ import annotations

import base64
import contextlib
import io
import logging
from collections.abc import Iterator
from typing import Any, Final

import msgspec
import orjson

from hauberk import pipeline
from hauberk.conformance import _corpus as corpus
from hauberk.conformance._corpus import CANARY
from hauberk.conformance._drive import Meeting, Outcome, give, meetings, outcomes
from hauberk.conformance._static import written_codes
from hauberk.conformance._subject import Fault, Subject, unique, walk
from hauberk.connection import Connection
from hauberk.event import Event
from hauberk.message import Frame, Message, ToolCall
from hauberk.refusals import HauberkError, HookError
from hauberk.verdict import Deny, Verdict

_SEARCHED: Final = 64 * 1024 * 1024


# --- what it receives ---


async def no_mutation(subject: Subject) -> list[Fault]:
    """Compare everything that a hook is given, before and after."""
    faults = []
    async with subject.opened() as opened:
        for meeting in meetings(opened.steps, (*corpus.usual(), *corpus.strange())):
            before = [_frozen(arg, meeting.step.hook) for arg in meeting.args]
            await give(meeting)
            after = [_frozen(arg, meeting.step.hook) for arg in meeting.args]
            faults += [
                Fault(f"{meeting.step.hook} changed {part} of {meeting.what}", subject.place(meeting.step.hook))
                for was, now in zip(before, after, strict=True)
                for part in was
                if was[part] != now[part]
            ]
    return unique(faults)


def _frozen(item: Any, hook: str) -> dict[str, Any]:
    """Return what a hook may not change, by the name of the part."""
    if isinstance(item, Message):
        return {"the data": orjson.dumps(item.data), "the headers": dict(item.headers), "the exchange": _held(item)}
    if isinstance(item, ToolCall):
        return _frozen(item.message, hook) | {"the arguments": item.changed(), "the asks": len(item.asks)}
    if isinstance(item, Event):
        return {"the event": msgspec.json.encode(item)}
    if isinstance(item, Frame):
        return {"the data": item.data}
    return _frozen_connection(item, hook)


def _held(message: Message) -> Any:
    held = message.exchange
    return held and (held.id, held.key, held.method, held.principal, held.tool, held.digest, held.sent, held.outcome)


def _frozen_connection(connection: Connection, hook: str) -> dict[str, Any]:
    fixed = ("id", "host", "server", "role", "target", "peer", "principal", "revision")
    parts = {f"the {name}": getattr(connection, name) for name in fixed}
    if hook == "on_connect":
        return parts
    return parts | {"the headers": dict(connection.headers), "the checks": list(connection.verify)}


# --- what it says ---


async def own_prefix(subject: Subject) -> list[Fault]:
    """Look at each code that it refuses with or notes, and at those that stand in its source."""
    prefix = f"{subject.name}."
    faults = [
        Fault(f"{kind} has the code {code!r}, which does not begin with {prefix!r}", place)
        for kind, code, place in written_codes(subject)
        if not code.startswith(prefix)
    ]
    async with subject.opened() as opened:
        async for outcome in outcomes(opened, (*corpus.usual(), *corpus.strange())):
            hook = outcome.meeting.step.hook
            faults += [
                Fault(f"{hook} said {code!r}, which does not begin with {prefix!r}", subject.place(hook))
                for code in _codes(outcome)
                if not code.startswith(prefix)
            ]
    return unique(faults)


def _codes(outcome: Outcome) -> Iterator[str]:
    if outcome.refused is not None:
        yield outcome.refused.code
    if isinstance(outcome.answer, Deny):
        yield outcome.answer.code
    yield from (event.code for event in _noted(outcome.meeting))


def _noted(meeting: Meeting) -> list[Event]:
    """Return the events that a hook left on what it was given."""
    item = meeting.item
    of_item = item.message.notes if isinstance(item, ToolCall) else getattr(item, "notes", [])
    of_connection = meeting.args[1].notes if meeting.args[1:] else []
    return [*of_item, *of_connection]


# --- secrets ---


async def no_canary(subject: Subject) -> list[Fault]:
    """Look for the secret in refusals, verdicts, events, the log, what is printed, and the files that it writes."""
    faults: list[Fault] = []
    with _overheard() as said:
        async with _kept(subject, faults) as opened:
            async for outcome in outcomes(opened, (*corpus.usual(), *corpus.strange())):
                hook = outcome.meeting.step.hook
                faults += [
                    Fault(f"{hook} put a secret into {what} ({outcome.meeting.what})", subject.place(hook))
                    for what, text in _told(outcome)
                    if leaks(text)
                ]
        emitted = opened.recorder.events  # the last of them came when the guard was closed
        faults += [Fault(f"a secret is in the event {event.code!r}") for event in emitted if leaks(_text(event))]
    faults += [Fault(f"a secret is in {what}") for what, text in said() if leaks(text)]
    return unique(faults)


@contextlib.asynccontextmanager
async def _kept(subject: Subject, faults: list[Fault]) -> Any:
    """Open a guard; once it is closed, look into the files that it leaves."""
    async with subject.opened() as opened:
        yield opened
        await opened.guard.close()
        faults.extend(
            Fault(f"a secret is in the file {path.relative_to(opened.folder)}")
            for path in walk(opened.folder)
            if leaks(path.read_bytes()[:_SEARCHED].decode("latin-1"))
        )


def _told(outcome: Outcome) -> Iterator[tuple[str, str]]:
    error = outcome.error
    if error is not None:
        kind = "a refusal" if isinstance(error, HauberkError) else f"the text of {type(error).__name__}"
        yield kind, f"{error} {vars(error)!r}"
    if isinstance(outcome.answer, Verdict):
        yield "a verdict", repr(outcome.answer)
    yield from ((f"the event {event.code!r}", _text(event)) for event in _noted(outcome.meeting))


def _text(event: Event) -> str:
    return msgspec.json.encode(event).decode()


def leaks(text: str) -> bool:
    """Whether the secret is in a text, as it is, in hexadecimal or in base64, at any offset."""
    raw = CANARY.encode()
    forms = [CANARY, CANARY[::-1], raw.hex(), *(_base64_core(raw, offset) for offset in range(3))]
    lower = text.lower()
    return any(form in text for form in forms) or raw.hex() in lower


def _base64_core(raw: bytes, offset: int) -> str:
    """Return the characters of base64 that do not depend on what stands beside it."""
    encoded = base64.b64encode(b"\0" * offset + raw).decode().rstrip("=")
    return encoded[(0, 2, 3)[offset] + 1 : -2]


@contextlib.contextmanager
def _overheard() -> Iterator[Any]:
    """Keep what is logged, at any level, and what is printed."""
    logged: list[str] = []
    handler = logging.Handler(logging.DEBUG)
    form = logging.Formatter("%(name)s %(message)s")
    handler.emit = lambda record: logged.append(form.format(record))  # type: ignore[method-assign]
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    out, err = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            yield lambda: [("the log", "\n".join(logged)), ("standard output", out.getvalue() + err.getvalue())]
    finally:
        root.setLevel(level)
        root.removeHandler(handler)


# --- what it does not know ---


async def survives(subject: Subject) -> list[Fault]:
    """Give it methods and members that it has not heard of; it may refuse them, and must not fail."""
    faults = []
    async with subject.opened() as opened:
        async for outcome in outcomes(opened, (*corpus.usual(), *corpus.strange())):
            if reason := _fault(outcome):
                hook = outcome.meeting.step.hook
                place = subject.raised_at(outcome.error) if outcome.error else subject.place(hook)
                faults.append(Fault(f"{hook} {reason} on {outcome.meeting.what}", place))
    return unique(faults)


def _fault(outcome: Outcome) -> str:
    if outcome.failed:
        return f"raised {type(outcome.error).__name__}"
    if outcome.answer is None:
        return ""
    if isinstance(outcome.meeting.item, ToolCall):
        return "" if pipeline.rank(outcome.answer) else f"answered {type(outcome.answer).__name__}"
    if outcome.meeting.step.hook in ("on_connect", "on_audit"):
        return f"answered {type(outcome.answer).__name__}"
    try:
        pipeline.accept(outcome.meeting.step, outcome.meeting.item, outcome.answer)
    except HookError as error:
        return f"gave an answer that is refused: {error.message}"
    return ""

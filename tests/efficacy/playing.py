"""What a guard makes of one item: it is sent through a whole one, and what comes out is compared with what went in.

Each item meets a connection of its own, minutes after the one before it, so that none is judged by another. The guard
is loaded with the sieve as it is installed, with its own defaults, but for two: tools that no rule names may be seen,
and servers may ask, else the packs would not be asked about anything.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any, Final, Literal

import msgspec
from tests.efficacy.corpus import LISTS, Era, Item, Kind

from hauberk.event import Event
from hauberk.methods import REVISION_KEY
from hauberk.testing import Clock, Port, Rig, answer, guard_from, notification, request
from hauberk.ways import Way
from hauberk_sieve.text import BUILTIN

POLICY: Final = """
[sieve]
default = "allow"

[sieve.asks]
sampling = "allow"
elicitation = "allow"
"""
SERVER: Final = "corpus"
APART: Final = 300.0
"""Seconds between two items."""
_TOKEN: Final = "corpus"
_TOOL: Final = {"name": "fetch", "description": "Fetches.", "inputSchema": {"type": "object"}}
_PARAMS: Final[dict[str, dict[str, Any]]] = {
    "tools/call": {"name": "fetch", "arguments": {}},
    "prompts/get": {"name": "weekly"},
    "resources/read": {"uri": "docs://notes"},
    "completion/complete": {
        "ref": {"type": "ref/prompt", "name": "weekly"},
        "argument": {"name": "topic", "value": ""},
    },
}
_ADDED: Final = ("resultType", "ttlMs", "cacheScope", "_meta")
"""Members that the protocol or the guard puts beside an item."""
Verdict = Literal["passed", "flagged", "redacted", "denied"]
STRICTNESS: Final[tuple[Verdict, ...]] = ("passed", "flagged", "redacted", "denied")


class Outcome(msgspec.Struct, frozen=True):
    """What became of an item, in one era or in all of its eras."""

    verdict: Verdict
    rules: frozenset[str]
    """The rules of packs that found something."""
    codes: frozenset[str]
    """The codes of the sieve's events, refusals among them."""

    @property
    def packs(self) -> frozenset[str]:
        """Return the packs whose rules found something."""
        return frozenset(rule.partition(".")[0] for rule in self.rules)


class Player:
    """Sends items through one guard."""

    def __init__(self, rig: Rig, clock: Clock) -> None:
        self._rig: Final = rig
        self._clock: Final = clock

    async def play(self, item: Item) -> dict[Era, Outcome]:
        """Return what becomes of an item in each of its eras."""
        return {era: await self._once(item, era) for era in item.eras}

    async def _once(self, item: Item, era: Era) -> Outcome:
        self._clock.turn(APART)
        rig = await connected(self._rig)
        await greet(rig, era)
        if item.method in {"tools/call", "tools/list"}:
            await shown(rig, [_TOOL], era)
        await rig.settle()
        rig.recorder.events.clear()
        came = await _came(rig, item, era)
        await rig.settle()
        outcome = _outcome(item, came, rig.recorder.events)
        await rig.session.close()
        return outcome


@asynccontextmanager
async def player() -> AsyncIterator[Player]:
    """Give what sends items through a guard."""
    clock = Clock()
    async with guard_from(POLICY, name=SERVER, clock=clock) as rig:
        yield Player(rig, clock)


async def connected(rig: Rig, server: str = SERVER) -> Rig:
    """Return a rig of the same guard with a connection of its own."""
    other = Rig(rig.guard, rig.clock, rig.recorder, Port(), Port())
    await other.start("client", server)
    return other


async def greet(rig: Rig, era: Era, **hello: Any) -> dict[str, Any] | None:
    """Shake hands as an era does; return what comes of the server's greeting."""
    if era == "2026-07-28":
        supported = {"supportedVersions": [era], "capabilities": {}, "ttlMs": 0, "cacheScope": "private"}
        return await ask(rig, "server/discover", {}, era, result={**supported, **hello})
    told = {"protocolVersion": era, "capabilities": {}, "clientInfo": {"name": "client", "version": "1"}}
    info = {"serverInfo": {"name": SERVER, "version": "1"}}
    return await ask(rig, "initialize", told, era, result={"protocolVersion": era, "capabilities": {}, **info, **hello})


async def shown(rig: Rig, items: list[dict[str, Any]], era: Era, kind: Kind = "tool") -> list[dict[str, Any]] | None:
    """Let the server list items of a kind; return those that come, or None where the list is refused."""
    method, member = LISTS[kind]
    reply = await ask(rig, method, {}, era, result={member: items})
    found: list[dict[str, Any]] | None = (reply or {}).get("result", {}).get(member)
    return found


async def ask(rig: Rig, method: str, params: dict[str, Any], era: Era, **members: Any) -> dict[str, Any] | None:
    """Let the client ask and the server answer with a ``result`` or an ``error``; return the answer that comes."""
    if era == "2026-07-28":
        meta = {REVISION_KEY: era, "io.modelcontextprotocol/clientCapabilities": {}, **params.get("_meta", {})}
        params = {**params, "_meta": meta}
        if "result" in members:
            members = {"result": {"resultType": "complete", **members["result"]}}
    before, number = len(rig.client.raw), len(rig.server.raw) + 1
    await _sent(rig, rig.from_client, request(method, params, id=number))
    await _sent(
        rig,
        rig.from_server,
        {**answer(None, id=number), **members} if "result" in members else {"jsonrpc": "2.0", "id": number, **members},
    )
    return next((one for one in rig.replies[before:] if one.get("id") == number and "method" not in one), None)


async def _sent(rig: Rig, way: Way, data: dict[str, Any]) -> None:
    """Let one message come in, and wait until none waits; not for what is recorded of it."""
    rig.post(way, data)
    await rig.session.quiet()


async def _came(rig: Rig, item: Item, era: Era) -> Any:
    """Return what of an item comes to the client; None where nothing does."""
    thing = item.object
    match item.kind:
        case "tool" | "prompt" | "resource" | "template":
            found = await shown(rig, [thing], era, item.kind)
            return found[0] if found else None
        case "hello":
            reply = await greet(rig, era, **thing) or {}
            result = reply.get("result", {})
            return {key: result[key] for key in thing if key in result} or None
        case "result":
            reply = await ask(rig, item.method, _PARAMS[item.method], era, result=thing) or {}
            return _without(reply.get("result"), thing)
        case "error":
            reply = await ask(rig, item.method, _PARAMS[item.method], era, error=thing) or {}
            error = reply.get("error", {})
            return None if is_refusal(error) else error
        case "notification":
            return await _told(rig, item, era)
        case "ask":
            return await _asked(rig, item, era)


async def _told(rig: Rig, item: Item, era: Era) -> Any:
    params: dict[str, Any] = {**_PARAMS["tools/call"], "_meta": {"progressToken": _TOKEN}}
    if era == "2026-07-28":
        params["_meta"][REVISION_KEY] = era
    await _sent(rig, rig.from_client, request("tools/call", params, id="running"))
    before = len(rig.client.raw)
    await _sent(rig, rig.from_server, notification(item.method, item.object))
    return next((one["params"] for one in rig.replies[before:] if one.get("method") == item.method), None)


async def _asked(rig: Rig, item: Item, era: Era) -> Any:
    if era == "2026-07-28":
        inner = {"ask": {"method": item.method, "params": item.object}}
        wanted = {"resultType": "input_required", "inputRequests": inner, "requestState": "s"}
        reply = await ask(rig, "tools/call", _PARAMS["tools/call"], era, result=wanted) or {}
        asked = reply.get("result", {}).get("inputRequests", {}).get("ask")
        return asked and asked["params"]
    before = len(rig.client.raw)
    await _sent(rig, rig.from_server, request(item.method, item.object, id="asking"))
    return next((one["params"] for one in rig.replies[before:] if one.get("method") == item.method), None)


def is_refusal(error: dict[str, Any]) -> bool:
    """Whether an error is the guard's own."""
    data = error.get("data")
    return isinstance(data, dict) and "code" in data and "plugin" in data


def _without(result: dict[str, Any] | None, sent: dict[str, Any]) -> dict[str, Any] | None:
    if result is None:
        return None
    return {key: value for key, value in result.items() if key in sent or key not in _ADDED}


def _outcome(item: Item, came: Any, events: Iterable[Event]) -> Outcome:
    told = [event for event in events if event.code.startswith("sieve.") and tells(event)]
    rules = {one["rule"] for event in told for one in event.details.get("findings", ())}
    rules |= {event.rule for event in told if event.rule.partition(".")[0] in BUILTIN}
    if came is None:
        verdict: Verdict = "denied"
    elif came != item.object:
        verdict = "redacted"
    else:
        verdict = "flagged" if told else "passed"
    return Outcome(verdict, frozenset(rules), frozenset(event.code for event in told))


def tells(event: Event) -> bool:
    """Whether an event says that something was found; one of a scan may say only what was not inspected."""
    return "inspected" not in event.details or bool(event.details["findings"])


def mildest(outcomes: Iterable[Outcome]) -> Outcome:
    """Return what an attack meets whoever sends it may choose the era: what is found in all of them."""
    found = list(outcomes)
    return Outcome(
        min((one.verdict for one in found), key=STRICTNESS.index),
        frozenset.intersection(*(one.rules for one in found)),
        frozenset.intersection(*(one.codes for one in found)),
    )


def strictest(outcomes: Iterable[Outcome]) -> Outcome:
    """Return what something harmless meets at worst: what is found in any era."""
    found = list(outcomes)
    return Outcome(
        max((one.verdict for one in found), key=STRICTNESS.index),
        frozenset.union(*(one.rules for one in found)),
        frozenset.union(*(one.codes for one in found)),
    )

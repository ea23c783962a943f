"""What a host with all the real servers meets: each lists everything, side by side, and each tool is called once."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any, Final

import msgspec
from tests.efficacy.corpus import ERAS, LISTS, Era, Kind, Server
from tests.efficacy.playing import APART, POLICY, Verdict, ask, connected, greet, shown, tells

from hauberk.event import Event
from hauberk.testing import Clock, Rig, guard_from

_FORMATS: Final = {
    "date": "2026-03-01",
    "date-time": "2026-03-01T10:00:00Z",
    "email": "anna@example.org",
    "uri": "https://example.org/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}
_TEXTS: Final = ("x", "AB", "AB-1")
ANSWER: Final = {"code": -32000, "message": "not in this test"}
"""What each call is answered: a result might have to keep to an ``outputSchema``."""
_KINDS: Final[dict[str, Kind]] = {method: kind for kind, (method, _) in LISTS.items()}
_PLACE: Final = re.compile(r"/result/\w+/(\d+)(?:/|$)")
"""Where in a list something was found."""
_DEPTH: Final = 8


class Whole(msgspec.Struct, frozen=True):
    """What was said of the items of all servers together."""

    verdicts: dict[str, Verdict]
    """Of what was hidden, cut or told of, by server and name; of a tool also a call that was refused."""
    codes: dict[str, int]
    """Of how many items the sieve told, by the code of its event; where none is named, the server counts as one."""
    of: int
    """Items that were listed."""
    calls: int
    """Tools that were called."""


async def whole(servers: dict[str, Server]) -> Whole:
    """Connect all servers in both eras, list everything that they have, and call each tool with arguments that fit."""
    clock, verdicts = Clock(), dict[str, Verdict]()
    async with guard_from(POLICY, clock=clock) as rig:
        for era in ERAS:
            rigs = {name: await connected(rig, name) for name in servers}
            for name, server in servers.items():
                clock.turn(APART)
                await greet(rigs[name], era)
                await _listed(rigs[name], name, server, era, verdicts)
                await rig.guard.loaded["sieve"].plugin.meshes["names"].close()  # then the other servers know
                await _called(rigs[name], name, server, era, verdicts)
            for one in rigs.values():
                await one.settle()
                await one.session.close()
        told = [(event.code, name) for event in rig.recorder.events if tells(event) for name in _about(event, servers)]
    for _, name in told:
        verdicts.setdefault(name, "flagged")
    codes = Counter(code for code, _ in sorted(set(told)))
    tools = sum(len(server.tools) for server in servers.values())
    return Whole(dict(sorted(verdicts.items())), dict(codes), sum(map(_size, servers.values())), tools)


def _size(server: Server) -> int:
    return sum(len(items) for items in server.listed().values())


def _about(event: Event, servers: dict[str, Server]) -> list[str]:
    """Return the items that an event of the sieve is about, or the server where it names none."""
    if not event.code.startswith("sieve."):
        return []
    kind = _KINDS.get(event.method, "tool")
    items = servers[event.server].listed().get(kind, [])
    names = [items[int(found[1])]["name"] for found in map(_PLACE.match, _places(event)) if found]
    names += event.details.get("names") or ([event.tool] if event.tool else [])
    return [f"{event.server}: {kind} {name}" for name in names] or [f"{event.server}: server"]


def _places(event: Event) -> list[str]:
    return [finding["at"] for finding in event.details.get("findings", ())]


async def _listed(rig: Rig, name: str, server: Server, era: Era, verdicts: dict[str, Verdict]) -> None:
    for kind, items in server.listed().items():
        came = {one["name"]: one for one in await shown(rig, items, era, kind) or ()}
        for item in items:
            if came.get(item["name"]) != item:
                verdicts[f"{name}: {kind} {item['name']}"] = "redacted" if item["name"] in came else "denied"


async def _called(rig: Rig, name: str, server: Server, era: Era, verdicts: dict[str, Verdict]) -> None:
    for tool in server.tools:
        rig.clock.turn(APART)
        schema = tool["inputSchema"]
        params = {"name": tool["name"], "arguments": sample(schema, schema)}
        reply = await ask(rig, "tools/call", params, era, error=ANSWER)
        if (reply or {}).get("error") != ANSWER:
            verdicts[f"{name}: tool {tool['name']}"] = "denied"


def sample(schema: Any, root: dict[str, Any], depth: int = _DEPTH) -> Any:
    """Return a value that a schema of a real tool allows: as little as it demands."""
    if not isinstance(schema, dict) or depth == 0:
        return {}
    schema = _resolved(schema, root)
    for key in ("const", "default"):
        if schema.get(key) is not None:
            return schema[key]
    if schema.get("enum"):
        return schema["enum"][0]
    for key in ("anyOf", "oneOf", "allOf"):
        if schema.get(key):
            return sample(
                {**schema[key][0], **{k: v for k, v in schema.items() if k not in (key, "default")}}, root, depth - 1
            )
    kind = schema.get("type", "object" if "properties" in schema else "string")
    return _of_type(kind[0] if isinstance(kind, list) else kind, schema, root, depth)


def _of_type(kind: str, schema: dict[str, Any], root: dict[str, Any], depth: int) -> Any:
    match kind:
        case "object":
            properties = schema.get("properties", {})
            return {name: sample(properties.get(name, {}), root, depth - 1) for name in schema.get("required", ())}
        case "array":
            return [sample(schema.get("items", {}), root, depth - 1) for _ in range(schema.get("minItems", 0))]
        case "integer" | "number":
            return schema.get("minimum", schema.get("exclusiveMinimum", 0) + 1)
        case "boolean":
            return False
        case "null":
            return None
    fitting = (text for text in _TEXTS if re.search(schema.get("pattern", ""), text))
    return _FORMATS.get(schema.get("format", ""), next(fitting, "x") * max(1, schema.get("minLength", 1)))


def _resolved(schema: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    found: Any = schema
    while isinstance(found, dict) and "$ref" in found:
        target: Any = root
        for part in found["$ref"].removeprefix("#/").split("/"):
            target = target[part.replace("~1", "/").replace("~0", "~")]
        found = target
    return found if isinstance(found, dict) else {}

"""The stage: a scene is played on a guard in memory, and what it did is kept."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import orjson
from contrib.docs.scene import Line, Scene

from hauberk import Config, Event, HauberkError
from hauberk.edge import loose_id
from hauberk.testing import Rig, guard_from

PATIENCE: Final = 30.0
"""Seconds; a scene that takes longer does not lead to its code."""


class Played(NamedTuple):
    """What came of a scene."""

    scene: Scene
    event: Event
    """The first one of the code."""
    reply: dict[str, Any] | None
    """The refusal that the client or the server read; None where nobody did."""


def played(scenes: Mapping[str, Scene]) -> dict[str, Played]:
    """Play scenes; return what came of each, by code.

    Raises:
        LookupError: A scene did not lead to its code.
    """
    before = logging.root.manager.disable
    logging.disable()
    try:
        return asyncio.run(_play_all(scenes))
    finally:
        logging.disable(before)


async def _play_all(scenes: Mapping[str, Scene]) -> dict[str, Played]:
    return {code: await _play(code, scene) for code, scene in scenes.items()}


async def _play(code: str, scene: Scene) -> Played:
    made = [kind() for kind in scene.plugins]
    async with guard_from(scene.toml, *made, role=scene.role) as rig:
        for said in scene.lines:
            await _say(rig, said)
        if "request_timeout" in scene.toml:
            await _refused(rig)
        if scene.then is not None:
            with contextlib.suppress(HauberkError):
                await rig.guard.reload(Config.from_toml(scene.then))
    event = next((event for event in rig.recorder.events if event.code == code), None)
    reply = next((reply for reply in reversed((*rig.replies, *rig.reached)) if _code(reply) == code), None)
    if event is None and reply is not None and code == "core.refused":  # what a remote peer reads
        event = next(event for event in rig.recorder.events if event.category == "refusal")
    if event is None:
        raise LookupError(f"{code}: the scene led to {[event.code for event in rig.recorder.events]}")
    return Played(scene, event, reply)


async def _refused(rig: Rig) -> None:
    """Wait until the client gets something that nobody sent."""
    arrived = asyncio.Event()
    rig.client.on_deliver = lambda _: arrived.set()
    async with asyncio.timeout(PATIENCE):
        await arrived.wait()
    await rig.settle()


async def _say(rig: Rig, said: Line) -> None:
    side, data = said
    way = rig.from_client if side == "client" else rig.from_server
    raw = data if isinstance(data, bytes) else orjson.dumps(data)
    if len(raw) > rig.guard.bounds.line_bytes:
        rig.session.overlong(way, len(raw), loose_id(raw, b""))
    else:
        await rig.send(way, raw)


def _code(reply: dict[str, Any]) -> str | None:
    data = reply.get("error", {}).get("data")
    return data.get("code") if isinstance(data, dict) else None

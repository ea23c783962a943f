"""The guard of the matrix in process: its configuration, what it knew before the attack, and what its log says."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from tests.attacks.matrix import PINS, POLICY, Row, Seen, honest
from tests.attacks.walks import in_process

from hauberk.config import Config
from hauberk.testing import Era, HostileServer, Rig, guard_from
from hauberk_pins._desk import Desk

DECISIONS: Final = frozenset({"refusal", "policy", "decision"})
_ORDINARY: Final = frozenset({"core.allowed", "policy.loaded", "sieve.probing"})
"""Events of a day without an attack; and one that counts refusals, so that it depends on what was before."""
NOBODY: Final = Row("", "list_changed", {}, "")
"""A walk on which nothing happens."""


def codes_of(events: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the codes of the events that tell of a decision of the guard, each once, sorted."""
    return tuple(
        sorted({event["code"] for event in events if event.get("category", "policy") in DECISIONS} - _ORDINARY)
    )


def accept(folder: Path) -> None:
    """Trust all that was seen, as ``hauberk pins trust`` does."""
    desk = Desk(Config.read(folder / "hauberk.toml"))
    desk.accept([found for found in desk.rows(desk.trusted()) if found.status != "pinned"])


class House:
    """A folder with the state of a host, and how it was before any attack."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._at = folder / "now"
        self._before: dict[tuple[Era, bool], Path] = {}

    async def guarded(self, row: Row, era: Era) -> Seen:
        """Let the SDK's client walk through a guard that knew the honest server before."""
        before = self._before.get((era, row.pinned)) or await self._known(era, pinned=row.pinned)
        self._restore(before)
        server = honest()
        row.arm(server)
        async with self._guard(pinned=row.pinned) as rig:
            seen = await in_process(row, server, rig.guard.wrap(server.transport(), server="files"), era)
        codes = codes_of({"code": event.code, "category": event.category} for event in rig.recorder.events)
        return seen._replace(codes=codes)

    @asynccontextmanager
    async def _guard(self, *, pinned: bool) -> AsyncIterator[Rig]:
        lock = f'[pins]\nlock = "{self._at}/hauberk.lock"\n' if pinned else ""
        text = f'core.state_dir = "{self._at}/state"\n{POLICY}{PINS if pinned else ""}'
        (self._at / "hauberk.toml").write_text(text)
        async with guard_from(POLICY + lock, folder=self._at) as rig:
            yield rig

    async def _known(self, era: Era, *, pinned: bool) -> Path:
        """Show the honest servers once, and trust them."""
        self._restore(None)
        async with self._guard(pinned=pinned) as rig:
            for server, name in ((honest(), "files"), (HostileServer("send_email"), "mail")):
                await in_process(NOBODY, server, rig.guard.wrap(server.transport(), server=name), era)
        if pinned:
            accept(self._at)
        kept = self._before[era, pinned] = self._folder / f"{era}-{pinned}"
        shutil.copytree(self._at, kept)
        return kept

    def _restore(self, before: Path | None) -> None:
        shutil.rmtree(self._at, ignore_errors=True)
        if before is None:
            self._at.mkdir(parents=True)
        else:
            shutil.copytree(before, self._at)

"""The memory that the options ask for, and who uses it: over a reload the old plugin and the new one do.

Where the new plugin's memory is another one, both are open until the old policy has judged its last message. A message
is accepted by one of them: each refuses what was made by the latest time that another was asked for.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Any, Final, final

from hauberk import shared
from hauberk.event import Event
from hauberk_replay._bound import capacity, capacity_of_span
from hauberk_replay._local import LocalNonces
from hauberk_replay._mark import Mark
from hauberk_replay._nonces import Nonces
from hauberk_replay._options import Options, sqlite_path
from hauberk_replay._refusals import refused


@final
class Memory:
    """Nonces that are open while somebody uses them."""

    def __init__(self, key: tuple[object, ...], nonces: Nonces) -> None:
        self.key: Final = key
        """Memories of one key are one."""
        self.nonces: Final = nonces
        self._users = 0

        self._latest: dict[Memory | None, float] = {}
        """When the latest message was made that each was asked for; None are those that are closed."""

    def follow(self, old: Memory) -> None:
        """Come after another memory, and those before it."""
        self._latest = old._latest

    async def open(self) -> None:
        """Use it; the first opens it.

        Raises:
            ConfigError: It cannot be used.
            PluginError: It cannot be reached.
        """
        self._users += 1
        if self._users == 1:
            try:
                await self.nonces.open()
            except BaseException:
                self._users = 0
                raise

    async def close(self) -> None:
        """Use it no more; the last closes it."""
        if self._users:
            self._users -= 1
            if not self._users:
                self._latest[None] = max(self._latest.pop(self, -math.inf), self._latest.get(None, -math.inf))
                await self.nonces.close()

    def remember(self, key_id: str, nonce: bytes, issued: float, now: float) -> Awaitable[None] | None:
        """Take a nonce that has not come before, to this memory or to one that it follows, or that follows it."""
        for one, latest in self._latest.items():
            if issued <= latest and one is not self:
                raise refused("replay.not_remembered", f"{latest - issued:.3f} s before the memory was changed")
        if issued > self._latest.get(self, -math.inf):
            self._latest[self] = issued
        return self.nonces.remember(key_id, nonce, issued, now)


def memory(options: Options, guard: Any) -> Memory:
    """Return the memory that is asked for; nothing is opened."""
    window, most = options.window, capacity(options.window, options.rate)
    settings = guard.config
    key = (options.memory, options.group, options.on_store_failure, options.timeout, window, most, settings.state_dir)
    mark = Mark(settings.state_dir / "replay" / "latest")
    nonces: Nonces
    if shared.is_uri(options.memory):
        from hauberk_replay._shared import SharedNonces

        nonces = SharedNonces(
            options.memory,
            window,
            capacity_of_span(window, options.rate),
            group=options.group,
            local=LocalNonces(window, most, since=guard.now(), mark=mark) if _alone(options) else None,
            timeout=options.timeout,
            on_change=_teller(guard, options),
        )
    elif options.memory == "memory":
        nonces = LocalNonces(window, most, since=guard.now(), mark=mark)
    else:
        from hauberk_replay._sqlite import SqliteNonces

        nonces = SqliteNonces(sqlite_path(options, settings), window, most, now=guard.now)
    return Memory(key, nonces)


def _alone(options: Options) -> bool:
    return options.on_store_failure == "local"


def _teller(guard: Any, options: Options) -> Callable[[bool, str, int], None]:
    def tell(found: bool, why: str, alone: int) -> None:  # noqa: FBT001 - as a store calls it
        if found:
            details: dict[str, Any] = {"judged_alone": alone}
            guard.emit(Event(code="replay.store_found", category="system", plugin="replay", details=details))
        else:
            details = {"why": why, "meanwhile": options.on_store_failure}
            event = Event(
                code="replay.store_lost", category="system", severity="critical", plugin="replay", details=details
            )
            guard.emit(event)

    return tell

"""The memory that the options ask for, and who uses it: over a reload the old plugin and the new one do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, final

from hauberk import shared
from hauberk.event import Event
from hauberk_replay._bound import capacity, capacity_of_span
from hauberk_replay._local import LocalNonces
from hauberk_replay._mark import Mark
from hauberk_replay._nonces import Nonces
from hauberk_replay._options import Options, sqlite_path


@final
class Memory:
    """Nonces that are open while somebody uses them."""

    def __init__(self, key: tuple[object, ...], nonces: Nonces) -> None:
        self.key: Final = key
        """Memories of one key are one."""
        self.nonces: Final = nonces
        self._users = 0

    async def enter(self) -> None:
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

    async def leave(self) -> None:
        """Use it no more; the last closes it."""
        if self._users:
            self._users -= 1
            if not self._users:
                await self.nonces.close()


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

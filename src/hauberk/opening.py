"""Which plugins of a policy are open: opened one by one, closed in reverse, all of them or none.

A plugin that records is opened first, so that nothing the others say is lost. In a reload a new plugin first takes over
what it needs of the one of the same name that runs (``adopt``); a plugin object that the host made is in both policies,
and is neither opened nor closed again.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any, Final, Self

from hauberk.plugins import Loaded
from hauberk.refusals import ConfigError, PluginError
from hauberk.sources import Sources

_PATIENCE: Final = 60.0
"""Seconds that one plugin of a reload, or one that closes, may take: while it hangs all others wait for it."""


class Opened:
    """The plugins of one policy that are open."""

    def __init__(self) -> None:
        self._plugins: list[Any] = []
        """In the order in which they were opened."""
        self.sources: Final = Sources()
        """What they read by themselves, as it was just before."""

    @classmethod
    async def all_of(cls, loaded: Mapping[str, Loaded], running: Mapping[str, Loaded] | None = None) -> Self:
        """Open the plugins of a policy, beside those that run.

        Raises:
            ConfigError: The operator must change something; those opened before are closed again.
            PluginError: One cannot open, or cannot take over; as above.
        """
        opened, seconds = cls(), None if running is None else _PATIENCE
        running = {} if running is None else running
        try:
            for one in sorted(loaded.values(), key=_records_nothing):
                if hasattr(one.plugin, "sources"):
                    opened.sources.add(one.name, await _called(one, "name its files", one.plugin.sources))
                before = running.get(one.name)
                if before is None or before.plugin is not one.plugin:
                    await opened._open(one, before, seconds)
                else:
                    opened._plugins.append(one.plugin)
        except BaseException:
            await opened.close(keep=running)
            raise
        return opened

    async def _open(self, loaded: Loaded, before: Loaded | None, seconds: float | None) -> None:
        plugin, adopts = loaded.plugin, before is not None and hasattr(loaded.plugin, "adopt")
        if before is not None and adopts:
            self._plugins.append(plugin)  # before it opens: it may hold what it took over, so it is closed in any case
            await _called(loaded, "take over", plugin.adopt, before.plugin, seconds=seconds)
        if hasattr(plugin, "open"):
            await _called(loaded, "open", plugin.open, seconds=seconds)
        if not adopts:
            self._plugins.append(plugin)

    async def close(self, *, keep: Mapping[str, Loaded] | None = None) -> None:
        """Close the plugins, the last opened first; what they raise is raised once all of them are closed.

        Args:
            keep: A policy whose plugins stay open.
        """
        kept = [one.plugin for one in ({} if keep is None else keep).values()]
        async with AsyncExitStack() as stack:
            for plugin in self._plugins:
                if hasattr(plugin, "close") and not any(plugin is one for one in kept):
                    stack.push_async_callback(_closed, plugin)
        self._plugins.clear()


async def _closed(plugin: Any) -> None:
    """Close a plugin; one that does not end must not keep the others open.

    Raises:
        TimeoutError: It took too long.
    """
    async with asyncio.timeout(_PATIENCE):
        await plugin.close()


def _records_nothing(loaded: Loaded) -> bool:
    return all(step.hook != "on_audit" for step in loaded.steps)


async def _called(loaded: Loaded, what: str, method: Any, *args: Any, seconds: float | None = None) -> Any:
    """Call a plugin's ``sources``, ``adopt`` or ``open``.

    Raises:
        PluginError: It raised, or took longer than that many seconds.
    """
    clock = asyncio.timeout(seconds)
    try:
        async with clock:
            answer = method(*args)
            return await answer if inspect.isawaitable(answer) else answer
    except (ConfigError, PluginError):
        raise
    except (Exception, SystemExit) as error:
        why = f"not within {seconds:g} s" if clock.expired() else f"{type(error).__name__}: {error}"
        raise PluginError(
            f"plugin {loaded.name!r} cannot {what} ({why})",
            hint="the host does not start without it",
        ) from error

"""Tools of one name on several servers of a host: told of, never decided on.

A server that shows a tool of a name that another one has already may be meant to be called in its place. What each
server shows is shared by all guards of the host (`hauberk.names`); here each list is compared with what the others
show. What others show is read at once, so that the event goes with the list; telling them is a disk's business, and
done in a thread, so that no list waits for it. If two servers start in the same moment, whoever tells second finds out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from hauberk import canon
from hauberk.event import Event
from hauberk.names import FILE_NAME, Holder, Learned, Names
from hauberk.principal import DOCTOR
from hauberk.refusals import ConfigError, Refused
from hauberk_sieve._limits import LIMITS
from hauberk_sieve._spelling import shown

Items = Mapping[str, str]
"""Digests by name."""
Held = Mapping[str, tuple[Holder, ...]]

_LABEL: Final = "hauberk/tool/v1"
_PLUGIN: Final = "sieve"


def of_guard(guard: Any) -> Shadows:
    """Return the shadows of a guard's host; its names are in the state directory."""
    return Shadows(lambda: Names(guard.config.state_dir / FILE_NAME, guard.host, now=guard.now), guard.emit)


class Shadows:
    """What other servers of the host show, and who tells them."""

    def __init__(self, names: Callable[[], Names], emit: Callable[[Event], None]) -> None:
        """Say where the names are; nothing is read yet.

        Args:
            names: Makes the shared names, at the first list.
            emit: Records an event that comes too late for its message.
        """
        self._make: Final = names
        self._emit: Final = emit
        self._names: Names | None = None
        self._telling: Final[set[asyncio.Task[None]]] = set()
        self._one: Final = asyncio.Lock()
        self._failed = ""

    def look(self, server: str, tools: Iterable[Mapping[str, Any]]) -> Event | None:
        """Return the event of names that other servers have, and let the others know of these.

        Args:
            server: Whose list it is.
            tools: Its entries, each with a name.
        """
        named = {tool["name"]: tool for tool in tools}
        if not named or server == DOCTOR.id:
            return None
        try:
            self._names = names = self._names or self._make()
            if names.is_known(server, "tools", named):
                return None
            held = names.held(server, "tools", named)
        except (ConfigError, OSError) as error:
            return next(iter(self._failure(server, error)), None)
        items = {name: _digest(tool) for name, tool in named.items()}
        self._start(names, server, items, held)
        return _shadowed(server, items, held) if held else None

    async def close(self) -> None:
        """Wait until the others know."""
        await asyncio.gather(*self._telling)

    def _start(self, names: Names, server: str, items: Items, held: Held) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # a hook that is called by hand
            for event in self._learned(names, server, items, held):
                self._emit(event)
            return
        if len(self._telling) < LIMITS.telling:  # what does not get a turn now is news at its next list
            task = loop.create_task(self._tell(names, server, items, held))
            self._telling.add(task)
            task.add_done_callback(self._telling.discard)

    async def _tell(self, names: Names, server: str, items: Items, held: Held) -> None:
        async with self._one:
            for event in await asyncio.to_thread(self._learned, names, server, items, held):
                self._emit(event)

    def _learned(self, names: Names, server: str, items: Items, held: Held) -> list[Event]:
        """Tell the others; return the events of what came of it."""
        try:
            learned = names.learn(server, "tools", items)
        except (ConfigError, OSError) as error:
            return self._failure(server, error)
        late = {name: holders for name, holders in learned.held.items() if name not in held}
        reason = _odd(learned)
        return [
            *([_shadowed(server, items, late)] if late else []),
            *([_unshared(server, reason)] if reason else []),
        ]

    def _failure(self, server: str, error: ConfigError | OSError) -> list[Event]:
        """Return the event of names that cannot be shared, once for each reason."""
        reason = error.message if isinstance(error, ConfigError) else (error.strerror or type(error).__name__).lower()
        if reason == self._failed:
            return []
        self._failed = reason
        return [_unshared(server, reason)]


def _digest(tool: Mapping[str, Any]) -> str:
    try:
        return canon.digest(_LABEL, tool).removeprefix("sha256:")
    except Refused:  # no JSON: it will not get far
        return ""


def _shadowed(server: str, items: Items, held: Held) -> Event:
    same = [name for name, holders in held.items() if all(holder.digest == items[name] for holder in holders)]
    return Event(
        code="sieve.shadowed",
        severity="warning",
        server=server,
        plugin=_PLUGIN,
        count=len(held),
        details={
            "names": [shown(name) for name in list(held)[: LIMITS.shown_names]],
            "servers": sorted({shown(holder.server) for holders in held.values() for holder in holders}),
            "same_definition": len(same),
        },
    )


def _odd(learned: Learned) -> str:
    """Return what was lost on the way, if something was."""
    if learned.rebuilt:
        return "the shared names were damaged, and are begun anew"
    if learned.left_out:
        return f"{learned.left_out} names are over a bound, and not shared"
    if learned.forgotten:
        return f"there are too many servers; forgotten: {', '.join(map(shown, learned.forgotten))}"
    return ""


def _unshared(server: str, reason: str) -> Event:
    return Event(code="sieve.unshared", severity="warning", server=server, plugin=_PLUGIN, details={"reason": reason})

"""What each server shows, told to all guards of a host, and read from them.

What others show is read at once, so that what is found goes with the list; telling them is a disk's business, and
done in a thread, so that no list waits for it. If two servers start in the same moment, whoever tells second finds
out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from hauberk import canon
from hauberk.event import Event
from hauberk.names import FILE_NAME, Kind, Learned, Names
from hauberk.refusals import ConfigError, Refused
from hauberk_sieve._limits import LIMITS
from hauberk_sieve._spelling import shown
from hauberk_sieve.names._others import Held, Others

Items = Mapping[str, str]
"""Digests by name."""
Definitions = Mapping[str, Mapping[str, Any]]
"""Entries of a list by name."""

_LABELS: Final[dict[Kind, str]] = {"tools": "hauberk/tool/v1", "prompts": "hauberk/prompt/v1"}
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
        self._others: Final[dict[Kind, Others]] = {}
        self._telling: Final[set[asyncio.Task[None]]] = set()
        self._one: Final = asyncio.Lock()
        self._failed = ""

    def others(self, kind: Kind) -> Others:
        """Return what all servers show; the same object as long as that is the same.

        Raises:
            ConfigError: It cannot be read.
            OSError: The disk failed.
        """
        self._names = names = self._names or self._make()
        now, before = names.shown(kind), self._others.get(kind)
        if before is None or before.shown is not now:
            before = self._others[kind] = Others(now)
        return before

    def tell(self, server: str, kind: Kind, entries: Definitions, held: Iterable[str] = ()) -> bool:
        """Let the other guards know what a server shows; return whether they do already.

        Args:
            server: Whose list it is.
            kind: What is listed.
            entries: What it shows.
            held: The names that are known to be others' as well.
        """
        try:
            self._names = names = self._names or self._make()
            if not entries or names.is_known(server, kind, entries):
                return True
        except (ConfigError, OSError) as error:
            self._report(self.failure(server, error))
            return False
        items = {name: digest(kind, entry) for name, entry in entries.items()}
        self._start(names, server, kind, items, frozenset(held))
        return False

    async def close(self) -> None:
        """Wait until the others know."""
        await asyncio.gather(*self._telling)

    def failure(self, server: str, error: ConfigError | OSError) -> list[Event]:
        """Return the event of names that cannot be shared, once for each reason."""
        reason = error.message if isinstance(error, ConfigError) else (error.strerror or type(error).__name__).lower()
        if reason == self._failed:
            return []
        self._failed = reason
        return [_unshared(server, reason)]

    def _report(self, events: Iterable[Event]) -> None:
        for event in events:
            self._emit(event)

    def _start(self, names: Names, server: str, kind: Kind, items: Items, held: frozenset[str]) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # a hook that is called by hand
            self._report(self._learned(names, server, kind, items, held))
            return
        if len(self._telling) < LIMITS.telling:  # what does not get a turn now is news at its next list
            task = loop.create_task(self._tell(names, server, kind, items, held))
            self._telling.add(task)
            task.add_done_callback(self._telling.discard)

    async def _tell(self, names: Names, server: str, kind: Kind, items: Items, held: frozenset[str]) -> None:
        async with self._one:
            self._report(await asyncio.to_thread(self._learned, names, server, kind, items, held))

    def _learned(self, names: Names, server: str, kind: Kind, items: Items, held: frozenset[str]) -> list[Event]:
        """Tell the others; return the events of what came of it."""
        try:
            learned = names.learn(server, kind, items)
        except (ConfigError, OSError) as error:
            return self.failure(server, error)
        late = {name: holders for name, holders in learned.held.items() if name not in held}
        reason = _odd(learned)
        return [
            *([shadowed(server, items, late)] if late else []),
            *([_unshared(server, reason)] if reason else []),
        ]


def digest(kind: Kind, entry: Mapping[str, Any]) -> str:
    """Return the digest by which others know a definition."""
    try:
        return canon.digest(_LABELS[kind], entry).removeprefix("sha256:")
    except Refused:  # no JSON: it will not get far
        return ""


def shadowed(server: str, items: Items, held: Held, action: str = "logged") -> Event:
    """Return the event of names that others have.

    Args:
        server: Who shows them.
        items: The digest of each definition that it shows, by name.
        held: Who else has which, by the name that this server shows.
        action: What becomes of them: ``logged`` or ``blocked``.
    """
    same = [name for name, holders in held.items() if all(holder.digest == items.get(name) for holder in holders)]
    return Event(
        code="sieve.shadowed",
        severity="warning",
        action="blocked" if action == "blocked" else "logged",
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

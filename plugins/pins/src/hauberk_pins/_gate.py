"""What the hooks do: which messages are looked at, what becomes of them, and who waits for a list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from weakref import WeakKeyDictionary

from hauberk.connection import Connection
from hauberk.event import Event
from hauberk.listings import LISTS, Listing
from hauberk.message import Message
from hauberk.refusals import ConfigError, Refused
from hauberk.verdict import Deny
from hauberk_pins import _items, _options, _sight, _uses
from hauberk_pins._book import Book
from hauberk_pins._decide import Stance
from hauberk_pins._items import Key
from hauberk_pins._judge import UNLISTED, Judge
from hauberk_pins._limits import LIMITS
from hauberk_pins._probes import FIXED
from hauberk_pins._relist import Relister
from hauberk_pins._sight import Sight
from hauberk_pins._store import Store
from hauberk_pins._visible import shown
from hauberk_pins._writer import Writer

_RESULTS: Final = (*LISTS, "initialize", "server/discover")
_SHOWS: Final = (*_RESULTS, *_sight.METHODS, _uses.UPDATED)
OUT: Final = (*_uses.REQUESTS, *_SHOWS)
IN: Final = (*_SHOWS, *_uses.REQUESTS)


def is_lenient(plugin: Any, guard: Any) -> bool:
    """Whether nothing is ever refused, for no server."""
    servers = (None, *guard.config.servers_of(plugin.name))
    return all(guard.options_for(plugin, server).stance.lenient for server in servers)


class Gate:
    """The pins of one guard, and what its connections were shown."""

    def __init__(self, plugin: Any, options: _options.Options, guard: Any) -> None:
        self._plugin: Final = plugin
        self._guard: Final = guard
        self.enforces: Final = options.mode == "enforce"
        lock = _options.lock_path(options, guard.config)
        self.book: Final = Book(Store(guard.config.state_dir, lock), lock, guard.host, FIXED)
        self.sights: WeakKeyDictionary[Connection, Sight] = WeakKeyDictionary()
        self._judges: Final[dict[str, Judge]] = {}
        self._relister: Final = Relister(getattr(guard, "guard", guard))
        self.writer: Final = Writer(self.book, self._lost)

    def open(self) -> None:
        """Read what is pinned.

        Raises:
            ConfigError: It cannot be used.
        """
        self.book.open()
        trusted = self.book.trusted
        if trusted.generation:
            details = {"generation": trusted.generation, "servers": len(trusted.servers)}
            self._guard.emit(Event(code="pins.loaded", category="system", plugin="pins", details=details))

    async def close(self) -> None:
        """Stop asking servers for lists, and write what is not written yet."""
        await self._relister.close()
        await self.writer.close()

    def judge(self, server: str) -> Judge:
        """Return who decides about one server."""
        found = self._judges.get(server)
        if found is None:
            while len(self._judges) >= LIMITS.servers:
                del self._judges[next(iter(self._judges))]
            stance: Stance = self._guard.options_for(self._plugin, server).stance
            found = self._judges[server] = Judge(self.book, server, stance, enforces=self.enforces)
        return found

    def sight(self, connection: Connection) -> Sight:
        """Return what a connection was shown."""
        found = self.sights.get(connection)
        if found is None:
            found = self.sights[connection] = Sight()
        if connection.held:
            found.held(connection.held)
        return found

    def refresh(self) -> None:
        """Take up what somebody trusted meanwhile.

        Raises:
            Refused: ``pins.unreadable``: it cannot be used, so nobody can tell what is pinned.
        """
        try:
            self.book.refresh(self._guard.clock())
        except (ConfigError, OSError) as error:
            raise unreadable(error) from None

    def now(self) -> float:
        """Return the seconds since 1970."""
        found: float = self._guard.now()
        return found

    def emit(self, event: Event) -> None:
        """Record an event that belongs to no message."""
        self._guard.emit(event)

    def _lost(self, error: Exception) -> None:
        """Say that what was seen could not be recorded."""
        details = {"reason": why(error)}
        self._guard.emit(Event(code="pins.unrecorded", severity="warning", plugin="pins", details=details))

    def seen(self, message: Message, connection: Connection) -> Message | None:
        """Refuse what is used and not pinned, and hide it from what a server shows.

        Raises:
            Refused: It is used.
        """
        keys = _uses.used(message)
        if not keys:
            return self.shown(message, connection)
        check(self.refusal(keys, connection))
        return None

    # --- what is shown ---

    def shown(self, message: Message, connection: Connection) -> Message | None:
        """Hide what may not be used from what a server shows."""
        if message.toward != "client":
            return None
        if message.kind == "notification" and message.method in _sight.METHODS:
            self.sight(connection).changed(message.method)
        elif message.kind == "notification" and message.method == _uses.UPDATED:
            check(self.refusal([_uses.named(message)], connection, stale=True))
        elif message.kind == "result" and message.method in _RESULTS:
            self.refresh()
            listing = LISTS.get(message.method)
            return (
                self._introduced(message, connection) if listing is None else self._listed(message, connection, listing)
            )
        return None

    def _listed(self, message: Message, connection: Connection, listing: Listing) -> Message | None:
        sent = message.original.result or {}
        entries, result = sent.get(listing.member), message.result or {}
        current = result.get(listing.member)
        if not isinstance(entries, list) or not isinstance(current, list):
            raise Refused(
                "pins.malformed_list",
                f"server '{shown(connection.server)}' answered {message.method} without an array of {listing.member}",
                rule=f"{listing.member} is an array",
                hint="report it to the author of the server",
            )
        last = not isinstance(sent.get("nextCursor"), str)
        outcome = self.judge(connection.server).page(
            self.sight(connection), listing, entries, message.result_digest, last=last
        )
        changes = self._told(message, connection)
        self.writer.wake()
        for event in (*outcome.events, *outcome.once):
            message.note(event)
        if outcome.events:  # whatever is hidden is an event
            kept = [entry for entry in current if _is_kept(entry, listing.key, outcome.hidden)]
            if len(kept) < len(current):
                changes[listing.member] = kept
        return message.with_result({**result, **changes}) if changes else None

    def _told(self, message: Message, connection: Connection) -> dict[str, Any]:
        """Judge who a server says it is in a list (2026-07-28); return what is shown in place of it."""
        sent, meta = (message.original.result or {}).get("_meta"), (message.result or {}).get("_meta")
        info = sent.get(_items.INFO_META) if isinstance(sent, dict) else None
        if info is None:
            return {}
        hidden, events = self.judge(connection.server).told(self.sight(connection), info)
        for event in events:
            message.note(event)
        if not hidden or not isinstance(meta, dict):
            return {}
        return {"_meta": {**meta, _items.INFO_META: {"name": connection.server, "version": ""}}}

    def _introduced(self, message: Message, connection: Connection) -> Message | None:
        sent, result = message.original.result or {}, dict(message.result or {})
        hidden, events = self.judge(connection.server).introduced(self.sight(connection), sent)
        self.writer.wake()
        for event in events:
            message.note(event)
        if not hidden:
            return None
        nobody = {"name": connection.server, "version": ""}
        if _items.INSTRUCTIONS[1] in hidden:
            result.pop("instructions", None)
        if _items.SERVER_INFO[1] in hidden and "serverInfo" in result:
            result["serverInfo"] = nobody
        if _items.META_INFO[1] in hidden and isinstance(result.get("_meta"), dict):
            result["_meta"] = {**result["_meta"], _items.INFO_META: nobody}
        return message.with_result(result)

    # --- what is used ---

    def refusal(
        self, keys: Sequence[Key], connection: Connection, *, dry: bool = False, stale: bool = False
    ) -> Deny | None:
        """Return why items of one kind may not be used, if any may not.

        Args:
            keys: The items.
            connection: Who uses them.
            dry: As of `Judge.refusal`.
            stale: As of `Judge.refusal`.
        """
        self.refresh()
        judge, sight = self.judge(connection.server), self.sight(connection)
        if keys[0][0] == "resource":
            return judge.read_refusal(sight, [uri for _, uri in keys], stale=stale)
        return judge.refusal(sight, keys[0], dry=dry)

    async def refusal_after_list(
        self, keys: Sequence[Key], connection: Connection, params: Any, seconds: float
    ) -> Deny | None:
        """Return the same, of what the server shows now where that may have changed."""
        refused = self.refusal(keys, connection)
        if refused is None or refused.code != UNLISTED:
            return refused
        await self._relister.list(connection, keys[0][0], params, seconds)
        return self.refusal(keys, connection)


def unreadable(error: Exception) -> Refused:
    """Return the refusal of whatever needs pins that cannot be read."""
    return Refused("pins.unreadable", why(error), rule="pins can be read", hint="hauberk pins verify")


def why(error: Exception) -> str:
    """Return what went wrong with a file."""
    return error.message if isinstance(error, ConfigError) else (getattr(error, "strerror", None) or "").lower()


def check(refused: Deny | None) -> None:
    """Raise what a Deny says, if there is one."""
    if refused is not None:
        raise Refused(refused.code, refused.reason, rule=refused.rule, hint=refused.hint)


def _is_kept(entry: Any, key: str, hidden: frozenset[str]) -> bool:
    name = entry.get(key) if isinstance(entry, dict) else None
    return isinstance(name, str) and len(name) <= LIMITS.key_chars and name not in hidden

"""Scan a message by the rules that hold for its server, and do what they say.

The rules:

1. A list is scanned as the server sent it, and what was found is remembered by its digest: one that comes again
   unchanged costs nothing. All else is scanned as it stands.
2. Rules are made at first use, anew each day (UTC), and shared by servers for which the same ones hold.
3. Whatever fails here is raised, and the core refuses the message.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from hauberk import files
from hauberk.connection import Connection
from hauberk.listings import LISTS
from hauberk.message import Message
from hauberk.refusals import ConfigError, Refused
from hauberk_sieve._limits import LIMITS
from hauberk_sieve.text import _events, _rules
from hauberk_sieve.text._hidden import Hidden
from hauberk_sieve.text._judge import Outcome, carried, clean_items, judge, refused
from hauberk_sieve.text._leaves import Leaves, flat, walk
from hauberk_sieve.text._options import is_path
from hauberk_sieve.text._packs import BUILTIN, PackError, Packs
from hauberk_sieve.text._parts import part_of, place_of
from hauberk_sieve.text._rules import Scanners
from hauberk_sieve.text._scan import NOTHING, Found, Scanner

if TYPE_CHECKING:
    from hauberk_sieve._mesh import Setting
    from hauberk_sieve.text._options import TextOptions

_MEMBERS: Final = 3


class Reader:
    """Scans the messages of all connections of one guard."""

    def __init__(self, setting: Setting, hidden: Hidden) -> None:
        self.setting: Final = setting
        self._now: Final = setting.guard.now
        self._hidden: Final = hidden
        self._packs: Final[dict[tuple[str, ...], Packs]] = {}
        self._made: Final[dict[str, Scanners]] = {}
        self._shared: Final[dict[tuple[Any, ...], Scanners]] = {}

    def check(self, tables: Iterable[TextOptions]) -> None:
        """Read the packs that tables name, check what they suppress, and tell what is suppressed no longer.

        Raises:
            ConfigError: The operator must change something.
        """
        day = _rules.today(self._now())
        for table in tables:
            if (rule := _rules.unknown(table, self._packs_of(table))) is not None:
                raise ConfigError(
                    f"[sieve.text] suppress: there is no rule {rule!r} in the packs {', '.join(table.packs)}",
                    hint="a rule is called '<pack>.<id>'; a pack that is not loaded needs no suppression",
                )
            for ended in _rules.expired(table, day):
                self.setting.guard.emit(_events.lapsed(ended))

    def scanners(self, server: str) -> Scanners:
        """Return the scanners for one server."""
        found = self._made.get(server)
        if found is not None and self._now() < found.until:
            return found
        if found is not None or len(self._made) >= LIMITS.servers:
            self._made.clear()
            self._shared.clear()
        found = self._made[server] = self._scanners(server)
        return found

    def _scanners(self, server: str) -> Scanners:
        table: TextOptions = self.setting.of(server).text
        day = _rules.today(self._now())
        rules = tuple(_rules.effective(table, self._packs_of(table), server, day))
        key = (table.packs, table.act, *(rule.id for rule in rules))
        shared = self._shared.get(key)
        if shared is None:
            shared = self._shared[key] = Scanners(rules, _rules.tomorrow(day))
        return shared

    def read(self, message: Message, connection: Connection, words: str | None = None) -> Message | None:
        """Return a message toward the client without what may not be read, or None if all of it may.

        Args:
            message: It.
            connection: The connection.
            words: All that can be read in it, where that is known and it is a result.

        Raises:
            Refused: It may not pass at all.
        """
        scanners = self.scanners(connection.server)
        if words is not None and scanners["results"].clears(words):
            return None
        scanner = scanners[place_of(message)]
        if message.method in LISTS and message.kind == "result":
            return self._read_list(message, connection, scanners, scanner)
        at, part = part_of(message)
        if words is None and (words := flat(part)) is not None and scanner.clears(words):
            return None
        leaves = walk(part, at)
        found = scanner.scan(leaves, suspect=words is not None)
        if found is NOTHING and not leaves.skipped:
            return None
        outcome = self._judged(message, connection, scanner, leaves, found)
        return None if outcome.data is message.data else with_data(message, outcome.data)

    def _read_list(
        self, message: Message, connection: Connection, scanners: Scanners, scanner: Scanner
    ) -> Message | None:
        original = message.original
        known = len(original.data) <= _MEMBERS  # the digest is of the result, and there may be more than that
        found = scanners.known.get(message.result_digest) if known else None
        if found is NOTHING and not self._hidden.knows(connection):
            return None
        at, part = part_of(original)
        leaves = walk(part, at)
        if found is None:
            found = scanner.scan(leaves)
            if known:
                scanners.remember(message.result_digest, found)
        if found is NOTHING and not self._hidden.knows(connection):
            return None
        outcome = self._judged(message, connection, scanner, leaves, found) if found is not NOTHING else None
        hidden = {} if outcome is None else outcome.hidden
        if not self._hidden.take(connection, clean_items(original.data, message.method, hidden), hidden):
            raise refused(next(iter(hidden.values())), f"it would hide more than {LIMITS.seen_tools} items")
        if outcome is None or not outcome.done:
            return None
        left = carried(outcome, original.data, message.data, message.method)
        if message.data is not original.data:  # an entry that others rewrote is no longer the one that was judged
            left = self._anew(message, left, scanner)
        return with_data(message, left)

    def _anew(self, message: Message, data: dict[str, Any], scanner: Scanner) -> dict[str, Any]:
        """Return a list without what may not be read in it as it stands; what was found was told of the original."""
        at, part = part_of(with_data(message, data))
        outcome = judge(scanner, scanner.scan(walk(part, at)), data, message.method, promised=False)
        return carried(outcome, data, data, message.method)

    def _judged(
        self, message: Message, connection: Connection, scanner: Scanner, leaves: Leaves, found: Found
    ) -> Outcome:
        """Return what becomes of a message, and leave the event that says so."""
        is_list = message.method in LISTS and message.kind == "result"
        data = message.original.data if is_list else message.data
        try:
            outcome = judge(scanner, found, data, message.method, promised=self._promises(message, connection))
        except Refused:
            message.note(_events.told(leaves, found, {}, action="blocked"))
            raise
        enforced = outcome.done and self.setting.options.mode == "enforce"
        message.note(_events.told(leaves, found, outcome.done, action="blocked" if enforced else "logged"))
        return outcome

    def _promises(self, message: Message, connection: Connection) -> bool:
        """Whether the result is of a tool that has an ``outputSchema``, or of one that nobody knows."""
        if message.kind != "result" or message.exchange is None or not message.exchange.tool:
            return False
        tool = self.setting.seen.tool(message.exchange.tool, connection)
        return tool is None or "outputSchema" in tool

    def _packs_of(self, table: TextOptions) -> Packs:
        packs = self._packs.get(table.packs)
        if packs is None:
            packs = self._packs[table.packs] = self._loaded(table.packs)
        return packs

    def _loaded(self, names: tuple[str, ...]) -> Packs:
        try:
            return Packs.load(names, self._file)
        except PackError as error:
            raise ConfigError(
                f"cannot use a pack of [sieve.text]: {error}", hint="docs/rule-packs.md says what a pack holds"
            ) from None

    def _file(self, name: str) -> bytes:
        """Return the text of a pack of the operator's own, which nobody else may change."""
        if not is_path(name):
            raise PackError(f"there is no pack {name!r}, expected one of {', '.join(BUILTIN)}, or a path")
        return files.read_trusted(self.setting.guard.config.resolve(Path(name)))


def with_data(message: Message, data: dict[str, Any]) -> Message:
    """Return a message with other content."""
    return msgspec.structs.replace(message, data=data, first=message.original)

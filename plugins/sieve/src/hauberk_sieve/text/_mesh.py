"""The mesh of text: what a model reads is scanned before it is read.

Nothing of the rules is loaded before the first message toward the client, unless a pack of the operator's own has to be
read: a host that starts pays for what it needs.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from hauberk.connection import Connection
from hauberk.message import Message, ToolCall
from hauberk.verdict import Deny
from hauberk_sieve._mesh import Mesh, Setting
from hauberk_sieve._settled import Judge
from hauberk_sieve._spelling import shown
from hauberk_sieve.text._hidden import Hidden
from hauberk_sieve.text._options import is_path

if TYPE_CHECKING:
    from hauberk.probe import Probe
    from hauberk_sieve.text._options import TextOptions
    from hauberk_sieve.text._reader import Reader

_USES: Final = {
    "prompts/get": ("prompts", "name"),
    "resources/read": ("resources", "uri"),
    "resources/subscribe": ("resources", "uri"),
}
"""Requests that use an item of a list by its name, beside a tool's call."""


class Text(Mesh):
    """Scans every leaf that reaches a model, and hides, cuts or refuses what rules find."""

    word = "text"
    everything = True  # what no revision knows can be read too
    toward_server = tuple(_USES)

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self.hidden: Final = Hidden()
        self._reader: Reader | None = None

    def _tables(self) -> list[TextOptions]:
        servers = (None, *self.setting.guard.config.servers_of("sieve"))
        return [self.setting.guard.options_for(self.setting.plugin, server).text for server in servers]

    def sources(self) -> list[Path]:
        """Return the packs of the operator's own."""
        named = {name for table in self._tables() for name in table.packs if is_path(name)}
        return [self.setting.guard.config.resolve(Path(name)) for name in sorted(named)]

    def adopt(self, old: Any) -> None:
        """Go on hiding what was hidden."""
        self.hidden.adopt(old.hidden)

    def open(self) -> None:
        """Read the packs of the operator's own, and check what is suppressed.

        Raises:
            ConfigError: One is malformed, may be changed by others, or fails its own examples; or a rule that is
                suppressed is none.
        """
        tables = self._tables()
        if any(table.suppress or table.packs != type(table)().packs for table in tables):
            self.reader().check(tables)

    def reader(self) -> Reader:
        """Return what scans; it is made at first use."""
        if self._reader is None:
            from hauberk_sieve.text._reader import Reader

            self._reader = Reader(self.setting, self.hidden)
        return self._reader

    def look(self, message: Message, connection: Connection) -> Message | None:
        """Scan what goes toward the client; refuse what uses an item that was hidden."""
        if message.toward == "client":
            return (self._reader or self.reader()).read(message, connection)
        if message.kind == "request" and message.method in _USES and self.hidden.knows(connection):
            member, called = _USES[message.method]
            self._refuse(member, message.params.get(called), connection)
        return None

    def hear(self, message: Message, connection: Connection, words: str | None) -> Message | None:
        """Scan the words of an answer to a call."""
        return (self._reader or self.reader()).read(message, connection, words)

    def judge(self, call: ToolCall, connection: Connection) -> Deny | None:
        """Refuse a call of a tool that was hidden because of its text."""
        rule = self.hidden.rule(connection, "tools", call.name)
        if rule is None:
            return None
        return Deny("sieve.text", f"tool '{shown(call.name)}' was hidden because of its text", rule=rule)

    def again(self, call: ToolCall, connection: Connection) -> Judge | None:
        """Leave alone a tool that is not hidden; only a list hides one."""

    def probes(self) -> list[Probe]:
        """Return what shows that scanning is live."""
        from hauberk_sieve.text._probes import probes  # in development a host starts without them

        return probes(self.reader())

    def _refuse(self, member: str, name: Any, connection: Connection) -> None:
        rule = self.hidden.rule(connection, member, name)
        if rule is not None:
            from hauberk_sieve.text._judge import refused

            raise refused(rule, f"'{shown(name)}' was hidden because of its text")

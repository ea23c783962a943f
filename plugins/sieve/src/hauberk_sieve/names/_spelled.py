"""The mesh of spelling: what nobody can read as it is written is hidden and refused, before any rule is looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hauberk.connection import Connection
from hauberk.message import Message, ToolCall
from hauberk.verdict import Deny
from hauberk_sieve._limits import LIMITS
from hauberk_sieve._mesh import Mesh, PerServer, Setting
from hauberk_sieve._settled import Judge
from hauberk_sieve.names._findings import LISTS, USES, denied, name_of, named, refused, told, used, without

if TYPE_CHECKING:
    from hauberk.probe import Probe
    from hauberk_sieve.names._written import Written


class Spelled(Mesh):
    """Tells of, or refuses, names that are not what they look like by themselves."""

    word = "spelling"
    methods = (*LISTS, USES)

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self._clean: Final[dict[tuple[str, str], bytes]] = {}
        self._written: PerServer[Written] | None = None

    def look(self, message: Message, connection: Connection) -> Message | None:
        """Hide names of a list, and refuse a prompt."""
        if message.kind == "result" and message.toward == "client" and message.method in LISTS:
            return self._listed(message, connection.server)
        if (name := used(message)) is not None:
            checks = self._of(connection.server)
            finding = checks.finding("prompts", connection.server, name)
            if finding is not None and finding.denies(checks.options):
                raise refused(finding, connection.server, name)
        return None

    def _listed(self, message: Message, server: str) -> Message | None:
        key, whole = (server, message.method), message.first is None
        if whole and self._clean.get(key) == message.result_digest:
            return None
        checks = self._of(server)
        names = [name for entry in named(message) if (name := name_of(entry)) is not None]
        found = checks.findings(LISTS[message.method], server, names) if names else {}
        if not found:
            if whole and (key in self._clean or len(self._clean) < LIMITS.servers):
                self._clean[key] = message.result_digest
            return None
        for event in told(found, checks.options, blocking=self.setting.of(server).mode == "enforce"):
            message.note(event)
        return without(message, [name for name, finding in found.items() if finding.denies(checks.options)])

    def judge(self, call: ToolCall, connection: Connection) -> Deny | None:
        """Refuse a name that is hidden, listed or not."""
        server = connection.server
        checks = self._of(server)
        finding = checks.finding("tools", server, call.name)
        if finding is None:
            return None
        if finding.denies(checks.options):
            return denied(finding, server, call.name)
        for event in told({call.name: finding}, checks.options, blocking=False):
            call.note(event)
        return None

    def again(self, call: ToolCall, connection: Connection) -> Judge | None:
        """Tell each time of a name that is told of."""
        server = connection.server
        return None if self._of(server).finding("tools", server, call.name) is None else self.judge

    def probes(self) -> list[Probe]:
        """Return what shows that names are read."""
        from hauberk_sieve.names._probes import spelling

        return spelling(self.setting)

    def _of(self, server: str) -> Written:
        if self._written is None:
            from hauberk_sieve.names._written import Written  # the start does not wait for it

            self._written = PerServer(self.setting, Written)
        return self._written[server]

"""The plugin: every message and every call goes through the meshes, one after the other."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from hauberk.connection import Connection
from hauberk.hookspecs import hookimpl
from hauberk.layers import Layer
from hauberk.listings import LISTS
from hauberk.message import Message, ToolCall
from hauberk.refusals import Refused
from hauberk.verdict import Deny, Verdict
from hauberk_sieve import _options
from hauberk_sieve._mesh import Mesh, Setting
from hauberk_sieve._routes import Routes
from hauberk_sieve._seen import Seen
from hauberk_sieve._settled import Judges
from hauberk_sieve._words import words
from hauberk_sieve.access import Access
from hauberk_sieve.addresses import Addresses
from hauberk_sieve.asks import Asks
from hauberk_sieve.inner import InnerCalls
from hauberk_sieve.names import Names, Spelled
from hauberk_sieve.probing import Suspicion
from hauberk_sieve.schemas import Schemas
from hauberk_sieve.storms import Storms
from hauberk_sieve.text import Text
from hauberk_sieve.who import Who

if TYPE_CHECKING:
    from hauberk.probe import Probe

MESHES: Final[tuple[type[Mesh], ...]] = (
    Suspicion,
    Who,
    Spelled,
    InnerCalls,
    Access,
    Schemas,
    Asks,
    Addresses,
    Storms,
    Names,
    Text,
)
"""In the order in which a message meets them."""


class Sieve:
    """Hide, refuse and detect: what of its servers a host may see, call and be asked (S1.2-S1.4)."""

    name = "sieve"
    layer = Layer.POLICY
    must_judge = True
    Options = _options.Options
    safe_default = _options.SAFE

    def __new__(cls, options: _options.Options, guard: Any) -> Sieve:  # noqa: ARG004, PYI034 - see below
        """Make a patient one where a mesh has to wait for some server; where none has, no hook need wait."""
        servers = (None, *guard.config.servers_of(cls.name))
        if not any(mesh.patient(guard.options_for(cls, server)) for server in servers for mesh in MESHES):
            return super().__new__(cls)
        from hauberk_sieve._patient import Patient  # few need it

        return super().__new__(Patient)

    def __init__(self, options: _options.Options, guard: Any) -> None:
        self._seen: Final = Seen()
        setting = Setting(type(self), options, guard, self._seen)
        self.meshes: Final = setting.meshes
        for mesh in MESHES:
            setting.meshes[mesh.word] = mesh(setting)
        self._routes: Final = Routes(self.meshes.values())
        self.toward: Final = self._routes.toward
        self._suspicion: Final = setting.meshes[Suspicion.word]
        judging = (mesh for mesh in self.meshes.values() if type(mesh).judge is not Mesh.judge)
        self._judges: Final = Judges((mesh for mesh in judging if mesh.judges), self._seen)

    def sources(self) -> list[Path]:
        """Return the files that the meshes read."""
        return [path for mesh in self.meshes.values() for path in mesh.sources()]

    def adopt(self, old: Any) -> None:
        """Go on with what connections were shown, and with what the meshes know."""
        self._seen.adopt(old._seen)  # noqa: SLF001 - the same class
        for word, mesh in self.meshes.items():
            if word in old.meshes:
                mesh.adopt(old.meshes[word])

    def open(self) -> None:
        """Read what the meshes need.

        Raises:
            ConfigError: It cannot be used.
        """
        for mesh in self.meshes.values():
            mesh.open()

    async def close(self) -> None:
        """Finish what is under way."""
        for mesh in self.meshes.values():
            await mesh.close()

    @hookimpl
    def on_send(self, message: Message, connection: Connection) -> Message | None:
        """Let what leaves through the meshes."""
        return self._sifted(message, connection)

    @hookimpl
    def on_receive(self, message: Message, connection: Connection) -> Message | None:
        """Let what comes through the meshes."""
        return self._sifted(message, connection)

    @hookimpl
    def on_tool_call(self, call: ToolCall, connection: Connection) -> Verdict | None:
        """Refuse what a mesh refuses, listed or not."""
        verdict = self._judges.verdict(call, connection)
        if type(verdict) is Deny and not call.dry:
            self._suspicion.refused(call.message, connection)
        return verdict

    def probes(self) -> list[Probe]:
        """Return what shows that the meshes are live."""
        return [probe for mesh in self.meshes.values() for probe in mesh.probes()]

    def _sifted(self, message: Message, connection: Connection) -> Message | None:
        if message.method in LISTS:
            self._seen.take(message, connection)
        passed = message
        try:
            if message.method == "tools/call" and (said := words(message)) is not None:
                for hear in self._routes.hears:
                    changed = hear(passed, connection, said)
                    if changed is not None:
                        passed, said = changed, None
            else:
                for look in self._routes.of(message):
                    passed = look(passed, connection) or passed
        except Refused:
            self._suspicion.refused(message, connection)
            raise
        return None if passed is message else passed

"""The guard: the plugins of one host, loaded, frozen, open.

Loading fails closed. A plugin that is required and missing, that does not import, that breaks its contract, or that
cannot open stops the host from starting. A plugin without a table in the configuration is idle unless its class says
``safe_default``; `Guard.roster` says which plugins are idle and why.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AsyncExitStack, suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import msgspec

from hauberk import admission
from hauberk import policy as policies
from hauberk.bounds import Bounds
from hauberk.chains import Chains
from hauberk.config import Config
from hauberk.connection import Connection, Program, Role
from hauberk.event import Event, id_source
from hauberk.floods import Floods
from hauberk.loading import Standing
from hauberk.opening import Opened
from hauberk.plugins import Loaded
from hauberk.policy import Policy
from hauberk.principal import Principal
from hauberk.refusals import HookError, Refused
from hauberk.reloading import Reloaded, Reloader, policy_loaded, sever
from hauberk.session import Session
from hauberk.sinks import Recorder
from hauberk.sources import Sources
from hauberk.ways import Port


class Guard:
    """The plugins of one host. Use it as an async context manager, or let its first session open it."""

    def __init__(
        self,
        config: Config,
        objects: Iterable[Any] = (),
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        principal: Principal | None = None,
    ) -> None:
        """Make a guard of plugin objects; `load` finds and makes them.

        Args:
            config: The configuration.
            objects: Plugin objects, in listed order.
            clock: Monotonic seconds.
            now: Seconds since 1970.
            principal: Who speaks for the host; without it, ``host:`` and the name of the host.

        Raises:
            PluginError: A plugin breaks the contract.
        """
        self.host: Final = config.host
        self.clock: Final = clock
        self.now: Final = now
        self.next_id: Final = id_source()
        self.principal: Final = principal or Principal(id=f"host:{config.host}", kind="host", method="local")
        self.policy: Policy = policies.of_objects(self, config, tuple(objects))
        """The policy in force; a message takes it when it begins, and keeps it."""
        self.made: Callable[[Config], Policy] = partial(policies.of_objects, self, objects=tuple(objects))
        """Makes the policy of a configuration, from all that the guard was given besides."""
        self.floods: Final = Floods(self.note)
        """What comes from whoever dials, and is refused before there is a session."""
        self._sessions: Final[set[Session]] = set()
        self._opened = Opened()
        self._reloader: Final = Reloader(self)
        self.changing: Final = asyncio.Lock()
        self.is_open = False
        self.probing = False
        """Whether it is open for its controls to be tried, and for nothing else (`hauberk.doctor.run`)."""
        self._users = 0

    @classmethod
    def load(
        cls,
        config: Config | str | os.PathLike[str] | None = None,
        *,
        host: str = "default",
        objects: Iterable[Any] = (),
        disable: Iterable[str] = (),
        discover: bool = True,
    ) -> Self:
        """Load the configuration and the plugins that it asks for.

        Args:
            config: A `Config`, the path of a TOML file, or None for the user's own file, else the built-in defaults.
            host: Which ``[host.NAME]`` tables apply.
            objects: Further plugin objects, made by the caller.
            disable: Names to leave out, as ``-p no:NAME``; refused in production.
            discover: Whether to look for installed plugins at all.

        Raises:
            ConfigError: The operator must change something.
            PluginError: A plugin is missing or broken.
        """
        if not isinstance(config, Config):
            config = Config.read(None if config is None else Path(config), host=host)
        guard = cls(config)
        guard.made = partial(policies.load, guard, objects=tuple(objects), disable=tuple(disable), discover=discover)
        guard.policy = guard.made(config)
        return guard

    # --- the policy in force ---

    @property
    def config(self) -> Config:
        """The configuration in force."""
        return self.policy.config

    @property
    def bounds(self) -> Bounds:
        """The bounds in force."""
        return self.policy.bounds

    @property
    def chains(self) -> Chains:
        """The chains in force."""
        return self.policy.chains

    @property
    def recorder(self) -> Recorder:
        """The sinks in force."""
        return self.policy.recorder

    @property
    def loaded(self) -> Mapping[str, Loaded]:
        """The active plugins by name."""
        return self.policy.loaded

    @property
    def roster(self) -> tuple[Standing, ...]:
        """Which plugins are active, and why the others are not."""
        return self.policy.roster

    def options_for(self, plugin: Any, server: str | None = None) -> Any:
        """Return a plugin's options in force, merged for one server if one is named."""
        return self.policy.view.options_for(plugin, server)

    @property
    def sources(self) -> Sources:
        """What the plugins in force read by themselves, as it was when they were opened."""
        return self._opened.sources

    # --- life ---

    async def open(self) -> None:
        """Open each plugin: those that record first, so that nothing the others say is lost, then in listed order.

        Raises:
            PluginError: One cannot open, or in production a control is not live; those before it are closed again.
        """
        async with self.changing:
            if self.is_open:
                return
            opened = await Opened.all_of(self.policy.loaded)
            try:
                await self.prove(self.policy)
            except BaseException:
                await opened.close()
                raise
            self._opened = opened
            self.is_open = True
        started = Event(code="core.started", category="system", details=self._describe())
        loaded = policy_loaded(self.policy, "startup")
        with suppress(Refused):  # it has been reported, and what comes next is refused
            if (waiting := self.recorder.barrier([*map(self.complete, (started, loaded))])) is not None:
                await waiting

    async def prove(self, policy: Policy) -> None:
        """Send each control of a policy in production what it must stop, before anything passes through it.

        Raises:
            PluginError: A control is not live.
        """
        if policy.production and not self.probing:
            from hauberk import doctor  # only here: most hosts run in development

            await doctor.self_test(self, policy)

    def _describe(self) -> dict[str, Any]:
        active = sorted(self.policy.loaded)
        described = {"policy": self.config.version, "profile": self.config.profile, "plugins": active}
        local = self.policy.loaded.get("policy")
        return described | ({} if local is None else {"policy_file": local.version})

    async def close(self) -> None:
        """Close each session, record what waits, and close each plugin, the last opened first.

        What a plugin raises on the way is raised once all of them are closed.
        """
        async with self.changing:
            if not self.is_open:
                return
            self.is_open = False
            await self._reloader.stop()
            opened, self._opened = self._opened, Opened()
            async with AsyncExitStack() as ending:
                ending.push_async_callback(opened.close)
                for session in list(self._sessions):
                    await session.close()
                await self._reloader.end()
                self.floods.tell()
                self.note(Event(code="core.stopped", category="system"))
                await self.recorder.close()

    async def __aenter__(self) -> Self:
        self._users += 1
        try:
            await self.open()
        except BaseException:
            self._users -= 1
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._users -= 1
        if not self._users:
            await self.close()

    # --- reload ---

    async def reload(
        self, config: Config | str | os.PathLike[str] | None = None, *, changed_by: str | None = None
    ) -> Reloaded:
        """Put another policy in force: all of it, or nothing. Two reloads at once are one after the other.

        Messages on their way end in the policy in which they began. What a connection keeps from its start (its bounds,
        what ``on_connect`` settled) it keeps; clients are told that their lists may be others.

        Args:
            config: A `Config`, the path of a TOML file, or None to read again what is in force.
            changed_by: Who changed it, for the record: an authenticated principal, such as ``api:operator-123``;
                without it, the owner of the file.

        Returns:
            What changed; nothing where the file, ``policy.py``, and the files that plugins read, are those in force.

        Raises:
            ConfigError: The operator must change something; the old policy is still in force.
            PluginError: A plugin is missing, or cannot start; the old policy is still in force.
            HauberkError: The guard was closed meanwhile.
        """
        return await self._reloader.reload(config, changed_by)

    def put(self, policy: Policy, opened: Opened) -> Opened:
        """Put a policy in force, with those of its plugins that are open; return those of the one before."""
        before, self.policy, self._opened = self._opened, policy, opened
        return before

    # --- sessions ---

    async def connect(
        self, server: str, role: Role, *, target: str = "", peer: str = "", program: Program | None = None
    ) -> Connection:
        """Run ``on_connect`` for a connection that has no handshake, and record it; the first one opens the guard.

        Raises:
            ConfigError: The server has the name of the doctor's own.
            Refused: A plugin refused the connection, or it could not be recorded.
            PluginError: The guard was not open, and a plugin cannot open.
        """
        connection = await self.admit(server, role, target=target, peer=peer, program=program)
        try:
            await self.connected(connection)
        except BaseException:
            connection.end()
            raise
        return connection

    async def admit(self, server: str, role: Role, **known: Any) -> Connection:
        """Run ``on_connect`` for a connection whose handshake comes now (`hauberk.admission`)."""
        return await admission.admit(self, server, role, **known)

    async def connected(self, connection: Connection) -> None:
        """Record that a connection is made, once its peer is verified (`hauberk.admission`)."""
        await admission.connected(self, connection)

    def refused(self, connection: Connection, error: Refused | HookError) -> None:
        """Record that a connection is not made (`hauberk.admission`)."""
        admission.refused(self, connection, error)

    @property
    def sessions(self) -> tuple[Session, ...]:
        """The sessions that are open."""
        return tuple(self._sessions)

    def session(self, connection: Connection, near: Port, far: Port) -> Session:
        """Stand between two ports of a connection that was allowed."""
        session = Session(self, connection, near, far)
        self._sessions.add(session)
        sever(session)
        return session

    def forget(self, session: Session) -> None:
        """Let go of a session that has closed."""
        self._sessions.discard(session)

    # --- events ---

    def emit(self, event: Event) -> None:
        """Record an event that belongs to no message; for plugins with work of their own."""
        self.note(event)

    def note(self, *events: Event) -> None:
        """Record events that belong to no message."""
        if self.recorder:
            self.recorder.note([self.complete(event) for event in events])

    def complete(self, event: Event) -> Event:
        """Fill in id, time and host."""
        return msgspec.structs.replace(
            event,
            id=event.id or self.next_id(),
            time=event.time or self.now(),
            host=event.host or self.host,
            probe=event.probe or self.probing,
        )

    # --- hosts ---

    def wrap(self, target: Any = None, *, server: str) -> Any:
        """Return a transport for the SDK's ``Client`` or ``ClientSession``, with this guard in it.

        Args:
            target: What ``mcp.Client`` takes: ``StdioServerParameters``, a URL, a ``Transport``, a ``Server``; or
                ``tls://host:port``, ``unix:///path``. None is what ``[server.NAME]`` says.
            server: The server's name in rules and events.
        """
        from hauberk.hosts import sdk

        return sdk.wrap(self, target, server)

    def serve(self, read: Any, write: Any, *, server: str = "server") -> Any:
        """Return an async context manager with streams for an SDK ``Server``, with this guard in front of it."""
        from hauberk.hosts import sdk

        return sdk.serve(self, read, write, server)

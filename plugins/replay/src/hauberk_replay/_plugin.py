"""The hook: accept each message whose seal held once."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, Final, Self, cast

from hauberk.connection import Connection
from hauberk.hookspecs import hookimpl
from hauberk.layers import Layer
from hauberk.message import Message
from hauberk_replay import _options
from hauberk_replay._checker import Checker
from hauberk_replay._counters import Counters
from hauberk_replay._memory import Memory, memory

if TYPE_CHECKING:
    from hauberk.probe import Probe


class Replay:
    """A message is accepted once: its age, its expiry, and the memory of its nonce (S0.30-S0.34)."""

    name = "replay"
    layer = Layer.REPLAY
    Options = _options.Options

    def __new__(cls, options: _options.Options, guard: Any) -> Self:  # noqa: ARG004 - as `__init__`
        """Give one that waits where the memory is not in this process; where it is, no message has to."""
        if cls is not Replay or options.memory == "memory":
            return super().__new__(cls)
        from hauberk_replay._patient import Patient

        return cast("Self", super().__new__(Patient))

    def __init__(self, options: _options.Options, guard: Any) -> None:
        """Settle what is remembered where; nothing is opened before `open`.

        Raises:
            ConfigError: The options name no memory, or a server's table another one.
        """
        settings = guard.config
        _options.check_memory(options, settings)
        for server in settings.servers:
            _options.same_for(server, guard.options_for(self, server), options, settings)
        self._guard: Final = guard
        self._now: Final = guard.now
        self._window: Final = options.window
        windows = {server: guard.options_for(self, server).window for server in settings.servers}
        self._windows: Final = {server: window for server, window in windows.items() if window != self._window}
        self._memory: Memory = memory(options, guard)
        self._counters = Counters()
        self._checker = Checker(options.window, self._memory, self._counters)

    def adopt(self, old: Any) -> None:
        """Go on with the counters of all sessions, and with the nonces if they are kept in the same way."""
        self._counters = old._counters  # noqa: SLF001 - the same class
        if old._memory.key == self._memory.key:  # noqa: SLF001
            self._memory = old._memory  # noqa: SLF001
        else:
            self._memory.follow(old._memory)  # noqa: SLF001
        self._checker = Checker(self._window, self._memory, self._counters)

    async def open(self) -> None:
        """Be able to remember.

        Raises:
            ConfigError: The file of the memory cannot be used.
            PluginError: The store that hosts share cannot be reached.
        """
        await self._memory.open()

    async def close(self) -> None:
        """Let go of the memory."""
        await self._memory.close()

    @hookimpl
    def on_receive(self, message: Message, connection: Connection) -> Awaitable[None] | None:
        """Refuse a message that is too old, or came before; one without a seal is not for this plugin to judge.

        Returns:
            None; where the memory is not in this process, what `Patient` waits for.
        """
        proof = message.proof
        # What stands inside of a message has its proof, and comes with it: the message itself is judged, once.
        if proof is None or message.embedded is not None:
            return None
        window = self._windows.get(connection.server, self._window) if self._windows else self._window
        return self._checker.check(proof, self._now(), window)

    def probes(self) -> list[Probe]:
        """Return what shows that each check is live."""
        from hauberk_replay._probes import probes  # in development a host starts without them

        # They ask the memory itself: what is tried before a reload is no message of the new policy.
        return probes(Checker(self._window, self._memory.nonces, self._counters), self._guard)

"""What a sieve is made of: meshes, each with one idea, laid over one another.

The rules:

1. A mesh sees the messages of the methods that it names, in both directions, and every tool call.
2. A message meets them in the order in which they are listed. Each gets what those before it left; ``message.original``
   is what entered the guard, and who judges a definition reads that.
3. Of the verdicts on a call the strictest stands, and the first Deny is the last word.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from hauberk.connection import Connection
from hauberk.message import Message, ToolCall
from hauberk.verdict import Verdict
from hauberk_sieve._limits import LIMITS
from hauberk_sieve._settled import Judge

if TYPE_CHECKING:
    from hauberk.probe import Probe
    from hauberk_sieve._options import Options
    from hauberk_sieve._seen import Seen

T = TypeVar("T")


class Setting:
    """What the meshes of one sieve are made from."""

    def __init__(self, plugin: Any, options: Options, guard: Any, seen: Seen) -> None:
        self.plugin: Final = plugin
        self.options: Final = options
        """``[sieve]`` as it holds for no server in particular."""
        self.guard: Final = guard
        self.seen: Final = seen
        """The definitions that connections were shown."""
        self.meshes: Final[dict[str, Any]] = {}
        """The meshes of this sieve by word. While it is made, a mesh finds those that stand before it."""

    def of(self, server: str) -> Options:
        """Return the options that hold for one server."""
        options: Options = self.guard.options_for(self.plugin, server)
        return options


class Mesh:
    """One mesh; it does nothing."""

    word = ""
    """Unique in a sieve; a reload hands the state of the old mesh to the new one of this word."""
    methods: tuple[str, ...] = ()
    """The methods of the messages that `look` gets: requests, results, errors and notifications, in both directions."""
    toward_server: tuple[str, ...] | None = None
    """The methods of those that travel to the server, where they are fewer."""
    judges: bool = True
    """Whether `judge` may have anything to say under these options."""
    allows: bool = False
    """Whether `judge` may allow, and not only refuse."""
    passes_text: bool = False
    """Whether `look` leaves alone the result of a call that is text and nothing else (`hauberk_sieve._routes`)."""
    everything: bool = False
    """Whether `look` gets every message instead, also those of methods that only the configuration knows."""

    def __init__(self, setting: Setting) -> None:
        self.setting: Final = setting

    @staticmethod
    def patient(options: Options) -> bool:  # noqa: ARG004 - for those that are
        """Whether `settle` has to wait for something, under these options."""
        return False

    def sources(self) -> Iterable[Path]:
        """Return the files that `open` reads."""
        return ()

    def adopt(self, old: Any) -> None:
        """Take over what the mesh of this word knew before a reload."""

    def open(self) -> None:
        """Read what is needed, before anything passes.

        Raises:
            ConfigError: It cannot be used.
        """

    async def close(self) -> None:
        """Finish what is under way."""

    def look(self, message: Message, connection: Connection) -> Message | None:
        """Return a message rewritten, or None to leave it as it is.

        Raises:
            Refused: It may not pass.
        """

    def hear(self, message: Message, connection: Connection, words: str | None) -> Message | None:  # noqa: ARG002
        """Do what `look` does, of the answer to a call that is texts (`hauberk_sieve._words`).

        Args:
            message: It.
            connection: The connection.
            words: All that can be read in it; None where a mesh before this one has made another message of it.
        """
        return self.look(message, connection)

    async def settle(self, message: Message, connection: Connection) -> Message | None:
        """Do after every `look`, where a mesh is patient, what has to wait; return and raise as `look` does."""

    def judge(self, call: ToolCall, connection: Connection) -> Verdict | None:
        """Return a verdict on a tool call, or None."""

    def again(self, call: ToolCall, connection: Connection) -> Judge | None:  # noqa: ARG002 - for those that need them
        """Return what later calls of the tool have to be asked, after `judge` had nothing against this one.

        Return None where it would have nothing against any call of the tool by the same principal, whatever its
        arguments, until a list passes on the connection (`hauberk_sieve._settled`). What is returned is not asked about
        a message that a plugin made another one of.
        """
        return self.judge

    def probes(self) -> list[Probe]:
        """Return what shows that this mesh is live."""
        return []


class PerServer(Generic[T]):
    """Something made of the options of each server, kept for the servers that were asked for last."""

    def __init__(self, setting: Setting, make: Callable[[Options], T]) -> None:
        self._setting: Final = setting
        self._make: Final = make
        self._made: Final[dict[str, T]] = {}
        self._general: Final = setting.options, make(setting.options)

    def __getitem__(self, server: str) -> T:
        found = self._made.get(server)
        return self._added(server) if found is None else found

    def __len__(self) -> int:
        return len(self._made)

    def _added(self, server: str) -> T:
        if len(self._made) >= LIMITS.servers:
            del self._made[next(iter(self._made))]
        general, made = self._general
        options = self._setting.of(server)
        found = self._made[server] = made if options == general else self._make(options)
        return found

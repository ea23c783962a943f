"""A shared store for what several hosts must agree on: Redis or Valkey, over one connection.

Limits, the memory of nonces and the state of breakers are a plugin's own; this is how a plugin reaches what it shares
with other hosts. The rules:

1. One connection, on which calls are pipelined. Each call is one round trip, and has a deadline.
2. `SharedStore.open` reaches the store, or the host does not start.
3. A store that is lost is looked for by one task, after 0.1 s, then twice as long each time up to 5 s, each wait cut
   by chance to between a half and the whole. Until it is found each call fails at once: nobody waits, nobody storms it.
4. `on_change` is told once when it is lost, and once when it is found again. What the plugin refuses, or bounds by
   itself meanwhile, is the plugin's choice, and its configuration's.
5. `on_reached` runs on each new connection before anybody's call does; if it raises, the store stays down.
6. A call that failed may have been done. Whoever cannot live with that writes a script that may be run twice.

A key has the form ``hauberk:<plugin>:…``. The clock of what is shared is the store's own (``TIME`` in a script).
The client is imported when a store is opened, by its extra: ``pip install 'hauberk[redis]'``.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final, final

from hauberk import _store_address
from hauberk._store_line import Line, Script, StoreDown, StoreRefused, Unheard, Word, reach
from hauberk.refusals import ConfigError, HauberkError, PluginError

TIMEOUT: Final = 0.25
"""Seconds that a call may take."""
RETRY_FIRST: Final = 0.1
RETRY_MOST: Final = 5.0
"""Seconds between two looks for a store that is lost."""

__all__ = ["Line", "Script", "SharedStore", "StoreDown", "StoreRefused", "Word", "check_uri", "is_uri"]


def check_uri(uri: str, *, production: bool) -> None:
    """Check that a URI names a shared store: ``redis://``, ``rediss://``, ``valkey://``, ``valkeys://``, ``unix://``.

    Args:
        uri: What is given.
        production: Whether nothing may cross a network in clear; this machine's own addresses are none.

    Raises:
        ConfigError: It does not, or is reached in clear where nothing may be; its text holds no password.
    """
    address = _store_address.parse(uri)
    if production and address.in_clear:
        raise ConfigError(
            f"the shared store {address} is reached in clear", hint="use TLS in production: rediss://, or unix://"
        )


def is_uri(text: str) -> bool:
    """Whether a text is meant as the URI of a shared store."""
    return text.partition("://")[0] in ("redis", "rediss", "valkey", "valkeys", "unix") and "://" in text


@final
class SharedStore:
    """One store; use it from the event loop that opened it."""

    def __init__(
        self,
        uri: str,
        *,
        timeout: float = TIMEOUT,
        on_change: Callable[[bool, str], None] | None = None,
        on_reached: Callable[[Line], Awaitable[None]] | None = None,
        chance: Callable[[], float] = lambda: secrets.randbelow(1000) / 1000,
    ) -> None:
        """Read the address; nothing is reached yet.

        Args:
            uri: Where it is.
            timeout: What each call may take (seconds).
            on_change: Told ``(found, why)``, once when the store is lost and once when it is found again.
            on_reached: What must be done or be so on each new connection; raises `StoreDown` or `PluginError`.
            chance: A number from 0 to 1, for the waits between two looks.

        Raises:
            ConfigError: The URI names no store.
        """
        self._address: Final = _store_address.parse(uri)
        self._timeout: Final = timeout
        self._on_change: Final = on_change
        self._on_reached: Final = on_reached
        self._chance: Final = chance
        self._line: Line | None = None
        self._why = "it was not opened"
        self._looking: asyncio.Task[None] | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"SharedStore({str(self._address)!r}, {'up' if self.up else 'down'})"

    @property
    def where(self) -> str:
        """The address, without its password."""
        return str(self._address)

    @property
    def up(self) -> bool:
        """Whether calls are sent; without it they fail at once."""
        return self._line is not None

    @property
    def why(self) -> str:
        """Why it is down."""
        return self._why

    # --- life ---

    async def open(self) -> None:
        """Reach the store.

        Raises:
            PluginError: It cannot be reached, or is not fit; a host does not start without it.
            ConfigError: The files that its address names cannot be read.
        """
        self._closed = False
        try:
            self._line = await self._reach()
        except ImportError:
            raise PluginError(
                f"the shared store {self.where} needs the package 'redis'", hint="pip install 'hauberk[redis]'"
            ) from None
        except StoreRefused as error:
            raise PluginError(
                error.message,
                hint="let its user do what docs/shared-store.md names, and nobody else write hauberk:* keys",
            ) from None
        except StoreDown as error:
            raise PluginError(
                error.message, hint="start it, or correct its address; see docs/shared-store.md"
            ) from None

    async def close(self) -> None:
        """Let go of it; calls in flight fail."""
        self._closed = True
        looking, self._looking = self._looking, None
        if looking is not None:
            looking.cancel()
            with suppress(asyncio.CancelledError):
                await looking
        line, self._line, self._why = self._line, None, "it was closed"
        if line is not None:
            await line.closed()

    # --- calls ---

    async def command(self, *words: Word) -> Any:
        """Send one command and return its answer: bytes, an integer, None, or a list of these.

        Raises:
            StoreDown: The store is down, or there is no answer in time; it may have been done all the same.
            StoreRefused: The answer is an error.
        """
        return await self._reached().command(*words)

    async def run(
        self,
        script: Script,
        keys: tuple[Word, ...] = (),
        args: tuple[Word, ...] = (),
        unheard: Unheard | None = None,
    ) -> Any:
        """Run a script as one step and return its answer; raises as `command` does.

        Where the caller is cancelled before he has the answer, ``unheard`` gets it, if there is one.
        """
        return await self._reached().run(script, keys, args, unheard)

    def _reached(self) -> Line:
        if self._line is None:
            raise StoreDown(f"the shared store {self.where} is down: {self._why}")
        return self._line

    # --- lost and found ---

    async def _reach(self) -> Line:
        line = await reach(self._address, self._timeout, self._lost)
        try:
            if self._on_reached is not None:
                await self._on_reached(line)
        except BaseException:
            await line.closed()
            raise
        return line

    def _lost(self, line: Line, why: str) -> None:
        if self._line is not line or self._closed:
            return  # one that was never let into use, or is let go of
        self._line, self._why = None, why
        self._looking = asyncio.get_running_loop().create_task(self._look(), name="hauberk-shared-store-look")
        self._tell(why, found=False)

    async def _look(self) -> None:
        wait = RETRY_FIRST
        while True:
            await asyncio.sleep(wait * (1 + self._chance()) / 2)
            wait = min(2 * wait, RETRY_MOST)
            try:
                line = await self._reach()
            except Exception as error:  # noqa: BLE001 - whatever was wrong this time, the store is looked for again
                self._why = error.message if isinstance(error, HauberkError) else type(error).__name__
                continue
            self._line, self._looking = line, None
            self._tell("", found=True)
            return

    def _tell(self, why: str, *, found: bool) -> None:
        if self._on_change is not None:
            self._on_change(found, why)

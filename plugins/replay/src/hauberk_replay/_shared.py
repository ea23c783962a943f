"""The memory of several hosts: Redis or Valkey, one key a nonce, one round trip a message."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final, final

from hauberk.refusals import PluginError, Refused
from hauberk.shared import Line, SharedStore, StoreDown, StoreRefused
from hauberk_replay._bound import SHARE, span_of
from hauberk_replay._local import LocalNonces
from hauberk_replay._mark import Mark
from hauberk_replay._nonces import check_nonce
from hauberk_replay._refusals import refused
from hauberk_replay._script import REACHED, REMEMBER
from hauberk_replay._window import Window

TIMEOUT: Final = 0.25
"""Seconds that the store may take for one message."""
_ENDS: Final = {
    1: "replay.detected",
    2: "replay.not_remembered",
    3: "replay.too_old",
    4: "replay.full",
    5: "replay.store_down",
}
Told = Callable[[bool, str, int], None]
"""Gets whether the store was found, else lost; why; and how many messages were judged by this process alone."""


@final
class SharedNonces:
    """Nonces in a store that several hosts share."""

    def __init__(
        self,
        uri: str,
        window: Window,
        most: int,
        *,
        group: str = "default",
        local: LocalNonces | None = None,
        timeout: float = TIMEOUT,
        on_change: Told | None = None,
    ) -> None:
        """Read the address; nothing is reached.

        Args:
            uri: Where the store is.
            window: What messages are accepted by.
            most: How many nonces may be held of one span of time (`span_of`), by all hosts.
            group: Hosts that accept a message once between them; another group accepts it once, too.
            local: What judges alone while the store is lost; it sees each message before. None: they are refused. By a
                file beside its mark, ``alone``, the next process refuses what this one judged alone: no store knows it.
            timeout: What the store may take for one message (seconds).
            on_change: Told when the store is lost, and when it is found again.

        Raises:
            ConfigError: The URI names no store.
        """
        self._store: Final = SharedStore(uri, timeout=timeout, on_change=self._changed, on_reached=self._reached)
        self._window: Final = window
        self._most: Final = most
        self._prefix: Final = f"hauberk:replay:{group}:"
        self._local: Final = local
        mark = None if local is None else local.mark
        self._mark: Final = None if mark is None else Mark(mark.path.with_name("alone"))
        """When the latest message was made that was judged alone."""
        self._told: Final = on_change
        self._run = ""
        """Which server was reached."""
        self._alone = 0

    @property
    def where(self) -> str:
        """The address of the store, without its password."""
        return self._store.where

    async def open(self) -> None:
        """Reach the store.

        Raises:
            PluginError: It cannot be reached, or would forget.
            ConfigError: The files that its address names cannot be read.
        """
        try:
            if self._local is not None:
                await self._local.open()
                if self._mark is not None:
                    self._mark.open(self._local.start, self._window)
            await self._store.open()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Let go of the store."""
        await self._store.close()
        if self._local is not None:
            await self._local.close()
        if self._mark is not None:
            self._mark.close()

    async def remember(self, key_id: str, nonce: bytes, issued: float, now: float) -> None:
        """Take a nonce that has not come before to any host of the group."""
        check_nonce(nonce)
        if self._mark is not None and self._mark.covers(issued):
            raise refused("replay.not_remembered", "a process before this one judged without the store")
        unknown = None if self._local is None else _noted(self._local, key_id, nonce, issued, now)
        keys, args = self._asked(key_id, nonce, issued)
        try:
            end, figure = await self._store.run(REMEMBER, keys, args)
        except StoreRefused as error:
            if error.code == "OOM":
                raise refused("replay.full", f"{self.where} has no memory left", retry_after=1.0) from None
            raise refused("replay.store_down", error.message) from None
        except StoreDown as error:
            if self._local is None:
                raise refused("replay.store_down", error.message) from None
            if unknown is not None:
                raise unknown from None
            if self._mark is not None:
                self._mark.passed(issued)
            self._alone += 1
            return
        if end:
            raise self._refusal(_ENDS[end], key_id, figure)

    def _asked(self, key_id: str, nonce: bytes, issued: float) -> tuple[tuple[str, ...], tuple[str | float, ...]]:
        span = span_of(self._window)
        keys = (
            f"{self._prefix}state",
            f"{self._prefix}n:{key_id}:{nonce.hex()}",
            f"{self._prefix}held:{int(issued // span)}",
        )
        at = repr(issued * 1000)
        return keys, (*self._state(), at, self._most, SHARE, f"k:{key_id}", _ms(span))

    def _state(self) -> tuple[int, str, int]:
        """Return what each script is told of the state: the skew, the server, how long a nonce lives."""
        return _ms(self._window.skew), self._run, _ms(self._window.max_age + 2 * self._window.skew)

    def _refusal(self, code: str, key_id: str, figure: Any) -> Exception:
        if code == "replay.store_down":
            return refused(code, self._forgets(figure.decode("utf-8", "replace")))
        if code == "replay.full":
            return refused(code, f"{figure} are held", retry_after=1.0)
        if code == "replay.detected":
            return refused(code, f"key {key_id!r}")
        return refused(code, f"by {figure / 1000:.3f} s, by the store's clock")

    # --- the store ---

    async def _reached(self, line: Line) -> None:
        """See that the store forgets nothing by itself, and which server it is.

        Raises:
            PluginError: It would forget, or does not say which it is.
        """
        policy = _fields(await line.command("INFO", "memory")).get("maxmemory_policy", "")
        if policy != "noeviction":
            raise PluginError(
                self._forgets(policy),
                hint="set maxmemory-policy noeviction, or give replay a store of its own",
            )
        self._run = _fields(await line.command("INFO", "server")).get("run_id", "")
        if not self._run:
            raise PluginError(
                f"the shared store {self.where} does not say which server it is (run_id of INFO)",
                hint="name the server itself, or give its user +info",
            )
        await line.run(REACHED, (f"{self._prefix}state",), self._state())

    def _forgets(self, policy: str) -> str:
        return f"the shared store {self.where} has maxmemory-policy {policy!r}: it forgets what must be remembered"

    def _changed(self, found: bool, why: str) -> None:  # noqa: FBT001 - as the store calls it
        alone, self._alone = self._alone, 0
        if self._told is not None:
            self._told(found, why, alone)


def _noted(local: LocalNonces, key_id: str, nonce: bytes, issued: float, now: float) -> Refused | None:
    """Let this process remember a nonce; return why it could not tell, which the store may know better.

    Raises:
        Refused: It came before, or there is no room.
    """
    try:
        local.remember(key_id, nonce, issued, now)
    except Refused as error:
        if error.code != "replay.not_remembered":
            raise
        return error
    return None


def _ms(seconds: float) -> int:
    return math.ceil(seconds * 1000)


def _fields(info: bytes) -> dict[str, str]:
    """Return what ``INFO`` says."""
    lines = (line.partition(":") for line in info.decode("utf-8", "replace").splitlines())
    return {name: value for name, _, value in lines}

"""Attacks on the protocol: what a message is, what it answers, and when it comes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import orjson

from hauberk.testing._faces import HANDSHAKE, attack
from hauberk.testing._honest import Honest, Said
from hauberk.testing._messages import notification, request


class WireAttacks(Honest):
    """What a server can do to the protocol itself."""

    # --- on both faces ---

    @attack()
    def rename(self, old: str, new: str) -> None:
        """Show a tool under another name, and answer to that."""
        tool = self.tools.pop(old)
        tool.name = new
        self.tools[new] = tool

    @attack()
    def list_changed(self) -> None:
        """Say, unasked, that the list of tools has changed."""
        self.say(notification("notifications/tools/list_changed"))

    @attack()
    def never_answer(self, method: str = "") -> None:
        """Leave requests unanswered: those of one method, or all but the handshake."""

        def change(message: dict[str, Any], said: list[Said]) -> list[Said]:
            meant = message["method"] == method if method else message["method"] != "initialize"
            return [] if meant else said

        self._from_now(change)

    @attack()
    def flood(self, count: int = 1000) -> None:
        """Send so many notifications before each answer."""
        noise = notification("notifications/message", {"level": "info", "data": "x" * 64})
        self._from_now(lambda _, said: [*([noise] * count), *said])

    @attack()
    def storm(self, count: int = 100) -> None:
        """Say so many times before each answer that the list of tools has changed."""
        news = notification("notifications/tools/list_changed")
        self._from_now(lambda _, said: [*([news] * count), *said])

    @attack()
    def wrong_id(self, id: int | str = 99) -> None:
        """Answer a request that nobody sent, before each answer."""
        self._from_now(lambda _, said: [*_with_id(said, lambda _: id), *said])

    @attack()
    def twin_id(self) -> None:
        """Answer first under an id that the SDK takes for the asked one: ``"+7"`` for 7."""
        self._from_now(lambda _, said: [*_with_id(said, lambda id: f"+{id}"), *said])

    @attack()
    def answer_twice(self) -> None:
        """Give each answer two times."""
        self._from_now(lambda _, said: [*said, *said])

    @attack(eras=frozenset({HANDSHAKE}))
    def ask(self, method: str = "sampling/createMessage", params: dict[str, Any] | None = None) -> None:
        """Ask the client for something, unasked."""
        self.say(request(method, params or {"messages": [], "maxTokens": 1}, id="hostile"))

    @attack()
    def unknown_method(self) -> None:
        """Send, unasked, a notification that no revision of the protocol has."""
        self.say(notification("notifications/hostile", {"unheard": "of"}))

    # --- on one face ---

    @attack("objects")
    def exception(self, text: str = "not a message") -> None:
        """Put an exception on the stream before each answer, as a transport does with what it cannot parse."""
        self._from_now(lambda _, said: [ValueError(text), *said])

    @attack("bytes")
    def duplicate_keys(self) -> None:
        """Give each answer its ``result`` twice: an empty one first, for whoever reads the first."""
        self._from_now(lambda _, said: [_doubled(one) for one in said])

    @attack("bytes")
    def split_lines(self) -> None:
        """Write each answer over several lines."""
        self._from_now(lambda _, said: [_spread(one) for one in said])

    @attack("bytes")
    def junk(self) -> None:
        """Write lines that are no messages before each answer."""
        lines: list[Said] = [b"Server ready!\n", b"\n", b"{\n", b"\xff\xfe\n", b'"text"\n', b"7\n"]
        self._from_now(lambda _, said: [*lines, *said])

    @attack("bytes")
    def byte_order_mark(self) -> None:
        """Begin each line with a byte order mark."""
        self._from_now(lambda _, said: [b"\xef\xbb\xbf" + line(one) for one in said])

    @attack("bytes")
    def batch(self) -> None:
        """Write the answers to a request as a JSON array."""
        self._from_now(lambda _, said: [b"[%b]\n" % b",".join(line(one)[:-1] for one in said)])

    @attack("bytes")
    def overlong(self, size: int = 17 * 1024 * 1024) -> None:
        """Make each answer so many bytes longer."""
        self._from_now(lambda _, said: [line(one)[:-2] + b',"pad":"%b"}\n' % (b"x" * size) for one in said])


def line(said: Said) -> bytes:
    """Return what a server says as the bytes face writes it, with its line feed."""
    if isinstance(said, Exception):
        raise TypeError("an exception is no line")
    return said if isinstance(said, bytes) else orjson.dumps(said) + b"\n"


def _with_id(said: list[Said], make: Callable[[Any], Any]) -> list[Said]:
    return [{**one, "id": make(one["id"])} for one in said if isinstance(one, dict) and "result" in one]


def _doubled(said: Said) -> Said:
    if not isinstance(said, dict) or "result" not in said:
        return said
    return b'{"jsonrpc":"2.0","id":%b,"result":{},"result":%b}\n' % (
        orjson.dumps(said["id"]),
        orjson.dumps(said["result"]),
    )


def _spread(said: Said) -> Said:
    return json.dumps(said, indent=1).encode() + b"\n" if isinstance(said, dict) else said

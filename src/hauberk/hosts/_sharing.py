"""Who of several clients of one server gets what: the rules, without any I/O.

One server that several clients share takes them for one. So nothing may pass that would show one client's state to
another, or change what another one sees:

1. Each request gets an id of its own on its way to the server, and so does its progress token. Answers and progress go
   to who asked, under the asker's own id and token; the answer to a request that nobody waits for any more goes to
   nobody.
2. ``initialize`` reaches the server once, as from hauberk and with no capability of any client; everybody gets that
   answer. A client that wants another revision is refused. What the answer promises and rule 3 refuses is taken out.
   ``initialized`` follows that answer, as from hauberk too: what a client says of it reaches nobody.
3. What a server keeps for a client has no place here: log levels, subscriptions, tasks. These requests are refused.
4. Of what a server says by itself, news that a list has changed goes to everybody. All else has no addressee, may be
   about one client, and goes to nobody. A request of the server, but for ``ping``, is refused: there is nobody to ask.
"""

from __future__ import annotations

import itertools
from typing import Any, Final, NamedTuple, Protocol

from hauberk import __version__

INVALID_PARAMS: Final = -32602
NO_METHOD: Final = -32601
INTERNAL: Final = -32603
_KEPT: Final = ("logging/setLevel", "resources/subscribe", "resources/unsubscribe", "subscriptions/listen")
_LISTS: Final = ("tools", "prompts", "resources")
NEWS: Final = frozenset(f"notifications/{kind}/list_changed" for kind in _LISTS)
"""What everybody may hear."""
_HELLOS: Final = frozenset({"initialize", "server/discover"})
Message = dict[str, Any]


class Member(Protocol):
    """One client, as the rules see it."""

    def hear(self, message: Message) -> None:
        """Take one message of the server."""


class Asked(NamedTuple):
    """A request that the server has got."""

    member: Member
    id: str | int
    method: str
    token: str | int | None


class Routes:
    """What is in flight between one server and its clients."""

    def __init__(self) -> None:
        self._numbers: Final = itertools.count(1)
        self.members: Final[set[Member]] = set()
        self.flight: Final[dict[int, Asked]] = {}
        self._initialize: tuple[int, str] | None = None
        """The one that the server has got: its number, and the revision that was asked for."""
        self._waiting: list[Asked] = []
        """Others that wait for its answer."""
        self._hello: Message | None = None
        """The answer."""

    # --- from a client; what is returned goes to the server ---

    def from_client(self, member: Member, message: Message) -> Message | None:
        """Take a message of a client; return what the server gets."""
        method = message.get("method")
        if method is None:
            return None  # an answer, and nobody has asked
        if "id" not in message:
            return self._notification(member, message, method)
        if why := _refused(method, message.get("params") or {}):
            member.hear(_error(message["id"], NO_METHOD, why))
            return None
        if method == "initialize":
            return self._initialized(member, message)
        return self._forwarded(member, message, method)

    def leave(self, member: Member) -> list[Message]:
        """Forget a client; return what the server gets: it need not go on with what that one asked."""
        self.members.discard(member)
        self._waiting = [asked for asked in self._waiting if asked.member is not member]
        gone = [number for number, asked in self.flight.items() if asked.member is member]
        return [self._cancelled(number) for number in gone if self._may_cancel(number)]

    def _forwarded(self, member: Member, message: Message, method: str) -> Message:
        number = next(self._numbers)
        params = message.get("params")
        meta = params.get("_meta") if params else None
        token = meta.get("progressToken") if meta else None
        self.flight[number] = Asked(member, message["id"], method, token)
        if token is None:
            return {**message, "id": number}
        return {
            **message,
            "id": number,
            "params": {**(params or {}), "_meta": {**(meta or {}), "progressToken": number}},
        }

    def _initialized(self, member: Member, message: Message) -> Message | None:
        wanted: Any = (message.get("params") or {}).get("protocolVersion")
        if self._hello is not None and self._initialize is not None:
            self._greet(Asked(member, message["id"], wanted, None))
            return None
        if self._initialize is not None:
            self._waiting.append(Asked(member, message["id"], wanted, None))
            return None
        sent = self._forwarded(member, message, "initialize")
        self._initialize = sent["id"], wanted
        client = {"name": "hauberk", "version": __version__}
        return {**sent, "params": {"protocolVersion": wanted, "capabilities": {}, "clientInfo": client}}

    def _greet(self, asked: Asked) -> None:
        """Answer an ``initialize`` that does not reach the server."""
        hello, (_, first) = self._hello or {}, self._initialize or (0, "")
        agreed = (hello.get("result") or {}).get("protocolVersion")
        if asked.method == first or asked.method == agreed or "error" in hello:  # noqa: PLR1714 - any JSON value
            asked.member.hear({**hello, "id": asked.id})
            return
        data = {"supported": [agreed], "requested": asked.method}
        asked.member.hear(_error(asked.id, INVALID_PARAMS, "Unsupported protocol version", data))

    def _notification(self, member: Member, message: Message, method: str) -> Message | None:
        if method == "notifications/cancelled":
            id = (message.get("params") or {}).get("requestId")
            for number, asked in self.flight.items():
                if asked.member is member and asked.id == id and type(asked.id) is type(id):
                    return self._cancelled(number) if self._may_cancel(number) else None
        return None

    def _may_cancel(self, number: int) -> bool:
        """Whether a request is its asker's alone; the answer to ``initialize`` is everybody's."""
        return self._initialize is None or number != self._initialize[0]

    def _cancelled(self, number: int) -> Message:
        del self.flight[number]
        return {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": number}}

    # --- from the server; what is returned goes back to it ---

    def from_server(self, message: Message) -> Message | None:
        """Take a message of the server, and give it to whom it is for; return what the server gets back."""
        method = message.get("method")
        if method is None:
            return self._answered(message)
        if "id" in message:
            if method == "ping":
                return {"jsonrpc": "2.0", "id": message["id"], "result": {}}
            return _error(message["id"], NO_METHOD, "this server is shared: there is no one client to ask")
        if method in NEWS:
            for member in tuple(self.members):
                member.hear(message)
        elif method == "notifications/progress":
            self._progress(message)
        return None

    def unreadable(self, id: str | int | None) -> None:
        """Tell who asked that the answer cannot be read."""
        if type(id) is int and id in self.flight:
            self._answered(_error(id, INTERNAL, "the server's answer cannot be read"))

    def _answered(self, message: Message) -> Message | None:
        number = message.get("id")
        asked = self.flight.pop(number, None) if type(number) is int else None
        if asked is None:
            return None
        if asked.method == "initialize" and "error" not in message and not _is_hello(message.get("result")):
            message = _error(number, INTERNAL, "the server's answer to initialize cannot be used")
        if asked.method in _HELLOS and "result" in message:
            message = {**message, "result": promised(message["result"])}
        if asked.member in self.members:
            asked.member.hear({**message, "id": asked.id})
        return self._met(message) if asked.method == "initialize" else None

    def _met(self, message: Message) -> Message | None:
        """Answer everybody who waits for the answer to ``initialize``; return what ends the handshake."""
        self._hello = message
        waiting, self._waiting = self._waiting, []
        for asked in waiting:
            self._greet(asked)
        if "error" in message:  # the next one may ask anew
            self._hello = self._initialize = None
            return None
        return {"jsonrpc": "2.0", "method": "notifications/initialized"}

    def _progress(self, message: Message) -> None:
        params = message.get("params") or {}
        number = params.get("progressToken")
        asked = self.flight.get(number) if type(number) is int else None
        if asked is not None and asked.token is not None:
            asked.member.hear({**message, "params": {**params, "progressToken": asked.token}})


def promised(result: Any) -> Any:
    """Return an answer to ``initialize`` or ``server/discover`` without what is not to be had here."""
    if type(result) is not dict or type(result.get("capabilities")) is not dict:
        return result
    kept = {name: value for name, value in result["capabilities"].items() if name not in {"logging", "tasks"}}
    resources = kept.get("resources")
    if type(resources) is dict:
        kept["resources"] = {name: value for name, value in resources.items() if name != "subscribe"}
    return {**result, "capabilities": kept}


def _is_hello(result: Any) -> bool:
    """Whether this answers ``initialize``."""
    return type(result) is dict and type(result.get("protocolVersion")) is str


def _refused(method: str, params: Message) -> str:
    """Return why a request may not reach a shared server; empty where it may."""
    if method in _KEPT or method.startswith("tasks/"):
        return f"this server is shared: {method} would be about all of its clients"
    if "task" in params:
        return "this server is shared: it keeps no tasks"
    return ""


def _error(id: Any, code: int, text: str, data: Any = None) -> Message:
    error = {"code": code, "message": text} | ({} if data is None else {"data": data})
    return {"jsonrpc": "2.0", "id": id, "error": error}

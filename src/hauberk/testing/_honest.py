"""The honest part of a hostile server: what it shows, and how it answers in both eras of the protocol."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import msgspec

from hauberk.listings import LISTS
from hauberk.testing._faces import STATELESS, Face, era_of
from hauberk.testing._messages import answer

Said = dict[str, Any] | bytes | Exception
"""A message; bytes that are written as they are; or an exception, as the SDK's streams carry them."""
Change = Callable[[dict[str, Any], list[Said]], list[Said]]
_VERSION: Final = "2025-11-25"
_NO_METHOD: Final = -32601


class Tool(msgspec.Struct):
    """A tool, as it is shown and as it answers; change it as you like."""

    name: str
    description: str = ""
    schema: dict[str, Any] = msgspec.field(default_factory=lambda: {"type": "object"})
    text: str = "done"
    """What a call answers."""
    more: dict[str, Any] = {}
    """Further members of its definition: ``title``, ``outputSchema``, ``annotations``, ``icons``, ``_meta``."""

    def shown(self) -> dict[str, Any]:
        """Return the tool as ``tools/list`` shows it."""
        return {"name": self.name, "description": self.description, "inputSchema": self.schema, **self.more}


class Shown(msgspec.Struct):
    """What a server shows beside its tools, member by member as the protocol has it."""

    prompts: list[dict[str, Any]] = []
    resources: list[dict[str, Any]] = []
    templates: list[dict[str, Any]] = []
    instructions: str = ""
    info: dict[str, Any] = msgspec.field(default_factory=lambda: {"name": "hostile", "version": "1"})
    """Its ``serverInfo``."""


class Honest:
    """A server that does what it says, until something changes what it says."""

    def __init__(self, *tools: str | Tool, shown: Shown | None = None) -> None:
        """Make an honest server.

        Args:
            tools: The tools that it has, or their names; without any, ``read`` and ``write``.
            shown: What it has beside them; without it, nothing.
        """
        made = [tool if isinstance(tool, Tool) else Tool(tool) for tool in tools or ("read", "write")]
        self.tools: Final = {tool.name: tool for tool in made}
        self.shown: Final = shown or Shown()
        self.got: Final[list[dict[str, Any]]] = []
        """What reached it."""
        self.outbox: Final[deque[Said]] = deque()
        """What it says; a face takes it from here."""
        self.face: Face | None = None
        self.armed: Final[list[tuple[str, dict[str, Any]]]] = []
        """The attacks that were asked for."""
        self.wake: Callable[[], object] = lambda: None
        """Set by a face: there is something in the outbox."""
        self._changes: Final[list[Change]] = []

    def hear(self, message: dict[str, Any]) -> None:
        """Take one message; what is said to it, true or not, is put into the outbox."""
        self.got.append(message)
        if "id" in message and "method" in message:
            said: list[Said] = [self._honest(message)]
            for change in self._changes:
                said = change(message, said)
            self.say(*said)

    def say(self, *said: Said) -> None:
        """Say something unasked."""
        self.outbox.extend(said)
        self.wake()

    def called(self, tool: str = "") -> list[dict[str, Any]]:
        """Return the ``params`` of each tool call that reached it, or of those of one tool."""
        calls = [message["params"] for message in self.got if message.get("method") == "tools/call"]
        return [params for params in calls if not tool or params.get("name") == tool]

    def _from_now(self, change: Change) -> None:
        self._changes.append(change)

    def _honest(self, message: dict[str, Any]) -> dict[str, Any]:
        result = self._result(message["method"], message.get("params") or {})
        if result is None:
            return failure(message["id"], _NO_METHOD, "method not found")
        if era_of(message) == STATELESS:
            result = result | {"resultType": "complete"}
            if message["method"].endswith("/list"):
                result |= {"ttlMs": 0, "cacheScope": "private"}
        return answer(result, id=message["id"])

    def _result(self, method: str, params: Mapping[str, Any]) -> dict[str, Any] | None:
        match method:
            case "initialize":
                opening = {"protocolVersion": params.get("protocolVersion", _VERSION), "serverInfo": self.shown.info}
                return opening | self._about()
            case "server/discover":
                meta = {"_meta": {"io.modelcontextprotocol/serverInfo": self.shown.info}}
                return {"supportedVersions": [STATELESS], "ttlMs": 0, "cacheScope": "private"} | meta | self._about()
            case "tools/list":
                return {"tools": [tool.shown() for tool in self.tools.values()]}
            case "tools/call" if (tool := self._tool(params)) is not None:
                return {"content": [{"type": "text", "text": tool.text}]}
            case "ping":
                return {}
            case _:
                return self._beside(method, params)

    def _about(self) -> dict[str, Any]:
        has = {"tools": {"listChanged": True}}
        has |= {"prompts": {}} if self.shown.prompts else {}
        has |= {"resources": {}} if self.shown.resources or self.shown.templates else {}
        said = {"instructions": self.shown.instructions} if self.shown.instructions else {}
        return {"capabilities": has, **said}

    def _beside(self, method: str, params: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the answer about prompts and resources; None where it has no such thing."""
        shown = self.shown
        match method:
            case "prompts/list" | "resources/list" | "resources/templates/list":
                member = LISTS[method].member
                items = {"prompts": shown.prompts, "resources": shown.resources, "resourceTemplates": shown.templates}
                return {member: items[member]} if shown.prompts or shown.resources or shown.templates else None
            case "prompts/get" if has(shown.prompts, "name", params):
                return {"messages": [{"role": "user", "content": {"type": "text", "text": "hello"}}]}
            case "resources/read" if has(shown.resources, "uri", params):
                return {"contents": [{"uri": params["uri"], "mimeType": "text/plain", "text": "a note"}]}
            case _:
                return None

    def _tool(self, params: Mapping[str, Any]) -> Tool | None:
        return next((tool for tool in self.tools.values() if tool.name == params.get("name")), None)


def has(items: Iterable[Mapping[str, Any]], key: str, params: Mapping[str, Any]) -> bool:
    """Whether an item is called as the parameters of a request say."""
    return any(item.get(key) == params.get(key) for item in items)


def failure(id: Any, code: int, text: str, data: Any = None) -> dict[str, Any]:
    """Return the JSON-RPC response with an error."""
    error = {"code": code, "message": text} | ({} if data is None else {"data": data})
    return {"jsonrpc": "2.0", "id": id, "error": error}

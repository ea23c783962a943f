"""Where URIs stand in messages, and what is left of a message when some of them are taken out.

The rules:

1. A link in a content is replaced by a text that says so, without the URI: whoever reads it cannot follow it.
2. An embedded resource keeps its content and loses its URI. An entry of a list goes, an icon and a web site go.
3. What is not touched is the very object that came. Nothing is changed in place.
4. A content of an unknown type is taken for a link where it has a ``uri``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from hauberk.listings import LISTS, Listing
from hauberk.message import Message
from hauberk_sieve.addresses._policy import Use

GONE: Final = "hauberk:removed"
"""The URI of an embedded resource whose own was taken out."""
READS: Final = ("resources/read", "resources/subscribe")
"""Requests whose URI the server may fetch."""
_CALLS: Final = frozenset(("tools/call", "tasks/result", "tasks/get"))
_HELLOS: Final = frozenset(("initialize", "server/discover"))
_URIS: Final = ("uri", "uriTemplate")
"""What an item is named by where its name is a URI."""
_PLAIN: Final = ("text", "image", "audio")
_INFO: Final = "io.modelcontextprotocol/serverInfo"
METHODS: Final = (
    *LISTS,
    *READS,
    "prompts/get",
    *sorted(_CALLS),
    *sorted(_HELLOS),
    "notifications/tasks",
    "sampling/createMessage",
    "elicitation/create",
)


class Found(NamedTuple):
    """A URI that may not stand where it does."""

    uri: str
    use: Use
    rule: str


class Sift:
    """One walk over one message."""

    def __init__(self, fault: Callable[[str, Use], str | None]) -> None:
        """Say what is wrong with a URI.

        Args:
            fault: Returns the rule that a URI breaks where it stands, or None.
        """
        self._fault: Final = fault
        self.found: Final[list[Found]] = []

    def result(self, method: str, result: dict[str, Any]) -> dict[str, Any]:
        """Return what is left of a result."""
        if method in _CALLS:
            return self._called(result)
        if method in LISTS:
            return self._listed(result, LISTS[method])
        if method == "resources/read":
            return self._member(result, "contents", self._contents, list)
        if method == "prompts/get":
            return self._member(result, "messages", self._messages, list)
        return self._introduced(result) if method in _HELLOS else result

    def params(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """Return what is left of the parameters of a message to the client."""
        if method == "sampling/createMessage":
            return self._member(params, "messages", self._messages, list)
        if method == "elicitation/create":
            self.ok(params.get("url"), Use.LINK)
        return self._member(params, "result", self._called) if method == "notifications/tasks" else params

    def ok(self, uri: Any, use: Use) -> bool:
        """Whether a URI may stand there; what is no text is none."""
        if type(uri) is not str:
            return True
        rule = self._fault(uri, use)
        if rule is not None:
            self.found.append(Found(uri, use, rule))
        return rule is None

    def _called(self, result: dict[str, Any]) -> dict[str, Any]:
        content = result.get("content")
        if type(content) is list:
            kept = self._content(content)
            result = result if kept is content else {**result, "content": kept}
        return self._member(result, "result", self._called) if "result" in result else result

    def _content(self, items: list[Any]) -> list[Any]:
        return items if _all_plain(items) else _mapped(items, self._block)

    def _block(self, block: Any) -> Any:
        if type(block) is not dict:
            return block
        if not self.ok(block.get("uri"), Use.LINK):
            return {"type": "text", "text": f"a link was removed: {self.found[-1].rule}"}
        named: dict[str, Any] = self._icons(self._member(block, "resource", self._named))
        return self._member(named, "content", self._content, list)

    def _messages(self, messages: list[Any]) -> list[Any]:
        return _mapped(messages, self._message)

    def _message(self, message: Any) -> Any:
        content = message.get("content") if type(message) is dict else None
        if type(content) is list:
            return self._member(message, "content", self._content, list)
        kept = self._block(content)
        return message if kept is content else {**message, "content": kept}

    def _contents(self, contents: list[Any]) -> list[Any]:
        return _mapped(contents, self._named)

    def _named(self, resource: Any) -> Any:
        if type(resource) is not dict or self.ok(resource.get("uri"), Use.NAME):
            return resource
        return {**resource, "uri": GONE}

    def _listed(self, result: dict[str, Any], listing: Listing) -> dict[str, Any]:
        _, member, name = listing
        key = name if name in _URIS else ""
        entries = result.get(member)
        if type(entries) is not list or not (key or any(type(entry) is dict and "icons" in entry for entry in entries)):
            return result
        kept = [self._icons(entry) for entry in entries if not key or self._names(entry, key)]
        same = len(kept) == len(entries) and all(map(_is, kept, entries))
        return result if same else {**result, member: kept}

    def _names(self, entry: Any, key: str) -> bool:
        uri = entry.get(key) if type(entry) is dict else None
        return self.ok(template(uri) if key == "uriTemplate" and type(uri) is str else uri, Use.NAME)

    def _introduced(self, result: dict[str, Any]) -> dict[str, Any]:
        result = self._member(result, "serverInfo", self._info)
        return self._member(result, "_meta", lambda meta: self._member(meta, _INFO, self._info))

    def _info(self, info: dict[str, Any]) -> dict[str, Any]:
        if not self.ok(info.get("websiteUrl"), Use.SITE):
            info = {key: value for key, value in info.items() if key != "websiteUrl"}
        left: dict[str, Any] = self._icons(info)
        return left

    def _icons(self, holder: Any) -> Any:
        if type(holder) is not dict or type(icons := holder.get("icons")) is not list:
            return holder
        kept = [icon for icon in icons if type(icon) is not dict or self.ok(icon.get("src"), Use.ICON)]
        return holder if len(kept) == len(icons) else {**holder, "icons": kept}

    @staticmethod
    def _member(holder: dict[str, Any], key: str, sift: Callable[[Any], Any], kind: type = dict) -> dict[str, Any]:
        value = holder.get(key)
        if type(value) is not kind:
            return holder
        kept = sift(value)
        return holder if kept is value else {**holder, key: kept}


def is_plain(message: Message) -> bool:
    """Whether a message is the call of a tool, or an answer of texts and images: most are, and hold no URI."""
    if message.method != "tools/call":
        return False
    if message.kind == "result":
        content = message.data["result"].get("content")
        return type(content) is list and _all_plain(content)
    return True


def _all_plain(items: list[Any]) -> bool:
    for item in items:  # noqa: SIM110 - a generator costs more than the loop, and most messages come here
        if type(item) is dict and item.get("type") not in _PLAIN:
            return False
    return True


def _is(one: Any, other: Any) -> bool:
    return one is other


def _mapped(items: list[Any], sift: Callable[[Any], Any]) -> list[Any]:
    kept = [sift(item) for item in items]
    return items if all(map(_is, kept, items)) else kept


def template(text: str) -> str:
    """Return a URI that a template (RFC 6570) may become; nothing where its host is still open, and read later."""
    head, slashes, rest = text.partition("//")
    place = rest.partition("/")[0]
    if "{" in head or (slashes and "{" in place):
        return ""
    return text.replace("{", "").replace("}", "")


def asked(message: Message) -> str | None:
    """Return the URI that the client asks the server for, if the message does."""
    uri = message.params.get("uri") if message.kind == "request" and message.method in READS else None
    return uri if type(uri) is str else None

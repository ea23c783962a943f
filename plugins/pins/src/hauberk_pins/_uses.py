"""What a request uses: the items that it names.

The rules:

1. ``prompts/get`` uses a prompt; ``resources/read`` and ``resources/subscribe`` a resource; ``completion/complete``
   what its ``ref`` names; ``subscriptions/listen`` each resource that it names.
2. A reference to a URI with a brace is one to a template, any other one to a resource.
3. What cannot be read uses `NOBODY`, which nobody can pin.
"""

from __future__ import annotations

from typing import Any, Final

from hauberk.message import Message
from hauberk_pins._items import Key

UPDATED: Final = "notifications/resources/updated"
NOBODY: Final[Key] = ("", "")
"""What a request uses that does not say it."""
_NAMED_BY: Final = {
    "prompts/get": ("prompt", "name"),
    "resources/read": ("resource", "uri"),
    "resources/subscribe": ("resource", "uri"),
    UPDATED: ("resource", "uri"),
}
_COMPLETE: Final = "completion/complete"
_LISTEN: Final = "subscriptions/listen"
REQUESTS: Final = ("prompts/get", "resources/read", "resources/subscribe", _COMPLETE, _LISTEN)
"""Requests that use items."""


def used(message: Message) -> list[Key]:
    """Return what a request uses, all of one kind; nothing for any other message."""
    if message.kind != "request" or message.method not in REQUESTS:
        return []
    if message.method == _COMPLETE:
        return [_reference(message.params.get("ref"))]
    return _subscribed(message.params) if message.method == _LISTEN else [named(message)]


def named(message: Message) -> Key:
    """Return what a message names in a parameter of its own."""
    kind, member = _NAMED_BY[message.method]
    name = message.params.get(member)
    return (kind, name) if isinstance(name, str) else NOBODY


def _reference(ref: Any) -> Key:
    if isinstance(ref, dict):
        name, uri = ref.get("name"), ref.get("uri")
        if ref.get("type") == "ref/prompt" and isinstance(name, str):
            return "prompt", name
        if ref.get("type") == "ref/resource" and isinstance(uri, str):
            return "template" if "{" in uri else "resource", uri
    return NOBODY


def _subscribed(params: dict[str, Any]) -> list[Key]:
    wanted = params.get("notifications")
    uris = wanted.get("resourceSubscriptions") if isinstance(wanted, dict) else None
    if uris is None:
        return []
    if not isinstance(uris, list) or not all(isinstance(uri, str) for uri in uris):
        return [NOBODY]
    return [("resource", uri) for uri in dict.fromkeys(uris)]

"""What a message uses, or tells of, that a rule may be about; and what of it a person may not see.

The rules:

1. ``prompts/get`` uses a prompt; ``resources/read`` and ``resources/subscribe`` a resource; ``completion/complete``
   what its ``ref`` names; ``subscriptions/listen`` each resource that it names. What cannot be read is refused.
2. ``notifications/resources/updated`` tells of a resource. Of an acknowledged stream, those that may not be seen go.
3. A link to a resource is gone from a result, and from messages for a model, if the resource may not be seen. A
   resource whose content stands in a result was shown by the tool, prompt or resource that was used: it goes if a deny
   rule says so, not for want of a rule that allows it. A block that holds other blocks goes with any of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from hauberk_sieve.access._rule import Kind
from hauberk_sieve.access._rules import Decision

UPDATED: Final = "notifications/resources/updated"
ACKNOWLEDGED: Final = "notifications/subscriptions/acknowledged"
LISTEN: Final = "subscriptions/listen"
REQUESTS: Final = ("prompts/get", "resources/read", "resources/subscribe", "completion/complete", LISTEN)
"""Requests that use something."""
ENDED: Final = "notifications/tasks"
"""Tells of a task, with its result once it has one (2026-07-28)."""
STATUS: Final = "notifications/tasks/status"
"""The same in 2025-11-25, where a server may put more into it than the protocol has."""
NEWS: Final = (UPDATED, ACKNOWLEDGED, ENDED, STATUS)
"""Notifications that a server sends."""
RESULTS: Final = ("tools/call", "prompts/get", "resources/read", "tasks/get", "tasks/result")
"""What is answered with text that may hold links."""
SAMPLING: Final = "sampling/createMessage"
"""Asks the client for what a model says to messages, which may hold links."""
_MEMBERS: Final[dict[str, tuple[Kind, str]]] = {
    "prompts/get": ("prompt", "name"),
    "resources/read": ("resource", "uri"),
    "resources/subscribe": ("resource", "uri"),
    UPDATED: ("resource", "uri"),
}
_HOLDERS: Final = frozenset({"contents", "messages", "result"})
"""Where links stand beside ``content``."""
_FILTER: Final = "notifications"
_SUBSCRIPTIONS: Final = "resourceSubscriptions"

Judge = Callable[[str], Decision]


class Unreadable(ValueError):
    """Nobody can tell what a message uses; the text is the rule that it breaks."""


def used(method: str, params: dict[str, Any]) -> list[tuple[Kind, str]]:
    """Return what a message uses or tells of, as pairs of kind and name.

    Raises:
        Unreadable: It does not say.
    """
    if method == "completion/complete":
        return [_reference(params.get("ref"))]
    if method == LISTEN:
        return [("resource", uri) for uri in subscriptions(params)]
    kind, member = _MEMBERS[method]
    name = params.get(member)
    if not isinstance(name, str):
        raise Unreadable(f"{member} is a string")
    return [(kind, name)]


def _reference(ref: Any) -> tuple[Kind, str]:
    if isinstance(ref, dict):
        name, uri = ref.get("name"), ref.get("uri")
        if ref.get("type") == "ref/prompt" and isinstance(name, str):
            return "prompt", name
        if ref.get("type") == "ref/resource" and isinstance(uri, str):
            return "template" if "{" in uri else "resource", uri
    raise Unreadable("ref is a ref/prompt with a name or a ref/resource with a uri")


def subscriptions(params: dict[str, Any]) -> list[str]:
    """Return the resources that a stream is about.

    Raises:
        Unreadable: They are no array of strings.
    """
    wanted = params.get(_FILTER)
    uris = wanted.get(_SUBSCRIPTIONS) if isinstance(wanted, dict) else None
    if uris is None:
        return []
    if not isinstance(uris, list) or not all(isinstance(uri, str) for uri in uris):
        raise Unreadable(f"{_SUBSCRIPTIONS} is an array of strings")
    return uris


def with_subscriptions(params: dict[str, Any], uris: list[str]) -> dict[str, Any]:
    """Return the parameters of a stream about these resources only."""
    return {**params, _FILTER: {**params[_FILTER], _SUBSCRIPTIONS: uris}}


def is_plain_text(result: dict[str, Any]) -> bool:
    """Whether a result is text at first sight, as most are."""
    items = result.get("content")
    if type(items) is not list or not _HOLDERS.isdisjoint(result):
        return False
    return all(type(item) is dict and item.get("type") == "text" for item in items)


def without_links(result: dict[str, Any], judge: Judge) -> tuple[dict[str, Any], list[str]]:
    """Return a result without what may not be seen (rule 3), and the URIs that are gone; the same one if none is."""
    levels = [result]
    while isinstance(inner := levels[-1].get("result"), dict):  # of a task that has ended
        levels.append(inner)
    gone: list[str] = []
    passed: dict[str, Any] | None = None
    for level in reversed(levels):
        changed = _unlinked(level, judge, gone)
        if passed is not None:
            changed["result"] = passed
        passed = {**level, **changed} if changed else None
    return (result if passed is None else passed), gone


def _unlinked(result: dict[str, Any], judge: Judge, gone: list[str]) -> dict[str, Any]:
    """Return the members of one result that lose something."""
    changed: dict[str, Any] = {}
    for key in ("content", "contents"):
        if isinstance(items := result.get(key), list):
            kept = [item for item in items if not _hides(item, judge, gone)]
            if len(kept) < len(items):
                changed[key] = kept
    if isinstance(messages := result.get("messages"), list):
        said = [one for one in messages if not (isinstance(one, dict) and _hides(one.get("content"), judge, gone))]
        if len(said) < len(messages):
            changed["messages"] = said
    return changed


def _hides(item: Any, judge: Judge, gone: list[str]) -> bool:
    """Whether a block, or one of those in it, shows what may not be seen."""
    waiting = [item]
    while waiting:
        one = waiting.pop()
        if isinstance(one, list):  # more than one block where the protocol has one
            waiting += reversed(one)
            continue
        for uri, is_link in _resources(one):
            decision = judge(uri)
            if not decision.allowed and (is_link or decision.by in {"deny", "name"}):
                gone.append(uri)
                return True
        if isinstance(one, dict) and one.get("type") != "text":
            waiting.append(one.get("content"))  # of a tool_result
    return False


def _resources(item: Any) -> Iterator[tuple[str, bool]]:
    """Yield the URI that an entry of a result shows, and whether it is a link to it."""
    if not isinstance(item, dict):
        return
    kind, resource, uri = item.get("type"), item.get("resource"), item.get("uri")
    if kind == "text":
        return
    if isinstance(uri, str):
        yield uri, kind is not None
    if isinstance(resource, dict) and isinstance(resource.get("uri"), str):
        yield resource["uri"], False

"""How an attack changes what a server says: a copy of a result, edited."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any

from hauberk.testing._faces import ERAS, Era, era_of
from hauberk.testing._honest import Change, Said

Edit = Callable[[dict[str, Any], dict[str, Any]], None]
"""Changes a ``result`` in place; its second argument is the request."""


def edited(methods: Iterable[str], edit: Edit, eras: frozenset[Era] = ERAS) -> Change:
    """Return a change that edits the results of these methods, in these eras.

    >>> change = edited(["ping"], lambda result, request: result.update(text="hi"))
    >>> change({"method": "ping", "id": 1}, [{"id": 1, "result": {}}])
    [{'id': 1, 'result': {'text': 'hi'}}]
    """
    meant = frozenset(methods)

    def change(message: dict[str, Any], said: list[Said]) -> list[Said]:
        if message["method"] not in meant or era_of(message) not in eras:
            return said
        return [_one(one, edit, message) for one in said]

    return change


def _one(said: Said, edit: Edit, message: dict[str, Any]) -> Said:
    if not isinstance(said, dict) or "result" not in said:
        return said
    made = copy.deepcopy(said)
    edit(made["result"], message)
    return made


def first_page(message: dict[str, Any]) -> bool:
    """Whether a request for a list asks for its beginning."""
    return not (message.get("params") or {}).get("cursor")


def put(inside: Any, path: tuple[str | int, ...], value: Any) -> None:
    """Put a value at a path; what is not there on the way is made.

    >>> tool = {"name": "read"}
    >>> put(tool, ("annotations", "title"), "Read")
    >>> tool
    {'name': 'read', 'annotations': {'title': 'Read'}}

    Raises:
        IndexError: A list on the way is too short.
    """
    *way, last = path
    for key in way:
        inside = inside[key] if isinstance(key, int) else inside.setdefault(key, {})
    inside[last] = value

"""The methods by which a server lists what it has, and where the items of each stand in its result.

They are those of ``schema/<revision>/schema.ts``: ``ListToolsResult``, ``ListPromptsResult``, ``ListResourcesResult``
and ``ListResourceTemplatesResult``, the same in every revision. ``tasks/list`` is none of them: a task is what somebody
asked for. Nor is ``roots/list``, which the server asks the client.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal, NamedTuple

Kind = Literal["tool", "prompt", "resource", "template"]


class Listing(NamedTuple):
    """What one method lists."""

    kind: Kind
    member: str
    """The member of the result that holds the items, an array."""
    key: str
    """The member of each item that names it, a string."""


LISTS: Final[Mapping[str, Listing]] = MappingProxyType(
    {
        "tools/list": Listing("tool", "tools", "name"),
        "prompts/list": Listing("prompt", "prompts", "name"),
        "resources/list": Listing("resource", "resources", "uri"),
        "resources/templates/list": Listing("template", "resourceTemplates", "uriTemplate"),
    }
)
"""What each of them lists, by the name of the method."""

"""What a sealed message shows to whoever stands between two guards: its kind, method and id, and what must be seen.

The rules:

1. A frame that leaves says what its message is: ``kind``, ``method``, ``id``, and as ``meta`` those members of a
   request's ``_meta`` that nobody can do without from revision 2026-07-28 on (`VISIBLE`). A seal may show these.
2. A seal that opens a frame returns it with what was shown outside. It is compared with the message that was inside
   once that is parsed, so that whoever stands between has seen what it was: nobody smuggles a call in a ping.
3. A frame whose ``kind`` is None was shown as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from hauberk.methods import REVISION_KEY
from hauberk.refusals import MEDIATION, Refused

if TYPE_CHECKING:
    from hauberk.exchange import RequestId
    from hauberk.message import Frame

CAPABILITIES_KEY: Final = "io.modelcontextprotocol/clientCapabilities"
VISIBLE: Final = (REVISION_KEY, CAPABILITIES_KEY)
"""What ``_meta`` of a request must hold from revision 2026-07-28 on (schema: ``RequestMetaObject``)."""


def meta_of(data: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the members of a request's ``_meta`` that are visible, or None where it has none of them."""
    params = data.get("params")
    meta = params.get("_meta") if type(params) is dict else None
    return shown(meta) if meta and type(meta) is dict else None


def shown(meta: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the visible members of a ``_meta``, or None where it has none of them."""
    return {name: meta[name] for name in VISIBLE if name in meta} or None


def _same(one: Any, other: Any) -> bool:
    """Whether two values are the same in JSON: 1 is not true, and not 1.0."""
    if type(one) is not type(other):
        return False
    if type(one) is dict:
        return one.keys() == other.keys() and all(_same(value, other[name]) for name, value in one.items())
    if type(one) is list:
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)


def compare(frame: Frame, kind: str, id: RequestId | None, data: Mapping[str, Any]) -> None:
    """Check that a message is what its frame said outside.

    Args:
        frame: As the seal left it.
        kind: What the message is.
        id: Its id, where it has one.
        data: The message.

    Raises:
        Refused: ``core.mislabelled``: it is not.
    """
    if (
        frame.kind != kind
        or frame.id != id
        or type(frame.id) is not type(id)
        or frame.method != data.get("method", "")
        or (kind == "request" and not _same(frame.meta, meta_of(data)))
    ):
        raise Refused(
            "core.mislabelled",
            "what a sealed message shows outside is not what is inside",
            rule="kind, method, id and visible _meta are the same outside and inside",
            hint="see what the guard at the other end runs; whoever stands between has judged another message",
            jsonrpc=MEDIATION,
        )

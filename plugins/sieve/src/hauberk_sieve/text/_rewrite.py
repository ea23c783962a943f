"""Take out of a message what rules found, and leave everything else as it is.

The rules:

1. What detectors find is invisible or moves a cursor: it is cut out. What patterns find is replaced by
   ``[removed: <rule>]``.
2. Only text that is written for a reader is cut. A key, a number, what was decoded, an identifier, and what a schema
   or the protocol gives a meaning are not: whoever changes those changes what the message does.
3. What is left is scanned again, until nothing is found that should have been taken out; the parts on both sides of a
   cut may make a whole.
4. Only the objects and arrays on the way to a leaf are copied; the message that came is not changed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from hauberk_sieve.text._detectors import Span
    from hauberk_sieve.text._leaves import Leaf, Path
    from hauberk_sieve.text._scan import Finding, Scanner

_ROUNDS: Final = 4
_MEANING: Final = frozenset(
    {
        *("$anchor", "$dynamicRef", "$id", "$ref", "$schema", "blob", "code", "const", "cursor", "default"),
        *(
            "elicitationId",
            "enum",
            "format",
            "id",
            "lastModified",
            "method",
            "mimeType",
            "name",
            "nextCursor",
            "pattern",
        ),
        *("progressToken", "required", "requestState", "resultType", "role", "src", "status", "taskId", "type", "uri"),
        *("uriTemplate", "url", "version"),
    }
)
"""Members whose text means something to a program (rule 2)."""
_FREE: Final = "structuredContent"
"""What a tool answers in structure has members of its own naming."""


def can_cut(leaf: Leaf) -> bool:
    """Whether text may be taken out of a leaf (rule 2)."""
    if leaf.kind != "text":
        return False
    if _FREE in leaf.path:
        return True
    name = next((step for step in reversed(leaf.path) if type(step) is str), "")
    return name not in _MEANING


def cut(scanner: Scanner, leaf: Leaf, findings: Iterable[Finding]) -> str | None:
    """Return the text of a leaf without what is to be taken out, or None if that cannot be done.

    Raises:
        GateError: The automaton gave up.
    """
    text, found = leaf.text, [one for one in findings if one.action != "alert"]
    for _ in range(_ROUNDS):
        if not found:
            return text
        if any(one.action == "block" or not one.whole for one in found):
            return None
        text = _without(text, found)
        found = [one for one in scanner.scan_text(text) if one.action != "alert"]
    return None if found else text


def _without(text: str, findings: Iterable[Finding]) -> str:
    spans: list[tuple[Span, str]] = []
    for one in findings:
        marker = "" if one.rule.detector else f"[removed: {one.rule.id}]"
        spans.extend((span, marker) for span in one.spans)
    pieces, at = [], 0
    for (start, end), marker in sorted(spans):
        if end <= at:
            continue
        if start >= at:
            pieces += [text[at:start], marker]
        at = end
    return "".join((*pieces, text[at:]))


def replaced(root: Any, texts: dict[Path, str]) -> Any:
    """Return ``root`` with other texts at some paths (rule 4)."""
    copies: dict[Path, Any] = {(): _copy(root)} if texts else {(): root}
    for path, text in texts.items():
        here = copies[()]
        for depth in range(1, len(path)):
            above, there = here, path[:depth]
            if there not in copies:
                copies[there] = above[path[depth - 1]] = _copy(above[path[depth - 1]])
            here = copies[there]
        here[path[-1]] = text
    return copies[()]


def _copy(value: Any) -> Any:
    return dict(value) if isinstance(value, dict) else list(value)

"""Members that a parser which does not tell cases apart takes for others: ``Tools`` for ``tools`` (Go, A51)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from hauberk.refusals import MEDIATION, Refused

_CHARS: Final = 64


def fold(name: str) -> str:
    """Return ``name`` as a case-insensitive parser sees it, with the Turkish i's and what folds to ASCII (U+017F)."""
    # Folding never shortens, so a name that was cut off still equals no name that is checked.
    return name.lower() if name.isascii() else name[:_CHARS].translate({0x130: "i", 0x131: "i"}).casefold()


def _twins(*names: str) -> dict[str, str]:
    return {fold(name): name for name in names}


_RESULT: Final = _twins(
    "tools", "inputRequests", "requestState", "resultType", "task", "taskId", "ttlMs", "cacheScope", "protocolVersion"
)
"""Members of results that the core, or a rule, goes by."""
_COMMON: Final = frozenset({*_RESULT.values(), "content", "structuredContent", "isError", "_meta", "nextCursor"})
"""Members of most results, none of which looks like another."""
_REQUEST: Final = _twins("method", "params")


def check_result(result: dict[str, Any]) -> None:
    """Refuse a result with a member that looks like one that is gone by: its reader would see what no rule saw.

    Raises:
        Refused: ``core.envelope``.
    """
    if not _COMMON.issuperset(result):
        _check(result, _RESULT, "core.envelope", "a result")


def check_embedded(request: dict[str, Any]) -> None:
    """Refuse a request inside an answer with a member that looks like its method or its params.

    Raises:
        Refused: ``core.embedded``.
    """
    _check(request, _REQUEST, "core.embedded", "a request inside an answer")


def _check(names: Iterable[str], twins: Mapping[str, str], code: str, where: str) -> None:
    for name in names:
        twin = twins.get(fold(name))
        if twin is not None and twin != name:
            text = f"a member of {where} looks like {twin!r}"
            raise Refused(code, text, rule="no look-alike members", jsonrpc=MEDIATION)

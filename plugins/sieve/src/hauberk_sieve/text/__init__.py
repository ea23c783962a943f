"""Text: what a model reads, leaf by leaf, scanned by packs of rules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from hauberk_sieve.text._mesh import Text

if TYPE_CHECKING:
    from hauberk_sieve.text._leaves import Leaf, Leaves, walk
    from hauberk_sieve.text._packs import BUILTIN, Pack, PackError, Packs, Rule, parse, prove
    from hauberk_sieve.text._scan import Finding, Found, Scanner

_HOMES: Final = {
    **dict.fromkeys(("Leaf", "Leaves", "walk"), "_leaves"),
    **dict.fromkeys(("BUILTIN", "Pack", "PackError", "Packs", "Rule", "parse", "prove"), "_packs"),
    **dict.fromkeys(("Finding", "Found", "Scanner"), "_scan"),
}

__all__ = [
    "BUILTIN",
    "Finding",
    "Found",
    "Leaf",
    "Leaves",
    "Pack",
    "PackError",
    "Packs",
    "Rule",
    "Scanner",
    "Text",
    "parse",
    "prove",
    "walk",
]


def __getattr__(name: str) -> Any:
    """Import what scans when somebody asks for it: a host that starts does not."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)

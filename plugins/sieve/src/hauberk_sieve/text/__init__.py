"""Text: what a model reads, leaf by leaf, scanned by packs of rules."""

from __future__ import annotations

from hauberk_sieve.text._leaves import Leaf, Leaves, walk
from hauberk_sieve.text._packs import BUILTIN, Pack, PackError, Packs, Rule, parse, prove
from hauberk_sieve.text._scan import Finding, Found, Scanner

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
    "parse",
    "prove",
    "walk",
]

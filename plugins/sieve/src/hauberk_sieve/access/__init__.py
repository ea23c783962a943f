"""Access: one decision for what is shown and what may be used."""

from __future__ import annotations

from hauberk_sieve.access._mesh import Access

__all__ = ["Access"]

"""Probing: who is refused again and again."""

from __future__ import annotations

from hauberk_sieve.probing._mesh import Suspicion

__all__ = ["Suspicion"]

"""Storms: news that comes too often, and lists that never end."""

from __future__ import annotations

from hauberk_sieve.storms._mesh import Storms

__all__ = ["Storms"]

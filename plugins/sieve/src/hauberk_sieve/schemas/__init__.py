"""Schemas: arguments and results are what the tool's own schemas say."""

from __future__ import annotations

from hauberk_sieve.schemas._mesh import Schemas

__all__ = ["Schemas"]

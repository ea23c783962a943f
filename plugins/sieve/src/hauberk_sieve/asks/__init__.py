"""Asks: what a server may ask the host for."""

from __future__ import annotations

from hauberk_sieve.asks._mesh import Asks

__all__ = ["Asks"]

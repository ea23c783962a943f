"""Addresses: where what a server hands out may lead."""

from __future__ import annotations

from hauberk_sieve.addresses._mesh import Addresses

__all__ = ["Addresses"]

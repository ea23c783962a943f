"""Hide, refuse and detect: which tools of which server a host may see and call."""

from __future__ import annotations

from hauberk_sieve._plugin import Sieve

__all__ = ["Sieve"]

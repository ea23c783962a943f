"""Caps, queues, memory and circuit breakers: what one server or caller does stays its own trouble."""

from __future__ import annotations

from hauberk_bulkhead._plugin import Bulkhead

__all__ = ["Bulkhead"]

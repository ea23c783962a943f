"""Remember what each server showed when it was trusted, and stop what changed."""

from __future__ import annotations

from hauberk_pins._plugin import Pins

__all__ = ["Pins"]

"""Every decision of hauberk in a tamper-evident log: JSON Lines, each entry tied to the one before it."""

from __future__ import annotations

from hauberk_audit._plugin import Audit
from hauberk_audit.sealing._providers import KeyProvider

__all__ = ["Audit", "KeyProvider"]

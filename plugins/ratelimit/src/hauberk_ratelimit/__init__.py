"""Rate limits and quotas by server, tool, domain, principal and address, in memory or shared."""

from __future__ import annotations

from hauberk_ratelimit._plugin import RateLimit

__all__ = ["RateLimit"]

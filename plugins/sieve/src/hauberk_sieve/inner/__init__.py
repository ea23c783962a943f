"""Inner calls: a tool that calls tools which its arguments name."""

from __future__ import annotations

from hauberk_sieve.inner._mesh import InnerCalls

__all__ = ["InnerCalls"]

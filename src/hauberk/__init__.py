"""A guard for agentic MCP hosts: every message passes through small, ordered plugins."""

from __future__ import annotations

__version__ = "0.1.0"

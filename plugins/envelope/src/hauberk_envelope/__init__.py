"""Messages that prove who sent them: sealed messages between agents, and sealed MCP sessions between two guards."""

from __future__ import annotations

from hauberk_envelope._plugin import Envelope

__all__ = ["Envelope"]

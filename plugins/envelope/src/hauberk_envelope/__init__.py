"""Messages that prove who sent them: sealed messages between agents, and sealed MCP sessions between two guards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hauberk_envelope._plugin import Envelope

if TYPE_CHECKING:
    from hauberk_envelope.agents import Channel, Identity, Rules, SecureAgentMessage, Trust

__all__ = ["Channel", "Envelope", "Identity", "Rules", "SecureAgentMessage", "Trust"]


def __getattr__(name: str) -> Any:
    """Import what agents use when it is asked for: a host that seals nothing loads no cryptography."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from hauberk_envelope import agents

    return getattr(agents, name)

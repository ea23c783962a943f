"""Limits under one word: what hosts, agents, sandboxes, services and plans are commonly given."""

from __future__ import annotations

from typing import Any, Final, Literal

Preset = Literal["servers", "agents", "sandbox", "service", "plans"]
PRESETS: Final[dict[str, dict[str, Any]]] = {
    "servers": {"calls": "10/second burst 20"},
    "agents": {"messages": "5/second"},
    "sandbox": {
        "global": "600/minute burst 50",
        "domains": {"api.openai.com": "60/minute burst 10", "*": "300/minute burst 30"},
        "tools": {"*": "120/minute burst 20"},
    },
    "service": {"messages": "100/second burst 200"},
    "plans": {
        "address": "1000/minute",
        "principals": {"*": "5/second each"},
        "plans": {
            "free": "30/minute, 100/month",
            "starter": "60/minute, 1000/month",
            "pro": "120/minute, 10000/month",
            "unlimited": "unlimited",
        },
        "members": {"*": "free"},
    },
}
"""The tables that the words stand for (S0.35, S1.23, S3.44, S4.15)."""

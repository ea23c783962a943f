"""What shows that each check is live."""

from __future__ import annotations

from typing import Any


def probes(store: Any) -> list[Any]:
    """Return them."""
    return []

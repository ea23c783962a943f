"""What the tests with the official SDK share."""

from __future__ import annotations

from pathlib import Path

import pytest

_HERE = Path(__file__).parent
_IGNORED = "ignore::mcp.shared.exceptions.MCPDeprecationWarning"
"""The SDK warns of what revision 2026-07-28 left out; the guard serves the older ones too."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test a time limit of its own: what is proved here is also that nothing hangs."""
    for item in items:
        if item.path.is_relative_to(_HERE):
            item.add_marker(pytest.mark.filterwarnings(_IGNORED))
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(20))

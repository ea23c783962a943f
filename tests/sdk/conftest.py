"""What the tests with the official SDK share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hauberk import plugins
from hauberk.config import Config
from hauberk.guard import Guard
from hauberk_sieve import Sieve

_HERE = Path(__file__).parent
_IGNORED = "ignore::mcp.shared.exceptions.MCPDeprecationWarning"
"""The SDK warns of what revision 2026-07-28 left out; the guard serves the older ones too."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test a time limit of its own: what is proved here is also that nothing hangs."""
    for item in items:
        if item.path.is_relative_to(_HERE):
            item.add_marker(pytest.mark.filterwarnings(_IGNORED))
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(120))


@pytest.fixture
def sieved(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Guard]:
    """Return a function that loads a guard with the real sieve from the text of a configuration."""
    source = plugins.Source("sieve", "hauberk-sieve", "0", lambda: Sieve)
    monkeypatch.setattr(plugins, "installed", lambda: {"sieve": source})

    def load(text: str, *objects: Any) -> Guard:
        return Guard.load(Config.from_toml(text), objects=objects)

    return load

"""Settings for the tests of the core and of every plugin."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent

# A deadline for each example measures the machine, and a busy one fails; each test has a time limit as it is.
settings.register_profile("hauberk", parent=settings(), deadline=None)
settings.load_profile("hauberk")

# A shell ignores Ctrl-C for what it starts in the background, and what tests start would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let a campaign stand only where packages are tested alone: everything together leaves it out."""
    for item in items:
        if item.get_closest_marker("campaign") and not {"core", "plugins"} & {*item.path.relative_to(ROOT).parts[:2]}:
            raise pytest.UsageError(f"{item.nodeid}: a campaign belongs to the core or to a plugin")


@pytest.fixture(scope="session", autouse=True)
def _own_state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what guards of tests write out of the user's own state directory."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield

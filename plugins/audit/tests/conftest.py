"""A host whose only plugin is the log."""

from __future__ import annotations

from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest

from hauberk import locking, plugins
from hauberk.config import Config
from hauberk.guard import Guard
from hauberk_audit import Audit

Load = Callable[..., Guard]


@pytest.fixture
def only_audit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the log be all that is installed."""
    package = metadata.distribution("hauberk-audit")
    source = plugins.Source("audit", "hauberk-audit", "0", lambda: Audit, "hauberk_audit", package)
    monkeypatch.setattr(plugins, "installed", lambda: {"audit": source})


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Return the state directory of the host; it is not there yet."""
    return tmp_path / "state"


@pytest.fixture
def load(only_audit: None, state: Path, tmp_path: Path) -> Load:
    """Return a function that loads a guard of the log from the text of a configuration."""

    def load_guard(text: str = "", **more: object) -> Guard:
        head, _, tail = text.partition("---")
        toml = f'{head}\n[core]\nstate_dir = "{state}"\n{tail}'
        config = Config.from_toml(toml, base=tmp_path)
        if config.production:
            locking.write(config, locking.there(config, plugins.installed()).lock)
        return Guard.load(config, **more)  # type: ignore[arg-type]  # the caller's

    return load_guard

"""Every plugin that shares something with other hosts reaches its store alike."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from tests.core.house import locked

from hauberk import plugins
from hauberk.config import Config
from hauberk.guard import Guard
from hauberk.refusals import ConfigError

PLUGINS = Path(__file__).parents[1] / "plugins"
KEYS = {"bulkhead": "breaker.store", "ratelimit": "store", "replay": "memory"}
"""By plugin, the key that names its store."""


def test_the_plugins_that_share_are_these() -> None:
    """Whoever uses a shared store is in the tests below."""
    uses = {path.relative_to(PLUGINS).parts[0] for path in PLUGINS.glob("*/src/**/*.py") if _shares(path)}
    assert uses == set(KEYS)


def _shares(path: Path) -> bool:
    text = path.read_text(encoding="utf-8")
    return bool(re.search(r"from hauberk\.shared import|from hauberk import .*\bshared\b", text))


def load(word: str, uri: str, profile: str, patch: pytest.MonkeyPatch, folder: Path) -> Any:
    """Load a guard with the plugin, and what production cannot be without; its store is there."""
    names = sorted({word, "envelope", "replay", "tls"})
    sources = {name: source for name, source in plugins.installed().items() if name in names}
    patch.setattr(plugins, "installed", lambda: sources)
    lines = [f'profile = "{profile}"', f"plugins.require = {names}", f'core.state_dir = "{folder}/state"']
    text = "\n".join([*lines, f"[{word}]", f'{KEYS[word]} = "{uri}"', ""])
    config = Config.from_toml(text, base=folder)
    return Guard.load(locked(config) if config.production else config)


@pytest.mark.parametrize("word", KEYS)
def test_production_reaches_no_store_in_clear(word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In production a store in clear is refused at load, whichever plugin names it, by its table and key (X.5)."""
    with pytest.raises(ConfigError, match="in clear") as caught:
        load(word, "redis://:canary@10.0.0.1", "production", monkeypatch, tmp_path)
    said = str(caught.value)
    assert f"[{word}] {KEYS[word]}: " in said
    assert "rediss://" in said
    assert "canary" not in said


@pytest.mark.parametrize("word", KEYS)
@pytest.mark.parametrize(
    ("uri", "profile"),
    [
        ("redis://127.0.0.1", "production"),
        ("rediss://10.0.0.1", "production"),
        ("unix:///run/redis.sock", "production"),
        ("redis://10.0.0.1", "development"),
    ],
)
def test_what_crosses_no_network_in_clear_loads(
    word: str, uri: str, profile: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By TLS, by a socket, on this machine, or in development, a store is taken."""
    assert word in load(word, uri, profile, monkeypatch, tmp_path).loaded


@pytest.mark.parametrize("word", KEYS)
@pytest.mark.parametrize("uri", ["redis://:canary@", "redis://:canary@h:99999", "rediss://:canary@h?ssl=none"])
def test_what_names_no_store_is_said_at_load(
    word: str, uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An address that is none stops the start, by the table and the key, without its password."""
    with pytest.raises(ConfigError, match=rf"\[{word}\] {re.escape(KEYS[word])}: ") as caught:
        load(word, uri, "development", monkeypatch, tmp_path)
    assert "canary" not in str(caught.value)

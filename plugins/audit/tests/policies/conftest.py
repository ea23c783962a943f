"""A host in a home of its own, with a trust store where somebody makes one."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from plugins.audit.tests.conftest import only_audit

from hauberk import _homes, files, keys, locking, plugins, signatures
from hauberk.config import Config
from hauberk.guard import Guard
from hauberk_audit.policies import _signing, _store
from hauberk_audit.policies._history import History
from hauberk_audit.policies._signing import Signature
from hauberk_audit.policies._site import local_version

__all__ = ["Host", "Signer", "host", "only_audit"]

LATER = dt.datetime(2100, 1, 1, tzinfo=dt.UTC)


class Signer:
    """Somebody with a key."""

    def __init__(self, name: str = "ops") -> None:
        self.name = name
        self.key = os.urandom(32)
        self.public = _signing.public_key(self.key)

    def sign(self, path: Path, serial: int, **changed: Any) -> Path:
        """Sign the file as it is, and put the signature beside it."""
        config = Config.read(path)
        unsigned = Signature(
            version=1,
            algorithm="ed25519",
            key_id="",
            signer=self.name,
            signed_at="2026-11-21T08:00:00Z",
            serial=serial,
            policy_version=config.version,
            policy_file=local_version(config),
        )
        signed = _signing.sign(self.key, msgspec.structs.replace(unsigned, **changed))
        beside = path.with_name(path.name + ".sig")
        beside.write_bytes(_signing.render(signed))
        return beside


class Host:
    """One user of one machine, with one policy file."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.state = home / ".local" / "state" / "hauberk"
        self.store = home / ".config" / "hauberk" / "policy-keys"
        self.path = home / ".config" / "hauberk" / "hauberk.toml"
        files.private_dir(self.path.parent)
        self.signer = Signer()

    @property
    def history(self) -> History:
        return History(self.state)

    @property
    def log(self) -> Path:
        return self.state / "audit" / "audit.jsonl"

    def write(self, text: str = "") -> str:
        """Write the policy, in one step; return its version."""
        head, _, tail = text.partition("---")
        beside = self.path.with_suffix(".new")
        beside.write_text(f'{head}\n[core]\nstate_dir = "{self.state}"\n{tail}')
        beside.replace(self.path)
        return Config.read(self.path).version

    def load(self, **more: Any) -> Guard:
        config = Config.read(self.path)
        if config.production:
            locking.write(config, locking.there(config, plugins.installed()).lock)
        return Guard.load(config, **more)

    async def run(self) -> None:
        """Let the host start and end."""
        async with self.load():
            pass

    # --- the trust store ---

    def trust(self, signer: Signer, *, until: dt.datetime = LATER, store: Path | None = None) -> Path:
        store = self.store if store is None else store
        store.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = store / f"{signer.name}.toml"
        path.write_bytes(_store.key_file(signer.name, signer.public, until))
        return path

    def settings(self, text: str, *, store: Path | None = None) -> None:
        store = self.store if store is None else store
        store.mkdir(mode=0o700, parents=True, exist_ok=True)
        (store / "store.toml").write_text(text)

    def enforce(self, serial: int = 1) -> None:
        """Trust the signer, enforce signatures, and remember a serial."""
        self.trust(self.signer)
        self.settings('mode = "enforce"\n')
        self.history.at_least(str(self.path), serial)

    def sign(self, serial: int, **changed: Any) -> Path:
        return self.signer.sign(self.path, serial, **changed)

    def key_file(self) -> Path:
        """Return a key file of the signer."""
        path = self.home / "ops.key"
        keys.create_key(path, random=lambda _: self.signer.key)
        return path


@pytest.fixture
def host(only_audit: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """Return a host whose home, and whose system's trust store, are the test's own."""
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    (tmp_path / "etc").mkdir(mode=0o755)
    monkeypatch.setattr(_homes, "system_home", lambda: str(home))
    monkeypatch.setattr(signatures, "_SYSTEM", tmp_path / "etc")
    monkeypatch.setenv("HOME", str(home))
    for name in [name for name in os.environ if name.startswith("XDG_")]:
        monkeypatch.delenv(name)
    return Host(home)

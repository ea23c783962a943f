"""Where the state directory is, and what moves it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hauberk import _homes
from hauberk.config import Config
from hauberk.refusals import ConfigError

PRODUCTION = 'profile = "production"\n'


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the home that the system has for the user, with an environment that agrees."""
    monkeypatch.setattr(_homes, "system_home", lambda: str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in [name for name in os.environ if name.startswith(("XDG_", "HAUBERK"))]:
        monkeypatch.delenv(name)
    return tmp_path


def test_production_is_at_home(home: Path) -> None:
    """Without a word in the file the state lies in the user's home, in either profile."""
    found = {Config.from_toml(text).state_dir for text in ("", PRODUCTION)}
    assert len(found) == 1
    assert found.pop().is_relative_to(home)


@pytest.mark.parametrize("variable", ["XDG_STATE_HOME", "HOME"])
def test_no_variable_moves_the_state_of_production(home: Path, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    """A variable that leads elsewhere stops a host in production, and is named; development follows it (S3.43)."""
    monkeypatch.setenv(variable, f"{home}/elsewhere")
    if variable == "HOME" or os.uname().sysname == "Linux":
        assert Config.from_toml("").state_dir.is_relative_to(home / "elsewhere")
    with pytest.raises(ConfigError, match=f"{variable} leads to") as caught:
        _ = Config.from_toml(PRODUCTION).state_dir
    assert "[core] state_dir" in (caught.value.hint or "")


def test_directory_of_the_file_is_moved_by_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the file says holds, whatever the environment; but what it calls ``~`` must be the user's home."""
    named = Config.from_toml(f'{PRODUCTION}[core]\nstate_dir = "{home}/state"\n')
    tilde = f'{PRODUCTION}[core]\nstate_dir = "~/state"\n'
    assert Config.from_toml(tilde).state_dir == home / "state"
    for name in ("XDG_STATE_HOME", "HOME", "HAUBERK_STATE_DIR", "HAUBERK_PINS_PATH", "PINS_PATH"):
        monkeypatch.setenv(name, f"{home}/elsewhere")
    assert named.state_dir == home / "state"
    with pytest.raises(ConfigError, match="HOME leads to"):
        Config.from_toml(tilde)


def test_user_without_a_home_has_to_name_a_directory(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system knows no home of the user, in a container, only the file can say where the state is."""
    monkeypatch.setattr(_homes, "system_home", lambda: None)
    with pytest.raises(ConfigError, match="HOME leads to"):
        _ = Config.from_toml(PRODUCTION).state_dir
    assert Config.from_toml(f'{PRODUCTION}[core]\nstate_dir = "{home}"\n').state_dir == home


def test_home_is_that_of_the_password_database() -> None:
    """What counts as home is asked of the system, not of the environment."""
    import pwd

    assert _homes.system_home() == pwd.getpwuid(os.geteuid()).pw_dir

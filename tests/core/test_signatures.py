"""Who is asked whether a policy is signed, when, and that nothing which the policy says gets round it (S3.20)."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from tests.core.harness import Recorder
from tests.core.house import House, empty_house, source

from hauberk import _homes, files, signatures
from hauberk.config import Config
from hauberk.guard import Guard
from hauberk.refusals import ConfigError, PluginError
from hauberk.signatures import Signed

KEEPER = source(
    "audit",
    "safe_default = Options()",
    "ASKED = []",
    "ENFORCED, FAULT = True, ''",
    "@classmethod",
    "def check_signature(cls, config, policy_file, stores, now):",
    "    from hauberk.refusals import ConfigError",
    "    from hauberk.signatures import Signed",
    "    cls.ASKED.append((config.content, policy_file, stores, now))",
    "    if b'unsigned' in config.content:",
    "        raise ConfigError('it is not signed')",
    "    if b'broken' in config.content:",
    "        raise ZeroDivisionError",
    "    return Signed(enforced=cls.ENFORCED, fault=cls.FAULT, signer='ops', key_id='k', serial=4)",
)
POLICY = """
import hauberk
class Policy:
    name = "policy"
    Options = hauberk.Options
    def __init__(self, options, guard): pass
    @hauberk.hookimpl
    def on_connect(self, connection): pass
"""


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    """Return a house at whose home a trust store can be put."""
    packages = tmp_path / f"packages_of_{tmp_path.name}"  # modules are called after it
    packages.mkdir()
    home = tmp_path / "home"
    (home / ".config" / "hauberk").mkdir(parents=True, mode=0o700)
    monkeypatch.setattr(_homes, "system_home", lambda: str(home))
    monkeypatch.setattr(signatures, "_SYSTEM", tmp_path / "etc")
    monkeypatch.setattr(sys, "platform", "linux")
    return empty_house(packages, monkeypatch)


@pytest.fixture
def store(house: House, tmp_path: Path) -> Path:
    path = tmp_path / "home" / ".config" / "hauberk" / "policy-keys"
    path.mkdir(mode=0o700)
    return path


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "hauberk.toml"
    path.write_text("[audit]\n")
    path.chmod(0o600)
    return path


def write(policy: Path, text: str) -> None:
    policy.write_text(text)


def asked(module: str) -> list[tuple[bytes, str, tuple[Path, ...], float]]:
    found: list[tuple[bytes, str, tuple[Path, ...], float]] = sys.modules[module].Plugin.ASKED
    return found


# --- when ---


def test_nobody_is_asked_without_a_store(house: House, policy: Path) -> None:
    """Where there is no trust store nothing is checked, and nothing imported for it."""
    module = house.install("audit", KEEPER)
    policy.write_text("[plugins]\ndisable = ['audit']\n# unsigned\n")
    assert Guard.load(policy).policy.signed is None
    assert module not in sys.modules


def test_bytes_that_were_read_are_checked(house: House, store: Path, policy: Path) -> None:
    """What is checked is what was read, whatever the file is by then, with the policy's own program."""
    module = house.install("audit", KEEPER)
    before = policy.read_bytes()
    config = Config.read(policy)
    policy.write_text("# unsigned\n")
    guard = Guard.load(config)
    assert guard.policy.signed == Signed(enforced=True, signer="ops", key_id="k", serial=4)
    ((content, policy_file, stores, now),) = asked(module)
    assert (content, policy_file, stores) == (before, "", (store,))
    assert now > 1.7e9


@pytest.mark.parametrize(
    "text",
    [
        "# unsigned\n",
        "plugins.disable = ['audit'] # unsigned\n",
        "[audit] # unsigned\nmode = 'off'\n",
        "core.state_dir = '/nowhere' # unsigned\n",
    ],
)
async def test_policy_has_no_say(house: House, store: Path, policy: Path, text: str) -> None:
    """Whatever an unsigned policy says, it is refused: at the start, and by a reload, which leaves the old one."""
    house.install("audit", KEEPER)
    async with Guard.load(policy) as guard:
        version = guard.config.version
        write(policy, text)
        with pytest.raises(ConfigError, match="it is not signed"):
            Guard.load(policy)
        with pytest.raises(ConfigError, match="it is not signed"):
            await guard.reload()
        assert guard.config.version == version


def test_program_is_not_run_before_it_is_checked(house: House, store: Path, policy: Path, tmp_path: Path) -> None:
    """An unsigned policy's ``policy.py`` is not imported, nor is a plugin that only it names."""
    house.install("audit", KEEPER)
    other = house.install("other", source("other"))
    trace = tmp_path / "ran"
    (tmp_path / "policy.py").write_text(f"open({str(trace)!r}, 'w')\n{POLICY}")
    (tmp_path / "policy.py").chmod(0o600)
    policy.write_text("plugins.policy = 'policy.py' # unsigned\n[other]\n")
    with pytest.raises(ConfigError, match="it is not signed"):
        Guard.load(policy)
    assert not trace.exists()
    assert other not in sys.modules


def test_program_is_checked_with_its_policy(house: House, store: Path, policy: Path, tmp_path: Path) -> None:
    """The version of the very ``policy.py`` that is run is asked about."""
    module = house.install("audit", KEEPER)
    (tmp_path / "policy.py").write_text(POLICY)
    (tmp_path / "policy.py").chmod(0o600)
    policy.write_text("plugins.policy = 'policy.py'\n[audit]\n")
    guard = Guard.load(policy)
    assert [one[1] for one in asked(module)] == [guard.loaded["policy"].version]
    assert guard.loaded["policy"].content == POLICY.encode()
    assert guard.policy.view.loaded == guard.loaded


def test_missing_policy_is_asked_about(
    house: House, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The defaults that hold where the user's own file is not there are the policy of that place."""
    module = house.install("audit", KEEPER)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home" / ".config"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    config = Config.read(None)
    assert config.place is not None
    Guard.load(None)
    assert [one[0] for one in asked(module)] == [b""]


def test_text_of_a_program_is_not_asked_about(house: House, store: Path) -> None:
    """What a program says itself has no file that could be signed."""
    module = house.install("audit", KEEPER)
    for config in (Config.from_toml("# unsigned\n[audit]\n"), Config.default()):
        assert config.place is None
        Guard.load(config)
    assert asked(module) == []


def test_objects_of_a_program_are_asked_about(house: House, store: Path, policy: Path) -> None:
    """A guard of plugin objects is no way round: its policy is a file, and its memory has to run."""
    house.install("audit", KEEPER)
    with pytest.raises(PluginError, match="'audit' does not run, and remembers"):
        Guard(Config.read(policy), [Recorder()])
    policy.write_text("# unsigned\n")
    with pytest.raises(ConfigError, match="it is not signed"):
        Guard(Config.read(policy), [Recorder()])


# --- what cannot be told ---


def test_store_without_a_plugin_refuses(house: House, store: Path, policy: Path) -> None:
    """A store that nothing checks is not a store that asks nothing."""
    policy.write_text("")
    with pytest.raises(PluginError, match="nothing is installed that checks signatures") as caught:
        Guard.load(policy)
    assert caught.value.hint == "pip install hauberk-audit, or remove the store"
    house.install("audit", source("audit"))
    with pytest.raises(PluginError, match="nothing is installed that checks signatures"):
        Guard.load(policy)


def test_check_that_fails_refuses(house: House, store: Path, policy: Path) -> None:
    """A check that raises what it should not has not said yes."""
    house.install("audit", KEEPER)
    policy.write_text("# broken\n")
    with pytest.raises(PluginError, match=r"'audit' failed to check the signature of .* \(ZeroDivisionError\)"):
        Guard.load(policy)


def test_store_that_cannot_be_looked_at_refuses(
    house: House, policy: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where nobody can say whether there is a store, there may be one."""
    house.install("audit", KEEPER)
    looked = Path.lstat

    def denied(path: Path) -> os.stat_result:
        if path.name == "policy-keys":
            raise PermissionError(13, "Permission denied")
        return looked(path)

    monkeypatch.setattr(Path, "lstat", denied)
    with pytest.raises(ConfigError, match=r"cannot read .*policy-keys.*permission denied"):
        Guard.load(policy)


def test_dangling_store_is_a_store(house: House, store: Path, policy: Path, tmp_path: Path) -> None:
    """A link that leads nowhere is something that is there."""
    store.rmdir()
    store.symlink_to(tmp_path / "nowhere")
    assert signatures.stores() == (store,)


# --- where ---


def test_no_variable_moves_a_store(house: House, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stores are in two places; the environment names none of them (X.5)."""
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "HAUBERK_CONFIG"):
        monkeypatch.setenv(name, str(tmp_path / "elsewhere"))
    assert signatures.places() == (tmp_path / "etc" / "policy-keys", store)
    assert signatures.stores() == (store,)
    assert signatures.state_dir() == tmp_path / "home" / ".local" / "state" / "hauberk"
    (tmp_path / "etc" / "policy-keys").mkdir(parents=True)
    assert signatures.stores() == (tmp_path / "etc" / "policy-keys", store)


def test_user_without_a_home_has_the_systems_store(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a container there may be no home; then there is one place."""
    monkeypatch.setattr(_homes, "system_home", lambda: None)
    assert signatures.places() == (tmp_path / "etc" / "policy-keys",)
    assert signatures.state_dir() is None


@pytest.mark.skipif(os.name != "posix", reason="elsewhere there is no such home")
def test_fixed_directories_are_the_usual_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the environment says nothing, the directories that nothing moves are those that are used."""
    home = _homes.system_home()
    if home is None:
        pytest.skip("this user has no home")
    monkeypatch.setenv("HOME", home)
    for name in [name for name in os.environ if name.startswith("XDG_")]:
        monkeypatch.delenv(name)
    assert _homes.fixed_dir("config") == _homes.user_dir("config")
    assert _homes.fixed_dir("state") == _homes.user_dir("state")


# --- what must run, and what is said ---


def test_memory_must_run_where_it_is_enforced(
    house: House, store: Path, policy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signed policy without the plugin that remembers serials is refused where signatures are enforced."""
    module = house.install("audit", KEEPER)
    policy.write_text("plugins.disable = ['audit']\n")
    with pytest.raises(PluginError, match="'audit' does not run, and remembers"):
        Guard.load(policy)
    monkeypatch.setattr(sys.modules[module].Plugin, "ENFORCED", False)
    Guard.load(policy)


async def test_event_says_what_was_found(
    house: House, store: Path, policy: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """``policy.loaded`` names signer, key and serial; a fault that is let pass is a warning, there and in the log."""
    module = house.install("audit", KEEPER)
    recorder = Recorder()
    async with Guard.load(policy, objects=[recorder]) as guard:
        write(policy, "[audit]\n# 2\n")
        monkeypatch.setattr(sys.modules[module].Plugin, "FAULT", "the key has expired")
        await guard.reload()
    first, second = recorder.of("policy.loaded")
    named = {"signature": "valid", "signer": "ops", "key_id": "k", "serial": 4}
    assert named.items() <= first.details.items()
    assert first.severity == "info"
    assert (second.severity, second.details["signature"]) == ("warning", "the key has expired")
    assert "the key has expired; the trust store only warns of it" in caplog.text


# --- directories of the operator ---


def test_names_of_a_trusted_directory(tmp_path: Path) -> None:
    """The names are those of the directory that was checked, sorted; a missing one is an error."""
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o755)
    for name in ("b", "a"):
        (folder / name).write_text("")
    assert files.list_trusted(folder) == ["a", "b"]
    with pytest.raises(ConfigError, match="no such file"):
        files.list_trusted(tmp_path / "none")
    with pytest.raises(ConfigError, match="not a directory"):
        files.list_trusted(folder / "a")


@pytest.mark.skipif(os.name != "posix", reason="there are no such modes")
def test_directory_that_others_can_change_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody else may put a file there, sticky bit or not, or put another directory in its place."""
    folder = tmp_path / "above" / "folder"
    folder.mkdir(parents=True, mode=0o755)
    for mode in (0o775, 0o757, 0o1777):
        folder.chmod(mode)
        with pytest.raises(ConfigError, match="lets others put files there"):
            files.list_trusted(folder)
    folder.chmod(0o755)
    folder.parent.chmod(0o777)
    with pytest.raises(ConfigError, match="lets others swap the files in it"):
        files.list_trusted(folder)
    folder.parent.chmod(0o1777)
    assert files.list_trusted(folder) == []
    link = tmp_path / "link"
    link.symlink_to(folder)
    foreign = os.stat_result((*folder.stat()[:4], os.geteuid() + 4242, *folder.stat()[5:10]))
    with pytest.raises(ConfigError, match="cannot use directory"):
        files.list_trusted(link)
    monkeypatch.setattr(files, "_status", lambda _: foreign)
    with pytest.raises(ConfigError, match="its owner is user"):
        files.list_trusted(folder)

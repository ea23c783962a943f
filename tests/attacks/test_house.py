"""Somebody who wants the house around the core to look sound: the lock, the reload, the doctor, names, wrap."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.core.harness import rig, ring
from tests.core.house import House, empty_house, locked, record, source

from hauberk import opening, wrapping
from hauberk.cli import main
from hauberk.config import Config
from hauberk.guard import Guard
from hauberk.probe import SERVER
from hauberk.refusals import ConfigError, PluginError


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    return empty_house(tmp_path, monkeypatch)


# --- hooks that name methods ---


@pytest.mark.parametrize(
    "named",
    [
        iter(("tools/list",)),
        filter(None, ("tools/list",)),
        (method for method in ("tools/list",)),
    ],
)
async def test_methods_that_can_be_read_once(named: Any) -> None:
    """Of an iterator that was checked nothing is left for the chain, and the hook would see no message at all (X.1)."""
    with pytest.raises(PluginError, match="as the methods of on_send"):
        async with rig(ring("once", on_send=None, methods={"on_send": named})):
            pass


@pytest.mark.parametrize("methods", [None, 5, (), ("tools/list",), [("on_send", ("tools/list",))]])
async def test_methods_that_are_not_by_hook(methods: Any) -> None:
    """What is no table of methods by hook is an error of the plugin, and no crash of the host."""
    with pytest.raises(PluginError, match="as methods"):
        async with rig(ring("odd", on_send=None, methods=methods)):
            pass


@pytest.mark.parametrize("hook", ["on_send", "on_receive"])
async def test_results_of_tasks_are_not_left_out(hook: str) -> None:
    """A hook for ``tools/call`` sees what a server answers by task id, or the plugin does not load (A41)."""
    whole = ("tools/call", "tasks/get", "tasks/result", "notifications/tasks")
    for left_out in whole[1:]:
        named = [method for method in whole if method != left_out]
        with pytest.raises(PluginError, match=f"without '{left_out}'"):
            async with rig(ring("calls", methods={hook: named}, **{hook: None})):
                pass
    async with rig(ring("calls", methods={hook: whole}, **{hook: None})):
        pass


# --- the doctor's name ---


@pytest.mark.parametrize("table", [f"server.{SERVER}.sieve", f"host.default.server.{SERVER}.sieve"])
def test_doctor_has_no_options_of_its_own(table: str) -> None:
    """With options for the doctor's server it would find live what holds for no other server (X.1)."""
    with pytest.raises(ConfigError) as error:
        Config.from_toml(f"[sieve]\ndefault = 'allow'\n[{table}]\ndefault = 'deny'\n")
    assert f"{SERVER!r} cannot name a server" in error.value.message
    assert error.value.hint == f"{SERVER!r} is the doctor's own; give it another name"


async def test_no_server_has_the_name_of_the_doctor() -> None:
    """A real server under that name would be kept out of what plugins remember, such as its tools (A44)."""
    async with rig() as r:
        with pytest.raises(ConfigError, match="it is the doctor's own"):
            await r.guard.connect(SERVER, "client")


@pytest.mark.parametrize("words", [["--server", SERVER, "--", "true"], ["--", f"/usr/bin/{SERVER}"]])
def test_run_starts_no_server_of_the_name_of_the_doctor(capfd: pytest.CaptureFixture[str], words: list[str]) -> None:
    """Neither by ``--server`` nor by the name of its program does a server become the doctor's."""
    assert main(["run", *words]) == 125
    assert f"{SERVER!r} cannot name a server" in capfd.readouterr().err


def test_wrap_gives_no_server_the_name_of_the_doctor() -> None:
    """A client's entry of that key gets another name, as one that cannot name a server does."""
    text = f'{{"mcpServers": {{"{SERVER}": {{"command": "x"}}}}}}'
    (server,) = wrapping.wrap(text, wrapping.Via("hauberk"), name="mcp.json").servers
    assert (server.state, server.name) == ("wrapped", "server")


# --- wrap ---


@pytest.mark.parametrize(
    "args",
    [
        ["-cimport evil", "-m", "hauberk", "run", "--", "x"],
        ["-Ecimport evil", "-m", "hauberk", "run", "--", "x"],
        ["-", "-m", "hauberk", "run", "--", "x"],
        ["-Xpycache_prefix=evil", "-m", "hauberk", "run", "--", "x"],
        ["-mevil", "-m", "hauberk", "run", "--", "x"],
    ],
)
def test_what_only_looks_like_hauberk_is_wrapped(args: list[str]) -> None:
    """A line that runs other code, and has hauberk's words after it, is not called guarded."""
    text = f'{{"mcpServers": {{"a": {{"command": "python3", "args": {args!r}}}}}}}'.replace("'", '"')
    (server,) = wrapping.wrap(text, wrapping.Via("hauberk"), name="mcp.json").servers
    assert server.state == "wrapped"


@pytest.mark.parametrize("name", ["PYTHONPYCACHEPREFIX", "PYTHONWARNINGS", "PYTHONCASEOK", "PYTHONEXECUTABLE"])
def test_variables_of_an_entry_bring_no_code_into_hauberk(name: str) -> None:
    """Byte code of the project's own, by a variable in ``env``, would run in place of hauberk's (X.5)."""
    text = f'{{"mcpServers": {{"a": {{"command": "x", "args": ["y"], "env": {{"{name}": "./evil"}}}}}}}}'
    changed = wrapping.wrap(text, wrapping.Via("hauberk", python="/opt/python"), name="mcp.json").text
    assert '"command": "/opt/python", "args": ["-E", "-P", "-m", "hauberk", "run"' in changed


# --- the lock ---


class Shared:
    """A plugin whose modules stand in a namespace, without a package of their own."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.name = f"shared_{house.folder.name}"
        self.folder = house.folder / self.name
        self.folder.mkdir()
        (self.folder / "plug.py").write_text(f"{source('ring')}from {self.name}.rules import RULES\n")
        (self.folder / "rules.py").write_text("RULES = ()\n")
        self.info = house.folder / "hauberk_ring-1.0.dist-info"
        self.info.mkdir()
        (self.info / "METADATA").write_text("Metadata-Version: 2.1\nName: hauberk-ring\nVersion: 1.0\n")
        (self.info / "entry_points.txt").write_text(f"[hauberk.plugins]\nring = {self.name}.plug:Plugin\n")
        record(self.info, [*self.folder.glob("*.py"), self.info / "METADATA", self.info / "entry_points.txt"])
        self.config = house.folder / "host" / "hauberk.toml"
        self.config.parent.mkdir()
        self.config.write_text("profile = 'production'\n[plugins]\nrequire = ['ring']\n")

    def lock(self) -> None:
        locked(Config.read(self.config))

    def stops(self) -> str:
        with pytest.raises(PluginError) as error:
            Guard.load(self.config)
        assert not [name for name in sys.modules if name.startswith(self.name)]
        return error.value.message


@pytest.fixture
def shared(house: House) -> Shared:
    return Shared(house)


def test_module_beside_the_plugin_is_found_where_its_record_says(
    shared: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part of the namespace that comes first on the path brings no other module than the one that is locked (A71)."""
    shared.lock()
    first = shared.house.folder / "first" / shared.name
    first.mkdir(parents=True)
    (first / "rules.py").write_text("RULES = ('evil',)\n")
    monkeypatch.syspath_prepend(str(first.parent))
    assert f"module '{shared.name}.rules' is found at {str(first / 'rules.py')!r}" in shared.stops()


def test_plugin_in_a_namespace_starts_beside_others(shared: Shared) -> None:
    """A module of another distribution in the same namespace is nobody's fault."""
    (shared.folder / "neighbour.py").write_text("")
    shared.lock()
    assert set(Guard.load(shared.config).loaded) == {"ring"}


def test_editable_module_of_a_namespace_is_locked_with_those_beside_it(shared: Shared) -> None:
    """Without RECORD, what the plugin's module imports from its own folder is in the digest (A71)."""
    rows = (shared.info / "RECORD").read_text().splitlines()
    (shared.info / "RECORD").write_text("\n".join(row for row in rows if not row.startswith(shared.name)) + "\n")
    shared.lock()
    (shared.folder / "rules.py").write_text("RULES = ('evil',)\n")
    assert "editable sha256:" in shared.stops()


# --- a plugin that ends the process ---

ENDING = """
from hauberk import Options, hookimpl
from hauberk.probe import Probe

class Policy:
    name = "policy"

    class Options(Options):
        where: str = ""

        def __post_init__(self):
            leave(self, "options")

    def __init__(self, options, guard):
        self._options = options
        leave(options, "init")

    def adopt(self, old):
        leave(self._options, "adopt")

    async def open(self):
        leave(self._options, "open")

    async def close(self):
        leave(self._options, "close")

    def probes(self):
        leave(self._options, "probes")
        return [Probe("policy.stands", "it stands", check=lambda events: leave(self._options, "check"))]

    @hookimpl
    def on_tool_call(self, call):
        return None

def leave(options, where):
    if options.where == where:
        raise SystemExit(0)
"""


class Ending:
    """A host whose ``policy.py`` raises SystemExit with status 0 somewhere."""

    def __init__(self, folder: Path) -> None:
        self.config = folder / "hauberk.toml"
        (folder / "policy.py").write_text(ENDING)

    def at(self, where: str) -> Path:
        table = f"[policy]\nwhere = '{where}'\n"
        self.config.write_text(f"[plugins]\ndisable = ['audit', 'sieve', 'pins']\npolicy = 'policy.py'\n{table}")
        return self.config


@pytest.fixture
def ending(tmp_path: Path) -> Ending:
    return Ending(tmp_path)


@pytest.mark.parametrize("where", ["options", "init", "open", "close", "probes", "check"])
def test_doctor_ends_with_no_zero_of_a_plugin(capsys: pytest.CaptureFixture[str], ending: Ending, where: str) -> None:
    """A plugin that ends the process before anything was tried does not make the doctor say that all is well (X.1)."""
    assert main(["doctor", "--config", str(ending.at(where))]) == 2
    said = capsys.readouterr()
    assert "policy" in said.out or "a plugin tried to end the process" in said.err


def test_command_that_a_plugin_ends_has_failed(capfd: pytest.CaptureFixture[str], ending: Ending) -> None:
    """A host that was not started says so, and `config check` finds fault."""
    config = str(ending.at("options"))
    assert (main(["run", "--config", config, "--", "true"]), main(["config", "check", "--config", config])) == (125, 2)
    assert capfd.readouterr().err.count("a plugin tried to end the process") == 2


@pytest.mark.parametrize("where", ["options", "init", "adopt", "open"])
async def test_reload_that_a_plugin_ends_is_refused(ending: Ending, where: str) -> None:
    """SystemExit in a plugin of a new policy ends a reload, never the host; the old policy holds (A68, S3.21)."""
    guard = Guard.load(ending.at(""))
    async with guard:
        before = guard.policy
        ending.at(where)
        with pytest.raises(PluginError):
            await guard.reload()
        assert guard.policy is before


async def test_plugin_that_ends_the_process_when_it_is_replaced(ending: Ending) -> None:
    """SystemExit in ``close()`` of an old plugin, in a task that nobody awaits, does not end the host (A68)."""
    guard = Guard.load(ending.at("close"))
    async with guard:
        ending.at("")
        await guard.reload()
        (retiring,) = [task for task in asyncio.all_tasks() if task.get_name() == "hauberk-retire"]
        await asyncio.wait([retiring])
        assert retiring.exception() is None


async def test_reload_of_another_file_keeps_the_default_of_the_profile(tmp_path: Path) -> None:
    """A host whose program says that it is in production is not taken out of it by a file that says nothing (X.5)."""
    first, second = tmp_path / "first.toml", tmp_path / "second.toml"
    first.write_text("")
    second.write_text("[core]\nrequest_timeout = 9\n")
    guard = Guard.load(Config.read(first, profile_default="production"), discover=False)
    await guard.reload(second)
    assert (guard.config.path, guard.config.production) == (second, True)


async def test_reload_that_hangs_is_given_up(ending: Ending, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plugin that never opens does not keep every later reload waiting without a word (X.16)."""
    ending.at("")
    policy = ending.config.with_name("policy.py")
    guard = Guard.load(ending.config)
    async with guard:
        before, text = guard.policy, policy.read_text()
        policy.write_text(text.replace('leave(self._options, "open")', "await __import__('asyncio').Event().wait()"))
        monkeypatch.setattr(opening, "_PATIENCE", 0.01)
        with pytest.raises(PluginError, match=r"plugin 'policy' cannot open \(not within 0.01 s\)"):
            await guard.reload()
        assert guard.policy is before
        monkeypatch.undo()
        policy.write_text(text + "# another\n")
        assert (await guard.reload()).diff is not None


@pytest.mark.parametrize("version", ["1.0", "2.0"])
async def test_reload_does_not_pass_old_code_off_as_what_is_locked(house: House, version: str) -> None:
    """A build that was installed and locked under a running host is not said to run in it (X.1, A71)."""
    shared = Shared(house)
    shared.lock()
    async with Guard.load(shared.config) as guard:
        (shared.folder / "rules.py").write_text("RULES = ('repaired',)\n")
        metadata = shared.info / "METADATA"
        metadata.write_text(metadata.read_text().replace("1.0", version))
        entry_points = shared.info / "entry_points.txt"
        record(shared.info, [*shared.folder.glob("*.py"), metadata, entry_points])
        shared.lock()
        shared.config.write_text(shared.config.read_text() + "# another\n")
        with pytest.raises(PluginError, match="this process still runs what it imported before") as error:
            await guard.reload()
        assert error.value.hint == "start the host anew"
        assert [one.version for one in guard.roster] == ["1.0"]

"""``hauberk doctor`` with the plugins that are installed: what it finds, and how it says so."""

from __future__ import annotations

import asyncio
import json
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hauberk import keys, locking, plugins
from hauberk.cli import main
from hauberk.config import Config
from hauberk.guard import Guard
from hauberk.hookspecs import hookimpl
from hauberk.refusals import ConfigError, PluginError
from hauberk.verdict import Allow
from hauberk_audit import Audit
from hauberk_audit.verifying._verify import verify
from hauberk_sieve import Sieve

PRODUCTION = 'profile = "production"\n[plugins]\nrequire = ["sieve", "audit"]\n'
RULES = '[sieve]\ndefault = "deny"\nallow = ["files/*"]\n'


class Host:
    """A host with a configuration and a state directory of its own."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.config = folder / "hauberk.toml"
        self.state = folder / "state"
        self._capsys = capsys

    @property
    def key(self) -> Path:
        return self.state / "audit.key"

    @property
    def log(self) -> Path:
        return self.state / "audit" / "audit.jsonl"

    def write(self, text: str, *, core: str = "") -> None:
        """Write the configuration; tables come after ``[core]``."""
        head, _, tables = text.partition("---\n")
        self.config.write_text(f'{head}[core]\nstate_dir = "{self.state}"\n{core}\n{tables}')
        config = Config.read(self.config)
        if config.production:
            locking.write(config, locking.there(config, plugins.installed()).lock)
            if not self.key.exists():
                escrow = str(self.config.with_name("escrow.key"))
                assert main(["audit", "init", "--config", str(self.config), "--escrow", escrow]) == 0
                self._capsys.readouterr()

    def doctor(self) -> tuple[int, dict[str, dict[str, Any]]]:
        """Run the doctor; return its status, and each finding by name."""
        status = main(["doctor", "--config", str(self.config), "--json"])
        said = json.loads(self._capsys.readouterr().out)
        assert said["status"] == status
        return status, {one["name"]: one for one in said["findings"]}

    def print(self) -> str:
        """Run the doctor, and return what it prints."""
        main(["doctor", "--config", str(self.config)])
        return self._capsys.readouterr().out

    def entries(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_bytes().splitlines()]


@pytest.fixture
def host(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Host:
    made = Host(tmp_path, capsys)
    made.write("")
    return made


@pytest.fixture(params=["development", "production"])
def either(request: pytest.FixtureRequest, host: Host) -> Host:
    """A host of one profile, with rules."""
    host.write((PRODUCTION if request.param == "production" else "") + f"---\n{RULES}")
    return host


def not_ok(found: dict[str, dict[str, Any]]) -> dict[str, str]:
    return {name: one["state"] for name, one in found.items() if one["state"] != "ok"}


# --- sound hosts ---


def test_host_without_a_file_is_live(host: Host) -> None:
    """With nothing but the built-in defaults each control of the core, sieve, pins and audit is live: status 0."""
    status, found = host.doctor()
    assert (status, not_ok(found)) == (0, {})
    assert {one["plugin"] for one in found.values()} == {"core", "sieve", "pins", "audit"}
    assert "sieve.refuses_denied_call" in found
    assert "sieve.refuses_unlisted_call" not in found  # the default allows


def test_host_with_rules_is_live(either: Host) -> None:
    """With rules, in both profiles, so is a tool that no rule names."""
    status, found = either.doctor()
    assert (status, not_ok(found)) == (0, {})
    assert found["sieve.refuses_unlisted_call"]["state"] == "ok"


def test_each_probe_is_one_line(host: Host) -> None:
    """A line a probe says how it went and what it tried; the last line counts them."""
    lines = host.print().splitlines()
    assert len(lines) == len(host.doctor()[1]) + 1
    assert [line.split(None, 2) for line in lines if "array" in line] == [
        ["ok", "core.refuses_array", "a batch is refused whole"]
    ]
    assert lines[-1].startswith(f"live: {len(lines) - 1} of {len(lines) - 1} controls")


def test_only_marked_entries_are_left(host: Host) -> None:
    """What the doctor leaves in the log says ``probe``, but for the chain's own beginning, and the log is whole."""
    host.doctor()
    first = host.log.stat().st_size
    host.doctor()
    assert first < host.log.stat().st_size
    assert {entry["code"] for entry in host.entries() if not entry.get("probe")} == {"audit.chain_started"}
    assert verify([host.log], keys.load_key(host.key)).status == 0
    assert {path.name for path in host.state.iterdir()} == {"audit", "audit.key"}


# --- a disabled check ---


def allows(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(Sieve, "on_tool_call", hookimpl(lambda self, call, connection: Allow("switched off")))
    return "sieve.refuses_denied_call"


def shows_to_the_host(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(Sieve, "on_receive", hookimpl(lambda self, message, connection: None))
    return "sieve.hides_denied_tool"


def shows_to_clients(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(Sieve, "on_send", hookimpl(lambda self, message, connection: None))
    return "sieve.hides_denied_tool"


each_fault = pytest.mark.parametrize("switch_off", [allows, shows_to_the_host, shows_to_clients])


@each_fault
def test_check_that_is_switched_off_is_found(
    either: Host, monkeypatch: pytest.MonkeyPatch, switch_off: Callable[[pytest.MonkeyPatch], str]
) -> None:
    """A sieve whose check was switched off in the code is not live, with a sound configuration (X.1)."""
    name = switch_off(monkeypatch)
    status, found = either.doctor()
    assert (status, found[name]["state"]) == (1, "not_stopped")
    assert f"NOT STOPPED     {name}" in either.print()


@each_fault
async def test_production_does_not_start_with_a_check_switched_off(
    host: Host, monkeypatch: pytest.MonkeyPatch, switch_off: Callable[[pytest.MonkeyPatch], str]
) -> None:
    """A host in production refuses to start with it, and names a control; one in development starts (X.1)."""
    name = switch_off(monkeypatch)
    host.write(f"---\n{RULES}")
    async with Guard.load(host.config):
        pass
    shutil.rmtree(host.state)  # a log whose key is a plain one is none of production
    host.write(f"{PRODUCTION}---\n{RULES}")
    guard = Guard.load(host.config)
    with pytest.raises(PluginError, match=r"control 'sieve\.\w+' is not live") as caught:
        await guard.open()
    assert "hauberk doctor" in str(caught.value.hint), name


def test_log_that_drops_events_stops_production(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log that takes events and writes nothing is not live, which no refusal would show."""
    monkeypatch.setattr(Audit, "on_audit", hookimpl(lambda self, event: None))
    host.write(f"{PRODUCTION}---\n{RULES}")
    status, found = host.doctor()
    assert (status, found["audit.records_calls"]["state"]) == (1, "faulty")
    with pytest.raises(PluginError, match=r"control 'audit\.records_calls' is not live"):
        asyncio.run(Guard.load(host.config).open())


# --- another build ---


@pytest.mark.parametrize("profile", ["development", "production"])
def test_replaced_plugin_is_found(host: Host, profile: str) -> None:
    """A plugin of another build than the locked one is found, in development too where there is a lock."""
    host.write(f"{PRODUCTION}---\n{RULES}")
    lock = locking.path_of(Config.read(host.config))
    locked, sieve, rest = lock.read_text().partition("[plugins.sieve]")
    other = re.sub(r'version = "[^"]*"', 'version = "0.0.9"', rest, count=1)
    assert other != rest
    lock.write_text(locked + sieve + other)
    host.config.write_text(host.config.read_text().replace('"production"', f'"{profile}"'))
    status, found = host.doctor()
    assert (status, found["core.lock"]["state"]) == (1, "faulty")
    assert "plugin 'sieve'" in found["core.lock"]["detail"]


def test_lock_that_fits_is_live(host: Host) -> None:
    """Where there is a lock and it fits, that is a finding as well: ``ok``."""
    assert "core.lock" not in host.doctor()[1]
    host.write(f"{PRODUCTION}---\n{RULES}")
    assert host.doctor()[1]["core.lock"]["state"] == "ok"


def test_production_without_a_lock_is_found(host: Host) -> None:
    """In production there must be a lock."""
    host.write(f"{PRODUCTION}---\n{RULES}")
    locking.path_of(Config.read(host.config)).unlink()
    status, found = host.doctor()
    assert (status, not_ok(found)) == (1, {"core.lock": "faulty"})


# --- files ---


def test_key_that_others_can_read_is_found(either: Host) -> None:
    """A key file of mode 0644 is found (X.12): the host would not open, and it is said which file and why."""
    either.doctor()
    either.key.chmod(0o644)
    status, found = either.doctor()
    assert status == 1
    assert not_ok(found) == {"core.opens": "unknown", "audit.keeps_key_private": "faulty"}
    assert str(either.key) in found["audit.keeps_key_private"]["detail"]


PROGRAM = "import sys; from hauberk.cli import main; sys.exit(main(sys.argv[1:]))"


def test_required_log_on_a_full_disk_is_found(host: Host) -> None:
    """A required log that can be opened, and grows no more, is found: no call would pass (X.16)."""
    host.write("---\n[audit]\nrequired = true\n")
    host.doctor()
    size = host.log.stat().st_size
    done = subprocess.run(
        [sys.executable, "-B", "-c", PROGRAM, "doctor", "--config", str(host.config), "--json"],
        capture_output=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
        check=False,
    )
    found = {one["name"]: one for one in json.loads(done.stdout)["findings"]}
    assert done.returncode == 1
    assert not_ok(found) == {"audit.records": "faulty", "audit.records_calls": "faulty"}
    assert host.log.stat().st_size == size


# --- configured, and idle ---


def test_plugin_that_is_off_is_found(host: Host) -> None:
    """A table of a plugin that does not run is a control that an operator may believe in."""
    host.write('---\n[sieve]\nmode = "off"\n')
    status, found = host.doctor()
    assert (status, not_ok(found)) == (1, {"sieve.runs": "not_stopped"})
    assert "mode = 'off'" in found["sieve.runs"]["detail"]


def test_plugin_that_is_disabled_is_found(host: Host) -> None:
    """So is one that ``plugins.disable`` names; without a table it is not configured."""
    host.write('[plugins]\ndisable = ["sieve"]\n---\n[sieve]\ndeny = ["*/x"]\n')
    status, found = host.doctor()
    assert (status, not_ok(found)) == (1, {"sieve.runs": "not_stopped"})
    host.write('[plugins]\ndisable = ["sieve"]\n---\n')
    assert host.doctor()[0] == 0


def test_plugin_that_only_observes_stops_nothing(host: Host) -> None:
    """In development mode ``audit`` is a finding for each control of the plugin, with what to do about it."""
    host.write('---\n[sieve]\nmode = "audit"\n')
    status, found = host.doctor()
    assert status == 1
    assert set(not_ok(found).values()) == {"not_stopped"}
    sieve = {name for name in found if name.startswith("sieve.") and ".tells_" not in name and ".notices_" not in name}
    assert set(not_ok(found)) == sieve
    assert found["sieve.refuses_denied_call"]["hint"] == "take mode = 'audit' out of [sieve]"
    assert "hint: take mode = 'audit' out of [sieve]" in host.print()


@pytest.mark.parametrize(("mode", "error"), [("audit", ConfigError), ("off", PluginError)])
def test_nothing_only_observes_in_production(host: Host, mode: str, error: type[Exception]) -> None:
    """A required plugin in mode ``audit`` or ``off`` is an error at load in production: nothing there fails open."""
    host.write(f'{PRODUCTION}---\n[sieve]\nmode = "{mode}"\n')
    with pytest.raises(error, match="sieve"):
        Guard.load(host.config)
    status, found = host.doctor()
    assert (status, not_ok(found)) == (2, {"core.loads": "unknown"})


# --- what cannot be told ---


def test_configuration_that_does_not_load_cannot_be_told(host: Host) -> None:
    """A fault in a plugin's table is a finding with the text and the hint that a host would give; status 2."""
    host.config.write_text('[sieve]\ndefualt = "deny"\n')
    status, found = host.doctor()
    assert status == 2
    assert "defualt" in found["core.loads"]["detail"]
    assert host.print().splitlines()[-1].startswith("could not tell: 1 could not tell")


def test_policy_without_probes_cannot_be_told(host: Host) -> None:
    """Of a policy that says nothing of what it stops nobody can tell; status 2, and what to do."""
    policy = host.config.with_name("policy.py")
    policy.write_text(
        "import hauberk\n"
        "class Policy:\n"
        "    name = 'policy'\n"
        "    Options = hauberk.Options\n"
        "    def __init__(self, options, guard): pass\n"
        "    @hauberk.hookimpl\n"
        "    def on_tool_call(self, call): return None\n"
    )
    host.write('[plugins]\npolicy = "policy.py"\n---\n')
    status, found = host.doctor()
    assert (status, not_ok(found)) == (2, {"policy.probes": "unprobed"})


def test_policy_of_the_page_is_live(host: Host) -> None:
    """The plugin of docs/doctor.md refuses what its probe says, and not without its check."""
    page = (Path(__file__).parents[1] / "docs" / "doctor.md").read_text(encoding="utf-8")
    program = page.partition("```python\n")[2].partition("```")[0]
    policy = host.config.with_name("policy.py")
    policy.write_text(program)
    host.write('[plugins]\npolicy = "policy.py"\n---\n[policy]\n')
    status, found = host.doctor()
    assert (status, found["policy.refuses_never"]["state"]) == (0, "ok")
    policy.write_text(program.replace("if call.name == self.never", "if False"))
    assert host.doctor()[1]["policy.refuses_never"]["state"] == "not_stopped"

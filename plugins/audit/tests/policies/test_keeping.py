"""A host keeps what it puts in force: the very bytes, tied to its log, or does not put it in force."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Any

import orjson
import pytest
from plugins.audit.tests.policies.conftest import Host
from plugins.audit.tests.test_plugin import plugin_of, there

from hauberk import doctor
from hauberk.config import Config
from hauberk.event import Event
from hauberk.guard import Guard
from hauberk.refusals import ConfigError, PluginError, Refused
from hauberk_audit import _options
from hauberk_audit.policies._history import Contents, History
from hauberk_audit.policies._rows import Row, version_of
from hauberk_audit.policies._site import site
from hauberk_audit.policies._verify import Anchor, anchors, examined, unanchored

REQUIRED = "---[audit]\nrequired = true\n"


def entries(host: Host, code: str = "") -> list[dict[str, Any]]:
    found = [orjson.loads(line) for line in host.log.read_bytes().splitlines()]
    return [one for one in found if one["code"] == code] if code else found


def rows(host: Host) -> list[Row]:
    return host.history.rows()


# --- what is kept ---


async def test_start_is_kept(host: Host) -> None:
    """The policy of a start is kept to the byte, with who wrote it, when, and where it lies (S3.19)."""
    version = host.write("# café\n---[audit]\n")
    await host.run()
    (row,) = rows(host)
    assert (row.version, row.policy_name, row.place) == (version, "hauberk.toml", str(host.path))
    assert (row.how, row.changed_by, row.prev_version) == ("startup", f"file:{os.getuid()}", "")
    assert host.history.contents() == {version: host.path.read_bytes()}


async def test_entry_names_its_row(host: Host) -> None:
    """The log's entry names the newest row, also where nothing changed: so the log holds the history (S3.19)."""
    host.write()
    for _ in range(2):
        await host.run()
    (row,) = rows(host)
    named = [(one["details"]["history_row"], one["details"]["history_hash"]) for one in entries(host, "policy.loaded")]
    assert named == [(1, row.hash), (1, row.hash)]


async def test_reload_is_kept(host: Host) -> None:
    """A reload is kept with who asked for it and what differs, as its event says (S3.18, S3.19)."""
    old = host.write("---[audit]\nrequired = false\n")
    async with host.load() as guard:
        new = host.write("---[audit]\nrequired = true\n")
        await guard.reload(changed_by="api:operator-123")
    row = rows(host)[-1]
    (changed,) = entries(host, "policy.changed")
    assert (row.how, row.changed_by, row.prev_version, row.version) == ("reload", "api:operator-123", old, new)
    assert row.diff == ("~ audit.required: false → true",)
    assert changed["details"]["diff"] == list(row.diff)
    assert changed["details"]["diff_summary"] == row.summary


async def test_swap_of_an_allow_for_a_deny_shows(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is compared are rules, not how many there are: a swap is one rule less and one more (S3.18)."""
    host.write('---[audit]\n[plugins]\ndisable = ["x"]\n')
    await host.run()
    host.write('---[audit]\n[plugins]\ndisable = ["y"]\n')
    await host.run()
    assert rows(host)[-1].diff == ("+ plugins.disable: y", "- plugins.disable: x")


async def test_change_while_nothing_ran_is_told(host: Host) -> None:
    """A file that was edited between two starts is ``policy.changed`` at the second, whatever the route (S3.18)."""
    old = host.write("---[audit]\n")
    await host.run()
    new = host.write("---[audit]\nrequired = true\n")
    await host.run()
    await host.run()
    (changed,) = entries(host, "policy.changed")
    assert (changed["category"], changed["severity"]) == ("policy", "warning")
    assert changed["details"] == {
        "policy_name": "hauberk.toml",
        "policy_path": str(host.path),
        "old_version": old,
        "new_version": new,
        "diff_summary": "+0 rules, -0 rules, ~1 modified",
        "diff": ["~ audit.required: unset → true"],
        "changed_by": f"file:{os.getuid()}",
    }


async def test_file_that_is_gone_is_a_change(host: Host) -> None:
    """Without the file the defaults are in force, and that they are is a change of the policy."""
    old = host.write("---[audit]\nrequired = true\n")
    await host.run()
    host.path.unlink()
    async with Guard.load(None):
        pass
    (changed,) = entries(host, "policy.changed")
    assert changed["details"]["old_version"] == old
    assert [row.version for row in rows(host)] == [old, version_of(b"")]


async def test_old_version_that_nothing_reads_any_more_is_kept(host: Host) -> None:
    """What an older hauberk loaded and this one does not is told as that, and stops no start."""
    host.write()
    await host.run()
    bad = b"[nothing\n"
    db = sqlite3.connect(host.history.path)
    with db:
        db.execute("DELETE FROM policy_loads")
    db.close()
    row = Row(
        number=0,
        version=version_of(bad),
        policy_name="hauberk.toml",
        place=str(host.path),
        host="default",
        loaded_at=1.0,
        how="startup",
        changed_by="",
    )
    host.history.record(row, Contents(bad), lambda *_: ("", ()), strict=False)
    await host.run()
    assert rows(host)[-1].summary == "cannot be compared"


async def test_policy_py_is_kept_as_it_was_run(host: Host) -> None:
    """The ``policy.py`` that is kept is the one that was run, also if the file is another one by then."""
    program = host.path.with_name("policy.py")
    text = (
        "import hauberk\nclass Policy:\n    name = 'policy'\n    Options = hauberk.Options\n"
        "    def __init__(self, options, guard): pass\n"
        "    @hauberk.hookimpl\n    def on_connect(self, connection): pass\n"
    )
    program.write_text(text)
    program.chmod(0o600)
    host.write('[plugins]\npolicy = "policy.py"\n---[audit]\n')
    guard = host.load()
    program.write_text("raise SystemExit\n")
    async with guard:
        pass
    (row,) = rows(host)
    assert row.policy_file == version_of(text.encode())
    assert host.history.contents()[row.policy_file] == text.encode()


async def test_file_that_changes_after_it_was_read_is_not_what_is_kept(host: Host) -> None:
    """What is kept is what is enforced, not what lies there when it is kept (S3.18: read once)."""
    version = host.write("---[audit]\nrequired = true\n")
    before = host.path.read_bytes()
    guard = host.load()
    host.write("---[audit]\nrequired = false\n")
    async with guard:
        pass
    assert [row.version for row in rows(host)] == [version]
    assert host.history.contents() == {version: before}


async def test_text_of_a_program_is_kept_too(host: Host) -> None:
    """A policy that a program makes has no path, and is kept by what it is called."""
    config = Config.from_toml(f'[core]\nstate_dir = "{host.state}"\n', name="mine")
    async with Guard.load(config):
        pass
    (row,) = rows(host)
    assert (row.place, row.policy_name, row.changed_by) == ("", "mine", "api")


async def test_event_of_another_policy_is_not_ours(host: Host) -> None:
    """An event that speaks of another version than the one that is enforced names no row."""
    host.write()
    async with host.load() as guard:
        guard.emit(Event(code="policy.loaded", details={"policy_version": "sha256:0", "loaded_by": "startup"}))
    assert len(rows(host)) == 1
    assert ["history_row" in one["details"] for one in entries(host, "policy.loaded")] == [True, False]


async def test_doctor_leaves_no_row(host: Host) -> None:
    """A doctor puts nothing in force."""
    host.write()
    await doctor.run(host.load())
    assert rows(host) == []


async def test_nothing_is_written_before_open(host: Host) -> None:
    """Loading, as ``config check`` does, leaves nothing behind."""
    host.write(REQUIRED)
    host.load()
    assert not there(host.state)


async def test_secret_is_not_in_the_diff(host: Host) -> None:
    """What differs is shown without the values that are secret (X.14)."""
    for word in ("swordfish", "herring"):
        host.write(f'---[server.x]\ncommand = "y"\nenv = {{ TOKEN = "{word}" }}\n')
        await host.run()
    assert rows(host)[-1].diff == ("~ server.x.env.TOKEN",)
    assert b"herring" not in host.log.read_bytes()


def test_history_is_beside_the_log_where_there_is_no_state(
    host: Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """In production no variable moves the history; where one would, it is beside the log that the file names (X.5)."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "elsewhere"))
    host.path.write_text(
        'profile = "production"\nplugins.require = ["audit"]\n'
        '[audit]\npath = "logs/audit.jsonl"\nkey_file = "audit.key"\nratchet = false\n'
    )
    beside = host.path.with_name("logs") / "policies" / "history.sqlite"
    assert plugin_of(host.load())._keeper.history.path == beside
    assert site(host.path, "default", None).history.path == beside
    assert not there(tmp_path / "elsewhere")


# --- what cannot be kept ---


def spoil(host: Host) -> None:
    """Let the history be one that cannot be used."""
    History(host.state).check()
    host.history.path.write_bytes(b"x" * 5000)


async def test_history_that_is_required_stops_the_start(host: Host) -> None:
    """Where the log is required, a host does not start that cannot keep its policy."""
    host.write(REQUIRED)
    spoil(host)
    with pytest.raises(ConfigError, match="not a database"):
        await host.load().open()
    assert not there(host.log)


async def test_history_that_is_required_stops_a_reload(host: Host) -> None:
    """So does a reload, and the old policy stays in force (S3.21)."""
    old = host.write(REQUIRED)
    async with host.load() as guard:
        spoil(host)
        host.write("---[audit]\nrequired = true\ndurability = 'event'\n")
        with pytest.raises(ConfigError, match="not a database"):
            await guard.reload()
        assert guard.config.version == old
    assert entries(host, "policy.rejected")[0]["details"]["version_in_force"] == old


async def test_reload_that_cannot_be_kept_at_last_is_refused(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fails between the check and the record stops the reload too."""
    old = host.write(REQUIRED)
    async with host.load() as guard:
        monkeypatch.setattr(History, "record", failing)
        host.write("---[audit]\nrequired = true\ndurability = 'event'\n")
        with pytest.raises(Refused, match="could not be recorded"):
            await guard.reload()
        assert guard.config.version == old


async def test_start_that_cannot_be_kept_at_last_lets_nothing_pass(
    host: Host, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A disk that fails there at the start: each connection is refused, and recorded."""
    host.write(REQUIRED)
    monkeypatch.setattr(History, "record", failing)
    async with host.load() as guard:
        for _ in range(2):
            with pytest.raises(Refused, match="could not be recorded"):
                await guard.connect("files", "client")
    assert "the policy in force is not kept" in caplog.text
    assert len(entries(host, "core.connected")) == 2


def failing(*_: object, **__: object) -> None:
    raise ConfigError("cannot use the history of policies: no space left on device")


@pytest.mark.parametrize("text", ["", "---[audit]\ndurability = 'group'\n"])
async def test_history_that_is_not_required_is_told(host: Host, text: str) -> None:
    """Elsewhere the host goes on, and an event says what is wrong."""
    host.write(text)
    spoil(host)
    async with host.load() as guard:
        await guard.connect("files", "client")
    (failed,) = entries(host, "audit.history_failed")
    assert (failed["category"], failed["severity"], failed["plugin"]) == ("policy", "warning", "audit")
    assert "not a database" in failed["details"]["reason"]
    assert "history_row" not in entries(host, "policy.loaded")[0]["details"]


async def test_production_keeps(host: Host) -> None:
    """In production a history that cannot be written stops the start, with the control's name or the file's."""
    host.write('profile = "production"\nplugins.require = ["audit"]\n---[audit]\nratchet = false\n')
    _options.make_key(host.state / "audit.key")
    await host.run()
    assert len(rows(host)) == 1
    spoil(host)
    with pytest.raises(ConfigError, match="not a database"):
        await host.load().open()


async def test_production_does_not_start_on_a_changed_history(host: Host) -> None:
    """A row that was changed is a control that is not live."""
    host.write('profile = "production"\nplugins.require = ["audit"]\n---[audit]\nratchet = false\n')
    _options.make_key(host.state / "audit.key")
    await host.run()
    host.write('profile = "production"\nplugins.require = ["audit"]\n---[audit]\nratchet = false\n# 2\n')
    await host.run()
    db = sqlite3.connect(host.history.path)
    with db:
        db.execute("UPDATE policy_loads SET changed_by = 'nobody' WHERE number = 1")
    db.close()
    with pytest.raises(PluginError, match=r"audit\.keeps_policies.*row 1: it is not what was written"):
        await host.load().open()


# --- what the log says of it ---


async def test_rows_that_were_cut_off_show(host: Host) -> None:
    """The log names the last row: one that is gone, or another in its place, is found."""
    for number in range(3):
        host.write(f"# {number}\n---[audit]\n")
        await host.run()
    named = anchors(host.log, str(host.path)).anchors
    assert named == [Anchor(str(host.log), row.number, row.hash) for row in reversed(rows(host))]
    assert unanchored(rows(host), named) == []
    cut = rows(host)[:-1]
    assert unanchored(cut, named) == [f"{host.log} names row 3, and the last one is 2: rows were cut off"]
    host.history.path.unlink()
    await host.run()
    assert unanchored([*cut, *rows(host)], [Anchor("log", 3, "sha256:0")]) != []
    assert examined(host.history)[1] == []


async def test_history_that_was_made_anew_shows(host: Host, tmp_path: Path) -> None:
    """A history that somebody wrote from the beginning is whole, and not the one that the log names."""
    for number in range(2):
        host.write(f"# {number}\n---[audit]\n")
        await host.run()
    named = anchors(host.log, str(host.path)).anchors
    other = History(tmp_path / "other")
    for row in rows(host):
        made = Row(
            number=0,
            version=row.version,
            policy_name=row.policy_name,
            place=row.place,
            host=row.host,
            loaded_at=row.loaded_at,
            how=row.how,
            changed_by="file:4242",
        )
        other.record(made, Contents(host.history.contents()[row.version]), lambda *_: ("", ()), strict=False)
    assert examined(other)[1] == []
    assert unanchored(other.rows(), named) == [
        f"{host.log} names another row 2: the history is not the one that was written"
    ]


def test_no_log_names_nothing(tmp_path: Path) -> None:
    """Where there is no log there is no anchor."""
    assert anchors(tmp_path / "audit.jsonl", "") == ([], [])

"""The log of a host that is encrypted at rest: what is on the disk, who starts, and who reads it."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner
from plugins.audit.tests.conftest import Load
from plugins.audit.tests.logs import KEY, OTHER_KEY
from plugins.audit.tests.test_commands import audit
from plugins.audit.tests.test_plugin import plugin_of

from hauberk import doctor, files, keys
from hauberk.config import Config
from hauberk.event import Event
from hauberk.guard import Guard
from hauberk.refusals import ConfigError, HauberkError, PluginError
from hauberk_audit._entry import render
from hauberk_audit._paths import closed_files
from hauberk_audit._probes import in_clear
from hauberk_audit.queries._reading import Reader
from hauberk_audit.sealing import _encryption, _sealer, _sqlcipher
from hauberk_audit.sealing._opening import Opener
from hauberk_audit.sealing._providers import LocalKey
from hauberk_audit.sealing._recipients import keys_path
from hauberk_audit.sealing._sealer import sealing
from hauberk_audit.verifying._verify import verify
from hauberk_audit.writing import _custody
from hauberk_audit.writing._chain import Chain
from hauberk_audit.writing._log import Log
from hauberk_audit.writing._rotation import Rotation, Rotator

ENCRYPTED = "---\n[audit.encryption]\nenabled = true\n"
CANARY = "canary-6b1f0c"
PRODUCTION = 'profile = "production"\nplugins.require = ["audit"]\n'


def canary(number: int = 0) -> Event:
    """Return an event with a canary in each of its texts."""
    names = ("server", "tool", "principal", "source", "method", "exchange", "digest", "rule", "plugin")
    more = {name: f"{CANARY}-{name}" for name in names}
    return Event(code="a.b", id=f"{CANARY}-{number}", details={"x": [f"{CANARY}-details"]}, **more)  # type: ignore[arg-type]


def say(code: str, details: dict[str, Any]) -> bytes:
    return render(Event(code=code, id="x", time=1.0, category="system", details=details))


def on_disk(folder: Path) -> dict[str, bytes]:
    """Return all that is in files, what is compressed in them too."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != "hauberk.toml":
            found[str(path.relative_to(folder))] = data = path.read_bytes()
            if path.suffix == ".gz":
                found[f"{path.name} unpacked"] = gzip.decompress(data)
    return found


def leaks(folder: Path) -> list[str]:
    """Return the files in which the canary stands, in any of the forms that it would have."""
    forms = [CANARY.encode(), CANARY.encode("utf-16-le"), CANARY.encode().hex().encode()]
    return [name for name, data in on_disk(folder).items() if any(form in data for form in forms)]


def entries(log: Path, *keys: LocalKey) -> list[dict[str, Any]]:
    """Return the entries of a log, opened."""
    return [found.entry for found in Reader(log, opener=Opener(keys)).forwards()]


def key_of(state: Path) -> LocalKey:
    return LocalKey(keys.load_key(state / "audit-seal.key"))


# --- what is on the disk ---


async def test_canary_is_nowhere_on_the_disk(load: Load, state: Path, tmp_path: Path) -> None:
    """What is recorded is in no file of the host in clear: log, closed, compressed, state, keys (S3.13, A26)."""
    rotation = "[audit.rotation]\nentries = 5\n"
    for pack in ("true", "false"):
        async with load(f"{ENCRYPTED}{rotation}compress = {pack}\n") as guard:
            for number in range(12):
                guard.emit(canary(number))
                plugin_of(guard).flush()
            assert leaks(tmp_path) == []
    names = set(on_disk(tmp_path))
    assert {"state/audit/audit.jsonl", "state/audit/audit.jsonl.keys", "state/audit/audit.jsonl.chain"} <= names
    assert any(name.endswith("unpacked") for name in names)
    assert leaks(tmp_path) == []
    log = state / "audit" / "audit.jsonl"
    found = [entry["rule"] for entry in entries(log, key_of(state)) if entry["code"] == "a.b"]
    assert found == [f"{CANARY}-rule"] * 24
    assert len(closed_files(log)) > 4


async def test_canary_is_in_nothing_that_goes_out_or_stays(load: Load, state: Path, tmp_path: Path) -> None:
    """Checkpoints, their trees, and what says that files were let go hold nothing of a sealed log (S3.13)."""
    kept = tmp_path / "kept.note"
    kept.touch(0o600)
    more = f'[audit.checkpoints]\nsinks = ["file:{kept}"]\n[audit.rotation]\nentries = 4\nkeep = 2\n'
    for _ in range(2):
        async with load(f"{ENCRYPTED}{more}") as guard:
            for number in range(9):
                guard.emit(canary(number))
                plugin_of(guard).flush()
    names = set(on_disk(tmp_path))
    assert {"kept.note", "state/audit/audit.jsonl.tree"} <= names
    assert on_disk(tmp_path)["kept.note"]
    assert leaks(tmp_path) == []


def test_pruned_log_is_whole_without_the_key(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, only_audit: None
) -> None:
    """What says that files were let go stays clear, so who has no key of encryption still verifies what is left."""
    chain_key = keys.create_key(tmp_path / "audit.key", random=os.urandom)
    keys.create_key(tmp_path / "seal.key", random=lambda count: KEY[:count])
    log, config = tmp_path / "log" / "audit.jsonl", tmp_path / "hauberk.toml"
    config.write_text(
        f'[core]\nstate_dir = "{tmp_path}/state"\n[audit]\npath = "{log}"\nkey_file = "audit.key"\n'
        f'{ENCRYPTED[4:]}key = "file:seal.key"\n'
    )
    rotator = Rotator(Rotation(bytes=None, entries=4), lambda: 1.0, say)
    with closing(
        Log.open(log, Chain(chain_key), sync=True, rotator=rotator, sealing=sealing((LocalKey(KEY),)))
    ) as found:
        for number in range(20):
            found.append(render(canary(number)))
    for file in closed_files(log).values():
        os.utime(file, (1.0, 1.0))
    said = audit(capsys, "prune", "--older-than", "1h", "--yes", "--config", config)
    assert said.status == 0, said.err
    assert 1 not in closed_files(log)
    assert verify([log], chain_key).status == 0
    assert leaks(tmp_path) == []
    assert [entry["rule"] for entry in entries(log, LocalKey(KEY)) if "rule" in entry]


async def test_without_encryption_the_canary_is_found(load: Load, tmp_path: Path) -> None:
    """The same search finds the canary where the log is not encrypted: it can fail."""
    async with load("---\n[audit.rotation]\nentries = 5\n") as guard:
        for number in range(12):
            guard.emit(canary(number))
            plugin_of(guard).flush()
    assert len(leaks(tmp_path)) > 2


async def test_what_a_crash_leaves_is_sealed(load: Load, state: Path, tmp_path: Path) -> None:
    """A line that a crash cut off is set aside as it is, sealed; so is a log that was put away (S3.13)."""
    async with load(ENCRYPTED) as guard:
        guard.emit(canary())
    log = state / "audit" / "audit.jsonl"
    log.write_bytes(log.read_bytes()[:-30])
    log.with_name("audit.jsonl.chain").unlink()
    async with load(ENCRYPTED) as guard:
        guard.emit(canary())
    assert any(".torn-" in name for name in on_disk(state))
    config = tmp_path / "hauberk.toml"
    config.write_text(f'[core]\nstate_dir = "{state}"\n{ENCRYPTED[4:]}')
    done = CliRunner().invoke(
        _command(), ["chain", "reset", "--reason", CANARY, "--yes", "--config", str(config)], catch_exceptions=False
    )
    assert done.exit_code == 0, done.output
    assert any("archived-1/audit.jsonl.keys" in name for name in on_disk(state))
    assert leaks(tmp_path) == []
    (reset,) = entries(log, key_of(state))
    assert reset["details"]["reason"] == CANARY
    old = log.with_name("audit.jsonl.archived-1") / log.name
    assert [entry["rule"] for entry in entries(old, key_of(state)) if "rule" in entry][-1] == f"{CANARY}-rule"


def _command() -> Any:
    from hauberk_audit._commands import audit as group

    return group


async def test_what_could_not_be_written_is_nowhere(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An entry that reached the disk in part, and was cut off again, was sealed too."""
    async with load(f'{ENCRYPTED}[audit]\nrequired = true\ndurability = "event"\n') as guard:
        plugin, seen = plugin_of(guard), []
        log = plugin._writer.log  # type: ignore[union-attr]
        real = log._disk

        def write(fd: int, data: bytes) -> int:
            seen.append(data)
            os.write(fd, data[: len(data) // 2])
            raise OSError(28, "no space left on device")

        monkeypatch.setattr(log, "_disk", real._replace(write=write))
        with pytest.raises(PluginError):
            plugin.on_audit(canary())
        monkeypatch.setattr(log, "_disk", real)
        plugin.on_audit(canary())
    assert seen
    assert CANARY.encode() not in b"".join(seen)
    assert leaks(tmp_path) == []


# --- the chain ---


async def test_verify_needs_no_key_of_encryption(load: Load, state: Path) -> None:
    """The chain is verified by its own key alone; a change of one bit of a sealed entry is found (S3.14)."""
    async with load(f"{ENCRYPTED}[audit.rotation]\nentries = 5\n") as guard:
        for number in range(12):
            guard.emit(canary(number))
            plugin_of(guard).flush()
    (state / "audit-seal.key").unlink()
    keys_path(state / "audit" / "audit.jsonl").unlink()
    chain_key = keys.load_key(state / "audit.key")
    assert verify([state / "audit"], chain_key).status == 0
    log = state / "audit" / "audit.jsonl"
    data = bytearray(log.read_bytes())
    data[data.index(b'"sealed":"') + 40] ^= 1
    log.write_bytes(bytes(data))
    assert [one.kind for one in verify([state / "audit"], chain_key).breaks] == ["edited"]


async def test_clear_entries_are_those_that_lead_through_the_files(load: Load, state: Path) -> None:
    """Of a sealed log only those entries are clear that close a file or begin the next one (design)."""
    async with load(f"{ENCRYPTED}[audit.rotation]\nentries = 4\n") as guard:
        for number in range(9):
            guard.emit(canary(number))
            plugin_of(guard).flush()
    log, codes = state / "audit" / "audit.jsonl", set()
    for name in [*closed_files(log).values(), log]:
        data = gzip.decompress(name.read_bytes()) if name.suffix == ".gz" else name.read_bytes()
        lines = [orjson.loads(line) for line in data.splitlines()]
        codes |= {line.get("code") for line in lines}
        assert [line["line"] for line in lines if "sealed" in line] == [
            number for number, line in enumerate(lines, 1) if "sealed" in line
        ]
    assert codes == {None, "audit.rotation", "audit.continued"}


async def test_host_can_turn_encryption_on_later(load: Load, state: Path) -> None:
    """A log that was begun in clear goes on sealed, as one chain, and all of it can be read."""
    async with load():
        pass
    async with load(ENCRYPTED) as guard:
        guard.emit(canary())
    log = state / "audit" / "audit.jsonl"
    assert [entry["code"] for entry in entries(log, key_of(state))][:2] == ["audit.chain_started", "core.started"]
    assert CANARY.encode() not in log.read_bytes()
    assert verify([log], keys.load_key(state / "audit.key")).status == 0


async def test_reload_that_changes_the_keys_begins_another_log(load: Load, state: Path) -> None:
    """Where encryption is turned on by a reload, nothing more is written to the log in clear."""
    config = Config.from_toml(f'[core]\nstate_dir = "{state}"\n{ENCRYPTED[4:]}', base=state)
    async with load() as guard:
        await guard.reload(config)
        guard.emit(canary())
    assert leaks(state) == []
    assert any(entry.get("id") == f"{CANARY}-0" for entry in entries(state / "audit" / "audit.1.jsonl", key_of(state)))


async def test_siblings_have_data_keys_of_their_own(load: Load, state: Path) -> None:
    """Two hosts of one path write two logs, each with its own data keys; one key opens both."""
    async with load(ENCRYPTED), load(ENCRYPTED) as guard:
        guard.emit(canary())
    names = sorted(path.name for path in (state / "audit").glob("*.keys"))
    assert names == ["audit.1.jsonl.keys", "audit.jsonl.keys"]
    assert leaks(state) == []
    assert entries(state / "audit" / "audit.1.jsonl", key_of(state))


async def test_key_that_goes_forward_signs_what_is_sealed(load: Load, state: Path, tmp_path: Path) -> None:
    """A log is sealed, and signed with a key that only goes forward; the escrow verifies it unopened (S3.7, S3.14)."""
    files.private_dir(state)
    _custody.make(state / "audit.key", tmp_path / "escrow.key")
    keys.create_key(state / "audit-seal.key", random=os.urandom)
    text = f"{PRODUCTION}{ENCRYPTED}"
    async with load(text) as guard:
        guard.emit(canary())
        report = await doctor.run(guard)
        assert {one.state for one in report.findings if one.plugin == "audit"} == {"ok"}
    async with load(text):
        pass
    assert leaks(tmp_path) == []
    assert verify([state / "audit"], keys.load_key(tmp_path / "escrow.key")).status == 0
    assert any(entry.get("id") == f"{CANARY}-0" for entry in entries(state / "audit" / "audit.jsonl", key_of(state)))


# --- who starts ---


async def opens(load: Load, text: str) -> Guard:
    async with load(text) as guard:
        return guard


async def test_library_that_does_not_work_stops_the_start(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where AES-GCM is not to be had, or wrong, no host starts: nothing is written in clear (S3.13, fail closed)."""
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers.aead", None)
        with pytest.raises(PluginError, match="AES-256-GCM") as error:
            await opens(load, ENCRYPTED)
        assert "pip install" in str(error.value.hint)
    with monkeypatch.context() as patch:
        patch.setattr(_encryption, "_CHECK", bytes(16))
        with pytest.raises(PluginError, match="AES-256-GCM"):
            await opens(load, ENCRYPTED)
    await opens(load, ENCRYPTED)


async def test_index_that_was_chosen_and_does_not_work_stops_the_start(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With ``index = "sqlcipher"`` a host without SQLCipher does not start, by default it does (X.2)."""
    monkeypatch.setitem(sys.modules, "sqlcipher3", None)
    with pytest.raises(PluginError, match="SQLCipher") as error:
        await opens(load, f'{ENCRYPTED}index = "sqlcipher"\n')
    assert "hauberk-audit[sqlcipher]" in str(error.value.hint)
    for index in ("auto", "none"):
        await opens(load, f'{ENCRYPTED}index = "{index}"\n')


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ('key = "file:none.key"', None),
        ('key = "nobody:x"', "no key provider 'nobody'"),
        ('key = "env:HAUBERK_TEST_NONE"', "no variable"),
        ('recipients = ["file:none.key"]', "none.key"),
        ('recipients = ["nobody:x"]', "no key provider"),
    ],
)
async def test_key_that_is_not_to_be_had_stops_the_start(load: Load, state: Path, text: str, match: str | None) -> None:
    """A key or a recipient that cannot be used stops the start; the host's own key file is made once in development."""
    if match is None:
        await opens(load, f"{ENCRYPTED}{text}\n")
        (state.parent / "none.key").unlink()
        match = "is missing, and none is made"
    with pytest.raises(HauberkError, match=match):
        await opens(load, f"{ENCRYPTED}{text}\n")


async def test_production_makes_no_key_and_takes_none_from_the_environment(load: Load, state: Path) -> None:
    """In production the key must be there, in no variable (S3.8, S3.16)."""
    files.private_dir(state)
    keys.create_key(state / "audit.key", random=os.urandom)
    text = f"{PRODUCTION}---\n[audit]\nratchet = false\n[audit.encryption]\nenabled = true\n"
    with pytest.raises(ConfigError, match="none is made") as error:
        await opens(load, text)
    assert "hauberk audit init --encryption" in str(error.value.hint)
    with pytest.raises(ConfigError, match="development only"):
        load(f'{text}key = "env:SEAL"\n')
    keys.create_key(state / "audit-seal.key", random=os.urandom)
    await opens(load, text)


async def test_key_that_signs_does_not_open(load: Load, state: Path) -> None:
    """The key of the chain is refused as the key of encryption: who verifies is not to read (X.10, S3.14)."""
    with pytest.raises(ConfigError, match="is the one that signs"):
        await opens(load, f'{ENCRYPTED}key = "file:{state}/audit.key"\n')
    assert not (state / "audit" / "audit.jsonl").exists()


async def test_damaged_data_keys_stop_the_start(load: Load, state: Path) -> None:
    """A host whose data keys are damaged, or gone, does not start, and nothing is overwritten (M31)."""
    await opens(load, ENCRYPTED)
    path = keys_path(state / "audit" / "audit.jsonl")
    good = path.read_bytes()
    path.write_bytes(good[:-10])
    with pytest.raises(ConfigError, match="data keys"):
        await opens(load, ENCRYPTED)
    assert path.read_bytes() == good[:-10]
    path.unlink()
    with pytest.raises(ConfigError, match="it is gone"):
        await opens(load, ENCRYPTED)
    path.write_bytes(good)
    path.chmod(0o600)
    await opens(load, ENCRYPTED)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("key = 1", "expected string"),
        ('key = "seal.key"', "no source of a key"),
        ('recipients = ["x"]', "no source of a key"),
        ('index = "sqlite"', "index"),
        ("enable = true", "did you mean 'enabled'"),
    ],
)
def test_options_are_checked(load: Load, text: str, match: str) -> None:
    """What nothing reads in the table is an error that names it (X.2)."""
    with pytest.raises(ConfigError, match=match):
        load(f"---\n[audit.encryption]\n{text}\n")


def test_more_specific_table_turns_nothing_off(load: Load) -> None:
    """A table of one host cannot turn encryption off, and adds recipients only (narrow)."""
    text = (
        "---\n[audit.encryption]\nenabled = true\nrecipients = ['env:A']\n"
        "[host.default.audit.encryption]\nenabled = false\nrecipients = ['env:B']\n"
    )
    found = plugin_of(load(text)).encryption
    assert (found.enabled, found.recipients) == (True, ("env:A", "env:B"))


async def test_variable_is_a_key_in_development(load: Load, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In development the key may be in a variable, and no file of it is made (S3.8)."""
    monkeypatch.setenv("SEAL", keys.key_line(KEY))
    async with load(f'{ENCRYPTED}key = "env:SEAL"\n') as guard:
        guard.emit(canary())
    assert entries(state / "audit" / "audit.jsonl", LocalKey(KEY))
    assert not (state / "audit-seal.key").exists()


async def test_two_recipients(load: Load, state: Path, tmp_path: Path) -> None:
    """A second key opens the log where the first one was lost (S3.16)."""
    keys.create_key(tmp_path / "escrow.key", random=lambda count: OTHER_KEY[:count])
    async with load(f'{ENCRYPTED}recipients = ["file:escrow.key"]\n') as guard:
        guard.emit(canary())
    (state / "audit-seal.key").unlink()
    assert any(entry.get("rule") for entry in entries(state / "audit" / "audit.jsonl", LocalKey(OTHER_KEY)))


# --- doctor ---


async def test_doctor_finds_a_log_that_seals_nothing(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """The probe of a sound log passes, and fails where entries are written in clear (S4.1, X.1)."""

    async def states() -> dict[str, str]:
        report = await doctor.run(load(ENCRYPTED))
        return {one.name.removeprefix("audit."): one.state for one in report.findings if one.plugin == "audit"}

    assert set((found := await states()).values()) == {"ok"}
    assert {"seals_entries", "records_calls"} <= set(found)
    monkeypatch.setattr(_sealer, "seal", lambda body, *_: body)
    assert (await states())["seals_entries"] == "faulty"


async def test_probe_needs_something_to_look_at(load: Load) -> None:
    """Without events the probe shows nothing, and says so."""
    async with load(ENCRYPTED) as guard:
        assert in_clear(plugin_of(guard), []) == "nothing was recorded of a call"
        (plugin_of(guard).log_path()).unlink()
        assert str(in_clear(plugin_of(guard), [canary()])).startswith("the log cannot be read")


# --- making the key ---


def test_command_makes_the_key(capsys: pytest.CaptureFixture[str], tmp_path: Path, only_audit: None) -> None:
    """``hauberk audit init --encryption`` makes the key that the configuration names, once."""
    config = tmp_path / "hauberk.toml"
    config.write_text(f'[core]\nstate_dir = "{tmp_path}/state"\n[audit.encryption]\nkey = "file:k/seal.key"\n')
    said = audit(capsys, "init", "--encryption", "--config", config)
    assert said.status == 0
    made = keys.load_key(tmp_path / "k" / "seal.key")
    assert said.out.splitlines()[0] == f"made key {keys.key_id(made)}: file:k/seal.key"
    assert audit(capsys, "init", "--encryption", "--config", config).status == 2
    assert keys.load_key(tmp_path / "k" / "seal.key") == made


# --- SQLCipher ---


@pytest.fixture
def sealed_log(tmp_path: Path) -> Iterator[Path]:
    """Yield a log of sealed entries."""
    log = tmp_path / "log" / "audit.jsonl"
    with closing(Log.open(log, Chain(keys.derive(KEY, "test")), sync=True, sealing=sealing((LocalKey(KEY),)))) as found:
        for number in range(50):
            found.append(render(canary(number)))
        yield log


def test_index_is_encrypted_while_it_is_open_and_after(sealed_log: Path) -> None:
    """The index of a sealed log, its log of changes and its journals hold no canary, while it is used and after."""
    pytest.importorskip("sqlcipher3")
    opener = Opener([LocalKey(KEY)])
    index = opener.indexing(Reader(sealed_log, opener=opener), _unwatched)
    assert index is not None
    assert index.db.execute("SELECT count(*) FROM entries").fetchone() == (50,)
    assert index.db.execute("SELECT 1 FROM words WHERE text = ?", (f"{CANARY}-tool",)).fetchone() == (1,)
    names = set(on_disk(sealed_log.parent))
    assert {"audit.jsonl.index.db", "audit.jsonl.index.db-wal", "audit.jsonl.index.db-shm"} <= names
    assert leaks(sealed_log.parent) == []
    assert b"SQLite format 3" not in (sealed_log.parent / "audit.jsonl.index.db").read_bytes()
    index.close()
    assert leaks(sealed_log.parent) == []


def _unwatched(_: int, /) -> Any:
    from contextlib import nullcontext

    return nullcontext()


def test_index_of_another_key_is_made_anew(sealed_log: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """An index that another key encrypted, or that is in clear, is deleted and made anew, without a word."""
    pytest.importorskip("sqlcipher3")
    opener = Opener([LocalKey(KEY)])
    reader = Reader(sealed_log, opener=opener)
    for _ in range(2):
        for other in (_sqlcipher.connector(OTHER_KEY), None):
            path = sealed_log.with_name("audit.jsonl.index.db")
            path.unlink(missing_ok=True)
            _damage(path, other)
            index = opener.indexing(reader, _unwatched)
            assert index is not None
            assert index.db.execute("SELECT count(*) FROM entries").fetchone() == (50,)
            index.close()
    assert capfd.readouterr() == ("", "")


def _damage(path: Path, connect: Any) -> None:
    import sqlite3

    with closing(sqlite3.connect(path) if connect is None else connect(path)) as database:
        database.execute("CREATE TABLE x (y)")
        database.commit()
    path.chmod(0o600)


def test_without_sqlcipher_there_is_no_index(sealed_log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the package nothing of a sealed log is indexed, in no file."""
    monkeypatch.setitem(sys.modules, "sqlcipher3", None)
    opener = Opener([LocalKey(KEY)])
    assert opener.indexing(Reader(sealed_log, opener=opener), _unwatched) is None
    assert not list(sealed_log.parent.glob("*.index.*"))


# --- reading ---


@pytest.fixture
def reading(sealed_log: Path, tmp_path: Path, only_audit: None) -> list[str]:
    """Return the options of a command that reads a sealed log, with the key at hand."""
    keys.create_key(tmp_path / "seal.key", random=lambda count: KEY[:count])
    config = tmp_path / "hauberk.toml"
    config.write_text(
        f'[core]\nstate_dir = "{tmp_path}/state"\n[audit]\npath = "{sealed_log}"\n'
        f'{ENCRYPTED[4:]}key = "file:seal.key"\n'
    )
    return ["--config", str(config)]


COMMANDS = [["list"], ["tail"], ["show", "7"], ["show", f"{CANARY}-6"], ["stats"], ["export"]]
COMMANDS += [["list", "--tool", f"{CANARY}-tool"], ["export", "--server", f"{CANARY}-*", "--format", "ocsf"]]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("package", [True, False])
def test_queries_read_a_sealed_log(
    capsys: pytest.CaptureFixture[str],
    reading: list[str],
    sealed_log: Path,
    command: list[str],
    *,
    package: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With the key at hand each query answers in clear, and leaves nothing in clear on the disk (S3.13)."""
    if package:
        pytest.importorskip("sqlcipher3")
    else:
        monkeypatch.setitem(sys.modules, "sqlcipher3", None)
    said = audit(capsys, *command, *reading)
    assert (said.status, said.err) == (0, "")
    assert CANARY in said.out
    assert leaks(sealed_log.parent) == []
    indexed = command != ["tail"] and command[0] != "export" and command != ["list"]
    assert bool(list(sealed_log.parent.glob("*.index.db"))) == (package and (indexed or "--server" in command))


@pytest.mark.parametrize("command", COMMANDS)
def test_queries_use_no_database_in_clear(
    capsys: pytest.CaptureFixture[str], reading: list[str], command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No query of a sealed log opens a database that is not encrypted: SQLite would spill it into temporary files."""
    import sqlite3

    def connect(*_: Any, **__: Any) -> Any:
        raise AssertionError

    monkeypatch.setattr(sqlite3, "connect", connect)
    for package in (True, False):
        if not package:
            monkeypatch.setitem(sys.modules, "sqlcipher3", None)
        assert audit(capsys, *command, *reading).status == 0


@pytest.mark.parametrize("command", [["list"], ["tail"], ["show", "7"], ["stats"], ["export"]])
def test_queries_without_the_key_show_what_is_clear(
    capsys: pytest.CaptureFixture[str], reading: list[str], sealed_log: Path, tmp_path: Path, command: list[str]
) -> None:
    """Without the key a query shows what is clear, and says which key is missing; nothing is made up."""
    (tmp_path / "seal.key").unlink()
    said = audit(capsys, *command, *reading)
    assert said.status == 0
    assert CANARY not in said.out
    assert "is sealed, and what is in it cannot be shown" in said.err
    assert "seal.key" in said.err


def test_queries_with_another_key_say_so(
    capsys: pytest.CaptureFixture[str], reading: list[str], tmp_path: Path
) -> None:
    """With a key that opens nothing of the log it is said once, and what is clear is shown."""
    (tmp_path / "seal.key").unlink()
    keys.create_key(tmp_path / "seal.key", random=lambda count: OTHER_KEY[:count])
    said = audit(capsys, "list", "--json", *reading)
    assert said.status == 0
    assert said.err.count("is sealed") == 1
    assert LocalKey(OTHER_KEY).key_id in said.err
    assert [entry["sealed"] for entry in orjson.loads(said.out)]


def test_export_can_be_judged_anew(
    capsys: pytest.CaptureFixture[str], reading: list[str], sealed_log: Path, tmp_path: Path
) -> None:
    """What ``export`` prints of a sealed log is what ``hauberk rejudge`` reads; of the log itself it says how."""
    from hauberk.cli import main

    said = audit(capsys, "export", *reading)
    exported = tmp_path / "clear.jsonl"
    exported.write_text(said.out)
    assert main(["rejudge", str(exported), *reading]) == 0
    capsys.readouterr()
    assert main(["rejudge", str(sealed_log), *reading]) == 2
    err = capsys.readouterr().err
    assert "line 1 is sealed" in err
    assert "hauberk audit export LOG | hauberk rejudge -" in err


def test_import_of_the_plugin_brings_no_cryptography() -> None:
    """Importing the plugin, and loading a host without encryption, imports no library for it (S0.42)."""
    code = (
        "import sys, hauberk_audit; from hauberk.config import Config; from hauberk.guard import Guard\n"
        "Guard.load(Config.default())\n"
        "print([n for n in ('cryptography', 'keyring', 'sqlcipher3', 'sqlite3') if n in sys.modules])"
    )
    home = {"HOME": "/nowhere", "PATH": os.defpath}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, env=home, check=True
    )
    assert done.stdout.strip() == "[]"

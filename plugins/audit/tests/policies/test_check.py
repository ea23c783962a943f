"""What a trust store accepts, and every way round it that we could think of (S3.20)."""

from __future__ import annotations

import datetime as dt
import os
import shutil
import sqlite3
import stat
import sys
import time
from pathlib import Path

import msgspec
import pytest
from plugins.audit.tests.policies.conftest import Host, Signer

from hauberk import differences, doctor, files, signatures
from hauberk.config import Config
from hauberk.refusals import ConfigError, PluginError
from hauberk.signatures import Signed
from hauberk_audit import Audit
from hauberk_audit.policies._history import History
from hauberk_audit.policies._rows import version_of
from hauberk_audit.policies._signing import key_id
from hauberk_audit.policies._site import local_version

NOW = time.time()


def check(host: Host, *, now: float = NOW) -> Signed | None:
    config = Config.read(host.path)
    return signatures.checked(config, local_version(config), now)


def refused(host: Host, said: str, *, now: float = NOW) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        check(host, now=now)
    assert caught.value.hint


@pytest.fixture
def signed(host: Host) -> Host:
    """Return a host that enforces signatures, with a policy that is signed with serial 3."""
    host.write()
    host.enforce()
    host.sign(3)
    return host


# --- what is accepted ---


def test_nothing_is_asked_without_a_store(host: Host) -> None:
    """Where nobody made a trust store no signature is looked at, and no cryptography imported."""
    host.write()
    host.path.with_name("hauberk.toml.sig").write_text("rubbish")
    assert check(host) is None


def test_signed_policy_is_accepted(signed: Host) -> None:
    """What a key of the store signed is accepted, with who it was and which serial."""
    found = check(signed)
    assert found is not None
    assert (found.enforced, found.fault, found.signer, found.serial) == (True, "", "ops", 3)
    assert found.details() == {
        "signature": "valid",
        "signer": "ops",
        "key_id": found.key_id,
        "serial": 3,
    }


def test_store_without_settings_enforces(signed: Host) -> None:
    """Taking the mode away does not take it away."""
    (signed.store / "store.toml").unlink()
    found = check(signed)
    assert found is not None
    assert found.enforced
    signed.write("# edited\n")
    refused(signed, "signature of another policy")


def test_text_of_a_program_is_not_asked_about(signed: Host) -> None:
    """Who writes the program says what its policy is."""
    assert signatures.checked(Config.from_toml(""), "", NOW) is None
    assert signatures.checked(Config.default(), "", NOW) is None


# --- the policy ---


def test_edited_policy_is_refused(signed: Host) -> None:
    """One byte more, and it is another policy."""
    with signed.path.open("ab") as file:
        file.write(b"\n")
    refused(signed, "it is the signature of another policy")


def test_policy_without_a_signature_is_refused(signed: Host) -> None:
    """Taking the signature away does not make it unnecessary."""
    signed.path.with_name("hauberk.toml.sig").unlink()
    refused(signed, r"is not signed: there is no .*hauberk\.toml\.sig")


def test_policy_that_is_gone_is_refused(signed: Host) -> None:
    """Without the file the defaults would be in force, which allow more."""
    signed.path.unlink()
    config = Config.read(None)
    assert config.content == b""
    with pytest.raises(ConfigError, match=r"there is no policy .* has to be a signed one"):
        signatures.checked(config, "", NOW)


@pytest.mark.parametrize(
    "text",
    [
        'profile = "development"\n',
        '[plugins]\ndisable = ["audit"]\n',
        '---[audit]\nmode = "off"\n',
        '---[audit]\nmode = "audit"\n',
        "---[features]\nagent_security_enabled = false\n",
    ],
)
def test_policy_cannot_switch_its_check_off(signed: Host, text: str) -> None:
    """Whatever the unsigned file says of profile and plugins, it is refused as what it is: unsigned."""
    signed.write(text)
    with pytest.raises(ConfigError, match="it is the signature of another policy"):
        signed.load()


def test_policy_cannot_name_another_state(signed: Host, tmp_path: Path) -> None:
    """An older policy, signed, that says that the state is elsewhere does not get rid of what is remembered."""
    signed.path.write_text(f'[core]\nstate_dir = "{tmp_path / "fresh"}"\n')
    signed.sign(9)
    refused(signed, r"its state directory is .*fresh.* and that of trust store")
    assert not (tmp_path / "fresh").exists()


def test_store_says_where_the_state_is(signed: Host, tmp_path: Path) -> None:
    """Where the state is elsewhere, by right, the store says so."""
    signed.path.write_text(f'[core]\nstate_dir = "{tmp_path / "srv"}"\n')
    signed.sign(9)
    signed.settings(f'state_dir = "{tmp_path / "srv"}"\n')
    refused(signed, "nobody knows which serial was the last")
    signed.settings('state_dir = "srv"\n')
    refused(signed, "not absolute")


def test_edited_program_is_refused(signed: Host) -> None:
    """``policy.py`` is code that the policy runs: it is signed with it, and not imported before that is settled."""
    program = signed.path.with_name("policy.py")
    program.write_text("import hauberk\n")
    program.chmod(0o600)
    signed.write('[plugins]\npolicy = "policy.py"\n')
    signed.sign(4)
    assert check(signed) is not None
    trace = signed.home / "was-run"
    program.write_text(f"open({str(trace)!r}, 'w')\n")
    with pytest.raises(ConfigError, match=r"not the signature of this policy\.py"):
        signed.load()
    assert not trace.exists()


def test_signature_without_the_program_is_refused(signed: Host) -> None:
    """Nor does a signature that says nothing of a ``policy.py`` hold for a policy that has one."""
    program = signed.path.with_name("policy.py")
    program.write_text("import hauberk\n")
    program.chmod(0o600)
    signed.write('[plugins]\npolicy = "policy.py"\n')
    signed.sign(4, policy_file="")
    refused(signed, r"not the signature of this policy\.py")


# --- the signature ---


def test_edited_signature_is_refused(signed: Host) -> None:
    """A serial that was raised in the file of an older signature is found."""
    beside = signed.path.with_name("hauberk.toml.sig")
    beside.write_text(beside.read_text().replace('"serial": 3', '"serial": 4'))
    refused(signed, "the signature is wrong")


def test_signature_of_another_file_is_refused(signed: Host) -> None:
    """The signature of one policy does not hold for another, however high its serial."""
    other = signed.path.with_name("other.toml")
    other.write_text("# other\n")
    shutil.copy(signed.signer.sign(other, 99), signed.path.with_name("hauberk.toml.sig"))
    refused(signed, "it is the signature of another policy")


def test_version_that_was_written_over_is_refused(signed: Host) -> None:
    """So it is with the version of this policy written into it."""
    other = signed.path.with_name("other.toml")
    other.write_text("# other\n")
    text = signed.signer.sign(other, 99).read_text()
    beside = signed.path.with_name("hauberk.toml.sig")
    beside.write_text(text.replace(Config.read(other).version, Config.read(signed.path).version))
    refused(signed, "the signature is wrong")


def test_key_that_the_store_does_not_know_is_refused(signed: Host) -> None:
    """Anybody can make a key, and call it as another is called."""
    Signer().sign(signed.path, 9)
    refused(signed, "which trust store .* does not know")


def test_key_id_that_is_another_keys_is_refused(signed: Host) -> None:
    """Nor does the id of a known key help."""
    beside = Signer().sign(signed.path, 9)
    found = msgspec.json.decode(beside.read_bytes())
    found["key_id"] = check_id(signed)
    beside.write_bytes(msgspec.json.encode(found))
    refused(signed, "the signature is wrong")


def check_id(host: Host) -> str:
    return key_id(host.signer.public)


def test_name_of_another_is_refused(signed: Host) -> None:
    """A key signs under the name that the store has for it: the log names nobody else (S3.20)."""
    signed.sign(9, signer="the chief")
    refused(signed, "calls its signer 'the chief', and the trust store calls the key 'ops'")


def test_other_audience_is_refused(signed: Host) -> None:
    """Where stores say whom signatures are for, one for others does not hold, nor one for nobody."""
    signed.settings('audience = "production"\n')
    for audience in ("", "staging"):
        signed.sign(9, audience=audience)
        refused(signed, "the trust store is of 'production'")
    signed.sign(9, audience="production")
    assert check(signed) is not None
    signed.settings("")
    refused(signed, "it is for 'production'")


def test_expired_key_is_refused(signed: Host) -> None:
    """A key is believed until it expires, whenever it says to have signed; not a second longer."""
    until = dt.datetime(2027, 1, 1, tzinfo=dt.UTC)
    signed.trust(signed.signer, until=until)
    assert check(signed, now=until.timestamp() - 1) is not None
    refused(signed, "expired at 2027-01-01", now=until.timestamp())


@pytest.mark.parametrize("kind", ["link", "fifo", "folder", "large"])
def test_signature_that_is_no_file_is_refused(signed: Host, kind: str) -> None:
    """A link, a FIFO (which would block), a directory and a file without end are no signatures."""
    beside = signed.path.with_name("hauberk.toml.sig")
    beside.rename(signed.home / "away")
    match kind:
        case "link":
            beside.symlink_to(signed.home / "away")
        case "fifo":
            os.mkfifo(beside)
        case "folder":
            beside.mkdir()
        case _:
            beside.write_bytes((signed.home / "away").read_bytes() + b" " * 20_000)
    refused_any(signed)


def refused_any(host: Host) -> None:
    with pytest.raises(ConfigError):
        check(host)


# --- time: between the reading and the check ---


def test_file_that_changes_after_it_was_read_is_not_what_is_checked(signed: Host) -> None:
    """What is checked are the bytes that were read: a file that is swapped for a signed one meanwhile helps nobody."""
    good = signed.path.read_bytes()
    signed.write("# evil\n")
    config = Config.read(signed.path)
    signed.path.write_bytes(good)
    with pytest.raises(ConfigError, match="it is the signature of another policy"):
        signatures.checked(config, "", NOW)


def test_file_that_is_spoilt_after_it_was_read_does_no_harm(signed: Host) -> None:
    """Nor does it the other way round."""
    config = Config.read(signed.path)
    signed.path.write_text("# evil\n")
    assert signatures.checked(config, "", NOW) is not None


# --- serials ---


def test_older_policy_is_refused(signed: Host) -> None:
    """A policy and its signature that were good once do not come back (S3.20: no roll-back)."""
    before = signed.path.read_bytes(), signed.path.with_name("hauberk.toml.sig").read_bytes()
    signed.write("# newer\n")
    signed.sign(4)
    signed.history.at_least(str(signed.path), 4)
    assert check(signed) is not None
    signed.path.write_bytes(before[0])
    signed.path.with_name("hauberk.toml.sig").write_bytes(before[1])
    refused(signed, "its serial is 3, and serial 4 was accepted before")


async def test_serial_is_remembered_when_a_policy_comes_into_force(signed: Host) -> None:
    """What a host accepted is what the next one goes by; two policies of one serial are never both accepted."""
    await signed.run()
    known = signed.history.serial(str(signed.path))
    assert known is not None
    assert (known.serial, known.content) == (3, Config.read(signed.path).version)
    signed.write("# other\n")
    signed.sign(3)
    refused(signed, "its serial is 3, and so was that of another policy")
    signed.sign(4)
    await signed.run()
    assert [row.serial for row in signed.history.rows()] == [3, 4]


@pytest.mark.parametrize("gone", ["file", "directory", "table", "row"])
async def test_lost_memory_is_not_the_beginning(signed: Host, gone: str) -> None:
    """Where the history is gone no policy is accepted, until somebody says from which serial on: it is not 0."""
    await signed.run()
    path = signed.history.path
    if gone == "file":
        path.unlink()
    elif gone == "directory":
        shutil.rmtree(path.parent)
    else:
        db = sqlite3.connect(path)
        with db:
            db.execute("DROP TABLE policy_serials" if gone == "table" else "DELETE FROM policy_serials")
        db.close()
    with pytest.raises(ConfigError, match="nobody knows which serial was the last") as caught:
        check(signed)
    assert "hauberk policy serial --at-least 3" in str(caught.value.hint)
    signed.history.at_least(str(signed.path), 3)
    assert check(signed) is not None


def test_store_has_a_lowest_serial(signed: Host) -> None:
    """What stands in a store that the host cannot write holds, whatever is remembered."""
    signed.settings("min_serial = 4\n")
    refused(signed, "takes none below 4")
    signed.settings("min_serial = 3\n")
    assert check(signed) is not None


def test_other_place_has_a_memory_of_its_own(signed: Host) -> None:
    """A signed policy that is copied to another path is not accepted there without a word."""
    other = signed.path.with_name("copy.toml")
    for name in ("", ".sig"):
        shutil.copy(f"{signed.path}{name}", f"{other}{name}")
    with pytest.raises(ConfigError, match="nobody knows which serial was the last"):
        signatures.checked(Config.read(other), "", NOW)


# --- modes ---


def spoilt(host: Host, how: str) -> None:
    match how:
        case "unsigned":
            host.path.with_name("hauberk.toml.sig").unlink()
        case "edited":
            host.write("# edited\n")
        case "expired":
            host.trust(host.signer, until=dt.datetime(2020, 1, 1, tzinfo=dt.UTC))
        case "unknown":
            (host.store / "ops.toml").unlink()
        case "older":
            host.history.at_least(str(host.path), 9)
        case _:
            (host.store / "ops.toml").write_text("name = 5\n")


SPOILT = ["unsigned", "edited", "expired", "unknown", "older", "malformed"]


@pytest.mark.parametrize("how", SPOILT)
async def test_warning_store_tells_and_accepts(signed: Host, how: str, caplog: pytest.LogCaptureFixture) -> None:
    """In mode ``warn`` what would be refused is told in the event and on standard error, and holds."""
    await signed.run()
    signed.settings('mode = "warn"\n')
    spoilt(signed, how)
    found = check(signed)
    assert found is not None
    assert (found.enforced, found.signer, found.serial) == (False, "", 0)
    assert found.fault
    caplog.clear()
    async with signed.load() as guard:
        assert guard.policy.signed == found
    assert found.fault in caplog.text
    assert signed.history.serial(str(signed.path)) is not None


@pytest.mark.parametrize("how", SPOILT)
async def test_enforcing_store_refuses(signed: Host, how: str) -> None:
    """In mode ``enforce`` it does not load."""
    spoilt(signed, how)
    with pytest.raises(ConfigError):
        signed.load()


@pytest.mark.parametrize("how", SPOILT)
async def test_store_that_is_off_asks_nothing(signed: Host, how: str) -> None:
    """In mode ``off`` it loads, and nothing is said."""
    signed.settings('mode = "off"\n')
    spoilt(signed, how)
    assert check(signed) is None


@pytest.mark.parametrize("how", SPOILT)
async def test_reload_of_what_is_refused_leaves_the_old_policy(signed: Host, how: str) -> None:
    """A reload is refused as a start is, and the policy in force stays (S3.21)."""
    async with signed.load() as guard:
        version = guard.config.version
        signed.write("# newer\n")
        signed.sign(4)
        spoilt(signed, how)
        with pytest.raises(ConfigError):
            await guard.reload()
        assert guard.config.version == version
    assert b'"policy.rejected"' in signed.log.read_bytes()


async def test_event_says_who_signed(signed: Host) -> None:
    """The entry of a policy that is loaded names signer, key and serial, and so does its row (S3.20)."""
    await signed.run()
    signed.settings('mode = "warn"\n')
    signed.write("# newer\n")
    await signed.run()
    first, second = (
        entry
        for line in signed.log.read_bytes().splitlines()
        if (entry := msgspec.json.decode(line))["code"] == "policy.loaded"
    )
    named = {"signature": "valid", "signer": "ops", "key_id": check_id(signed), "serial": 3}
    assert named.items() <= first["details"].items()
    assert first["severity"] == "info"
    assert second["severity"] == "warning"
    assert "signature of another policy" in second["details"]["signature"]
    rows = signed.history.rows()
    assert [(row.signer, row.serial, row.signature == "valid") for row in rows] == [("ops", 3, True), ("", 0, False)]


def test_each_store_must_accept(signed: Host, tmp_path: Path) -> None:
    """The system's store and the user's both hold: adding one takes nothing away from the other."""
    system = tmp_path / "etc" / "policy-keys"
    signed.trust(Signer("chief"), store=system)
    refused(signed, "which trust store .*etc.* does not know")
    signed.settings('mode = "warn"\n', store=system)
    found = check(signed)
    assert found is not None
    assert found.enforced
    assert "does not know" in found.fault
    assert found.serial == 3
    signed.settings('mode = "off"\n')
    found = check(signed)
    assert found is not None
    assert not found.enforced
    signed.settings('mode = "enforce"\n', store=system)
    refused(signed, "does not know")


# --- the store ---


@pytest.mark.parametrize("name", ["XDG_CONFIG_HOME", "HOME", "XDG_STATE_HOME", "HAUBERK_POLICY_KEYS"])
def test_no_variable_moves_the_store(signed: Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    """Where the store is looked for, and where serials are remembered, no variable says (X.5)."""
    monkeypatch.setenv(name, str(tmp_path / "elsewhere"))
    assert signatures.places() == (tmp_path / "etc" / "policy-keys", signed.store)
    assert check(signed) is not None
    signed.path.with_name("hauberk.toml.sig").unlink()
    refused(signed, "is not signed")


def test_store_that_is_a_link_is_refused(signed: Host, tmp_path: Path) -> None:
    """A link could lead to a store of somebody else's; it is an error, and not no store."""
    signed.store.rename(tmp_path / "away")
    signed.store.symlink_to(tmp_path / "away")
    refused_any(signed)
    signed.store.unlink()
    signed.store.symlink_to(tmp_path / "nowhere")
    refused_any(signed)


@pytest.mark.parametrize("where", [".", "ops.toml", "store.toml"])
@pytest.mark.parametrize("mode", [0o777, 0o775, 0o1777])
def test_store_that_others_can_write_is_refused(signed: Host, where: str, mode: int) -> None:
    """Who can write there could trust a key of theirs."""
    (signed.store / where).chmod(mode)
    with pytest.raises(ConfigError, match="lets others"):
        check(signed)


def test_store_that_others_can_swap_is_refused(signed: Host) -> None:
    """Who can write in the directory above could put another store there."""
    signed.store.parent.chmod(0o777)
    with pytest.raises(ConfigError, match="lets others swap"):
        signatures.checked(like(signed), "", NOW)


def like(host: Host) -> Config:
    content = host.path.read_bytes()
    path = host.home / "elsewhere.toml"
    return Config(content, name=str(path), host="default", base=path.parent, path=path)


@pytest.mark.parametrize("which", ["folder", "file"])
def test_store_of_another_user_is_refused(signed: Host, monkeypatch: pytest.MonkeyPatch, which: str) -> None:
    """The owner is root or the user that runs the host."""
    ours = files._status

    def status(fd: int) -> os.stat_result:
        info = ours(fd)
        if stat.S_ISDIR(info.st_mode) != (which == "folder"):
            return info
        return os.stat_result((*info[:4], os.geteuid() + 4242, *info[5:10]))

    config = Config.read(signed.path)
    monkeypatch.setattr(files, "_status", status)
    with pytest.raises(ConfigError, match="its owner is user"):
        signatures.checked(config, "", NOW)


@pytest.mark.parametrize("name", ["ops.toml", "store.toml"])
def test_link_in_a_store_is_refused(signed: Host, name: str) -> None:
    """No file of a store is a link."""
    (signed.store / name).rename(signed.home / "away")
    (signed.store / name).symlink_to(signed.home / "away")
    refused(signed, "symbolic link")


@pytest.mark.parametrize(
    "text",
    [
        "mode = 'none'",
        "mode = true",
        "mod = 'warn'",
        "min_serial = -1",
        "[x]",
        "mode = ",
        "\x00",
        "state_dir = 'here'",
    ],
)
def test_store_that_says_what_nothing_reads_is_refused(signed: Host, text: str) -> None:
    """A mistyped mode is no mode that lets pass."""
    signed.settings(text)
    refused(signed, r"store\.toml")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "name = 'ops'\npublic_key = 'abc'\nexpires_at = 2100-01-01T00:00:00Z\n",
        "name = 'ops'\npublic_key = '{key}'\n",
        "name = 'ops'\npublic_key = '{key}'\nexpires_at = 2100-01-01T00:00:00\n",
        "name = 'ops'\npublic_key = '{key}'\nexpires_at = '2100-01-01T00:00:00Z'\nfor = 'x'\n",
        "name = ''\npublic_key = '{key}'\nexpires_at = 2100-01-01T00:00:00Z\n",
    ],
)
def test_key_file_that_says_what_nothing_reads_is_refused(signed: Host, text: str) -> None:
    """A key has a name, 32 bytes, and an end, with its time zone."""
    (signed.store / "ops.toml").write_text(text.format(key=signed.signer.public.hex()))
    refused(signed, r"ops\.toml")


def test_what_is_no_key_file_is_left_alone(signed: Host) -> None:
    """What an editor leaves, or a README, is no key."""
    for name in (".ops.toml.swp", ".x.toml", "README", "ops.toml~"):
        (signed.store / name).write_text("rubbish")
    assert check(signed) is not None


def test_key_that_is_there_twice_is_refused(signed: Host) -> None:
    """Which of two names or ends would hold nobody could say."""
    shutil.copy(signed.store / "ops.toml", signed.store / "again.toml")
    refused(signed, "this key is there twice")


def test_too_many_keys_are_refused(signed: Host) -> None:
    """A store has a bound."""
    for number in range(64):
        signed.trust(Signer(f"signer-{number}"))
    with pytest.raises(ConfigError, match="more than 64 keys"):
        check(signed)


# --- what else must run ---


def test_memory_must_run(signed: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signed policy that does not let the plugin run which remembers serials is refused."""
    for text in ('[plugins]\ndisable = ["audit"]\n', '---[audit]\nmode = "off"\n'):
        signed.write(text)
        signed.sign(9)
        with pytest.raises(PluginError, match="'audit' does not run, and remembers"):
            signed.load()
        signed.settings('mode = "warn"\n')
        signed.load()
        signed.settings('mode = "enforce"\n')
    signed.write()
    signed.sign(9)
    with pytest.raises(ConfigError, match="'audit' cannot be turned off by a flag"):
        signed.load(disable=["audit"])


async def test_memory_that_cannot_be_written_stops_the_start(signed: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where signatures are enforced the history is one that has to be kept, required log or not."""

    def failing(self: History) -> None:
        raise ConfigError("no space left on device")

    monkeypatch.setattr(History, "check", failing)
    with pytest.raises(ConfigError, match="no space left"):
        await signed.load().open()


def test_checks_that_come_to_nothing_refuse(signed: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """A check that fails in a way that nobody thought of refuses: here cryptography is not there."""
    monkeypatch.setitem(sys.modules, "cryptography.exceptions", None)
    with pytest.raises(PluginError, match="failed to check the signature"):
        signed.load()


# --- the doctor ---


async def test_doctor_tries_it(signed: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """The doctor has an edited and an unsigned policy checked as a start does; one that is accepted is found (X.1)."""

    async def state() -> dict[str, str]:
        report = await doctor.run(signed.load())
        return {one.name: one.state for one in report.findings if one.plugin == "audit"}

    name = "audit.refuses_unsigned_policies"
    assert (await state())[name] == "ok"
    real = Audit.check_signature
    good = version_of(signed.path.read_bytes())

    def blind(config: Config, *rest: object) -> Signed | None:
        return real(differences.like(Config.read(signed.path), signed.path.read_bytes()), *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Audit, "check_signature", staticmethod(blind))
    assert Config.read(signed.path).version == good
    assert (await state())[name] == "faulty"
    monkeypatch.setattr(Audit, "check_signature", staticmethod(real))
    signed.settings('mode = "warn"\n')
    assert name not in await state()

"""What `check` finds, and with what it ends; what `list` shows."""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from plugins.tls.tests.certs.desk import NOW, Desk, set_clock

from hauberk_tls.certs import certs


def edited(path: Path, data: bytes) -> None:
    """Write into a file as it is."""
    mode = path.stat().st_mode
    path.chmod(0o600)
    path.write_bytes(data)
    path.chmod(mode & 0o777)


def made(desk: Desk, passphrase: str) -> Desk:
    desk.ok("init", "--passphrase-file", passphrase)
    desk.ok("issue", "files", "time", "--passphrase-file", passphrase)
    desk.ok("issue", "--client", "laptop", "--passphrase-file", passphrase)
    return desk


def findings(desk: Desk, *args: str, status: int = 1) -> list[tuple[str, str, str]]:
    """Check; return level, subject and code of each finding."""
    done = desk.run("check", "--json", *args)
    assert done.status == status, done
    report = json.loads(done.out)
    assert report["ok"] == (status == 0)
    return [(one["level"], one["subject"], one["code"]) for one in report["findings"]]


def swap(desk: Desk) -> None:
    """Put the key of one pair beside the certificate of another."""
    files, time = desk.folder("files").pair, desk.folder("time").pair
    key = time.read_bytes().split(b"-----BEGIN CERT")[0]
    edited(files, key + b"-----BEGIN CERT" + files.read_bytes().split(b"-----BEGIN CERT")[1])


def behind(desk: Desk) -> None:
    """Let the certificate to give away be another one than that of the pair."""
    shutil.copy(desk.folder("time").certificate, desk.folder("files").certificate)


def moved(desk: Desk) -> None:
    desk.folder("files").path.rename(desk.places.servers / "moved")


def as_client(desk: Desk) -> None:
    shutil.copytree(desk.folder("files").path, desk.base / "files")


def stranger(desk: Desk) -> None:
    """Let a pair be one of another CA."""
    other = Desk(desk.base.with_name("stranger")).ca()
    other.ok("issue", "files")
    for name in ("pair.pem", "cert.pem"):
        edited(desk.folder("files").path / name, (other.folder("files").path / name).read_bytes())


def other_list(desk: Desk) -> None:
    other = Desk(desk.base.with_name("stranger")).ca()
    edited(desk.places.crl, other.places.crl.read_bytes())


FAULTS: list[tuple[Callable[[Desk], object], tuple[str, str]]] = [
    (lambda d: d.folder("files").pair.chmod(0o640), ("server files", "damaged")),
    (lambda d: d.folder("files").certificate.chmod(0o666), ("server files", "mismatch")),
    (lambda d: d.folder("files").path.chmod(0o750), ("directory", "mode")),
    (lambda d: d.base.chmod(0o755), ("directory", "mode")),
    (lambda d: d.base.chmod(0o777), ("directory", "damaged")),
    (lambda d: d.places.servers.chmod(0o777), ("directory", "damaged")),
    (lambda d: d.places.ca.chmod(0o711), ("directory", "mode")),
    (lambda d: d.places.ca_key.chmod(0o440), ("ca", "damaged")),
    (lambda d: edited(d.places.ca_key, b"rubbish"), ("ca", "damaged")),
    (lambda d: edited(d.places.ca_certificate, b"rubbish"), ("ca", "damaged")),
    (lambda d: edited(d.places.index, b"rubbish"), ("ca", "damaged")),
    (lambda d: edited(d.places.crl, b"rubbish"), ("crl", "damaged")),
    (lambda d: d.places.crl.unlink(), ("crl", "damaged")),
    (other_list, ("crl", "stale")),
    (lambda d: edited(d.folder("files").pair, b"rubbish"), ("server files", "damaged")),
    (lambda d: edited(d.folder("files").pair, b""), ("server files", "damaged")),
    (lambda d: [path.unlink() for path in d.folder("files").path.iterdir()], ("server files", "damaged")),  # type: ignore[func-returns-value]
    (swap, ("server files", "damaged")),
    (behind, ("server files", "mismatch")),
    (moved, ("server moved", "name")),
    (as_client, ("client files", "purpose")),
    (stranger, ("server files", "chain")),
]


@pytest.mark.parametrize(("spoil", "found"), FAULTS)
def test_each_fault_is_found(
    desk: Desk, passphrase: str, spoil: Callable[[Desk], object], found: tuple[str, str]
) -> None:
    """S0.17, S4.5, S4.6, X.9: each thing that can be wrong is found and ends with 1; without it `check` ends with 0."""
    made(desk, passphrase)
    assert findings(desk, status=0) == []
    spoil(desk)
    assert ("fault", *found) in findings(desk)
    assert desk.run("check", "--quiet").out != ""


@pytest.mark.parametrize(
    ("days", "status", "code"), [(334, 0, None), (336, 1, "expires"), (364, 1, "expires"), (366, 1, "expired")]
)
def test_ends_are_told_in_time(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, passphrase: str, days: int, status: int, code: str | None
) -> None:
    """S0.13, S0.17: what expires within 30 days, or has, is a fault of its own: certificates, and the list."""
    set_clock(monkeypatch, NOW)
    made(desk, passphrase)
    set_clock(monkeypatch, NOW + dt.timedelta(days=days))
    wanted = [("fault", who, code) for who in ("crl", "client laptop", "server files", "server time")] if code else []
    assert findings(desk, status=status) == wanted
    if code == "expires":
        assert findings(desk, "--days", "0", status=0) == []


def test_clock_that_is_behind_is_told(desk: Desk, monkeypatch: pytest.MonkeyPatch, passphrase: str) -> None:
    """S0.13, X.13: a certificate that does not count yet is told, and not taken for an expired one."""
    set_clock(monkeypatch, NOW)
    made(desk, passphrase)
    set_clock(monkeypatch, NOW - dt.timedelta(hours=1))
    assert ("fault", "server files", "not-yet-valid") in findings(desk)


def test_end_of_the_ca_is_told(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """S0.17: a CA that expires soon is told, with what to do."""
    set_clock(monkeypatch, NOW)
    desk.ca("--crl-days", "7300")
    set_clock(monkeypatch, NOW + dt.timedelta(days=3640))
    assert ("fault", "ca", "expires") in findings(desk)


def test_revoked_certificate_is_told(desk: Desk, passphrase: str) -> None:
    """S0.19: a certificate that is revoked is told where the CA is, and where only its list is."""
    made(desk, passphrase).ok("revoke", "files", "--passphrase-file", passphrase)
    assert findings(desk) == [("fault", "server files", "revoked")]
    desk.places.index.unlink()
    desk.places.ca_key.unlink()
    assert findings(desk) == [("fault", "server files", "revoked")]


def test_list_that_a_crash_left_behind_is_told(desk: Desk, passphrase: str) -> None:
    """S0.19, X.12: a list that leaves out what the index says is revoked is told, and the next `revoke` mends it."""
    made(desk, passphrase)
    old = desk.places.crl.read_bytes()
    desk.ok("revoke", "files", "--passphrase-file", passphrase)
    edited(desk.places.crl, old)
    assert {("fault", "crl", "stale"), ("fault", "server files", "revoked")} <= set(findings(desk))
    desk.ok("revoke", "files", "--passphrase-file", passphrase)
    assert findings(desk) == [("fault", "server files", "revoked")]


def test_key_without_a_passphrase_is_a_note(desk: Desk) -> None:
    """S0.17: that the CA's key is not encrypted is said each time, and is no fault: somebody chose it."""
    desk.ca()
    assert findings(desk, status=0) == [("note", "ca", "clear")]
    assert "has no passphrase" in desk.ok("check").out
    assert desk.ok("check", "--quiet").out == ""


def test_unencrypted_key_of_another_ca_is_told(desk: Desk) -> None:
    """S4.6: a CA's key that does not belong to its certificate is told where it can be read."""
    other = Desk(desk.base.with_name("stranger")).ca()
    desk.ca()
    edited(desk.places.ca_key, other.places.ca_key.read_bytes())
    assert ("fault", "ca", "mismatch") in findings(desk)


def test_nothing_to_check_is_no_success(desk: Desk, tmp_path: Path) -> None:
    """S0.17: where there is no directory, no file or no certificate, `check` cannot tell, and ends with 2 or 1."""
    done = desk.run("check")
    assert (done.status, "hauberk certs init" in done.err) == (2, True)
    assert desk.run("list").status == 2
    assert desk.run("check", str(tmp_path / "missing")).status == 2
    assert desk.run("check", "--ca", "x").status == 2
    (tmp_path / "empty").touch(mode=0o644)
    assert desk.run("check", str(tmp_path / "empty")).status == 1


def test_foreign_files_are_checked(desk: Desk, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """S4.5: a file from elsewhere is checked for dates, its key, who may read it, and who signed it."""
    set_clock(monkeypatch, NOW)
    desk.ca().ok("issue", "files", "time")
    other = Desk(tmp_path / "other").ca()
    certificate, pair = desk.folder("files").certificate, desk.folder("files").pair
    ca = ("--ca", str(desk.places.ca_certificate))
    for path in (certificate, pair):
        assert findings(desk, str(path), status=0) == []
        assert findings(desk, str(path), *ca, status=0) == []
        assert [found[2] for found in findings(desk, str(path), "--ca", str(other.places.ca_certificate))] == ["chain"]
    mixed = tmp_path / "mixed.pem"
    mixed.write_bytes(pair.read_bytes().split(b"-----BEGIN CERT")[0] + desk.folder("time").certificate.read_bytes())
    mixed.chmod(0o644)
    assert [found[2] for found in findings(desk, str(mixed))] == ["mode", "mismatch"]
    missing = str(tmp_path / "missing")
    assert [found[0] for found in findings(desk, str(mixed), missing, status=2)] == ["fault", "fault", "unknown"]
    set_clock(monkeypatch, NOW + dt.timedelta(days=400))
    assert [found[2] for found in findings(desk, str(certificate))] == ["expired"]


def test_list_shows_each_certificate(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """S4.5: `list` shows name, kind, end, days, state, serial, fingerprint and names; --json all of it in full."""
    set_clock(monkeypatch, NOW)
    desk.ca("--name", "Test CA").ok("issue", "files", "--san", "ip:::1")
    desk.ok("issue", "--client", "waits", "--csr")
    text = desk.ok("list").out.splitlines()
    assert text[0].split() == ["NAME", "KIND", "NOT", "AFTER", "DAYS", "STATUS", "SERIAL", "FINGERPRINT", "NAMES"]
    assert text[1].endswith("Test CA")
    assert text[2].split() == ["waits", "client", "requested"]
    assert text[3].startswith("files  server  2027-03-01  365   valid")
    assert text[3].endswith("dns:files ip:::1")
    found = json.loads(desk.ok("list", "--json").out)[2]
    assert (found["name"], found["kind"], found["days"], found["status"]) == ("files", "server", 365, "valid")
    assert found["end"] == "2027-03-01T12:00:00+00:00"
    assert int(found["serial"], 16) == desk.serial("files")
    assert len(found["fingerprint"]) == 64


def test_files_from_elsewhere_are_shown(desk: Desk) -> None:
    """S4.5: `list FILE` shows what the certificates of a file say, and is an error where there are none."""
    desk.ca("--name", "Test CA").ok("issue", "--client", "laptop", "--san", "ann@example.org")
    files = [str(desk.folder("laptop", "client").pair), str(desk.places.ca_certificate)]
    found = json.loads(desk.ok("list", "--json", *files).out)
    assert [(one["name"], one["kind"]) for one in found] == [("laptop", "client"), ("Test CA", "ca")]
    assert found[0]["names"] == ["dns:laptop", "email:ann@example.org"]
    assert int(found[0]["serial"], 16) == desk.serial("laptop", "client")
    assert desk.run("list", str(desk.places.ca_key)).status == 2


def test_reader_that_goes_away_is_no_failing_disk(desk: Desk) -> None:
    """X.14: where nobody reads what `list` prints, it ends as programs in a pipe do, and blames no file."""
    desk.ca()
    read, write = os.pipe()
    os.close(read)
    line = [sys.executable, "-m", "hauberk", "certs", "list", "--dir", str(desk.base)]
    done = subprocess.run(line, stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")


def test_what_a_file_holds_cannot_write_on_the_terminal(desk: Desk) -> None:
    """X.14: control characters in names of files and certificates are shown as escapes."""
    desk.ca("--name", "na\xefve")
    folder = desk.places.servers / "x\x1b[2Jy"
    folder.mkdir(mode=0o700, parents=True)
    desk.places.servers.chmod(0o700)
    for command in ("list", "check"):
        done = desk.run(command)
        assert "\x1b" not in done.text
        assert "\\x1b" in done.text


def test_shells_complete_names(desk: Desk) -> None:
    """S0.17: a shell completes the NAMEs of certificates, and says nothing where there are none."""

    def completed(word: str) -> list[str]:
        line = f"certs renew --dir {desk.base} {word}"
        told = {"COMP_WORDS": line, "COMP_CWORD": "4", "_CERTS_COMPLETE": "bash_complete"}
        out = CliRunner().invoke(certs, [], prog_name="certs", env=told, complete_var="_CERTS_COMPLETE").stdout
        return [row.partition(",")[2] for row in out.split()]

    assert completed("f") == []
    desk.ca().ok("issue", "files", "time", "fetch")
    assert completed("f") == ["fetch", "files"]


@pytest.mark.parametrize("command", ["init", "issue", "renew", "install", "list", "check", "revoke", "crl"])
def test_each_command_has_an_example(desk: Desk, command: str) -> None:
    """S0.17: the help of each command says what it does, and shows it."""
    text = CliRunner().invoke(certs, [command, "--help"]).stdout
    assert f"hauberk certs {command}" in text.partition("Examples:")[2]


def test_commands_are_those_of_hauberk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """S0.17: `hauberk certs` is there once the package is installed, and works beside the user's configuration."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    desk = Desk(tmp_path / "hauberk" / "certs")
    assert desk.run("init", "--no-passphrase", placed=False).status == 0
    assert desk.places.ca_certificate.exists()
    assert desk.modes()["."] == "0700"

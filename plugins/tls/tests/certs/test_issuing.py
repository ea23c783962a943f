"""Make, keep and renew: what a command leaves behind, and what it never touches."""

from __future__ import annotations

import datetime as dt
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509
from plugins.tls.tests.certs.desk import NOW, PASSPHRASE, Desk, set_clock

from hauberk_tls.certs import _index, _pem, _store
from hauberk_tls.certs._holding import held
from hauberk_tls.certs._making import Source

LAYOUT = {
    ".": "0700",
    ".lock": "0600",
    "ca": "0700",
    "ca/ca.pem": "0644",
    "ca/crl.pem": "0644",
    "ca/index.json": "0600",
    "ca/key.pem": "0400",
    "laptop": "0700",
    "laptop/cert.pem": "0644",
    "laptop/pair.pem": "0600",
    "mcp-servers": "0700",
    "mcp-servers/files": "0700",
    "mcp-servers/files/cert.pem": "0644",
    "mcp-servers/files/pair.pem": "0600",
}


def leaf(desk: Desk, name: str = "files") -> x509.Certificate:
    found = held(desk.folder(name))
    assert found is not None
    return found.leaf


@pytest.mark.parametrize("umask", [0o000, 0o002, 0o022, 0o027, 0o077])
def test_layout_and_modes(desk: Desk, umask: int) -> None:
    """S0.17, X.12: everything is where the layout says, with its mode, whatever the umask; also once it is replaced."""
    before = os.umask(umask)
    try:
        desk.ca().ok("issue", "files")
        desk.ok("issue", "--client", "laptop")
        assert desk.modes() == LAYOUT
        desk.ok("renew", "files", "laptop", "--new-key")
        desk.ok("revoke", f"{desk.serial('files'):x}")
        desk.ok("crl")
    finally:
        os.umask(before)
    assert desk.modes() == LAYOUT


def test_no_file_is_ever_open_to_others(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """X.12: whatever is opened to be made is made with mode 0600, and only then given the mode that it keeps."""
    made: list[int] = []
    true = os.open

    def watched(path: object, flags: int, mode: int = 0o777, **more: object) -> int:
        if flags & os.O_CREAT:
            made.append(mode)
        return true(path, flags, mode, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", watched)
    desk.ca().ok("issue", "files")
    assert set(made) == {0o600}
    assert len(made) >= 7


def test_lifetimes_are_those_of_the_requirement(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """S0.17, X.13: a CA counts 3650 days, a certificate 365, a list 365, each from a few minutes before it was made."""
    set_clock(monkeypatch, NOW)
    desk.ca().ok("issue", "files")
    ca = _pem.certificates(desk.places.ca_certificate)[0]
    crl = _pem.crl(desk.places.crl)
    slow = NOW - dt.timedelta(minutes=5)
    assert (ca.not_valid_before_utc, ca.not_valid_after_utc) == (slow, NOW + dt.timedelta(days=3650))
    assert (leaf(desk).not_valid_before_utc, leaf(desk).not_valid_after_utc) == (slow, NOW + dt.timedelta(days=365))
    assert (crl.last_update_utc, crl.next_update_utc) == (slow, NOW + dt.timedelta(days=365))


def test_no_certificate_outlives_its_ca(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """S0.17: a certificate ends with its CA at the latest, and a CA that has expired signs nothing."""
    set_clock(monkeypatch, NOW)
    desk.ca("--days", "100").ok("issue", "files")
    assert leaf(desk).not_valid_after_utc == NOW + dt.timedelta(days=100)
    set_clock(monkeypatch, NOW + dt.timedelta(days=100))
    done = desk.run("issue", "time")
    assert done.status == 2
    assert "the CA has expired on 2026-06-09" in done.err
    assert not desk.folder("time").path.exists()


def test_serial_numbers_have_159_random_bits() -> None:
    """S0.17: a serial number is the first 159 of 160 random bits, positive, at most 20 bytes, and never 0."""
    assert Source(NOW, lambda count: b"\xff" * count).serial() == 2**159 - 1
    chunks = iter([bytes(20), bytes(19) + b"\x01", b"\x80" + bytes(19)])
    assert Source(NOW, lambda count: next(chunks)).serial() == 2**158


def test_what_is_there_is_kept(desk: Desk, passphrase: str) -> None:
    """S0.17: run again, `init` and `issue` change nothing, need no passphrase, say so and succeed."""
    desk.ok("init", "--passphrase-file", passphrase)
    desk.ok("issue", "files", "--san", "localhost", "--passphrase-file", passphrase)
    before = desk.tree()
    assert "kept" in desk.ok("init").out
    assert desk.ok("issue", "files").out.startswith("kept: server files")
    assert desk.ok("issue", "files", "--san", "localhost").out.startswith("kept: server files")
    assert desk.tree() == before


def test_other_names_are_not_kept_in_silence(desk: Desk) -> None:
    """S0.17: `issue` does not answer "kept" to somebody who asks for a name that the certificate lacks."""
    desk.ca().ok("issue", "files")
    before = desk.tree()
    done = desk.run("issue", "files", "--san", "localhost")
    assert done.status == 2
    assert "is there already, without 'dns:localhost'" in done.err
    assert "hint: hauberk certs renew files" in done.err
    assert desk.tree() == before


def test_several_names_at_once(desk: Desk) -> None:
    """S0.17: one command makes the certificates of many servers; what was there of them is kept."""
    desk.ca().ok("issue", "time")
    kept = desk.folder("time").pair.read_bytes()
    done = desk.ok("issue", "files", "time", "git", "files")
    assert [line.split(":")[0] for line in done.out.splitlines()] == ["made", "kept", "made"]
    assert desk.folder("time").pair.read_bytes() == kept
    assert len({desk.serial(name) for name in ("files", "time", "git")}) == 3


def test_renewal_keeps_key_and_names(desk: Desk) -> None:
    """S0.18: a renewed certificate is of the same key and names, with another serial; --san gives others."""
    desk.ca().ok("issue", "files", "--san", "localhost", "--san", "ip:::1", "--san", "uri:urn:x:y")
    old = leaf(desk)
    desk.ok("renew", "files")
    new = leaf(desk)
    assert new.public_key() == old.public_key()
    assert new.serial_number != old.serial_number
    assert _pem.facts(new, "").names == _pem.facts(old, "").names
    desk.ok("renew", "files", "--san", "files.example")
    assert list(map(str, _pem.facts(leaf(desk), "").names)) == ["dns:files", "dns:files.example"]


@pytest.mark.parametrize(
    ("first", "more", "kind"),
    [("p256", [], "p256"), ("ed25519", [], "ed25519"), ("p256", ["--algorithm", "ed25519"], "ed25519")],
)
def test_new_key_replaces_key_and_certificate_together(desk: Desk, first: str, more: list[str], kind: str) -> None:
    """S0.18: with --new-key one rename replaces the pair, by a key of the same kind unless another is named."""
    desk.ca().ok("issue", "files", "--algorithm", first)
    old, true = leaf(desk), Path.replace
    renamed: list[str] = []

    def replace(path: Path, to: Path) -> Path:
        renamed.append(to.name)
        return true(path, to)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "replace", replace)
        desk.ok("renew", "files", "--new-key", *more)
    assert [name for name in renamed if name != "index.json"] == ["pair.pem", "cert.pem"]
    assert leaf(desk).public_key() != old.public_key()
    assert ("Ed25519" in type(leaf(desk).public_key()).__name__) == (kind == "ed25519")
    assert desk.folder("files").certificate.read_bytes() in desk.folder("files").pair.read_bytes()


def test_due_is_what_expires_soon(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """S0.17: `renew --due` renews what expires within so many days, and nothing else."""
    set_clock(monkeypatch, NOW)
    desk.ca().ok("issue", "files", "--days", "20")
    desk.ok("issue", "time")
    before = desk.serial("time")
    assert desk.ok("renew", "--due", "10").out == "none is due\n"
    assert desk.ok("renew", "--due", "30").out.startswith("renewed: server files, until 2027-03-01")
    assert desk.serial("time") == before


def test_a_client_and_a_server_of_one_name(desk: Desk) -> None:
    """S0.17: a name that is a client's and a server's must be said more exactly."""
    desk.ca().ok("issue", "both")
    desk.ok("issue", "--client", "both")
    for command in ("renew", "revoke"):
        done = desk.run(command, "both")
        assert (done.status, "--kind client|server" in done.err) == (2, True)
    server = desk.serial("both")
    desk.ok("renew", "both", "--kind", "client")
    assert desk.serial("both") == server


def test_ca_of_another_key_is_refused(desk: Desk) -> None:
    """X.9: nothing is signed with a key that is not that of the CA's certificate."""
    desk.ca()
    key = desk.places.ca_key
    mode = stat.S_IMODE(key.stat().st_mode)
    other = Desk(desk.base.with_name("other")).ca()
    key.chmod(0o600)
    key.write_bytes(other.places.ca_key.read_bytes())
    key.chmod(mode)
    done = desk.run("issue", "files")
    assert done.status == 2
    assert "is not the key of" in done.err


def test_what_a_crash_left_behind_is_mended(desk: Desk) -> None:
    """S0.18, X.12: where a renewal replaced the pair and no more, `issue` brings the certificate alone up to it."""
    desk.ca().ok("issue", "files")
    folder = desk.folder("files")
    old = folder.certificate.read_bytes()
    desk.ok("renew", "files")
    new = folder.certificate.read_bytes()
    for left in (old, None):
        folder.certificate.unlink()
        if left is not None:
            folder.certificate.write_bytes(left)
        assert desk.run("check").status == 1
        desk.ok("issue", "files")
        assert folder.certificate.read_bytes() == new
        assert desk.modes() == {name: mode for name, mode in LAYOUT.items() if not name.startswith("laptop")}


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_key_that_others_may_read_is_refused(desk: Desk, mode: int) -> None:
    """X.9: a CA's key that is open to others signs nothing."""
    desk.ca().places.ca_key.chmod(mode)
    done = desk.run("issue", "files")
    assert done.status == 2
    assert "lets others in" in done.err


def test_directory_that_others_may_enter_is_refused(desk: Desk) -> None:
    """S0.17: certificates are not made in a directory that others may enter."""
    desk.base.mkdir(mode=0o755)
    done = desk.run("init", "--no-passphrase")
    assert (done.status, "chmod 700" in done.err) == (2, True)


def test_link_is_not_followed(desk: Desk, tmp_path: Path) -> None:
    """X.9: a key that is a symbolic link is refused."""
    desk.ca()
    desk.places.ca_key.rename(tmp_path / "elsewhere")
    desk.places.ca_key.symlink_to(tmp_path / "elsewhere")
    assert "symbolic link" in desk.run("issue", "files").err


@pytest.mark.parametrize("damage", [b"", b"{}", b"[1]", b"\xff", b'{"version":2,"ca":"","crl_number":1,"crl_days":1}'])
def test_damaged_index_stops_the_ca(desk: Desk, damage: bytes) -> None:
    """S0.19: without its index, which says what was revoked, a CA signs nothing."""
    desk.ca().places.index.write_bytes(damage)
    done = desk.run("issue", "files")
    assert done.status == 2
    assert "index.json" in done.err
    assert not desk.folder("files").path.exists()


def test_index_of_another_ca_is_refused(desk: Desk) -> None:
    """S0.19: the index of one CA is not that of another."""
    other = Desk(desk.base.with_name("other")).ca()
    desk.ca().places.index.write_bytes(other.places.index.read_bytes())
    assert "that of another CA" in desk.run("issue", "files").err


def test_everything_signed_is_in_the_index(desk: Desk) -> None:
    """S0.19: what was replaced by a renewal is still known, and can be revoked."""
    desk.ca().ok("issue", "files")
    first = desk.serial("files")
    desk.ok("renew", "files")
    ca = _pem.facts(_pem.certificates(desk.places.ca_certificate)[0], "").fingerprint
    assert [int(one.serial, 16) for one in _index.read(desk.places, ca).issued] == [first, desk.serial("files")]


def test_commands_wait_for_each_other(desk: Desk) -> None:
    """S0.17, X.12: commands that run at once make one CA, and each certificate once."""
    line = [sys.executable, "-m", "hauberk", "certs"]
    where = ["--dir", str(desk.base)]

    def at_once(*lines: list[str]) -> None:
        running = [
            subprocess.Popen([*line, *args, *where], stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for args in lines
        ]
        for process in running:
            out = process.communicate()[0]
            assert process.returncode == 0, out

    at_once(*[["init", "--no-passphrase"]] * 3)
    at_once(*[["issue", "files", "time"]] * 2, ["issue", "git"], ["issue", "--client", "laptop"])
    ca = _pem.facts(_pem.certificates(desk.places.ca_certificate)[0], "").fingerprint
    found = _index.read(desk.places, ca).issued
    assert sorted(one.name for one in found) == ["files", "git", "laptop", "time"]
    assert {int(one.serial, 16) for one in found} == {
        *(desk.serial(name) for name in ("files", "git", "time")),
        desk.serial("laptop", "client"),
    }
    assert desk.ok("check").out.endswith("\nall is well\n")


def test_waiting_for_a_lock_has_an_end(desk: Desk) -> None:
    """S0.17: a command that waits for another one gives up in the end, and says for what it waited."""
    desk.ca()
    waits: list[float] = []
    with _store.locked(desk.places), pytest.raises(Exception, match="another command holds"):
        _store.locked(desk.places, sleep=waits.append).__enter__()
    assert sum(waits) == pytest.approx(30, abs=0.1)


def test_passphrase_is_needed_and_is_right(desk: Desk, passphrase: str, tmp_path: Path) -> None:
    """S0.15, S0.17: without a terminal the file must be named; another passphrase opens nothing."""
    desk.ok("init", "--passphrase-file", passphrase)
    done = desk.run("issue", "files")
    assert (done.status, "nobody to ask" in done.err, "--passphrase-file FILE" in done.err) == (2, True, True)
    wrong = tmp_path / "wrong"
    wrong.touch(mode=0o600)
    wrong.write_text(PASSPHRASE + " ")
    done = desk.run("issue", "files", "--passphrase-file", str(wrong))
    assert (done.status, "another passphrase" in done.err) == (2, True)
    desk.ok("issue", "files", "--passphrase-file", passphrase)


@pytest.mark.parametrize(
    "text", ["", "\n", "short", "twelve chars\nand a line", "twelve chars\r\n", "twelve\0chars!", "x" * 1025]
)
def test_passphrase_file_is_one_line(desk: Desk, tmp_path: Path, text: str) -> None:
    """S0.15: a passphrase is one line of 12 characters to 1024 bytes; nothing is trimmed but one line feed."""
    path = tmp_path / "made"
    path.touch(mode=0o600)
    path.write_text(text)
    done = desk.run("init", "--passphrase-file", str(path))
    assert done.status == 2
    assert "passphrase" in done.err
    assert not desk.places.ca.exists()


def test_passphrase_file_is_private(desk: Desk, passphrase: str) -> None:
    """X.9: a passphrase in a file that others may read is refused."""
    Path(passphrase).chmod(0o644)
    assert "lets others in" in desk.run("init", "--passphrase-file", passphrase).err


def test_an_unencrypted_key_must_be_asked_for(desk: Desk) -> None:
    """S0.17: nobody gets a CA without a passphrase who did not say so."""
    done = desk.run("init")
    assert (done.status, "nobody to ask" in done.err) == (2, True)
    assert not desk.places.ca.exists()

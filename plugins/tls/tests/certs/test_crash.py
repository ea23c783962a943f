"""A command that dies, is interrupted, or meets a full disk, at each moment at which it changes the disk."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from plugins.tls.tests.certs.desk import Desk, cut

from hauberk_tls.certs import _index, _pem, _store
from hauberk_tls.certs._holding import held
from hauberk_tls.certs._index import number_of

pytestmark = pytest.mark.campaign


def answered(desk: Desk) -> None:
    """Let a certificate be there that answers a request for a new key."""
    desk.ca().ok("issue", "files")
    desk.ok("renew", "files", "--new-key", "--csr")
    other = Desk(desk.base.with_name("other"))
    shutil.copytree(desk.base, other.base)
    shutil.rmtree(other.places.servers)
    other.ok("issue", "files", "--from-csr", str(desk.folder("files").request))
    shutil.copy(other.folder("files").certificate, desk.base.with_name("answer.pem"))


ACTS: dict[str, tuple[Callable[[Desk], object], list[str]]] = {
    "init": (lambda desk: None, ["init", "--no-passphrase"]),
    "issue": (lambda desk: desk.ca(), ["issue", "files", "time"]),
    "renew": (lambda desk: desk.ca().ok("issue", "files"), ["renew", "files", "--new-key"]),
    "csr": (lambda desk: desk.ca(), ["issue", "files", "--csr"]),
    "install": (answered, ["install", "files", "ANSWER"]),
    "revoke": (lambda desk: desk.ca().ok("issue", "files"), ["revoke", "files"]),
    "crl": (lambda desk: desk.ca(), ["crl"]),
}
"""What is there before, and what is done."""


def command(desk: Desk, args: list[str]) -> list[str]:
    return [str(desk.base.with_name("answer.pem")) if arg == "ANSWER" else arg for arg in args]


def whole(desk: Desk) -> None:
    """Assert that whatever has its final name is whole, and that the CA knows what it signed."""
    if not desk.base.exists():
        return
    for folder in desk.places.folders():
        if folder.pair.exists() or folder.certificate.exists():
            assert held(folder) is not None  # which refuses a key that is not the certificate's
    if desk.places.ca.exists():
        ca = _pem.certificates(desk.places.ca_certificate)[0]
        assert _pem.list_signed_by(_pem.crl(desk.places.crl), ca)
        index = _index.read(desk.places, _pem.facts(ca, "").fingerprint)
        assert number_of(_pem.crl(desk.places.crl)) <= index.crl_number  # so that no number is given twice
        known = {one.fingerprint for one in index.issued}
        for folder in desk.places.folders():
            if (found := held(folder)) and "answer" not in str(desk.base):
                assert _pem.facts(found.leaf, "").fingerprint in known or desk.base.with_name("answer.pem").exists()


@pytest.mark.parametrize("act", ACTS)
def test_killed_at_any_moment(tmp_path: Path, act: str) -> None:
    """S0.17, X.12: killed before any change of the disk, all is whole; the same command then does the rest."""
    prepare, args = ACTS[act]
    prepare(Desk(tmp_path / "first" / "certs"))
    moments = 0
    while True:
        desk = again(tmp_path, moments)
        status = cut(lambda desk=desk: desk.run(*command(desk, args)).status, moments)  # type: ignore[misc]
        if status == 77:
            break
        assert status == 9
        whole(desk)
        done = desk.run(*command(desk, args))
        assert done.status == 0, (moments, done)
        whole(desk)
        assert _store.left(desk.places) == []
        assert desk.run("check").status == (1 if act == "revoke" else 0), (moments, desk.run("check"))
        moments += 1
    assert moments >= 4


@pytest.mark.parametrize("act", ACTS)
def test_interrupted_at_any_moment(tmp_path: Path, act: str) -> None:
    """S0.17, X.12: interrupted at any moment, all is whole, and no file with a hidden name is left."""
    prepare, args = ACTS[act]
    prepare(Desk(tmp_path / "first" / "certs"))
    moments = 0
    while True:
        desk = again(tmp_path, moments)
        status = cut(lambda desk=desk: desk.run(*command(desk, args)).status, moments, interrupt=True)  # type: ignore[misc]
        if status == 77:
            break
        assert status == 130
        whole(desk)
        if desk.base.exists():
            assert _store.left(desk.places) == []
        moments += 1
    assert moments >= 4


class Full:
    """A disk that is full when it is synced for the last of some times."""

    def __init__(self, at: int) -> None:
        self.left, self.true = at, os.fsync

    def __call__(self, fd: int) -> None:
        self.left -= 1
        if self.left == -1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.true(fd)


@pytest.mark.parametrize("act", ACTS)
def test_full_disk(tmp_path: Path, act: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """S0.17, X.12: a disk that is full at any moment is told in one line; all is whole, and nothing is left."""
    prepare, args = ACTS[act]
    prepare(Desk(tmp_path / "first" / "certs"))
    at = 0
    while True:
        desk, disk = again(tmp_path, at), Full(at)
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", disk)
            done = desk.run(*command(desk, args))
        if disk.left >= 0:
            break
        assert done.status == 2
        assert "no space left on device" in done.err
        assert "internal error" not in done.err
        whole(desk)
        assert _store.left(desk.places) == []
        at += 1
    assert at >= 2


def again(tmp_path: Path, number: int) -> Desk:
    """Return a copy of what was there before."""
    first, copy = tmp_path / "first", tmp_path / str(number)
    first.mkdir(exist_ok=True)
    shutil.copytree(first, copy)
    return Desk(copy / "certs")


def test_what_was_killed_is_cleared_away_under_the_lock_only(desk: Desk) -> None:
    """X.12: what a killed command has left is told by `check`, and removed by the next one that holds the lock."""
    desk.ca().ok("issue", "files")
    half = desk.base / ".laptop.1.2.tmp"
    half.mkdir(mode=0o700)
    (half / "pair.pem").write_text("key")
    other = desk.folder("files").path / ".pair.pem.3.4.tmp"
    other.write_text("key")
    mine = desk.base / ".notes"
    mine.write_text("mine")
    assert desk.ok("check").out.count("was left by a command that was killed") == 2
    assert half.exists()
    desk.ok("issue", "time")
    assert (half.exists(), other.exists(), mine.exists()) == (False, False, True)

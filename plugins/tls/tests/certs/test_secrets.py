"""Passphrases and keys are nowhere but where they belong (X.14)."""

from __future__ import annotations

import os
import pty
import select
import sys
import time
import warnings
from pathlib import Path

import pytest
from plugins.tls.tests.certs.desk import PASSPHRASE, Desk, Ran

from hauberk_tls.certs._passphrases import Passphrases

PATIENCE = 30.0


def typed(desk: Desk, args: list[str], answers: list[str]) -> tuple[int, str]:
    """Run a command on a terminal of its own and type answers, each when it is asked for; return status and screen."""
    with warnings.catch_warnings():  # threads of other tests may still idle; the child replaces itself at once
        warnings.simplefilter("ignore", DeprecationWarning)
        child, fd = pty.fork()
    if child == 0:
        line = [sys.executable, "-m", "hauberk", "certs", *args, "--dir", str(desk.base)]
        os.execv(sys.executable, line)  # noqa: S606 - the interpreter that runs this
    screen, left, answered = "", list(answers), 0
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if not select.select([fd], [], [], 0.2)[0]:
            continue
        try:
            data = os.read(fd, 4096)
        except OSError:  # the terminal is gone with its program
            break
        if not data:
            break
        screen += data.decode()
        if left and screen[answered:].rstrip(" ").endswith(":"):  # its echo is off by now
            os.write(fd, left.pop(0).encode() + b"\n")
            answered = len(screen)
    os.close(fd)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), screen


def test_terminal_asks_twice_and_shows_nothing(desk: Desk) -> None:
    """S0.15, X.14: a new passphrase is asked for twice, an old one once, and the screen shows neither."""
    status, screen = typed(desk, ["init"], [PASSPHRASE, PASSPHRASE])
    assert (status, screen.count("assphrase for the key of the CA"), "made CA" in screen) == (0, 1, True)
    assert "Repeat" in screen
    assert PASSPHRASE not in screen
    status, screen = typed(desk, ["issue", "files"], [PASSPHRASE])
    assert (status, "made: server files" in screen, PASSPHRASE in screen) == (0, True, False)
    status, screen = typed(desk, ["issue", "time"], [PASSPHRASE + "!"])
    assert (status, "another passphrase" in screen, PASSPHRASE in screen) == (2, True, False)


def test_two_different_answers_make_no_ca(desk: Desk) -> None:
    """S0.15: a slip at the second asking is noticed, and asked for again."""
    status, screen = typed(desk, ["init"], [PASSPHRASE, PASSPHRASE + "x", PASSPHRASE, PASSPHRASE])
    assert (status, "do not match" in screen) == (0, True)


def test_nothing_printed_holds_a_secret(desk: Desk, passphrase: str, tmp_path: Path) -> None:
    """X.14: no output, error or traceback of any command holds the passphrase or a part of a private key."""
    where = ["--passphrase-file", passphrase]
    wrong = tmp_path / "wrong"
    wrong.touch(mode=0o600)
    wrong.write_text(PASSPHRASE[::-1])
    ran: list[Ran] = [
        desk.run("init", *where),
        desk.run("issue", "files", *where),
        desk.run("issue", "time", "--passphrase-file", str(wrong)),
        desk.run("issue", "--client", "laptop", "--csr"),
        desk.run("renew", "files", "--new-key", *where),
        desk.run("revoke", "files", *where),
        desk.run("crl", *where),
        desk.run("list", "--json"),
        desk.run("list", "--all"),
        desk.run("check"),
    ]
    pair = desk.folder("files").pair
    keys = [line for line in pair.read_text().splitlines() if len(line) > 20]
    pair.chmod(0o600)
    pair.write_text(pair.read_text().replace("BEGIN PRIVATE", "BEGIN PRIVAT"))
    ran += [desk.run("check"), desk.run("renew", "files", *where), desk.run("check", str(pair))]
    text = "".join(done.text for done in ran)
    for secret in (PASSPHRASE, PASSPHRASE[::-1], *keys[:2]):
        assert secret not in text


def test_an_error_keeps_no_passphrase(desk: Desk, passphrase: str) -> None:
    """X.14: the error of a wrong passphrase has no cause whose frames hold it, and its text is of the file alone."""
    from hauberk.refusals import ConfigError
    from hauberk_tls.certs._authority import Authority
    from hauberk_tls.certs._options import source

    desk.ok("init", "--passphrase-file", passphrase)
    with pytest.raises(ConfigError) as caught:
        Authority.open(desk.places, Passphrases(ask=lambda text, confirm: "not " + PASSPHRASE), source())
    assert PASSPHRASE not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_no_option_takes_a_passphrase() -> None:
    """X.14: no command has an option or a variable whose value is a passphrase: argv is seen by everybody."""
    from hauberk_tls.certs import certs

    options = {param.name: param for command in certs.commands.values() for param in command.params}
    secret = [name for name in options if name and "pass" in name]
    assert sorted(secret) == ["no_passphrase", "passphrase_file"]
    assert all(not param.envvar for param in options.values())


def test_files_that_are_given_away_hold_no_key(desk: Desk) -> None:
    """X.14: whatever has mode 0644 holds no private key."""
    desk.ca().ok("issue", "files")
    desk.ok("issue", "--client", "waits", "--csr")
    public = [path for path in desk.base.rglob("*") if path.is_file() and path.stat().st_mode & 0o044]
    assert len(public) == 4
    assert [path for path in public if b"PRIVATE" in path.read_bytes()] == []

"""``hauberk keys``: make, show, trust, revoke, rotate and export keys."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from plugins.envelope.tests.parties import ALICE, BOB, DAY, NOW, identity

from hauberk.cli._app import App
from hauberk.refusals import ConfigError
from hauberk_envelope import _keyfiles
from hauberk_envelope._identity import Identity
from hauberk_envelope._trust import Trust
from hauberk_envelope.keys import _commands
from hauberk_envelope.keys._desk import Desk
from hauberk_envelope.keys._places import PAUSE, TRIES, Places


class Ran(NamedTuple):
    status: int
    out: str
    err: str


class Person:
    """Somebody who types ``hauberk keys``."""

    def __init__(self, base: Path) -> None:
        self.base = base

    def run(self, *words: str) -> Ran:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = App().start(["keys", words[0], "--dir", str(self.base), *words[1:]])
        return Ran(status, out.getvalue(), err.getvalue())

    def ok(self, *words: str) -> str:
        done = self.run(*words)
        assert done.status == 0, done
        return done.out

    def fails(self, *words: str) -> str:
        done = self.run(*words)
        assert done.status == 2, done
        return done.err

    def rows(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.run("list", "--json").out)
        return found

    def key_id(self, agent: str) -> str:
        return next(str(row["key_id"]) for row in self.rows() if row["agent"] == agent)

    def exported(self, agent: str, path: Path) -> Path:
        path.write_text(self.ok("export", agent), encoding="utf-8")
        return path

    def files(self) -> dict[str, int]:
        return {str(path.relative_to(self.base)): path.stat().st_mode & 0o777 for path in self.base.rglob("*")}


@pytest.fixture
def ann(tmp_path: Path) -> Person:
    return Person(tmp_path / "ann")


@pytest.fixture
def ben(tmp_path: Path) -> Person:
    return Person(tmp_path / "ben")


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Return a function that sets the clock of the commands."""

    def set_clock(now: float) -> None:
        *others, _ = _commands._desk.__defaults__ or ()
        monkeypatch.setattr(_commands._desk, "__defaults__", (*others, lambda: now))

    return set_clock


def test_two_people_come_to_trust_each_other(ann: Person, ben: Person, tmp_path: Path) -> None:
    """Keys are made, exported, compared and trusted; then the directory knows the other agent (S0.24)."""
    made = ann.ok("generate", "CodeExpert")
    key_id = ann.key_id("CodeExpert")
    assert key_id in made
    ben.ok("generate", "SecurityExpert")
    file = ann.exported("CodeExpert", tmp_path / "CodeExpert.toml")
    said = ben.ok("trust", str(file), "--key-id", key_id, "--agent", "CodeExpert")
    assert said.startswith("trusted: CodeExpert, hbk1_")
    assert ben.ok("trust", str(file), "--key-id", key_id).startswith("kept: ")
    known = Trust.read(ben.base / "agents")
    assert [one.agent for one in known.identities()] == ["CodeExpert"]
    assert [(row["agent"], row["whose"], row["state"]) for row in ben.rows()] == [
        ("SecurityExpert", "own", "valid"),
        ("CodeExpert", "trusted", "valid"),
    ]


def test_files_are_private(ann: Person, ben: Person, tmp_path: Path) -> None:
    """Directories have mode 0700 and keys 0600, whatever the umask (X.9)."""
    before = os.umask(0)
    try:
        ann.ok("generate", "a")
        ben.ok("generate", "b")
        ben.ok("trust", str(ann.exported("a", tmp_path / "a.toml")), "--key-id", ann.key_id("a"), "--agent", "a")
        ben.ok("revoke", "a", "--reason", "retired")
    finally:
        os.umask(before)
    for person in (ann, ben):
        found = person.files()
        assert {mode for name, mode in found.items() if "." in name} == {0o600}
        assert {mode for name, mode in found.items() if "." not in name} == {0o700}
    assert len(ben.files()) == 6


def test_secrets_are_never_printed(ann: Person) -> None:
    """No command prints a secret (X.14)."""
    said = [ann.ok("generate", "a"), ann.ok("rotate", "a"), ann.ok("show"), ann.ok("list"), ann.ok("export", "a")]
    secrets = [path.read_text(encoding="utf-8") for path in (ann.base / "own").iterdir()]
    for text in secrets:
        for line in text.splitlines():
            if "hauberk-key-v1:" in line:
                secret = line.split("hauberk-key-v1:")[1].strip('"')
                assert not any(secret in one for one in said)


def test_generate_keeps_what_there_is(ann: Person) -> None:
    """A second ``generate`` changes nothing (S0.17)."""
    ann.ok("generate", "a")
    before = ann.files()
    assert ann.ok("generate", "a").startswith("kept: ")
    assert ann.files() == before


def test_wrong_key_id_is_not_trusted(ann: Person, ben: Person, tmp_path: Path) -> None:
    """A file whose key id is not the one that was told is refused, and so is one that nobody compares (S0.23)."""
    ann.ok("generate", "a")
    file = ann.exported("a", tmp_path / "a.toml")
    assert "another one" in ben.fails("trust", str(file), "--key-id", BOB.key_id)
    assert "nobody is here" in ben.fails("trust", str(file))
    assert not (ben.base / "agents").exists()


@pytest.fixture
def known(ann: Person, ben: Person, tmp_path: Path) -> Identity:
    """Ben trusts a laptop of that name, and Eve, who is Ann here, sends a file with the same name in it."""
    theirs = identity("laptop", begin=time.time())
    file = tmp_path / "laptop.toml"
    file.write_text(_keyfiles.public_text(theirs.public), encoding="utf-8")
    ben.ok("trust", str(file), "--key-id", theirs.key_id, "--agent", "laptop")
    ann.ok("generate", "laptop")
    return theirs


def test_key_id_proves_no_name(ann: Person, ben: Person, known: Identity, tmp_path: Path) -> None:
    """Who tells a right key id does not come by a name that another has here, unless somebody says that it is meant.

    A key id is of keys alone, so Eve, whose keys they are, may write any name beside them (unknown key share, S0.23).
    """
    file, key_id = ann.exported("laptop", tmp_path / "eve.toml"), ann.key_id("laptop")
    said = ben.fails("trust", str(file), "--key-id", key_id)
    assert f"laptop has a key here already: {known.key_id}" in said
    assert "--agent laptop" in said
    assert "the file is of laptop, not of Eve" in ben.fails("trust", str(file), "--key-id", key_id, "--agent", "Eve")
    assert [row["key_id"] for row in ben.rows()] == [known.key_id]
    ben.ok("trust", str(file), "--key-id", key_id, "--agent", "laptop")
    assert {row["key_id"] for row in ben.rows()} == {known.key_id, key_id}


def test_name_of_a_revoked_key_and_our_own_name_are_taken(
    ann: Person, ben: Person, known: Identity, tmp_path: Path
) -> None:
    """Neither a revoked key nor an own one leaves its name to whoever comes next."""
    file, key_id = ann.exported("laptop", tmp_path / "eve.toml"), ann.key_id("laptop")
    ben.ok("revoke", known.key_id, "--reason", "retired")
    assert "a key here already" in ben.fails("trust", str(file), "--key-id", key_id)
    other = Person(tmp_path / "other")
    other.ok("generate", "laptop")
    assert "a key here already" in other.fails("trust", str(file), "--key-id", key_id)


def test_name_is_compared_for_the_first_key_too(ann: Person, ben: Person, tmp_path: Path) -> None:
    """No file brings a name along: ``--agent`` says whose voice told the key id, and is compared (S0.23, S0.24)."""
    ann.ok("generate", "laptop")
    words = ("trust", str(ann.exported("laptop", tmp_path / "a.toml")), "--key-id", ann.key_id("laptop"))
    assert "only the file says that it is laptop's" in ben.fails(*words)
    assert "not of Eve" in ben.fails(*words, "--agent", "Eve")
    assert ben.rows() == []
    assert ben.ok(*words, "--agent", "laptop").startswith("trusted: laptop")


@pytest.mark.parametrize(("answer", "status"), [("y\n", 0), ("n\n", 1), ("\n", 1)])
def test_person_compares_the_key_id(
    ann: Person, ben: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, status: int
) -> None:
    """On a terminal somebody is asked, and sees what else there is under this name; no is the default."""
    ben.base.mkdir(0o700)
    (ben.base / "agents").mkdir(0o700)
    ann.ok("generate", "a")
    other = identity("a", begin=NOW)
    (ben.base / "agents" / f"{other.key_id}.toml").write_text(_keyfiles.public_text(other.public), encoding="utf-8")
    terminal = io.StringIO(answer)
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", terminal)
    done = ben.run("trust", str(ann.exported("a", tmp_path / "a.toml")))
    assert (done.status == 0) == (status == 0)
    assert f"a has a key here already: {other.key_id}" in done.err
    assert ann.key_id("a") in done.err
    assert "Was it a who told you" in done.err + done.out
    assert len(list((ben.base / "agents").iterdir())) == (2 if status == 0 else 1)


def test_file_may_come_by_standard_input(ann: Person, ben: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """``-`` is standard input."""
    ann.ok("generate", "a")

    class Pipe:
        buffer = io.BytesIO(ann.ok("export", "a").encode())

    monkeypatch.setattr(sys, "stdin", Pipe())
    assert ben.ok("trust", "-", "--key-id", ann.key_id("a"), "--agent", "a").startswith("trusted: a")


def test_revoked_key_counts_no_longer_and_never_again(ann: Person, ben: Person, tmp_path: Path) -> None:
    """A revocation is told, holds, and is not undone by trusting the file again."""
    ann.ok("generate", "a")
    key_id, file = ann.key_id("a"), ann.exported("a", tmp_path / "a.toml")
    ben.ok("trust", str(file), "--key-id", key_id, "--agent", "a")
    assert ben.ok("revoke", key_id, "--reason", "compromised").startswith(f"revoked: {key_id}, compromised")
    assert [(row["state"], row["reason"]) for row in ben.rows()] == [("revoked", "compromised")]
    assert "was revoked already" in ben.fails("revoke", "a", "--reason", "retired")
    assert "was revoked here" in ben.fails("trust", str(file), "--key-id", key_id)


def test_key_is_revoked_before_it_comes(ann: Person, ben: Person, tmp_path: Path) -> None:
    """A key id that is not here can be revoked; then its key is never trusted."""
    ann.ok("generate", "a")
    key_id, file = ann.key_id("a"), ann.exported("a", tmp_path / "a.toml")
    done = ben.run("revoke", key_id, "--reason", "compromised")
    assert done.status == 0
    assert "no such key here" in done.err
    assert "was revoked already" in ben.fails("revoke", key_id, "--reason", "compromised")
    assert "was revoked here" in ben.fails("trust", str(file), "--key-id", key_id)
    assert Trust.read(ben.base / "agents").identities() == ()
    assert "no key of 'hbk1_x' here" in ben.fails("revoke", "hbk1_x", "--reason", "retired")


def test_two_commands_at_once_are_one_after_the_other(ann: Person) -> None:
    """A ``generate`` that starts while another makes a key waits, and keeps that key (S0.17)."""
    code = f"from hauberk.cli._app import App; App().start(['keys', 'generate', 'a', '--dir', {str(ann.base)!r}])"
    places = Places.of(ann.base)
    with places.locked():
        second = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        with pytest.raises(subprocess.TimeoutExpired):
            second.wait(2)
        assert Desk(places, time.time(), rotation_days=90).generate("a", 365, os.urandom)
    assert second.communicate(timeout=60)[0].startswith("kept: a")
    assert len(ann.rows()) == 1


def test_command_waits_for_another_but_not_for_ever(ann: Person) -> None:
    """A command that finds the lock held tries again, and says at last what is in the way; then nothing was made."""
    places, waited = Places.of(ann.base), list[float]()
    missed = pytest.raises(ConfigError, match="another command does not let go")
    with places.locked(), missed, places.locked(waited.append):
        pytest.fail("two hold the lock")
    assert waited == [PAUSE] * TRIES
    with places.locked(waited.append):
        assert len(waited) == TRIES


def test_word_that_names_nothing_or_too_much_is_an_error(ann: Person) -> None:
    """What names no key, or several where one is meant, is said."""
    assert "no key of 'a' here" in ann.fails("rotate", "a")
    assert "no key of 'a' here" in ann.fails("export", "a")
    assert "no key of 'a' here" in ann.fails("show", "a")
    ann.ok("generate", "a")
    ann.ok("rotate", "a")
    assert "'a' has 2 keys" in ann.fails("revoke", "a", "--reason", "superseded")
    assert "an agent's name" in ann.fails("generate", "a b")


def test_agent_rotates(ann: Person, at: Callable[[float], None]) -> None:
    """A rotation makes a second key; the newest is exported, and both are there until one is revoked (S0.26)."""
    at(NOW)
    ann.ok("generate", "a")
    old = ann.key_id("a")
    at(NOW + 91 * DAY)
    assert [row["state"] for row in ann.rows()] == ["old"]
    ann.ok("rotate", "a")
    new = ann.key_id("a")
    assert new != old
    assert f'key_id = "{new}"' in ann.ok("export", "a")
    assert [one.key_id for one in _keyfiles.read_own(ann.base / "own", "a")] == [new, old]
    ann.ok("revoke", old, "--reason", "superseded")
    assert {row["key_id"]: row["state"] for row in ann.rows()} == {new: "valid", old: "revoked"}


def test_list_tells_what_is_due(ann: Person, at: Callable[[float], None]) -> None:
    """``list`` exits with 1 where a key is old or expired, so that a timer can tell (S0.26)."""
    at(NOW)
    assert ann.run("list") == Ran(0, "there are no keys\n", "")
    ann.ok("generate", "a", "--days", "100")
    for days, state in ((0, "valid"), (91, "old"), (101, "expired")):
        at(NOW + days * DAY)
        done = ann.run("list")
        assert state in done.out
        assert done.status == (0 if state == "valid" else 1)
    at(NOW - 10 * DAY)
    assert "not yet valid" in ann.run("list").out
    at(NOW + 91 * DAY)
    assert ann.run("list", "--older", "95").status == 0


def test_show_has_what_is_not_secret(ann: Person, at: Callable[[float], None]) -> None:
    """``show`` gives key id and validity, of all keys or of those that are named."""
    at(NOW)
    ann.ok("generate", "a")
    ann.ok("generate", "b")
    shown = ann.ok("show", "a")
    assert shown.splitlines() == [
        "a: own, valid",
        f"    key_id      {ann.key_id('a')}",
        "    not_before  2026-09-21T14:08:20Z",
        "    not_after   2027-09-21T14:13:20Z",
    ]
    assert "b: own" in ann.ok("show")
    assert [row["agent"] for row in json.loads(ann.ok("show", "--json", "b"))] == ["b"]


@pytest.mark.parametrize("shared", [0, 1])
def test_key_of_another_is_not_trusted_twice(ann: Person, tmp_path: Path, shared: int) -> None:
    """A statement with a key that stands in another, or is our own, is not trusted (unknown key share)."""
    ann.ok("generate", "own")
    path = next((ann.base / "own").iterdir())
    secrets = list(_keyfiles.read_secret(path).secrets())
    secrets[1 - shared] = b"2" * 32
    thief = Identity(agent="eve", signing=secrets[0], agreement=secrets[1], not_before=NOW, not_after=NOW + DAY)
    file = tmp_path / "eve.toml"
    file.write_text(_keyfiles.public_text(thief.public), encoding="utf-8")
    assert "share a key" in ann.fails("trust", str(file), "--key-id", thief.key_id)


def test_file_that_does_not_hold_is_not_trusted(ann: Person, tmp_path: Path) -> None:
    """A public file with a name in it that its key did not sign is refused."""
    file = tmp_path / "a.toml"
    file.write_text(_keyfiles.public_text(ALICE.public).replace('"alice"', '"bob"'), encoding="utf-8")
    assert "signature does not hold" in ann.fails("trust", str(file), "--key-id", ALICE.key_id)
    file.write_bytes(b"\xff" * 5000)
    assert "larger than 4096 bytes" in ann.fails("trust", str(file), "--key-id", ALICE.key_id)


def test_directory_that_others_may_write_is_refused(ann: Person) -> None:
    """Neither own keys nor those of others are used where somebody else may put files (S0.24)."""
    ann.ok("generate", "a")
    for name in ("own", "agents"):
        (ann.base / name).chmod(0o777)
        assert "lets others" in ann.fails("list")
        assert "lets others" in ann.fails("generate", "b")
        (ann.base / name).chmod(0o700)

"""The demonstration: what it shows is measured, and it fails where an attack does not."""

from __future__ import annotations

import os
import pty
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.prose import EXAMPLES, PATIENCE, README, ROOT, Done, Place, block

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def copy(place: Place) -> Path:
    """Return a copy of the examples, to be changed."""
    folder = place.home / "examples"
    shutil.copytree(EXAMPLES, folder, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def edit(file: Path, before: str, after: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert before in text
    file.write_text(text.replace(before, after), encoding="utf-8")


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Done:
    """Return what one run of the demonstration leaves."""
    place = Place(tmp_path_factory.mktemp("demo"))
    place.env["TMPDIR"] = str(place.home)
    before = set(place.home.iterdir())
    done = place.run([sys.executable, EXAMPLES / "demo.py"])
    assert set(place.home.iterdir()) == before, "it has left something behind"
    return done


def test_demo_ends_well(shown: Done) -> None:
    """All five attacks are refused, a change to the log is noticed, nothing goes to standard error."""
    assert shown.status == 0, shown.err
    assert shown.out.splitlines()[-1] == "5 of 5 attacks refused; the change to the log was noticed"
    assert shown.err == ""


def test_demo_ends_well_over_tls(place: Place) -> None:
    """The same five attacks are refused where the guarded hosts reach their servers over TLS, and nothing is left."""
    place.env["TMPDIR"] = str(place.home)
    before = set(place.home.iterdir())
    done = place.run([sys.executable, EXAMPLES / "demo_tls.py"])
    assert done.status == 0, done.out + done.err
    assert done.out.splitlines()[-1] == "5 of 5 attacks refused; the change to the log was noticed"
    assert done.err == ""
    assert set(place.home.iterdir()) == before


def test_demo_is_plain_where_it_is_piped(shown: Done) -> None:
    """Output that is no terminal's has no colour, and no line that a terminal would break."""
    assert "\x1b" not in shown.out
    assert max(map(len, shown.out.splitlines())) <= 130
    assert len(shown.out.splitlines()) <= 24


def test_demo_verifies_the_log_twice(shown: Done) -> None:
    """The log verifies with exit status 0, and with 1 once a byte of it is changed."""
    assert re.findall(r"audit verify +exit (\d)", shown.out) == ["0", "1"]
    assert re.search(r"exit 1 +audit\.jsonl:\d+: edited", shown.out)


def test_readme_shows_what_the_demo_shows(shown: Done) -> None:
    """What the README shows of the demonstration is, line by line, what it prints; ``make demo`` runs it."""
    command, *lines = block(README, "console", "make demo").splitlines()
    assert command == "$ make demo"
    assert [line for line in lines if line not in shown.out.splitlines()] == []
    assert "\n\t@$(BIN)/python examples/demo.py\n" in (ROOT / "Makefile").read_text(encoding="utf-8")


def test_demo_is_coloured_on_a_terminal(place: Place) -> None:
    """On a terminal the demonstration has colour."""
    outer, inner = pty.openpty()
    command = [sys.executable, str(EXAMPLES / "demo.py")]
    with subprocess.Popen(command, cwd=place.home, env=place.env, stdout=inner, stderr=inner) as process:
        os.close(inner)
        seen = b""
        while b"log was noticed" not in seen and (data := read(outer)):
            seen += data
        assert process.wait(PATIENCE) == 0, seen
    os.close(outer)
    assert b"\x1b[32msieve.denied" in seen


def read(fd: int) -> bytes:
    try:
        return os.read(fd, 65536)
    except OSError:  # Linux says so where the other end is closed
        return b""


def test_demo_fails_where_the_rules_allow_everything(place: Place, copy: Path) -> None:
    """With rules that allow every tool the attacks by rules succeed, and the demonstration says so and fails."""
    edit(copy / "hauberk.toml", 'default = "deny"', 'default = "allow"')
    edit(copy / "hauberk.toml", 'deny = ["*/delete_*"]', '[sieve.text]\nact = "alert"')  # a pack knows the poison, too
    done = place.run([sys.executable, copy / "demo.py"])
    assert done.status == 1
    assert done.out.count("NOT REFUSED") == 4  # all but the two names, which no rule is needed for
    assert done.out.splitlines()[-1].startswith("1 of 5 attacks refused")


def test_demo_fails_where_nothing_is_proved(place: Place, copy: Path) -> None:
    """An attack that does nothing without a guard fails the demonstration, and so does a log that always verifies."""
    edit(copy / "lying_server.py", '"tools": [HONEST, FORGED]', '"tools": [HONEST]')
    edit(copy / "demo.py", "^= 1", "^= 0")
    done = place.run([sys.executable, copy / "demo.py"])
    assert done.status == 1
    assert "0 of 2 took a forged list" in done.out
    assert done.out.splitlines()[-1] == "4 of 5 attacks refused; the log proves NOTHING"

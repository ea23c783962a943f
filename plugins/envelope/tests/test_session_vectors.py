"""The vectors of sessions: made again to the byte, opened by the package, and by a program that knows only the page."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from plugins.envelope.tests.ends import opened
from plugins.envelope.tests.vectors import generate_sessions, verify_sessions

from hauberk.refusals import Refused

FILE = Path(__file__).parent / "vectors" / "sessions.json"
TOLD: dict[str, Any] = json.loads(FILE.read_bytes())


def test_they_are_made_again() -> None:
    """The generator makes the file to the byte: what is sealed depends on secrets, counters and time alone."""
    assert json.dumps(generate_sessions.document(), indent=1, ensure_ascii=False) + "\n" == FILE.read_text("utf-8")


def test_they_hold_without_the_package() -> None:
    """A program that imports nothing of the package opens what opens, and nothing else."""
    path = verify_sessions.__file__
    done = subprocess.run([sys.executable, path], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, f"{verify_sessions.verify(TOLD)} vectors hold\n"), done.stderr
    assert "hauberk" not in {line.split()[1] for line in Path(path).read_text().splitlines() if "import " in line}


@pytest.mark.parametrize("session", TOLD["sessions"], ids=lambda session: session["sign"])
def test_what_opens(session: dict[str, Any]) -> None:
    """The package opens each frame of both directions to the message that the vector says."""
    _, alice, bob = generate_sessions.agreed(session["sign"])
    assert alice.id == bob.id == session["id"]
    for one in session["frames"]:
        end = bob if one["by"] == "initiator" else alice
        assert opened(end, one["frame"].encode()).data == one["message"].encode()


@pytest.mark.parametrize("vector", TOLD["refused"], ids=lambda vector: vector["why"])
def test_what_does_not_open(vector: dict[str, Any]) -> None:
    """The package refuses each frame that has something wrong, and its session is over."""
    _, _, bob = generate_sessions.agreed("session")
    with pytest.raises(Refused) as caught:
        opened(bob, vector["frame"].encode())
    assert bob.over == caught.value.code
    expected = {
        "not the next one": "envelope.out_of_order",
        "another counter": "envelope.out_of_order",
        "no seal": "envelope.plain",
    }.get(vector["why"])
    assert caught.value.code == (expected or caught.value.code)
    assert caught.value.code in ("envelope.forged", "envelope.malformed", "envelope.out_of_order", "envelope.plain")

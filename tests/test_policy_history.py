"""The page of the policy history: what it shows is what happens, and what it tells to write is what is read."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import msgspec
import pytest
from tests.prose import DOCS, Place, block, blocks, like, steps

from hauberk import _homes, signatures
from hauberk.cli import main
from hauberk.config import Config
from hauberk_audit.policies._store import Key, Settings

PAGE = DOCS / "policy-history.md"
FIRST, SECOND = "3f9a2c", "81d0e7"
"""What the page calls the two versions."""


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path)
    made.env |= {
        "XDG_CONFIG_HOME": str(tmp_path / ".config"),
        "XDG_STATE_HOME": str(tmp_path / ".local" / "state"),
    }
    (tmp_path / ".config" / "hauberk").mkdir(parents=True, mode=0o700)
    return made


@pytest.mark.timeout(300)
def test_page_shows_what_is_printed(place: Place) -> None:
    """With the two policies that the page shows, its commands print what it shows."""
    allowed, denied = '[sieve]\nallow = ["files/list_*", "files/read_*"]\n', 'deny = ["files/read_*"]\n'
    for text in (allowed, allowed.replace(', "files/read_*"', "") + denied):
        place.write("hauberk.toml", text)
        assert place.answers("hauberk run --config hauberk.toml -- npx")  # one that has answered has started
    found = json.loads(place.run("hauberk policy history --config hauberk.toml --json").out)
    second, first = (row["version"].removeprefix("sha256:")[:12] for row in found)

    def real(text: str) -> str:
        return text.replace(f"{FIRST}…", first).replace(f"{SECOND}…", second)

    for step in steps(PAGE):
        command = step.text.replace(FIRST, first).replace(SECOND, second)
        done = place.run(command)
        assert done.status == (1 if " diff " in command else 0), (command, done)
        shown = "\n".join(" ".join(line.split()) for line in real(step.shown).splitlines())
        said = "\n".join(" ".join(line.split()) for line in (done.err + done.out).splitlines())
        assert like(shown, said), (command, said)


def test_page_leads_to_a_signed_policy(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever does what the page says has a policy that is signed, and enforced, with the home that it speaks of."""
    *lines, last = block(PAGE, "sh", "keygen").splitlines()
    policy = place.write(".config/hauberk/hauberk.toml", '[sieve]\nallow = ["files/list_*"]\n')
    for line in lines:
        done = place.run(line)
        assert done.status == 0, (line, done)
    for name, value in place.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(_homes, "system_home", lambda: str(place.home))
    assert main(last.split()[1:]) == 0
    signed = signatures.checked(Config.read(policy), "", 0.0)
    assert signed is not None
    assert (signed.enforced, signed.signer, signed.serial) == (True, "ops", 1)


def test_files_of_the_page_are_read() -> None:
    """The two files of a trust store on the page are such files."""
    settings, key = blocks(PAGE, "toml")
    found = msgspec.convert(tomllib.loads(settings), Settings)
    assert [name for name in Settings.__struct_fields__ if name not in tomllib.loads(settings)] == []
    assert found.mode == "enforce"
    assert msgspec.convert(tomllib.loads(key), Key).name == "ops"

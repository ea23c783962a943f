"""The page of the certificates: what it tells to type, from the first line to the last."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.prose import DOCS, Place, languages, rows, section, steps

PAGE = DOCS / "certs.md"
OPENING = ("init", "issue", "renew", "revoke", "crl")
"""The commands that ask for the passphrase."""


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_commands_of_the_page_run_in_order(place: Place) -> None:
    """S0.17: each command of the page works after those before it; only the passphrase comes from a file here."""
    assert set(languages(PAGE)) == {"console"}
    place.write("pass", "correct horse battery staple\n")
    typed = [step.text for step in steps(PAGE)]
    assert len(typed) == 10
    for line in typed:
        more = " --passphrase-file pass" if line.split()[2] in OPENING else ""
        done = place.run(line + more)
        assert done.status == 0, (line, done)
    base = place.home / "config" / "hauberk" / "certs"
    assert {path.name for path in base.iterdir()} == {".lock", "ca", "laptop", "mcp-servers"}


def test_table_of_files_is_that_of_the_disk(place: Place) -> None:
    """S0.17: each file that the page names is there, with the mode that it says."""
    for line in ("init --no-passphrase", "issue NAME", "issue NAME --client"):
        assert place.run(f"hauberk certs {line}").status == 0
    base = place.home / "config" / "hauberk" / "certs"
    found = rows(section(PAGE, "What is where"))
    assert len(found) == 7
    for names, mode, _ in found:
        for name in re.findall(r"`([^`]+)`", names):
            assert (base / name).is_file(), name
            assert mode == f"{(base / name).stat().st_mode & 0o777:04o}", name

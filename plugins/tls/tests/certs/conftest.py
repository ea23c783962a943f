"""A directory of certificates for a test, and a file with a passphrase."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from plugins.tls.tests.certs.desk import PASSPHRASE, Desk


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """Return a directory that is not there yet."""
    return Desk(tmp_path / "certs")


@pytest.fixture
def passphrase(tmp_path: Path) -> str:
    """Return the name of a private file with a passphrase."""
    path = tmp_path / "pass"
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
        file.write(PASSPHRASE + "\n")
    return str(path)

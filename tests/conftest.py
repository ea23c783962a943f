"""What all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def root() -> Path:
    """Return the top folder of the repository."""
    return Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def vectors() -> Path:
    """Return the folder of the public conformance suites; skip where there is none."""
    folder = os.environ.get("HAUBERK_VECTORS")
    if not folder:
        pytest.skip("HAUBERK_VECTORS is not set: no conformance suites")
    return Path(folder)

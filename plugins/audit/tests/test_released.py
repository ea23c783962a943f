"""What a released version wrote, this one reads, verifies and goes on with: formats last (S3.2, S3.13, S3.14)."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from plugins.audit.tests.kept import SIGNER
from plugins.audit.tests.logs import KEY, OTHER_KEY, event
from plugins.audit.tests.released import ENTRIES, FOLDER, KINDS

from hauberk_audit._entry import render
from hauberk_audit.queries._reading import Reader
from hauberk_audit.sealing._opening import Opener
from hauberk_audit.sealing._providers import LocalKey
from hauberk_audit.sealing._sealer import sealing
from hauberk_audit.verifying._anchor import Anchor
from hauberk_audit.verifying._verify import Report, Terms, load_checkpoints, verify
from hauberk_audit.writing._chain import Chain
from hauberk_audit.writing._custody import Roots
from hauberk_audit.writing._log import Log

VERSIONS = sorted(path.name for path in FOLDER.iterdir())
released = pytest.mark.parametrize("version", VERSIONS)


@pytest.fixture
def log(tmp_path: Path, version: str, kind: str) -> Path:
    """Return a copy of a released log, private as it was."""
    folder = tmp_path / kind
    shutil.copytree(FOLDER / version / kind, folder)
    folder.chmod(0o700)
    for path in folder.iterdir():
        path.chmod(0o600)
    return folder / "audit.jsonl"


def codes(log: Path) -> list[Any]:
    return [found.entry.get("code") for found in Reader(log, opener=Opener([LocalKey(OTHER_KEY)])).forwards()]


def anchored(log: Path) -> Report:
    bad: list[Any] = []
    anchor = Anchor((SIGNER.verifier,))
    load_checkpoints(anchor, log.with_name("checkpoints.txt"), lambda found, path: bad.append((found, path)))
    return verify([log], None, Terms(anchor, bad=tuple(bad)))


def test_there_are_versions() -> None:
    """Each kind is kept of the first version on."""
    assert VERSIONS[0] == "0.1"
    assert all((FOLDER / version / kind).is_dir() for version in VERSIONS for kind in KINDS)


@released
@pytest.mark.parametrize("kind", KINDS)
def test_released_log_is_whole_and_goes_on(log: Path, version: str, kind: str) -> None:
    """Its chain is whole, its entries are read, and a writer goes on from its state (S3.2)."""
    assert verify([log], KEY).status == 0
    said = codes(log)
    assert said.count("core.allowed") >= ENTRIES - 1
    assert {"audit.rotation", "audit.continued"} <= set(said)
    signing = Roots(log.with_name("none.key"), Chain(KEY).key_id.decode()) if kind == "forward" else Chain(KEY)
    seal = sealing([LocalKey(OTHER_KEY)]) if kind == "sealed" else None
    with closing(Log.open(log, signing, sync=True, sealing=seal)) as opened:
        assert (opened.crashed, opened.fault) == (False, "")
        opened.append(render(event(99, code="a.new")))
    assert verify([log], KEY).status == 0
    assert codes(log) == [*said, "a.new"]


@released
@pytest.mark.parametrize("kind", ["anchored"])
def test_released_checkpoints_hold(log: Path, version: str, kind: str) -> None:
    """Its checkpoints cover it, for who has the public key alone, and find what was cut off since (S3.6)."""
    report = anchored(log)
    assert (report.status, report.uncovered) == (0, []), report.breaks
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:-1]))
    assert anchored(log).status == 1

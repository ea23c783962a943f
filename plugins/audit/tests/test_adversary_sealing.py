"""What an adversary tried against encryption and named arguments, and what is in the way."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from plugins.audit.tests.conftest import Load
from plugins.audit.tests.test_encryption import CANARY, canary, leaks
from plugins.audit.tests.test_plugin import plugin_of
from plugins.audit.tests.test_rekey import NEW, OLD, SIGNING, change, entries, say, write

from hauberk.event import Event
from hauberk.refusals import HauberkError
from hauberk_audit._entry import render
from hauberk_audit._paths import sibling
from hauberk_audit.queries._index_files import index_path
from hauberk_audit.queries._reading import Reader
from hauberk_audit.sealing import _sqlcipher
from hauberk_audit.sealing._opening import Opener
from hauberk_audit.sealing._recipients import keys_path
from hauberk_audit.sealing._sealer import sealing
from hauberk_audit.writing._log import Log
from hauberk_audit.writing._reset import reset


def test_old_key_and_old_data_keys_do_not_open_a_new_index(tmp_path: Path) -> None:
    """Who has an old copy of the data keys and the old key reads nothing of what follows, nor in an index (S3.15)."""
    pytest.importorskip("sqlcipher3")
    log = tmp_path / "log" / "audit.jsonl"
    write(log, 2)
    stolen = tmp_path / "stolen" / "audit.jsonl"
    stolen.parent.mkdir(mode=0o700)
    _copy(keys_path(log), keys_path(stolen))
    change(log)  # to NEW
    with closing(Log.open(log, SIGNING, sync=True, sealing=sealing((NEW,)))) as found:
        found.append(
            render(Event(code="a.b", id="late", time=2.0, server="s", tool=CANARY, details={"reason": CANARY}))
        )
    opener = Opener((NEW,))
    index = opener.indexing(Reader(log, opener=opener), _unwatched)
    assert index is not None
    index.close()
    old = Opener((OLD,)).index_key(stolen)
    assert old is not None
    with closing(_sqlcipher.connector(old)(index_path(log))) as db:
        try:
            texts = [text for (text,) in db.execute("SELECT text FROM words")]
        except db.DatabaseError:
            texts = []
    assert CANARY not in texts


def _unwatched(_: int) -> Any:
    from contextlib import nullcontext

    return nullcontext()


def _copy(a: Path, b: Path) -> None:
    b.write_bytes(a.read_bytes())
    b.chmod(0o600)


def test_rekey_takes_in_what_was_put_away_by_a_sibling(tmp_path: Path) -> None:
    """The old key opens no log of a sibling either that was put away before (S3.15)."""
    log = tmp_path / "log" / "audit.jsonl"
    write(log)
    with closing(Log.open(log, SIGNING, sync=True, sealing=sealing((OLD,)))):
        write(log)  # the sibling
    other = sibling(log, 1)
    away = reset(other, SIGNING, say, {"reason": "test"}, sealing=sealing((OLD,)))
    for path in other.parent.glob(f"{other.name}*"):  # the second host is not there any more, nor the log it began
        if path.is_file():
            path.unlink()
    change(log)
    left = away / other.name
    with pytest.raises(HauberkError):
        entries(left, OLD)


def test_rekey_takes_in_an_archive_of_a_log_that_goes_on_in_clear(tmp_path: Path) -> None:
    """Nor a log that was put away, where the one after it is in clear (S3.15)."""
    log = tmp_path / "log" / "audit.jsonl"
    write(log)
    away = reset(log, SIGNING, say, {"reason": "test"})  # encryption was taken out of the configuration
    change(log)
    with pytest.raises(HauberkError):
        entries(away / log.name, OLD)


async def test_event_of_a_plugin_under_a_code_of_the_log_is_sealed(load: Load, state: Path, tmp_path: Path) -> None:
    """What another plugin says under a code of the log is sealed like all it says (S3.13)."""
    async with load("---\n[audit.encryption]\nenabled = true\n") as guard:
        guard.emit(Event(code="audit.pruned", tool=CANARY, details={"x": CANARY}))
        plugin_of(guard).flush()
    assert leaks(tmp_path) == []


def test_brackets_are_themselves_in_names_of_arguments() -> None:
    """Options.arguments says that `*` and `?` stand for any, and nothing of brackets."""
    from hauberk_audit._naming import names_of

    assert names_of({"db/[ab]": ("password",)}, "db/a") == ()


async def test_reset_of_a_sealed_log_writes_nothing_in_clear(load: Load, state: Path, tmp_path: Path) -> None:
    """A sealed log is not begun anew in clear by a configuration that seals nothing (S3.13)."""
    async with load("---\n[audit.encryption]\nenabled = true\n") as guard:
        guard.emit(canary())
        plugin_of(guard).flush()
    other = tmp_path / "other.toml"
    other.write_text("")
    other.chmod(0o600)
    from hauberk.cli import main

    log = state / "audit" / "audit.jsonl"
    main(["audit", "chain", "reset", str(log), "--key-file", str(state / "audit.key"), "--config", str(other),
          "--reason", CANARY, "--yes"])  # fmt: skip
    assert leaks(state) == []


def test_moved_sealed_line_does_not_open(tmp_path: Path) -> None:
    """A sealed line that was moved to another place does not open there (S3.13)."""
    log = tmp_path / "log" / "audit.jsonl"
    write(log, 3)
    lines = log.read_bytes().splitlines(keepends=True)
    reader = Reader(log, opener=Opener((OLD,)))
    assert len(list(reader.forwards())) == len(lines)
    log.write_bytes(b"".join([lines[0], lines[2], lines[1]]))
    reader = Reader(log, opener=Opener((OLD,)))
    assert len(list(reader.forwards())) == 1
    assert reader.skipped == 2

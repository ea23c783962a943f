"""The history by itself: what is kept, what ties it together, and what is found when somebody was at it."""

from __future__ import annotations

import multiprocessing
import sqlite3
import stat
import zlib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hauberk.refusals import ConfigError
from hauberk_audit.policies import _history
from hauberk_audit.policies._history import Accepted, Contents, History, kept_of
from hauberk_audit.policies._limits import Limits
from hauberk_audit.policies._rows import NOTHING, Row, faults, sealed, version_of
from hauberk_audit.policies._verify import examined

PLACE = "/etc/hauberk.toml"


def row(content: bytes, **more: Any) -> Row:
    made = Row(
        number=0,
        version=version_of(content),
        policy_name="hauberk.toml",
        place=PLACE,
        host="default",
        loaded_at=1.5,
        how="startup",
        changed_by="file:0",
    )
    return msgspec.structs.replace(made, **more)


def record(history: History, content: bytes, **more: Any) -> tuple[Row, bool]:
    made = row(content, **more)
    return history.record(made, Contents(content), lambda *_: ("+1 rule", ("+ a",)), strict=True)


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(tmp_path)


def change(history: History, statement: str, *values: object) -> None:
    """Change the file as somebody would who has it."""
    db = sqlite3.connect(history.path)
    with db:
        db.execute(statement, values)
    db.close()


# --- what is kept ---


def test_policy_that_comes_back_has_a_row_each_time(history: History) -> None:
    """A, B, A are three rows, each with the version before it, and two contents (S3.19)."""
    for content in (b"a", b"b", b"a"):
        assert record(history, content)[1]
    rows = history.rows()
    assert [one.version for one in rows] == [version_of(content) for content in (b"a", b"b", b"a")]
    assert [one.prev_version for one in rows] == ["", version_of(b"a"), version_of(b"b")]
    assert [one.number for one in rows] == [1, 2, 3]
    assert [one.prev_hash for one in rows] == [NOTHING, rows[0].hash, rows[1].hash]
    assert history.contents() == {version_of(b"a"): b"a", version_of(b"b"): b"b"}
    assert examined(history) == (rows, [])


def test_same_policy_again_has_no_row(history: History) -> None:
    """A host that starts with what was in force writes nothing, and gets the row of it."""
    first = record(history, b"a")[0]
    before = history.path.read_bytes()
    assert record(history, b"a", loaded_at=9.0, host="other") == (first, False)
    assert history.path.read_bytes() == before


def test_other_policy_py_is_another_policy(history: History) -> None:
    """A ``policy.py`` that changed while the file did not is a row, and is kept too."""
    for local in (b"x = 1", b"x = 2"):
        made = row(b"a", policy_file=version_of(local))
        assert history.record(made, Contents(b"a", local), lambda *_: ("", ()), strict=True)[1]
    assert set(history.contents().values()) == {b"a", b"x = 1", b"x = 2"}
    assert examined(history)[1] == []


def test_places_have_no_say_in_each_other(history: History) -> None:
    """Two policy files of one state directory are one chain, and each follows its own."""
    record(history, b"a")
    record(history, b"b", place="/other.toml")
    assert not record(history, b"a")[1]
    assert [one.prev_version for one in history.rows()] == ["", ""]


def test_texts_of_programs_do_not_follow_one_another(history: History) -> None:
    """Of what programs give as text each version has one row, however often they take turns."""
    for content in (b"a", b"b", b"a", b"b"):
        record(history, content, place="")
    assert [(one.version, one.prev_version) for one in history.rows()] == [
        (version_of(b"a"), ""),
        (version_of(b"b"), ""),
    ]


def test_content_is_compressed_and_exact(history: History) -> None:
    """What is kept is what was enforced, to the byte, and takes little room (S3.19)."""
    content = b"\xef\xbb\xbf# caf\xc3\xa9\r\n" + b"deny = ['x']\n" * 5000
    record(history, content)
    assert history.contents() == {version_of(content): content}
    assert history.path.stat().st_size < len(content)


def test_history_is_private(history: History) -> None:
    """Policies may hold secrets: nobody else reads the file, or the directory (X.12)."""
    record(history, b"a")
    assert stat.S_IMODE(history.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(history.path.parent.stat().st_mode) == 0o700
    assert [name.name for name in history.path.parent.iterdir()] == ["history.sqlite"]


def test_what_is_replaced_is_kept_once(history: History) -> None:
    """A file that a rollback replaces is kept, and is never what was in force."""
    record(history, b"a")
    kept = history.keep(row(b"b", how="kept"), b"b")
    assert kept is not None
    assert kept.number == 2
    assert history.keep(row(b"b", how="kept"), b"b") is None
    assert not record(history, b"a")[1]
    assert examined(history)[1] == []


# --- how much is kept ---


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_history, "LIMITS", Limits(kept=3))


@pytest.mark.usefixtures("few")
def test_only_the_newest_are_kept(history: History) -> None:
    """Older rows go, and with them what only they said; what is left verifies (S3.19)."""
    for number in range(10):
        record(history, b"%d" % number)
    rows = history.rows()
    assert [one.number for one in rows] == [8, 9, 10]
    assert sorted(history.contents().values()) == [b"7", b"8", b"9"]
    assert examined(history)[1] == []


@pytest.mark.usefixtures("few")
def test_content_that_is_still_named_is_kept(history: History) -> None:
    """A version stays as long as one row names it."""
    for content in (b"a", b"b", b"a", b"c", b"d"):
        record(history, content)
    assert sorted(history.contents().values()) == [b"a", b"c", b"d"]


@pytest.mark.usefixtures("few")
def test_what_was_taken_away_is_not_in_the_file(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret in a policy that is kept no longer is not to be found in the free pages of the file (X.14)."""
    connect = sqlite3.connect

    def careless(*args: Any, **more: Any) -> sqlite3.Connection:
        db: sqlite3.Connection = connect(*args, **more)
        db.execute("PRAGMA secure_delete = OFF")  # as SQLite has it where nobody built it otherwise
        return db

    monkeypatch.setattr(sqlite3, "connect", careless)
    secret = bytes(range(33, 127)) * 40  # incompressible enough to be found as it is
    record(history, secret)
    held = sqlite3.connect(history.path)
    (packed,) = held.execute("SELECT content FROM policy_versions").fetchone()
    held.close()
    assert packed[:64] in history.path.read_bytes()
    for number in range(3):
        record(history, b"%d" % number)
    assert packed[:64] not in history.path.read_bytes()


# --- what is found ---


def three(history: History) -> None:
    for content in (b"a", b"b", b"c"):
        record(history, content)


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("UPDATE policy_loads SET changed_by = 'api:friend' WHERE number = 2", "row 2: it is not what was written"),
        ("UPDATE policy_loads SET diff = '[]' WHERE number = 2", "row 2: it is not what was written"),
        ("UPDATE policy_loads SET loaded_at = 2.5 WHERE number = 3", "row 3: it is not what was written"),
        ("DELETE FROM policy_loads WHERE number = 2", "row 3: row 2 is missing before it"),
        ("UPDATE policy_versions SET content = x'789c4b0400006200'", "a content is damaged"),
        ("DELETE FROM policy_versions WHERE version LIKE 'sha256:3e%'", "what it said is missing"),
    ],
)
def test_change_is_found(history: History, statement: str, found: str) -> None:
    """A row that was changed or taken out, and a content that was, are found by name (S3.19)."""
    three(history)
    change(history, statement)
    try:
        said = examined(history)[1]
    except ConfigError as error:
        said = [error.message]
    assert any(found in one for one in said), said


def test_other_content_under_a_version_is_found(history: History) -> None:
    """What is kept under a version is compared with it."""
    three(history)
    other = History(history.path.parent.parent / "other")
    record(other, b"evil")
    db = sqlite3.connect(other.path)
    (packed,) = db.execute("SELECT content FROM policy_versions").fetchone()
    db.close()
    change(history, "UPDATE policy_versions SET content = ? WHERE version = ?", packed, version_of(b"b"))
    assert examined(history)[1] == [f"version {version_of(b'b')}: it is not what was kept"]


def test_row_that_was_made_anew_does_not_fit(history: History) -> None:
    """A row with a hash of its own, in the place of another, breaks the link of the one after it."""
    three(history)
    rows = history.rows()
    rows[1] = sealed(msgspec.structs.replace(rows[1], changed_by="api:friend"))
    assert faults(rows, history.contents()) == ["row 3: it does not follow the one before it"]


def test_rows_that_were_swapped_do_not_fit(history: History) -> None:
    """Order is part of the chain."""
    three(history)
    first, second, third = history.rows()
    found = faults([first, third, second], history.contents())
    assert found[0] == "row 3: row 2 is missing before it"


@given(st.integers(0, 4), st.sampled_from(["version", "host", "changed_by", "prev_version", "signer", "prev_hash"]))
def test_no_member_of_any_row_can_be_changed(which: int, member: str) -> None:
    """Whatever is changed in whichever row is found in that row."""
    rows: list[Row] = []
    for number in range(5):
        link = rows[-1].hash if rows else NOTHING
        rows.append(sealed(row(b"%d" % number, number=number + 1, prev_hash=link)))
    contents = {version_of(b"%d" % number): b"%d" % number for number in range(5)}
    assert faults(rows, contents) == []
    rows[which] = msgspec.structs.replace(rows[which], **{member: "x"})
    assert faults(rows, contents)[0].startswith(f"row {which + 1}: it is not what was written")


def test_nothing_follows_a_row_that_was_changed(history: History) -> None:
    """A chain is not gone on with from a row that is not what was written."""
    three(history)
    change(history, "UPDATE policy_loads SET signer = 'x' WHERE number = 3")
    with pytest.raises(ConfigError, match="row 3 is not what was written"):
        record(history, b"d")
    with pytest.raises(ConfigError, match="row 3 is not what was written"):
        history.check()


# --- serials ---


def signed(history: History, content: bytes, serial: int, *, strict: bool = True) -> tuple[Row, bool]:
    made = row(content, signature="valid", signer="ops", serial=serial)
    return history.record(made, Contents(content), lambda *_: ("", ()), strict=strict)


def test_serial_is_remembered(history: History) -> None:
    """The highest serial that was accepted is there after its row is gone, and is lowered by nothing (S3.20)."""
    assert history.serial(PLACE) is None
    signed(history, b"a", 3)
    assert history.serial(PLACE) == Accepted(3, version_of(b"a"))
    assert history.at_least(PLACE, 2) == Accepted(3, version_of(b"a"))
    assert history.at_least(PLACE, 7) == Accepted(7, "")
    assert history.serial("/other.toml") is None
    before = history.path.read_bytes()
    assert not signed(history, b"a", 7)[1]
    first = history.path.read_bytes()
    assert first != before
    assert not signed(history, b"a", 7)[1]
    assert history.path.read_bytes() == first


def test_serial_that_falls_back_is_no_row(history: History) -> None:
    """Between the check of a signature and the record another host may have accepted a newer policy."""
    signed(history, b"a", 3)
    with pytest.raises(ConfigError, match="its serial is 2, and serial 3 was accepted before"):
        signed(history, b"b", 2)
    with pytest.raises(ConfigError, match="its serial is 3, and so was that of another policy"):
        signed(history, b"b", 3)
    assert [one.version for one in history.rows()] == [version_of(b"a")]
    signed(history, b"b", 2, strict=False)
    assert history.serial(PLACE) == Accepted(3, version_of(b"a"))


def test_serial_that_was_forgotten_is_found(history: History) -> None:
    """A row tells of a serial that the memory does not have."""
    signed(history, b"a", 3)
    change(history, "UPDATE policy_serials SET serial = 2")
    assert examined(history)[1] == [f"serial 3 was accepted, and is not remembered: {PLACE}"]


# --- files that are none ---


def test_link_in_its_place_is_refused(history: History, tmp_path: Path) -> None:
    """A symbolic link is not followed, wherever it leads."""
    record(History(tmp_path / "elsewhere"), b"a")
    history.path.parent.mkdir(mode=0o700)
    history.path.symlink_to(tmp_path / "elsewhere" / "policies" / "history.sqlite")
    for use in (history.rows, history.check):
        with pytest.raises(ConfigError, match="symbolic link"):
            use()


@pytest.mark.parametrize("mode", [0o640, 0o602])
def test_file_that_was_laid_open_is_refused(history: History, mode: int) -> None:
    """A history that others can read or write is not used (X.12)."""
    record(history, b"a")
    history.path.chmod(mode)
    with pytest.raises(ConfigError, match="lets others in"):
        history.rows()


def test_directory_that_was_laid_open_is_refused(history: History) -> None:
    """So is one that others can replace."""
    record(history, b"a")
    history.path.parent.chmod(0o777)
    with pytest.raises(ConfigError, match="lets others in"):
        history.rows()


def test_file_that_is_no_history_is_refused(history: History) -> None:
    """What is no database is left as it is."""
    record(history, b"a")
    history.path.write_bytes(b"x" * 5000)
    for use in (history.rows, history.check, lambda: record(history, b"b")):
        with pytest.raises(ConfigError, match="not a database"):
            use()
    assert history.path.read_bytes() == b"x" * 5000


def test_newer_format_is_refused(history: History) -> None:
    """What a newer program wrote is not written to."""
    record(history, b"a")
    change(history, "PRAGMA user_version = 2")
    with pytest.raises(ConfigError, match="newer"):
        history.check()


def test_content_that_would_fill_the_memory_is_refused(history: History) -> None:
    """What was packed is not unpacked beyond what a policy may be."""
    record(history, b"a")
    change(history, "UPDATE policy_versions SET content = ?", zlib.compress(b"\0" * 2**24))
    with pytest.raises(ConfigError, match="damaged"):
        history.contents()


def test_nothing_is_left_of_what_failed(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row and contents are written together or not at all."""
    record(history, b"a")
    compress = zlib.compress

    def full(data: bytes, level: int) -> bytes:
        if data == b"x = 1":  # the second of the two contents
            raise OSError(28, "No space left on device")
        return compress(data, level)

    monkeypatch.setattr("hauberk_audit.policies._history.zlib.compress", full)
    made = row(b"b", policy_file=version_of(b"x = 1"))
    with pytest.raises(ConfigError, match="no space left"):
        history.record(made, Contents(b"b", b"x = 1"), lambda *_: ("", ()), strict=True)
    assert [one.version for one in history.rows()] == [version_of(b"a")]
    assert history.contents() == {version_of(b"a"): b"a"}


# --- several writers ---


def _write(folder: Path, contents: list[bytes], started: Any) -> None:
    started.wait()
    for content in contents:
        record(History(folder), content)


def test_writers_do_not_break_the_chain(tmp_path: Path) -> None:
    """Hosts that write at the same time write one chain (design: five wrapped servers are five processes)."""
    spawn = multiprocessing.get_context("spawn")
    started = spawn.Barrier(3)
    work = [(tmp_path, [b"%d" % (number % 2 + 2 * who) for number in range(8)], started) for who in range(3)]
    hosts = [spawn.Process(target=_write, args=args) for args in work]
    for one in hosts:
        one.start()
    for one in hosts:
        one.join()
    rows, found = examined(History(tmp_path))
    assert [one.exitcode for one in hosts] == [0, 0, 0]
    assert found == []
    assert len(rows) >= 8


# --- names of versions ---


def test_version_is_named_by_its_beginning() -> None:
    """A few digits do, with or without the label; what is ambiguous, short or unknown is an error."""
    held = {"sha256:abcd1": b"", "sha256:abce2": b""}
    assert kept_of(held, "abcd") == kept_of(held, "sha256:ABCD1".replace("SHA", "sha")) == "sha256:abcd1"
    wrong: list[tuple[str, str]] = [("abc", "too short"), ("ffff", "no version"), ("", "too short")]
    for prefix, said in wrong:
        with pytest.raises(ConfigError, match=said):
            kept_of(held, prefix)
    with pytest.raises(ConfigError, match="2 versions"):
        kept_of({"sha256:abcde1": b"", "sha256:abcde2": b""}, "abcd")

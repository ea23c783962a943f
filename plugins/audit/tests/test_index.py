"""The index of a log: whatever happened to the log, it is what one made anew would be; whatever happened to it, too."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plugins.audit.tests.written import entry, parsed, rotate, write

from hauberk_audit._paths import closed, closed_files, log_set
from hauberk_audit.queries import _index, _index_files
from hauberk_audit.queries._index import Index, Unusable, ready
from hauberk_audit.queries._index_files import index_path, lock_path
from hauberk_audit.queries._parts import Progress
from hauberk_audit.queries._reading import Reader
from hauberk_audit.writing._packing import compress

ROWS = """SELECT e.file, e.line, e.offset, e.size, e.sequence, e.time, e.count, e.id, e.digest, e.reason, e.prev_hash,
    e.hash, a.text, b.text, c.text, d.text, f.text, g.text, h.text, i.text FROM entries e
    JOIN words a ON a.id = e.code JOIN words b ON b.id = e.severity JOIN words c ON c.id = e.action
    JOIN words d ON d.id = e.server JOIN words f ON f.id = e.tool JOIN words g ON g.id = e.principal
    JOIN words h ON h.id = e.source JOIN words i ON i.id = e.method ORDER BY e.n"""


COUNT = "SELECT count(*) FROM entries"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Return a log of nine entries in three files, of which the first is compressed."""
    path = tmp_path / "log" / "audit.jsonl"
    for first, pack in ((1, True), (4, False), (7, None)):
        write(path, [entry(number, reason="x") for number in range(first, first + 3)])
        if pack is not None:
            rotate(path, pack=pack)
    return path


def made(log: Path, *, beside: bool = True, connect: _index.Connect | None = None) -> Index:
    """Return the index of a log, up to date."""
    index = ready(Reader(log), beside=beside, connect=connect)
    assert index is not None
    return index


def content(log: Path, *, beside: bool = True) -> dict[str, list[tuple[Any, ...]]]:
    """Return all that is in the index of a log, but for the numbers of its rows and words."""
    with closing(made(log, beside=beside)) as index:
        files = [tuple(file._replace(first=0, stamp="")) for file in index.files()]
        return {"entries": index.db.execute(ROWS).fetchall(), "files": files}


def is_beside(log: Path) -> bool:
    """Whether the index of a log was written beside it, whole."""
    with closing(sqlite3.connect(index_path(log))) as db:
        count, version = (db.execute(text).fetchone()[0] for text in (COUNT, "PRAGMA user_version"))
    return bool((count, version) == (len(parsed(log)), _index._VERSION))


# --- what is in it ---


def test_row_is_what_stands_in_the_log(log: Path) -> None:
    """A row says where its entry stands, and what of it is asked for."""
    with closing(made(log)) as index:
        rows = index.db.execute(ROWS).fetchall()
    assert [path.name for path in closed_files(log).values()] == ["audit.jsonl.1.gz", "audit.jsonl.2"]
    assert [row[4] for row in rows] == list(range(1, 10))
    assert [row[0] for row in rows] == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    found = list(Reader(log).at(2, [(row[1], row[2], row[3]) for row in rows[3:6]]))
    assert [one.sequence if one else None for one in found] == [4, 5, 6]


def test_query_view_has_the_columns_of_the_seed(tmp_path: Path) -> None:
    """The view ``audit_log`` offers id, action, key_hash, source, success, error_msg, timestamp and hashes (S2.35)."""
    log = tmp_path / "audit.jsonl"
    digest = f"sha256:{5:064x}"
    details = {"reason": "not allowed"}
    write(
        log,
        [
            entry(1, method="tools/call", digest=digest, source="cli"),
            entry(2, method="tools/list", action="blocked", code="sieve.hidden", details=details),
            entry(3, code="vault.get", id="no uuid", digest="odd", source="mcp"),
            entry(4, code="core.error", method="prompts/get", time="never"),
        ],
    )
    with closing(made(log)) as index:
        cursor = index.db.execute("SELECT * FROM audit_log ORDER BY hash")
        names = [column[0] for column in cursor.description]
        rows = [dict(zip(names, row, strict=True)) for row in cursor]
    assert names == [
        *("id", "action", "key_hash", "source", "success", "error_msg", "timestamp", "prev_hash", "hash"),
    ]
    assert rows[0] == {
        "id": entry(1)["id"],
        "action": "run",
        "key_hash": digest,
        "source": "cli",
        "success": 1,
        "error_msg": "",
        "timestamp": entry(1)["time"],
        "prev_hash": f"hmac-sha256:{0:064x}",
        "hash": f"hmac-sha256:{1:064x}",
    }
    assert (rows[1]["action"], rows[1]["success"], rows[1]["error_msg"]) == ("list", 0, "not allowed")
    assert (rows[2]["action"], rows[2]["id"], rows[2]["key_hash"]) == ("get", "no uuid", "odd")
    assert (rows[3]["action"], rows[3]["success"], rows[3]["timestamp"]) == ("get", 0, None)


@pytest.mark.parametrize("number", [-1, 0, 2**63, 2**64 - 1, 1.5, True, "7", None])
def test_numbers_that_no_writer_writes_are_none(tmp_path: Path, number: Any) -> None:
    """Whatever stands where a number should stand, the index is made (S3.5)."""
    log = tmp_path / "audit.jsonl"
    write(log, [entry(1) | {"count": number, "integrity": {"sequence": number}}, entry(2) | {"integrity": 5, "id": 6}])
    with closing(made(log)) as index:
        assert index.db.execute("SELECT sequence, count FROM entries").fetchall() == [(0, 1), (0, 1)]


# --- whatever happens to the log ---


class World:
    """A log to which things happen."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "audit.jsonl"
        self.log.touch()
        self.number = 0

    def append(self, count: int) -> None:
        lines = []
        for _ in range(count):
            self.number += 1
            tool = f"tool{self.number % 3}"
            lines.append(entry(self.number, self.number % 50, tool=tool, code=f"a.b{self.number % 4}"))
        write(self.log, lines)

    def spoil(self, text: bytes) -> None:
        with self.log.open("ab") as file:
            file.write(text)

    def rotate(self, pack: bool) -> None:
        rotate(self.log, pack=pack)

    def pack(self, which: int) -> None:
        plain = [path for path in closed_files(self.log).values() if path.suffix != ".gz"]
        if plain:
            compress(plain[which % len(plain)])

    def cut(self, share: float) -> None:
        data = self.log.read_bytes()
        self.log.write_bytes(data[: int(len(data) * share)])

    def cut_closed(self, which: int) -> None:
        plain = [path for path in closed_files(self.log).values() if path.suffix != ".gz"]
        if plain:
            path = plain[which % len(plain)]
            path.write_bytes(path.read_bytes()[:-20])

    def prune(self) -> None:
        files = closed_files(self.log)
        if len(files) > 1:
            files[min(files)].unlink()

    def lose(self, which: int) -> None:
        files = list(closed_files(self.log).values())
        if files:
            files[which % len(files)].unlink()

    def reset(self) -> None:
        for path in [*closed_files(self.log).values(), self.log]:
            path.unlink()
        self.log.touch()

    def query(self) -> None:
        made(self.log).close()


def _happenings() -> st.SearchStrategy[list[tuple[str, list[Any]]]]:
    small = st.integers(0, 5)
    step: Callable[..., st.SearchStrategy[tuple[str, list[Any]]]] = lambda name, *args: st.tuples(  # noqa: E731
        st.just(name), st.tuples(*args).map(list)
    )
    return st.lists(
        st.one_of(
            step("append", st.integers(1, 9)),
            step("append", st.integers(1, 9)),
            step("query"),
            step("query"),
            step("spoil", st.sampled_from([b"no json\n", b"\n", b"{}\n", b'{"torn', b"[]\n{}\n"])),
            step("rotate", st.booleans()),
            step("pack", small),
            step("cut", st.floats(0, 1)),
            step("cut_closed", small),
            step("prune"),
            step("lose", small),
            step("reset"),
        ),
        max_size=25,
    )


@settings(max_examples=150, deadline=None)
@given(_happenings(), st.integers(2, 5))
def test_index_is_what_one_made_anew_would_be(happenings: list[tuple[str, list[Any]]], batch: int) -> None:
    """Appends, rotations, compressions, truncations, resets: an index that is kept is one that is made anew (S3.5)."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(_index, "_BATCH", batch)
        world = World(Path(folder))
        for name, args in happenings:
            getattr(world, name)(*args)
        kept = content(world.log)
        assert kept == content(world.log, beside=False)
        assert [row[4] for row in kept["entries"]] == [
            one["integrity"]["sequence"] if "integrity" in one else 0 for one in parsed(world.log)
        ]


def test_only_what_is_new_is_read(log: Path) -> None:
    """An index that fits reads what was added, and no more; a file that was compressed since is compared once."""
    made(log).close()
    size = log.stat().st_size
    write(log, [entry(10), entry(11)])
    added = log.stat().st_size - size
    read: list[int] = []

    @contextmanager
    def watch(_: int) -> Iterator[Progress | None]:
        yield read.append

    ready(Reader(log), watch=watch).close()  # type: ignore[union-attr]  # there is one
    assert sum(read) == added


def test_log_that_was_put_back_is_read_anew(log: Path) -> None:
    """Where another log of the same length stands, its entries are found, and no others."""
    made(log).close()
    text = log.read_bytes()
    log.write_bytes(text.replace(b"00000009", b"0000000f"))
    assert log.stat().st_size == len(text)
    assert content(log) == content(log, beside=False)


def test_closed_file_that_was_changed_is_read_anew(log: Path) -> None:
    """A file that was changed after it was closed, by bytes of the same length, is read anew, compressed or not."""
    for pack in (False, True):
        made(log).close()
        path = closed(log, 2)
        text = path.read_bytes()
        path.write_bytes(text.replace(b"read_file", b"read_f%dle" % pack))
        assert path.stat().st_size == len(text)
        if pack:
            compress(path)
        os.utime(closed_files(log)[2], ns=(1, 2 + pack))
        assert content(log) == content(log, beside=False)


def test_log_that_was_begun_anew_is_read_where_an_empty_file_was_closed(log: Path) -> None:
    """What is written takes the place of an empty file that was closed, and is not taken for it."""
    for path in [*closed_files(log).values(), log]:
        path.unlink()
    log.touch()
    rotate(log)
    made(log).close()
    closed(log, 1).unlink()
    made(log).close()
    write(log, [entry(1)])
    assert content(log) == content(log, beside=False)


def test_what_was_stopped_goes_on(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An update that is stopped between two steps is gone on with by the next one."""
    monkeypatch.setattr(_index, "_BATCH", 2)
    steps = Index._step

    def stop(self: Index, reader: Reader, progress: Progress | None) -> bool:
        more = steps(self, reader, progress)
        if sum(file.lines for file in self.files()) >= 5:
            raise KeyboardInterrupt
        return more

    with monkeypatch.context() as patch:
        patch.setattr(Index, "_step", stop)
        with pytest.raises(KeyboardInterrupt):
            made(log)
    with closing(sqlite3.connect(index_path(log))) as db:
        assert db.execute("SELECT count(*) FROM entries").fetchone() == (5,)
    assert content(log) == content(log, beside=False)


# --- whatever happens to the index ---


def garbage(path: Path) -> None:
    path.write_bytes(b"garbage" * 1000)


def half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def torn(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[100:8192] = b"\xff" * len(data[100:8192])
    path.write_bytes(bytes(data))


def empty(path: Path) -> None:
    path.write_bytes(b"")


def sql(*commands: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            for command in commands:
                db.execute(command)

    return change


@pytest.mark.parametrize(
    "damage",
    [
        garbage,
        half,
        torn,
        empty,
        sql("PRAGMA user_version = 99"),
        sql("DROP TABLE entries"),
        sql("DROP TABLE words", "PRAGMA user_version = 0"),
        sql("UPDATE files SET hash = 'x'"),
        sql("UPDATE files SET number = -number, lines = 'many'"),
        sql("UPDATE files SET offset = 1 << 40"),
        sql("DELETE FROM files"),
    ],
)
def test_damaged_index_is_made_anew(log: Path, damage: Callable[[Path], None]) -> None:
    """An index that is damaged, of another version or another database is replaced by one that is not (S3.5)."""
    made(log).close()
    damage(index_path(log))
    assert content(log)["entries"] == content(log, beside=False)["entries"]
    assert is_beside(log)


def test_index_is_private(log: Path) -> None:
    """The index, and what SQLite keeps beside it, is for its owner alone (S2.43 T9, S4.23)."""
    old = os.umask(0)
    try:
        with closing(made(log)):
            write(log, [entry(10)])
            with closing(made(log)):
                names = sorted(path.name for path in log.parent.glob("*.index.*"))
                assert names == [f"audit.jsonl.index.{name}" for name in ("db", "db-shm", "db-wal", "lock")]
                assert {stat.S_IMODE((log.parent / name).stat().st_mode) for name in names} == {0o600}
    finally:
        os.umask(old)


def loose(log: Path) -> None:
    log.parent.chmod(0o777)


def readable(log: Path) -> None:
    index_path(log).write_bytes(b"")
    index_path(log).chmod(0o644)


def linked(log: Path) -> None:
    target = log.parent.parent / "target"
    target.write_bytes(b"mine")
    index_path(log).symlink_to(target)


def locked(log: Path) -> None:
    lock_path(log).mkdir()


@pytest.mark.parametrize("hindrance", [loose, readable, linked, locked])
def test_where_no_index_can_stand_none_is_left(log: Path, hindrance: Callable[[Path], None]) -> None:
    """Where an index would not be safe beside the log, one is made that is gone afterwards; nothing there changes."""
    hindrance(log)

    def there() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in log.parent.iterdir() if path.is_file()}

    before = there()
    assert len(content(log)["entries"]) == 9
    after = there()
    after.pop(lock_path(log).name, None)
    assert after == {name: data for name, data in before.items() if name != lock_path(log).name}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_auditor_reads_what_may_not_be_written(log: Path) -> None:
    """A log in a directory that may only be read is queried, and nothing is written there."""
    log.parent.chmod(0o500)
    try:
        assert len(content(log)["entries"]) == 9
        assert not index_path(log).exists()
    finally:
        log.parent.chmod(0o700)


def test_copied_index_is_used_where_it_fits(log: Path, tmp_path: Path) -> None:
    """A log that is copied with its index goes on with it; a copy with the index of another log makes its own."""
    made(log).close()
    copy = tmp_path / "copy"
    shutil.copytree(log.parent, copy)
    assert content(copy / log.name) == content(copy / log.name, beside=False)
    (copy / log.name).write_bytes(b"")
    write(copy / log.name, [entry(50), entry(51)])
    assert content(copy / log.name) == content(copy / log.name, beside=False)


# --- several commands at once ---


def test_two_commands_help_each_other(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two that bring one index up to date at once, step by step, leave what one alone would leave."""
    monkeypatch.setattr(_index, "_BATCH", 2)
    steps, others = Index._step, [Reader(log)]
    beside: list[bool] = []

    def step(self: Index, reader: Reader, progress: Progress | None) -> bool:
        while others and sum(file.lines for file in self.files()) >= 4:
            with closing(ready(others.pop())) as other:  # type: ignore[type-var]  # there is one
                assert other is not None
                beside.append(other._lock >= 0)
        return steps(self, reader, progress)

    monkeypatch.setattr(Index, "_step", step)
    assert content(log) == content(log, beside=False)
    assert (others, beside) == ([], [True])
    assert is_beside(log)


def test_index_that_is_used_is_not_deleted(log: Path) -> None:
    """While one command uses an index, another one does not take it away; a damaged one is left to its user."""
    with closing(made(log)) as index:
        assert not _index_files.drop(log)
        garbage(index_path(log))
        assert len(content(log)["entries"]) == 9
        assert index_path(log).read_bytes().startswith(b"garbage")
        assert index.files()
    assert _index_files.drop(log)
    assert not index_path(log).exists()


def test_index_that_is_being_deleted_is_not_used(log: Path) -> None:
    """While one deletes an index, another makes one without a name."""
    made(log).close()
    lock = _index_files._locked(log, shared=False)
    assert lock is not None
    try:
        assert len(content(log)["entries"]) == 9
    finally:
        os.close(lock)


def test_encrypted_index_stands_beside_or_nowhere(log: Path) -> None:
    """What opens an encrypted index is asked for the one beside the log; there is none without a name (S3.13)."""
    asked: list[Path] = []

    def connect(path: Path) -> sqlite3.Connection:
        asked.append(path)
        return sqlite3.connect(path, isolation_level=None)

    made(log, connect=connect).close()
    assert asked == [index_path(log)]
    locked_out = log.with_name("other.jsonl")
    write(locked_out, [entry(1)])
    locked(locked_out)
    assert ready(Reader(locked_out), connect=connect) is None


def test_index_that_nobody_can_make_is_an_error(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where not even an index without a name can be written, that is said."""
    monkeypatch.setattr(_index, "TABLES", ("CREATE NONSENSE",))
    with pytest.raises(Unusable, match="cannot use the index"):
        made(log)


# --- others see nothing of it ---


def test_index_is_no_log(log: Path) -> None:
    """What belongs to an index is neither a log nor a file of one (S3.5)."""
    before = log_set(log.parent), closed_files(log)
    with closing(made(log)):
        assert (log_set(log.parent), closed_files(log)) == before
        assert log_set(log) == [log]

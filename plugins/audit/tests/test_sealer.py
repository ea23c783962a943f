"""The data keys of a log: one for each file, wrapped for each recipient, and never made anew where one is damaged."""

from __future__ import annotations

import errno
import gzip
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from plugins.audit.tests.logs import KEY, OTHER_KEY, event

from hauberk import files
from hauberk.refusals import ConfigError, HauberkError, PluginError
from hauberk_audit._bounds import Bounds
from hauberk_audit._entry import render
from hauberk_audit.sealing import _recipients, _sealer
from hauberk_audit.sealing._opening import Opener
from hauberk_audit.sealing._providers import KeyProvider, LocalKey
from hauberk_audit.sealing._recipients import keys_path
from hauberk_audit.sealing._sealer import Sealer, sealing
from hauberk_audit.sealing._sealing import NONCE

HOST, OTHER = LocalKey(KEY), LocalKey(OTHER_KEY)
INTEGRITY = b',"integrity":{}}'


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Return a log that is there and empty."""
    path = tmp_path / "audit.jsonl"
    path.touch(0o600)
    return path


class Writer:
    """Writes sealed lines to a log, as its writer would."""

    def __init__(self, log: Path, *recipients: KeyProvider, **more: Any) -> None:
        self.log = log
        self.sealer: Sealer = sealing(recipients or (HOST,), **more)(log)
        self.number, self.line = 1, len(log.read_bytes().splitlines())
        self.sealer.begin(self.number, self.line)

    def add(self, text: str = "canary") -> None:
        """Write one entry."""
        self.line += 1
        with self.log.open("ab") as file:
            file.write(self.sealer.seal(render(event(rule=text)), self.number, self.line) + INTEGRITY + b"\n")

    def rotate(self, *, pack: bool = False) -> None:
        """Close the file and begin the next one."""
        name = self.log.with_name(f"{self.log.name}.{self.number}")
        self.log.rename(name)
        if pack:
            name.with_name(f"{name.name}.gz").write_bytes(gzip.compress(name.read_bytes()))
            name.unlink()
        self.log.touch(0o600)
        self.number, self.line = self.number + 1, 0


def stored(log: Path) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(keys_path(log).read_bytes())
    return found


def lines(path: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def texts(log: Path, *keys: KeyProvider, file: Path | None = None) -> list[str]:
    """Return what the entries of a file say, opened with some keys."""
    opener = Opener(keys or (HOST,))
    return [opener(entry, log)["rule"] for entry in lines(file or log)]


def test_data_key_is_on_the_disk_before_the_first_line(log: Path) -> None:
    """Once a sealer has begun, and before anything is sealed, the data key is there, wrapped, in a private file."""
    Writer(log)
    found = stored(log)
    assert list(found) == ["format", "files"]
    (file,) = found["files"]
    assert (file["number"], [one["key_id"] for one in file["keys"]]) == (1, [HOST.key_id])
    assert keys_path(log).stat().st_mode & 0o777 == 0o600
    assert log.read_bytes() == b""


def test_each_file_has_a_data_key_of_its_own(log: Path) -> None:
    """The next file has another data key; all of them open, whichever was compressed (S3.13)."""
    writer = Writer(log)
    for _ in range(3):
        writer.add(f"file {writer.number}")
        writer.rotate()
    writer.add("last")
    names = [file["file"] for file in stored(log)["files"]]
    assert len(set(names)) == 4
    assert [file["number"] for file in stored(log)["files"]] == [1, 2, 3, 4]
    assert texts(log) == ["last"]
    assert texts(log, file=log.with_name("audit.jsonl.2")) == ["file 2"]


def test_restart_goes_on_with_the_data_key(log: Path) -> None:
    """A host that starts again seals the rest of a file with the data key that it has."""
    for number in range(3):
        Writer(log).add(str(number))
    assert len(stored(log)["files"]) == 1
    assert texts(log) == ["0", "1", "2"]
    assert [entry["line"] for entry in lines(log)] == [1, 2, 3]


def test_no_nonce_is_used_twice(log: Path) -> None:
    """A line that did not stay, and the one that takes its place, have other nonces under one key (rule 5)."""
    writer = Writer(log)
    first, again = (writer.sealer.seal(render(event(rule=text)), 1, 1) for text in ("one", "two"))
    nonces = [orjson.loads(one + INTEGRITY)["sealed"][:16] for one in (first, again)]
    assert nonces[0] != nonces[1]
    same = [writer.sealer.seal(render(event(rule="one")), 1, 1) for _ in range(100)]
    assert len(set(same)) == 100


def test_nonces_are_as_random_as_they_are_asked_to_be(log: Path) -> None:
    """Each nonce is drawn from the source of randomness, 12 bytes for each line."""
    asked: list[int] = []

    def random(count: int) -> bytes:
        asked.append(count)
        return os.urandom(count)

    writer = Writer(log, random=random)
    assert asked == [8, 32]
    writer.add()
    writer.add()
    assert asked == [8, 32, NONCE, NONCE]


def test_key_that_sealed_enough_is_followed_by_another(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A data key seals no more lines than it may, over restarts too; then the same file goes on with another one."""
    monkeypatch.setattr(_sealer, "BOUNDS", Bounds(sealed=3))
    writer = Writer(log)
    for _ in range(4):
        writer.add()
    assert len(stored(log)["files"]) == 2
    Writer(log).add()
    assert len(stored(log)["files"]) == 3
    assert texts(log) == ["canary"] * 5


# --- recipients ---


def test_any_recipient_opens(log: Path) -> None:
    """With two recipients either key opens the log, and a third one does not (S3.16)."""
    Writer(log, HOST, OTHER).add()
    assert texts(log, HOST) == texts(log, OTHER) == ["canary"]
    with pytest.raises(ConfigError, match="at hand is"):
        texts(log, LocalKey(KEY[::-1]))
    with pytest.raises(ConfigError, match="at hand is none"):
        Opener([])(lines(log)[0], log)


def test_recipient_who_comes_later_gets_what_follows(log: Path) -> None:
    """With another set of recipients a new data key is made at once: nobody new opens the old lines, or old the new."""
    Writer(log, HOST).add("old")
    Writer(log, HOST, OTHER).add("new")
    assert len(stored(log)["files"]) == 2
    assert texts(log, HOST) == ["old", "new"]
    assert Opener([OTHER])(lines(log)[1], log)["rule"] == "new"
    with pytest.raises(ConfigError, match="at hand"):
        Opener([OTHER])(lines(log)[0], log)


def test_copy_that_is_damaged_leaves_the_other(log: Path) -> None:
    """Where one wrapped copy is damaged, another recipient still opens the log (S3.16)."""
    Writer(log, HOST, OTHER).add()
    found = stored(log)
    found["files"][0]["keys"][0]["wrapped"] = "A" * 64
    keys_path(log).write_bytes(orjson.dumps(found))
    assert texts(log, HOST, OTHER) == ["canary"]
    with pytest.raises(ConfigError, match="does not open"):
        texts(log, HOST)


class WrapOnly:
    """A provider that may not unwrap."""

    key_id = "escrow"

    def wrap(self, data_key: bytes, /) -> bytes:
        return OTHER.wrap(data_key)

    def unwrap(self, wrapped: bytes, /) -> bytes:
        raise PluginError("not allowed")


def test_escrow_need_not_unwrap(log: Path) -> None:
    """A recipient beside the host's own may be one that only wraps; as the host's own it stops the start."""
    Writer(log, HOST, WrapOnly()).add()
    assert texts(log) == ["canary"]
    with pytest.raises(HauberkError, match="not allowed"):
        Writer(_empty(log), WrapOnly())


def _empty(log: Path) -> Path:
    """Return another log that is empty."""
    path = log.with_name("other.jsonl")
    path.touch(0o600)
    return path


class Liar:
    """A provider that gives back another key than it wrapped."""

    key_id = "liar"

    def wrap(self, data_key: bytes, /) -> bytes:
        return HOST.wrap(data_key)

    def unwrap(self, wrapped: bytes, /) -> bytes:
        return HOST.unwrap(wrapped)[::-1]


def test_provider_that_does_not_give_back_stops_the_start(log: Path) -> None:
    """A data key that the host's key does not give back as it was seals nothing (fail closed)."""
    with pytest.raises(HauberkError):
        Writer(log, Liar())
    assert not keys_path(log).exists()


# --- what is damaged ---


def test_log_in_clear_goes_on_sealed(log: Path) -> None:
    """Where a log was written in clear before, what follows is sealed, and what was written stays (X.2)."""
    log.write_bytes(render(event(rule="clear")) + INTEGRITY + b"\n")
    writer = Writer(log)
    writer.add("sealed")
    assert lines(log)[0]["rule"] == "clear"
    assert texts(log) == ["clear", "sealed"]
    assert b"sealed" not in log.read_bytes().splitlines()[1].replace(b'"sealed":', b"")


DAMAGE = {
    "gone": None,
    "empty": b"",
    "cut": lambda data: data[:-20],
    "half": lambda data: data[: len(data) // 2],
    "no JSON": b"\xff\xfe",
    "other format": lambda data: data.replace(b"keys/1", b"keys/2"),
    "more": lambda data: data.replace(b'"files"', b'"x":1,"files"'),
    "no keys": b'{"format":"hauberk-audit-keys/1","files":[]}',
    "twice": lambda data: data.replace(b'"files":[', b'"files":[' + data[data.index(b"[") + 1 : -2] + b","),
    "short": lambda data: data.replace(b'"wrapped":"', b'"wrapped":"' + b"A" * 4),
    "name": lambda data: data.replace(b'"file":"', b'"file":"X', 1),
}


@pytest.mark.parametrize("how", DAMAGE)
def test_damaged_data_key_is_an_error(log: Path, how: str) -> None:
    """Data keys that are gone, cut or changed stop the start; no new key is made in their place (S3.8, M31)."""
    Writer(log).add()
    path, change = keys_path(log), DAMAGE[how]
    data = path.read_bytes()
    bad = change(data) if callable(change) else change
    path.unlink()
    if bad is not None:
        assert bad != data
        path.write_bytes(bad)
        path.chmod(0o600)
    with pytest.raises(ConfigError, match="data key"):
        Writer(log)
    assert (path.read_bytes() if path.exists() else None) == bad


def _changed(data: dict[str, Any], place: tuple[str | int, ...], value: Any) -> None:
    found: Any = data
    for step in place[:-1]:
        found = found[step]
    found[place[-1]] = value


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("files", 0, "keys", 0, "wrapped"), ""),
        (("files", 0, "keys", 0, "wrapped"), "AAAA"),
        (("files", 0, "keys", 0, "wrapped"), "%%%%"),
        (("files", 0, "keys", 0, "key_id"), "0" * 16),
        (("files", 0, "keys"), []),
        (("files", 0, "number"), 0),
        (("files", 0, "file"), "0" * 16),
    ],
)
def test_changed_member_is_an_error(log: Path, place: tuple[str | int, ...], value: Any) -> None:
    """A truncated, renamed or swapped wrapped key is an error, and the file stays as it is (M31)."""
    Writer(log).add()
    found = stored(log)
    _changed(found, place, value)
    keys_path(log).write_bytes(orjson.dumps(found))
    with pytest.raises(ConfigError, match="data key") as error:
        Writer(log)
    assert "hint:" in str(error.value)
    assert stored(log) == found


def test_copy_of_another_file_is_an_error(log: Path) -> None:
    """A wrapped key that was put in the place of another file's opens nothing, and nothing is sealed with it."""
    writer = Writer(log)
    writer.add()
    writer.rotate()
    writer.add()
    found = stored(log)
    found["files"][1]["keys"], found["files"][0]["keys"] = found["files"][0]["keys"], found["files"][1]["keys"]
    keys_path(log).write_bytes(orjson.dumps(found))
    with pytest.raises(ConfigError, match="key of something else"):
        Writer(log)


@pytest.mark.parametrize("pack", [False, True])
def test_missing_data_keys_are_missed_where_a_file_was_just_begun(log: Path, *, pack: bool) -> None:
    """Where the file that is written is empty, the one before it tells that there were data keys (M31)."""
    writer = Writer(log)
    writer.add()
    writer.rotate(pack=pack)
    keys_path(log).unlink()
    with pytest.raises(ConfigError, match="it is gone"):
        Writer(log)


def test_older_copy_of_the_data_keys_is_missed(log: Path) -> None:
    """Data keys that were put back to an older copy do not hold the one of the last line, and stop the start."""
    Writer(log).add()
    before = keys_path(log).read_bytes()
    Writer(log, fresh=True).add()
    keys_path(log).write_bytes(before)
    with pytest.raises(ConfigError, match="it holds no data key"):
        Writer(log)


def test_key_of_another_host_stops_the_start(log: Path) -> None:
    """A host whose key does not open the data keys seals nothing with one of its own (fail closed)."""
    Writer(log).add()
    before = keys_path(log).read_bytes()
    for recipients in ((OTHER,), (OTHER, HOST)):
        with pytest.raises(ConfigError, match="wrapped for key"):
            Writer(log, *recipients)
    assert keys_path(log).read_bytes() == before


def test_link_in_the_place_of_the_data_keys_is_refused(log: Path, tmp_path: Path) -> None:
    """Data keys that are a symbolic link, dangling or not, are refused (X.12)."""
    (tmp_path / "elsewhere").mkdir()
    keys_path(log).symlink_to(tmp_path / "elsewhere" / "keys")
    with pytest.raises(ConfigError, match="symbolic link"):
        Writer(log)


# --- the disk ---


class Stopped(BaseException):
    """The process ends here."""


def _stops() -> Iterator[tuple[str, Any]]:
    for name in ("_write_beside", "sync_directory"):
        yield name, Stopped()
        yield name, OSError(errno.ENOSPC, "no space")


@pytest.mark.parametrize(("name", "error"), [*_stops()])
def test_stopped_while_a_data_key_is_kept(
    log: Path, name: str, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever keeping a data key stops, what was sealed before opens, and the next run goes on (X.12)."""
    writer = Writer(log)
    writer.add("before")
    writer.rotate()

    def stop(*_: Any) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(files, name, stop)
        with pytest.raises((OSError, Stopped)):
            writer.add("never")
    assert log.read_bytes() == b""
    again = Writer(log)
    again.number = 2
    again.add("after")
    assert texts(log) == ["after"]
    assert texts(log, file=log.with_name("audit.jsonl.1")) == ["before"]
    assert sorted(name.name for name in log.parent.iterdir()) == ["audit.jsonl", "audit.jsonl.1", "audit.jsonl.keys"]


def test_provider_that_fails_at_a_new_file_is_an_error_of_the_log(log: Path) -> None:
    """A KMS that does not answer when a file is begun stops the writing, and the next entry tries again."""

    class Flaky:
        key_id = "kms"
        fails = itertools.cycle([False, True, False])

        def wrap(self, data_key: bytes, /) -> bytes:
            if next(self.fails):
                raise PluginError("no answer")
            return HOST.wrap(data_key)

        def unwrap(self, wrapped: bytes, /) -> bytes:
            return HOST.unwrap(wrapped)

    writer = Writer(log, Flaky())
    writer.add()
    writer.rotate()
    with pytest.raises(PluginError, match=r"cannot seal audit log .*: no answer"):
        writer.sealer.seal(render(event()), 2, 1)
    writer.add()
    assert [file["number"] for file in stored(log)["files"]] == [1, 2]


def test_more_keys_than_a_file_may_hold_are_an_error(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file of data keys has a bound, and at the bound the log stops with a way out (§9.8)."""
    monkeypatch.setattr(_recipients, "BOUNDS", Bounds(keys=300))
    Writer(log)
    with pytest.raises(ConfigError, match="larger than 300") as error:
        Writer(log, fresh=True)
    assert "chain reset" in str(error.value.hint)


def test_opener_sees_keys_that_came_later(log: Path) -> None:
    """Who reads a log that is being written opens the entries of a file that was begun meanwhile."""
    writer, opener = Writer(log), Opener([HOST])
    writer.add("one")
    assert opener(lines(log)[0], log)["rule"] == "one"
    writer.rotate()
    writer.add("two")
    assert opener(lines(log)[0], log)["rule"] == "two"


def test_index_key_is_another_one_for_each_log(log: Path) -> None:
    """The key of an index comes from the log's first data key; a log that was never sealed has none."""
    opener = Opener([HOST])
    assert opener.index_key(log) is None
    writer = Writer(log)
    writer.add()
    found = opener.index_key(log)
    writer.rotate()
    writer.add()
    assert found is not None
    assert len(found) == 32
    assert Opener([HOST]).index_key(log) == found
    assert Opener([HOST]).index_key(_empty(log)) is None
    Writer(_empty(log))
    assert Opener([HOST]).index_key(_empty(log)) != found
    with pytest.raises(ConfigError):
        Opener([OTHER]).index_key(log)

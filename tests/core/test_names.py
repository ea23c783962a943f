"""Guards of one host tell each other what their servers show, whatever happens to one of them."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hauberk import advisory, files, names
from hauberk.names import Holder, Limits, Names
from hauberk.refusals import ConfigError

DAY = 86_400


class Clock:
    """Seconds since 1970, turned by hand."""

    def __init__(self) -> None:
        self.seconds = 1_800_000_000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def guard(tmp_path: Path, clock: Clock) -> Callable[..., Names]:
    """Return a function that makes one more guard of a host."""

    def make(host: str = "default", **limits: Any) -> Names:
        return Names(tmp_path / "state" / "names.json", host, now=clock, limits=Limits(**limits))

    return make


def file_of(tmp_path: Path) -> Path:
    return tmp_path / "state" / "names.json"


def shown(tmp_path: Path) -> Any:
    return json.loads(file_of(tmp_path).read_bytes())


def test_another_guard_sees_the_same_name(guard: Callable[..., Names]) -> None:
    """What one process learned, another one is told: who has the name, and whether it is the same thing."""
    assert guard().learn("files", "tools", {"read": "d1", "write": "d2"}).held == {}
    learned = guard().learn("mail", "tools", {"read": "d3", "send": "d4"})
    assert learned == names.Learned({"read": (Holder("files", "d1"),)})


def test_looking_tells_nobody(guard: Callable[..., Names], tmp_path: Path) -> None:
    """Who holds a name can be read without being told of, and without making a file."""
    assert guard().held("mail", "tools", ["read"]) == {}
    assert not file_of(tmp_path).parent.exists()
    guard().learn("files", "tools", {"read": "d1"})
    before = file_of(tmp_path).read_bytes()
    assert guard().held("mail", "tools", ["read", "send"]) == {"read": (Holder("files", "d1"),)}
    assert file_of(tmp_path).read_bytes() == before


def test_first_guard_sees_it_when_it_looks_again(guard: Callable[..., Names]) -> None:
    """A guard that told first is told too, at its next list: what it knew is no longer all."""
    first, second = guard(), guard()
    first.learn("files", "tools", {"read": "d1"})
    assert first.is_known("files", "tools", ["read"])
    second.learn("mail", "tools", {"read": "d3"})
    assert not first.is_known("files", "tools", ["read"])
    assert first.learn("files", "tools", {"read": "d1"}).held == {"read": (Holder("mail", "d3"),)}


def test_names_of_other_hosts_and_kinds_are_no_shadows(guard: Callable[..., Names]) -> None:
    """Compared are items of one kind, of different servers, of one host."""
    guard("desktop").learn("files", "tools", {"read": "d"})
    guard().learn("files", "tools", {"read": "d"})
    guard().learn("files", "prompts", {"ask": "d"})
    assert guard().learn("files", "tools", {"read": "other"}).held == {}
    assert guard().learn("mail", "prompts", {"read": "d"}).held == {}
    assert list(guard().learn("mail", "tools", {"read": "d"}).held) == ["read"]


def test_file_is_left_alone_without_news(guard: Callable[..., Names], tmp_path: Path) -> None:
    """A list that is known is neither read nor written; a known file is not written."""
    one = guard()
    one.learn("files", "tools", {"read": "d1", "write": "d2"})
    before = file_of(tmp_path).stat()
    assert one.is_known("files", "tools", ["write"])
    assert not one.is_known("files", "tools", ["write", "delete"])
    assert not one.is_known("files", "prompts", ["write"])
    guard().learn("files", "tools", {"read": "d1"})
    after = file_of(tmp_path).stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_pages_of_a_list_are_put_together(guard: Callable[..., Names], tmp_path: Path) -> None:
    """A list that comes in pages is learned as a whole, and a changed definition takes the place of the old one."""
    one = guard()
    one.learn("files", "tools", {"read": "d1"})
    one.learn("files", "tools", {"write": "d2"})
    one.learn("files", "tools", {"read": "d3"})
    assert shown(tmp_path)["hosts"]["default"]["files"]["items"] == {"tools": {"read": "d3", "write": "d2"}}


def test_file_is_private(guard: Callable[..., Names], tmp_path: Path) -> None:
    """Nobody else reads or writes what is shared."""
    guard().learn("files", "tools", {"read": "d"})
    assert stat.S_IMODE(file_of(tmp_path).stat().st_mode) == 0o600
    assert stat.S_IMODE(file_of(tmp_path).parent.stat().st_mode) == 0o700


@given(st.lists(st.tuples(st.sampled_from("abc"), st.dictionaries(st.text(max_size=3), st.text(max_size=3)))))
def test_guards_agree_with_a_model(told: list[tuple[str, dict[str, str]]]) -> None:
    """Whoever tells what, in which order: each is told all that the others have told before."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "names.json"
        guards = {server: Names(path, "h", now=Clock()) for server in "abc"}
        model: dict[str, dict[str, str]] = {server: {} for server in "abc"}
        for server, items in told:
            plain = {name: digest for name, digest in items.items() if name.isprintable()}
            held = guards[server].learn(server, "tools", plain).held
            assert held == {
                name: found
                for name in plain
                if (found := tuple(Holder(o, model[o][name]) for o in "abc" if o != server and name in model[o]))
            }
            model[server] |= plain


# --- bounds ---


def test_server_has_so_many_names(guard: Callable[..., Names], tmp_path: Path) -> None:
    """Names over the number, the length or the size that a server may have are left out, and counted."""
    many = {f"n{number}": "d" for number in range(9)}
    assert guard(names=4).learn("a", "tools", many).left_out == 5
    assert len(shown(tmp_path)["hosts"]["default"]["a"]["items"]["tools"]) == 4
    assert guard(name_chars=3).learn("b", "tools", {"abc": "d", "abcd": "d"}).left_out == 1
    assert guard(kind_bytes=11).learn("c", "tools", {"äää": "d", "ää": "d", "x": "d"}).left_out == 1
    assert guard().learn("d", "tools", {"\ud800": "d", "x": "d"}).left_out == 1


def test_name_that_is_left_out_is_no_news(guard: Callable[..., Names], tmp_path: Path) -> None:
    """A server with too many names does not have the file written again and again."""
    one = guard(names=2)
    one.learn("a", "tools", {"x": "d", "y": "d"})
    before = file_of(tmp_path).stat().st_ino
    for number in range(20):
        assert one.learn("a", "tools", {f"n{number}": "d"}).left_out == 1
    assert file_of(tmp_path).stat().st_ino == before


def test_oldest_of_too_many_servers_goes_and_is_told(guard: Callable[..., Names], clock: Clock) -> None:
    """One server more than there may be takes the place of the one that was not seen for longest."""
    for server in "abc":
        assert guard(servers=3).learn(server, "tools", {server: "d"}).forgotten == ()
        clock.seconds += 60
    assert guard(servers=3).learn("d", "tools", {"d": "d"}).forgotten == ("a",)
    assert guard(servers=3).learn("b", "tools", {"a": "d", "c": "d", "d": "d"}).held.keys() == {"c", "d"}


def test_server_that_is_gone_is_forgotten(guard: Callable[..., Names], clock: Clock, tmp_path: Path) -> None:
    """A server that nobody ran for 30 days shadows nothing, and leaves the file; one in use stays."""
    guard().learn("gone", "tools", {"read": "d"})
    for _ in range(31):
        clock.seconds += DAY
        guard().learn("used", "tools", {"read": "d"})
    clock.seconds += 1
    assert guard().learn("new", "tools", {"read": "d"}).held.keys() == {"read"}
    assert guard().learn("new", "tools", {"read": "d"}).held["read"] == (Holder("used", "d"),)
    assert shown(tmp_path)["hosts"]["default"].keys() == {"used", "new"}


def test_memory_of_what_was_told_is_bounded(guard: Callable[..., Names]) -> None:
    """Names and servers that come and go do not stay in memory."""
    one = guard(servers=2, names=3)
    for number in range(50):
        one.learn(f"s{number % 5}", "tools", {f"n{number}": "d"})
    assert len(one._told) <= 2
    assert all(len(told) <= 4 for told in one._told.values())


# --- what can happen to the file ---


WHOLE = b'{"format":1,"hosts":{"default":{"files":{"seen":1800000000,"items":{"tools":{"read":"d"}}}}}}'


@pytest.mark.parametrize("size", range(len(WHOLE)))
def test_torn_file_is_begun_anew_and_told(guard: Callable[..., Names], tmp_path: Path, size: int) -> None:
    """A file that was cut off anywhere is not believed in part; it is written anew, and that is told."""
    guard().learn("x", "tools", {})
    file_of(tmp_path).write_bytes(WHOLE[:size])
    learned = guard().learn("mail", "tools", {"read": "d"})
    assert learned == names.Learned({}, rebuilt=True)
    assert guard().learn("other", "tools", {"read": "d"}) == names.Learned({"read": (Holder("mail", "d"),)})


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xfe",
        b"[]",
        WHOLE.replace(b"1,", b"2,", 1),
        WHOLE.replace(b'"d"', b"7"),
        WHOLE.replace(b"seen", b"sean"),
        WHOLE + b"x",
        b"[" * 100_000,
    ],
)
def test_garbage_is_begun_anew_and_told(guard: Callable[..., Names], tmp_path: Path, data: bytes) -> None:
    """What is not a list of names as this version writes it is not believed."""
    guard().learn("x", "tools", {})
    file_of(tmp_path).write_bytes(data)
    assert guard().learn("mail", "tools", {"read": "d"}) == names.Learned({}, rebuilt=True)


def test_whole_file_is_believed(guard: Callable[..., Names], tmp_path: Path) -> None:
    """The file of the test above, whole, is read."""
    guard().learn("x", "tools", {})
    file_of(tmp_path).write_bytes(WHOLE)
    assert guard().learn("mail", "tools", {"read": "d"}) == names.Learned({"read": (Holder("files", "d"),)})


def world_readable(path: Path) -> None:
    path.chmod(0o644)


def linked(path: Path) -> None:
    path.rename(path.with_name("real"))
    path.symlink_to("real")


def dangling(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


def too_large(path: Path) -> None:
    path.write_bytes(b" " * 4096)


@pytest.mark.parametrize("spoil", [world_readable, linked, dangling, a_pipe, too_large])
def test_file_that_others_could_have_written_is_not_used(
    guard: Callable[..., Names], tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    """A link, a pipe, a file that others can open, or one over its bound is an error, and stays as it is."""
    guard().learn("files", "tools", {"read": "d"})
    spoil(file_of(tmp_path))
    before = file_of(tmp_path).lstat()
    with pytest.raises(ConfigError, match=r"names\.json"):
        guard(file_bytes=1024).learn("mail", "tools", {"read": "d"})
    assert file_of(tmp_path).lstat().st_ino == before.st_ino


def test_lock_file_is_no_link(guard: Callable[..., Names], tmp_path: Path) -> None:
    """A link in the place of the lock is not followed."""
    file_of(tmp_path).parent.mkdir(mode=0o700)
    (tmp_path / "state" / "names.json.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="symbolic link"):
        guard().learn("mail", "tools", {"read": "d"})
    assert not (tmp_path / "elsewhere").exists()


class Killed(BaseException):
    """The end of a process, at some point."""


@pytest.mark.parametrize("step", ["fsync", "rename", "directory"])
def test_crash_leaves_the_old_names_or_the_new(
    guard: Callable[..., Names], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """A guard that ends at any step of writing leaves a whole file and no lock; the next one goes on (X.12)."""
    guard().learn("files", "tools", {"read": "d"})

    def killed(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        places: dict[str, tuple[Any, str]] = {
            "fsync": (os, "fsync"),
            "rename": (Path, "replace"),
            "directory": (files, "sync_directory"),
        }
        patch.setattr(*places[step], killed)
        with pytest.raises(Killed):
            guard().learn("mail", "tools", {"send": "d"})
    servers = shown(tmp_path)["hosts"]["default"].keys()
    assert servers == ({"files", "mail"} if step == "directory" else {"files"})
    assert guard().learn("third", "tools", {"read": "d"}).held == {"read": (Holder("files", "d"),)}


def test_what_a_killed_guard_left_is_cleared(guard: Callable[..., Names], tmp_path: Path) -> None:
    """A file half written by a process that was killed is taken away by the next that writes."""
    guard().learn("files", "tools", {"read": "d"})
    (tmp_path / "state" / ".names.json.4711.0.tmp").write_bytes(b"{")
    guard().learn("mail", "tools", {"read": "d"})
    assert sorted(path.name for path in (tmp_path / "state").iterdir()) == ["names.json", "names.json.lock"]


# --- several at once ---


def test_guard_that_holds_the_lock_is_waited_for(tmp_path: Path, clock: Clock) -> None:
    """While another guard holds the lock this one waits, for so long; then it says who does not let go."""
    waits: list[float] = []
    path = file_of(tmp_path)
    one = Names(path, "h", now=clock, limits=Limits(tries=3), sleep=waits.append)
    one.learn("files", "tools", {"read": "d"})
    fd = files.append_private(path.with_name("names.json.lock"))
    assert advisory.take(fd)
    with pytest.raises(ConfigError, match="another guard does not let go of it"):
        one.learn("files", "tools", {"write": "d"})
    assert waits == [0.01] * 3
    assert not one.is_known("files", "tools", ["write"])

    def let_go(_: float) -> None:
        os.close(fd)

    patient = Names(path, "h", now=clock, sleep=let_go)
    assert patient.learn("files", "tools", {"write": "d"}).held == {}
    assert shown(tmp_path)["hosts"]["h"]["files"]["items"]["tools"].keys() == {"read", "write"}


def test_what_came_while_waiting_is_not_lost(tmp_path: Path, clock: Clock) -> None:
    """What is written is what was read under the lock, with what is new: nobody's names are overwritten."""
    path = file_of(tmp_path)
    other = Names(path, "h", now=clock)
    other.learn("first", "tools", {"x": "d"})
    fd = files.append_private(path.with_name("names.json.lock"))
    assert advisory.take(fd)

    def meanwhile(_: float) -> None:
        os.close(fd)
        other.learn("second", "tools", {"read": "d2"})

    learned = Names(path, "h", now=clock, sleep=meanwhile).learn("third", "tools", {"read": "d3"})
    assert learned.held == {"read": (Holder("second", "d2"),)}
    assert shown(tmp_path)["hosts"]["h"].keys() == {"first", "second", "third"}


TELLER = """
import sys, time
from pathlib import Path
from hauberk.names import Limits, Names
number = int(sys.argv[2])
sys.stdin.readline()
mine = Names(Path(sys.argv[1]), "h", now=time.time, limits=Limits(tries=100_000))
for turn in range(20):
    mine.learn(f"s{number}", "tools", {f"t{number}-{turn}": "d", "same": str(number)})
"""


def test_five_processes_lose_nothing(tmp_path: Path) -> None:
    """Five guards that tell at once leave one whole file with what each has told, and no other file."""
    path = file_of(tmp_path)
    command = [sys.executable, "-c", TELLER, str(path)]
    started = [subprocess.Popen([*command, str(number)], stdin=subprocess.PIPE) for number in range(5)]
    for process in started:  # all are there before the first is let go
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.flush()
    assert [process.communicate(timeout=50) and process.returncode for process in started] == [0] * 5
    servers = shown(tmp_path)["hosts"]["h"]
    assert {server: len(found["items"]["tools"]) for server, found in servers.items()} == {
        f"s{number}": 21 for number in range(5)
    }
    assert sorted(found.name for found in path.parent.iterdir()) == ["names.json", "names.json.lock"]


def test_limits_hold_the_file_under_its_bound() -> None:
    """A file at all other bounds is not larger than it may be."""
    limits = Limits()
    per_name = 64 + len('"":"",')
    kind = limits.kind_bytes + limits.names * per_name
    server = len(get_args(names.Kind)) * kind + 1024
    assert limits.servers * server < limits.file_bytes


def test_file_over_its_bound_is_not_written(guard: Callable[..., Names], tmp_path: Path) -> None:
    """A file that could not be read again is not written; the old one stands."""
    guard().learn("files", "tools", {"read": "d"})
    before = file_of(tmp_path).read_bytes()
    with pytest.raises(ConfigError, match="would be larger than 200 bytes"):
        guard(file_bytes=200).learn("mail", "tools", {"send": "d" * 200})
    assert file_of(tmp_path).read_bytes() == before


def test_what_servers_show_is_one_object_until_it_changes(guard: Callable[..., Names]) -> None:
    """Who compares with all names gets the same object again, unless another guard told something new."""
    one, other = guard(), guard()
    assert one.shown("tools") == {}
    other.learn("files", "tools", {"read": "d1"})
    shown = one.shown("tools")
    assert shown == {"files": {"read": "d1"}}
    assert one.shown("prompts") == {}
    other.learn("mail", "prompts", {"greet": "d2"})
    assert one.shown("tools") is shown
    other.learn("mail", "tools", {"send": "d3"})
    assert one.shown("tools") == {"files": {"read": "d1"}, "mail": {"send": "d3"}}


def test_what_a_server_showed_long_ago_is_not_shown(guard: Callable[..., Names], clock: Clock) -> None:
    """A server that was not seen for a month holds no name against others."""
    guard().learn("files", "tools", {"read": "d1"})
    clock.seconds += 31 * DAY
    assert guard().shown("tools") == {}


def test_read_of_all_names_costs_a_stat(guard: Callable[..., Names], monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that stands as it was is not read again."""
    one = guard()
    one.learn("files", "tools", {"read": "d1"})
    one.shown("tools")
    monkeypatch.setattr(files, "read_private", None)
    assert one.shown("tools") == {"files": {"read": "d1"}}

"""``hauberk audit list``, ``tail``, ``show``, ``stats``, ``export``, ``schema``: what they print, and exit statuses."""

from __future__ import annotations

import csv
import io
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import click
import orjson
import pytest
from click.shell_completion import ShellComplete
from plugins.audit.tests.logs import KEY
from plugins.audit.tests.test_commands import Said, audit
from plugins.audit.tests.test_rotation import append
from plugins.audit.tests.written import by_time, entry, ids, line, rotate, write

from hauberk import keys
from hauberk.refusals import HauberkError
from hauberk_audit._commands import audit as group
from hauberk_audit._paths import closed
from hauberk_audit.queries import _asking, _query_commands
from hauberk_audit.queries._index_files import index_path, release, take
from hauberk_audit.queries._query import Query
from hauberk_audit.queries._query_commands import go_on
from hauberk_audit.queries._reading import Found, Reader
from hauberk_audit.queries._tail import Follower

pytestmark = pytest.mark.usefixtures("only_audit")
Capture = pytest.CaptureFixture[str]
HOSTILE = "\x1b[2J\u202egpj\u2028\x7f\x85\U000e0041\u200b\r\t"
"""What a terminal or a viewer would act on."""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Return a log of thirty entries in three files, of which the first is compressed."""
    path = tmp_path / "log" / "audit.jsonl"
    for first, pack in ((1, True), (11, False), (21, None)):
        write(path, [entry(n, **denied() if n % 5 == 0 else {}) for n in range(first, first + 10)])
        if pack is not None:
            rotate(path, pack=pack)
    return path


def denied() -> dict[str, Any]:
    details = {"reason": "no rule allows it"}
    more = {"code": "sieve.denied", "category": "refusal", "severity": "warning", "action": "blocked"}
    return {**more, "details": details, "tool": "exec", "rule": "deny", "count": 2}


def asked(capsys: Capture, *args: object) -> Said:
    said = audit(capsys, *args)
    assert said.status == 0, said.err
    return said


# --- list ---


def test_list_prints_the_newest_first(capsys: Capture, log: Path) -> None:
    """Without a filter the last twenty entries are listed, each on a line, the newest first."""
    said = asked(capsys, "list", log)
    lines = said.out.splitlines()
    assert len(lines) == 20
    assert lines[0] == (
        f"{entry(30)['time']}  #30  warning   blocked    sieve.denied x2         files/exec  host:default"
        "  deny  no rule allows it"
    )
    assert (
        lines[1]
        == f"{entry(29)['time']}  #29  info      allowed    core.allowed            files/read_file  host:default"
    )
    assert said.err == ""


@pytest.mark.parametrize(
    ("options", "numbers"),
    [
        (["--limit", "2"], [30, 29]),
        (["--code", "sieve.*"], [30, 25, 20, 15, 10, 5]),
        (["--action", "blocked", "--limit", "2"], [30, 25]),
        (["--severity", "critical"], []),
        (["--tool", "exec", "--tool", "nothing"], [30, 25, 20, 15, 10, 5]),
        (["--server", "mail"], []),
        (["--principal", "host:*", "--since", entry(28)["time"]], [30, 29, 28]),
        (["--until", entry(3)["time"]], [2, 1]),
        (["--since", "1s"], []),
        (["--since", "2025-10-09", "--until", "2025-10-10", "--limit", "1"], [30]),
    ],
)
def test_filters_select(capsys: Capture, log: Path, options: list[str], numbers: list[int]) -> None:
    """Each filter leaves what it names, with an index as without; --json prints the entries as they stand."""
    found = orjson.loads(asked(capsys, "list", log, *options, "--json").out)
    assert found == [one for number in numbers for one in by_time(log) if one["integrity"]["sequence"] == number]


def test_several_logs_are_one_list(capsys: Capture, log: Path) -> None:
    """A log and its siblings are listed together by time, and each line names its log."""
    write(log.with_name("audit.1.jsonl"), [entry(1, 29, tool="other")])
    lines = asked(capsys, "list", log.parent, "--limit", "3").out.splitlines()
    assert [text.split("  ")[1] for text in lines] == ["audit.jsonl#30", "audit.1.jsonl#1", "audit.jsonl#29"]
    found = orjson.loads(asked(capsys, "list", log, "--tool", "other", "--json").out)
    assert ids(found) == [entry(1)["id"]]


def test_log_of_the_configuration_is_asked(capsys: Capture, log: Path, tmp_path: Path) -> None:
    """Without a path the log of the configuration is read."""
    config = tmp_path / "hauberk.toml"
    config.write_text(f'[audit]\npath = "{log}"\n')
    config.chmod(0o600)
    assert len(asked(capsys, "list", "--config", config).out.splitlines()) == 20


def test_log_that_is_not_there_is_2(capsys: Capture, tmp_path: Path) -> None:
    """Where there is no log, that is said, and exit status 2."""
    said = audit(capsys, "list", tmp_path / "none.jsonl")
    assert (said.status, said.out) == (2, "")
    assert "nothing to read" in said.err


def test_unknown_time_is_2(capsys: Capture, log: Path) -> None:
    """A time that is none is an error, and nothing is listed."""
    said = audit(capsys, "list", log, "--since", "tuesday")
    assert (said.status, said.out) == (2, "")
    assert "'tuesday' is no time" in said.err


COMMANDS = (["list"], ["list", "--code", "*"], ["tail"], ["stats"], ["export"], ["export", "--code", "core.*"])


@pytest.mark.parametrize("command", COMMANDS)
def test_lines_that_are_no_entries_are_1(capsys: Capture, log: Path, command: list[str]) -> None:
    """What is no JSON is skipped and counted, on standard error, with exit status 1; a torn line is no line yet."""
    with log.open("ab") as file:
        file.write(b"\x1b[2J no json\n[]\n" + line(entry(31)) + b'{"torn')
    said = audit(capsys, *command, log)
    assert said.status == 1
    assert said.err == "hauberk: warning: 2 lines are no entries and were skipped; hauberk audit verify says where\n"
    assert said.out


@pytest.mark.parametrize("command", COMMANDS)
def test_no_query_says_that_a_log_is_whole(capsys: Capture, log: Path, command: list[str]) -> None:
    """A query of a log that was changed answers, and says nothing about its integrity (S3.5)."""
    log.write_bytes(log.read_bytes().replace(b"read_file", b"read_fily"))
    said = asked(capsys, *command, log)
    assert not {"whole", "valid", "verified", "ok"} & set((said.out + said.err).lower().split())


# --- viewers ---


def hostile(log: Path) -> None:
    """Let somebody change the log so that each text of an entry is one that a terminal would act on."""
    texts = dict.fromkeys(("server", "tool", "principal", "code", "severity", "action", "id", "time", "rule"), HOSTILE)
    more = {"details": {"reason": HOSTILE, HOSTILE: [HOSTILE]}, HOSTILE: HOSTILE, "category": "refusal"}
    write(log, [entry(31) | texts | more, entry(32) | texts | more | {"category": "decision"}])


@pytest.mark.parametrize(
    "command",
    [
        ["list"],
        ["list", "--json"],
        ["list", "--code", "*\u202e*"],
        ["tail"],
        ["tail", "--json"],
        ["show", "32"],
        ["show", "32", "--json"],
        ["stats"],
        ["stats", "--json"],
        ["export"],
        ["export", "--format", "csv"],
        ["export", "--format", "ocsf"],
    ],
)
def test_nothing_that_is_printed_acts_on_a_terminal(capsys: Capture, log: Path, command: list[str]) -> None:
    """Whatever stands in a log, no command prints a control, a mark that turns text, or an invisible one (A25)."""
    hostile(log)
    words = 2 if command[0] == "show" else 1
    out = asked(capsys, *command[:words], log, *command[words:]).out
    table = "csv" in command
    assert out.replace("\r\n" if table else "\n", "").isprintable()
    if "--json" in command:
        texts = [_texts(orjson.loads(text)) for text in (out.splitlines() if command[0] == "tail" else [out])]
        assert HOSTILE in set().union(*texts)


def _texts(value: Any) -> set[str]:
    """Return every string in a JSON value."""
    if isinstance(value, str):
        return {value}
    parts = [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else []
    return set().union(*map(_texts, parts)) if parts else set()


# --- show ---


def test_show_prints_one_entry_whole(capsys: Capture, log: Path) -> None:
    """``show`` prints an entry, named by number or id, with its place and all that it holds."""
    (expected,) = [one for one in by_time(log) if one["integrity"]["sequence"] == 15]
    said = asked(capsys, "show", "15", log)
    head, _, rest = said.out.partition("\n")
    assert head == f"{closed(log, 2)}:5"
    assert orjson.loads(rest) == expected
    found = orjson.loads(asked(capsys, "show", expected["id"], log, "--json").out)
    assert found == {"file": str(closed(log, 2)), "line": 5, "entry": expected}


def test_show_of_what_is_not_there_is_1(capsys: Capture, log: Path) -> None:
    """An entry that is not there is exit status 1."""
    for name in ("31", "no\x1bid", "other.jsonl#3"):
        said = audit(capsys, "show", name, log)
        assert (said.status, said.out) == (1, "")
        assert said.err.startswith("there is no entry")
        assert "\x1b" not in said.err


def test_number_of_several_logs_is_asked_for(capsys: Capture, log: Path) -> None:
    """Where several logs have an entry of a number, it is asked which is meant."""
    write(log.with_name("audit.1.jsonl"), [entry(15, tool="other")])
    said = audit(capsys, "show", "15", log)
    assert (said.status, said.out) == (2, "")
    assert "'audit.jsonl#15', 'audit.1.jsonl#15'" in said.err
    found = orjson.loads(asked(capsys, "show", "audit.1.jsonl#15", log, "--json").out)
    assert found["entry"]["tool"] == "other"


def test_entry_that_is_there_twice_is_1(capsys: Capture, log: Path) -> None:
    """A number that stands twice in one log is the work of somebody else: both are shown, and exit status is 1."""
    write(log, [entry(15, tool="forged")])
    said = audit(capsys, "show", "15", log)
    assert (said.status, said.out.count('"sequence": 15')) == (1, 2)
    assert "2 entries are named so" in said.err


# --- stats ---


def test_stats_count(capsys: Capture, log: Path) -> None:
    """``stats`` counts by code, server, tool, severity and day; what stands for many counts as many (S4.22)."""
    found = orjson.loads(asked(capsys, "stats", log, "--json").out)
    assert found == {
        "entries": 30,
        "events": 36,
        "first": entry(1)["time"],
        "last": entry(30)["time"],
        "code": {"core.allowed": 24, "sieve.denied": 12},
        "server": {"files": 36},
        "tool": {"read_file": 24, "exec": 12},
        "severity": {"info": 24, "warning": 12},
        "day": {"2025-10-09": 36},
    }
    said = asked(capsys, "stats", log, "--action", "blocked", "--limit", "1")
    assert said.out.splitlines()[:5] == [
        "12 events in 6 entries",
        f"from {entry(5)['time']} to {entry(30)['time']}",
        "",
        "code",
        "          12  sieve.denied",
    ]


def test_long_tables_are_cut_and_say_so(capsys: Capture, log: Path) -> None:
    """Of a table as many lines are printed as are asked for, and how many more there are."""
    write(log, [entry(31 + n, tool=f"tool{n}") for n in range(5)])
    out = asked(capsys, "stats", log, "--limit", "2").out
    assert "… and 5 more" in out
    assert "tool4" not in out


def test_stats_of_nothing(capsys: Capture, log: Path) -> None:
    """Where nothing is counted, the counts are zero."""
    assert asked(capsys, "stats", log, "--code", "none").out == "0 events in 0 entries\n"


# --- export ---


def test_lines_are_exported_as_they_stand(capsys: Capture, log: Path) -> None:
    """JSON Lines are the very lines of the log, the oldest first, so each can still be verified."""
    assert asked(capsys, "export", log).out.encode() == b"".join(line(one) for one in by_time(log))
    found = asked(capsys, "export", log, "--code", "sieve.denied").out.splitlines()
    assert [orjson.loads(text)["integrity"]["sequence"] for text in found] == [5, 10, 15, 20, 25, 30]


def test_table_has_all_members(capsys: Capture, log: Path) -> None:
    """A table has a column for each member of an entry, and where it stands (S2.39)."""
    rows = list(csv.DictReader(io.StringIO(asked(capsys, "export", log, "--format", "csv").out)))
    assert len(rows) == 30
    assert rows[4] | {"x": ""} == rows[4] | {
        "file": "audit.jsonl.1.gz",
        "line": "5",
        "sequence": "5",
        "code": "sieve.denied",
        "details": '{"reason":"no rule allows it"}',
        "count": "2",
        "probe": "",
        "entry_hash": f"hmac-sha256:{5:064x}",
        "x": "",
    }


def test_file_that_is_written_is_private_and_new(capsys: Capture, log: Path, tmp_path: Path) -> None:
    """``--output`` makes a private file, and never replaces one; one that failed is not left (S2.43 T9)."""
    out = tmp_path / "out.jsonl"
    assert asked(capsys, "export", log, "--output", out).out == ""
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert out.read_bytes() == b"".join(line(one) for one in by_time(log))
    assert audit(capsys, "export", log, "--output", out).status == 2
    assert out.read_bytes()

    def fail(*_: object) -> Iterator[str]:
        yield "x"
        raise HauberkError("no more")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_query_commands, "lines", fail)
        assert audit(capsys, "export", log, "--output", tmp_path / "other").status == 2
    assert not (tmp_path / "other").exists()


def test_reader_that_goes_ends_an_export(log: Path) -> None:
    """An export into a pipe that nobody reads any more ends without a complaint."""
    write(log, [entry(n) for n in range(31, 5000)])
    command = f"{sys.executable} -m hauberk audit export --format csv --code 'core.*' {log} | head -n 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False, timeout=30)  # noqa: S602
    assert (done.stdout.count("\n"), done.stderr) == (1, "")


# --- tail ---


def test_tail_prints_the_newest_last(capsys: Capture, log: Path) -> None:
    """``tail`` prints the last entries, the newest last; with --json each on a line."""
    out = asked(capsys, "tail", log, "-n", "2", "--json").out
    assert [orjson.loads(text)["integrity"]["sequence"] for text in out.splitlines()] == [29, 30]
    lines = asked(capsys, "tail", log, "--action", "blocked").out.splitlines()
    assert [text.split("  ")[1] for text in lines] == ["#5", "#10", "#15", "#20", "#25", "#30"]


def test_tail_follows_a_log_that_is_written(log: Path) -> None:
    """``tail -f`` prints what is added, also over a rotation and from a new sibling, until it is interrupted."""
    command = [sys.executable, "-m", "hauberk", "audit", "tail", "-f", "-n", "1", "--json", str(log)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None

        def next_number() -> int:
            assert process.stdout is not None
            return int(orjson.loads(process.stdout.readline())["integrity"]["sequence"])

        assert next_number() == 30
        write(log, [entry(31)])
        assert next_number() == 31
        rotate(log, pack=True)
        write(log, [entry(32)])
        assert next_number() == 32
        write(log.with_name("audit.1.jsonl"), [entry(500)])
        assert next_number() == 500
        process.send_signal(2)
        assert process.wait(30) == 130
        assert process.stderr is not None
        assert process.stderr.read() == b""


def test_following_waits_between_two_looks(log: Path) -> None:
    """Between two looks ``tail -f`` waits: it never reads the log without a pause (no busy loop)."""
    shown: list[int] = []
    waits: list[float] = []

    def show(found: Iterator[Found]) -> None:
        shown.extend(one.sequence for one in found)

    def wait(seconds: float) -> None:
        waits.append(seconds)
        write(log, [entry(30 + len(waits), action="blocked" if len(waits) == 2 else "allowed")])
        if len(waits) == 4:
            raise KeyboardInterrupt

    follower = Follower(lambda: [Reader(log)])
    follower.skip()
    with pytest.raises(KeyboardInterrupt):
        go_on(follower, Query(names={"action": ("blocked",)}), show, wait)  # type: ignore[arg-type]  # an iterator
    assert shown == [32]
    assert min(waits) >= 0.1


# --- the rest ---


def test_schema_is_printed(capsys: Capture) -> None:
    """``schema`` prints the JSON Schema that the package has."""
    assert orjson.loads(asked(capsys, "schema").out)["title"] == "One line of a hauberk audit log"


def test_progress_is_shown_where_somebody_looks(capsys: Capture, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a large log is indexed a bar is shown on a terminal, and nowhere else."""
    monkeypatch.setattr(_asking, "_MUCH", 0)
    bars: list[int] = []

    class Bar:
        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def update(self, count: int) -> None:
            bars.append(count)

    def bar(**given: Any) -> Bar:
        bars.append(-given["length"])
        return Bar()

    monkeypatch.setattr(click, "progressbar", bar)
    asked(capsys, "list", log, "--code", "x")
    assert bars == []
    index_path(log).unlink()
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    asked(capsys, "list", log, "--code", "x")
    assert sum(bars[1:]) == -bars[0] > 0


def test_reset_deletes_the_index(capsys: Capture, tmp_path: Path) -> None:
    """A log that is put away leaves no index of its entries; one that is used is brought up to date (S3.12)."""
    key, log = tmp_path / "audit.key", tmp_path / "logs" / "audit.jsonl"
    keys.create_key(key, random=lambda count: KEY[:count])
    append(log, 5)
    reset = ("chain", "reset", log, "--key-file", key, "--reason", "x", "--yes")
    asked(capsys, "list", log, "--code", "core.*")
    assert index_path(log).exists()
    asked(capsys, *reset)
    assert not list(log.parent.glob("*.index.db*"))
    asked(capsys, "list", log, "--code", "core.*")
    lock = take(log)
    assert lock is not None
    asked(capsys, *reset)
    release(lock)
    found = orjson.loads(asked(capsys, "list", log, "--code", "*", "--json").out)
    assert [one["code"] for one in found] == ["audit.chain_reset"]


def completions(*args: str) -> list[str]:
    """Return what a shell offers for the last of some words."""
    *words, last = args
    found = ShellComplete(group, {}, "audit", "_X").get_completions(list(words), last)
    return [item.value for item in found]


def test_shell_completes_what_the_index_knows(capsys: Capture, log: Path) -> None:
    """A shell offers codes, tools and servers of the log's index, and severities; without an index none is made."""
    assert completions("list", str(log), "--code", "") == []
    assert not index_path(log).exists()
    asked(capsys, "list", log, "--code", "x")
    write(log, [entry(31, tool="\x1bhidden", code="pins.changed")])
    asked(capsys, "list", log, "--code", "x")
    assert completions("list", str(log), "--code", "") == ["core.allowed", "pins.changed", "sieve.denied"]
    assert completions("list", str(log), "--code", "s") == ["sieve.denied"]
    assert completions("stats", str(log), "--tool", "") == ["exec", "read_file"]
    assert completions("export", str(log), "--server", "f") == ["files"]
    assert completions("tail", "--severity", "w") == ["warning"]
    index_path(log).write_bytes(b"garbage")
    assert completions("list", str(log), "--code", "") == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_log_that_may_not_be_read_is_2(capsys: Capture, log: Path) -> None:
    """A log that may not be read is exit status 2, and is named."""
    log.chmod(0)
    said = audit(capsys, "list", log)
    assert (said.status, said.out) == (2, "")
    assert str(log) in said.err

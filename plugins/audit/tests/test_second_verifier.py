"""A verifier that was written from the page of the format alone says of a log what hauberk says of it (S3.5, S3.11).

It is `contrib/verify-audit.js`. Both read each log here, whole ones and damaged ones, and name the same first break.
What stands beside a log (its state, its checkpoints) is no part of the page, and is not there.
"""

from __future__ import annotations

import gzip
import hmac
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plugins.audit.tests.conftest import Load
from plugins.audit.tests.logs import KEY, OTHER_KEY, event, stream

from hauberk import keys
from hauberk_audit._entry import render
from hauberk_audit._paths import closed_files, state_path
from hauberk_audit.sealing._providers import LocalKey
from hauberk_audit.sealing._sealer import sealing
from hauberk_audit.verifying._verify import verify
from hauberk_audit.writing import _custody
from hauberk_audit.writing._chain import GENESIS, Chain
from hauberk_audit.writing._custody import Roots
from hauberk_audit.writing._log import Log
from hauberk_audit.writing._packing import compress
from hauberk_audit.writing._ratchet import Ladder
from hauberk_audit.writing._rotation import Rotation, Rotator

ROOT: Final = Path(__file__).parents[3]
SCRIPT: Final = ROOT / "contrib" / "verify-audit.js"
PAGE: Final = ROOT / "docs" / "audit-format.md"
LADDER: Final = Ladder(KEY)
GZIP_HEAD: Final = 10
"""Bytes of a compressed file that say nothing of what is in it, but for its name (RFC 1952 section 2.3)."""
FEW: Final = settings(max_examples=7, deadline=None)

Lines = list[bytes]


class Made(NamedTuple):
    """A log of its own folder, and what verifies it."""

    path: Path
    key_file: Path

    def copy(self, folder: Path) -> Made:
        """Return it once more, to be damaged."""
        shutil.copytree(self.path.parent, folder, dirs_exist_ok=True)
        return Made(folder / self.path.name, self.key_file)

    @property
    def files(self) -> list[Path]:
        """All its files, the oldest first."""
        return [*closed_files(self.path).values(), self.path]


class Verdict(NamedTuple):
    """What a verifier says of a log."""

    status: int
    file: str = ""
    line: int = 0
    """Of the first break."""


@pytest.fixture(scope="session")
def node() -> str:
    """Return the program that runs the other verifier."""
    found = shutil.which("node")
    if found is None:
        pytest.skip("node is not installed: the verifier in JavaScript cannot be run")
    return found


def run(node: str, *words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [node, str(SCRIPT), *map(str, words)], capture_output=True, text=True, timeout=30, check=False
    )


def other(node: str, made: Made) -> Verdict:
    """Return what the other verifier says."""
    done = run(node, made.path, made.key_file)
    if done.returncode != 1:
        return Verdict(done.returncode)
    found = re.fullmatch(r"(.+):([0-9]+): .+\n", done.stdout)
    assert found is not None, done.stdout + done.stderr
    return Verdict(1, Path(found[1]).name, int(found[2]))


def own(made: Made) -> Verdict:
    """Return what hauberk says."""
    report = verify([made.path], keys.load_key(made.key_file))
    if report.status != 1:
        return Verdict(report.status)
    first = report.breaks[0]
    return Verdict(1, Path(first.file).name, first.line)


# --- logs ---


def say(code: str, details: dict[str, Any]) -> bytes:
    return render(event(code=code))


def key_file(folder: Path, key: bytes = KEY) -> Path:
    file = folder / "key"
    file.write_text(f"{keys.key_line(key)}\n")
    file.chmod(0o600)
    return file


def write(path: Path, signing: Chain | Roots, **more: Any) -> None:
    """Write a log of some files and take its state away."""
    rotator = Rotator(Rotation(bytes=None, entries=4), lambda: 1e9, say)
    for run_number in range(2):
        with closing(Log.open(path, signing, sync=True, rotator=rotator, **more)) as log:
            for number in range(6):
                log.extend([render(event(run_number * 20 + number, rule="é€😀"))] * (1 + number % 2))
    state_path(path).unlink()


def plain(folder: Path) -> Made:
    path = folder / "log" / "audit.jsonl"
    write(path, Chain(KEY))
    return Made(path, key_file(folder))


def forward(folder: Path) -> Made:
    path = folder / "log" / "audit.jsonl"
    _custody.make(folder / "audit.key", folder / "escrow.key")
    roots = _custody.load(folder / "audit.key")
    assert isinstance(roots, Roots)
    roots.take()  # another log has the first chain
    write(path, roots)
    return Made(path, folder / "escrow.key")


def compressed(made: Made) -> Made:
    for number, file in closed_files(made.path).items():
        if number % 2:
            compress(file)
    return made


def sealed(folder: Path) -> Made:
    path = folder / "log" / "audit.jsonl"
    write(path, Chain(KEY), sealing=sealing((LocalKey(OTHER_KEY),)))
    return Made(path, key_file(folder))


def old(folder: Path) -> Made:
    """Return a log whose first lines have the old labels; hauberk went on with it."""
    lines: Lines = []
    digest, key = GENESIS, keys.derive(KEY, "audit-chain")
    for number in range(1, 4):
        link = b',"integrity":{"sequence":%d,"prev_hash":"sha256:%b","key_id":"%b"'
        head = render(event(number)) + link % (number, digest, LADDER.plain.key_id)
        digest = hmac.digest(key, head + b"}}", "sha256").hex().encode()
        lines.append(head + b',"entry_hash":"sha256:%b"}}' % digest)
    return put(folder, [*lines, *stream(3, after=lines[-1])])


def put(folder: Path, lines: Lines, end: bytes = b"\n") -> Made:
    """Return a log of one file with these lines."""
    path = folder / "audit.jsonl"
    path.write_bytes(b"\n".join(lines) + end)
    return Made(path, key_file(folder))


def signed(*names: str) -> Lines:
    """Return a chain whose lines are signed with these rungs: ``.1.2``; an empty one is the key itself."""
    lines, digest = Lines(), GENESIS
    for number, name in enumerate(names, 1):
        signer = LADDER.signer(LADDER.plain.key_id + name.encode())
        assert signer is not None
        line, digest = signer.seal(render(event(number)), number, digest)
        lines.append(line[:-1])
    return lines


KINDS: Final[dict[str, Callable[[Path], Made]]] = {
    "plain": plain,
    "forward": forward,
    "plain, compressed": lambda folder: compressed(plain(folder)),
    "forward, compressed": lambda folder: compressed(forward(folder)),
    "old labels": old,
    "encrypted": sealed,
}


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Made]:
    """Return one log of each kind."""
    made = {}
    for number, (kind, make) in enumerate(KINDS.items()):
        folder = tmp_path_factory.mktemp(f"kind-{number}")
        made[kind] = make(folder)
    return made


# --- what is whole ---


@pytest.mark.parametrize("which", [0, 1], ids=["plain", "forward"])
def test_example_of_the_page(node: str, tmp_path: Path, which: int) -> None:
    """The logs on the page are whole (S3.5)."""
    example = PAGE.read_text("utf-8").partition("## An example")[2]
    key, *found = re.findall(r"```text\n(.*?)```", example, re.DOTALL)
    made = put(tmp_path, [found[which].encode()], end=b"")
    made.key_file.write_text(key)
    done = run(node, made.path, made.key_file)
    assert (done.returncode, done.stdout) == (0, "whole: 2 entries\n")


@pytest.mark.parametrize("kind", KINDS)
def test_log_of_hauberk_is_whole(node: str, logs: dict[str, Made], kind: str) -> None:
    """What hauberk writes is whole, in all its files, compressed, encrypted and with old labels too (S3.5)."""
    made = logs[kind]
    report = verify([made.path], keys.load_key(made.key_file))
    done = run(node, made.path, made.key_file)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"whole: {report.entries} entries\n", "")
    assert report.status == 0
    assert len(made.files) > 1 or kind == "old labels"


@pytest.fixture
def escrow(state: Path, tmp_path: Path) -> Path:
    """Make roots in a host's state directory, and return the escrow."""
    state.mkdir(0o700)
    tmp_path.chmod(0o700)
    _custody.make(state / "audit.key", tmp_path / "escrow.key")
    return tmp_path / "escrow.key"


async def test_log_of_a_host_is_whole(node: str, load: Load, state: Path, escrow: Path) -> None:
    """The log that a host in production wrote is whole for who has the escrow, over a restart (S3.5)."""
    for _ in range(2):
        async with load('profile = "production"\nplugins.require = ["audit"]\n'):
            pass
    made = Made(state / "audit" / "audit.jsonl", escrow)
    assert (other(node, made), own(made)) == (Verdict(0), Verdict(0))


# --- what is not ---


@pytest.mark.parametrize("kind", ["plain", "forward"])
def test_changed_byte_is_a_break(
    node: str, logs: dict[str, Made], tmp_path_factory: pytest.TempPathFactory, kind: str
) -> None:
    """One byte that was changed, anywhere, is a break in its line for both (S3.5, S3.11)."""

    @FEW
    @given(st.integers(0, 2**16), st.integers(0, 2**16), st.integers(1, 255))
    def check(which: int, at: int, change: int) -> None:
        made = logs[kind].copy(tmp_path_factory.mktemp("damaged"))
        file = made.files[which % len(made.files)]
        data = bytearray(file.read_bytes())
        at %= len(data)
        line = data[:at].count(b"\n") + 1
        data[at] ^= change
        file.write_bytes(data)
        assert other(node, made) == own(made) == Verdict(1, file.name, line)

    check()


def test_changed_byte_of_a_compressed_file(
    node: str, logs: dict[str, Made], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """So it is in a compressed file, whose lines cannot be told then (S3.5, S3.11)."""

    @FEW
    @given(st.integers(0, 2**16), st.integers(1, 255))
    def check(at: int, change: int) -> None:
        made = logs["forward, compressed"].copy(tmp_path_factory.mktemp("damaged"))
        file = made.files[0]
        data = bytearray(file.read_bytes())
        data[GZIP_HEAD + at % (len(data) - GZIP_HEAD)] ^= change
        file.write_bytes(data)
        assert other(node, made)[:2] == own(made)[:2]

    check()


DAMAGE: Final[dict[str, Callable[[Lines], Lines]]] = {
    "line deleted": lambda lines: lines[:2] + lines[3:],
    "lines swapped": lambda lines: [lines[0], lines[2], lines[1], *lines[3:]],
    "line twice": lambda lines: [lines[0], *lines],
    "empty line": lambda lines: [lines[0], b"", *lines[1:]],
    "no line, but an end": lambda lines: [b""],
    "CR": lambda lines: [lines[0], lines[1] + b"\r", *lines[2:]],
    "byte order mark": lambda lines: [b"\xef\xbb\xbf" + lines[0], *lines[1:]],
    "line of another chain": lambda lines: [lines[0], *list(stream(2, text="other"))[1:], *lines[2:]],
    "begun anew": lambda lines: [*lines, *lines],
    "labels changed": lambda lines: [lines[0].replace(b':"hmac-sha', b':"sha'), *lines[1:]],
    "label of the hash": lambda lines: [lines[0].replace(b'entry_hash":"hmac-', b'entry_hash":"'), *lines[1:]],
    "blank": lambda lines: [lines[0].replace(b'","entry_hash"', b'", "entry_hash"'), *lines[1:]],
    "too long": lambda lines: [lines[0], b"x" * 2**21, *lines[1:]],
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_lines_are_a_break(node: str, tmp_path: Path, damage: str) -> None:
    """Lines that are not what was written are a break, and both see it in the same line (S3.5, S3.11)."""
    made = put(tmp_path, DAMAGE[damage](signed(".2.1", ".2.1", ".2.2", ".2.3", ".2.3")))
    said = other(node, made)
    assert said == own(made)
    assert said.status == 1


@pytest.mark.parametrize("kind", ["plain", "forward, compressed"])
def test_last_line_without_end(node: str, logs: dict[str, Made], tmp_path: Path, kind: str) -> None:
    """A last line that has no LF is a break (S3.5, S3.11)."""
    made = logs[kind].copy(tmp_path)
    data = made.path.read_bytes()
    made.path.write_bytes(data[:-1])
    assert other(node, made) == own(made) == Verdict(1, made.path.name, data.count(b"\n"))


@pytest.mark.parametrize(
    ("names", "line"),
    [
        ((".1.1", ".1.1", ".1.2", ".1.2", ".1.3"), 0),
        ((".7.1", ".7.2"), 0),
        ((".1.1", ".1.3"), 2),
        ((".1.1", ".1.2", ".1.1"), 3),
        ((".1.2", ".1.3"), 1),
        ((".1.1", ".2.2"), 2),
        ((".1.1", ".2.1"), 2),
        ((".1.1", ""), 2),
        (("", ".1.1"), 2),
    ],
)
def test_rung_that_is_left_out(node: str, tmp_path: Path, names: Sequence[str], line: int) -> None:
    """A rung is followed by itself or by the next one of its chain, and the first one begins (S3.5, S3.11)."""
    made = put(tmp_path, signed(*names))
    assert other(node, made) == own(made) == (Verdict(1, "audit.jsonl", line) if line else Verdict(0))


@pytest.mark.parametrize(
    ("sequence", "follows", "name"), [(2, True, b""), (3, True, b""), (2, False, b""), (2, True, b"0123456789abcdef")]
)
def test_place_of_a_line_that_is_signed(node: str, tmp_path: Path, sequence: int, follows: bool, name: bytes) -> None:
    """A line that the key signed is a break where its number, its link or its key is not the one (S3.5, S3.11)."""
    first, *_ = signed("")
    signer = Chain(KEY, key_id=name)
    line, _ = signer.seal(render(event(2)), sequence, first[-67:-3] if follows else GENESIS)
    made = put(tmp_path, [first, line[:-1]])
    whole = (sequence, follows, name) == (2, True, b"")
    assert other(node, made) == own(made) == (Verdict(0) if whole else Verdict(1, "audit.jsonl", 2))


def delete_first(files: list[Path]) -> None:
    files[0].unlink()


def delete_second(files: list[Path]) -> None:
    files[1].unlink()


def delete_last_closed(files: list[Path]) -> None:
    files[-2].unlink()


def swap(files: list[Path]) -> None:
    one, two = files[1].read_bytes(), files[3].read_bytes()
    files[1].write_bytes(two)
    files[3].write_bytes(one)


def cut(files: list[Path]) -> None:
    files[0].write_bytes(files[0].read_bytes()[:-9])


def empty(files: list[Path]) -> None:
    files[1].write_bytes(b"")


def renumber(files: list[Path]) -> None:
    files[-2].rename(files[-2].with_name(f"audit.jsonl.99{'.gz' * (files[-2].suffix == '.gz')}"))


def leave_open(files: list[Path]) -> None:
    files[1].write_bytes(b"".join(files[1].read_bytes().splitlines(keepends=True)[:-1]))


def move_an_end(files: list[Path]) -> None:
    """Leave all lines in their order, and let another file hold the one that closes a file."""
    *lines, end = files[1].read_bytes().splitlines(keepends=True)
    after = gzip.decompress(files[2].read_bytes())
    files[1].write_bytes(b"".join(lines))
    files[2].write_bytes(gzip.compress(end + after))


FILE_DAMAGE: Final = [
    delete_first,
    delete_second,
    delete_last_closed,
    swap,
    cut,
    empty,
    renumber,
    leave_open,
    move_an_end,
]


@pytest.mark.parametrize("damage", FILE_DAMAGE)
def test_damaged_files_are_a_break(
    node: str, logs: dict[str, Made], tmp_path: Path, damage: Callable[[list[Path]], None]
) -> None:
    """A closed file that is gone, cut, not closed, or in the place of another one is a break (S3.5, S3.11)."""
    made = logs["forward, compressed"].copy(tmp_path)
    damage(made.files)
    assert (other(node, made).status, own(made).status) == (1, 1)


def test_wrong_key_is_a_break(node: str, tmp_path: Path) -> None:
    """With another key no entry is signed (S3.5)."""
    made = put(tmp_path, signed("", ""))
    key_file(tmp_path, OTHER_KEY)
    assert other(node, made) == own(made) == Verdict(1, "audit.jsonl", 1)


# --- nothing to verify ---


def test_end_that_is_gone_is_not_missed(node: str, tmp_path: Path) -> None:
    """Entries that are gone from the end are missed by neither: that takes checkpoints."""
    made = put(tmp_path, signed("", "", "")[:2])
    assert other(node, made) == own(made) == Verdict(0)


def test_nothing_is_never_whole(node: str, tmp_path: Path) -> None:
    """A log without any line is neither whole nor broken (S3.5)."""
    made = put(tmp_path, [], end=b"")
    assert other(node, made) == own(made) == Verdict(2)


def test_what_cannot_be_read_is_told_from_a_break(node: str, tmp_path: Path) -> None:
    """No log, no key file, or words that are not its own: neither whole nor broken."""
    made = put(tmp_path, signed(""))
    made.path.with_name("no-key").write_text(made.key_file.read_text()[:-2])
    words = [(made.path,), (tmp_path / "gone.jsonl", made.key_file), (made.path, tmp_path / "gone")]
    for given_words in [*words, (made.path, tmp_path / "no-key")]:
        done = run(node, *given_words)
        assert (done.returncode, done.stdout) == (2, ""), given_words
        assert done.stderr

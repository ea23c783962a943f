"""``hauberk audit init --checkpoints``, ``verify --checkpoints`` and ``prune``: what they print, and their status."""

from __future__ import annotations

import os
import stat
from contextlib import closing
from pathlib import Path

import orjson
import pytest
from plugins.audit.tests.kept import SIGNER, Box, Written, checkpointer
from plugins.audit.tests.logs import KEY
from plugins.audit.tests.test_commands import Said, audit

from hauberk import keys
from hauberk_audit._paths import closed_files, pruned_path, state_path, tree_path
from hauberk_audit.checkpoints._checkpoint_keys import load_signer, verifier_of
from hauberk_audit.writing._chain import Chain
from hauberk_audit.writing._custody import make as make_roots

pytestmark = pytest.mark.usefixtures("only_audit")
Capsys = pytest.CaptureFixture[str]


class House:
    """A log with its checkpoints, their keys, and a configuration that names them."""

    def __init__(self, folder: Path) -> None:
        folder.chmod(0o700)
        self.log = folder / "audit.jsonl"
        self.kept = folder / "kept"
        self.key = folder / "audit.key"
        self.public = folder / "checkpoint.key.pub"
        self.config = folder / "hauberk.toml"
        keys.create_key(self.key, random=lambda count: KEY[:count])
        (folder / "checkpoint.key").write_text(SIGNER.line + "\n")
        (folder / "checkpoint.key").chmod(0o600)
        self.public.write_text(SIGNER.verifier.line + "\n")
        self.config.write_text(
            f'[audit]\npath = "audit.jsonl"\nkey_file = "audit.key"\n'
            f'[audit.checkpoints]\nkey_file = "checkpoint.key"\nsinks = ["file:{self.kept}"]\n'
        )
        box = Box()
        with closing(Written(self.log, 4)) as log:
            for _ in range(3):
                log.add(3)
                checkpointer(log, box).round()
            log.add(2)
            log.pack()
        self.kept.write_bytes(box.data)
        for name in closed_files(self.log).values():
            os.utime(name, (0, 0))

    def verify(self, capsys: Capsys, *more: object, public: object = "") -> Said:
        """Verify with the checkpoints."""
        return audit(
            capsys, "verify", self.log, "--checkpoints", self.kept, "--public-key", public or self.public, *more
        )

    def prune(self, capsys: Capsys, *more: object) -> Said:
        """Let files go."""
        return audit(capsys, "prune", "--config", self.config, *more)


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


# --- init ---


def test_init_makes_a_key_for_checkpoints(capsys: Capsys, tmp_path: Path) -> None:
    """The key is made private, its public half is printed and stands beside it, and none is overwritten (X.9)."""
    path = tmp_path / "keys" / "checkpoint.key"
    said = audit(capsys, "init", "--checkpoints", "--key-file", path)
    signer = load_signer(path)
    assert said.status == 0
    assert f"public key: {signer.verifier.line}" in said.out.splitlines()
    assert signer.line not in said.out
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert verifier_of(f"{path}.pub").line == verifier_of(signer.verifier.line).line == signer.verifier.line
    again = audit(capsys, "init", "--checkpoints", "--key-file", path)
    assert (again.status, load_signer(path).line) == (2, signer.line)


def test_init_takes_name_and_place_from_the_configuration(capsys: Capsys, tmp_path: Path) -> None:
    """Without a word of it the key is where the configuration has it, and has the name that it says."""
    tmp_path.chmod(0o700)
    config = tmp_path / "hauberk.toml"
    config.write_text(
        '[audit.checkpoints]\nkey_file = "mine.key"\norigin = "example.com/host7"\nsinks = ["file:/var/kept"]\n'
    )
    assert audit(capsys, "init", "--checkpoints", "--config", config).status == 0
    assert load_signer(tmp_path / "mine.key").verifier.name == "example.com/host7"


# --- verify ---


def test_public_key_alone_verifies(capsys: Capsys, house: House) -> None:
    """Who has the public key and the checkpoints verifies a log without its key, and is told what is not covered."""
    house.key.unlink()
    said = house.verify(capsys)
    assert (said.status, said.err) == (0, "")
    (line,) = said.out.splitlines()
    assert line.startswith("whole: 13 of 17 entries as 3 checkpoints have them, the newest of 2025-")
    assert line.endswith("; the last 4 are in none")
    assert house.verify(capsys, public=SIGNER.verifier.line).out == said.out


def test_both_keys_verify_all(capsys: Capsys, house: House) -> None:
    """With the key of the log each entry is verified, and nothing is said of a log that nothing anchors."""
    said = house.verify(capsys, "--key-file", house.key)
    assert said.status == 0
    whole, anchored = said.out.splitlines()
    assert whole.startswith("whole: 17 entries in 4 logs, each in its place and signed with key ")
    assert anchored.startswith("anchored: 13 of 17 entries as 3 checkpoints have them")
    assert "nothing outside anchors" not in said.out


def test_cut_end_is_1(capsys: Capsys, house: House) -> None:
    """An end that was cut off is exit status 1, with the log, the kind, and how many entries there were (S3.6)."""
    state_path(house.log).unlink()
    house.log.unlink()
    closed_files(house.log)[3].rename(house.log.with_name("away"))
    said = house.verify(capsys)
    assert said.status == 1
    assert f"{house.log}: truncated: entry 13: it has 10 entries, and a checkpoint of 2025-" in said.out
    assert said.out.splitlines()[-1].startswith("broken: ")


def test_json_says_what_is_covered(capsys: Capsys, house: House) -> None:
    """``--json`` has the numbers."""
    found = orjson.loads(house.verify(capsys, "--json").out)
    wanted = {"key_id": "", "anchored": True, "checkpoints": 3, "covered": 13, "entries": 17, "status": 0}
    assert wanted.items() <= found.items()
    assert found["newest"].startswith("2025-")


def test_log_without_checkpoint_is_2(capsys: Capsys, house: House) -> None:
    """A log that no checkpoint is about is exit status 2 with the public key alone."""
    house.kept.write_bytes(b"")
    said = house.verify(capsys)
    assert said.status == 2
    assert said.out.splitlines() == [f"{house.log}: no checkpoint is about it"]
    assert house.verify(capsys, "--key-file", house.key).status == 0


def test_nothing_at_all_is_1_where_checkpoints_say_otherwise(capsys: Capsys, house: House) -> None:
    """A log that is gone with all that was beside it is exit status 1, and named."""
    for name in (*closed_files(house.log).values(), house.log, state_path(house.log), tree_path(house.log)):
        name.unlink()
    said = house.verify(capsys)
    assert said.status == 1
    assert f"{house.kept}: missing: entry 13: 'example.com/host1' (chain " in said.out


@pytest.mark.parametrize("args", [["--checkpoints", "kept"], ["--public-key", "key"]])
def test_checkpoints_and_public_key_go_together(capsys: Capsys, house: House, args: list[str]) -> None:
    """Checkpoints that nobody is trusted for, and a key for nothing, are wrong usage."""
    said = audit(capsys, "verify", house.log, *args)
    assert said.status == 2
    assert "go together" in said.err


@pytest.mark.parametrize("text", ["no such file", "", "audit.key"])
def test_what_is_no_public_key_is_2(capsys: Capsys, house: House, text: str) -> None:
    """What is neither a public key nor a file with one is exit status 2, with a hint."""
    said = house.verify(capsys, public=house.log.with_name(text) if text else "a+b+c")
    assert said.status == 2
    assert "cannot use public key" in said.err


def test_missing_checkpoints_are_2(capsys: Capsys, house: House) -> None:
    """A file of checkpoints that cannot be read is exit status 2: nothing was compared."""
    house.kept.unlink()
    said = house.verify(capsys)
    assert said.status == 2
    assert "cannot read" in said.err


def test_log_of_the_configuration_is_verified(capsys: Capsys, house: House) -> None:
    """Without PATH the log of the configuration is compared."""
    said = audit(capsys, "verify", "--config", house.config, "--checkpoints", house.kept, "--public-key", house.public)
    assert said.status == 0


def test_silence_is_1(capsys: Capsys, house: House) -> None:
    """Silence that is longer than was asked for is exit status 1; a time says when the copy was made."""
    quiet = ("--max-silence", 3600, "--as-of")
    assert house.verify(capsys, *quiet, "2025-10-09T09:30:00Z").status == 0
    late = house.verify(capsys, *quiet, "2025-10-10T09:30:00Z")
    assert late.status == 1
    assert f"{house.log}: silent: nothing after 2025-" in late.out
    assert house.verify(capsys, "--max-silence", 3600).status == 1
    assert house.verify(capsys, *quiet, "yesterday").status == 2


# --- prune ---


def test_prune_says_what_would_go(capsys: Capsys, house: House) -> None:
    """With ``--dry-run`` nothing is changed."""
    before = {name: name.read_bytes() for name in house.log.parent.iterdir()}
    said = house.prune(capsys, "--dry-run")
    assert (said.status, said.err) == (0, "")
    assert said.out.splitlines() == [
        "would go: audit.jsonl.1.gz",
        "would go: audit.jsonl.2.gz",
        f"{house.log} would begin with entry 11",
    ]
    assert {name: name.read_bytes() for name in house.log.parent.iterdir()} == before


def test_prune_lets_go_and_the_rest_verifies(capsys: Capsys, house: House) -> None:
    """The oldest files go, an entry says who and why, and what is left verifies with each key (S2.39)."""
    said = house.prune(capsys, "--yes", "--reason", "policy 7.2")
    assert said.status == 0
    assert said.out.splitlines()[-1] == f"{house.log} begins with entry 11"
    assert list(closed_files(house.log)) == [3]
    last = orjson.loads(house.log.read_bytes().splitlines()[-1])
    assert last["code"] == "audit.pruned"
    assert last["details"]["reason"] == "policy 7.2"
    assert last["details"]["changed_by"] == f"uid:{os.getuid()}"
    for more in ((), ("--key-file", house.key)):
        verified = house.verify(capsys, *more)
        assert verified.status == 0
        assert f"{house.log}: entries 1 to 10 were let go, as " in verified.out
    again = house.prune(capsys, "--yes")
    assert (again.status, again.out) == (0, f"{house.log}: nothing is old enough\n")


def test_prune_keeps_files_that_are_to_stay(capsys: Capsys, house: House) -> None:
    """``--keep-files`` and ``--older-than`` say what stays; the default is a year."""
    assert orjson.loads(house.prune(capsys, "--dry-run", "--keep-files", 2, "--json").out) == {
        "log": str(house.log),
        "files": ["audit.jsonl.1.gz"],
        "entries": 5,
        "bytes": closed_files(house.log)[1].stat().st_size,
        "dry_run": True,
    }
    assert "nothing is old enough" in house.prune(capsys, "--older-than", "100y").out
    for text in ("1", "1 d", "-1d", "1s", "d"):
        assert house.prune(capsys, "--older-than", text).status == 2


def test_prune_asks(capsys: Capsys, house: House) -> None:
    """Without ``--yes`` it asks, and a no changes nothing."""
    said = house.prune(capsys)
    assert said.status != 0
    assert len(closed_files(house.log)) == 3


def test_prune_leaves_a_log_that_is_written(capsys: Capsys, house: House) -> None:
    """A log that a host writes is left alone, with the option that does the same."""
    with closing(Written(house.log)):
        said = house.prune(capsys, "--yes")
        assert said.status == 2
        assert "is being written" in said.err
        assert "keep_days" in said.err
    assert len(closed_files(house.log)) == 3
    assert not house.log.with_name("audit.1.jsonl").exists()


def test_prune_leaves_a_log_that_is_not_whole(capsys: Capsys, house: House) -> None:
    """A log that was tampered with is not let go of: that would be what was wanted (S2.38)."""
    house.log.write_bytes(house.log.read_bytes().replace(b"read_file", b"read_fily", 1))
    said = house.prune(capsys, "--yes")
    assert said.status == 2
    assert "is not whole" in said.err
    assert len(closed_files(house.log)) == 3


def test_prune_wants_the_key_of_the_checkpoints(capsys: Capsys, house: House) -> None:
    """A log that has checkpoints is not pruned without their key: nobody could go on with them."""
    (house.log.parent / "checkpoint.key").unlink()
    said = house.prune(capsys, "--yes")
    assert said.status == 2
    assert "its key" in said.err or "their key" in said.err
    assert not pruned_path(house.log).exists()


def test_prune_of_a_log_whose_key_goes_forward(capsys: Capsys, house: House) -> None:
    """A log whose key only goes forward is pruned too, and verifies with the initial key (S3.7)."""
    folder = house.log.parent / "forward"
    folder.mkdir(0o700)
    log, roots, escrow = folder / "audit.jsonl", folder / "roots", folder / "escrow"
    make_roots(roots, escrow)
    from hauberk_audit.writing._custody import load

    signing = load(roots)
    assert not isinstance(signing, Chain)
    with closing(Written(log, 4, signing=signing)) as written:
        written.add(11)
        written.pack()
    for name in closed_files(log).values():
        os.utime(name, (0, 0))
    house.config.write_text('[audit]\npath = "forward/audit.jsonl"\nkey_file = "forward/roots"\n')
    assert house.prune(capsys, "--yes").status == 0
    said = audit(capsys, "verify", log, "--key-file", escrow)
    assert said.status == 0, said.out
    assert "entries 1 to 10 were let go" in said.out

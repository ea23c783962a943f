"""Rule packs: what is in those of the sieve, and what becomes of one that is no good."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import hauberk_sieve.text
from hauberk.config import Config
from hauberk.guard import Guard
from hauberk.refusals import ConfigError
from hauberk_sieve.text import BUILTIN, PackError, Packs, parse, prove
from hauberk_sieve.text._detectors import DETECTORS
from hauberk_sieve.text._scan import compiled

GOOD = """
format = 1
pack = "ours"
version = "1"

[[rule]]
id = "canary"
title = "a canary"
severity = "critical"
where = { definitions = "block", results = "redact", asks = "alert" }
patterns = ['canary-\\d+']
catches = ["a canary-7"]
spares = ["a canary"]
"""
RULES = Packs.load().rules
FOLDER = Path(hauberk_sieve.text.__file__).parent / "packs"


@pytest.mark.parametrize("name", BUILTIN)
def test_examples_of_each_pack_hold(name: str) -> None:
    """Every rule of the sieve's own packs catches and spares what it says."""
    (pack,) = Packs.load([name]).packs
    assert pack.pack == name
    assert parse((FOLDER / f"{name}.toml").read_bytes(), name) == pack
    prove(pack, name)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_rule_has_enough_examples(rule: Any) -> None:
    """Each pattern of a rule matches one of the rule's examples: none is there untried."""
    for pattern in rule.patterns:
        matcher = compiled(pattern, case=rule.case)
        assert any(matcher.search(example) for example in rule.catches), pattern
    assert rule.title[0].islower()
    assert not rule.title.endswith(".")


def test_every_detector_is_used() -> None:
    """No detector is there for nothing."""
    assert {rule.detector for rule in RULES} - {""} == set(DETECTORS)


def test_rules_have_their_own_ids() -> None:
    """A rule is called by its pack and its id."""
    ids = [rule.id for rule in RULES]
    assert len(set(ids)) == len(ids) > 20
    assert all(id.split(".")[0] in BUILTIN for id in ids)


BROKEN = {
    "": "missing required field",
    "format = 1\npack =": "pack 'x'",
    "\x00": "pack 'x'",
    GOOD[: len(GOOD) // 2]: "pack 'x'",
    GOOD.replace("format = 1", "format = 2"): "2",
    GOOD.replace('"ours"', '"Ours!"'): "is not made of",
    GOOD.replace('id = "canary"', 'id = "a.b"'): "is not made of",
    GOOD.replace("title =", "titel ="): "titel",
    GOOD.replace("where = {", 'where = { elsewhere = "block",'): "elsewhere",
    GOOD.replace('"block"', '"allow"'): "allow",
    GOOD.replace("where = {", "where = {} #"): "looks nowhere",
    GOOD.replace('"critical"', '"fatal"'): "fatal",
    GOOD.replace("patterns = ['canary-\\d+']", ""): "patterns or a detector",
    GOOD.replace("patterns =", 'detector = "tags"\npatterns ='): "patterns or a detector",
    GOOD.replace("patterns = ['canary-\\d+']", 'detector = "nothing"'): "no detector 'nothing'",
    GOOD.replace("'canary-\\d+'", "'canary-(\\d+'"): "no pattern of RE2",
    GOOD.replace("'canary-\\d+'", "'(?=canary)'"): "no pattern of RE2",
    GOOD.replace("'canary-\\d+'", "'\\Acanary'"): "\\A",
    GOOD.replace("'canary-\\d+'", "'canary\\z'"): "\\z",
    GOOD.replace("'canary-\\d+'", "'canary\\C'"): "\\C",
    GOOD.replace("'canary-\\d+'", "'(?:canary)?'"): "matches an empty text",
    GOOD.replace("'canary-\\d+'", "'" + "a" * 3000 + "'"): "2048",
    GOOD.replace('spares = ["a canary"]', "spares = []"): "at least one example",
    GOOD.replace('catches = ["a canary-7"]', "catches = []"): "at least one example",
    GOOD + GOOD[GOOD.index("[[rule]]") :]: "two rules",
    GOOD[: GOOD.index("[[rule]]")]: "rule",
    GOOD[: GOOD.index("[[rule]]")] + "rule = []": "0 rules",
}


@pytest.mark.parametrize("text", BROKEN, ids=range(len(BROKEN)))
def test_malformed_pack_is_refused(text: str) -> None:
    """A pack that says something that nothing reads, or half of something, is an error that says what."""
    with pytest.raises(PackError) as error:
        parse(text.encode(), "x")
    assert BROKEN[text] in str(error.value)


def test_good_pack_is_read() -> None:
    """The pack that the malformed ones are made from is none of them."""
    pack = parse(GOOD.encode(), "x")
    prove(pack, "x")
    assert [rule.id for rule in pack.rules] == ["ours.canary"]


@pytest.mark.parametrize(
    ("old", "new", "said"), [("a canary-7", "nothing", "catches[0]"), ('["a canary"]', '["canary-1"]', "spares[0]")]
)
def test_pack_that_fails_its_examples_is_refused(old: str, new: str, said: str) -> None:
    """A rule that does not do what its examples say is not loaded (acceptance 5)."""
    pack = parse(GOOD.replace(old, new).encode(), "x")
    with pytest.raises(PackError, match=r"fails its own example") as error:
        prove(pack, "x")
    assert said in str(error.value)


def test_escaped_backslash_is_no_anchor() -> None:
    """A pattern for a backslash before an A is none for the start of a text."""
    text = GOOD.replace("'canary-\\d+'", "'\\\\\\\\Acanary'").replace("a canary-7", "\\\\\\\\Acanary")
    parse(text.encode(), "x")


def test_packs_have_names_of_their_own() -> None:
    """Two packs of one name, or one that takes the name of the sieve's, are refused."""
    twice = {"a/x.toml": GOOD, "b/x.toml": GOOD}
    with pytest.raises(PackError, match="there is another pack 'ours'"):
        Packs.load(twice, lambda name: twice[name].encode())
    with pytest.raises(PackError, match="is the name of a pack of the sieve"):
        Packs.load(["x"], lambda _: GOOD.replace('"ours"', '"control"').encode())


# --- from a configuration ---


def config(path: Path, text: str) -> Guard:
    return Guard.load(Config.from_toml(text, base=path))


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    path = tmp_path / "ours.toml"
    path.write_text(GOOD)
    path.chmod(0o644)
    return path


@pytest.mark.usefixtures("only_sieve", "pack")
async def test_pack_of_the_operator_is_loaded(tmp_path: Path) -> None:
    """A path in the list, taken from the directory of the configuration, is a pack beside the others."""
    guard = config(tmp_path, '[sieve.text]\npacks = ["invisible", "./ours.toml"]')
    async with guard:
        reader = guard.loaded["sieve"].plugin.meshes["text"].reader()
        ids = {rule.id for rule in reader.scanners("files").rules()}
    assert "ours.canary" in ids
    assert "invisible.tags" in ids
    assert not any(id.startswith("control.") for id in ids)


def renamed(pack: Path) -> None:
    """Give the rule of a pack another name."""
    pack.write_text(GOOD.replace('id = "canary"', 'id = "other"'))


@pytest.mark.usefixtures("only_sieve")
async def test_pack_that_changes_is_read_at_a_reload(tmp_path: Path, pack: Path) -> None:
    """A reload reads a pack that has changed, though the configuration has not."""
    path = tmp_path / "hauberk.toml"
    path.write_text('[sieve.text]\npacks = ["./ours.toml"]')
    async with Guard.load(path) as guard:
        assert (await guard.reload()).diff is None
        renamed(pack)
        done = await guard.reload()
        assert done.diff is not None
        assert done.diff.lines == (f"~ sieve: {pack}",)
        ids = {rule.id for rule in guard.loaded["sieve"].plugin.meshes["text"].reader().scanners("files").rules()}
    assert ids == {"ours.other"}


def held(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


async def refusal(guard: Guard) -> str:
    with pytest.raises(Exception) as error:  # noqa: PT011 - the core wraps it
        await guard.open()
    await guard.close()
    return f"{error.value} {error.value.__cause__}"


@pytest.mark.usefixtures("only_sieve")
@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: path.chmod(0o666), "lets others change it"),
        (lambda path: path.unlink(), "no such file"),
        (lambda path: path.write_text(GOOD[:100]), "cannot use a pack"),
        (lambda path: path.write_text(GOOD.replace("a canary-7", "a")), "fails its own example"),
        (lambda path: path.write_bytes(b"\xff\xfe" + GOOD.encode()), "cannot use a pack"),
        (lambda path: (path.rename(f"{path}.old"), path.symlink_to(f"{path}.old")), "symbolic link"),
        (lambda path: (path.unlink(), path.mkdir()), "directory"),
        (lambda path: path.write_bytes(b"#" * (2 << 20)), "larger than"),
    ],
    ids=["mode", "missing", "truncated", "examples", "encoding", "link", "directory", "size"],
)
async def test_pack_that_is_no_good_stops_the_start(
    tmp_path: Path, pack: Path, spoil: Callable[[Path], object], said: str
) -> None:
    """A pack that is malformed, or that others could write, stops the start, and is left as it is (acceptance 5)."""
    spoil(pack)
    before = held(pack)
    assert said in await refusal(config(tmp_path, '[sieve.text]\npacks = ["./ours.toml"]'))
    assert held(pack) == before


@pytest.mark.usefixtures("only_sieve")
async def test_pack_of_another_user_stops_the_start(
    tmp_path: Path, pack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pack that belongs to somebody else is not read (acceptance 5)."""
    monkeypatch.setattr("hauberk.files.os.geteuid", lambda: 12345)
    monkeypatch.setattr("hauberk.files._status", Foreign(pack))
    assert "its owner is user" in await refusal(config(tmp_path, '[sieve.text]\npacks = ["./ours.toml"]'))


class Foreign:
    """The status of files as a third user sees it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, fd: int) -> Any:
        info = self.path.stat()
        return type("Status", (), {"st_mode": info.st_mode, "st_uid": 54321, "st_size": info.st_size})()


@pytest.mark.usefixtures("only_sieve")
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('packs = ["nothing"]', "there is no pack 'nothing'"),
        (
            '[[sieve.text.suppress]]\nrule = "control.x"\nuntil = 2030-01-01\nreason = "r"',
            "there is no rule 'control.x'",
        ),
    ],
)
async def test_what_is_not_there_stops_the_start(tmp_path: Path, text: str, said: str) -> None:
    """A pack or a rule of a name that nothing has is an error, at start."""
    assert said in await refusal(config(tmp_path, f"[sieve.text]\n{text}"))


@pytest.mark.parametrize(
    "text",
    [
        'rule = "control.terminal"\nreason = "r"',
        'rule = "control.terminal"\nuntil = 2030-01-01',
        'rule = "control.terminal"\nuntil = "soon"\nreason = "r"',
        'until = 2030-01-01\nreason = "r"',
    ],
)
@pytest.mark.usefixtures("only_sieve")
def test_suppression_needs_a_rule_a_day_and_a_reason(tmp_path: Path, text: str) -> None:
    """A suppression without an end, or without a reason, is refused."""
    with pytest.raises(ConfigError, match="suppress"):
        config(tmp_path, f"[[sieve.text.suppress]]\n{text}")


def test_today_is_a_day_of_utc() -> None:
    """Days begin and end at midnight UTC."""
    from hauberk_sieve.text._rules import today, tomorrow

    day = dt.date(2026, 11, 21)
    assert tomorrow(day) == 1795305600.0
    assert today(1795305600.0 - 0.5) == day
    assert today(1795305600.0) == dt.date(2026, 11, 22)

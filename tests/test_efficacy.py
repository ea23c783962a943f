"""What the sieve catches, and what it catches that is harmless, is what is published."""

from __future__ import annotations

import asyncio
import re
import sys
from collections import Counter
from pathlib import Path

import msgspec
import pytest
from tests.efficacy import capture, corpus, playing, published, tally, whole
from tests.prose import DOCS, EXAMPLES, README, ROOT

from hauberk_sieve.text import BUILTIN

pytestmark = pytest.mark.timeout(600)  # the corpus is played once, on whatever machine
WRITTEN = ("attacks", "held_out", "benign")
SHARE = re.compile(
    r"(?i)\b(?:catch|caught|detect|flag|miss|false positive)[^.|]{0,80}?\d ?%"
    r"|\d ?%[^.|]{0,80}?(?:caught|detected|flagged|missed)"
)
"""How much is caught, in words."""
LICENCES = {"MIT", "Apache-2.0", "MIT OR Apache-2.0"}


@pytest.fixture(scope="module")
def done() -> tally.Run:
    """Play the whole corpus once."""
    return asyncio.run(tally.run())


def test_nothing_is_worse_than_what_is_published(done: tally.Run) -> None:
    """No pack catches less, or finds more in what is harmless, than the record says."""
    assert tally.worse(tally.count(done), published.record()) == []


def test_record_is_what_the_code_gives(done: tally.Run) -> None:
    """The record is what the code gives, count by count; make efficacy, python -m tests.efficacy.published."""
    assert tally.as_json(tally.count(done)) == tally.as_json(published.record())


def test_page_shows_the_record() -> None:
    """The page shows the tables of the record, and no other figure of it."""
    assert published.TABLE.findall(published.PAGE.read_text("utf-8")) == [published.shown()]


def test_no_other_page_says_how_much_is_caught() -> None:
    """No page but this one, and nothing on this one but the tables, says how much is caught or flagged."""
    found = {}
    for page in (README, *DOCS.rglob("*.md"), *ROOT.glob("plugins/*/README.md"), *ROOT.glob("changelog.d/*.md")):
        text = published.TABLE.sub("", page.read_text("utf-8")) if page == published.PAGE else page.read_text("utf-8")
        if hits := SHARE.findall(" ".join(text.split())):
            found[page.name] = hits
    assert found == {}


def test_real_definitions_pass(done: tally.Run) -> None:
    """Of hundreds of definitions of real servers at most 1 % is denied and at most 5 % is flagged (A50)."""
    one = tally.count(done).total.definitions
    assert one.of > 400
    assert one.denied * 100 <= one.of
    assert one.flagged * 20 <= one.of


def test_real_servers_work_side_by_side(done: tally.Run) -> None:
    """Of the items of real servers at most 1 % is denied; but for names that two have, at most 5 % is told of (A50)."""
    record = tally.count(done)
    one = record.side_by_side
    assert one.of > 400
    assert one.denied * 100 <= one.of
    assert sum(number for code, number in record.codes.items() if code != "sieve.shadowed") * 20 <= one.of


def test_tools_of_real_servers_can_be_called() -> None:
    """The arguments with which each real tool is called fit its schema, so that a refusal is one of the sieve."""
    jsonschema = pytest.importorskip("jsonschema")
    for server in corpus.servers().values():
        for tool in server.tools:
            schema = tool["inputSchema"]
            jsonschema.Draft202012Validator(schema).validate(whole.sample(schema, schema))


def test_corpus_is_large_and_varied() -> None:
    """There are hundreds of items, each with an id of its own, and attacks for each pack in both parts."""
    files = {name: corpus.items(name) for name in WRITTEN}
    ids = Counter(item.id for items in files.values() for item in items)
    assert ids.most_common(1)[0][1] == 1
    attacks = [item for name in tally.ATTACKS for item in files[name]]
    assert len(attacks) >= 400
    assert {item.pack for item in files["attacks"]} == {item.pack for item in files["held_out"]} == set(BUILTIN)
    assert all(item.tries for item in attacks)
    real = sum(len(server.items(name)) for name, server in corpus.servers().items())
    assert len(files["benign"]) + real >= 600
    assert all(item.category for item in files["benign"])


def test_attacks_that_are_held_out_are_others() -> None:
    """No attack that is held out stands, with the same text, among those by which rules are made."""
    tuned = {msgspec.json.encode(item.object) for item in corpus.items("attacks")}
    assert not tuned & {msgspec.json.encode(item.object) for item in corpus.items("held_out")}


def test_each_server_has_a_licence_that_lets_it_be_here() -> None:
    """What real servers say stands under MIT or Apache-2.0, and the notice names package, version and licence."""
    notice = (corpus.FOLDER / "NOTICE").read_text("utf-8").splitlines()
    for server in corpus.servers().values():
        assert server.licence in LICENCES
        line = next(line for line in notice if line.startswith(f"{server.package} "))
        assert f" {server.version} " in line
        assert f" {server.licence.replace(' OR ', ' and ')} " in line
        assert "Copyright" in line


def test_file_of_a_server_is_as_it_is_captured(tmp_path: Path) -> None:
    """What a server says is kept as it said it, an item a line, and reading a file and writing it changes nothing."""
    command = [sys.executable, str(EXAMPLES / "notes_server.py"), str(tmp_path)]
    server = capture.captured("notes", "1", "Apache-2.0", command)
    assert {"read_note", "list_notes"} <= {tool["name"] for tool in server.tools}
    for name, kept in corpus.servers().items():
        assert (corpus.FOLDER / "servers" / f"{name}.json").read_text("utf-8") == capture.text_of(kept)


def test_whatever_is_worse_is_named() -> None:
    """Less that is caught, more that is flagged or denied, and a pack that is gone are each called worse."""
    old = published.record()
    changes = (
        ("attacks", "caught", -1, "catches"),
        ("held_out", "caught", -1, "catches"),
        ("definitions", "flagged", 1, "flagged"),
        ("others", "denied", 1, "denied"),
    )
    for part, what, by, word in changes:
        before = getattr(old.total, part)
        after = msgspec.structs.replace(before, **{what: getattr(before, what) + by})
        total = msgspec.structs.replace(old.total, **{part: after})
        (said,) = tally.worse(msgspec.structs.replace(old, total=total), old)
        assert word in said
        assert tally.worse(old, msgspec.structs.replace(old, total=total)) == []
    assert tally.worse(msgspec.structs.replace(old, packs={}), old)
    assert tally.worse(old, old) == []


def test_worse_run_is_published_only_where_it_is_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is worse than the record takes its place only where the command says that it is meant."""
    old = published.record()
    missed = msgspec.structs.replace(old.total.attacks, caught=0)
    made = msgspec.structs.replace(old, total=msgspec.structs.replace(old.total, attacks=missed))
    for name in ("RECORD", "MADE", "PAGE"):
        monkeypatch.setattr(published, name, tmp_path / name)
    published.RECORD.write_bytes(msgspec.json.encode(old))
    published.MADE.write_bytes(msgspec.json.encode(made))
    published.PAGE.write_text("```text\n```\n", "utf-8")
    monkeypatch.setattr(sys, "argv", ["published"])
    assert published.main() == 1
    assert published.record() == old
    monkeypatch.setattr(sys, "argv", ["published", "--worse"])
    assert published.main() == 0
    assert published.record() == made
    assert published.TABLE.findall(published.PAGE.read_text("utf-8")) == [published.shown()]


async def test_each_kind_of_outcome_is_seen() -> None:
    """What passes, what is cut, what is hidden and what is refused are told apart."""
    found = {}
    async with playing.player() as stage:
        for name, text in {"passed": "Reads a page.", "denied": "Reads\N{TAG LATIN SMALL LETTER A} a page."}.items():
            tool = {"name": "fetch_page", "description": text, "inputSchema": {"type": "object"}}
            item = corpus.Item(id=name, method="tools/list", kind="tool", object=tool, place="")
            found[name] = {one.verdict for one in (await stage.play(item)).values()}
        for name, text in {"redacted": "a\N{TAG LATIN SMALL LETTER A}b"}.items():
            result = {"content": [{"type": "text", "text": text}]}
            item = corpus.Item(id=name, method="tools/call", kind="result", object=result, place="")
            found[name] = {one.verdict for one in (await stage.play(item)).values()}
    assert found == {name: {name} for name in ("passed", "denied", "redacted")}

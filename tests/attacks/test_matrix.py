"""Every attack of the hostile server, in process and through ``hauberk run``, in each era in which it exists."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from tests.attacks import record
from tests.attacks.guarding import NOBODY, House
from tests.attacks.matrix import ERAS, PINS, POLICY, ROWS, UNSTOPPED, WAYS, Row, Seen, Way, honest
from tests.attacks.piped import Yard, unguarded
from tests.attacks.walks import in_process
from tests.prose import DOCS, block

from hauberk.testing import FIELDS, Era, HostileServer

PAGE = DOCS / "attacks.md"
pytestmark = pytest.mark.timeout(240)


def cases(way: Way) -> list[Any]:
    """Return the cases of one way, each with a name."""
    found = [(row, era) for row in ROWS if way in row.ways for era in row.eras]
    return [pytest.param(row, era, id=re.sub(r"[^\w.$]+", "-", f"{row.title} {era}")) for row, era in found]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    return House(tmp_path_factory.mktemp("house"))


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yard]:
    made = Yard(tmp_path_factory.mktemp("yard"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def recorded() -> Any:
    return record.load()


def check(row: Row, era: Era, way: Way, seen: Seen, recorded: Any) -> None:
    """Check that an attack was stopped, or told of, that the log says so, and that it is as the record says."""
    assert row.got_through(seen) is row.told
    assert not row.code or row.code in seen.codes
    assert list(seen.codes) == record.codes(recorded, row, era, way), f"not what was recorded; {record.RENEW}"


@pytest.mark.parametrize(("row", "era"), cases("in process"))
async def test_attack_is_stopped_in_process(row: Row, era: Era, house: House, recorded: Any) -> None:
    """Behind `Guard.wrap` nothing of an attack reaches the SDK's client, no talked-into call the server (S0.43)."""
    check(row, era, "in process", await house.guarded(row, era), recorded)


@pytest.mark.parametrize(("row", "era"), cases("hauberk run"))
def test_attack_is_stopped_by_hauberk_run(row: Row, era: Era, yard: Yard, recorded: Any) -> None:
    """Behind ``hauberk run`` nothing of an attack reaches the pipe of the host, no talked-into call the server."""
    check(row, era, "hauberk run", yard.guarded(row, era), recorded)


@pytest.mark.parametrize(("row", "era"), cases("in process"))
async def test_attack_works_on_a_bare_client(row: Row, era: Era) -> None:
    """Without a guard the same attack reaches the SDK's client, or has its call made."""
    server = honest()
    row.arm(server)
    assert row.got_through(await in_process(row, server, server.transport(), era))


@pytest.mark.parametrize(("row", "era"), cases("hauberk run"))
def test_attack_works_on_a_bare_pipe(row: Row, era: Era) -> None:
    """Without a guard the same attack is in the lines that a host reads, or has its call made."""
    assert row.got_through(unguarded(row, era))


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("pinned", [False, True])
@pytest.mark.parametrize("way", WAYS)
async def test_honest_server_works_unchanged(way: Way, pinned: bool, era: Era, house: House, yard: Yard) -> None:
    """Under the configuration of the matrix an honest server is used whole, and nothing is refused."""
    row = NOBODY._replace(attack="flood", arguments={"count": 0}, pinned=pinned)
    seen = await house.guarded(row, era) if way == "in process" else yard.guarded(row, era)
    assert seen.codes == ()
    assert seen.called == ("read_note", "list_notes") * 2
    for shown in ("Reads a note.", '"welcome"', '"note://1"', '"note://{number}"', '"a note"', '"hello"'):
        assert shown in seen.heard


def test_every_attack_has_a_row() -> None:
    """Each attack of the hostile server is in the matrix, or it is said why not; and each field is poisoned."""
    assert {row.attack for row in ROWS} | set(UNSTOPPED) == set(HostileServer.attacks())
    for pinned in (False, True):
        assert {row.arguments["field"] for row in ROWS if row.attack == "poison" and row.pinned is pinned} == set(
            FIELDS
        )


def test_titles_are_unique() -> None:
    """Each row of the matrix has a title of its own, by which the record knows it."""
    assert len({row.title for row in ROWS}) == len(ROWS)
    found = record.load()
    assert [(entry["title"], entry["attack"]) for entry in found["attacks"]] == [
        (row.title, row.called) for row in ROWS
    ]
    assert found["unstopped"] == UNSTOPPED


def test_page_shows_what_was_played() -> None:
    """The page has the configuration of the matrix, and the command that renews its tables."""
    assert block(PAGE, "toml", "[sieve]") == (POLICY + PINS).lstrip()
    assert block(PAGE, "sh", "record").strip() == record.RENEW

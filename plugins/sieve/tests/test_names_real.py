"""Real servers' names are taken for what they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest

from hauberk_sieve.names._faults import Spelling
from hauberk_sieve.names._lists import Checks, Listing, Outcome, by_name
from hauberk_sieve.names._options import Names
from hauberk_sieve.names._others import Others, Ranks
from hauberk_sieve.names._trusted import Trusted

CORPUS: Final = Path(__file__).parents[3] / "tests" / "efficacy" / "corpus" / "servers"
SERVERS: Final[dict[str, list[dict[str, Any]]]] = {
    path.stem: json.loads(path.read_bytes())["tools"] for path in sorted(CORPUS.glob("*.json"))
}
TOTAL: Final = sum(map(len, SERVERS.values()))
ENOUGH: Final = 200


def looked_at(server: str, others: Others | None, options: Names) -> Outcome:
    """Return what is found in the list of a real server."""
    entries = by_name([(tool["name"], tool) for tool in SERVERS[server]])
    by = Checks(options, Trusted((), "tools"), Ranks({}, ()))
    return Listing().take(server, entries, others, by, more=False)


def test_there_are_enough_real_names() -> None:
    """What follows is said of some hundred names of some dozen servers."""
    assert TOTAL >= ENOUGH
    assert len(SERVERS) > 20


@pytest.mark.parametrize("server", SERVERS)
def test_real_list_has_nothing_wrong_in_itself(server: str) -> None:
    """No name of a real server is misspelled, and none has a twin beside it (A50)."""
    assert Spelling(128).faults([tool["name"] for tool in SERVERS[server]]) == {}
    assert looked_at(server, None, Names()).found == {}


@pytest.mark.parametrize("server", SERVERS)
def test_real_list_has_nothing_wrong_beside_rules_that_name_it(server: str) -> None:
    """A server whose every other tool is written out in allow rules shows the rest without a finding (A50)."""
    names = [tool["name"] for tool in SERVERS[server]]
    trusted = Trusted((f"{server}/{name}" for name in names[::2]), "tools")
    entries = by_name([(tool["name"], tool) for tool in SERVERS[server]])
    by = Checks(Names(lookalikes="deny"), trusted, Ranks({}, ()))
    assert Listing().take(server, entries, None, by, more=False).found == {}


def test_one_host_of_all_real_servers_is_not_drowned() -> None:
    """Of all names of all servers on one host at most 1 % are denied and 5 % flagged; what is, others have (A50)."""
    shown: dict[str, dict[str, str]] = {}
    flagged, denied, alike = 0, 0, 0
    for server, tools in SERVERS.items():
        found = looked_at(server, Others(shown), Names()).found
        flagged += len(found)
        denied += sum(finding.denies(Names()) for finding in found.values())
        alike += sum(finding.why == "lookalikes" for finding in found.values())
        shown[server] = {tool["name"]: "d" for tool in tools}
    assert denied <= TOTAL * 0.01
    assert flagged <= TOTAL * 0.05
    assert alike <= TOTAL * 0.01

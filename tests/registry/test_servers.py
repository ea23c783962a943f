"""Published servers behind a guard that trusts nothing unasked: first nothing is there, then all of it, unchanged.

Each session is held three times: with the server alone, behind the guard in process, and through ``hauberk run``. What
is refused, and what the sieve says of servers that mean no harm, is read from the guard's own log. Servers that do not
speak the newest revision are shown in it by `bridge`.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

import pytest
from mcp import MCPError
from tests.registry.servers import ALL, ASKING, EVERYTHING, Call, Place, Published, anew
from tests.registry.session import LISTS, Record, listed, session
from tests.registry.strict import GUARDED, Host, Strict
from tests.sdk.kit import Told

pytestmark = [pytest.mark.registry, pytest.mark.timeout(300)]
Installed = Callable[[Published], str]
Era = tuple[str, str]
What = tuple[str, Host]
"""How a client connects, and to what."""
Sessions = dict[What, tuple[Record, Told]]
OLD: Final[Era] = ("legacy", "2025-11-25")
NEW: Final[Era] = ("auto", "2026-07-28")
"""How a client connects, and the revision that they then speak."""
HOSTS: Final[tuple[Host, ...]] = ("bare", *GUARDED)
ALLOWED: Final = """
[server.everything.sieve.asks]
sampling = "allow"
elicitation = "allow"
roots = "allow"
origins = ["https://accounts.example.com"]
"""


class Bench:
    """One published server, alone and behind a strict guard."""

    def __init__(
        self, published: Published, program: str, place: Place, strict: Path, *, bridged: bool = False
    ) -> None:
        self.published = published
        self.place = place
        command = [program, *published.args(place)]
        self.strict = Strict(strict, published.name, command, published.env(place), bridged=bridged)
        anew(published, place)

    async def shows_nothing(self, host: Host, mode: str) -> None:
        """Look at it through a guard: nothing is there, and what is used all the same is refused."""
        async with self.strict.connected(host, mode) as client:
            assert client.instructions is None
            assert not any([await listed(client, kind) for kind in LISTS])
            with pytest.raises(MCPError) as caught:
                await client.call_tool(*self.published.calls(self.place)[0])
        assert caught.value.error.data["code"] == "pins.unpinned"
        assert [event["code"] for event in self.strict.news() if event["category"] == "refusal"] == ["pins.unpinned"]

    async def sessions(self, whats: Iterable[What], asking: tuple[Call, ...] = ()) -> Sessions:
        """Hold the session in each of these ways, side by side if it leaves nothing behind."""
        found: Sessions = {}

        async def hold(what: What) -> None:
            mode, host = what
            told = Told()
            async with self.strict.connected(host, mode, told if asking else None) as client:
                found[what] = await session(client, self.published, self.place, asking), told

        if self.published.has_state:
            for what in whats:
                anew(self.published, self.place)
                await hold(what)
        else:
            async with asyncio.TaskGroup() as group:
                for what in whats:
                    group.create_task(hold(what))
        return found

    def said(self, flagged: Counter[str]) -> tuple[list[str], list[str]]:
        """Return the codes of all new refusals, and what was hidden; count what the sieve found."""
        events = self.strict.news()
        assert any(event["code"] == "core.allowed" for event in events)
        for event in events:
            flagged.update(f"{self.published.name}: {finding}" for finding in _findings(event))
        refused = [event["code"] for event in events if event["category"] == "refusal"]
        stopped = [event for event in events if event["action"] == "blocked" and event["category"] != "refusal"]
        hidden = [name for event in stopped for name in event["details"].get("unpinned", [event["code"]])]
        return refused, hidden


def _findings(event: dict[str, Any]) -> list[str]:
    """Return what an event of the sieve says was found; one that tells only of what was not looked at says nothing."""
    if event["code"] == "sieve.scanned":
        return [
            f"{event['method']}: {finding['rule']}, {finding['action']}" for finding in event["details"]["findings"]
        ]
    return [f"{event['method']}: {event['code']}"] if event["code"].startswith("sieve.") else []


def _differing(first: Record, second: Record) -> dict[str, Any]:
    keys = dict.fromkeys((*first, *second))
    return {key: (first.get(key), second.get(key)) for key in keys if first.get(key) != second.get(key)}


def _is_failed(said: Any) -> bool:
    return "error" in said or bool(said.get("isError"))


def _check_whole(published: Published, record: Record) -> None:
    """Check that a session uses all that a server has, and that it works but for what is meant to fail."""
    calls = {key: said for key, said in record.items() if key.startswith("call ")}
    assert {key.split(": ")[1] for key in calls} == {tool["name"] for tool in record["tools"]}
    assert tuple(at for at, said in enumerate(calls.values()) if _is_failed(said)) == published.failing
    used = {key.partition(" ")[2] for key in record if key.startswith("prompt ")}
    assert used == {prompt["name"] for prompt in record["prompts"] or ()}
    others = [said for key, said in record.items() if key.startswith(("prompt ", "resource ", "completion "))]
    assert not any(map(_is_failed, others))


@pytest.fixture
def place(tmp_path: Path, web: str) -> Place:
    return Place((tmp_path / "place").resolve(), web)


async def _is_unchanged(bench: Bench, eras: tuple[Era, ...], flagged: Counter[str], *options: str) -> str:
    """Trust a server, and check that all of it works as without a guard; return what whoever trusted was shown."""
    shown, bare = await asyncio.gather(bench.strict.trust(*options), bench.sessions((mode, "bare") for mode, _ in eras))
    guarded = await bench.sessions((mode, host) for mode, _ in eras for host in GUARDED)
    for mode, revision in eras:
        alone, _ = bare[mode, "bare"]
        assert alone["revision"] == revision
        _check_whole(bench.published, alone)
        for host in GUARDED:
            assert _differing(alone, guarded[mode, host][0]) == {}, host
    _check_said(bench, flagged, set())
    return shown


def _check_said(bench: Bench, flagged: Counter[str], codes: set[str]) -> None:
    """Check that these refusals are in the log, and no other: news that comes again within a second is told later."""
    refused, hidden = bench.said(flagged)
    assert set(refused) - {"sieve.storm"} == codes
    assert set(hidden) <= set(bench.published.new)


@pytest.mark.parametrize("published", ALL, ids=lambda one: one.name)
async def test_trusted_server_works_unchanged(
    published: Published, installed: Installed, place: Place, tmp_path: Path, flagged: Counter[str]
) -> None:
    """Nothing of a published server is there until ``pins trust --live``; then all works, and is the same (A50)."""
    bench = Bench(published, installed(published), place, tmp_path / "strict")
    await bench.shows_nothing("in process", "legacy")
    eras = (OLD,) if published.registry == "npm" else (OLD, NEW)
    shown = await _is_unchanged(bench, eras, flagged, "--live")
    assert all(f' tool "{tool}" sha256:' in shown for tool, _ in published.calls(place))


@pytest.mark.parametrize("published", [one for one in ALL if one.registry == "npm"], ids=lambda one: one.name)
async def test_server_seen_in_the_new_revision_works_unchanged(
    published: Published, installed: Installed, place: Place, tmp_path: Path, flagged: Counter[str]
) -> None:
    """What a server that speaks older revisions has, shown in the newest one and trusted after a look, is the same."""
    bench = Bench(published, installed(published), place, tmp_path / "strict", bridged=True)
    await bench.shows_nothing("run", "auto")
    await _is_unchanged(bench, (NEW,), flagged)


def _asked_by(told: Told) -> list[Any]:
    """Return what the host was asked, but for the roots, which the server asks for whenever it likes."""
    return [asked for asked in told.asked if asked != "roots"]


async def test_asking_back_is_refused_unless_allowed(
    installed: Installed, place: Place, tmp_path: Path, flagged: Counter[str]
) -> None:
    """By default what a server asks back reaches nobody, and all else works; where it is allowed, all is unchanged."""
    bench = Bench(EVERYTHING, installed(EVERYTHING), place, tmp_path / "strict")
    await bench.strict.trust("--live")
    found = await bench.sessions((("legacy", host) for host in HOSTS), ASKING)
    bare, told = found["legacy", "bare"]
    asked = _asked_by(told)
    _check_whole(EVERYTHING, bare)
    assert len(asked) == len(ASKING) - 1
    for host in GUARDED:
        guarded, told = found["legacy", host]
        assert {key.rpartition(" ")[2] for key in _differing(bare, guarded)} == {tool for tool, _ in ASKING}, host
        assert told.asked == []
    _check_said(bench, Counter(), {"sieve.ask"})

    bench.strict.configure(ALLOWED)
    found = await bench.sessions((("legacy", host) for host in GUARDED), ASKING)
    for host in GUARDED:
        guarded, told = found["legacy", host]
        assert _differing(bare, guarded) == {}, host
        assert _asked_by(told) == asked
    _check_said(bench, flagged, set())

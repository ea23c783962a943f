"""What shows that scanning is live: what a rule in force says that it catches, in ``instructions`` and in a result."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from hauberk.event import Event
from hauberk.methods import REVISIONS
from hauberk.probe import SERVER, Check, Probe, client, request, result, server

if TYPE_CHECKING:
    from hauberk_sieve.text._packs import Place, Rule
    from hauberk_sieve.text._reader import Reader
    from hauberk_sieve.text._rules import Scanners

_PEER: Final = {"protocolVersion": REVISIONS[-2], "capabilities": {}}
_NAMED: Final = {"name": SERVER, "version": "0"}


def probes(reader: Reader) -> list[Probe]:
    """Return the probes of the table that holds for the doctor's server."""
    return [*_definitions(reader.scanners(SERVER)), *_results(reader.scanners(SERVER))]


def _definitions(scanners: Scanners) -> Iterator[Probe]:
    messages = client(request("initialize", {**_PEER, "clientInfo": _NAMED}))
    for rule, example, found in _examples(scanners, "definitions"):
        answer = server(result({**_PEER, "serverInfo": _NAMED, "instructions": example}))
        yield _probe("definition", rule, "definitions", (messages, answer), found)
        return


def _results(scanners: Scanners) -> Iterator[Probe]:
    for rule, example, found in _examples(scanners, "results"):
        answer = server(result({"_meta": {"note": example}}))
        yield _probe("result", rule, "results", (client(request("ping")), answer), found)
        return


def _probe(what: str, rule: Rule, place: Place, messages: tuple[Any, ...], found: str) -> Probe:
    told = f"what {rule.id} catches in a {what}"
    if rule.where[place] == "alert":
        return Probe(f"sieve.tells_of_{what}", f"{told} is told", messages, check=_told(rule.id))
    return Probe(f"sieve.cuts_{what}", f"{told} does not come out", messages, hidden=found)


def _told(rule: str) -> Check:
    def check(events: Sequence[Event]) -> str | None:
        return None if any(event.rule == rule for event in events) else f"no event says that {rule} found anything"

    return check


def _examples(scanners: Scanners, place: Place) -> Iterator[tuple[Rule, str, str]]:
    """Yield rules with what they catch, those first that act; a message that is refused whole hides nothing."""
    scanner = scanners[place]
    in_place = [rule for rule in scanners.rules() if place in rule.where]
    in_place.sort(key=lambda rule: rule.where[place] == "alert")
    for rule in in_place:
        if rule.where[place] == "block" and place == "results":
            continue
        for example in rule.catches:
            first = next(iter(scanner.scan_text(example)), None)
            if first is not None and first.rule.id == rule.id:
                start, end = first.spans[0]
                yield rule, example, example[start:end]

"""What ``make efficacy`` prints of a record."""

from __future__ import annotations

from collections.abc import Iterator

from tests.efficacy.tally import Caught, Flagged, Pack, Record

WIDTH = 34


def lines(record: Record) -> Iterator[str]:
    """Yield all tables."""
    yield from packs(record)
    yield ""
    yield from rules(record)
    yield ""
    yield from places(record)
    yield ""
    yield from harmless(record)
    yield ""
    yield from side_by_side(record)


def packs(record: Record) -> Iterator[str]:
    """Yield what each pack catches and flags."""
    yield _row("pack", "attacks", "held out", "real definitions", "other harmless")
    for name, pack in record.packs.items():
        yield _pack(name, pack)
    yield _pack("the whole sieve", record.total)


def rules(record: Record) -> Iterator[str]:
    """Yield in how many items each rule finds something."""
    yield _row("rule", "attacks", "harmless")
    for name, rule in record.rules.items():
        yield _row(name, str(rule.attacks), str(rule.harmless))


def places(record: Record) -> Iterator[str]:
    """Yield what is caught in each place."""
    yield _row("place of the attack", "caught", "denied", "redacted")
    for place, caught in record.places.items():
        yield _row(place, share(caught.caught, caught.of), str(caught.denied), str(caught.redacted))


def harmless(record: Record) -> Iterator[str]:
    """Yield what is found in each category of what is harmless."""
    yield _row("harmless", "flagged", "denied", "redacted")
    for category, one in record.harmless.items():
        yield _row(category, share(one.flagged, one.of), str(one.denied), str(one.redacted))


def side_by_side(record: Record) -> Iterator[str]:
    """Yield what real servers meet that are all connected to one host."""
    one = record.side_by_side
    yield _row("real servers side by side", "flagged", "denied")
    yield _row("items", share(one.flagged, one.of), share(one.denied, one.of))
    for code, number in record.codes.items():
        yield _row(code, str(number))


def share(some: int, of: int) -> str:
    """Return a count of how many, and how much that is."""
    return f"{some} / {of} = {100 * some / max(of, 1):.1f} %"


def _pack(name: str, pack: Pack) -> str:
    found = (_caught(pack.attacks), _caught(pack.held_out), _flagged(pack.definitions), _flagged(pack.others))
    return _row(name, *found)


def _caught(one: Caught) -> str:
    return share(one.caught, one.of)


def _flagged(one: Flagged) -> str:
    return f"{share(one.flagged, one.of)}, {one.denied} denied"


def _row(first: str, *cells: str) -> str:
    return f"{first:{WIDTH}}{''.join(f'{cell:29}' if len(cells) > 3 else f'{cell:22}' for cell in cells)}".rstrip()

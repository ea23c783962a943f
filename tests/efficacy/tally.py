"""The counts of a whole run: what each pack catches of its attacks, and what it finds in what is harmless.

An attack is caught if something of the sieve finds it in every era in which it can come. Something harmless is flagged
if anything finds something in it in any era, and denied if it does not come through at all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

import msgspec
from tests.efficacy.corpus import REAL, Item, items, servers
from tests.efficacy.playing import Outcome, mildest, player, strictest
from tests.efficacy.whole import Whole, whole

from hauberk_sieve.text import BUILTIN

ATTACKS: Final = ("attacks", "held_out")
"""The files of attacks: those by which rules may be made better, and those by which they may not."""


class Caught(msgspec.Struct, frozen=True):
    """Attacks."""

    of: int
    caught: int
    """By a rule of the pack; of all packs together: by anything of the sieve."""
    denied: int = 0
    redacted: int = 0


class Flagged(msgspec.Struct, frozen=True):
    """What is harmless."""

    of: int
    flagged: int
    """In which something was found, whatever came of it."""
    redacted: int = 0
    denied: int = 0


class Pack(msgspec.Struct, frozen=True):
    """What one pack does."""

    attacks: Caught
    held_out: Caught
    definitions: Flagged
    """What real servers say."""
    others: Flagged
    """What else is harmless."""


class Rule(msgspec.Struct, frozen=True):
    """In how many items one rule finds something."""

    attacks: int
    harmless: int


class Record(msgspec.Struct, frozen=True):
    """All counts of a run."""

    packs: dict[str, Pack]
    total: Pack
    """Of the whole sieve."""
    rules: dict[str, Rule]
    """Without the attacks that are held out, so that nobody is led to make rules by them."""
    places: dict[str, Caught]
    """Attacks by the place where they stand, without those that are held out; caught by anything."""
    harmless: dict[str, Flagged]
    """By category."""
    codes: dict[str, int]
    """Real servers side by side: of how many of their items the sieve told, by the code of its event."""
    side_by_side: Flagged
    """Real servers side by side: their items, each listed with all others of its server, and each tool called."""


class Played(msgspec.Struct, frozen=True):
    """An item and what became of it."""

    item: Item
    outcome: Outcome


class Run(msgspec.Struct, frozen=True):
    """All that was played."""

    attacks: dict[str, list[Played]]
    harmless: list[Played]
    whole: Whole


async def run() -> Run:
    """Play the whole corpus."""
    real = servers()
    async with player() as stage:
        attacks = {
            name: [Played(item, mildest((await stage.play(item)).values())) for item in items(name)] for name in ATTACKS
        }
        benign = [*items("benign"), *(item for name, server in real.items() for item in server.items(name))]
        harmless = [Played(item, strictest((await stage.play(item)).values())) for item in benign]
    return Run(attacks, harmless, await whole(real))


def count(done: Run) -> Record:
    """Count what was played."""
    tuning = done.attacks["attacks"]
    return Record(
        packs={pack: _pack(done, pack) for pack in BUILTIN},
        total=_pack(done, ""),
        rules=_rules(tuning, done.harmless),
        places={place: _caught(some, "") for place, some in _grouped((one.item.place, one) for one in tuning)},
        harmless={
            kind: _flagged(some, "") for kind, some in _grouped((one.item.category, one) for one in done.harmless)
        },
        codes=done.whole.codes,
        side_by_side=_side_by_side(done.whole),
    )


def _pack(done: Run, pack: str) -> Pack:
    attacks = {
        name: _caught([one for one in played if pack in {"", one.item.pack}], pack)
        for name, played in done.attacks.items()
    }
    real = [one for one in done.harmless if one.item.category == REAL]
    others = [one for one in done.harmless if one.item.category != REAL]
    return Pack(attacks["attacks"], attacks["held_out"], _flagged(real, pack), _flagged(others, pack))


def _found(one: Played, pack: str) -> bool:
    return pack in one.outcome.packs if pack else one.outcome.verdict != "passed"


def _caught(played: list[Played], pack: str) -> Caught:
    verdicts = Counter(one.outcome.verdict for one in played if _found(one, pack))
    return Caught(len(played), verdicts.total(), verdicts["denied"], verdicts["redacted"])


def _flagged(played: list[Played], pack: str) -> Flagged:
    verdicts = Counter(one.outcome.verdict for one in played if _found(one, pack))
    return Flagged(len(played), verdicts.total(), verdicts["redacted"], verdicts["denied"])


def _side_by_side(one: Whole) -> Flagged:
    verdicts = Counter(one.verdicts.values())
    return Flagged(one.of, verdicts.total(), verdicts["redacted"], verdicts["denied"])


def _rules(tuning: list[Played], harmless: list[Played]) -> dict[str, Rule]:
    attacks = Counter(rule for one in tuning for rule in one.outcome.rules)
    found = Counter(rule for one in harmless for rule in one.outcome.rules)
    return {rule: Rule(attacks[rule], found[rule]) for rule in sorted({*attacks, *found})}


def _grouped(pairs: Iterable[tuple[str, Played]]) -> list[tuple[str, list[Played]]]:
    groups: dict[str, list[Played]] = {}
    for key, one in pairs:
        groups.setdefault(key, []).append(one)
    return sorted(groups.items())


def worse(new: Record, old: Record) -> list[str]:
    """Return in which ways a run is worse than another: less is caught, or more of what is harmless is found."""
    pairs = [("all packs", new.total, old.total)]
    pairs += [(pack, new.packs[pack], was) for pack, was in old.packs.items() if pack in new.packs]
    found = [f"{pack}: the pack is gone" for pack in old.packs.keys() - new.packs.keys()]
    for name, now, was in pairs:
        found += [f"{name}: {text}" for text in _worse(now, was)]
    return found


def _worse(now: Pack, was: Pack) -> list[str]:
    found: list[str] = []
    for part in ("attacks", "held_out"):
        new, old = getattr(now, part), getattr(was, part)
        if new.caught * old.of < old.caught * new.of:
            found.append(f"catches {new.caught} of {new.of} {part}, and caught {old.caught} of {old.of}")
    for part in ("definitions", "others"):
        new, old = getattr(now, part), getattr(was, part)
        for what in ("flagged", "denied"):
            less, more = getattr(old, what), getattr(new, what)
            if more * old.of > less * new.of:
                found.append(f"{what} {more} of {new.of} harmless {part}, before {less} of {old.of}")
    return found


def as_json(record: Record) -> dict[str, Any]:
    """Return a record as it is kept."""
    made: dict[str, Any] = msgspec.to_builtins(record)
    return made

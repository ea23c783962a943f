r"""Rule packs: what is looked for, as data.

The rules:

1. A pack is one TOML file of ``format = 1``; what nothing reads is an error, and so is a rule that says half.
2. A rule has patterns (RE2 syntax, any of them is enough) or names a detector of this package, never both. Patterns
   ignore case unless ``case`` is true; ``^`` and ``$`` are the ends of a line. What only the ends of a text can match
   (``\A``, ``\z``), what matches a byte (``\C``) and what matches nothing at all are refused.
3. A rule has examples that it must catch, and such that it must spare; a pack whose examples fail is refused.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final, Literal

import msgspec

from hauberk.event import Severity
from hauberk_sieve.text._detectors import DETECTORS

Action = Literal["alert", "redact", "block"]
Place = Literal["definitions", "results", "errors", "asks"]

BUILTIN: Final = ("invisible", "control", "exfiltration", "instructions")
"""The packs that come with the sieve."""
PLACES: Final[tuple[Place, ...]] = ("definitions", "results", "errors", "asks")
_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,63}")
_FORBIDDEN: Final = re.compile(r"(?<!\\)(?:\\\\)*\\([AzC])")
_FOLDER: Final = Path(__file__).parent / "packs"
_RULES: Final = 256
_PATTERN_CHARS: Final = 2048


class PackError(ValueError):
    """A pack says something that nothing reads, or that is not so."""


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One rule of a pack."""

    id: str
    """Unique in its pack; loaded, it is ``<pack>.<id>``."""
    title: str
    severity: Severity
    where: dict[Place, Action]
    """Where it looks, and what is done there with what it finds."""
    patterns: tuple[str, ...] = ()
    """RE2 syntax; one of them is enough."""
    detector: str = ""
    """The name of a detector in this package, in place of patterns."""
    confirm: str = ""
    """A further pattern that must match somewhere in the same leaf."""
    case: bool = False
    """Whether upper and lower case differ."""
    catches: tuple[str, ...]
    """Texts that this rule must find."""
    spares: tuple[str, ...]
    """Texts that this rule must not find."""


class Pack(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One pack."""

    format: Literal[1]
    pack: str
    version: str
    title: str = ""
    rule: tuple[Rule, ...]

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Return the rules by their full ids; in errors a rule does as in results, if it says nothing else."""
        return tuple(
            msgspec.structs.replace(rule, id=f"{self.pack}.{rule.id}", where=_everywhere(rule.where))
            for rule in self.rule
        )


class Packs(msgspec.Struct, frozen=True):
    """Some packs, loaded."""

    packs: tuple[Pack, ...]

    @classmethod
    def load(cls, names: Iterable[str] = BUILTIN, read: Callable[[str], bytes] | None = None) -> Packs:
        """Load packs: of this package by name, others by what ``read`` gives for their path.

        Raises:
            PackError: One is malformed, has an id that another has, or fails its own examples.
        """
        packs: dict[str, Pack] = {}
        for name in dict.fromkeys(names):
            pack = _builtin(name) if name in BUILTIN else _foreign(name, read)
            if pack.pack in packs:
                raise PackError(f"pack {name!r}: there is another pack {pack.pack!r}")
            packs[pack.pack] = pack
        return cls(tuple(packs.values()))

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Return all rules by their full ids."""
        return tuple(rule for pack in self.packs for rule in pack.rules)


def _everywhere(where: dict[Place, Action]) -> dict[Place, Action]:
    return {"errors": where["results"], **where} if "results" in where else where


def parse(data: bytes, name: str) -> Pack:
    """Read and check one pack.

    Args:
        data: A TOML text.
        name: What an error calls it.

    Raises:
        PackError: It is malformed (rules 1 and 2). Its examples are not tried.
    """
    pack = _decoded(data, name)
    if (fault := _fault(pack)) is not None:
        raise PackError(f"pack {name!r}: {fault}")
    return pack


def prove(pack: Pack, name: str) -> None:
    """Try the examples of a pack (rule 3).

    Raises:
        PackError: A rule does not catch what it must, or does not spare what it must.
    """
    from hauberk_sieve.text._scan import Scanner  # which is made of rules

    for rule in pack.rules:
        for place in rule.where:
            scanner = Scanner([rule], place)
            for examples, expected in ((rule.catches, True), (rule.spares, False)):
                for number, example in enumerate(examples):
                    if bool(scanner.scan_text(example)) is not expected:
                        word = "catches" if expected else "spares"
                        raise PackError(f"pack {name!r}: rule {rule.id!r} fails its own example {word}[{number}]")


def _decoded(data: bytes, name: str) -> Pack:
    try:
        return msgspec.convert(tomllib.loads(data.decode()), Pack)
    except (ValueError, RecursionError) as error:  # TOML, UTF-8 and msgspec errors are ValueErrors
        raise PackError(f"pack {name!r}: {error}") from None


def _builtin(name: str) -> Pack:
    data = (_FOLDER / f"{name}.toml").read_bytes()
    return _decoded(data, name)  # which the tests check, so that no start has to


def _foreign(name: str, read: Callable[[str], bytes] | None) -> Pack:
    if read is None:
        raise PackError(f"pack {name!r}: there is no such pack, expected one of {', '.join(BUILTIN)}, or a path")
    pack = parse(read(name), name)
    if pack.pack in BUILTIN:
        raise PackError(f"pack {name!r}: {pack.pack!r} is the name of a pack of the sieve")
    prove(pack, name)
    return pack


def _fault(pack: Pack) -> str | None:
    ids = [rule.id for rule in pack.rule]
    if not _NAME.fullmatch(pack.pack):
        return f"pack {pack.pack!r} is not made of a-z, 0-9 and '-'"
    if not 0 < len(ids) <= _RULES:
        return f"it has {len(ids)} rules, expected 1 to {_RULES}"
    if twin := next((id for id in ids if ids.count(id) > 1), None):
        return f"two rules are called {twin!r}"
    return next((f"rule {rule.id!r}: {fault}" for rule in pack.rule if (fault := _fault_of(rule))), None)


def _fault_of(rule: Rule) -> str | None:
    if not _NAME.fullmatch(rule.id):
        return "its id is not made of a-z, 0-9 and '-'"
    if bool(rule.patterns) is bool(rule.detector):
        return "it needs patterns or a detector, one of them"
    if rule.detector and rule.detector not in DETECTORS:
        return f"there is no detector {rule.detector!r}, expected one of {', '.join(DETECTORS)}"
    if not rule.where:
        return "it looks nowhere, name a place in 'where'"
    if not (rule.catches and rule.spares):
        return "it needs at least one example that it catches, and one that it spares"
    return _fault_of_patterns((*rule.patterns, rule.confirm) if rule.confirm else rule.patterns)


def _fault_of_patterns(patterns: Sequence[str]) -> str | None:
    from hauberk_sieve.text._scan import compiled

    for number, pattern in enumerate(patterns):
        if len(pattern) > _PATTERN_CHARS:
            return f"pattern {number} has more than {_PATTERN_CHARS} characters"
        if found := _FORBIDDEN.search(pattern):
            return f"pattern {number} has \\{found[1]}, which cannot be looked for in leaves that are scanned together"
        try:
            matcher = compiled(pattern, case=False)
        except ValueError as error:
            return f"pattern {number} is no pattern of RE2: {error}"
        if matcher.search("") is not None:
            return f"pattern {number} matches an empty text"
    return None

"""One rule as it is written: a pattern ``"server/tool"``, or a table with conditions.

The rules:

1. A table names a server and at least one of ``tool``, ``prompt`` and ``resource``; it is about each that it names.
   Resources and their templates are one kind for rules.
2. Every condition must hold. A condition makes an allow rule allow less, and a deny rule deny less.
3. A definition is the server's word: ``annotations`` and ``arguments`` stand on deny rules only, ``content_hash`` on
   allow rules only. On the other kind each would let a server that changes one character escape, and is an error
   (S3.37).
4. An annotation can be asked for only where it is the worse of its two, which is also what it is where it is missing:
   no server escapes a rule by saying nothing, or what is no boolean.
5. Conditions on a definition are about tools alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from hauberk_sieve._spelling import nfc
from hauberk_sieve.access._facts import WORST, Needs
from hauberk_sieve.access._patterns import Pattern, part
from hauberk_sieve.access._uris import pattern as uri_pattern
from hauberk_sieve.access._whom import CONDITIONS, Whom, checked

Kind = Literal["tool", "prompt", "resource", "template"]
Which = Literal["allow", "deny"]
NAMED_BY: Final[Mapping[Kind, str]] = {
    "tool": "tool",
    "prompt": "prompt",
    "resource": "resource",
    "template": "resource",
}
"""The key of a rule that a thing of this kind is looked up under."""
_KINDS: Final = ("tool", "prompt", "resource")
_HASH: Final = "(?i)(?:sha256:)?([0-9a-f]{64})"


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A rule as a table: ``{ server = "github", tool = "merge_*", groups = ["release"] }``."""

    server: str
    """The server, a pattern."""
    tool: str | None = None
    """The tool, a pattern."""
    prompt: str | None = None
    """The prompt, a pattern."""
    resource: str | None = None
    """The URI of a resource, or the text of a template: a pattern."""
    principals: tuple[str, ...] | None = None
    """Patterns of the ids of who asks."""
    groups: tuple[str, ...] | None = None
    """Patterns of groups, of which who asks is in one."""
    roles: tuple[str, ...] | None = None
    """Patterns of roles, of which who asks has one."""
    methods: tuple[str, ...] | None = None
    """Patterns of how the identity was proved, such as ``mtls`` or ``jwt``."""
    annotations: dict[str, bool] | None = None
    """On deny rules: what the tool's annotations say, such as ``{ readOnlyHint = false }``."""
    arguments: tuple[str, ...] | None = None
    """On deny rules: patterns, of which one matches the name of an argument of the tool."""
    content_hash: str | None = None
    """On allow rules: the SHA-256 of the tool's definition, with or without ``sha256:``."""


class Rule(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """One rule, read."""

    server: str
    names: Mapping[str, str]
    """The pattern by the key that it stands under: ``tool``, ``prompt``, ``resource``."""
    text: str
    """As it is written, for a person."""
    whom: Whom | None = None
    needs: Needs | None = None

    @classmethod
    def of(cls, pattern: Pattern) -> Rule:
        """Return the rule that a pattern is."""
        return cls(server=pattern.server, names={"tool": pattern.tool}, text=pattern.text)


def read(which: Which, item: str | Entry) -> Rule:
    """Read one rule.

    Raises:
        ValueError: It is malformed, or has a condition that it must not have.
    """
    if isinstance(item, str):
        return Rule.of(Pattern.parse(item))
    names = _names(which, item)
    whom = {key: checked(key, getattr(item, key)) for key in CONDITIONS}
    return Rule(
        server=part("server", item.server),
        names=names,
        text=_text(item, names),
        whom=Whom(**whom) if any(whom.values()) else None,
        needs=_needs(which, item),
    )


def _names(which: Which, item: Entry) -> dict[str, str]:
    named = {key: text for key in _KINDS if (text := getattr(item, key)) is not None}
    if not named:
        raise ValueError("a rule names a tool, a prompt or a resource; write '*' for any")
    names = {key: part(key, text) for key, text in named.items()}
    if "resource" in names:
        uri_pattern(names["resource"], forbids=which == "deny")
    return names


def _needs(which: Which, item: Entry) -> Needs | None:
    found = {key: getattr(item, key) for key in ("annotations", "arguments", "content_hash")}
    given = [key for key, value in found.items() if value is not None]
    if not given:
        return None
    if item.tool is None or item.prompt is not None or item.resource is not None:
        raise ValueError(f"{given[0]} is about tools, and the rule names something else")
    if which == "deny" and item.content_hash is not None:
        raise ValueError("content_hash on a deny rule: a tool would escape by changing one character of its definition")
    if which == "allow" and given != ["content_hash"]:
        raise ValueError(f"{given[0]} on an allow rule: what a server says of itself widens nothing")
    return Needs(
        annotations=_annotations(item.annotations),
        arguments=checked("arguments", item.arguments) or (),
        content_hash="" if item.content_hash is None else _hash(item.content_hash),
    )


def _annotations(wanted: dict[str, bool] | None) -> tuple[str, ...]:
    if wanted is None:
        return ()
    if not wanted:
        raise ValueError("annotations is empty, name one or take it out")
    for name, value in wanted.items():
        if name not in WORST:
            raise ValueError(f"annotations.{name} is unknown, expected one of: {', '.join(WORST)}")
        if value is not WORST[name]:
            worse = str(WORST[name]).lower()
            raise ValueError(f"annotations.{name} can be {worse} only: a tool escapes any other by what it says")
    return tuple(wanted)


def _hash(text: str) -> str:
    match = re.fullmatch(_HASH, text)
    if match is None:
        raise ValueError("content_hash is 64 hexadecimal digits, with or without 'sha256:' before them")
    return match[1].lower()


def _text(item: Entry, names: Mapping[str, str]) -> str:
    """Return a rule as it is written; the shortest form of one that has no conditions."""
    given = {key: value for key in item.__struct_fields__ if (value := getattr(item, key)) is not None}
    if list(given) == ["server", "tool"] and "/" not in item.server:
        return nfc(f"{item.server}/{names['tool']}")
    return nfc("{ " + ", ".join(f"{key} = {_toml(value)}" for key, value in given.items()) + " }")


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + " }"
    return "[" + ", ".join(map(_toml, value)) + "]"

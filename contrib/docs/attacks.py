"""The table of docs/attacks.md, from what the matrix of attacks recorded."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from contrib.docs.pages import ROOT, table, with_table

RECORD: Final = ROOT / "tests" / "attacks" / "record.json"
HEADING: Final = "What stops what"
HEAD: Final = ("attack", "how the server does it", "eras", "in process", "through `hauberk run`")


def page(written: str) -> str:
    """Return the page with its tables made anew.

    Raises:
        LookupError: The page has no such heading, or no table stands under it.
    """
    record = json.loads(RECORD.read_text("utf-8"))
    attacks = record["attacks"]
    made = with_table(written, HEADING, lambda _: table(HEAD, map(_line, (one for one in attacks if not one["told"]))))
    made = with_table(
        made, "What is told and passes", lambda _: table(HEAD, map(_line, (one for one in attacks if one["told"])))
    )
    rest = [(f"`{name}`", why) for name, why in record["unstopped"].items()]
    return with_table(made, "What is no attack by itself", lambda _: table(("attack", "why it passes"), rest))


def _line(entry: Mapping[str, Any]) -> tuple[str, ...]:
    ways = [_seen(entry, "in process") or "only on a pipe", _seen(entry, "hauberk run") or "only in process"]
    return entry["title"], f"`{_plain(entry['attack'])}`", ", ".join(_eras(entry)), *ways


def _eras(entry: Mapping[str, Any]) -> list[str]:
    return sorted({era for seen in entry["seen"].values() for era in seen})


def _seen(entry: Mapping[str, Any], way: str) -> str:
    eras = entry["seen"].get(way)
    if not eras:
        return ""
    found = sorted({code for codes in eras.values() for code in codes}, key=lambda code: (code != entry["code"], code))
    return _codes(found) if found else "made harmless by the core, without a word"


def _codes(found: Iterable[str]) -> str:
    return ", ".join(f"`{code}`" for code in found)


def _plain(call: str) -> str:
    return call.replace("|", r"\|")

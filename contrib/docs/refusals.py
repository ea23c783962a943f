"""The list of refusals, whose rows are written by hand, and a page for each code, with an example that was played."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from contrib.docs.pages import DOCS, NOTE, sections, table, with_table
from contrib.docs.pages import rows as rows_of
from contrib.docs.play import Played, played
from contrib.docs.scene import Line
from contrib.docs.scenes import CONNECTIONS, REFUSALS, UNPLAYED_REFUSALS

FOLDER: Final = DOCS / "refusals"
HEAD: Final = ("code", "meaning", "what to do")
_LINK: Final = r"[`\1`](refusals/\1.md)"
_CODE: Final = r"`(\w+\.\w+)`"
_ABOVE: Final = "As above"
_NUMBERS: Final = {
    -32003: "a policy said no",
    -32004: "who speaks is not known, or may not",
    -32005: "a limit is reached",
    -32006: "the message is not one that the protocol has",
    -32007: "a plugin could not tell, or the core could not",
    -32600: "it has no id that an answer could carry, or one that is taken",
    -32700: "it could not be read",
}


class Entry(NamedTuple):
    """One row of the list."""

    code: str
    meaning: str
    remedy: str


def entries(text: str) -> Iterator[Entry]:
    """Yield the rows of the list; *as above* is replaced by what stands above."""
    before = ""
    for row in (row for section in sections(text).values() for row in rows_of(section)):
        code, meaning, remedy = re.findall(_CODE, row[0])[0], row[1], row[2]
        before = before.removesuffix(".") + remedy.removeprefix(_ABOVE) if remedy.startswith(_ABOVE) else remedy
        yield Entry(code, meaning, before)


def index(text: str) -> str:
    """Return the list, with a link to its page for each code."""
    for heading in sections(text):
        text = with_table(text, heading, _linked)
    return text


def _linked(found: list[list[str]]) -> str:
    return table(HEAD, [(re.sub(rf"^\[?{_CODE}.*", _LINK, row[0]), *row[1:]) for row in found])


def pages(text: str) -> dict[Path, str]:
    """Return the page of each code of the list."""
    scenes = played(REFUSALS)
    return {FOLDER / f"{entry.code}.md": page(entry, scenes.get(entry.code)) for entry in entries(text)}


def page(entry: Entry, scene: Played | None) -> str:
    """Return the page of one code."""
    parts = [f"{NOTE}# `{entry.code}`", entry.meaning, "\n".join(_facts(entry.code, scene))]
    if scene is not None:
        parts += ["## For example", *_example(scene)]
    return "\n\n".join([*parts, "## What to do", entry.remedy, "[All refusals](../refusals.md)"]) + "\n"


def _facts(code: str, scene: Played | None) -> Iterator[str]:
    if scene is None:
        number, severity = UNPLAYED_REFUSALS[code]
    else:
        number, severity = None if scene.reply is None else scene.reply["error"]["code"], scene.event.severity
    if number is not None:
        yield f"- JSON-RPC number: {number} ({_NUMBERS[number]})"
    elif severity is not None:
        yield "- JSON-RPC number: none, it is dropped and nobody is answered"
    else:
        yield "- JSON-RPC number: none, only the plugin that asked gets it"
    if severity is not None:
        category = "connection" if code in CONNECTIONS else "refusal"
        yield f"- In the log: category `{category}`, severity `{severity}`"


def _example(scene: Played) -> Iterator[str]:
    if scene.scene.toml:
        yield f"With this configuration\n\n```toml\n{scene.scene.toml}```"
    for kind in scene.scene.plugins:
        text = (kind.__doc__ or "").strip().removesuffix(".")
        yield f"With {text[0].lower()}{text[1:]}"
    for place, said in enumerate(scene.scene.lines):
        yield _said(said, place)
    if scene.reply is not None:
        asker = "server" if scene.scene.lines[-1][0] == "server" and "method" in scene.scene.lines[-1][1] else "client"
        yield f"The {asker} gets\n\n```json\n{json.dumps(scene.reply, indent=2, ensure_ascii=False)}\n```"
    else:
        yield "It goes no further, and nobody is answered. The log has the code."


def _said(said: Line, place: int) -> str:
    side, data = said
    line = data.decode() if isinstance(data, bytes) else json.dumps(data, ensure_ascii=False)
    return f"{'Then the' if place else 'The'} {side} sends\n\n```text\n{shortened(line)}\n```"


def shortened(line: str) -> str:
    """Return a line without the middle of a long run of one character."""
    return re.sub(r"(.)\1{15,}", lambda run: f"{run.group(1) * 4}…{run.group(1) * 4}", line)

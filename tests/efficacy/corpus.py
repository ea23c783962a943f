"""The corpus: attacks, attacks that nobody tunes a rule by, and what is harmless; and what real servers say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

FOLDER: Final = Path(__file__).with_name("corpus")
Kind = Literal["tool", "prompt", "resource", "template", "hello", "result", "error", "notification", "ask"]
Era = Literal["2025-11-25", "2026-07-28"]
ERAS: Final[tuple[Era, ...]] = ("2025-11-25", "2026-07-28")
LISTS: Final[dict[Kind, tuple[str, str]]] = {
    "tool": ("tools/list", "tools"),
    "prompt": ("prompts/list", "prompts"),
    "resource": ("resources/list", "resources"),
    "template": ("resources/templates/list", "resourceTemplates"),
}
"""The method that lists items of a kind, and the member of its result."""
REAL: Final = "real definitions"
"""The category of what real servers say."""


class Item(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One object of the protocol, as a server would send it."""

    id: str
    method: str
    """Of the message that carries it, or that is answered by what carries it."""
    kind: Kind
    object: dict[str, Any]
    place: str
    """Where in the object the text stands that matters."""
    era: Era | Literal["both"] = "both"
    pack: str = ""
    """Of an attack: the pack of rules whose job it is."""
    tries: str = ""
    """Of an attack: what it tries."""
    category: str = ""
    """Of what is harmless: what it is."""

    @property
    def eras(self) -> tuple[Era, ...]:
        """Return the eras of the protocol in which it can come."""
        return ERAS if self.era == "both" else (self.era,)


class Server(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename="camel"):
    """What one real server says about itself."""

    package: str
    version: str
    licence: str
    server_info: dict[str, Any]
    instructions: str | None
    tools: list[dict[str, Any]]
    prompts: list[dict[str, Any]]
    resources: list[dict[str, Any]]
    resource_templates: list[dict[str, Any]]

    def listed(self) -> dict[Kind, list[dict[str, Any]]]:
        """Return what it lists, by kind; kinds of which it has none are left out."""
        templates = self.resource_templates
        found: dict[Kind, list[dict[str, Any]]] = {
            "tool": self.tools,
            "prompt": self.prompts,
            "resource": self.resources,
            "template": templates,
        }
        return {kind: items for kind, items in found.items() if items}

    def items(self, name: str) -> list[Item]:
        """Return what it says, one by one."""
        hello = {"serverInfo": self.server_info, **({"instructions": self.instructions} if self.instructions else {})}
        listed = [
            _real(f"{name}: {kind} {one['name']}", LISTS[kind][0], kind, one)
            for kind, items in self.listed().items()
            for one in items
        ]
        return [_real(f"{name}: server", "initialize", "hello", hello), *listed]


def _real(id: str, method: str, kind: Kind, value: dict[str, Any]) -> Item:
    return Item(id=id, method=method, kind=kind, object=value, place=kind, category=REAL)


def items(name: str) -> list[Item]:
    """Return the items of one file: ``attacks``, ``held_out`` or ``benign``."""
    lines = (FOLDER / f"{name}.jsonl").read_text("utf-8").splitlines()
    return [msgspec.json.decode(line, type=Item) for line in lines]


def servers() -> dict[str, Server]:
    """Return what real servers say, by the names that a user might give them."""
    files = sorted((FOLDER / "servers").glob("*.json"))
    return {file.stem: msgspec.convert(json.loads(file.read_text("utf-8")), Server) for file in files}

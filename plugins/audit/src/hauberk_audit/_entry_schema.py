"""A JSON Schema (2020-12) of one line of the log, made from the types that lines are made from."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any, Final

import msgspec

from hauberk.event import Event
from hauberk.schema import DIALECT, described
from hauberk_audit._entry import Row
from hauberk_audit.writing._chain import FORMAT

FILE: Final = "entry.schema.json"
"""Its name in this package."""
_TIME: Final = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z$"
_HASH: Final = {"type": "string", "pattern": "^(hmac-)?sha256:[0-9a-f]{64}$"}
_MEMBERS: Final[dict[str, Any]] = {
    "time": {"type": "string", "format": "date-time", "pattern": _TIME, "description": "In UTC, by the wall clock."},
    "code": {"type": "string", "description": "What happened: <word>.<reason>."},
    "sizes": {
        "type": "object",
        "additionalProperties": {"type": ["integer", "string"]},
        "description": "Bytes. Where there were too many, a text says so.",
    },
}
"""What an entry has otherwise than the event."""
_INTEGRITY: Final[dict[str, Any]] = {
    "description": "The place of the entry in its chain. The HMAC is over the bytes of the line, not over its members.",
    "type": "object",
    "properties": {
        "sequence": {"type": "integer", "minimum": 1, "description": "From 1."},
        "prev_hash": _HASH | {"description": "The entry_hash of the entry before; 64 zeros in the first."},
        "key_id": {
            "type": "string",
            "pattern": r"^[0-9a-f]{16}(\.[0-9]{1,5}\.[0-9]{1,18})?$",
            "description": "The key; where it only goes forward, with the numbers of chain and rung.",
        },
        "entry_hash": _HASH,
    },
    "required": ["sequence", "prev_hash", "key_id", "entry_hash"],
    "additionalProperties": False,
}


def schema() -> dict[str, Any]:
    """Return the schema, made from the code."""
    mark = {"const": json.loads(FORMAT[:-1] + b"}")["format"]}
    integrity = {"$ref": "#/$defs/integrity"}
    fields = {field.name: field for field in msgspec.structs.fields(Row)}
    clear = {"format": mark} | {name: _member(name) for name in fields} | {"integrity": integrity}
    needed = [name for name, field in fields.items() if field.required]
    sealed = {
        "format": mark,
        "file": {"type": "string", "pattern": "^[0-9a-f]{16}$", "description": "The data key of the file."},
        "line": {"type": "integer", "minimum": 1, "description": "The number of the line in its file."},
        "sealed": {"type": "string", "pattern": "^[A-Za-z0-9_-]+$", "description": "Nonce, ciphertext and tag."},
        "integrity": integrity,
    }
    return {
        "$schema": DIALECT,
        "title": "One line of a hauberk audit log",
        "oneOf": [{"$ref": "#/$defs/entry"}, {"$ref": "#/$defs/sealed"}],
        "$defs": {
            "entry": _object(clear, ["format", *needed, "integrity"], "What happened. What is empty is left out."),
            "sealed": _object(sealed, list(sealed), "An entry that is encrypted at rest."),
            "integrity": _INTEGRITY,
        },
    }


def document() -> str:
    """Return the text of the file that is made from `schema`."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def published() -> str:
    """Return the text of the file in this package."""
    return resources.files("hauberk_audit").joinpath(FILE).read_text(encoding="utf-8")


def _member(name: str) -> dict[str, Any]:
    """Return the schema of a member, which is that of the event's field."""
    if name in _MEMBERS:
        return dict(_MEMBERS[name])
    found = dict(msgspec.json.schema(Event)["$defs"]["Event"]["properties"][name])
    found.pop("default", None)
    text = described(Event).get(name)
    return found | ({"description": text.replace("``", "")} if text else {})


def _object(members: dict[str, Any], required: list[str], text: str) -> dict[str, Any]:
    return {
        "description": text,
        "type": "object",
        "properties": members,
        "required": required,
        "additionalProperties": False,
    }

"""The JSON Schema of a configuration against the loader: what one takes the other takes, what is unknown is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # comes with the SDK

from hauberk import schema
from hauberk.bounds import Bounds
from hauberk.config import SECRET, Config, Narrow, Options
from hauberk.refusals import ConfigError


class Window(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A span of hours."""

    count: Annotated[int, msgspec.Meta(ge=1), Narrow.MIN] = 100
    name: str
    """What it is called."""
    inner: Window | None = None


class Gate(Options, frozen=True):
    """What may pass."""

    default: Annotated[Literal["deny", "allow"], Narrow.strictest("deny", "allow")] = "allow"
    """What holds for the rest,
    in two lines."""
    deny: Annotated[tuple[str, ...], Narrow.UNION, msgspec.Meta(max_length=3)] = ()
    delay: Annotated[float, msgspec.Meta(ge=0), Narrow.MAX] = 0.0
    windows: dict[str, Window] = msgspec.field(default_factory=dict)
    spans: tuple[Window, ...] = ()
    either: str | tuple[str, ...] = ""
    path: Path = Path("log")
    token: Annotated[str | None, SECRET] = None
    anything: dict[str, Any] = msgspec.field(default_factory=dict)


class Vault(Options, frozen=True):
    root: Path
    size: int = 1


KNOWN: Mapping[str, type[Options]] = {"gate": Gate, "vault": Vault}
SCHEMA = schema.schema(KNOWN)
VALIDATOR = Draft202012Validator(SCHEMA)
METHOD = {"name": "x/y", "sender": "client", "kind": "request"}
SOUND: dict[str, Any] = {
    "profile": "development",
    "plugins": {"disable": ["x"]},
    "features": {"mcp_tls_enabled": False},
    "core": {"refuse_as": "result", "bounds": {"rounds": 3, "deadline": 1}, "methods": [METHOD]},
    "gate": {
        "mode": "audit",
        "deny": ["a"],
        "delay": 1,
        "windows": {"w": {"name": "n", "inner": {"count": 2, "name": "m"}}, "v": {"name": "v"}},
        "spans": [{"name": "s"}],
        "either": ["a"],
        "anything": {"a": {"b": 1}},
    },
    "vault": {"root": "/", "override": False},
    "server": {
        "My server (1)": {"command": "npx", "args": ["-y"], "env": {"A": True, "B": "x"}, "cwd": "/"},
        "web": {"url": "https://example.org", "headers": {"X": "y"}, "gate": {"override": True, "deny": []}},
    },
    "host": {"h": {"gate": {"windows": {"w": {"count": 1}}}, "server": {"web": {"vault": {"size": 3}}}}},
}


def written(value: Any) -> str:
    """Return a value in TOML."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {written(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(written, value)) + "]"
    return json.dumps(value)


def fault(document: Mapping[str, Any]) -> str | None:
    """Return what the loader says against a document, or None."""
    text = "\n".join(f"{json.dumps(key)} = {written(value)}" for key, value in document.items())
    try:
        Config.from_toml(text, base=Path("/etc")).check(KNOWN)
    except ConfigError as error:
        return error.message
    return None


def test_schema_is_one() -> None:
    """What is made is a JSON Schema of 2020-12, in plain JSON."""
    Draft202012Validator.check_schema(SCHEMA)
    assert json.loads(json.dumps(SCHEMA)) == SCHEMA
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_sound_document_is_taken_by_both() -> None:
    """A document with every kind of table is taken by the loader and by the schema."""
    assert fault(SOUND) is None
    assert list(VALIDATOR.iter_errors(SOUND)) == []


def paths(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of each table in a document, and of the document."""
    found = [at] if isinstance(value, dict) else []
    for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        found += paths(item, (*at, key))
    return found


def changed(path: tuple[Any, ...], key: str, value: Any) -> dict[str, Any]:
    """Return `SOUND` with one key set in one of its tables."""
    document: dict[str, Any] = json.loads(json.dumps(SOUND))
    table = document
    for step in path:
        table = table[step]
    table[key] = value
    return document


FREE = {
    ("server", "My server (1)", "env"),
    ("server", "web", "headers"),
    ("gate", "anything"),
    ("gate", "anything", "a"),
}


@pytest.mark.parametrize("path", [path for path in paths(SOUND) if path not in FREE], ids=str)
def test_unknown_key_is_refused_by_both(path: tuple[Any, ...]) -> None:
    """A key that nothing reads is refused in every table, by the loader and by the schema."""
    document = changed(path, "colour", "blue")
    assert fault(document) is not None
    assert not VALIDATOR.is_valid(document)


words = st.sampled_from(
    [
        "mode",
        "deny",
        "override",
        "root",
        "command",
        "bounds",
        "gate",
        "vault",
        "policy",
        "name",
        "count",
        "x",
        "a/b",
        " y",
    ]
)
values = st.recursive(
    st.none().map(lambda _: "text") | st.booleans() | st.integers(-2, 5) | st.sampled_from(["deny", "audit", ""]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(words, inner, max_size=2),
    max_leaves=4,
)


@given(st.sampled_from(paths(SOUND)), words, values)
def test_schema_agrees_with_the_loader(path: tuple[Any, ...], key: str, value: Any) -> None:
    """Whatever is set where: the schema takes what the loader takes, and refuses what it calls unknown."""
    document = changed(path, key, value)
    said = fault(document)
    valid = VALIDATOR.is_valid(document)
    if said is None:
        assert valid, list(VALIDATOR.iter_errors(document))
    elif ("unknown" in said or "cannot name" in said or "not installed" in said) and "policy]" not in said:
        assert not valid, said


@pytest.mark.parametrize(
    ("path", "key", "value"),
    [
        ((), "profile", "test"),
        (("core",), "refuse_as", "answer"),
        (("core", "bounds"), "rounds", 0),
        (("core", "bounds"), "deadline", 0),
        (("gate",), "delay", -1),
        (("gate",), "deny", ["a", "b", "c", "d"]),
        (("gate",), "either", 3),
        (("gate",), "path", ""),
        (("gate",), "override", True),
        (("gate", "spans", 0), "name", 3),
        (("vault",), "size", True),
        (("server", "web"), "headers", {"X": 1}),
        (("server",), "a/b", {}),
        ((), "policy", {}),
    ],
)
def test_impossible_value_is_refused_by_both(path: tuple[Any, ...], key: str, value: Any) -> None:
    """A value that is none of its type's is refused by the loader and by the schema."""
    document = changed(path, key, value)
    assert fault(document) is not None
    assert not VALIDATOR.is_valid(document)


def test_whole_tables_are_complete() -> None:
    """A key may stand in another table of the same plugin, but not outside an item of an array."""
    document = changed(("gate", "spans", 0), "count", 1)
    assert VALIDATOR.is_valid(document)
    del document["gate"]["spans"][0]["name"]
    assert not VALIDATOR.is_valid(document)
    assert VALIDATOR.is_valid({"host": {"h": {"vault": {"size": 1}}}, "gate": {"windows": {"w": {"count": 1}}}})


def test_policy_needs_its_file() -> None:
    """A table of the local policy is taken where the file names a policy."""
    assert VALIDATOR.is_valid({"plugins": {"policy": "policy.py"}, "policy": {"opens": 8}})
    assert not VALIDATOR.is_valid({"plugins": {}, "policy": {"opens": 8}})


def test_descriptions_are_the_docstrings() -> None:
    """The docstring of a field says what a key means, that of a class what a table is; defaults are shown."""
    gate = SCHEMA["$defs"]["gate"]
    assert gate["description"] == "What may pass."
    assert gate["properties"]["default"] == {
        "enum": ["allow", "deny"],
        "description": "What holds for the rest, in two lines.",
        "default": "allow",
    }
    assert "would refuse" in gate["properties"]["mode"]["description"]
    assert gate["properties"]["path"]["default"] == "log"
    assert schema.described(Bounds)["line_bytes"].startswith("One message on a byte carrier")


def test_classes_without_source_have_no_descriptions() -> None:
    """A class whose source is not there has a schema all the same."""
    made = msgspec.defstruct("Made", [("size", int, 3)], bases=(Options,), frozen=True)
    assert issubclass(made, Options)
    found = schema.schema({"made": made})["$defs"]["made"]["properties"]
    assert found["size"] == {"type": "integer", "default": 3}

"""The official JSON Schema Test Suite (json-schema-org/JSON-Schema-Test-Suite, MIT), as far as MCP goes.

All that the suite requires of 2020-12 and draft-07 is passed, formats as well, but for what leads out of the document
or into another dialect: those cases are counted, and each is refused as unusable.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any, Final

import orjson
import pytest

from hauberk_sieve.schemas._addresses import Unusable
from hauberk_sieve.schemas._checker import Checker

DIALECTS: Final = {
    "draft2020-12": "https://json-schema.org/draft/2020-12/schema",
    "draft7": "http://json-schema.org/draft-07/schema#",
}
ANNOTATION: Final = "is only an annotation by default"
"""So the suite says of formats in 2020-12; here a format is a rule, as the specification lets an application choose."""
REMOTE: Final = {
    "draft2020-12": {"defs.json": 2, "dynamicRef.json": 13, "ref.json": 2, "refRemote.json": 31, "vocabulary.json": 5},
    "draft7": {"definitions.json": 2, "ref.json": 2, "refRemote.json": 23},
}
"""Required cases, by file, that need a document from elsewhere: a remote schema, the metaschema itself, or a dialect
that is described elsewhere. Nothing is fetched, so their schemas are unusable."""
RULES: Final = {"reference", "dialect"}


@pytest.fixture(scope="session")
def vectors() -> Path:
    """Return the folder of the public suites; skip where there is none."""
    folder = os.environ.get("HAUBERK_VECTORS")
    if not folder:
        pytest.skip("HAUBERK_VECTORS is not set: no conformance suites")
    return Path(folder)


def cases(vectors: Path, suite: str) -> list[dict[str, Any]]:
    lines = (vectors / "json-schema-test-suite" / f"{suite}.jsonl").read_text(encoding="utf-8").split("\n")
    assert len(lines) > 1500
    return [json.loads(line) for line in lines if line]


def document(case: dict[str, Any], suite: str) -> bytes:
    """Return the schema as a tool would have it: an object that says its dialect."""
    schema = case["schema"]
    if type(schema) is bool:
        schema = {"allOf": [schema]}
    return json.dumps({"$schema": DIALECTS[suite], **schema}).encode()


def outcome(case: dict[str, Any], suite: str) -> bool | str:
    """Return whether the value is valid, or the rule by which the schema is unusable."""
    data = json.dumps(case["data"]).encode()
    try:
        return Checker(document(case, suite)).fault(case["data"], len(data)) is None
    except Unusable as unusable:
        return unusable.rule


@pytest.mark.parametrize("suite", DIALECTS)
def test_required_cases_are_passed(vectors: Path, suite: str) -> None:
    """Each required case of the suite comes out as it says, or its schema leads out of the document (A47)."""
    wrong, remote = [], Counter[str]()
    for case in cases(vectors, suite):
        if case["file"].startswith("optional/") or ANNOTATION in case["test"]:
            continue
        found = outcome(case, suite)
        if found in RULES:
            remote[case["file"]] += 1
        elif found != case["valid"]:
            wrong.append((case["file"], case["group"], case["test"], found))
    assert wrong == []
    assert dict(remote) == REMOTE[suite]


@pytest.mark.parametrize("suite", DIALECTS)
def test_formats_are_rules(vectors: Path, suite: str) -> None:
    """Each case of the formats of the suite comes out as it says."""
    tried = [case for case in cases(vectors, suite) if case["file"].startswith("optional/format/")]
    assert [case for case in tried if outcome(case, suite) != case["valid"]] == []
    assert len(tried) > 500


def test_formats_of_2020_12_are_no_annotations(vectors: Path) -> None:
    """What the suite calls only an annotation is refused here: a value that is not of its format."""
    tried = [case for case in cases(vectors, "draft2020-12") if ANNOTATION in case["test"]]
    assert {outcome(case, "draft2020-12") for case in tried} == {False}
    assert len(tried) == 19


def test_remote_schemas_are_never_allowed(vectors: Path) -> None:
    """A schema that refers to any of the suite's remote documents is unusable, never taken for valid (A47)."""
    remotes = json.loads((vectors / "json-schema-test-suite" / "remotes.json").read_text(encoding="utf-8"))
    assert len(remotes) > 50
    for address in remotes:
        with pytest.raises(Unusable):
            Checker(orjson.dumps({"$ref": address}))


def test_other_dialect_is_unusable(vectors: Path) -> None:
    """No case of 2019-09 is judged by another dialect's rules: where its schema says so, it is unusable (A47)."""
    found = cases(vectors, "draft2019-09")
    said = [case for case in found if type(case["schema"]) is dict and "$schema" in case["schema"]]
    assert len(said) > 1500
    for case in said:
        with pytest.raises(Unusable):
            Checker(json.dumps(case["schema"]).encode())

"""The inputs of nst/JSONTestSuite (MIT), through the strict edge.

The suite says of each input whether a parser of RFC 8259 has to accept it, to reject it, or may do either.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import orjson
import pytest

from hauberk import edge
from hauberk.bounds import Bounds
from hauberk.refusals import MEDIATION, PARSE_ERROR, Refused

BOUNDS = Bounds()
DUPLICATES = {"y_object_duplicated_key.json", "y_object_duplicated_key_and_value.json"}
"""Valid for RFC 8259, which only says that keys should be unique."""


def inputs(vectors: Path, expect: str) -> list[tuple[str, bytes]]:
    found = []
    for line in (vectors / "json-parsing" / "nst.jsonl").read_text().splitlines():
        case = json.loads(line)
        if case["expect"] != expect:
            continue
        if "b64" in case:
            data = base64.b64decode(case["b64"])
        else:
            data = base64.b64decode(case["repeat_b64"]) * case["times"] + base64.b64decode(case["tail_b64"])
        found.append((case["name"], data))
    assert len(found) > 50
    return found


def wrapped(data: bytes) -> bytes:
    return b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":' + data + b"}}"


def outcome(line: bytes) -> Any:
    """Return the value of ``x``, or of all where nothing is wrapped, or the refusal."""
    try:
        message, own = edge.read(line, bounds=BOUNDS)
    except Refused as refused:
        return refused
    # What a reader that is not strict makes of our bytes is what we made of theirs.
    assert orjson.dumps(json.loads(own)) == own == orjson.dumps(message)
    return message["params"]["x"] if "params" in message else message


def test_what_is_no_json_is_refused(vectors: Path) -> None:
    """Nothing that the suite rejects passes, alone or inside a message (A51)."""
    passed = []
    for name, data in inputs(vectors, "reject"):
        for line in (data, wrapped(data)):
            result = outcome(line)
            code = (result.code, result.jsonrpc) if isinstance(result, Refused) else None
            if code not in {("core.not_json", PARSE_ERROR), ("core.depth", MEDIATION)}:
                passed.append((name, result))
    assert not passed


def test_what_is_json_arrives(vectors: Path) -> None:
    """All that the suite accepts arrives value-equal inside a message, but for duplicate keys (A51, S3.39)."""
    wrong = []
    for name, data in inputs(vectors, "accept"):
        result = outcome(wrapped(data))
        if name in DUPLICATES:
            fine = isinstance(result, Refused) and result.code == "core.duplicate_key"
        else:
            fine = orjson.dumps(result) == orjson.dumps(json.loads(data))
        if not fine:
            wrong.append((name, result))
    assert not wrong


def test_what_may_be_either_has_one_reading(vectors: Path) -> None:
    """What parsers may differ about is refused, or read as Python's own parser reads it; nothing else happens (A51)."""
    results = [
        (name, data, result)
        for name, data in inputs(vectors, "either")
        for result in (outcome(data), outcome(wrapped(data)))
        if not isinstance(result, Refused)
    ]
    assert len(results) > len(inputs(vectors, "either")) // 5
    assert [name for name, data, result in results if orjson.dumps(result) != orjson.dumps(json.loads(data))] == []


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"[" * 500 + b"]" * 500, "core.depth"),
        (b"[123123e100000]", "core.number"),
        (b"[100000000000000000000]", "core.number"),
        (b'["\\uD800\\n"]', "core.not_json"),
        (b'{"a":0, "a":-0}\n', "core.duplicate_key"),
    ],
)
def test_our_choice_where_either_is_allowed(data: bytes, code: str) -> None:
    """Where RFC 8259 leaves it open, depth, range, surrogates and duplicate keys are refused by their codes (A51)."""
    result = outcome(wrapped(data))
    assert isinstance(result, Refused)
    assert result.code == code

"""What the record of the times of refusals says, and that anybody can make it anew."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.bench import opening_time

from hauberk.refusals import Refused
from hauberk_envelope._sealing import open_message

RECORD = Path(opening_time.__file__).with_name("published") / "opening-time.json"


def test_record_found_no_difference() -> None:
    """A bad signature and a bad tag take the same time: |t| < 4.5 on 10^5 samples of each, and on the fastest of them.

    The times of both are told apart where a refusal does not go through both outcomes: the test would find it.
    """
    record: dict[str, Any] = json.loads(RECORD.read_bytes())
    assert record["samples"] >= 100_000
    assert record["bar"] == opening_time.BAR == 4.5
    assert [row["part"] for row in record["rows"]] == list(opening_time.PARTS)
    assert set(record["rows"][0]["samples"].values()) == {record["samples"]}
    assert all(abs(row["t"]) < 4.5 for row in record["rows"])
    assert abs(record["without_settling"]) > 4.5


def test_messages_of_the_record_are_what_they_are_called() -> None:
    """Each message that was timed is refused for the one reason that its kind has."""
    scene = opening_time.Scene(3)
    for kind, check in zip(opening_time.KINDS, ("signature", "tag"), strict=True):
        for _ in range(20):
            with pytest.raises(Refused) as caught:
                open_message(scene.made(kind), recipients=(scene.bob,), trust=scene.trust, now=opening_time.NOW)
            assert caught.value.details == {"check": check}


def test_record_can_be_made_anew() -> None:
    """The program that made the record runs, and judges each part."""
    rows = opening_time.judged(opening_time.measured(50, 2))
    assert [row["part"] for row in rows] == list(opening_time.PARTS)
    assert rows[0]["samples"] == {"bad signature": 50, "bad tag": 50}

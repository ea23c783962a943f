"""The record of how long frames of sessions take to be refused, and the program that made it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.bench import opening_time

from hauberk.bounds import Bounds
from hauberk.message import Frame
from hauberk.refusals import Refused

RECORD = Path(opening_time.__file__).with_name("published") / "opening-time-frames.json"


def test_a_bad_signature_and_a_bad_tag_take_the_same_time() -> None:
    """No difference was found in 100,000 refusals of frames of each kind, in any part of them."""
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    assert (record["bar"], record["samples"]) == (4.5, 100_000)
    assert [row["part"] for row in record["rows"]] == list(opening_time.PARTS)
    assert all(abs(row["t"]) < 4.5 for row in record["rows"])
    assert abs(record["without_settling"]) > 4.5


def test_frames_of_the_record_are_what_they_are_called() -> None:
    """Both kinds of frames are refused by one code with one text, and each has its one reason."""
    scene = opening_time.Frames(3)
    said = set()
    for kind in opening_time.KINDS:
        for _ in range(20):
            frame = scene.made(kind)
            with pytest.raises(Refused) as caught:
                scene._end.open(Frame(frame, "server"), opening_time.NOW, Bounds())
            said.add((caught.value.code, caught.value.message))
    assert said == {("envelope.forged", "a message of a was not sealed by who it names, or was changed since")}


def test_record_can_be_made_anew() -> None:
    """The program that made the record runs with frames, too."""
    rows = opening_time.judged(opening_time.measured(50, 2, opening_time.Frames))
    assert rows[0]["samples"] == {"bad signature": 50, "bad tag": 50}

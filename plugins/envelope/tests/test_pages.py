"""What the pages about sessions say, against the code."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import orjson
import pytest

from hauberk.config import Config
from hauberk_envelope._canonical import DOMAIN
from hauberk_envelope._options import MOST_MESSAGES, Options
from hauberk_envelope._refusals import REASONS
from hauberk_envelope.session import _agreement, _direction, _link, _refusals, _session
from hauberk_envelope.session._layout import EXTENSION, header

DOCS = Path(__file__).parents[3] / "docs"
PAGE, FORMAT = DOCS / "envelope.md", DOCS / "envelope-sessions.md"
TEXT = FORMAT.read_text(encoding="utf-8")


def configurations() -> list[str]:
    return re.findall(r"(?ms)^```toml\n(.*?)^```", PAGE.read_text(encoding="utf-8"))


@pytest.mark.parametrize("text", configurations())
def test_configurations_are_read(text: str, tmp_path: Path) -> None:
    """Each configuration of the page is one, and says what the words beside it say."""
    config = Config.from_toml(text, base=tmp_path)
    for server in (None, *tomllib.loads(text).get("server", {})):
        options = config.options("envelope", Options, server)
        assert options.seal == ("off" if server == "public" else "require")
        assert options.can_communicate_with == {"laptop": ("vault",)}


def test_the_commands_are_those_of_keys() -> None:
    """The commands of the page are those that there are (tests/test_sealed.py runs them, and what they lead to)."""
    from hauberk_envelope.keys import keys

    text = PAGE.read_text(encoding="utf-8")
    words = re.findall(r"(?m)^\$ hauberk keys (\w+) ", text)
    assert words == ["generate", "export", "trust"]
    assert set(words) <= set(keys.commands)


def test_messages_look_as_they_are_shown() -> None:
    """The four lines of a sealed message are what is written."""
    shown = re.search(r"(?ms)^```text\n(\{.*?)^```", TEXT)
    assert shown is not None
    lines: Any = [
        ("request", "tools/call", 7),
        ("notification", "notifications/initialized", None),
        ("result", "", 7),
        ("error", "", 7),
    ]
    assert shown[1].splitlines() == [header(kind, method, id, None).decode() + '…"}}}' for kind, method, id in lines]


def test_the_request_and_the_answers() -> None:
    """The request for a session has the members that are shown, and the refusal is what is written."""
    request, answer, refusal = (orjson.loads(text) for text in re.findall(r"(?ms)^```json\n(.*?)^```", TEXT))
    assert request["method"] == EXTENSION
    assert list(request["params"]) == ["version", "from", "to", "server", "sign", "message"]
    assert list(answer["result"]) == ["message"]
    assert refusal == orjson.loads(_link.refusal(7))
    listed = re.findall(r"(?m)^\| `(\w+)`(?:, `(\w+)`)? \| ", TEXT.partition("## 2.")[2].partition("## 3.")[0])
    assert [word for pair in listed for word in pair if word] == list(request["params"])


def test_numbers_and_labels() -> None:
    """Bounds, sizes and labels on the page are those of the code."""
    for number in (f"{_agreement.MAX_AGE:.0f} s", f"{_agreement.SKEW:.0f} s", f"{_agreement._PAYLOAD.size} bytes"):
        assert number in TEXT
    assert (_direction.HEAD.size, MOST_MESSAGES, _direction.REKEY) == (1 + 4 + 8 + 8, 2**20, 2**20)
    assert _direction.HARD_STOP == 2**32 - 1
    assert _link.ATTEMPTS == 8
    assert "After eight requests" in TEXT
    for label in (_agreement._LABEL, _direction.LABEL, _session.SIGNATURE_LABEL):
        assert label.startswith(DOMAIN)
        assert label in TEXT


def test_codes_are_listed() -> None:
    """Each code by which a session refuses is on the page of refusals, and none is named twice."""
    listed = re.findall(r"(?m)^\| \[`(envelope\.\w+)`\]", (DOCS / "refusals.md").read_text(encoding="utf-8"))
    assert set(_refusals.REASONS) | set(REASONS) <= set(listed)
    assert not set(_refusals.REASONS) & set(REASONS)


def test_the_blocks_are_known() -> None:
    """Every block of both pages is one of those above."""
    assert len(configurations()) == 4
    assert [place for place in (PAGE, FORMAT) if not place.is_file()] == []

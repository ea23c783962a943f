"""The pages of keys and of sealed messages: what they tell to type, and what they say of the code."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from plugins.envelope.tests import parties
from plugins.envelope.tests.vectors import verify
from tests.prose import DOCS, Place, blocks, rows, section

from hauberk_envelope import _aead, _identity, _keyfiles, _message, _sealing, _secret
from hauberk_envelope._limits import LIMITS

PAGE = DOCS / "keys.md"
SPEC = DOCS / "envelope-spec.md"
ID = re.compile(r"hbk1_[a-z2-7]{52}")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_commands_of_the_page_run_in_order(place: Place, tmp_path: Path) -> None:
    """Each command of the page works after those before it; what a person was told comes from the first here."""
    typed = [line for text in blocks(PAGE, "text") for line in text.splitlines()]
    assert len(typed) == 8
    (tmp_path / "other").mkdir()
    other = Place(tmp_path / "other")
    told = ""
    for line in typed:
        if "trust" in line or line.endswith("list"):  # on the other machine
            if "trust" in line:
                file = line.split()[-1]
                (other.home / file).write_text((place.home / file).read_text(encoding="utf-8"), encoding="utf-8")
            done = other.run(f"{line} --key-id {told} --agent CodeExpert" if "trust" in line else line)
        else:
            done = place.run(line.replace("KEY-ID", told))
        assert done.status == 0, (line, done)
        told = told or ID.findall(done.out)[0]
    assert "CodeExpert" in other.run("hauberk keys list").out


def test_table_of_files_is_that_of_the_disk(place: Place) -> None:
    """Each file that the page names is there, with the mode that it says."""
    made = place.run("hauberk keys generate a; hauberk keys export a > a.toml; hauberk keys generate b --dir b")
    assert made.status == 0
    own, other = dict.fromkeys(ID.findall(made.out))
    assert place.run("hauberk keys export b --dir b > b.toml").status == 0
    assert place.run(f"hauberk keys trust b.toml --key-id {other} --agent b").status == 0
    assert place.run(f"hauberk keys revoke {other} --reason retired").status == 0
    base = place.home / "config" / "hauberk" / "keys"
    found = rows(section(PAGE, "What is where"))
    assert len(found) == 6
    for names, mode, _ in found:
        for name in re.findall(r"`([^`]+)`", names):
            path = base / name.replace("KEY-ID", own if name.endswith(".key") else other)
            assert mode == f"{path.stat().st_mode & 0o777:04o}", name


def test_page_has_the_times_of_the_code() -> None:
    """Days and seconds on the page are those of the limits."""
    text = " ".join(PAGE.read_text(encoding="utf-8").split())
    assert f"counts for {LIMITS.valid_days} days" in text
    assert f"From its {LIMITS.rotation_days}th day on" in text
    assert f"after {LIMITS.grace_days} more days" in text
    assert LIMITS.backdate == 5 * 60
    assert "from five minutes before" in text
    assert all(f"`{reason}`" in text for reason in get_args(_keyfiles.Reason))


def test_specification_has_the_labels_of_the_code() -> None:
    """Each label that the code knows stands in the specification, and no other."""
    labels = {
        _identity._IDENTITY_LABEL,
        _identity._KEY_ID_LABEL,
        _secret._ID_LABEL,
        _message._HEADER_LABEL,
        _sealing._KEY_LABEL,
        _sealing._SIGNATURE_LABEL,
    }
    shown = set(re.findall(r"`(hauberk/envelope/[a-z/0-9-]+)`", SPEC.read_text(encoding="utf-8")))
    assert shown == labels
    assert len(labels) == 6


def test_specification_has_the_members_of_the_code() -> None:
    """Each member of a message stands in the specification, and each kind of message; no other does."""
    found = msgspec.to_builtins(parties.sealed())
    shown = {name for row in rows(section(SPEC, "4. The message")) for name in re.findall(r"`(\w+)`", row[0])}
    assert shown == set(found)
    text = section(SPEC, "4. The message")
    assert all(f"`{name}`" in text for name in (*found["metadata"], *get_args(_message.MessageType)))
    kinds: Any = verify.TYPES
    assert kinds == set(get_args(_message.MessageType))


def test_specification_has_the_sizes_of_the_code() -> None:
    """Sizes and bounds in the specification are those of the code."""
    text = " ".join(SPEC.read_text(encoding="utf-8").split())
    for said in (
        f"`{_message.VERSION}`",
        f"at most {LIMITS.agent_chars} of the characters",
        f"| {_message.NONCE_BYTES} random bytes |",
        f"keys of {_aead.KEY_BYTES}, nonces of {_aead.NONCE_BYTES}, tags of {_aead.TAG_BYTES} bytes",
        f"`ttl` (1 to {LIMITS.ttl_seconds} seconds",
        f"an object of at most {LIMITS.custom_bytes} bytes",
        f"at most {LIMITS.message_bytes >> 20} MiB",
        f"at most {LIMITS.most_days} days and {LIMITS.backdate} seconds apart",
        f"{_aead.KEY_BYTES + _aead.NONCE_BYTES} bytes of HKDF-SHA256",
        f"`{_sealing._DIRECTION}`",
    ):
        assert said in text, said

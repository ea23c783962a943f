"""The trust directory and key files: who is trusted, until when, and who may talk to whom."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plugins.envelope.tests.parties import ALICE, BOB, CAROL, DAY, MALLORY, NOW, code, identity, trust

from hauberk.refusals import ConfigError
from hauberk_envelope import _keyfiles
from hauberk_envelope._identity import Identity
from hauberk_envelope._keyfiles import Reason
from hauberk_envelope._limits import LIMITS
from hauberk_envelope._trust import Rules, Trust


class Folder:
    """A trust directory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(0o700)

    def add(self, *identities: Identity) -> None:
        for one in identities:
            self.write(f"{one.key_id}.toml", _keyfiles.public_text(one.public))

    def revoke(self, one: Identity, reason: Reason = "superseded") -> None:
        self.write(f"{one.key_id}.revoked", _keyfiles.revocation_text(one.key_id, now=NOW, reason=reason))

    def write(self, name: str, text: str, mode: int = 0o600) -> Path:
        path = self.path / name
        path.write_text(text, encoding="utf-8")
        path.chmod(mode)
        return path

    def read(self, rules: Rules | None = None) -> Trust:
        return Trust.read(self.path, rules=rules)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "agents")


# --- who is trusted ---


def test_keys_of_the_directory_are_trusted(folder: Folder) -> None:
    """Whose public file lies in the directory is found by its key id, and nobody else is (S0.24)."""
    folder.add(ALICE, BOB)
    known = folder.read()
    assert known.find(ALICE.key_id, NOW) == ALICE.public
    assert set(known.identities()) == {ALICE.public, BOB.public}
    assert code(known.find, MALLORY.key_id, NOW) == "envelope.untrusted"
    assert code(known.find, "alice", NOW) == "envelope.untrusted"
    assert code(known.find, "", NOW) == "envelope.untrusted"


def test_key_counts_in_its_time(folder: Folder) -> None:
    """A key counts from its first second to its last, and not one more (S0.24)."""
    one = identity("alice", begin=NOW, days=10)
    folder.add(one)
    known = folder.read()
    for now in (NOW, NOW + 10 * DAY):
        assert known.find(one.key_id, now) == one.public
    assert code(known.find, one.key_id, NOW - 0.001) == "envelope.key_not_yet_valid"
    assert code(known.find, one.key_id, NOW + 10 * DAY + 0.001) == "envelope.key_expired"


def test_revoked_key_counts_no_longer(folder: Folder) -> None:
    """A revocation beside a key ends it, and one without a key holds when the key comes (S0.24)."""
    folder.revoke(ALICE)
    assert code(folder.read().find, ALICE.key_id, NOW) == "envelope.key_revoked"
    folder.add(ALICE)
    assert code(folder.read().find, ALICE.key_id, NOW) == "envelope.key_revoked"
    assert folder.read().keys_of("alice", NOW) == ()


def test_old_key_is_reported_then_refused_in_production(folder: Folder) -> None:
    """A key is old after 90 days; after 30 more, production refuses it, and development goes on (S0.26)."""
    one = identity("alice", begin=NOW)
    folder.add(one)
    lax, strict = folder.read(), folder.read(Rules(production=True))
    assert not lax.old(one.public, NOW + 90 * DAY)
    assert lax.old(one.public, NOW + 90 * DAY + 1)
    for now in (NOW + 91 * DAY, NOW + 120 * DAY):
        assert strict.find(one.key_id, now) == one.public
    assert code(strict.find, one.key_id, NOW + 120 * DAY + 1) == "envelope.key_too_old"
    assert lax.find(one.key_id, NOW + 121 * DAY) == one.public
    short = folder.read(Rules(production=True, rotation_days=1, grace_days=1))
    assert code(short.find, one.key_id, NOW + 3 * DAY) == "envelope.key_too_old"


def test_old_ids_verify_archives(folder: Folder) -> None:
    """A key that expired, or was replaced, still verifies; one that somebody else may have does not (S0.26)."""
    folder.add(ALICE, BOB, CAROL)
    folder.revoke(BOB, "superseded")
    folder.revoke(CAROL, "compromised")
    known = folder.read(Rules(production=True))
    assert known.archived(ALICE.key_id) == ALICE.public
    assert known.archived(BOB.key_id) == BOB.public
    assert code(known.archived, CAROL.key_id) == "envelope.key_revoked"
    assert code(known.archived, MALLORY.key_id) == "envelope.untrusted"


def test_newest_key_of_an_agent_comes_first(folder: Folder) -> None:
    """Of an agent that rotates, the newest key that counts is the first."""
    new, later = identity("alice", seed="2", begin=NOW), identity("alice", seed="3", begin=NOW + 1)
    folder.add(ALICE, new, later, BOB)
    assert folder.read().keys_of("alice", NOW) == (new.public, ALICE.public)


# --- files that do not hold ---


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o722])
def test_directory_that_others_may_write_is_refused(folder: Folder, mode: int) -> None:
    """Who may put files into the directory is trusted with everything: nobody else may (S0.24)."""
    folder.add(ALICE)
    folder.path.chmod(mode)
    with pytest.raises(ConfigError, match="lets others put files there"):
        folder.read()


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_file_that_others_may_write_is_refused(folder: Folder, mode: int) -> None:
    """A key or a revocation that somebody else may change stops the reading (S0.24)."""
    folder.write(f"{ALICE.key_id}.toml", _keyfiles.public_text(ALICE.public), mode)
    with pytest.raises(ConfigError, match="lets others change it"):
        folder.read()
    folder.add(ALICE)
    folder.revoke(BOB)
    folder.write(f"{BOB.key_id}.revoked", "", mode)
    with pytest.raises(ConfigError, match="lets others change it"):
        folder.read()


def test_link_is_refused(folder: Folder, tmp_path: Path) -> None:
    """Neither the directory nor a file in it is a symbolic link."""
    folder.add(ALICE)
    (tmp_path / "link").symlink_to(folder.path)
    with pytest.raises(ConfigError, match=r"not a directory|symbolic link"):
        Trust.read(tmp_path / "link")
    (folder.path / f"{BOB.key_id}.toml").symlink_to(folder.path / f"{ALICE.key_id}.toml")
    with pytest.raises(ConfigError, match="symbolic link"):
        folder.read()


@pytest.mark.parametrize("name", ["alice.toml", "revoked.toml", "x.revoke", "README", f"{ALICE.key_id}.pub"])
def test_file_of_another_name_is_refused(folder: Folder, name: str) -> None:
    """A file that would be passed over, a misspelt revocation say, stops the reading instead."""
    folder.add(ALICE)
    folder.write(name, _keyfiles.revocation_text(ALICE.key_id, now=NOW, reason="retired"))
    with pytest.raises(ConfigError, match="no key file"):
        folder.read()


def test_hidden_file_is_none(folder: Folder) -> None:
    """What a killed command left, under a hidden name, is no file of the directory."""
    folder.add(ALICE)
    folder.write(f".{BOB.key_id}.toml.1.0.tmp", "half")
    assert folder.read().identities() == (ALICE.public,)


def test_file_is_about_its_name(folder: Folder) -> None:
    """A file under the key id of another is refused: a revocation there would revoke nobody."""
    folder.write(f"{ALICE.key_id}.toml", _keyfiles.public_text(BOB.public))
    with pytest.raises(ConfigError, match="it is about"):
        folder.read()
    folder.add(ALICE)
    folder.write(f"{ALICE.key_id}.revoked", _keyfiles.revocation_text(BOB.key_id, now=NOW, reason="retired"))
    with pytest.raises(ConfigError, match="it is about"):
        folder.read()


def test_secret_key_does_not_lie_among_those_of_others(folder: Folder) -> None:
    """A secret file in the trust directory is refused, and a public one among own keys."""
    _keyfiles.write_secret(folder.path, ALICE)
    with pytest.raises(ConfigError, match="secret key"):
        folder.read()
    assert [one.key_id for one in _keyfiles.read_own(folder.path)] == [ALICE.key_id]
    folder.add(BOB)
    with pytest.raises(ConfigError, match="for own keys"):
        _keyfiles.read_own(folder.path)


def test_own_key_is_about_its_name(tmp_path: Path) -> None:
    """A secret file under the key id of another is refused, as a public one is."""
    path = _keyfiles.write_secret(tmp_path, ALICE)
    path.rename(tmp_path / f"{BOB.key_id}.key")
    with pytest.raises(ConfigError, match="it is about"):
        _keyfiles.read_own(tmp_path)


@pytest.mark.parametrize("read", [Trust.read, _keyfiles.read_own])
def test_directory_holds_so_many_files(
    folder: Folder, read: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """More files than a directory of keys may hold are refused before one is read (design §9.8)."""
    monkeypatch.setattr(_keyfiles, "LIMITS", replace(LIMITS, keys=1))
    (folder.path / f"{ALICE.key_id}{'.toml' if read == Trust.read else '.key'}").touch(0o600)
    with pytest.raises(ConfigError, match=ALICE.key_id):
        read(folder.path)
    folder.write("x", "")
    with pytest.raises(ConfigError, match="over 1 files"):
        read(folder.path)


@pytest.mark.parametrize("shared", ["signing", "agreement"])
def test_key_stands_in_one_statement(folder: Folder, shared: str) -> None:
    """Who puts another's key into a statement of its own is found: one key is one agent's (unknown key share)."""
    signing, agreement = ALICE.secrets()
    keys = {"signing": b"1" * 32, "agreement": b"2" * 32}
    keys[shared] = signing if shared == "signing" else agreement
    other = Identity(agent="eve", not_before=NOW, not_after=NOW + DAY, **keys)
    folder.add(ALICE, other)
    with pytest.raises(ConfigError, match="share a key"):
        folder.read()


# --- the form of key files ---


def test_public_file_is_what_was_written() -> None:
    """A public file reads as what was written, and shows no secret."""
    text = _keyfiles.public_text(ALICE.public)
    assert _keyfiles.parse_public(text.encode(), "it") == ALICE.public
    assert "secret" not in text


def test_secret_file_is_what_was_written(tmp_path: Path) -> None:
    """A secret file is private, reads as what was written, and is never overwritten (X.9)."""
    path = _keyfiles.write_secret(tmp_path, ALICE)
    assert path.stat().st_mode & 0o777 == 0o600
    found = _keyfiles.read_secret(path)
    assert (found.public, found.secrets()) == (ALICE.public, ALICE.secrets())
    with pytest.raises(ConfigError, match="exists already"):
        _keyfiles.write_secret(tmp_path, ALICE)
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="lets others in"):
        _keyfiles.read_secret(path)


def edits(text: str) -> list[str]:
    """Return texts that are nearly a key file."""
    lines = text.splitlines(keepends=True)
    dropped = ["".join(lines[:at] + lines[at + 1 :]) for at in range(1, len(lines))]
    return [
        *dropped,
        *(text + line for line in lines[1:]),
        text + 'more = "x"\n',
        text.replace("version = 1", "version = 2"),
        text.replace("version = 1", 'version = "1"'),
        text.replace('Z"', 'z"'),
        text.replace("T00", "T 0"),
        text.replace('Z"', '+00:00"'),
        text.replace('agent = "alice"', 'agent = "alice "'),
        text.replace("hbk1_", "hbk2_"),
        text.replace("[", "]") + "[",
    ]


@pytest.mark.parametrize("kind", ["public", "secret"])
def test_file_in_another_form_is_refused(tmp_path: Path, kind: str) -> None:
    """A key file with a member less, more, twice, or written otherwise is none; the error shows no secret (X.9)."""
    secret = _keyfiles.write_secret(tmp_path, ALICE).read_text(encoding="utf-8")
    text = _keyfiles.public_text(ALICE.public) if kind == "public" else secret
    path = tmp_path / "edited"
    for edited in edits(text):
        if edited == text:
            continue
        path.write_text(edited, encoding="utf-8")
        path.chmod(0o600)
        read: Callable[[Path], object] = _keyfiles.read_public if kind == "public" else _keyfiles.read_secret
        with pytest.raises(ConfigError) as caught:
            read(path)
        assert not any(word in str(caught.value) for word in re.findall('hauberk-key-v1:([^"]+)', secret)), edited


@given(st.binary(max_size=200))
def test_other_bytes_are_no_key_file(data: bytes) -> None:
    """Whatever bytes are no key file, none of the three kinds."""
    for parse in (_keyfiles.parse_public, _keyfiles.parse_revocation):
        with pytest.raises(ConfigError):
            parse(data, "it")


def test_every_bit_of_a_public_file_counts() -> None:
    """A public file with a bit changed is refused, but for its comment."""
    data = _keyfiles.public_text(ALICE.public).encode()
    begin = data.index(b"\n")
    for bit in range(8 * (begin + 1), 8 * (len(data) - 1)):
        other = bytearray(data)
        other[bit // 8] ^= 1 << bit % 8
        try:
            assert _keyfiles.parse_public(bytes(other), "it") == ALICE.public  # a blank that became a tab
        except ConfigError:
            continue
        assert bytes(other).split() == data.split() or b"\t" in other


def test_two_keys_of_a_secret_file_belong_together(tmp_path: Path) -> None:
    """A secret file whose key id is not that of its keys is refused."""
    text = _keyfiles.write_secret(tmp_path, ALICE).read_text(encoding="utf-8").replace(ALICE.key_id, BOB.key_id)
    path = tmp_path / f"{BOB.key_id}.key"
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="key id is not the one of its keys"):
        _keyfiles.read_secret(path)


# --- who may talk to whom ---


def test_what_is_not_written_down_is_denied() -> None:
    """Nobody may talk to anybody until it says so; privileged agents may talk to all (S0.28)."""
    rules = Rules(
        can_communicate_with={"alice": frozenset({"bob"}), "carol": frozenset({"*"})},
        privileged_agents=frozenset({"root"}),
    )
    known = trust(rules=rules)
    allowed = {("alice", "bob")} | {(one, other) for one in ("carol", "root") for other in ("alice", "bob", None)}
    for sender in ("alice", "bob", "carol", "root", "mallory", "*"):
        for recipient in ("alice", "bob", None):
            assert known.may(sender, recipient) == ((sender, recipient) in allowed)
    assert not Rules().may("alice", "bob")


@pytest.mark.skipif(os.name != "posix", reason="there are no such modes")
def test_directory_that_is_missing_is_an_error(tmp_path: Path) -> None:
    """No directory is no trust in anybody, said at the start."""
    with pytest.raises(ConfigError, match="no such file"):
        Trust.read(tmp_path / "missing")

"""Key files of one encoding, and keys of one purpose."""

from __future__ import annotations

import base64
import hashlib
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hauberk import keys
from hauberk.refusals import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

# A machine that is busy with other things is no failure.
CALM = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
KEY = hashlib.sha256(b"a key for tests").digest()
AUDIT = "c19f3ee055dbd4eb20da122a4e68c37d29e7bc24f1ba55481c63a295b0302a18"
KEY_ID = "0843cefb67126ade"
TEXT = keys.PREFIX.encode() + base64.urlsafe_b64encode(KEY).rstrip(b"=")


@pytest.fixture
def write(tmp_path: Path) -> Callable[[bytes], Path]:
    tmp_path.chmod(0o700)

    def write(data: bytes) -> Path:
        path = tmp_path / "key"
        path.write_bytes(data)
        path.chmod(0o600)
        return path

    return write


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_load(end: bytes, write: Callable[[bytes], Path]) -> None:
    """The one encoding is read, with or without a last line feed (X.9)."""
    assert keys.load_key(write(TEXT + end)) == KEY


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (KEY, "holds raw bytes"),
        (KEY.hex().encode(), "holds hexadecimal digits"),
        (KEY.hex()[:32].encode(), "holds raw bytes"),
        (KEY.hex().upper().encode() + b"\n", "holds hexadecimal digits"),
        (base64.b64encode(KEY), "is not a hauberk key"),
        (b"", "is empty"),
        (b"correct horse battery staple", "is not a hauberk key"),
        (b" " + TEXT, "has characters before the key"),
        (b"\n" + TEXT, "has characters before the key"),
        (b"\xef\xbb\xbf" + TEXT, "is not a hauberk key"),
        (TEXT + b" ", "is damaged"),
        (TEXT + b"\r\n", "is damaged"),
        (TEXT + b"\n\n", "is damaged"),
        (TEXT + b"=", "is damaged"),
        (TEXT + b"A", "is damaged"),
        (TEXT[:-1], "is damaged"),
        (TEXT + TEXT, "is damaged"),
        (keys.PREFIX.encode() + KEY.hex().encode(), "is damaged"),
        (keys.PREFIX.encode() + base64.urlsafe_b64encode(KEY[:16]).rstrip(b"="), "is damaged"),
        (keys.PREFIX.encode() + base64.urlsafe_b64encode(KEY * 2).rstrip(b"="), "is damaged"),
        (keys.PREFIX.encode().replace(b"v1", b"v2") + TEXT[15:], "is not a hauberk key"),
    ],
)
def test_other_encodings(data: bytes, what: str, write: Callable[[bytes], Path]) -> None:
    """Raw bytes, hexadecimal, other base64, blanks and other lengths are refused, never trimmed or cut (X.9)."""
    with pytest.raises(ConfigError, match=f"it {what}") as caught:
        keys.load_key(write(data))
    assert "43 characters of base64url" in str(caught.value.hint)


@CALM
@given(position=st.integers(0, 42), letter=st.sampled_from("ABab09-_+/ \t=\n"))
def test_one_text(position: int, letter: str) -> None:
    """One key has one text: whatever else is read is another key, or refused."""
    body = TEXT[15:].decode()
    changed = keys.PREFIX + body[:position] + letter + body[position + 1 :]
    try:
        key = keys._decode(changed.encode(), "key")
    except ConfigError:
        return
    assert (key == KEY) == (changed.encode() == TEXT)


@pytest.mark.parametrize(
    "key",
    [
        bytes(32),
        b"\xff" * 32,
        bytes(range(32)),
        bytes(range(62, -2, -2)),
        KEY[:16] * 2,
        KEY[:8] * 4,
        b"change-me-change-me-change-me-32",
        b"\xde\xad\xbe\xef" * 8,
    ],
)
def test_placeholder(key: bytes, write: Callable[[bytes], Path]) -> None:
    """A key that somebody typed and not drew is refused, from a file and from a broken generator (X.9)."""
    path = write(keys.PREFIX.encode() + base64.urlsafe_b64encode(key).rstrip(b"="))
    with pytest.raises(ConfigError, match="placeholder"):
        keys.load_key(path)
    with pytest.raises(ConfigError, match="randomness is broken"):
        keys.create_key(path.with_name("new"), random=lambda _: key)
    assert not path.with_name("new").exists()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_loose_file(mode: int, write: Callable[[bytes], Path]) -> None:
    """A key that others can read is no key (X.9)."""
    path = write(TEXT)
    path.chmod(mode)
    with pytest.raises(ConfigError, match="lets others in"):
        keys.load_key(path)


def test_errors_hold_no_key(write: Callable[[bytes], Path]) -> None:
    """No error shows any part of the key, nor does its cause (X.14)."""
    for data in (KEY.hex().encode(), TEXT + b" ", base64.b64encode(KEY)):
        with pytest.raises(ConfigError) as caught:
            keys.load_key(write(data))
        shown = f"{caught.value!r} {caught.value} {caught.value.__cause__}"
        assert data[20:30].decode() not in shown


def test_create(tmp_path: Path) -> None:
    """A new key is 32 random bytes in a file of mode 0600 that reads back."""
    tmp_path.chmod(0o700)
    path = tmp_path / "key"
    asked: list[int] = []

    def random(count: int) -> bytes:
        asked.append(count)
        return os.urandom(count)

    key = keys.create_key(path, random=random)
    assert asked == [32]
    assert keys.load_key(path) == key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_bytes().endswith(b"\n")


def test_create_never_overwrites(write: Callable[[bytes], Path]) -> None:
    """A key that exists is never replaced, damaged or not."""
    path = write(b"damaged")
    with pytest.raises(ConfigError, match="it exists already"):
        keys.create_key(path, random=os.urandom)
    assert path.read_bytes() == b"damaged"


@pytest.mark.parametrize(
    ("key", "salt", "info", "length", "output"),
    [
        (
            b"\x0b" * 22,
            bytes(range(13)),
            bytes(range(0xF0, 0xFA)),
            42,
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
        ),
        (
            bytes(range(0x50)),
            bytes(range(0x60, 0xB0)),
            bytes(range(0xB0, 0x100)),
            82,
            (
                "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09"
                "da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87"
            ),
        ),
        (
            b"\x0b" * 22,
            b"",
            b"",
            42,
            "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
        ),
    ],
    ids=["A.1", "A.2", "A.3"],
)
def test_hkdf_vectors(key: bytes, salt: bytes, info: bytes, length: int, output: str) -> None:
    """HKDF-SHA256 gives what RFC 5869 appendix A gives."""
    assert keys.hkdf_sha256(key, info=info, salt=salt, length=length).hex() == output


def test_hkdf_info_text() -> None:
    """A string is its UTF-8."""
    assert keys.hkdf_sha256(KEY, info="é") == keys.hkdf_sha256(KEY, info="é".encode())


@pytest.mark.parametrize("length", [0, -1, 255 * 32 + 1])
def test_hkdf_length(length: int) -> None:
    """HKDF gives 1 to 255 blocks (RFC 5869 section 2.3)."""
    assert len(keys.hkdf_sha256(KEY, info="", length=255 * 32)) == 255 * 32
    with pytest.raises(ValueError, match="length must be 1 to 8160"):
        keys.hkdf_sha256(KEY, info="", length=length)


@CALM
@given(one=st.text("ab/-v1", min_size=1, max_size=6), two=st.text("ab/-v1", min_size=1, max_size=6))
def test_separation(one: str, two: str) -> None:
    """Two purposes have two keys, and none of them is the key itself (X.10)."""
    assert (keys.derive(KEY, one) == keys.derive(KEY, two)) == (one == two)
    assert keys.derive(KEY, one) not in {KEY, hashlib.sha256(KEY).digest()}


def test_derive_is_fixed() -> None:
    """The derivation is a format: a changed one would break every log and store."""
    assert keys.derive(KEY, "audit") == keys.hkdf_sha256(KEY, info="hauberk/audit/v1")
    assert keys.derive(KEY, "audit").hex() == AUDIT
    assert keys.key_id(KEY) == KEY_ID


@pytest.mark.parametrize("purpose", ["", "a\n", "é", "a\0"])
def test_purpose(purpose: str) -> None:
    """A purpose is a name."""
    with pytest.raises(ValueError, match="printable ASCII"):
        keys.derive(KEY, purpose)


def test_short_key() -> None:
    """Nothing is derived from less than 32 bytes (X.9)."""
    with pytest.raises(ValueError, match="at least 32 bytes, got 31"):
        keys.derive(KEY[:31], "audit")


def test_key_id() -> None:
    """A key's id is 16 hexadecimal digits, differs between keys, and is in no derived key."""
    identity = keys.key_id(KEY)
    assert len(identity) == 16
    assert bytes.fromhex(identity)
    assert identity != keys.key_id(KEY[::-1])
    assert identity not in keys.derive(KEY, "key-id").hex()

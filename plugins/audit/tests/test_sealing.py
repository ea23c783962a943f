"""Sealed entries: what was sealed opens as it was, in its place, with its key, and nothing else does."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

import orjson
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap
from hypothesis import given
from hypothesis import strategies as st
from plugins.audit.tests.logs import KEY, OTHER_KEY, event

from hauberk import keys
from hauberk.refusals import HauberkError
from hauberk_audit._entry import render
from hauberk_audit.sealing._providers import LocalKey
from hauberk_audit.sealing._sealing import Cipher, DataKey, is_sealed, key_of, seal, unseal
from hauberk_audit.writing._chain import GENESIS, Chain

NAME = "0123456789abcdef"
NONCE = bytes(range(12))
DATA = DataKey(NAME, KEY)
SECRETS = st.binary(min_size=32, max_size=32)
NAMES = st.binary(min_size=8, max_size=8).map(bytes.hex)
TEXTS = st.text(max_size=300)


@pytest.fixture(scope="session")
def vectors() -> Path:
    """Return the folder of the public suites; skip where there is none."""
    folder = os.environ.get("HAUBERK_VECTORS")
    if not folder:
        pytest.skip("HAUBERK_VECTORS is not set: no conformance suites")
    return Path(folder)


def line(body: bytes, sequence: int = 1) -> bytes:
    return Chain(KEY).seal(body, sequence, GENESIS)[0][:-1]


def sealed(text: str = "canary", *, name: str = NAME, number: int = 1, nonce: bytes = NONCE) -> bytes:
    """Return a sealed line, signed."""
    return line(seal(render(event(rule=text)), DATA.cipher, name, number, nonce))


def test_sealed_line_is_an_entry_of_the_format() -> None:
    """A sealed line is an entry with the members of the format and no others; nothing of the event is in it (S3.13)."""
    data = orjson.loads(sealed())
    assert list(data) == ["format", "file", "line", "sealed", "integrity"]
    assert (data["format"], data["file"], data["line"]) == ("hauberk-audit/1", NAME, 1)
    for word in (b"canary", b"core.allowed", b"read_file", b"files", b"2025-"):
        assert word not in sealed()


def test_chain_holds_without_the_key_that_opens() -> None:
    """A sealed line is followed and read by the key of the chain alone: it is sealed first and signed then (S3.14)."""
    assert Chain(KEY).follow(sealed(), 1, GENESIS) is not None
    changed = sealed().replace(b'"line":1', b'"line":2')
    assert Chain(KEY).follow(changed, 1, GENESIS) is None


def opened(shut: bytes, data: DataKey = DATA) -> dict[str, Any]:
    entry = orjson.loads(shut)
    assert key_of(entry) is not None
    return unseal(entry, data.cipher)


@given(SECRETS, NAMES, st.integers(1, 10**17), st.binary(min_size=12, max_size=12), TEXTS)
def test_what_was_sealed_opens(secret: bytes, name: str, number: int, nonce: bytes, text: str) -> None:
    """Whatever the entry, what opens is what would have been written in clear, with the integrity of the line."""
    body, data = render(event(rule=text)), DataKey(name, secret)
    shut = line(seal(body, data.cipher, name, number, nonce))
    assert (is_sealed(shut), is_sealed(line(body))) == (True, False)
    clear = opened(shut, data)
    assert clear.pop("integrity") == orjson.loads(shut)["integrity"]
    assert clear == orjson.loads(body + b"}")
    assert list(clear) == list(orjson.loads(body + b"}"))


@given(st.data())
def test_changed_line_does_not_open(data: st.DataObject) -> None:
    """Any changed byte of name, number or sealed part keeps a line from opening (line and file are bound, S3.13)."""
    shut = sealed()
    place = data.draw(st.integers(len('{"format":"hauberk-audit/1",'), shut.index(b',"integrity"') - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda one: one != shut[place]))
    try:
        entry = orjson.loads(shut[:place] + bytes([byte]) + shut[place + 1 :])
    except orjson.JSONDecodeError:
        return
    with pytest.raises(HauberkError):
        opened(orjson.dumps(entry)) if "sealed" in entry else _lost()


def _lost() -> None:
    raise HauberkError("it is no sealed entry any more")


@pytest.mark.parametrize(
    "moved",
    [sealed().replace(b'"line":1', b'"line":2'), sealed().replace(NAME.encode(), NAME[::-1].encode())],
    ids=["line", "file"],
)
def test_moved_line_does_not_open(moved: bytes) -> None:
    """What was sealed for one line of one file opens in no other place (S3.13)."""
    with pytest.raises(HauberkError, match="moved"):
        opened(moved)


def test_other_key_does_not_open() -> None:
    """Another data key opens nothing."""
    with pytest.raises(HauberkError, match="another key"):
        opened(sealed(), DataKey(NAME, OTHER_KEY))


@pytest.mark.parametrize(
    "change",
    [
        {"file": None},
        {"file": NAME.upper()},
        {"file": NAME + "0"},
        {"line": 0},
        {"line": True},
        {"line": 1.0},
        {"line": 2**63},
        {"sealed": None},
        {"sealed": "A" * 37},
        {"sealed": "A" * 37 + "="},
        {"sealed": "é" * 40},
    ],
)
def test_entry_of_another_form_does_not_open(change: dict[str, Any]) -> None:
    """What says that it is sealed, and is not as it was written, is an error and never taken for a clear entry."""
    with pytest.raises(HauberkError):
        key_of(orjson.loads(sealed()) | change)
    assert key_of({"code": "core.allowed", "file": NAME, "line": 1}) is None


def test_keys_are_separate() -> None:
    """Lines, indexes and wrapped keys each have a key of their own, and none is the key they come from (X.10)."""
    cipher = Cipher(keys.derive(KEY, "audit-line"))
    assert cipher.decrypt(NONCE, DATA.cipher.encrypt(NONCE, b"x", b""), b"") == b"x"
    assert DATA.index_key == keys.derive(KEY, "audit-index")
    assert len({KEY, keys.derive(KEY, "audit-line"), DATA.index_key, keys.derive(KEY, "audit-seal")}) == 4
    with pytest.raises(HauberkError):
        Cipher(KEY).decrypt(NONCE, DATA.cipher.encrypt(NONCE, b"x", b""), b"")


def test_sealed_entry_has_one_text() -> None:
    """What base64 would also take for a sealed entry, with unused bits or a character too many, does not open."""
    lengths = set()
    for pad in range(4):
        entry = orjson.loads(sealed("x" * pad))
        text = entry["sealed"]
        lengths.add(len(text) % 4)
        assert unseal(entry, DATA.cipher)["rule" if pad else "code"]
        others = [text[:-1] + other for other in "ABCD_" if other != text[-1]]
        for other in others + [text + "A" * more for more in range(1, 5)]:
            with pytest.raises(HauberkError):
                unseal(entry | {"sealed": other}, DATA.cipher)
    assert lengths == {0, 2, 3}


# --- the vectors of others ---


def test_aes_gcm_of_wycheproof(vectors: Path) -> None:
    """Wycheproof: 256-bit keys with 96-bit nonces and 128-bit tags work, and all else is refused (S3.13)."""
    suite = json.loads((vectors / "wycheproof" / "aes_gcm.json").read_text(encoding="utf-8"))
    done = 0
    for group in suite["testGroups"]:
        fits = (group["keySize"], group["ivSize"], group["tagSize"]) == (256, 96, 128)
        for case in group["tests"]:
            assert _gcm(case) == (fits and case["result"] == "valid"), case["tcId"]
            done += fits
    assert done > 60


def _gcm(case: dict[str, Any]) -> bool:
    """Return whether a case opens, and if so whether it is what sealing makes."""
    key, iv, bound, text = (bytes.fromhex(case[name]) for name in ("key", "iv", "aad", "msg"))
    shut = bytes.fromhex(case["ct"]) + bytes.fromhex(case["tag"])
    try:
        cipher = Cipher(key)
        return cipher.decrypt(iv, shut, bound) == text and cipher.encrypt(iv, text, bound) == shut
    except (ValueError, HauberkError):
        return False


def test_aes_wrap_of_wycheproof(vectors: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wycheproof: what a 256-bit key wrapped opens, and nothing that was changed (RFC 3394)."""
    suite = json.loads((vectors / "wycheproof" / "aes_wrap.json").read_text(encoding="utf-8"))
    cases = [case for group in suite["testGroups"] if group["keySize"] == 256 for case in group["tests"]]
    for case in cases:
        kek = bytes.fromhex(case["key"])
        monkeypatch.setattr(keys, "derive", lambda *_, kek=kek: kek)
        local = LocalKey(KEY)
        try:
            opened = local.unwrap(bytes.fromhex(case["ct"])).hex() == case["msg"]
        except HauberkError:
            opened = False
        assert opened == (case["result"] == "valid"), case["tcId"]
        if opened:
            assert local.wrap(bytes.fromhex(case["msg"])).hex() == case["ct"]
    assert len(cases) > 20


def test_key_wrap_of_the_rfc(monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 3394 section 4.6: 256 bits of key data with a 256-bit key."""
    kek = bytes(range(32))
    monkeypatch.setattr(keys, "derive", lambda *_: kek)
    data = bytes.fromhex("00112233445566778899AABBCCDDEEFF000102030405060708090A0B0C0D0E0F")
    wrapped = "28C9F404C4B810F4CBCCB35CFB87F8263F5786E2D80ED326CBC7F0E71A99F43BFB988B9B7A02DD21"
    assert LocalKey(KEY).wrap(data).hex().upper() == wrapped
    assert LocalKey(KEY).unwrap(bytes.fromhex(wrapped)) == data


# --- the page of the format ---


def test_page_of_the_format_is_enough_to_open_a_line() -> None:
    """Who has nothing but the page opens its example: with another HKDF, and by the words alone (S3.13)."""
    page = (Path(__file__).parents[3] / "docs" / "audit-format.md").read_text(encoding="utf-8")
    part = page.partition("## A log that is encrypted")[2].partition("\n## ")[0]
    _, key, data_keys, line = re.findall(r"```text\n(.*?)\n```", part, re.DOTALL)
    secret = _base64(key.removeprefix("hauberk-key-v1:"))
    (file,) = orjson.loads(data_keys)["files"]
    (copy,) = file["keys"]
    assert copy["key_id"] == hashlib.sha256(_derived(secret, "key-id")).hexdigest()[:16]
    plain = aes_key_unwrap(_derived(secret, "audit-seal"), _base64(copy["wrapped"]))
    entry = orjson.loads(line)
    assert plain[:8].hex() == file["file"] == entry["file"]
    sealed, head = _base64(entry["sealed"]), line[: line.index('"sealed":"') + len('"sealed":"')]
    text = AESGCM(_derived(plain[8:], "audit-line")).decrypt(sealed[:12], sealed[12:], head.encode())
    assert b'{"format":"hauberk-audit/1",' + text == render(event(1))
    assert Chain(KEY).follow(line.encode(), 1, GENESIS) is not None


def _base64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _derived(key: bytes, purpose: str) -> bytes:
    return HKDF(SHA256(), 32, None, f"hauberk/{purpose}/v1".encode()).derive(key)

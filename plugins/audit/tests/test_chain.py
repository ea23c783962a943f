"""The format: what is signed, with which key, and that nothing in a line can change."""

from __future__ import annotations

import hashlib
import hmac

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plugins.audit.tests.logs import KEY, OTHER_KEY, breaks, chain, event

from hauberk import keys
from hauberk_audit.writing._chain import FORMAT, GENESIS, Chain, read

BODIES = st.binary(max_size=300).map(lambda tail: FORMAT + tail)
HASHES = st.binary(min_size=32, max_size=32).map(lambda raw: raw.hex().encode())
NUMBERS = st.integers(1, 10**18 - 1)


def test_entry_hash_is_hmac_over_the_line_without_it() -> None:
    """The hash is HMAC-SHA256 over the exact bytes of the line with the entry hash cut out, made with hmac (S3.1)."""
    (line,) = chain(1)
    head, _, tail = line.rpartition(b',"entry_hash":"hmac-sha256:')
    key = keys.derive(KEY, "audit-chain")
    assert tail == hmac.new(key, head + b"}}", hashlib.sha256).hexdigest().encode() + b'"}}'


def test_integrity_says_sequence_previous_hash_and_key() -> None:
    """Each entry has its number, the hash of the one before it, the key's id and its own hash, in this order (S3.1)."""
    first, second = (orjson.loads(line) for line in chain(2))
    assert next(iter(first)) == "format"
    assert list(first)[-1] == "integrity"
    assert list(second["integrity"]) == ["sequence", "prev_hash", "key_id", "entry_hash"]
    assert first["integrity"]["sequence"] == 1
    assert first["integrity"]["prev_hash"] == "hmac-sha256:" + "0" * 64
    assert second["integrity"]["sequence"] == 2
    assert second["integrity"]["prev_hash"] == first["integrity"]["entry_hash"]
    assert second["integrity"]["key_id"] == keys.key_id(KEY)


@given(st.binary(min_size=32, max_size=32), BODIES, NUMBERS, HASHES)
def test_what_is_sealed_is_followed(key: bytes, body: bytes, number: int, prev: bytes) -> None:
    """A line belongs in the place that it was sealed for, with the key that sealed it, and reads as that (S3.5)."""
    signer = Chain(key)
    line, digest = signer.seal(body, number, prev)
    assert line.endswith(b"\n")
    assert signer.follow(line[:-1], number, prev) == digest
    assert read(line[:-1]) == (number, digest, prev, signer.key_id)
    assert signer.signed(line[:-1])


@given(BODIES, NUMBERS, HASHES, st.data())
def test_no_line_belongs_elsewhere(body: bytes, number: int, prev: bytes, data: st.DataObject) -> None:
    """A line with another number, another predecessor or another key does not follow."""
    line = Chain(KEY).seal(body, number, prev)[0][:-1]
    other = data.draw(NUMBERS.filter(lambda drawn: drawn != number))
    assert Chain(KEY).follow(line, other, prev) is None
    assert Chain(KEY).follow(line, number, data.draw(HASHES.filter(lambda drawn: drawn != prev))) is None
    assert Chain(OTHER_KEY).follow(line, number, prev) is None


def test_any_change_of_any_byte_is_a_break() -> None:
    """Whichever byte of an entry changes, in whichever way, exactly this line is reported (A21, S3.11)."""
    lines = chain(3)
    for position, byte in enumerate(lines[1]):
        for other in {byte ^ 1, byte ^ 0x20, byte ^ 0x80, 0x00, 0x20, 0x22} - {byte}:
            changed = lines[1][:position] + bytes([other]) + lines[1][position + 1 :]
            found = breaks([lines[0], changed, lines[2]])
            assert [where for _, where, _ in found] == [2], (position, other)


def test_any_byte_added_or_removed_is_a_break() -> None:
    """Whichever byte of an entry is taken out, or put in, exactly this line is reported."""
    lines = chain(3)
    for position in range(len(lines[1])):
        for changed in (
            lines[1][:position] + lines[1][position + 1 :],
            lines[1][:position] + b" " + lines[1][position:],
        ):
            found = breaks([lines[0], changed, lines[2]])
            assert [where for _, where, _ in found] == [2], position


def test_old_spelling_of_hashes_is_read() -> None:
    """A chain whose hashes are labelled ``sha256:`` verifies, and goes on in the new spelling (S3.1)."""
    lines = [old_spelling(1, GENESIS)]
    digest = lines[0][-67:-3]
    lines.append(old_spelling(2, digest))
    signer = Chain(KEY)
    assert breaks(lines) == []
    assert signer.signed(lines[1])
    lines += chain(1, after=lines[1])
    assert breaks(lines) == []


@pytest.mark.parametrize("label", [b"hmac-sha256:", b"sha256:"])
def test_label_of_the_unsigned_part_cannot_change(label: bytes) -> None:
    """The label of the entry hash, which is not signed, is the one of the previous hash, which is."""
    line = old_spelling(1, GENESIS) if label == b"sha256:" else chain(1)[0]
    other = b"sha256:" if label == b"hmac-sha256:" else b"hmac-sha256:"
    changed = line.replace(b'"entry_hash":"' + label, b'"entry_hash":"' + other)
    assert changed != line
    assert [kind for kind, _, _ in breaks([changed])] == ["edited"]


def test_line_of_another_format_is_no_entry() -> None:
    """A line that the key signed and that does not begin with the format's name is a break."""
    signer = Chain(KEY)
    line, _ = signer.seal(b'{"format":"hauberk-audit/2","time":"x"', 1, GENESIS)
    assert signer.follow(line[:-1], 1, GENESIS) is None
    assert [kind for kind, _, _ in breaks([line[:-1]])] == ["edited"]


def test_fields_cannot_run_into_each_other() -> None:
    """Two events whose fields read the same when joined have different bytes and different hashes (V2)."""
    one, two = (
        Chain(KEY).seal(body, 1, GENESIS)
        for body in (
            FORMAT + b'"a":"SET","b":"a|b","c":"cli"',
            FORMAT + b'"a":"SET","b":"a","c":"b|cli"',
        )
    )
    assert one[0] != two[0]
    assert one[1] != two[1]


def test_chain_key_is_derived() -> None:
    """The key file's bytes themselves sign nothing (X.10)."""
    (line,) = chain(1)
    head = line[: line.rindex(b',"entry_hash"')] + b"}}"
    assert hmac.digest(KEY, head, "sha256").hex().encode() not in line
    assert event().code in line.decode()


def old_spelling(number: int, prev: bytes) -> bytes:
    """Return a line whose hashes are labelled ``sha256:``."""
    head = FORMAT + b'"code":"a.b","integrity":{"sequence":%d,"prev_hash":"sha256:%b","key_id":"%b"' % (
        number,
        prev,
        keys.key_id(KEY).encode(),
    )
    digest = hmac.digest(keys.derive(KEY, "audit-chain"), head + b"}}", "sha256").hex().encode()
    return head + b',"entry_hash":"sha256:%b"}}' % digest

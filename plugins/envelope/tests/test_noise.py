"""The handshake, against vectors of others and against whoever changes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st
from plugins.envelope.tests.ends import ALICE, BOB, EVE, pair

from hauberk.refusals import Refused
from hauberk_envelope.session._noise import NAME, NONCE, Broken, Initiator, Keys, Pair, Responder, rekey

VECTOR: dict[str, Any] = json.loads((Path(__file__).parent / "vectors" / "noise-kk.json").read_text())
A, B, E = (Pair(one.public.agreement, one.agree) for one in (ALICE, BOB, EVE))


def part(name: str) -> bytes:
    return bytes.fromhex(VECTOR[name])


def both(
    prologues: tuple[bytes, bytes] = (b"", b""), *, a: Pair = A, b: Pair = B, at_a: Pair = B, at_b: Pair = A
) -> Any:
    first = Initiator(a, at_a.public, prologues[0], pair(bytes([1]) * 32))
    return first, Responder(b, at_b.public, prologues[1], pair(bytes([2]) * 32))


def test_the_vector() -> None:
    """Every byte of a handshake and of what follows is the one of the published vector."""
    assert VECTOR["protocol_name"] == NAME.decode()
    a, b = pair(part("init_static")), pair(part("resp_static"))
    assert (b.public, a.public) == (part("init_remote_static"), part("resp_remote_static"))
    first = Initiator(a, b.public, part("prologue"), pair(part("init_ephemeral")))
    second = Responder(b, a.public, part("prologue"), pair(part("resp_ephemeral")))
    said = [(bytes.fromhex(one["payload"]), bytes.fromhex(one["ciphertext"])) for one in VECTOR["messages"]]
    assert first.write(said[0][0]) == said[0][1]
    assert second.read(said[0][1]) == said[0][0]
    message, keys = second.write(said[1][0])
    assert message == said[1][1]
    assert first.read(message) == (said[1][0], keys)
    assert keys.hash == part("handshake_hash")
    ciphers = AESGCM(keys.initiator), AESGCM(keys.responder)
    for at, (payload, ciphertext) in enumerate(said[2:]):
        assert ciphers[at % 2].encrypt(NONCE.pack(0, at // 2), payload, b"") == ciphertext


def test_rekey() -> None:
    """The next key is what the framework says: 32 bytes of zeros encrypted under the last nonce of all."""
    key = bytes(range(32))
    nonce = bytes(4) + b"\xff" * 8
    assert rekey(key) == AESGCM(key).encrypt(nonce, bytes(32), None)[:32]


def finished(first: Initiator, second: Responder) -> tuple[Keys, Keys]:
    assert second.read(first.write(b"one")) == b"one"
    message, theirs = second.write(b"two")
    payload, ours = first.read(message)
    assert payload == b"two"
    return ours, theirs


def test_both_have_the_same_keys() -> None:
    """Both ends come to the same two keys, which differ from each other."""
    ours, theirs = finished(*both())
    assert ours == theirs
    assert len({ours.initiator, ours.responder, ours.hash}) == 3


@pytest.mark.parametrize(
    "wrong",
    [
        {"prologues": (b"a", b"b")},
        {"a": E},
        {"b": E},
        {"at_a": E},
        {"at_b": E},
    ],
)
def test_another_prologue_or_key(wrong: dict[str, Any]) -> None:
    """A handshake with another prologue, or with another key than is expected, ends at its first message."""
    first, second = both(**wrong)
    with pytest.raises(Broken):
        second.read(first.write(b"one"))


def test_who_answers_must_own_the_key() -> None:
    """Whoever saw the first message cannot answer it without the key that it was made for."""
    first, _ = both()
    _, second = both(b=E, at_a=E)
    other, _ = both(at_a=E)
    second.read(other.write(b"one"))
    first.write(b"one")
    with pytest.raises(Broken):
        first.read(second.write(b"two")[0])


@given(st.data())
def test_a_changed_message(data: st.DataObject) -> None:
    """Any changed bit of either message, or any other length, ends the handshake (S0.22)."""
    first, second = both()
    one = first.write(b"payload of one")
    at_first = data.draw(st.booleans())
    if not at_first:
        second.read(one)
    message = one if at_first else second.write(b"payload of two")[0]
    at = data.draw(st.integers(0, 8 * len(message) - 1))
    changed = bytearray(message)
    changed[at // 8] ^= 1 << at % 8  # the top bit of a public key means nothing to X25519, but the hash holds it
    bad = data.draw(st.sampled_from([bytes(changed), message[: at // 8], message + b"\0"]))
    with pytest.raises(Broken):
        (second if at_first else first).read(bad)


@pytest.mark.parametrize("point", [bytes(32), b"\1" + bytes(31)])
def test_a_weak_ephemeral_key(point: bytes) -> None:
    """An ephemeral key of small order is refused by whoever agrees (A07)."""
    first, second = both()
    one = first.write(b"")
    with pytest.raises(Refused):
        second.read(point + one[32:])

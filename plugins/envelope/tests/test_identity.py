"""Identities: two keys, bound to a name by a signature; secrets that go nowhere."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from plugins.envelope.tests.parties import ALICE, BOB, DAY, NOW, SECRET, code, counting, identity

from hauberk.refusals import ConfigError, Refused
from hauberk_envelope import _canonical
from hauberk_envelope._identity import KEY_ID, Identity, PublicIdentity, check_agent, key_id_of, verify

FIELD = st.none() | st.binary(max_size=8) | st.text(max_size=8) | st.integers(-(2**63), 2**63 - 1)
P = 2**255 - 19
LOW_ORDER_EDWARDS = [
    bytes(32),
    b"\1" + bytes(31),
    bytes(31) + b"\x80",
    bytes.fromhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
]
LOW_ORDER_MONTGOMERY = [
    bytes(32),
    b"\1" + bytes(31),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    (P - 1).to_bytes(32, "little"),
    P.to_bytes(32, "little"),
    (P + 1).to_bytes(32, "little"),
]


def statement(public: PublicIdentity, **members: Any) -> dict[str, Any]:
    """Return the members of a statement, some of them others."""
    names = ("agent", "signing", "agreement", "not_before", "not_after", "signature")
    return {**{name: getattr(public, name) for name in names}, **members}


def test_statement_holds() -> None:
    """What an agent says of itself is taken as it was said."""
    assert PublicIdentity.of(**statement(ALICE.public)) == ALICE.public


@pytest.mark.parametrize(
    "members",
    [
        {"agent": "bob"},
        {"signing": BOB.public.signing},
        {"agreement": BOB.public.agreement},
        {"not_before": ALICE.public.not_before + 1},
        {"not_after": ALICE.public.not_after + 1},
        {"signature": BOB.public.signature},
        {"signature": b""},
    ],
)
def test_every_member_is_signed(members: dict[str, Any]) -> None:
    """A statement with another name, key or time does not hold: nobody puts a key beside another's name (A02)."""
    assert code(PublicIdentity.of, **statement(ALICE.public, **members)) == "envelope.forged"


def test_keys_are_two() -> None:
    """The two keys are not made from each other, and are not the same bytes (X.10)."""
    with pytest.raises(ValueError, match="two different keys"):
        Identity(agent="a", signing=bytes(32), agreement=bytes(32), not_before=0, not_after=1)
    signing, agreement = ALICE.secrets()
    other = Identity(
        agent="alice", signing=signing, agreement=b"1" * 32, not_before=ALICE.public.not_before,
        not_after=ALICE.public.not_after,
    )  # fmt: skip
    assert other.public.signing == ALICE.public.signing
    assert other.public.agreement != ALICE.public.agreement
    assert other.key_id != ALICE.key_id
    assert agreement != signing


def test_key_id_is_the_hash_of_both_keys() -> None:
    """A key id has plain characters and one length, and is another for other keys (S0.24)."""
    assert KEY_ID.fullmatch(ALICE.key_id)
    assert len(ALICE.key_id) == 57
    a, b = ALICE.public, BOB.public
    ids = {key_id_of(x, y) for x in (a.signing, b.signing) for y in (a.agreement, b.agreement)}
    assert len(ids) == 4
    assert ALICE.key_id in ids


@pytest.mark.parametrize("weak", LOW_ORDER_EDWARDS)
def test_weak_signing_key_is_refused(weak: bytes) -> None:
    """A signing key of small order or in a second encoding is none (A07)."""
    with pytest.raises(ValueError, match="weak"):
        PublicIdentity.of(**statement(ALICE.public, signing=weak))


@pytest.mark.parametrize("weak", LOW_ORDER_MONTGOMERY)
def test_weak_agreement_key_is_refused(weak: bytes) -> None:
    """An agreement key of small order or in a second encoding is none; nothing is agreed on with it (A07)."""
    with pytest.raises(ValueError, match="weak"):
        PublicIdentity.of(**statement(ALICE.public, agreement=weak))
    assert code(ALICE.agree, weak) == "envelope.forged"


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_key_of_another_length_is_refused(length: int) -> None:
    """A key has 32 bytes."""
    for name in ("signing", "agreement"):
        with pytest.raises(ValueError, match="weak, or none"):
            PublicIdentity.of(**statement(ALICE.public, **{name: b"1" * length}))
    assert code(ALICE.agree, b"1" * length) == "envelope.forged"
    assert code(verify, b"1" * length, bytes(64), b"") == "envelope.forged"


def test_agents_agree() -> None:
    """Two agents make one secret of their keys, and others make another."""
    shared = ALICE.agree(BOB.public.agreement)
    assert shared == BOB.agree(ALICE.public.agreement)
    assert len(shared) == 32
    assert shared != ALICE.agree(ALICE.public.agreement)


def test_signature_holds_for_what_was_signed() -> None:
    """A signature holds for the data and the key, and for no other."""
    data = b"hauberk/envelope/test\0"
    signature = ALICE.sign(data)
    verify(ALICE.public.signing, signature, data)
    assert code(verify, ALICE.public.signing, signature, data + b"\0") == "envelope.forged"
    assert code(verify, BOB.public.signing, signature, data) == "envelope.forged"
    assert code(verify, ALICE.public.signing, signature[:-1], data) == "envelope.forged"


@pytest.mark.parametrize("secret", [ALICE, SECRET])
def test_secrets_are_not_copied(secret: Any) -> None:
    """What holds secrets is not pickled, not copied and not shown (X.14)."""
    for copied in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="not pickled or copied"):
            copied(secret)
    assert "object at" not in repr(secret)
    assert len(repr(secret)) < 100


@pytest.mark.parametrize("name", ["", "-a", " a", "a b", "é", "a\n", "a" * 129, "*", "a\u200b", '"', "a\\"])
def test_name_is_plain(name: str) -> None:
    """A name has plain characters: nothing that looks like another, ends a line, or is a rule."""
    with pytest.raises(ValueError, match="an agent's name"):
        check_agent(name)


@pytest.mark.parametrize(
    "name", ["a", "CodeExpert", "agents/one", "spiffe://example.org/a", "a@example.org", "9" * 128]
)
def test_name_may_be_one_of_certificates(name: str) -> None:
    """Names of certificates, addresses and URIs are names (S0.16)."""
    assert check_agent(name) == name


@pytest.mark.parametrize(("begin", "end"), [(1.5, 3), (3, 3), (4, 3), (-1, 3), (0, 4000 * DAY), (float("nan"), 3)])
def test_validity_is_a_span_of_whole_seconds(begin: float, end: float) -> None:
    """A key counts from one whole second to a later one, for ten years at most."""
    with pytest.raises(ValueError, match="valid"):
        Identity(agent="a", signing=b"1" * 32, agreement=b"2" * 32, not_before=begin, not_after=end)


def test_new_keys_are_random_and_begin_a_little_before() -> None:
    """A new identity has keys of its own, and counts five minutes before it was made, for slow clocks."""
    random = counting()
    one, two = (Identity.generate("a", now=NOW + 0.7, random=random) for _ in range(2))
    assert one.key_id != two.key_id
    assert one.public.not_before == NOW - 300
    assert one.public.not_after == NOW + 365 * DAY
    with pytest.raises(ConfigError, match="randomness is broken"):
        Identity.generate("a", now=NOW, random=bytes)
    for days in (0, 3651):
        with pytest.raises(ValueError, match="valid for 1 to 3650 days"):
            Identity.generate("a", now=NOW, days=days)


@example("x", [b"ab", b"c"], "x", [b"a", b"bc"])
@example("x", ["ab", "c"], "x", ["a", "bc"])
@example("x", [b"1"], "x", ["1"])
@example("x", [None], "x", [b""])
@given(st.text(max_size=5), st.lists(FIELD, max_size=4), st.text(max_size=5), st.lists(FIELD, max_size=4))
def test_two_values_have_two_forms(label: str, fields: list[Any], other: str, others: list[Any]) -> None:
    """Different labels or fields never have one byte form (X.8)."""
    label, other = (name.replace("\0", "").encode("utf-8", "replace").decode() for name in (label, other))
    try:
        forms = _canonical.encode(label, *fields), _canonical.encode(other, *others)
    except ValueError:  # a lone surrogate, which has no UTF-8
        return
    typed = [[(type(field), field) for field in some] for some in (fields, others)]
    assert (forms[0] == forms[1]) == ((label, typed[0]) == (other, typed[1]))


def test_integer_has_a_bound() -> None:
    """What does not fit is refused, not cut."""
    with pytest.raises(ValueError, match="64 bits"):
        _canonical.encode("x", 2**63)


def test_refusal_has_the_plugin_and_a_hint() -> None:
    """Each refusal says what to do."""
    with pytest.raises(Refused, match="hint: ") as caught:
        verify(ALICE.public.signing, bytes(64), b"")
    assert caught.value.plugin == "envelope"


def test_identity_of_a_name_is_the_same_each_time() -> None:
    """Nothing in an identity depends on when it is read."""
    assert identity("alice").public == ALICE.public

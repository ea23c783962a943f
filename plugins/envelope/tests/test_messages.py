"""Messages between agents: what was sealed opens for who it is for, and nothing else opens."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plugins.envelope.tests.parties import (
    ABOUT,
    ALICE,
    BOB,
    CAROL,
    DAY,
    MALLORY,
    NOW,
    SECRET,
    TRUST,
    changed,
    code,
    counting,
    identity,
    opened,
    sealed,
    signed,
    trust,
)

from hauberk.refusals import ConfigError, Refused
from hauberk_envelope import _aead, _even
from hauberk_envelope._limits import LIMITS
from hauberk_envelope._message import MessageType, Metadata, SecureAgentMessage, check_form
from hauberk_envelope._sealing import _content_key, open_archived
from hauberk_envelope._secret import ProvisionedSecret
from hauberk_envelope._trust import Rules

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(-(2**53), 2**53)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
METADATA = st.builds(
    Metadata,
    message_id=st.uuids(),
    priority=st.integers(0, 255),
    message_type=st.sampled_from(
        ["TaskRequest", "TaskResponse", "StatusUpdate", "ErrorNotification", "Shutdown", "InterAgentMessage"]
    ),
    ttl=st.none() | st.integers(1, LIMITS.ttl_seconds),
    requires_ack=st.booleans(),
    custom_fields=st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), JSON, max_size=3),
)


# --- what was sealed opens ---


@given(st.binary(max_size=2000), METADATA, st.integers(0, 10**6), st.booleans())
def test_what_was_sealed_opens_as_it_was(content: bytes, about: Metadata, micros: int, provisioned: bool) -> None:
    """Whatever the content and the metadata, the recipient gets the same bytes, and who sent them (S0.20, S0.21)."""
    now = NOW + micros / 10**6
    message = sealed(content, metadata=about, now=now, secret=SECRET if provisioned else None)
    found = opened(message.encode(), now=now, secrets=[SECRET])
    assert (found.content, found.sender) == (content, ALICE.public)
    assert found.message == message
    assert found.message.metadata == about
    assert abs(found.proof.issued - now) <= 1e-6
    assert found.proof.expires == (None if about.ttl is None else found.proof.issued + about.ttl)
    assert (found.proof.key_id, found.proof.nonce) == (ALICE.key_id, message.nonce)


def test_message_has_the_members_of_the_seed() -> None:
    """A message has the members that were asked for; bytes are as long as they must be (S0.20)."""
    found = msgspec.json.decode(sealed().encode())
    assert {"from", "to", "encrypted_content", "signature", "nonce", "timestamp", "metadata"} <= set(found)
    assert set(found["metadata"]) == {
        "message_id", "priority", "message_type", "ttl", "requires_ack", "custom_fields",
    }  # fmt: skip
    message = sealed()
    assert (len(message.signature), len(message.nonce)) == (64, 24)
    assert (len(message.encrypted_content), len(message.ephemeral or b"")) == (len(b"hello") + 16, 32)
    assert found["timestamp"] == "2026-09-21T14:13:20.000000Z"


def test_metadata_that_nobody_gave_is_that_of_the_seed() -> None:
    """A message has a random id, priority 128 and no time to live, where nothing is said (S0.20)."""
    about = sealed(metadata=None).metadata
    assert about.message_id.version == 4
    assert (about.priority, about.message_type, about.ttl, about.requires_ack) == (
        128,
        "InterAgentMessage",
        None,
        False,
    )
    assert sealed(metadata=None, random=counting(b"2")).metadata.message_id != about.message_id


def test_message_to_everybody_opens_for_all_who_have_the_secret() -> None:
    """A message to nobody in particular is read by those with the provisioned secret, and says who sent it (S0.20)."""
    message = sealed(sender=CAROL, to=None, secret=SECRET)
    assert (message.recipient, message.recipient_key, message.ephemeral) == (None, None, None)
    for me in (ALICE, BOB):
        assert opened(message, me=me, secrets=[SECRET]).sender == CAROL.public
    other = ProvisionedSecret(b"another one of thirty-two bytes!")
    assert code(opened, message, secrets=[other]) == "envelope.wrong_recipient"
    assert code(opened, message) == "envelope.wrong_recipient"


def test_provisioned_secret_has_a_file(tmp_path: Path) -> None:
    """A provisioned secret is made in a private file, read from it, and never overwritten (X.9)."""
    made = ProvisionedSecret.create(tmp_path / "secret.key")
    assert (tmp_path / "secret.key").stat().st_mode & 0o777 == 0o600
    read = ProvisionedSecret.read(tmp_path / "secret.key")
    assert (read.secret_id, read.material()) == (made.secret_id, made.material())
    assert re.fullmatch("hbs1_[a-z2-7]{52}", made.secret_id)
    with pytest.raises(ConfigError, match="exists already"):
        ProvisionedSecret.create(tmp_path / "secret.key")
    with pytest.raises(ValueError, match="32 bytes"):
        ProvisionedSecret(bytes(31))


def test_everybody_is_not_reached_without_a_secret() -> None:
    """There is no message to everybody under a key that one pair agreed on."""
    with pytest.raises(ValueError, match="provisioned secret"):
        sealed(to=None)


def test_content_and_secrets_are_in_no_text() -> None:
    """Neither the content nor a secret stands in what is sent, in an error or in what is printed (X.14)."""
    message = sealed(b"canary-content")
    assert b"canary" not in message.encode()
    for one in (ALICE, SECRET):
        shown = repr(one)
        for secret in (*ALICE.secrets(), SECRET.material()):
            assert secret.hex() not in shown
            assert str(secret) not in shown
    with pytest.raises(Refused) as caught:
        opened(changed(message, encrypted_content=message.encrypted_content[:-1] + b"\0"))
    assert "canary" not in str(caught.value)


# --- nothing else opens ---

MESSAGE = sealed()
FIELDS = (
    "version", "sender", "recipient", "sender_key", "recipient_key", "ephemeral", "nonce", "timestamp",
    "encrypted_content", "signature",
)  # fmt: skip


def flips(value: Any) -> Iterator[Any]:
    """Yield a value with each of its bits flipped."""
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield from (value ^ 1 << bit for bit in range(8))
    elif isinstance(value, uuid.UUID):
        yield from (uuid.UUID(bytes=other) for other in flips(value.bytes))
    else:
        data = value.encode() if isinstance(value, str) else value
        for bit in range(8 * len(data)):
            other = bytearray(data)
            other[bit // 8] ^= 1 << bit % 8
            yield bytes(other).decode("latin-1") if isinstance(value, str) else bytes(other)


@pytest.mark.parametrize("field", FIELDS)
def test_every_bit_of_every_field_counts(field: str) -> None:
    """A message with any one bit of any one field changed does not open (S0.22)."""
    count = 0
    for value in flips(getattr(MESSAGE, field)):
        assert code(opened, changed(MESSAGE, **{field: value})).startswith("envelope."), value
        count += 1
    assert count >= 24


@pytest.mark.parametrize("field", ["message_id", "priority", "message_type", "ttl", "requires_ack"])
def test_every_bit_of_the_metadata_counts(field: str) -> None:
    """The metadata is bound bit by bit, the time to live and the type included (S0.22)."""
    for value in flips(getattr(ABOUT, field)):
        other = changed(MESSAGE, metadata=msgspec.structs.replace(ABOUT, **{field: value}))
        assert code(opened, other) in ("envelope.forged", "envelope.malformed")
    others: list[MessageType] = ["TaskResponse", "StatusUpdate", "ErrorNotification", "Shutdown", "InterAgentMessage"]
    for kind in others:
        other = changed(MESSAGE, metadata=msgspec.structs.replace(ABOUT, message_type=kind))
        assert code(opened, other) == "envelope.forged"


def test_every_bit_of_custom_fields_counts() -> None:
    """Custom fields are bound, in their canonical form (S0.22)."""
    for fields in ({}, {**ABOUT.custom_fields, "x": 1}, {**ABOUT.custom_fields, "task": "t-2"}):
        other = changed(MESSAGE, metadata=msgspec.structs.replace(ABOUT, custom_fields=fields))
        assert code(opened, other) == "envelope.forged"


def test_every_bit_of_the_wire_counts() -> None:
    """The bytes of a message with any one bit changed are refused: there is one form, all of it bound (S0.22)."""
    data = sealed(b"", metadata=Metadata(message_id=ABOUT.message_id)).encode()
    assert opened(data).content == b""
    for bit in range(8 * len(data)):
        other = bytearray(data)
        other[bit // 8] ^= 1 << bit % 8
        assert code(opened, bytes(other)).startswith("envelope."), bit


@given(st.data(), st.integers(0, 255))
def test_changed_bytes_of_a_long_message_are_refused(data: st.DataObject, byte: int) -> None:
    """Of a long message, too, no byte can be another (S0.22)."""
    wire = bytearray(LONG)
    at = data.draw(st.integers(0, len(wire) - 1))
    if wire[at] == byte:
        return
    wire[at] = byte
    assert code(opened, bytes(wire)).startswith("envelope.")


LONG = sealed(bytes(range(256)) * 256).encode()


@given(st.binary(max_size=300) | JSON.map(msgspec.json.encode))
def test_other_bytes_are_refused(data: bytes) -> None:
    """Whatever comes in place of a message is refused as no sealed one (A04)."""
    assert code(opened, data) in ("envelope.plain", "envelope.unsupported", "envelope.malformed")


def test_all_refusals_are_one_to_the_other_side() -> None:
    """What a peer learns of a refusal does not tell which it was."""
    tag = MESSAGE.encrypted_content[:-1] + b"\0"
    refusals: tuple[Callable[[], object], ...] = (
        lambda: opened(b"{}"),
        lambda: opened(b"\xff"),
        lambda: opened(MESSAGE, known=trust(BOB)),
        lambda: opened(MESSAGE, me=CAROL),
        lambda: opened(changed(MESSAGE, signature=bytes(64))),
        lambda: opened(signed(changed(MESSAGE, encrypted_content=tag), ALICE)),
        lambda: opened(MESSAGE, now=NOW + 400 * DAY),
        lambda: opened(sealed(sender=BOB, to=CAROL), me=CAROL),
        lambda: opened(LONG + b" " * (32 << 20)),
    )
    for refuse in refusals:
        with pytest.raises(Refused) as caught:
            refuse()
        told = {"code": -32004, "message": "refused", "data": {"code": "core.refused"}}
        assert caught.value.error_object(trusted=False) == told


def test_message_that_no_wire_carries_is_refused() -> None:
    """A message that a program made by hand, of what JSON does not carry, is refused like others."""
    for members in ({"sender": "\ud800"}, {"sender": 1}, {"nonce": None}):
        assert code(opened, changed(MESSAGE, **members)) == "envelope.malformed"
    nan = msgspec.structs.replace(ABOUT, custom_fields={"x": float("nan")})
    assert code(opened, changed(MESSAGE, metadata=nan)) == "envelope.malformed"


# --- who, to whom ---


def test_stranger_is_refused_before_anything_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sender that is not trusted is refused before a signature is checked or a secret is used (S0.23)."""
    monkeypatch.delattr("hauberk_envelope._even.holds")
    monkeypatch.delattr("hauberk_envelope._even.opened")
    assert code(opened, sealed(sender=MALLORY)) == "envelope.untrusted"


def test_name_is_that_of_the_key() -> None:
    """Who signs with a trusted key under another's name is refused: the key says who it is (S0.24, A02)."""
    message = changed(sealed(sender=CAROL), sender="alice")
    assert code(opened, signed(message, CAROL)) == "envelope.untrusted"


def test_key_id_of_another_is_refused() -> None:
    """A message whose key id is replaced by that of another trusted agent, signed by it or not, is refused (A02)."""
    message = changed(MESSAGE, sender_key=CAROL.key_id, sender="carol")
    assert code(opened, message) == "envelope.forged"
    assert code(opened, signed(message, CAROL)) == "envelope.forged"


def test_message_is_not_taken_over() -> None:
    """Who signs another's sealed content as its own has no key that it opens with: it names the sender (S0.25, A02)."""
    stolen = signed(changed(MESSAGE, sender="carol", sender_key=CAROL.key_id), CAROL)
    with pytest.raises(Refused) as caught:
        opened(stolen)
    assert caught.value.details == {"check": "tag"}


@pytest.mark.parametrize("part", ["content", "header"])
def test_recipient_forges_nothing(part: str) -> None:
    """Who has the content key, the recipient, makes no other message of it: all of it is signed (S0.22)."""
    about = msgspec.structs.replace(ABOUT, message_type="Shutdown") if part == "header" else ABOUT
    draft = changed(MESSAGE, metadata=about)
    key = _content_key(draft, BOB.agree(draft.ephemeral or b""))
    content = b"other" if part == "content" else b"hello"
    forged = changed(draft, encrypted_content=_aead.seal(*key, content, draft.header()))
    with pytest.raises(Refused) as caught:
        opened(forged)
    assert caught.value.details == {"check": "signature"}


def test_signature_is_over_the_header() -> None:
    """Of one sealed content under two headers, each has a signature of its own: it shows what the header said."""
    other = changed(MESSAGE, metadata=msgspec.structs.replace(ABOUT, priority=1))
    assert signed(MESSAGE, ALICE).signature == MESSAGE.signature
    assert signed(other, ALICE).signature != MESSAGE.signature


@pytest.mark.parametrize("held", [True, False])
@pytest.mark.parametrize("fitted", [True, False])
def test_forgery_is_settled(monkeypatch: pytest.MonkeyPatch, held: bool, fitted: bool) -> None:
    """Signature and tag are both looked at, whichever fails, and what was missing is made up for; else nothing is."""
    seen: list[dict[str, bool]] = []
    monkeypatch.setattr(_even, "settle", lambda **given: seen.append(given))
    other = MESSAGE
    if not fitted:
        other = signed(changed(MESSAGE, encrypted_content=MESSAGE.encrypted_content[:-1] + b"\0"), ALICE)
    if not held:
        other = changed(other, signature=bytes(64))
    assert code(opened, other) == ("" if held and fitted else "envelope.forged")
    assert seen == ([] if held and fitted else [{"held": held, "fitted": fitted}])


def test_reflection_is_refused() -> None:
    """A message comes back to its sender: it was for another, and is refused; so it is with the names swapped (A01)."""
    rules = Rules(privileged_agents=frozenset({"alice", "bob"}))
    known = trust(rules=rules)
    assert code(opened, MESSAGE, me=ALICE, known=known) == "envelope.wrong_sender"
    swapped = changed(MESSAGE, sender="bob", recipient="alice", sender_key=BOB.key_id, recipient_key=ALICE.key_id)
    assert code(opened, swapped, me=ALICE, known=known) == "envelope.forged"
    for mine in (sealed(to=ALICE), sealed(to=None, secret=SECRET)):
        assert code(opened, mine, me=ALICE, known=known, secrets=[SECRET]) == "envelope.wrong_sender"
    everybody = sealed(sender=CAROL, to=None, secret=SECRET)
    assert (
        code(lambda: opened(changed(everybody, sender="alice", sender_key=ALICE.key_id), secrets=[SECRET], known=known))
        == "envelope.forged"
    )


@pytest.mark.parametrize("known", ["agreement", "secret"])
def test_recipient_is_the_one_that_is_named(known: str) -> None:
    """A message for one agent does not open for another, whatever secret they share (S0.25, A02)."""
    message = sealed(secret=SECRET if known == "secret" else None)
    assert code(opened, message, me=CAROL, secrets=[SECRET]) == "envelope.wrong_recipient"
    redirected = changed(message, recipient="carol", recipient_key=CAROL.key_id)
    assert code(opened, redirected, me=CAROL, secrets=[SECRET]) == "envelope.forged"
    found = code(lambda: opened(signed(redirected, ALICE), me=CAROL, secrets=[SECRET]))
    assert found == "envelope.forged"


def test_our_key_under_the_name_of_another_is_not_ours() -> None:
    """Who may not talk to us does not by sealing for our key under a name that it may talk to (S0.24, S0.28)."""
    known = trust(rules=Rules(can_communicate_with={"alice": frozenset({"carol"})}))
    assert code(opened, sealed(), known=known) == "envelope.not_allowed"
    renamed: Any = SimpleNamespace(public=msgspec.structs.replace(BOB.public, agent="carol"))
    assert code(opened, sealed(to=renamed), known=known) == "envelope.wrong_recipient"


def test_who_may_not_talk_is_refused() -> None:
    """Rules are looked at by who opens, too; what nobody wrote down is denied (S0.28)."""
    assert code(opened, sealed(sender=BOB, to=CAROL), me=CAROL) == "envelope.not_allowed"
    assert code(opened, sealed(sender=ALICE, to=None, secret=SECRET), secrets=[SECRET]) == "envelope.not_allowed"
    assert code(opened, MESSAGE, known=trust(rules=Rules())) == "envelope.not_allowed"
    privileged = Rules(privileged_agents=frozenset({"alice"}))
    assert opened(MESSAGE, known=trust(rules=privileged)).content == b"hello"


@pytest.mark.parametrize("me", [identity("bob", begin=NOW - 10 * DAY, days=9), identity("bob", begin=NOW + 1)])
def test_own_key_counts_too(me: Any) -> None:
    """A message for a key of ours that does not count is refused."""
    assert code(opened, sealed(to=me), me=me).startswith("envelope.key_")


def test_both_keys_of_an_agent_that_rotates_open() -> None:
    """While an agent rotates, messages to the old key and to the new one open (S0.26)."""
    new = identity("bob", seed="bob 2")
    for to in (BOB, new):
        found = open_archived(sealed(to=to), recipients=[new, BOB], trust=TRUST)
        assert found.content == b"hello"


# --- other uses, other versions, other lengths ---


def test_signature_for_another_use_is_none() -> None:
    """What an agent signed otherwise, the header alone or its statement, is no signature of a message (A03)."""
    for other in (MESSAGE.header(), b"hauberk/envelope/x"):
        assert code(opened, changed(MESSAGE, signature=ALICE.sign(other))) == "envelope.forged"
    assert code(opened, changed(MESSAGE, signature=ALICE.public.signature)) == "envelope.forged"
    for foreign in (b'{"format":"hauberk-audit/1"}', b"", b"hauberk-checkpoint"):
        with pytest.raises(ValueError, match="label"):
            ALICE.sign(foreign)


@pytest.mark.parametrize("version", ["hauberk-message-v0", "hauberk-message-v2", "hauberk-message-", "none"])
def test_other_version_is_refused(version: str) -> None:
    """There is one version and one set of algorithms; what names another is refused, signed or not (A08)."""
    other = signed(changed(MESSAGE, version=version), ALICE)
    data = MESSAGE.encode().replace(b"hauberk-message-v1", version.encode())
    assert code(opened, data) == ("envelope.plain" if version == "none" else "envelope.unsupported")
    assert code(opened, other).startswith("envelope.")


@pytest.mark.parametrize(("field", "right"), [("nonce", 24), ("signature", 64), ("ephemeral", 32)])
def test_every_other_length_is_refused(field: str, right: int) -> None:
    """Nonce, signature and key of another length are refused, whoever signed that (A09)."""
    value = getattr(MESSAGE, field)
    for length in {*range(33), 63, 65, 128} - {right}:
        other = changed(MESSAGE, **{field: (value * 5)[:length]})
        other = other if field == "signature" else signed(other, ALICE)
        assert code(opened, other) == "envelope.malformed", length
        assert code(opened, other.encode()) == "envelope.malformed", length


def test_truncated_tag_is_refused() -> None:
    """Sealed content with less than its tag is refused, whoever signed that (A09)."""
    for length in range(len(MESSAGE.encrypted_content)):
        other = signed(changed(MESSAGE, encrypted_content=MESSAGE.encrypted_content[:length]), ALICE)
        assert code(opened, other) == ("envelope.malformed" if length < 16 else "envelope.forged")


@pytest.mark.parametrize(
    "members",
    [
        {"ephemeral": None},
        {"secret_id": SECRET.secret_id},
        {"ephemeral": None, "secret_id": SECRET.secret_id, "recipient": None},
        {"recipient": None, "recipient_key": None},
        {"timestamp": "2026-09-21T13:33:20Z"},
        {"timestamp": "2026-09-21T13:33:20.000000+00:00"},
        {"timestamp": "2026-09-21T13:33:60.000000Z"},
        {"timestamp": ""},
    ],
)
def test_combination_that_is_none_is_refused(members: dict[str, Any]) -> None:
    """A message that has a key and a secret, neither, or a time in another form is refused, whoever signed that."""
    other = signed(changed(MESSAGE, **members), ALICE)
    assert code(opened, other, secrets=[SECRET]) == "envelope.malformed"
    assert code(opened, other.encode(), secrets=[SECRET]) == "envelope.malformed"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"priority":200', b'"priority":200.0'),
        (b'"priority":200', b'"priority":2e2'),
        (b'"ttl":120', b'"ttl": 120'),
        (b'"task":"t-1"', b'"task":"t\\u002d1"'),
        (b"2.5", b"2.50"),
        ("n\u00e9".encode(), "ne\u0301".encode()),
        (b'"to":"bob"', b'"to":"bob","to":"bob"'),
        (b'"to":"bob"', b'"to":"bob","also":1'),
        (b'"requires_ack":true', b'"requires_ack":1'),
        (b'"version":"hauberk-message-v1"}', b'"version":"hauberk-message-v1"}\n'),
        (b'{"encrypted_content"', b' {"encrypted_content"'),
        (b"0b51d5a4-9c3e", b"0B51D5A4-9C3E"),
        (b"0b51d5a4-9c3e-4f57-8a55-1a2b3c4d5e6f", b"0b51d5a49c3e4f578a551a2b3c4d5e6f"),
    ],
)
def test_another_text_of_a_message_is_refused(old: bytes, new: bytes) -> None:
    """A message in another text, of the same meaning or nearly, is refused (A06)."""
    data = MESSAGE.encode()
    assert data.count(old) == 1
    assert code(opened, data.replace(old, new)).startswith("envelope.")


def test_members_in_another_order_are_another_text() -> None:
    """A message whose members stand in another order is refused (A06)."""
    found = msgspec.json.decode(MESSAGE.encode())
    data = msgspec.json.encode(dict(reversed(found.items())))
    assert code(opened, data) == "envelope.malformed"


def test_base64_has_one_text() -> None:
    """Bits that base64 does not use are zero: two texts of the same bytes are not both taken (A06)."""
    data = MESSAGE.encode()
    tail = msgspec.json.decode(data)["signature"][-4:].encode()
    assert tail.endswith(b"==")
    digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    other = tail[:1] + digits[digits.index(tail[1]) + 1 :][:1] + b"=="
    assert code(opened, data.replace(tail, other)) == "envelope.malformed"


@pytest.mark.parametrize(
    ("old", "new"),
    [("00Z", "0Z"), (".000000Z", "Z"), ("Z", "z"), ("T", " "), ("Z", "+00:00"), ("20", "+20"), ("", " ")],
)
def test_time_has_one_text(old: str, new: str) -> None:
    """A time is written in one way: another text of the same moment is refused, whoever signed that (A06)."""
    assert MESSAGE.timestamp.endswith(".000000Z")
    other = signed(changed(MESSAGE, timestamp=MESSAGE.timestamp.replace(old, new, 1)), ALICE)
    assert code(opened, other) == "envelope.malformed"
    assert code(opened, other.encode()) == "envelope.malformed"


# --- sizes ---


def test_size_is_refused_before_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is too large is refused before it is parsed (A10)."""
    monkeypatch.delattr("hauberk_envelope._message.edge")
    assert code(opened, bytes(24 << 20)) == "envelope.too_large"


def test_parts_have_bounds_of_their_own() -> None:
    """Custom fields do not take the room of the content, nor the other way round, whoever signed that (A10)."""
    about = msgspec.structs.replace(ABOUT, custom_fields={"x": "y" * (LIMITS.custom_bytes - 8)})
    assert code(opened, signed(changed(MESSAGE, metadata=about), ALICE)) == "envelope.forged", "that is read"
    about = msgspec.structs.replace(ABOUT, custom_fields={"x": "y" * (LIMITS.custom_bytes - 7)})
    assert code(opened, signed(changed(MESSAGE, metadata=about), ALICE)) == "envelope.malformed"
    for over in (0, 1):
        large = changed(MESSAGE, encrypted_content=bytes(LIMITS.message_bytes + 16 + over))
        assert code(check_form, large) == ("envelope.malformed" if over else "")


def test_content_has_a_bound() -> None:
    """What nobody would take is not sealed."""
    assert code(sealed, bytes(LIMITS.message_bytes + 1)) == "envelope.too_large"
    large = {"x": "y" * LIMITS.custom_bytes}
    assert code(sealed, metadata=Metadata(message_id=ABOUT.message_id, custom_fields=large)) == ("envelope.too_large")


def test_custom_fields_that_nobody_could_read_are_not_sealed() -> None:
    """Custom fields that JSON does not carry, or too deep for who receives them, are refused at once."""
    deep: Any = {}
    for _ in range(130):
        deep = {"x": deep}
    for fields in ({"x": float("nan")}, {"x": b""}, deep, {"x": "\ud800"}, {"x": 2**64}):
        about = Metadata(message_id=ABOUT.message_id, custom_fields=fields)
        assert code(sealed, metadata=about).startswith("core."), fields


@pytest.mark.parametrize("about", [{"priority": 256}, {"priority": -1}, {"ttl": 0}, {"ttl": 10**9}])
def test_numbers_have_bounds(about: dict[str, Any]) -> None:
    """A priority beyond a byte and a time to live beyond a week are refused, whoever signed that."""
    other = signed(changed(MESSAGE, metadata=msgspec.structs.replace(ABOUT, **about)), ALICE)
    assert code(opened, other.encode()) == "envelope.malformed"


# --- keys of one message ---


def test_no_key_is_used_twice() -> None:
    """Each message has a key of its own, the same content and the same time notwithstanding (S0.27, A05)."""
    random = counting()
    messages = [sealed(random=random) for _ in range(50)] + [sealed(random=random, secret=SECRET) for _ in range(50)]
    assert len({message.nonce for message in messages}) == 100
    assert len({message.ephemeral for message in messages}) == 51
    assert len({message.encrypted_content for message in messages}) == 100


def test_weak_key_of_a_message_is_a_forgery() -> None:
    """A message under a key of small order, properly signed, does not open: everybody would know its key (A07)."""
    for weak in (
        bytes(32),
        b"\1" + bytes(31),
        bytes.fromhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    ):
        other = signed(changed(MESSAGE, ephemeral=weak), ALICE)
        assert code(opened, other) == "envelope.forged"


# --- archives ---


def test_old_key_verifies_archives() -> None:
    """What was sealed when its key counted opens from an archive when the key counts no longer (S0.26)."""
    later = NOW + 500 * DAY
    assert code(opened, MESSAGE, now=later) == "envelope.key_expired"
    assert open_archived(MESSAGE.encode(), recipients=[BOB], trust=TRUST).content == b"hello"


def test_archive_holds_what_was_sealed_in_time() -> None:
    """A message that says that it was sealed before its key counted, or after, is refused from archives, too."""
    for now, found in ((NOW - 2 * DAY, "envelope.key_not_yet_valid"), (NOW + 365 * DAY, "envelope.key_expired")):
        message = sealed(now=now)
        assert code(open_archived, message, recipients=[BOB], trust=TRUST) == found
    renamed = signed(changed(MESSAGE, sender="carol"), ALICE)
    assert code(open_archived, renamed, recipients=[BOB], trust=TRUST) == "envelope.untrusted"


def test_message_object_is_decoded_once() -> None:
    """What is encoded is what is decoded."""
    assert SecureAgentMessage.decode(MESSAGE.encode()) == MESSAGE

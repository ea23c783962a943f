"""What the operator's file says of each principal, and what is no such file."""

from __future__ import annotations

import re
import tracemalloc
import unicodedata

import pytest

from hauberk.principal import ANONYMOUS, DOCTOR, Principal
from hauberk_sieve._limits import LIMITS
from hauberk_sieve.who._register import NOBODY, read

NFC, NFD = unicodedata.normalize("NFC", "José"), unicodedata.normalize("NFD", "José")


def of(id: str, tenant: str | None = None) -> Principal:
    return Principal(id=id, kind="user", tenant=tenant, method="jwt")


def reason(text: str, id: str, tenant: str | None = None) -> str | None:
    return read(text.encode()).find(of(id, tenant)).reason


def test_entry_holds_what_the_file_says() -> None:
    """Groups, roles and grants of a person are what stands in the file."""
    text = """
    [person."alice@example.org"]
    groups = ["staff"]
    roles = ["editor", "reader"]
    grants = ["files/read_*", { server = "org/x", tool = "y" }]
    """
    found = read(text.encode()).find(of("alice@example.org"))
    assert found.groups == {"staff"}
    assert found.roles == frozenset({"editor", "reader"})
    assert found.reason is None
    assert found.grants is not None
    assert [(pattern.server, pattern.tool) for pattern in found.grants] == [("files", "read_*"), ("org/x", "y")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        ('status = "active"', None),
        ('status = "disabled"', "user_disabled"),
        ("subscribed = false", "not_subscribed"),
        ('status = "suspended"', "suspended"),
        ('subscribed = false\nstatus = "disabled"', "not_subscribed"),
        ('subscribed = false\nstatus = "suspended"', "suspended"),
    ],
)
def test_first_reason_is_told(text: str, expected: str | None) -> None:
    """Suspended is told before not subscribed, and that before switched off (S1.3)."""
    assert reason(f"[person.bob]\n{text}", "bob") == expected


def test_newcomer_is_nobody_yet() -> None:
    """Of somebody whom the file does not name it says nothing, and so no role either (S1.9)."""
    register = read(b"[person.bob]")
    assert register.find(of("eve")) is NOBODY
    assert register.find(ANONYMOUS) is NOBODY
    assert NOBODY.roles is None


@pytest.mark.parametrize("id", ["Bob", "bob2", "bo", "b\u043eb"])
def test_another_plain_id_is_another_person(id: str) -> None:
    """Ids are compared exactly, case included: a plain id that differs is somebody else (S1.11)."""
    register = read(b'[person.bob]\nstatus = "suspended"\nroles = ["editor"]')
    assert register.find(of(id)) is NOBODY


@pytest.mark.parametrize(
    "id", ["bob\u200b", " bob", "bob\x00", "b\u00adob", "bob\u202e", "\uff42ob\u200d", "BOB\ufe0f"]
)
def test_hidden_character_escapes_no_suspension(id: str) -> None:
    """An id that is not plain meets the suspension of the id that it looks like."""
    assert reason('[person.bob]\nstatus = "suspended"', id) == "suspended"


@pytest.mark.parametrize("id", ["bob\u200b", " bob", NFD])
def test_hidden_character_gains_nothing(id: str) -> None:
    """An id that is not plain has nothing of what was given to the id that it looks like."""
    text = f'[person.bob]\nroles = ["admin"]\n[person."{NFC}"]\nroles = ["admin"]\ngroups = ["staff"]'
    assert read(text.encode()).find(of(id)) is NOBODY


def test_form_of_an_id_escapes_no_suspension() -> None:
    """An id in form D meets the suspension of its form C, in which the file has it (S1.11)."""
    text = f'[person."{NFC}"]\nstatus = "suspended"'
    assert (reason(text, NFC), reason(text, NFD)) == ("suspended", "suspended")


@pytest.mark.parametrize("id", ["x" * 2000 + "\u200b", "\u200b" * 2000 + "bob", "e" + "\u0301" * 40])
def test_id_that_cannot_be_compared_is_refused(id: str) -> None:
    """An id that is too long to be compared, or has too many marks, is nobody's."""
    assert reason("[person.bob]", id) == "user_disabled"


def test_tenants_are_apart() -> None:
    """Somebody of one tenant is not taken for somebody of another, or of none."""
    text = '[person.ann]\nroles = ["admin"]\n[tenant.acme.person.ann]\nstatus = "suspended"'
    register = read(text.encode())
    assert register.find(of("ann")).roles == frozenset({"admin"})
    assert register.find(of("ann", "acme")).reason == "suspended"
    assert register.find(of("ann", "evil")) is NOBODY
    assert register.find(of("acme/ann")) is NOBODY
    assert register.find(of("ann\u200b", "acme")).reason == "suspended"
    assert register.find(of("ann\u200b", "evil")) is NOBODY


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"[person.bob", "at end of document"),
        (b"\xff", "not UTF-8"),
        pytest.param(b"a = " + b"[" * 20_000, "nested too deep", id="deep"),
        (b'[people.bob]\nstatus = "suspended"', "'people': unknown key"),
        (b'person = "bob"', "expected a table"),
        (b'person.bob = "suspended"', "person 'bob': expected a table"),
        (b"[tenant]\nacme = 3", "tenant 'acme': expected a table"),
        (b"[tenant.acme.people.bob]", "tenant 'acme': 'people': unknown key"),
        (b'[person.bob]\nstatus = "banned"', "person 'bob': invalid enum value"),
        (b'[person.bob]\nstate = "suspended"', "person 'bob': object contains unknown field"),
        (b"[person.bob]\nsubscribed = 0", "person 'bob': expected 'bool'"),
        (b'[person.bob]\nroles = "admin"', "person 'bob': expected 'array"),
        (b"[person.bob]\nroles = [1]", "person 'bob': expected 'str'"),
        (b'[person.bob]\nroles = [""]', "is no plain name"),
        (b'[person.bob]\ngroups = ["a\\u200b"]', "is no plain name"),
        (b'[person.bob]\ngrants = ["read"]', "grants[0]: pattern 'read' has no '/'"),
        (b'[person.bob]\ngrants = ["files/x", "files/?"]', "grants[1]"),
        (b'[person."bob\\u200b"]', "an id is plain"),
        (b'[person." bob"]', "an id is plain"),
        (b'[person.""]', "an id is plain"),
        (f'[person."{NFD}"]'.encode(), "an id is plain"),
        (f"[person.{DOCTOR.id}]".encode(), "the doctor's own"),
        (b"[person.bob]\n[person.bob]", "line 2"),
    ],
)
def test_what_does_not_fit_is_an_error(data: bytes, words: str) -> None:
    """Whatever nothing reads is an error of the whole file: an entry that is skipped could be a suspension."""
    with pytest.raises(ValueError, match=re.escape(words)):
        read(data)


def test_people_of_a_register_are_bounded() -> None:
    """A register has no more people than the bound of one tenant."""
    text = "\n".join(f"[person.p{number}]" for number in range(LIMITS.people + 1))
    with pytest.raises(ValueError, match="more than"):
        read(text.encode())


def test_register_takes_little_room() -> None:
    """A thousand people with groups, roles and grants of their own take less than 1.5 MB (S1.10)."""
    text = "\n".join(
        f'[person."user-{number}@example.org"]\ngroups = ["team-{number % 7}"]\nroles = ["editor", "own-{number}"]\n'
        f'grants = ["files/read_{number}", "notes/*_{number}"]'
        for number in range(1000)
    ).encode()
    read(text)  # what is made once, by the parser, is not of the register
    tracemalloc.start()
    try:
        register = read(text)
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(register) == 1000
    assert size < 1_500_000


def test_people_who_have_the_same_share_it() -> None:
    """However many people have the same, it is kept once (S1.10)."""
    register = read(b'[person.a]\nroles = ["x"]\n[person.b]\nroles = ["x"]\n[tenant.t.person.c]\nroles = ["x"]')
    assert register.find(of("a")) is register.find(of("b")) is register.find(of("c", "t"))


def test_version_is_the_hash_of_the_file() -> None:
    """Two files have one version only if they are one to the byte."""
    assert read(b"").version == "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert read(b"[person.a]").version != read(b"[person.a]\n").version

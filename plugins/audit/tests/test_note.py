"""Signed notes: what others wrote is read, what is written others read, and nothing else counts."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from hauberk_audit._bounds import BOUNDS
from hauberk_audit.checkpoints._note import (
    NOTE,
    WITNESS,
    Note,
    NoteError,
    Signature,
    Signer,
    Verifier,
    check_signed,
    encode,
    key_number,
    parse,
    signature_lines,
)

GO_PRIVATE = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
GO_PUBLIC = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_TEXT = b"If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
GO_NOTE = (
    GO_TEXT.decode()
    + "\n\u2014 PeterNeumann "
    + "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
).encode()
"""The example of the package ``golang.org/x/mod/sumdb/note``."""
SUM_PUBLIC = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"
SUM_NOTE = """go.sum database tree
15067302
gJyioq6dwR9n+NjEWORfYmH+ubeYm3kH42BBQ0bTpYI=

\u2014 sum.golang.org Az3grp1rvWOs5NKlr/xR4GLN/CDyzzakmt1o61uSxYKpK1SerqOP2ClbX/peKUZjYnyomH5Xz7GZG3TpB7OeKn4E2ww=
\u2014 test.example.com qTGhC/xIPQ0AXKHK6Y+9ypRfuvMZWPjRXM8NiOg5M1WREn07VQXyuIXM3NRNav3ieVFLUqDRK77PWDmL6w8w84UqeAw=
""".encode()
"""A checkpoint of the checksum database of Go, cosigned by a test witness of Trillian."""
ALICE = Signer("example.com/alice", bytes(range(32)))
BOB = Signer("example.com/bob", bytes(range(1, 33)))
TEXT = b"hello\n"


def signed(text: bytes, *signers: Signer) -> bytes:
    return Note(text, tuple(signer.sign(text).signatures[0] for signer in signers)).data


def opened(data: bytes, *trusted: Verifier) -> list[str]:
    return [key.name for key in check_signed(parse(data), trusted)]


def test_note_of_go_is_made_to_the_byte() -> None:
    """The key and the text of Go's example give its note, and the public key opens it."""
    signer = Signer.parse(GO_PRIVATE)
    assert signer.sign(GO_TEXT).data == GO_NOTE
    assert (signer.line, signer.verifier.line) == (GO_PRIVATE, GO_PUBLIC)
    assert opened(GO_NOTE, Verifier.parse(GO_PUBLIC)) == ["PeterNeumann"]


def test_checkpoint_of_the_checksum_database_is_opened() -> None:
    """A checkpoint of a public log, with a signature of somebody unknown, is opened and written again to the byte."""
    assert opened(SUM_NOTE, Verifier.parse(SUM_PUBLIC)) == ["sum.golang.org"]
    assert parse(SUM_NOTE).data == SUM_NOTE


def test_cosignature_of_a_witness_counts() -> None:
    """A witness that is trusted vouches for a text by signing it with a time."""
    secret = Ed25519PrivateKey.from_private_bytes(bytes(range(2, 34)))
    public = secret.public_key().public_bytes_raw()
    witness = Verifier("witness.example/w", public, WITNESS)
    time = 1_679_315_147
    value = time.to_bytes(8, "big") + secret.sign(b"cosignature/v1\ntime 1679315147\n" + TEXT)
    note = Note(TEXT, (Signature(witness.name, witness.number, value),)).data
    assert opened(note, witness) == ["witness.example/w"]
    assert (
        witness.line == f"witness.example/w+{key_number(witness.name, public, 4).hex()}+{encode(bytes([4]) + public)}"
    )
    later = (time + 1).to_bytes(8, "big") + value[8:]
    for wrong in (later, value[8:], value + b"x", b""):
        assert not witness.signed(TEXT, wrong)
    with pytest.raises(NoteError, match="no key that is trusted"):
        opened(note, Verifier(witness.name, public, NOTE))


def test_unknown_signatures_are_passed_over() -> None:
    """One signature that is trusted is enough, wherever it stands, and unknown ones are not looked at."""
    note = parse(signed(TEXT, ALICE, BOB))
    assert opened(note.data, BOB.verifier) == ["example.com/bob"]
    assert opened(note.data, ALICE.verifier, BOB.verifier) == ["example.com/alice", "example.com/bob"]
    junk = Signature("example.com/carol", b"abcd", b"x")
    assert opened(note._replace(signatures=(junk, *note.signatures)).data, BOB.verifier) == ["example.com/bob"]


def test_note_without_trusted_signature_is_refused() -> None:
    """A note of somebody else, of another key of the same name, or of nobody, counts for nothing."""
    with pytest.raises(NoteError, match="no key that is trusted"):
        opened(signed(TEXT, ALICE), BOB.verifier)
    with pytest.raises(NoteError, match="no key that is trusted"):
        opened(signed(TEXT, ALICE), Signer(ALICE.verifier.name, bytes(range(9, 41))).verifier)
    with pytest.raises(NoteError, match="no key that is trusted"):
        opened(signed(TEXT, ALICE))


def test_signature_that_is_not_the_keys_spoils_the_note() -> None:
    """A signature that names a trusted key and is of another text refuses the note, though another one is good."""
    good, bad = ALICE.sign(TEXT), ALICE.sign(b"other\n")
    both = Note(TEXT, (*BOB.sign(TEXT).signatures, *bad.signatures)).data
    with pytest.raises(NoteError, match="is not of this text"):
        opened(both, ALICE.verifier, BOB.verifier)
    with pytest.raises(NoteError, match="is not of this text"):
        opened(good.data.replace(b"hello", b"hellO"), ALICE.verifier)


@given(st.integers(0, 8 * len(signed(TEXT, ALICE)) - 1))
def test_each_bit_of_a_note_counts(bit: int) -> None:
    """A note of which any bit is turned over is refused, or says the same and is signed by the same."""
    data = bytearray(signed(TEXT, ALICE))
    data[bit // 8] ^= 1 << bit % 8
    with pytest.raises(NoteError):
        opened(bytes(data), ALICE.verifier)


LINE = ALICE.sign(TEXT).signatures[0].line.decode()
BAD_NOTES = {
    "nothing": "",
    "no empty line": "hello\n" + LINE,
    "no signature": "hello\n\n",
    "no end": f"hello\n\n{LINE}".rstrip("\n"),
    "another dash": f"hello\n\n{LINE.replace(chr(0x2014), '-')}",
    "no blank": f"hello\n\n{LINE.replace(' ', '', 1)}",
    "an empty name": f"hello\n\n{LINE.replace('example.com/alice', '')}",
    "a name with plus": f"hello\n\n{LINE.replace('.com', '+com')}",
    "a name with a blank that is none of ASCII": f"hello\n\n{LINE.replace('.com', chr(0x2003))}",
    "base64 of another alphabet": "hello\n\n\u2014 a __-_YWJj\n",
    "base64 without padding": f"hello\n\n{LINE.replace('=', '')}",
    "a signature that is too short": "hello\n\n\u2014 a YWJjZA==\n",
    "base64 with bits that are nobody's": "hello\n\n\u2014 a YWJjZGV=\n",
    "a control character": f"hel\tlo\n\n{LINE}",
    "carriage return": f"hello\r\n\r\n{LINE}",
    "a line more": f"hello\n\n{LINE}more\n",
}


@pytest.mark.parametrize("text", BAD_NOTES.values(), ids=BAD_NOTES)
def test_what_is_no_note_is_refused(text: str) -> None:
    """Each way in which a text is no note is refused."""
    with pytest.raises(NoteError):
        parse(text.encode())


def test_bytes_that_are_no_text_are_refused() -> None:
    """A note that is no UTF-8, in its text or in a name, is none; nor is one over the bound."""
    with pytest.raises(NoteError, match="UTF-8"):
        parse(b"hell\xff\n\n" + LINE.encode())
    with pytest.raises(NoteError, match="UTF-8"):
        parse(b"hello\n\n\xe2\x80\x94 a\xff YWJjZGVm\n")
    with pytest.raises(NoteError, match="longer than"):
        parse(b"x" * BOUNDS.note + b"\n\n" + LINE.encode())


def test_text_with_empty_lines_ends_at_the_last_one() -> None:
    """The text of a note goes to its last empty line."""
    data = signed(b"one\n\ntwo\n", ALICE)
    assert parse(data).text == b"one\n\ntwo\n"
    assert opened(data, ALICE.verifier)


@pytest.mark.parametrize("text", ["no end", "bell\a\n", "tab\t\n"])
def test_text_that_cannot_be_signed(text: str) -> None:
    """A text that no reader would take is not signed."""
    with pytest.raises(NoteError):
        ALICE.sign(text.encode())


BAD_KEYS = {
    "of another number": GO_PUBLIC.replace("c74f", "c74e"),
    "in capitals": GO_PUBLIC.replace("c74f", "C74F"),
    "of an unknown type": "a+" + key_number("a", bytes(32), 7).hex() + "+" + encode(b"\7" + bytes(32)),
    "too short": "a+" + key_number("a", bytes(31), 1).hex() + "+" + encode(b"\1" + bytes(31)),
    "without a name": GO_PUBLIC.replace("PeterNeumann", ""),
    "with a blank after it": GO_PUBLIC + " ",
    "nothing": "",
}


@pytest.mark.parametrize("text", BAD_KEYS.values(), ids=BAD_KEYS)
def test_what_is_no_public_key_is_refused(text: str) -> None:
    """Each way in which a text is no public key is refused."""
    with pytest.raises(NoteError):
        Verifier.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        GO_PUBLIC,
        GO_PRIVATE.replace("c74f20a3", "c74f20a4"),
        GO_PRIVATE.replace("Peter", "Paul"),
        GO_PRIVATE.replace("AYEK", "BIEK"),
        GO_PRIVATE + "\n",
    ],
)
def test_what_is_no_private_key_is_refused_without_a_word_of_it(text: str) -> None:
    """A damaged key that signs is refused, and the error has nothing of it (X.14)."""
    with pytest.raises(NoteError) as caught:
        Signer.parse(text)
    assert "EKFALV" not in str(caught.value)


def test_lines_of_signatures_are_read_alone() -> None:
    """Signatures that somebody adds are read without the note."""
    assert [one.name for one in signature_lines((LINE * 2).encode())] == ["example.com/alice"] * 2
    assert list(signature_lines(b"")) == []
    with pytest.raises(NoteError, match="no end"):
        list(signature_lines(LINE.rstrip("\n").encode()))

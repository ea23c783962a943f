"""Signed notes: a text, and who signed it (https://c2sp.org/signed-note).

The rules:

1. A note is UTF-8 without control characters but LF: a text that ends with LF, an empty line, and one line for each
   signature, ``— <name> <base64>``. What is in base64 is the number of the key (4 bytes) and the signature.
2. A name is not empty, and has neither blanks nor ``+``. The number of a key is the beginning of the SHA-256 of its
   name, LF, its type (1 byte) and the key.
3. Type 1 is Ed25519 (RFC 8032) over the text. Type 4 is a cosignature of a witness (https://c2sp.org/tlog-cosignature):
   8 bytes of time, seconds since 1970, and Ed25519 over ``cosignature/v1``, ``time <seconds>`` and the text.
4. A note counts if a key that is trusted signed it. Signatures of other keys are passed over; one that names a trusted
   key and is not of it spoils the note.
5. A key is written as one line: ``<name>+<number in hexadecimal>+<base64 of type and key>``, one that signs with
   ``PRIVATE+KEY+`` before it. This is what the ``note`` package of Go reads and writes.
6. There is one base64 of the same bytes: what is encoded in another way is none.

Nothing here looks into the text.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Final, NamedTuple, Self, final

from hauberk_audit._bounds import BOUNDS

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

NOTE: Final = 0x01
"""The type of the keys that sign notes."""
WITNESS: Final = 0x04
"""The type of the keys of witnesses."""
KEY_BYTES: Final = 32
_SIGNATURE_BYTES: Final = 64
_TIME_BYTES: Final = 8
_NUMBER_BYTES: Final = 4
_DASH: Final = "\u2014 "
_PRIVATE: Final = "PRIVATE+KEY+"
_CONTROL: Final = re.compile(rb"[\x00-\x09\x0b-\x1f]")
_KEY: Final = re.compile(r"([^+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]+={0,2})")


class NoteError(ValueError):
    """What is no note, no key, or a note that nobody signed who is trusted."""


class Signature(NamedTuple):
    """One line of a note."""

    name: str
    number: bytes
    """Of the key (4 bytes)."""
    value: bytes

    @property
    def line(self) -> bytes:
        """The line, with its LF."""
        return f"{_DASH}{self.name} {encode(self.number + self.value)}\n".encode()


class Note(NamedTuple):
    """A text with its signatures, of which nothing is known yet."""

    text: bytes
    signatures: tuple[Signature, ...]

    @property
    def data(self) -> bytes:
        """The note as it is written."""
        return b"".join((self.text, b"\n", *(one.line for one in self.signatures)))


@final
class Verifier:
    """A key that is trusted to have signed."""

    __slots__ = ("kind", "name", "number", "public")

    def __init__(self, name: str, public: bytes, kind: int = NOTE) -> None:
        """Take a name and the 32 bytes of an Ed25519 key.

        Raises:
            NoteError: It cannot be one.
        """
        if not is_name(name):
            raise NoteError(f"{name!r} is no name for a key: it is empty, or has a blank or '+'")
        if kind not in {NOTE, WITNESS} or len(public) != KEY_BYTES:
            raise NoteError("it is no Ed25519 key, of a log or of a witness")
        self.name: Final = name
        self.public: Final = public
        self.kind: Final = kind
        self.number: Final = key_number(name, public, kind)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a key in its one line.

        Raises:
            NoteError: It is none.
        """
        name, kind, public = _key(text)
        return cls(name, public, kind)

    @property
    def line(self) -> str:
        """The key in one line."""
        return f"{self.name}+{self.number.hex()}+{encode(bytes([self.kind]) + self.public)}"

    def signed(self, text: bytes, value: bytes) -> bool:
        """Whether a signature is this key's, of this text."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        if self.kind == WITNESS:
            if len(value) != _TIME_BYTES + _SIGNATURE_BYTES:
                return False
            text = b"cosignature/v1\ntime %d\n%b" % (int.from_bytes(value[:_TIME_BYTES], "big"), text)
            value = value[_TIME_BYTES:]
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(value, text)
        except InvalidSignature:
            return False
        return True


@final
class Signer:
    """A key that signs notes."""

    __slots__ = ("_key", "_seed", "verifier")

    def __init__(self, name: str, seed: bytes) -> None:
        """Take a name and the 32 bytes of an Ed25519 key that signs.

        Raises:
            NoteError: It cannot be one.
        """
        if len(seed) != KEY_BYTES:
            raise NoteError("it is no Ed25519 key")
        self._seed: Final = seed
        self._key: Final = _private(seed)
        self.verifier: Final = Verifier(name, self._key.public_key().public_bytes_raw())

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a key in its one line. What is wrong with it is said without it.

        Raises:
            NoteError: It is none.
        """
        if not text.startswith(_PRIVATE):
            raise NoteError(f"it does not begin with {_PRIVATE!r}")
        name, kind, seed = _key(text.removeprefix(_PRIVATE), check=False)
        made = cls(name, seed)
        if kind != NOTE or made.line != text:
            raise NoteError("it is damaged")
        return made

    @property
    def line(self) -> str:
        """The key in one line: a secret."""
        return f"{_PRIVATE}{self.verifier.name}+{self.verifier.number.hex()}+{encode(bytes([NOTE]) + self._seed)}"

    def sign(self, text: bytes) -> Note:
        """Return a text as a note of this key.

        Raises:
            NoteError: It is no text for a note.
        """
        check_text(text)
        value = self._key.sign(text)
        return Note(text, (Signature(self.verifier.name, self.verifier.number, value),))


def parse(data: bytes) -> Note:
    """Read a note, whoever signed it.

    Raises:
        NoteError: It is none.
    """
    end = data.rfind(b"\n\n") + 1
    if not end or len(data) > BOUNDS.note:
        raise NoteError(f"it is longer than {BOUNDS.note} bytes" if end else "it has no empty line before signatures")
    check_text(data[:end])
    signatures = tuple(signature_lines(data[end + 1 :]))
    if not signatures:
        raise NoteError("it has no signature")
    return Note(data[:end], signatures)


def signature_lines(data: bytes) -> Iterable[Signature]:
    """Yield the signatures of which lines consist.

    Raises:
        NoteError: A line is none.
    """
    *lines, rest = data.split(b"\n")
    if rest:
        raise NoteError("its last line has no end")
    for line in lines:
        yield _signature(line)


def check_signed(note: Note, trusted: Sequence[Verifier]) -> list[Verifier]:
    """Return which of the trusted keys signed a note.

    Raises:
        NoteError: None of them did, or a signature that names one of them is not of it.
    """
    known = {(key.name, key.number): key for key in trusted}
    found: list[Verifier] = []
    for one in note.signatures:
        key = known.get((one.name, one.number))
        if key is None:
            continue
        if not key.signed(note.text, one.value):
            raise NoteError(f"a signature of {key.name!r} is not of this text")
        found.append(key)
    if not found:
        raise NoteError("no key that is trusted signed it")
    return found


def check_text(text: bytes) -> None:
    """Check that a text can be one of a note.

    Raises:
        NoteError: It cannot.
    """
    if not text.endswith(b"\n") or _CONTROL.search(text):
        raise NoteError("its text has a control character, or no end")
    try:
        text.decode()
    except UnicodeDecodeError:
        raise NoteError("it is no UTF-8") from None


def is_name(name: str) -> bool:
    """Whether a key can have this name."""
    return bool(name) and "+" not in name and not any(c.isspace() or c < " " for c in name)


def key_number(name: str, public: bytes, kind: int) -> bytes:
    """Return the number of a key."""
    return sha256(name.encode() + b"\n" + bytes([kind]) + public).digest()[:_NUMBER_BYTES]


def encode(data: bytes) -> str:
    """Return bytes in base64 (RFC 4648 section 4)."""
    return base64.b64encode(data).decode()


def decode(text: str) -> bytes:
    """Return what a text in base64 stands for.

    Raises:
        NoteError: It is none, or not the one of these bytes.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise NoteError("it has what is no base64") from None
    if encode(data) != text:
        raise NoteError("it has base64 that is not the one of its bytes")
    return data


def _signature(line: bytes) -> Signature:
    try:
        text = line.decode()
    except UnicodeDecodeError:
        raise NoteError("it is no UTF-8") from None
    name, _, encoded = text.removeprefix(_DASH).partition(" ")
    if not text.startswith(_DASH) or not is_name(name):
        raise NoteError("a line after the empty one is no signature")
    value = decode(encoded)
    if len(value) <= _NUMBER_BYTES:
        raise NoteError("a signature is too short")
    return Signature(name, value[:_NUMBER_BYTES], value[_NUMBER_BYTES:])


def _key(text: str, *, check: bool = True) -> tuple[str, int, bytes]:
    """Return name, type and bytes of a key."""
    found = _KEY.fullmatch(text)
    if found is None:
        raise NoteError("it is no key: <name>+<8 hexadecimal digits>+<base64>")
    data = decode(found[3])
    kind, key = data[0], data[1:]
    if check and key_number(found[1], key, kind).hex() != found[2]:
        raise NoteError("it is damaged: the number is not that of the key")
    return found[1], kind, key


def _private(seed: bytes) -> Ed25519PrivateKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(seed)

"""The text of a checkpoint, and files of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hauberk_audit._bounds import BOUNDS
from hauberk_audit.checkpoints._checkpoint import Checkpoint, Cut, chain_of, notes_in
from hauberk_audit.checkpoints._note import NoteError, Signer, encode, parse
from hauberk_audit.checkpoints._tree import Tree, leaf_hash

ROOT = bytes(range(32))
SIGNER = Signer("example.com/log", bytes(range(32)))
ONE = Checkpoint("example.com/log", 12, ROOT, "ab" * 16, "2026-11-21T09:00:00.000000Z", (("more", "a b"),))
NOTE = SIGNER.sign(ONE.text).data


def faults(data: bytes) -> list[tuple[int, bool]]:
    """Return where each note of a file begins, and whether it is one."""
    return [(found.line, not found.fault) for found in notes_in(data.split(b"\n")[:-1])]


def test_text_is_as_the_specification_has_it() -> None:
    """Origin, size and root come first, then the extensions, each on a line of its own."""
    assert ONE.text.decode() == (
        "example.com/log\n12\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n"
        f"chain {'ab' * 16}\ntime 2026-11-21T09:00:00.000000Z\nmore a b\n"
    )
    assert Checkpoint.parse(ONE.text) == ONE


def test_checkpoints_of_other_logs_are_read() -> None:
    """A checkpoint without extensions, or with others, is read."""
    assert Checkpoint.parse(b"go.sum database tree\n15067302\ngJyioq6dwR9n+NjEWORfYmH+ubeYm3kH42BBQ0bTpYI=\n")[:2] == (
        "go.sum database tree",
        15_067_302,
    )
    assert Checkpoint.parse(ONE.text + b"alone\n").extensions == (("more", "a b"), ("alone", ""))


BAD = {
    "two lines": f"a\n{encode(ROOT)}\n",
    "an empty line": f"a\n\n1\n{encode(ROOT)}\n",
    "an empty origin": f"\n1\n{encode(ROOT)}\n",
    "a size with a zero before it": f"a\n01\n{encode(ROOT)}\n",
    "a size below nothing": f"a\n-1\n{encode(ROOT)}\n",
    "a size in other digits": f"a\n\u0661\n{encode(ROOT)}\n",
    "a size without end": f"a\n{'9' * 19}\n{encode(ROOT)}\n",
    "a short root": f"a\n1\n{encode(ROOT[1:])}\n",
    "a root that is no base64": "a\n1\nx\n",
    "an extension twice": f"a\n1\n{encode(ROOT)}\nchain a\nchain b\n",
}


@pytest.mark.parametrize("text", BAD.values(), ids=BAD)
def test_what_is_no_checkpoint_is_refused(text: str) -> None:
    """Each way in which a text is no checkpoint is refused."""
    with pytest.raises(NoteError):
        Checkpoint.parse(text.encode())


def test_cut_agrees_with_itself() -> None:
    """What a log of which files are gone begins with is read back, unless its peaks are not those of its root."""
    tree = Tree()
    for line in (b"a", b"b", b"c"):
        tree.push(leaf_hash(line))
    cut = Cut(2, 3, "f" * 64, chain_of(b"a"), tree.peaks)
    made = cut.checkpoint("example.com/log", "2026-11-21T09:00:00.000000Z")
    assert made.root == tree.root()
    assert Cut.of(Checkpoint.parse(made.text)) == cut
    with pytest.raises(NoteError, match="not those of its root"):
        Cut.of(made._replace(root=ROOT))
    with pytest.raises(NoteError, match="where a log begins"):
        Cut.of(made._replace(size=4))
    with pytest.raises(NoteError, match="where a log begins"):
        Cut.of(ONE)


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", []),
        (NOTE, [(1, True)]),
        (NOTE + NOTE, [(1, True), (9, True)]),
        (b"\n\n" + NOTE + b"\n\n\n" + NOTE, [(3, True), (14, True)]),
        (NOTE[:20] + b"\n\n" + NOTE, [(1, False), (5, True)]),
        (NOTE[:-30] + b"\n\n" + NOTE, [(1, False), (10, True)]),
        (b"junk\n\n" + NOTE, [(1, False), (3, True)]),
        (NOTE + b"junk\n", [(1, True), (9, False)]),
    ],
)
def test_notes_of_a_file_are_found(data: bytes, found: list[tuple[int, bool]]) -> None:
    """Notes follow one another, with empty lines between or without; what is none does not hide those after it."""
    assert faults(data) == found


@given(st.lists(st.one_of(st.just(NOTE + b"\n"), st.binary(max_size=30).map(lambda junk: junk + b"\n\n\n"))))
def test_no_bytes_hide_a_note(parts: list[bytes]) -> None:
    """Whatever stands between them, each note is found that begins after an empty line."""
    assert [ok for _, ok in faults(b"\n\n" + b"\n\n".join(parts) + b"\n")].count(True) == parts.count(NOTE + b"\n")


def test_note_without_end_takes_no_memory() -> None:
    """A file that never ends a note is one fault, of which no more is kept than the bound."""
    (found,) = notes_in([b"x" * 100] * 10_000)
    assert found.fault
    assert len(found.data) <= BOUNDS.note


def test_note_in_a_file_is_signed() -> None:
    """What is found is the note to the byte."""
    (found,) = notes_in(NOTE.split(b"\n")[:-1])
    assert parse(found.data).data == NOTE

"""Sealed frames: what opens, what does not, and which keys and counters they use."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pybase64
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plugins.envelope.tests.ends import (
    BOUNDS,
    CAPABILITIES,
    NOW,
    REVISION,
    agreed,
    call,
    ends,
    opened,
    seal,
    sealed,
)

from hauberk.edge import MAX_DEPTH
from hauberk.refusals import Refused
from hauberk_envelope.session import _direction, _layout
from hauberk_envelope.session._direction import HARD_STOP, HEAD, REKEY, Exhausted, Unopened
from hauberk_envelope.session._layout import EXTENSION
from hauberk_envelope.session._session import Session, Terms, session_id

META: dict[str, Any] = {REVISION: "2026-07-28", CAPABILITIES: {"sampling": {}}}
MESSAGES: dict[str, dict[str, Any]] = {
    "request": call(id=7),
    "2026": call(id='a"b\\é', **META, progressToken="canary"),
    "notification": {"jsonrpc": "2.0", "method": "notifications/message", "params": {"data": "canary"}},
    "result": {"jsonrpc": "2.0", "id": -3, "result": {"content": [{"type": "text", "text": "canary"}]}},
    "error": {"jsonrpc": "2.0", "id": None, "error": {"code": -5, "message": "canary", "data": [1]}},
}
SIGNED = [Terms(), Terms(signed=True)]
by_message = pytest.mark.parametrize("data", MESSAGES.values(), ids=MESSAGES)
by_sign = pytest.mark.parametrize("terms", SIGNED, ids=["session", "message"])


def code(end: Session, frame: bytes, now: float = NOW) -> str:
    """Return the code by which a frame is refused."""
    with pytest.raises(Refused) as caught:
        opened(end, frame, now)
    return caught.value.code


# --- there and back ---


@by_message
@by_sign
def test_there_and_back(data: dict[str, Any], terms: Terms) -> None:
    """Each kind of message comes out as it went in, with what was visible of it and its counter (S0.21)."""
    alice, bob = ends(terms)
    for sender, receiver in ((alice, bob), (bob, alice)):
        for count in range(3):
            found = opened(receiver, seal(sender, data))
            assert orjson.loads(found.data) == data
            assert (found.method, found.id) == (data.get("method", ""), data.get("id"))
            assert (found.count, found.time) == (count, NOW)


@by_message
@by_sign
def test_nothing_else_is_visible(data: dict[str, Any], terms: Terms) -> None:
    """Outside there is a message of the same kind, method and id, with what the protocol demands, and no more."""
    frame = seal(ends(terms)[0], data)
    outer = orjson.loads(frame)
    place = outer["error"]["data"] if "error" in outer else (outer.get("params") or outer.get("result"))["_meta"]
    text = place.pop(EXTENSION)
    shown = {key: data[key] for key in ("jsonrpc", "id", "method") if key in data}
    assert place == (META if data is MESSAGES["2026"] else {})
    assert {key: outer[key] for key in shown} == shown
    assert set(outer) == set(data)
    assert b"canary" not in frame
    assert b"echo" not in frame
    assert b"canary" not in b"".join(pybase64.b64decode(text[at : at + 4]) for at in range(0, len(text), 4))


def test_the_same_message_twice() -> None:
    """Two seals of one message have nothing in common but what is visible."""
    alice, _ = ends()
    one, two = seal(alice, call()), seal(alice, call())
    head = len(_layout.header("request", "tools/call", 1, None)) + 28
    assert one[:head] != two[:head]
    assert one[head : head + 40] != two[head : head + 40]


@given(st.sampled_from(SIGNED), st.binary(max_size=600), st.one_of(st.integers(-(2**63), 2**64 - 1), st.text()))
def test_any_bytes_and_any_id(terms: Terms, data: bytes, id: int | str) -> None:
    """Any bytes come out as they went in: the length of base64 makes no difference (S0.21)."""
    alice, bob = ends(terms)
    found = opened(bob, sealed(alice, "request", 'm/é"\\', id, None, data))
    assert (found.data, found.id, found.method) == (data, id, 'm/é"\\')


# --- what was changed ---


def flips(frame: bytes) -> list[bytes]:
    made = []
    for at in range(8 * len(frame)):
        changed = bytearray(frame)
        changed[at // 8] ^= 1 << at % 8
        made.append(bytes(changed))
    return made


@by_message
@by_sign
def test_every_flipped_bit(data: dict[str, Any], terms: Terms) -> None:
    """Each single flipped bit of a frame is refused, visible or sealed, in every kind of message (S0.22)."""
    frame = seal(ends(terms)[0], data)
    for changed in flips(frame):
        _, bob = ends(terms)
        assert code(bob, changed) in (
            "envelope.forged",
            "envelope.malformed",
            "envelope.plain",
            "envelope.out_of_order",
        )


@given(st.sampled_from(SIGNED), st.data())
def test_flipped_bits_of_a_large_frame(terms: Terms, data: st.DataObject) -> None:
    """So is a sampled bit of a large one, and any frame that is shorter or longer (S0.22, A09)."""
    frame = seal(ends(terms)[0], call("x" * 20_000))
    at = data.draw(st.integers(0, 8 * len(frame) - 1))
    changed = bytearray(frame)
    changed[at // 8] ^= 1 << at % 8
    bad = data.draw(st.sampled_from([bytes(changed), frame[: at // 8], frame[: at // 8] + b"A" + frame[at // 8 :]]))
    assert code(ends(terms)[1], bad).startswith("envelope.")


@pytest.mark.parametrize("terms", SIGNED)
@pytest.mark.parametrize("length", range(33))
def test_every_length_of_a_seal(terms: Terms, length: int) -> None:
    """A seal of 0 to 32 characters, head, signature or tag cut short, is refused alike (A09)."""
    frame = seal(ends(terms)[0], call())
    start = frame.index(EXTENSION.encode()) + len(EXTENSION) + 3
    for kept in (length, 28 + length, 116 + length):
        cut = frame[: start + kept] + frame[-4:]
        assert code(ends(terms)[1], cut) in ("envelope.malformed", "envelope.forged")


def test_another_version() -> None:
    """A head that names another version is not opened (A08)."""
    alice, bob = ends()
    frame = seal(alice, call())
    start = frame.index(EXTENSION.encode()) + len(EXTENSION) + 3
    _, epoch, count, time = HEAD.unpack(pybase64.b64decode(frame[start : start + 28]))
    head = pybase64.b64encode(HEAD.pack(2, epoch, count, time))
    assert code(bob, frame[:start] + head + frame[start + 28 :]) == "envelope.forged"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_direction, "VERSION", 2)
        newer = seal(ends()[0], call())
    assert code(ends()[1], newer) == "envelope.forged"  # though its tag fits


def parts(frame: bytes) -> tuple[bytes, bytes, bytes, bytes, bytes]:
    """Take a signed frame apart: header, head, signature, ciphertext, end."""
    start = frame.index(EXTENSION.encode()) + len(EXTENSION) + 3
    return (
        frame[:start],
        frame[start : start + 28],
        frame[start + 28 : start + 116],
        frame[start + 116 : -4],
        frame[-4:],
    )


def test_a_signature_of_another_message() -> None:
    """A tag that fits does not help a signature that does not, nor the other way round; the refusal is one."""
    terms = Terms(signed=True)
    alice, bob = ends(terms)
    one, two = parts(seal(alice, call("a"))), parts(seal(alice, call("b")))
    swapped = b"".join((*one[:2], two[2], *one[3:]))
    assert code(bob, swapped) == "envelope.forged"
    tag = bytearray(one[3])
    tag[5] = ord("A") if tag[5] != ord("A") else ord("B")
    assert code(ends(terms)[1], b"".join((*one[:3], bytes(tag), one[4]))) == "envelope.forged"


def test_who_holds_the_keys_cannot_sign() -> None:
    """Where each message is signed, keys of the session alone make none: the signature is the sender's own."""
    keys, terms = agreed(), Terms(signed=True)
    _, bob = ends(terms)
    forger = Session(keys, initiator=True, me=bob._me, peer=bob.peer, terms=terms)
    assert code(bob, seal(forger, call())) == "envelope.forged"


# --- what was written anew, and what is no seal ---


def anew(frame: bytes, **how: Any) -> bytes:
    """Write a frame as another program would."""
    data = json.loads(frame)
    return json.dumps(dict(reversed(data.items())), **how).encode()


@by_message
@by_sign
def test_a_frame_that_was_written_anew(data: dict[str, Any], terms: Terms) -> None:
    """A proxy may parse a frame and write it in another way; what it means is bound, not how it is spelled."""
    alice, bob = ends(terms)
    for _ in range(2):
        spelled = anew(seal(alice, data), ensure_ascii=True, indent=1).replace(b"hauberk/seal", b"hauberk\\/seal")
        assert orjson.loads(opened(bob, spelled.replace(b"\n", b"")).data) == data


ADDED: dict[str, Callable[[dict[str, Any]], Any]] = {
    "member": lambda data: data.update(extra=1),
    "parameter": lambda data: data["params"].update(name="ls"),
    "meta": lambda data: data["params"]["_meta"].update(progressToken=1),
    "visible": lambda data: data["params"]["_meta"].update({REVISION: "2026-07-28"}),
    "result": lambda data: data.update(result={}),
    "no params": lambda data: data.pop("params"),
    "method": lambda data: data.update(method="ping"),
    "number": lambda data: data.update(method=1),
    "id": lambda data: data.update(id="7"),
    "float": lambda data: data.update(id=7.0),
    "true": lambda data: data.update(id=True),
    "seal": lambda data: data["params"]["_meta"].update({EXTENSION: 1}),
    "no ascii": lambda data: data["params"]["_meta"].update({EXTENSION: "é"}),
    "list": lambda data: data.update(params=[{"_meta": data["params"]["_meta"]}]),
}


@pytest.mark.parametrize("change", ADDED.values(), ids=ADDED)
def test_a_frame_with_more_than_it_had(change: Callable[[dict[str, Any]], Any]) -> None:
    """What was added to a frame, or put in another place of it, is refused: nothing rides along unsealed."""
    alice, bob = ends()
    data = orjson.loads(seal(alice, call(id=7)))
    change(data)
    assert code(bob, orjson.dumps(data)) in ("envelope.malformed", "envelope.forged", "envelope.plain")


PLAIN = [b"{}", b'{"params":[]}', b'{"jsonrpc":"2.0","id":1,"method":"ping"}', orjson.dumps(call())]


@pytest.mark.parametrize("frame", PLAIN)
def test_what_is_not_sealed(frame: bytes) -> None:
    """A plain message is refused where a session is, and ends it (A04)."""
    _, bob = ends()
    assert code(bob, frame) == "envelope.plain"
    assert bob.over == "envelope.plain"


SEALS = [
    b"",
    b"[]",
    b"null",
    b"\xff",
    b'{"method":1,"params":{"_meta":{"io.github.hauberk/seal":"AAAA"}}}',
    b'{"jsonrpc":"2.0","id":1,"method":"x","params":{"_meta":{"io.github.hauberk/seal":"A\\"A\\"}"}}}',
    b'"io.github.hauberk/seal":"',
    b'{"io.github.hauberk/seal":"AAAA"}',
    b'{"jsonrpc":"2.0","id":1,"method":"x","params":{"_meta":{"io.github.hauberk/seal":"',
    b'{"jsonrpc":"2.0","id":1,"method":"x","params":{"_meta":{"io.github.hauberk/seal":""}}}',
    b'{"jsonrpc":"2.0","id":1,"id":1,"method":"x","params":{"_meta":{"io.github.hauberk/seal":"AAAA"}}}',
    b'{"jsonrpc":"2.0","id":1,"method":"x","params":{"_meta":{"io.github.hauberk/seal":"AAAA\\u0041"}}}',
    b"[" * (MAX_DEPTH + 1) + b'{"io.github.hauberk/seal":"A' + b'"}' + b"]" * (MAX_DEPTH + 1),
]


@pytest.mark.parametrize("frame", SEALS)
def test_what_only_looks_sealed(frame: bytes) -> None:
    """What has a seal's name in it and is none is refused."""
    assert code(ends()[1], frame) in ("envelope.malformed", "envelope.plain")


@by_sign
def test_a_seal_has_one_text(terms: Terms) -> None:
    """Base64 with anything in it that stands for nothing is refused: there is one text for the same bytes (A06)."""
    frame = seal(ends(terms)[0], call())
    start = frame.index(EXTENSION.encode()) + len(EXTENSION) + 3
    for at in (start, start + 5, start + 28, len(frame) - len(_layout.END)):
        for put in (b"-", b"_", b"*", b" ", b".", b"=", b"\\n", b"\\u0041"):
            assert code(ends(terms)[1], frame[:at] + put + frame[at:]) == "envelope.malformed"


@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_in_place_of_a_frame(data: bytes, marked: bool) -> None:
    """Any bytes at all are a refusal, and nothing else is ever raised."""
    frame = data[:7] + b'"io.github.hauberk/seal":"' + data[7:] + b'"}}}' if marked else data
    assert code(ends()[1], frame).startswith("envelope.")


def test_a_seal_in_what_is_visible() -> None:
    """A host cannot put a second seal into the members that are visible."""
    alice, _ = ends()
    with pytest.raises(Refused, match="holds a seal"):
        seal(alice, call(**{**META, CAPABILITIES: {EXTENSION: "x"}}))
    assert alice._sending.count == 0


@pytest.mark.parametrize("id", [b"007", b"00", b"", b"18446744073709551616", b"9" * 30])
def test_an_id_has_one_text(id: bytes) -> None:
    """A header that was read before is known again only with an id that the edge would take (A06)."""
    frame = _layout.header("request", "tools/call", 7, None) + b"AAAA" + _layout.END
    for _ in range(2):
        assert _layout.read(frame, BOUNDS)[2] == 7
    with pytest.raises(_layout.NotSealed):
        _layout.read(frame.replace(b'"id":7', b'"id":' + id), BOUNDS)


@pytest.mark.parametrize("kind", ["request", "notification", "result", "error"])
def test_what_is_remembered_of_headers_is_bounded(kind: Any) -> None:
    """However many methods are sent or come in, few headers are kept, and no long one (design §9.8)."""
    methods = [f"x/{number}" for number in range(2 * _layout._MEMO)] + ["x/" + "y" * 8000]
    for method in methods:
        head = _layout.header(kind, method, 7, None)
        assert _layout.read(head + b"AAAA" + _layout.END, BOUNDS)[1] == (method if head.count(b"x/") else "")
        for kept in (_layout.RIGHTS[kind], _layout._known):
            assert len(kept) <= _layout._MEMO
            assert max(map(len, kept), default=0) < 200


# --- order ---


def test_dropped_doubled_and_reordered() -> None:
    """What is not the next message is refused and ends the session, and what comes after it does not pass either."""
    for order in ([1], [0, 0], [0, 2], [0, 1, 0]):
        alice, bob = ends()
        frames = [seal(alice, call(str(n))) for n in range(4)]
        for at in order[:-1]:
            opened(bob, frames[at])
        assert code(bob, frames[order[-1]]) == "envelope.out_of_order"
        for frame in frames:
            assert code(bob, frame) in ("envelope.session_over", "envelope.out_of_order")
        assert bob.over == "envelope.out_of_order"


def test_sent_back() -> None:
    """What one end sealed does not open there, though its counter is the next one (A01)."""
    alice, bob = ends()
    frame = seal(alice, call())
    assert code(alice, frame) == "envelope.forged"
    assert code(bob, seal(bob, call())) == "envelope.forged"


def test_another_session() -> None:
    """A frame of one session does not open in another one of the same two, at the same place (splice)."""
    (alice, _), (_, bob) = ends(seed=1), ends(seed=5)
    assert alice.id != bob.id
    assert code(bob, seal(alice, call())) == "envelope.forged"


def test_signed_and_unsigned() -> None:
    """An end that expects signatures takes no frame without one, nor the other way round (A08)."""
    unsigned, signed = ends(), ends(Terms(signed=True))
    assert code(signed[1], seal(unsigned[0], call())) in ("envelope.malformed", "envelope.forged")
    assert code(unsigned[1], seal(signed[0], call())) in ("envelope.malformed", "envelope.forged")


# --- keys ---


def test_rekey_at_any_point() -> None:
    """The sender may go on to another key before any message; both follow, and counters go on."""
    alice, bob = ends(Terms(rekey=3))
    keys = set()
    for count in range(20):
        if count % 7 == 2:
            alice.rekey()
        found = opened(bob, seal(alice, call(str(count))))
        keys.add(alice._sending._key)
        assert found.count == count
        assert alice._sending.epoch == bob._receiving.epoch
    assert alice._sending._key == bob._receiving._key
    assert len(keys) == alice._sending.epoch + 1 == 9


def test_rekey_twice_in_a_row() -> None:
    """An epoch that is skipped was never used, and is refused: nobody is made to go through keys for nothing."""
    alice, bob = ends()
    alice.rekey()
    alice.rekey()
    assert code(bob, seal(alice, call())) == "envelope.out_of_order"


def test_an_older_epoch() -> None:
    """A message under the key before is not taken any more."""
    alice, bob = ends()
    opened(bob, seal(alice, call()))
    late, _ = ends()
    seal(late, call())
    seal(late, call())
    alice.rekey()
    opened(bob, seal(alice, call()))
    assert code(bob, seal(late, call())) == "envelope.out_of_order"


def test_a_forged_epoch_changes_no_key() -> None:
    """A forged message of the next epoch is refused, and leaves no other key behind."""
    alice, bob = ends()
    frame = seal(alice, call())
    start = frame.index(EXTENSION.encode()) + len(EXTENSION) + 3
    version, _, count, time = HEAD.unpack(pybase64.b64decode(frame[start : start + 28]))
    before = bob._receiving._key
    with pytest.raises(Unopened):
        bob._receiving.open(
            frame[:start], HEAD.pack(version, 1, count, time), pybase64.b64decode(frame[start + 28 : -4])
        )
    assert (bob._receiving._key, bob._receiving.epoch, bob._receiving.count) == (before, 0, 0)


def test_a_key_is_for_so_many_messages() -> None:
    """A key seals 2**20 messages at most, and opens 2**32 - 1 (S0.27)."""
    alice, bob = ends(Terms(rekey=1 << 40))
    assert alice._sending._every == HARD_STOP
    assert REKEY == 1 << 20
    alice._sending._last = alice._sending.count + 1
    opened(bob, seal(alice, call()))
    assert alice._sending.epoch == 0
    opened(bob, seal(alice, call()))
    assert alice._sending.epoch == 1
    bob._receiving._last = bob._receiving.count
    assert code(bob, seal(alice, call())) == "envelope.session_over"


def test_no_counter_twice_under_a_key() -> None:
    """No two messages are sealed under one key and counter, whatever fails in between (A05)."""
    alice, _ = ends(Terms(rekey=5, longest=4000))
    used = set()
    for count in range(40):
        if count % 4 == 3:
            with pytest.raises(Refused):
                seal(alice, call("x" * 5000))
            before = alice._sending.count
            with pytest.raises(TypeError):
                sealed(alice, "request", "m", 1, None, "the cipher takes bytes")
            assert alice._sending.count == before + 1
            continue
        frame = seal(alice, call())
        start = frame.index(EXTENSION.encode()) + len(EXTENSION) + 3
        _, epoch, counter, _ = HEAD.unpack(pybase64.b64decode(frame[start : start + 28]))
        used.add((epoch, counter))
        assert len({epoch for epoch, _ in used}) == alice._sending.epoch + 1
    assert len(used) == 30


def test_forgotten_keys() -> None:
    """A session that is over has no keys, and says why it is over."""
    alice, bob = ends()
    alice.end("done")
    with pytest.raises(Refused, match="done"):
        seal(alice, call())
    with pytest.raises(Refused, match="done"):
        alice.rekey()
    assert code(alice, seal(bob, call())) == "envelope.session_over"
    assert alice._sending._key == alice._receiving._key == b""
    for cipher in (alice._sending._encrypt, alice._receiving._decrypt):
        with pytest.raises(Exhausted):
            cipher(bytes(12), bytes(16), b"")


def test_a_key_after_the_last() -> None:
    """A session that is over goes on to no other key, whatever comes."""
    alice, bob = ends()
    alice.rekey()
    frame = seal(alice, call())
    bob.end("done")
    assert code(bob, frame) == "envelope.session_over"


def test_a_clock_before_1970() -> None:
    """A message of a clock that stands before 1970 says that it was sealed then (A13)."""
    alice, bob = ends()
    assert opened(bob, seal(alice, call(), -5.0)).time == 0


def test_an_expired_key_ends_a_session() -> None:
    """A session lasts no longer than the keys that it was agreed on with (S0.24)."""
    alice, bob = ends(Terms(until=NOW + 10))
    opened(bob, seal(alice, call(), NOW + 10), NOW + 10)
    late = seal(alice, call(), NOW + 10)
    assert code(bob, late, NOW + 10.5) == "envelope.key_expired"
    with pytest.raises(Refused, match="expired"):
        seal(alice, call(), NOW + 11)


def test_a_frame_that_is_too_long() -> None:
    """What the other end would not take is not sealed, and uses no counter: the session goes on."""
    for terms in (Terms(longest=2000), Terms(longest=2000, signed=True)):
        alice, bob = ends(terms)
        for size in range(900, 1600):
            before = alice._sending.count
            try:
                frame = seal(alice, call("x" * size))
            except Refused:
                assert alice._sending.count == before
            else:
                assert len(frame) <= 2000
                opened(bob, frame)
        assert 0 < alice._sending.count < 700
        with pytest.raises(Refused, match="too large"):
            seal(alice, call("x" * 2000))


FORK = """
import os, sys
sys.path.insert(0, sys.argv[1])
from plugins.envelope.tests.ends import call, ends, opened, seal
from hauberk.refusals import Refused

alice, bob = ends()
opened(bob, seal(alice, call()))
reading, writing = os.pipe()
child = os.fork()
if not child:
    said = []
    for use in (lambda: seal(alice, call()), lambda: opened(bob, b""), alice.rekey):
        try:
            use()
            said.append("used")
        except Refused as refused:
            said.append(refused.message)
    os.write(writing, repr((said, alice._sending._key, bob._receiving._key)).encode())
    os._exit(0)
os.waitpid(child, 0)
print(os.read(reading, 4000).decode())
opened(bob, seal(alice, call()))
print("parent goes on")
"""


def test_a_forked_process() -> None:
    """A child of a fork has no session: it would use the counters of its parent, which goes on (A05)."""
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", FORK, str(root)], capture_output=True, text=True, timeout=60, check=True, env=os.environ
    )
    assert "used" not in done.stdout
    assert done.stdout.count("the process was forked") == 2
    assert done.stdout.splitlines()[0].endswith(", b'', b'')")
    assert done.stdout.endswith("parent goes on\n")


def test_names() -> None:
    """A session has one name at both ends, and what each end receives has names of its own."""
    alice, bob = ends()
    assert alice.id == bob.id == session_id(agreed().hash)
    assert alice.receives != bob.receives
    assert {alice.receives, bob.receives} == {f"{alice.id}_responder", f"{alice.id}_initiator"}
    assert len(alice.id) == 57
    assert repr(alice) == f"<Session {alice.id} with bob>"
    assert BOUNDS.line_bytes == Terms().longest

"""The straight case decides as the full one: of a frame's layout, of its header, of its size, and of a connection."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plugins.envelope.tests.ends import BOUNDS, CAPABILITIES, NOW, REVISION, call, ends, seal, sealed

from hauberk.connection import Connection
from hauberk.message import Frame
from hauberk.refusals import Refused
from hauberk_envelope.session import _layout
from hauberk_envelope.session._desk import Desk
from hauberk_envelope.session._layout import END, EXTENSION, NotSealed
from hauberk_envelope.session._link import Link
from hauberk_envelope.session._session import Terms

META: dict[str, Any] = {REVISION: "2026-07-28", CAPABILITIES: {"sampling": {}}}
KEY = f'"{EXTENSION}":"'.encode()
SHOWN: dict[str, tuple[Any, str, Any, Any]] = {
    "request": ("request", "tools/call", 7, None),
    "long id": ("request", "ping", 123_456_789_012_345_678, None),
    "longer id": ("request", "ping", 2**63, None),
    "negative id": ("request", "ping", -7, None),
    "id in letters": ("request", "ping", "7", None),
    "2026": ("request", "tools/call", 0, META),
    "notification": ("notification", "notifications/message", None, None),
    "result": ("result", "", 7, None),
    "error": ("error", "", 10, None),
}
ATOMS = (
    *(b"", b"0", b"1", b"-", b"+", b"_", b".", b"e", b" ", b"\n", b"\\", b'"', b",", b":", b"{", b"}", b"[", b"]"),
    *(
        b"null",
        b"true",
        b'"id":7,',
        b'"method":"ping",',
        b'"result":{},',
        b'"params":{},',
        KEY,
        END,
        b"\xff",
        b"=",
        b"A",
    ),
    *(b"99999999999999999999", b"\xd9\xa1", b"\x00", b'"jsonrpc":"2.0",', b"\\u0041"),
)


# --- a frame's layout ---


def read(how: Callable[[], _layout.Seen]) -> Any:
    """Return what is read of a frame, with the type of its id, or how it is refused."""
    try:
        kind, method, id, meta, header, text = how()
    except NotSealed as found:
        return found.plain
    return kind, method, type(id), id, meta, header, bytes(text)


def both(frame: bytes) -> Any:
    """Read a frame as it comes, and by the full reader alone; return what both say."""
    at = frame.find(KEY) + len(KEY)
    found = read(lambda: _layout.read(frame, BOUNDS))
    assert found == read(lambda: _layout._read_new(frame, at, BOUNDS)), frame
    return found


def laid_out(shown: tuple[Any, str, Any, Any], text: bytes) -> bytes:
    """Return a frame, whose header is remembered from now on."""
    frame = _layout.header(*shown) + text + END
    _layout.read(frame, BOUNDS)
    return frame


@pytest.mark.parametrize("shown", SHOWN.values(), ids=SHOWN)
@pytest.mark.parametrize("text", [b"", b"QUJD", b"QUI=" * 1500])
def test_a_frame_is_read_as_by_the_full_reader(shown: tuple[Any, str, Any, Any], text: bytes) -> None:
    """A frame whose header was read before is read as it was then, short or long."""
    kind, method, id = shown[:3]
    assert both(laid_out(shown, text)) == (kind, method, type(id), id, shown[3], _layout.header(*shown), text)


@pytest.mark.parametrize("shown", SHOWN.values(), ids=SHOWN)
def test_every_flipped_bit_is_read_as_by_the_full_reader(shown: tuple[Any, str, Any, Any]) -> None:
    """With any one bit of it another, a frame is taken or refused as by the full reader (S0.22)."""
    frame = laid_out(shown, b"QUJD")
    for at in range(8 * len(frame)):
        changed = bytearray(frame)
        changed[at // 8] ^= 1 << at % 8
        both(bytes(changed))


@given(
    st.sampled_from([*SHOWN.values()]),
    st.lists(st.tuples(st.integers(0, 140), st.sampled_from(ATOMS), st.integers(0, 30))),
)
def test_any_wound_is_read_as_by_the_full_reader(
    shown: tuple[Any, str, Any, Any], wounds: list[tuple[int, bytes, int]]
) -> None:
    """However a frame was cut and mended, it is taken or refused as by the full reader, with the same id."""
    frame = laid_out(shown, b"QUJD")
    for at, put, cut in wounds:
        frame = frame[:at] + put + frame[at + cut :]
    both(frame)


@given(
    st.integers(0, 2**64), st.sampled_from(["%d", "0%d", "+%d", " %d", "%d ", "%d.0", "-%d", "%de0", "1_%d", '"%d"'])
)
def test_an_id_is_read_as_by_the_full_reader(id: int, spelled: str) -> None:
    """However an id is spelled, a header that was read before makes no difference to it (A06)."""
    frame = laid_out(SHOWN["request"], b"QUJD")
    both(frame.replace(b'"id":7', b'"id":' + (spelled % id).encode()))


# --- its header and its size ---


@given(
    st.sampled_from(["request", "notification", "result", "error"]),
    st.text(max_size=20),
    st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.text(max_size=5)),
    st.sampled_from([None, META]),
)
def test_a_header_is_what_is_made_of_nothing_remembered(kind: Any, method: str, id: Any, meta: Any) -> None:
    """What is sealed shows the same the first time, when nothing is remembered of its header, and ever after."""
    for memo in _layout.RIGHTS.values():
        memo.clear()
    header = _layout.header(kind, method, id, meta)
    alice, _ = ends()
    for _ in range(3):
        frame = sealed(alice, kind, method, id, meta, b"x")
        assert frame.startswith(header)
        assert len(frame) == len(header) + 28 + 24 + len(END)
    members: dict[str, Any] = {"jsonrpc": "2.0"} | ({} if kind == "notification" else {"id": id})
    place = {**(meta or {}), EXTENSION: ""} if kind == "request" else {EXTENSION: ""}
    if kind in ("request", "notification"):
        members |= {"method": method, "params": {"_meta": place}}
    elif kind == "result":
        members |= {"result": {"_meta": place}}
    else:
        members |= {"error": {"code": -32004, "message": "sealed", "data": place}}
    assert header + END == orjson.dumps(members)


@given(
    st.integers(200, 3000), st.integers(0, 3000), st.integers(0, 2**60), st.booleans(), st.sampled_from([None, META])
)
def test_what_fits_is_sealed_and_nothing_else(longest: int, size: int, id: int, signed: bool, meta: Any) -> None:
    """A message is sealed exactly where its frame is no longer than the other end takes."""
    alice, _ = ends(Terms(longest=longest, signed=signed))
    header = _layout.header("request", "tools/call", id, meta)
    length = len(header) + 28 + 4 * -(-(size + 16 + 64 * signed) // 3) + len(END)
    if length <= longest:
        assert len(sealed(alice, "request", "tools/call", id, meta, bytes(size))) == length
        return
    with pytest.raises(Refused, match="too large"):
        sealed(alice, "request", "tools/call", id, meta, bytes(size))
    assert alice._sending.count == 0


@pytest.mark.parametrize("signed", [False, True])
def test_what_fits_is_exact(signed: bool) -> None:
    """So it is for each length round the longest, whatever base64 makes of it."""
    header = _layout.header("request", "ping", 1, None)
    for longest in range(600, 606):
        alice, _ = ends(Terms(longest=longest, signed=signed))
        for size in range(250, 350):
            length = len(header) + 28 + 4 * -(-(size + 16 + 64 * signed) // 3) + len(END)
            if length > longest:
                with pytest.raises(Refused, match="too large"):
                    sealed(alice, "request", "ping", 1, None, bytes(size))
            else:
                assert len(sealed(alice, "request", "ping", 1, None, bytes(size))) == length


# --- a connection ---


class Side:
    """One end of a connection as a policy has it, and its twin without one: a link with the same keys."""

    def __init__(self, role: Any, *, asked: bool, proved: bool) -> None:
        self.events: list[Any] = []
        guard = SimpleNamespace(
            now=lambda: NOW, config=SimpleNamespace(core=SimpleNamespace(bounds=BOUNDS)), emit=self.events.append
        )
        self.desk = Desk(None, guard)
        self.connection = Connection(id="c", host="h", server="files", role=role, carrier="unix")
        self.links = Link(role, "who"), Link(role, "who")
        for link in self.links:
            link.session = ends()[role == "server"]
            link.proved = link.session if proved else None
            link.asked = "asked" if asked else None
        self.desk.links.put(self.connection, self.links[0])

    def send(self, frame: Frame) -> None:
        """Send by both, and compare."""
        self._compare(
            lambda: self.desk.send(frame, self.connection),
            lambda: self.links[1].send(frame, NOW),
        )

    def receive(self, frame: Frame) -> None:
        """Receive by both, and compare."""
        self._compare(
            lambda: self.desk.receive(frame, self.connection),
            lambda: self.links[1].receive(frame, NOW, BOUNDS),
        )

    def _compare(self, *ways: Callable[[], Frame | None]) -> None:
        said: list[Any] = []
        for way in ways:
            try:
                found = way()
            except Refused as refused:
                said.append((refused.code, refused.message))
            else:
                said.append(found and (found.data, found.kind, found.method, found.id, found.meta, found.proof))
        assert said[0] == said[1]
        link, twin = self.links
        assert (link.over, link.asked) == (twin.over, twin.asked)
        assert self.connection.over == link.over


OUT: dict[str, Frame] = {
    "call": Frame(orjson.dumps(call()), "server", "", "request", "tools/call", 1),
    "answer": Frame(b'{"result":{}}', "client", "", "result", "tools/call", 1),
    "agreed": Frame(b'{"result":{}}', "client", "", "result", EXTENSION, "asked"),
    "error": Frame(b'{"error":{}}', "client", "", "error", "", "asked"),
    "huge": Frame(bytes(1 << 24), "server", "", "request", "tools/call", 1),
    "two seals": Frame(b"{}", "server", "", "request", "ping", 1, meta={CAPABILITIES: {EXTENSION: "x"}}),
}
step = st.one_of(
    st.sampled_from([*OUT]),
    st.sampled_from(["next", "again", "lost", "changed", "plain", "rekey", "end"]),
)


@given(st.sampled_from(["client", "server"]), st.booleans(), st.booleans(), st.lists(step, max_size=8))
def test_a_connection_goes_as_its_link_would(role: Any, asked: bool, proved: bool, steps: list[str]) -> None:
    """Whatever leaves and comes in, in any order, the straight way of a policy ends as the link's own (A04, S0.28)."""
    side = Side(role, asked=asked, proved=proved)
    other = ends()[role == "client"]
    frame = b""
    for what in steps:
        if what in OUT:
            side.send(OUT[what])
            continue
        if what == "rekey":
            other.rekey()
            continue
        if what == "end":
            for link in side.links:
                assert link.session is not None
                link.session.end("done")
            continue
        if what == "plain":
            side.receive(Frame(b'{"jsonrpc":"2.0","id":1,"method":"ping"}', "server"))
            continue
        if what != "again" or not frame:
            frame = seal(other, call())
        if what == "lost":
            frame = seal(other, call())
        side.receive(Frame(frame.replace(b"tools", b"fools") if what == "changed" else frame, "server"))


def test_a_session_that_another_replaces_opens_nothing() -> None:
    """A connection whose session is agreed on anew neither seals nor opens by the one before (A04)."""
    side = Side("client", asked=False, proved=True)
    _, bob = ends()
    side.receive(Frame(seal(bob, call()), "client"))
    for link in side.links:
        link.begin(None, "files", 0)  # type: ignore[arg-type]
    side.send(OUT["call"])
    with pytest.raises(Refused) as caught:
        side.desk.receive(Frame(seal(bob, call()), "client"), side.connection)
    assert caught.value.code == "envelope.plain"

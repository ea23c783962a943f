"""One connection, without guards round it: which frames pass in plain, whatever else may have stopped them before."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from plugins.envelope.tests.ends import ALICE, BOB, BOUNDS, NOW, ends

from hauberk.message import Frame
from hauberk.refusals import Refused
from hauberk_envelope._trust import Rules, Trust
from hauberk_envelope.session._agreement import Offer, Party, answer
from hauberk_envelope.session._layout import EXTENSION
from hauberk_envelope.session._link import Link
from hauberk_envelope.session._refusals import REFUSED
from hauberk_envelope.session._session import Terms

RULES = Rules(can_communicate_with={"alice": frozenset({"bob"})})
TRUST = Trust({one.key_id: one.public for one in (ALICE, BOB)}, rules=RULES)


def written(**members: Any) -> bytes:
    return orjson.dumps({"jsonrpc": "2.0", **members})


def arrives(link: Link, **members: Any) -> str:
    """Let a frame come in; return the code that refuses it, or nothing."""
    toward: Any = "client" if link.role == "client" else "server"
    try:
        link.receive(Frame(written(**members), toward), NOW, BOUNDS)
    except Refused as error:
        return error.code
    return ""


def leaves(link: Link, kind: Any, method: str, id: Any) -> str:
    """Let a frame leave; return the code that refuses it, or nothing."""
    toward: Any = "server" if link.role == "client" else "client"
    try:
        link.send(Frame(written(id=id), toward, "", kind, method, id), NOW)
    except Refused as error:
        return error.code
    return ""


def asking(id: int = 1) -> tuple[Link, Offer]:
    """Return the link of a client that waits for the answer to its request."""
    link, offer = Link("client", "bob"), Offer(Party(ALICE, TRUST), BOB.public, "files", NOW)
    link.begin(offer, "files", 0)
    assert leaves(link, "request", EXTENSION, id) == ""
    return link, offer


def test_one_request_for_a_session_at_a_time() -> None:
    """In front of a server a second request is refused while the first waits for its answer (A04)."""
    link = Link("server", "a client")
    assert arrives(link, id=1, method=EXTENSION, params={}) == ""
    assert arrives(link, id=2, method=EXTENSION, params={}) == "envelope.plain"
    assert link.over == "envelope.plain"


@pytest.mark.parametrize(
    "members",
    [
        {"id": 2, "result": {}},
        {"id": "1", "result": {}},
        {"id": 1, "method": "tools/list"},
        {"method": "notifications/message"},
        {"id": None, "error": {"code": 1, "message": "x"}},
    ],
)
def test_a_client_takes_the_one_answer_in_plain(members: dict[str, Any]) -> None:
    """Beside a client nothing comes in plain but the answer to what it asked, by its id, and once (A04)."""
    link, _ = asking()
    assert arrives(link, **members).startswith("envelope.")
    assert link.over
    asked = Link("client", "bob")
    assert arrives(asked, **members).startswith("envelope."), "before it has asked"
    assert asked.over


def test_an_answer_is_taken_once() -> None:
    """The answer makes the session; from then on the same bytes are a message in plain (A04)."""
    link, offer = asking()
    result, _ = answer(Party(BOB, TRUST), offer.params, "files", NOW)
    assert arrives(link, id=1, result=result) == ""
    assert link.settle().peer == BOB.public
    assert arrives(link, id=1, result=result) == "envelope.plain"


@pytest.mark.parametrize(
    ("kind", "method", "id"),
    [
        ("result", EXTENSION, 2),
        ("result", "tools/call", 1),
        ("request", EXTENSION, 1),
        ("notification", "notifications/message", None),
    ],
)
def test_a_server_says_the_one_answer_in_plain(kind: str, method: str, id: Any) -> None:
    """In front of a server nothing leaves in plain but the answer to the request for a session."""
    link = Link("server", "a client")
    assert arrives(link, id=1, method=EXTENSION, params={}) == ""
    assert leaves(link, kind, method, id) == "envelope.no_session"
    assert leaves(link, "result", EXTENSION, 1) == ""
    assert leaves(link, "result", EXTENSION, 1) == "envelope.no_session", "once"


@pytest.mark.parametrize(
    ("kind", "method"), [("request", EXTENSION), ("request", "ping"), ("result", EXTENSION), ("error", "")]
)
def test_a_client_says_its_one_request_in_plain(kind: str, method: str) -> None:
    """A host that sends what looks like a request for a session sends nothing: the offer is the guard's own."""
    assert leaves(Link("client", "bob"), kind, method, 1) == "envelope.no_session"


def test_an_error_that_does_not_fit() -> None:
    """An error that cannot be sealed leaves in plain once the session is over, and not while it goes on (A04)."""
    link = Link("server", "a client")
    _, link.session = ends(Terms(longest=300))
    frame = Frame(bytes(1000), "client", "", "error", "ping", 1)
    with pytest.raises(Refused, match="too large"):
        link.send(frame, NOW)
    link.session.end("done")
    sent = link.send(frame, NOW)
    assert sent is not None
    assert orjson.loads(sent.data)["error"]["data"] == {"code": REFUSED}


def test_whoever_agrees_anew_ends_what_there_was() -> None:
    """With another agreement the keys of the session before are gone."""
    link = Link("client", "bob")
    link.session, _ = ends()
    before = link.session
    link.begin(Offer(Party(ALICE, TRUST), BOB.public, "files", NOW), "files", 0)
    assert before.over
    assert link.session is None

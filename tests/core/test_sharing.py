"""Several clients of one server: everybody gets what is theirs, and nothing of anybody else."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hauberk.hosts._sharing import NEWS, Routes, promised

HELLO = {"protocolVersion": "2025-11-25", "capabilities": {"sampling": {}}, "clientInfo": {"name": "secret"}}


class Member:
    def __init__(self, routes: Routes) -> None:
        self.routes = routes
        self.heard: list[Any] = []
        routes.members.add(self)

    def hear(self, message: dict[str, Any]) -> None:
        self.heard.append(message)

    def ask(self, id: Any, method: str = "tools/call", **params: Any) -> Any:
        return self.routes.from_client(self, {"jsonrpc": "2.0", "id": id, "method": method, "params": params})

    def tell(self, method: str, **params: Any) -> Any:
        return self.routes.from_client(self, {"jsonrpc": "2.0", "method": method, "params": params})


@pytest.fixture
def routes() -> Routes:
    return Routes()


@pytest.fixture
def one(routes: Routes) -> Member:
    return Member(routes)


@pytest.fixture
def other(routes: Routes) -> Member:
    return Member(routes)


def answer(number: Any, **result: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "result": result}


# --- requests and answers ---

STEPS = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from(["ask", "answer", "cancel", "leave", "progress"]), st.integers(0, 9)),
    max_size=80,
)


@given(STEPS)
def test_everybody_gets_their_own(steps: list[tuple[int, str, int]]) -> None:
    """However clients ask, cancel and go, with equal ids and tokens, each answer is the asker's own, and comes once."""
    routes = Routes()
    members = [Member(routes) for _ in range(4)]
    asked: dict[int, tuple[Member, int]] = {}
    seen: set[int] = set()
    for who, what, id in steps:
        member = members[who]
        if what == "ask" and member in routes.members:
            sent = member.ask(id, name=f"of {who}", _meta={"progressToken": id})
            assert sent["id"] not in seen
            seen.add(sent["id"])
            assert sent["params"]["_meta"]["progressToken"] == sent["id"]
            asked[sent["id"]] = member, id
        elif what == "answer" and asked:
            number = sorted(asked)[id % len(asked)]
            owner, own = asked.pop(number)
            before = [len(each.heard) for each in members]
            routes.from_server(answer(number, of=number))
            routes.from_server(answer(number, of="again"))
            if owner in routes.members:
                assert owner.heard[-1] == answer(own, of=number)
            assert [len(each.heard) for each in members] == [
                count + (each is owner and owner in routes.members) for each, count in zip(members, before, strict=True)
            ]
        elif what == "progress" and asked:
            number = sorted(asked)[id % len(asked)]
            owner, own = asked[number]
            params = {"progressToken": number, "progress": 1}
            routes.from_server({"jsonrpc": "2.0", "method": "notifications/progress", "params": params})
            assert owner.heard[-1]["params"]["progressToken"] == own
        elif what == "cancel":
            sent = member.tell("notifications/cancelled", requestId=id)
            mine = [number for number, entry in asked.items() if entry == (member, id)]
            assert (sent is None) is (not mine)
            if sent is not None:
                del asked[sent["params"]["requestId"]]
        elif what == "leave":
            for sent in routes.leave(member):
                assert asked.pop(sent["params"]["requestId"])[0] is member
            assert all(owner is not member for owner, _ in asked.values())
    assert set(routes.flight) == set(asked)


@pytest.mark.parametrize("id", [999, "1", None, True, 1.0])
def test_answer_that_nobody_waits_for(routes: Routes, one: Member, id: Any) -> None:
    """An answer under another id, or the right one in another type, reaches nobody."""
    assert one.ask(1)["id"] == 1
    routes.from_server(answer(id))
    assert one.heard == []


def test_id_of_a_cancelled_request_is_not_mistaken(routes: Routes, one: Member) -> None:
    """Cancelling "1" does not cancel 1."""
    one.ask(1)
    assert one.tell("notifications/cancelled", requestId="1") is None
    assert one.tell("notifications/cancelled", requestId=1) is not None


def test_unreadable_answer_is_told(routes: Routes, one: Member) -> None:
    """Who waits for an answer that cannot be read gets an error."""
    sent = one.ask("x")
    routes.unreadable(sent["id"])
    routes.unreadable(12345)
    routes.unreadable(None)
    assert [(message["id"], "error" in message) for message in one.heard] == [("x", True)]


# --- the beginning ---


def test_server_is_greeted_once(routes: Routes, one: Member, other: Member) -> None:
    """The server gets one ``initialize``, with no client's name or capability; everybody gets the answer."""
    sent = one.ask("a", "initialize", **HELLO)
    assert sent["params"]["capabilities"] == {}
    assert sent["params"]["clientInfo"]["name"] == "hauberk"
    assert other.ask("b", "initialize", **HELLO) is None
    assert other.heard == []
    said = routes.from_server(answer(sent["id"], protocolVersion="2025-11-25", capabilities={"tools": {}}))
    assert said == {"jsonrpc": "2.0", "method": "notifications/initialized"}
    late = Member(routes)
    assert late.ask("c", "initialize", **HELLO) is None
    for member, id in ((one, "a"), (other, "b"), (late, "c")):
        assert member.heard == [answer(id, protocolVersion="2025-11-25", capabilities={"tools": {}})]
    assert [member.tell("notifications/initialized") for member in (one, other)] == [None, None]


def test_other_revision_is_refused(routes: Routes, one: Member, other: Member) -> None:
    """A client that wants another revision than the first is told which there is; the one that was agreed is fine."""
    sent = one.ask("a", "initialize", **HELLO)
    routes.from_server(answer(sent["id"], protocolVersion="2025-06-18", capabilities={}))
    for version, fine in (("2024-11-05", False), ("2025-06-18", True), ("2025-11-25", True)):
        other.ask("b", "initialize", **{**HELLO, "protocolVersion": version})
        assert ("result" in other.heard[-1]) is fine
    assert other.heard[0]["error"]["data"] == {"supported": ["2025-06-18"], "requested": "2024-11-05"}


def test_greeting_that_failed(routes: Routes, one: Member, other: Member) -> None:
    """An ``initialize`` that fails fails for all who wait, and the next one is sent anew."""
    sent = one.ask("a", "initialize", **HELLO)
    other.ask("b", "initialize", **HELLO)
    routes.from_server({"jsonrpc": "2.0", "id": sent["id"], "error": {"code": -1, "message": "no"}})
    assert [member.heard[0]["error"]["message"] for member in (one, other)] == ["no", "no"]
    assert one.ask("c", "initialize", **HELLO) is not None


def test_first_client_goes_before_the_answer(routes: Routes, one: Member, other: Member) -> None:
    """When the first client goes, or cancels, the others still get the answer."""
    sent = one.ask("a", "initialize", **HELLO)
    other.ask("b", "initialize", **HELLO)
    assert one.tell("notifications/cancelled", requestId="a") is None
    assert routes.leave(one) == []
    routes.from_server(answer(sent["id"], protocolVersion="2025-11-25", capabilities={}))
    assert (one.heard, len(other.heard)) == ([], 1)


def test_nothing_is_promised_that_is_refused() -> None:
    """What a shared server cannot give is taken out of what it says of itself; the rest stays."""
    said = {
        "protocolVersion": "2025-11-25",
        "capabilities": {
            "tools": {"listChanged": True},
            "logging": {},
            "tasks": {"list": {}},
            "resources": {"subscribe": True, "listChanged": True},
        },
    }
    kept = {"tools": {"listChanged": True}, "resources": {"listChanged": True}}
    assert promised(said) == {"protocolVersion": "2025-11-25", "capabilities": kept}
    assert promised({"capabilities": 1}) == {"capabilities": 1}
    assert promised(None) is None


# --- what has no place here ---


@pytest.mark.parametrize(
    "method",
    [
        "logging/setLevel",
        "resources/subscribe",
        "resources/unsubscribe",
        "subscriptions/listen",
        "tasks/get",
        "tasks/list",
        "tasks/cancel",
        "tasks/result",
        "tasks/update",
    ],
)
def test_state_of_one_client_is_refused(routes: Routes, one: Member, method: str) -> None:
    """What the server would keep for one client, and show to all, does not reach it."""
    assert one.ask(1, method) is None
    assert one.heard[0]["error"]["code"] == -32601


def test_task_is_refused(routes: Routes, one: Member) -> None:
    """A call that becomes a task would be there for all to fetch: it is refused."""
    assert one.ask(1, "tools/call", name="x", task={"ttl": 1}) is None
    assert "error" in one.heard[0]


@pytest.mark.parametrize(
    "method",
    ["notifications/progress", "notifications/roots/list_changed", "notifications/tasks/status", "notifications/x"],
)
def test_what_clients_say_by_themselves_goes_nowhere(routes: Routes, one: Member, method: str) -> None:
    """A notification of one client says nothing that is true of all of them."""
    assert one.tell(method) is None
    assert routes.from_client(one, answer("of nothing")) is None


@pytest.mark.parametrize("method", sorted(NEWS))
def test_news_of_lists_go_to_all(routes: Routes, one: Member, other: Member, method: str) -> None:
    """That a list has changed is news for everybody."""
    routes.from_server({"jsonrpc": "2.0", "method": method})
    assert len(one.heard) == len(other.heard) == 1


@pytest.mark.parametrize(
    "method",
    [
        "notifications/message",
        "notifications/resources/updated",
        "notifications/elicitation/complete",
        "notifications/tasks/status",
        "notifications/cancelled",
        "notifications/progress",
        "notifications/anything",
    ],
)
def test_what_is_about_one_client_goes_to_nobody(routes: Routes, one: Member, other: Member, method: str) -> None:
    """What the server says by itself and may be about one client reaches nobody."""
    one.ask(1, _meta={"progressToken": 5})
    params = {"level": "info", "data": "secret", "uri": "x", "progressToken": 5, "progress": 1}
    assert routes.from_server({"jsonrpc": "2.0", "method": method, "params": params}) is None
    assert one.heard == other.heard == []


@pytest.mark.parametrize("method", ["sampling/createMessage", "elicitation/create", "roots/list"])
def test_server_cannot_ask(routes: Routes, one: Member, method: str) -> None:
    """A request of the server is refused: there is no one client to ask. A ping is answered."""
    refused = routes.from_server({"jsonrpc": "2.0", "id": "s", "method": method, "params": {}})
    assert refused is not None
    assert (refused["id"], refused["error"]["code"]) == ("s", -32601)
    assert routes.from_server({"jsonrpc": "2.0", "id": 9, "method": "ping"}) == answer(9)
    assert one.heard == []

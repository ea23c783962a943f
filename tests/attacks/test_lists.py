"""A hostile server shows a tool that no rule allows: in every place and spelling where a reader could find it."""

from __future__ import annotations

import time
from typing import Any

import pytest
from tests.attacks.kit import EVIL, GOOD, POLICY, listed, sieved
from tests.core.harness import notification, request

from hauberk.connection import Role

TANGLED = "read_a" + "\u0301\u0316" * 20_000
"""Bringing it into a normalization form takes seconds, and four times as long for twice the length."""


@pytest.mark.parametrize("twin", ["Tools", "TOOLS", "tool\u017f", "InputRequests", "RequestState", "ResultType"])
@pytest.mark.parametrize("bytes_only", [True, False])
async def test_a_result_with_a_member_that_looks_like_another_is_refused(twin: str, bytes_only: bool) -> None:
    """A reader that does not tell cases apart would see a list that no rule has seen (A51, S1.2)."""
    async with sieved(bytes_only=bytes_only) as r:
        reply = await listed(r, {"tools": [GOOD], twin: [EVIL]})
        assert reply["error"]["data"]["code"] == "core.envelope"
        assert r.recorder.codes[-1] == "core.envelope"


@pytest.mark.parametrize("twin", ["Name", "NAME"])
@pytest.mark.parametrize("first", [True, False])
async def test_a_tool_with_two_names_is_hidden(twin: str, first: bool) -> None:
    """A tool of an allowed name that a lenient reader finds under another is nobody's (A51, S1.2)."""
    tool = {twin: "evil", **GOOD} if first else {**GOOD, twin: "evil"}
    async with sieved() as r:
        assert (await listed(r, {"tools": [tool, GOOD]}))["result"]["tools"] == [GOOD]


@pytest.mark.parametrize(
    "result",
    [
        {"tools": {"0": EVIL}},
        {"tools": None},
        {"tools": "evil"},
        {},
        {"resultType": "input_required", "inputRequests": {}},
        {"resultType": "task", "task": {"taskId": "t", "tools": [EVIL]}},
        b'{"tools":[],"tools":[{"name":"evil"}]}',
        b'{"tools":[],"t\\u006fols":[{"name":"evil"}]}',
        b'{"tools":[{"name":"read_x","n\\u0061me":"evil"}]}',
        b'{"tools":[{"name":"evil\\ud800"}]}',
        b'{"tools":[{"name":"read_x","a":1e999}]}',
    ],
)
async def test_a_list_that_cannot_be_sifted_is_refused_whole(result: Any) -> None:
    """A list in another form than the protocol's, or with two readings, reaches nobody (A51, S1.2)."""
    async with sieved() as r:
        reply = await listed(r, result)
        assert "result" not in reply
        assert "evil" not in str(reply)


@pytest.mark.parametrize(
    "name", ["evil", "read_x\u200b", "re\u0301ad_x", "read_x ", "read_x\n", "\uff52ead_x", "READ_x"]
)
async def test_a_tool_that_only_looks_allowed_is_hidden(name: str) -> None:
    """No spelling of a name is taken for another one (S1.11, S3.36, A43)."""
    async with sieved() as r:
        assert (await listed(r, {"tools": [{**EVIL, "name": name}, GOOD]}))["result"]["tools"] == [GOOD]


@pytest.mark.parametrize("name", [TANGLED, "read_" + "x" * 100_000])
async def test_a_name_that_takes_for_ever_to_normalize_costs_nothing(name: str) -> None:
    """One tool in a list, or one call, does not stop the guard: such a name is hidden and refused unread (A47, A53)."""
    async with sieved(toml=POLICY.replace('"deny"', '"allow"')) as r:
        begun = time.process_time()
        assert (await listed(r, {"tools": [{**EVIL, "name": name}, GOOD]}))["result"]["tools"] == [GOOD]
        await r.call(name, id=2)
        assert time.process_time() - begun < 1.0
        assert r.error()["data"]["code"] == "sieve.name"
        assert [message["method"] for message in r.reached] == ["tools/list"]


@pytest.mark.parametrize("answer", [8, "x", "8", 7.0, 7.5, True, None, 2**70])
async def test_a_list_under_an_id_that_was_not_asked_reaches_nobody(answer: Any) -> None:
    """An answer to nobody is dropped, also while a request with another id is in flight (A54, A57)."""
    import json

    async with sieved() as r:
        await r.send(r.from_client, request("tools/list", id=7))
        line = json.dumps({"jsonrpc": "2.0", "id": answer, "result": {"tools": [EVIL]}}).encode()
        await r.send(r.from_server, line)
        assert r.replies == []


@pytest.mark.parametrize("answer", ["+7", " 7", "07", "7_0", "\u0667"])
async def test_a_list_under_another_spelling_of_its_id_is_sifted(answer: str) -> None:
    """An id that the SDK takes for the asker's is the asker's: the list is sifted and carries the right id (A54)."""
    asked = 70 if answer == "7_0" else 7
    async with sieved() as r:
        await r.send(r.from_client, request("tools/list", id=asked))
        await r.answer({"tools": [EVIL, GOOD]}, id=answer)
        assert r.replies == [{"jsonrpc": "2.0", "id": asked, "result": {"tools": [GOOD]}}]


@pytest.mark.parametrize("role", ["client", "server"])
@pytest.mark.parametrize("again", [1, "1", "+1"])
async def test_a_late_list_is_no_answer_to_another_request_of_the_same_id(role: Role, again: Any) -> None:
    """List, cancel, ask for something else under the same id: the list that comes late is not taken for it (A58)."""
    async with sieved(role=role) as r:
        await r.send(r.from_client, request("tools/list", id=1))
        await r.send(r.from_client, notification("notifications/cancelled", {"requestId": 1}))
        await r.send(r.from_client, request("resources/list", id=again))
        await r.answer({"tools": [EVIL]}, id=1)
        assert "evil" not in str(r.replies)
        assert [message["method"] for message in r.reached] == ["tools/list", "notifications/cancelled"]


@pytest.mark.parametrize(
    "members",
    [
        {"Method": "sampling/createMessage"},
        {"METHOD": "sampling/createMessage"},
        {"Params": {"message": "other"}},
        {"param\u017f": {}},
    ],
)
async def test_a_request_inside_an_answer_has_one_method(members: dict[str, Any]) -> None:
    """What a lenient client would read as another request than the one that met the rules is refused (A41, A51)."""
    asked = {"method": "elicitation/create", "params": {"message": "m"}, **members}
    async with sieved() as r:
        await r.call("read_x")
        await r.answer({"resultType": "input_required", "inputRequests": {"a": asked}, "requestState": "s"})
        assert r.codes == ["core.embedded"]


@pytest.mark.parametrize(
    "data",
    [
        {"jsonrpc": "2.0", "method": "tools/list", "result": {"tools": [EVIL]}, "id": 7},
        {"jsonrpc": "2.0", "id": 7, "result": {"tools": [EVIL]}, "error": {"code": 1, "message": "m"}},
        {"jsonrpc": "2.0", "id": 7, "result": {"tools": [EVIL]}, "Result": {}},
        {"jsonrpc": "2.0", "id": 7, "ID": 8, "result": {"tools": [EVIL]}},
        {"jsonrpc": "2.0", "Id": 7, "result": {"tools": [EVIL]}},
        {"jsonrpc": "1.0", "id": 7, "result": {"tools": [EVIL]}},
        {"jsonrpc": "2.0", "id": 7, "result": [EVIL]},
        {"jsonrpc": "2.0", "method": "notifications/tools/list", "params": {"tools": [EVIL]}},
        {"jsonrpc": "2.0", "method": "tools/list", "params": {"tools": [EVIL]}},
        {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "read_x"}},
    ],
)
async def test_a_list_in_a_message_of_no_kind_or_the_wrong_one_reaches_nobody(data: dict[str, Any]) -> None:
    """What is two messages at once, or comes from the wrong side, does not carry a list to the client (A57)."""
    async with sieved() as r:
        await r.send(r.from_client, request("tools/list", id=7))
        await r.send(r.from_server, data)
        assert "evil" not in str(r.replies)
        assert set(r.recorder.codes) - {"core.started", "policy.loaded", "core.connected"}

"""A client sends what a model made up, or whoever sits at the far end: no call that no rule allows reaches a server."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from mcp.shared.exceptions import MCPError
from tests.attacks.kit import EVIL, GOOD, POLICY, sieved
from tests.core.harness import META, request
from tests.sdk.kit import Scripted, client, settled, within

from hauberk.config import Config
from hauberk.connection import Role
from hauberk.guard import Guard

NAMES = [
    "evil",
    "execute_shell",
    "Execute_Shell",
    "READ_note",
    "read_note ",
    " read_note",
    "\tread_note",
    "read_note\n",
    "read_note\u0000",
    "read\u200b_note",
    "read_note\u2060",
    "read_note\ufe0f",
    "re\u0301ad_note",
    "\uff52ead_note",
    "read\u00ad_note",
    "\u202eeton_daer",
    "read_note\u2028",
    "read_\U000e0041note",
    "files/read_note",
    "*",
    "read_" + "x" * 2000,
]
"""Names that no rule allows, however much they look like one that is."""


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("role", ["client", "server"])
async def test_a_name_that_only_looks_allowed_is_not_called(name: str, role: Role) -> None:
    """A call is judged by the very characters of its name (S1.3, S1.11, S3.36, A39, A43)."""
    async with sieved(role=role) as r:
        await r.call(name, {})
        assert r.reached == []
        assert "error" in r.replies[0]
        assert len(r.recorder.of("sieve.denied") + r.recorder.of("sieve.name")) == 1


def line(text: str) -> bytes:
    return text.replace("CALL", '"method":"tools/call"').replace("EVIL", '"name":"evil"').encode()


LINES = [
    '{"jsonrpc":"2.0",CALL,"params":{EVIL}}',
    '{"jsonrpc":"2.0","id":null,CALL,"params":{EVIL}}',
    '{"jsonrpc":"2.0","id":1.0,CALL,"params":{EVIL}}',
    '{"jsonrpc":"2.0","id":1e0,CALL,"params":{EVIL}}',
    '{"jsonrpc":"2.0","id":true,CALL,"params":{EVIL}}',
    '{"jsonrpc":"2.0","id":{},CALL,"params":{EVIL}}',
    '{"jsonrpc":"2.0","id":18446744073709551616,CALL,"params":{EVIL}}',
    '[{"jsonrpc":"2.0","id":1,CALL,"params":{EVIL}}]',
    '{"jsonrpc":"2.0","id":1,CALL,"params":[{EVIL}]}',
    '{"jsonrpc":"2.0","id":1,CALL,"params":["evil"]}',
    '{"jsonrpc":"2.0","id":1,CALL,"params":"evil"}',
    '{"jsonrpc":"2.0","id":1,CALL,"params":{"name":"read_x",EVIL}}',
    '{"jsonrpc":"2.0","id":1,CALL,"params":{"name":"read_x","n\\u0061me":"evil"}}',
    '{"jsonrpc":"2.0","id":1,CALL,"params":{"name":"read_x","Name":"evil"}}',
    '{"jsonrpc":"2.0","id":1,CALL,"params":{"name":"read_x","argument\u017f":{}},"x":"evil"}',
    '{"jsonrpc":"2.0","id":1,CALL,"params":{"name":"read_x"},"Params":{EVIL}}',
    '{"jsonrpc":"2.0","id":1,CALL,"params":{"name":"read_x"},"param\u017f":{EVIL}}',
    '{"jsonrpc":"2.0","id":1,CALL,"params":{"name":"read_x"},"params":{EVIL}}',
    '{"jsonrpc":"2.0","id":1,CALL,"Method":"ping","params":{EVIL}}',
    '{"jsonrpc":"2.0","id":1,"method":"ping","Method":"tools/call","params":{EVIL}}',
    '{"jsonrpc":"2.0","id":1,"method":"ping",CALL,"params":{EVIL}}',
    '{"jsonrpc":"2.0","id":1,"method":"tools/Call","params":{EVIL}}',
    '{"jsonrpc":"2.0","id":1,"method":"tools/call ","params":{EVIL}}',
    '{"jsonrpc":"2.0","id":1,"method":"tools//call","params":{EVIL}}',
    '{"jsonrpc":"2.0","id":1,"method":"tools\\/call\\u0000","params":{EVIL}}',
    '{"jsonrpc":"2.0","id":1,"method":"tools\\/c\\u0061ll","params":{EVIL}}',
    '{"jsonrpc":"2.0","id":1,"method":["tools/call"],"params":{EVIL}}',
    '{"jsonrpc":"2.0","id":1,CALL,"params":{"name":["evil"]}}',
    '{"jsonrpc":"2.0","id":1,CALL,"params":{"name":{"a":"evil"}}}',
    '{"jsonrpc":"2.0","id":1,CALL,"params":{EVIL,"task":{"ttl":1}}}',
    '{"jsonrpc":"2.0","id":1,CALL,"params":{EVIL,"requestState":"s","inputResponses":{}}}',
    '{"jsonrpc":"2.0","id":1,CALL,"params":{EVIL,"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}',
    '{"jsonrpc":"2.0","id":1,CALL,"params":{EVIL},"result":{}}',
    '{"jsonrpc":"2.0","id":1,"result":{CALL,"params":{EVIL}}}',
    '{"id":1,CALL,"params":{EVIL}}',
    '{"jsonrpc":2.0,"id":1,CALL,"params":{EVIL}}',
    '\ufeff{"jsonrpc":"2.0","id":1,CALL,"params":{EVIL}}',
    '{"jsonrpc":"2.0","id":1,"method":"ping"}{"jsonrpc":"2.0","id":2,CALL,"params":{EVIL}}',
    '{"jsonrpc":"2.0","id":1,"method":"ping"}\r{"jsonrpc":"2.0","id":2,CALL,"params":{EVIL}}',
    '{"jsonrpc":"2.0","id":1,"method":"ping"}\u2028{"jsonrpc":"2.0","id":2,CALL,"params":{EVIL}}',
]


@pytest.mark.parametrize("text", LINES)
@pytest.mark.parametrize("role", ["client", "server"])
async def test_no_form_of_a_message_carries_a_call_past_the_rules(text: str, role: Role) -> None:
    """Whatever a lenient server would read as a call of another tool is refused whole, and leaves a record (S3.39)."""
    async with sieved(role=role) as r:
        before = len(r.recorder.codes)
        await r.send(r.from_client, line(text))
        assert b"evil" not in b"".join(orjson.dumps(message) for message in r.reached)
        assert len(r.recorder.codes) > before


@pytest.mark.parametrize("wide", [b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\x00", b"\x0b"])
async def test_bytes_that_are_no_text_reach_nobody(wide: bytes) -> None:
    """A name that is no UTF-8, or has a raw control character, is no name (A51, A55, A56)."""
    async with sieved() as r:
        await r.send(
            r.from_client, b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"read_%b"}}' % wide
        )
        assert r.reached == []
        assert r.codes == ["core.not_json"]


async def test_a_second_request_with_the_id_of_a_refused_one_gets_its_own_answer() -> None:
    """A refused call leaves nothing in flight that an answer could be taken for (A54)."""
    async with sieved() as r:
        await r.call("evil", id=1)
        await r.answer({"content": [{"type": "text", "text": "evil"}]}, id=1)
        await r.call("read_x", id=1)
        await r.answer({"content": []}, id=1)
        assert [("error" in reply, reply["id"]) for reply in r.replies] == [(True, 1), (False, 1)]
        assert "evil" not in str(r.replies[1])


@pytest.mark.parametrize("state", ["s", "other"])
async def test_a_state_of_an_allowed_call_opens_no_denied_one(state: str) -> None:
    """A retry is judged like any call, whatever state it echoes (A41)."""
    async with sieved() as r:
        await r.call("read_x", {}, id=1, _meta=META)
        await r.answer({"resultType": "input_required", "inputRequests": {}, "requestState": "s"}, id=1)
        await r.call("evil", {}, id=2, requestState=state, inputResponses={}, _meta=META)
        assert r.codes == ["sieve.denied"]
        assert len(r.reached) == 1


def hostile(asked: Any) -> Any:
    """Answer as a server that wants its tool to be seen."""
    if asked.method == "tools/list":
        more = {"nextCursor": "2"} if not (asked.params or {}).get("cursor") else {}
        return {"resultType": "complete", "tools": [EVIL, GOOD], "ttlMs": 2**53, "cacheScope": "public", **more}
    if asked.method == "tools/call":
        return {"resultType": "complete", "content": [{"type": "text", "text": "done"}]}
    if asked.method == "initialize":
        info = {"name": "h", "version": "1"}
        return {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": info}
    return {"resultType": "complete"}


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
async def test_the_client_of_the_sdk_never_sees_nor_calls_it(mode: str) -> None:
    """On each page, after each change, in both eras: what is hidden stays so, and its call is refused (A38, A46)."""
    far = Scripted(hostile)
    guard = Guard.load(Config.from_toml(POLICY))
    async with client(guard.wrap(far, server="files"), mode) as connected:
        page = await within(connected.list_tools())
        last = await within(connected.list_tools(cursor=page.next_cursor))
        assert [tool.name for tool in (*page.tools, *last.tools)] == [GOOD["name"]] * 2
        await far.say(method="notifications/tools/list_changed", params={"tools": [EVIL]})
        await far.say(id="+1", result={"tools": [EVIL]})
        await settled()
        assert [tool.name for tool in (await within(connected.list_tools())).tools] == [GOOD["name"]]
        with pytest.raises(MCPError) as caught:
            await within(connected.call_tool("evil", {}))
        assert caught.value.error.data["code"] == "sieve.denied"
    assert "tools/call" not in far.methods


async def test_a_refused_discover_leaves_no_way_back() -> None:
    """Whatever the client tries after a refused ``server/discover``, there is no older handshake (design 5)."""
    async with sieved() as r:
        await r.send(r.from_client, request("server/discover", {"_meta": {"progressToken": 1.5}}))
        hello = {"protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}}
        for id in (2, 3):
            await r.send(r.from_client, request("initialize", hello, id=id))
        assert r.codes == ["core.params", "core.discover_refused", "core.discover_refused"]
        assert r.reached == []

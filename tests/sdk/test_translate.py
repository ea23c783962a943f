"""Messages as the SDK has them and as the core has them."""

from __future__ import annotations

import copy
import itertools
from typing import Any, Final

import pytest
from mcp.server import Server
from mcp.shared.message import ClientMessageMetadata
from tests.sdk.kit import Seen, behind, guard, item, within

from hauberk.hosts._translate import from_sdk, to_sdk

MESSAGES: Final[tuple[dict[str, Any], ...]] = (
    {"id": 1, "method": "ping"},
    {"id": 1, "method": "ping", "params": {"a": 1}},
    {"id": 1, "method": "tools/call", "params": {"name": "t"}},
    {"method": "ping"},
    {"method": "ping", "params": {"a": 2}},
    {"method": "notifications/message", "params": {"a": 1}},
    {"id": 1, "result": {}},
    {"id": "other", "result": {"a": 1}},
    {"id": 1, "error": {"code": -32003, "message": "no"}},
    {"id": 1, "error": {"code": -32003, "message": "no", "data": {"a": 1}}},
)


@pytest.mark.parametrize(("passed", "carried"), list(itertools.product(MESSAGES, MESSAGES)))
def test_what_passed_is_what_the_sdk_gets(passed: dict[str, Any], carried: dict[str, Any]) -> None:
    """Whatever message came in an item, the one that goes on in its place is that which passed, to the last member."""
    data = {"jsonrpc": "2.0", **copy.deepcopy(passed)}
    got = to_sdk(data, item(**copy.deepcopy(carried))).message
    assert from_sdk(got) == data
    written = got.model_dump(mode="json", by_alias=True, exclude_unset=True)
    assert written == data


async def test_headers_come_with_a_message() -> None:
    """Hooks see the headers that a transport hung on a message, whichever way it goes."""
    seen = Seen()
    headers = {"mcp-method": "ping"}
    async with behind(Server("s"), guard(seen)) as (read, write):
        await write.send(item(ClientMessageMetadata(headers=headers), id=1, method="ping"))
        await write.send(item(id=2, method="ping"))
        while len(seen.out("result")) < 2:
            await within(read.receive())
    assert [dict(message.headers) for message in seen.received] == [headers, {}]

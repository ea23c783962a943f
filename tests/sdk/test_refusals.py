"""What a refusal is to the SDK's client and server, in both eras: told to whoever asked, and nobody hangs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import mcp_types as mt
import pytest
from mcp import Client, MCPError
from tests.core.harness import ring
from tests.sdk.everything import MODERN, Everything
from tests.sdk.kit import MODES, Scripted, Seen, Told, client, dispatching, guard, guarded, leaf, plain, settled, within

from hauberk.connection import Connection
from hauberk.guard import Guard
from hauberk.message import Message, ToolCall
from hauberk.refusals import LIMITS, Refused
from hauberk.verdict import Deny

Do = Callable[[Client], Awaitable[Any]]


async def _listen(c: Client) -> None:
    async with c.listen(tools_list_changed=True):
        raise AssertionError


_BOTH: Final[dict[str, Do]] = {
    "tools/list": lambda c: c.list_tools(),
    "tools/call": lambda c: c.call_tool("echo"),
    "prompts/list": lambda c: c.list_prompts(),
    "prompts/get": lambda c: c.get_prompt("hello"),
    "resources/list": lambda c: c.list_resources(),
    "resources/templates/list": lambda c: c.list_resource_templates(),
    "resources/read": lambda c: c.read_resource("x://a"),
    "completion/complete": lambda c: c.complete(mt.PromptReference(name="p"), {"name": "a", "value": "v"}),
}
_LEGACY: Final[dict[str, Do]] = {
    "ping": lambda c: c.send_ping(),
    "logging/setLevel": lambda c: c.set_logging_level("info"),
    "resources/subscribe": lambda c: c.subscribe_resource("x://a"),
    "resources/unsubscribe": lambda c: c.unsubscribe_resource("x://a"),
}
_REQUESTS: Final = [
    *[pytest.param(mode, method, do, id=f"{mode} {method}") for mode in MODES for method, do in _BOTH.items()],
    *[pytest.param("legacy", method, do, id=f"legacy {method}") for method, do in _LEGACY.items()],
    pytest.param("auto", "subscriptions/listen", _listen, id="auto subscriptions/listen"),
]


def _refusing(method: str, kind: str, hook: str = "on_send", *, later: bool = False) -> Any:
    """Return a plugin that refuses one kind of message, in time or after a wait."""

    def refuse(message: Message, connection: Connection) -> None:
        if (message.method, message.kind) == (method, kind):
            raise Refused("no.way", "because", rule="r 1", hint="do not", jsonrpc=LIMITS, retry_after=1.5)

    async def refuse_later(message: Message, connection: Connection) -> None:
        await settled(2)
        refuse(message, connection)

    return ring("no", **{hook: refuse_later if later else refuse})


_ERROR: Final = {
    "code": -32005,
    "message": "no.way: because",
    "data": {
        "code": "no.way",
        "plugin": "no",
        "rule": "r 1",
        "hint": "do not",
        "retryAfter": 1.5,
        "httpStatus": 429,
    },
}


@pytest.mark.parametrize("later", [False, True], ids=["plain", "async"])
@pytest.mark.parametrize(("mode", "method", "do"), _REQUESTS)
async def test_a_refused_request(mode: str, method: str, do: Do, later: bool) -> None:
    """A refused request is exactly an ``MCPError`` for its caller, with code and data, and reaches no server."""
    seen, everything = Seen(), Everything()
    async with guarded(everything.server, _refusing(method, "request", later=later), seen, mode=mode) as (c, made):
        with pytest.raises(MCPError) as caught:
            await within(do(c))
        assert plain(caught.value.error) == _ERROR
        assert not next(iter(made._sessions)).busy
        await within(c.list_prompts() if method != "prompts/list" else c.list_tools())
    assert everything.calls == []
    assert seen.codes.count("no.way") == 1


@pytest.mark.parametrize("later", [False, True], ids=["plain", "async"])
@pytest.mark.parametrize(("mode", "method", "do"), _REQUESTS[:-1])  # the answer to listen is the end of its stream
async def test_a_refused_answer(mode: str, method: str, do: Do, later: bool) -> None:
    """A refused answer is an ``MCPError`` for whoever asked; the answer itself reaches nobody."""
    seen = Seen()
    no = _refusing(method, "result", "on_receive", later=later)
    async with guarded(Everything().server, no, seen, mode=mode) as (c, made):
        with pytest.raises(MCPError) as caught:
            await within(do(c))
        assert plain(caught.value.error) == _ERROR
        assert not next(iter(made._sessions)).busy
    assert seen.codes.count("no.way") == 1


@pytest.mark.parametrize("mode", MODES)
async def test_a_refused_error(mode: str) -> None:
    """A server's own error passes the hooks too, and may be replaced by the refusal."""
    async with guarded(Everything().server, _refusing("tools/call", "error", "on_receive"), mode=mode) as (c, _):
        with pytest.raises(MCPError) as caught:
            await within(c.call_tool("wrong"))
    assert plain(caught.value.error) == _ERROR


@pytest.mark.parametrize("later", [False, True], ids=["plain", "async"])
@pytest.mark.parametrize("mode", MODES)
async def test_a_denied_call(mode: str, later: bool) -> None:
    """A denied call is an ``MCPError`` with the code, the plugin, the rule and the hint, and no server sees it."""
    deny = Deny("no.call", "not this", rule="r 2", hint="ask")

    async def judge(call: ToolCall, connection: Connection) -> Deny:
        await settled(2)
        return deny

    everything = Everything()
    no = ring("no", on_tool_call=judge if later else deny)
    async with guarded(everything.server, no, mode=mode) as (c, _):
        with pytest.raises(MCPError) as caught:
            await within(c.call_tool("echo", {"a": 1}))
    assert plain(caught.value.error) == {
        "code": -32003,
        "message": "no.call: not this",
        "data": {"code": "no.call", "plugin": "no", "rule": "r 2", "hint": "ask"},
    }
    assert everything.calls == []


_AS_RESULT: Final = '[core]\nrefuse_as = "result"\n'
_REFUSED_CALLS: Final = {
    "denied": ring("no", on_tool_call=Deny("no.way", "because", hint="do not")),
    "request": _refusing("tools/call", "request"),
    "answer": _refusing("tools/call", "result", "on_receive"),
    "answer, later": _refusing("tools/call", "result", "on_receive", later=True),
    "raises": ring("no", on_tool_call=lambda call, connection: 1 // 0),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("how", _REFUSED_CALLS)
async def test_refused_as_a_result(mode: str, how: str) -> None:
    """With ``refuse_as = "result"`` a refused call is a result with ``isError`` that a model can read, in both eras."""
    async with guarded(Everything().server, _REFUSED_CALLS[how], mode=mode, toml=_AS_RESULT) as (c, made):
        for _ in range(2):
            result = await within(c.call_tool("echo"))
            assert result.is_error
            (content,) = result.content
            assert isinstance(content, mt.TextContent)
            assert content.text.startswith("no.way: because\nhint: do not" if how != "raises" else "core.hook_failed:")
        assert not next(iter(made._sessions)).busy
        assert (await within(c.list_tools())).tools


@pytest.mark.parametrize("mode", MODES)
async def test_only_calls_are_refused_as_results(mode: str) -> None:
    """What is no call stays an error: a list has no ``isError``."""
    no = _refusing("tools/list", "request")
    async with guarded(Everything().server, no, mode=mode, toml=_AS_RESULT) as (c, _):
        with pytest.raises(MCPError, match=r"no\.way"):
            await within(c.list_tools())


@pytest.mark.parametrize("later", [False, True], ids=["plain", "async"])
async def test_a_refused_notification_is_silent(later: bool) -> None:
    """A refused notification reaches nobody, tells nobody, and leaves an event."""
    told, seen, everything = Told(), Seen(), Everything()
    out = _refusing("notifications/roots/list_changed", "notification", later=later)
    inn = _refusing("notifications/tools/list_changed", "notification", "on_receive", later=later)
    inn.name = "inn"
    async with guarded(everything.server, out, inn, seen, mode="legacy", told=told) as (c, _):
        await within(c.send_roots_list_changed())
        await within(c.call_tool("changed"))
        await settled()
    assert everything.methods == []
    assert [m["method"] for m in told.messages] == [
        "notifications/prompts/list_changed",
        "notifications/resources/list_changed",
    ]
    assert seen.codes.count("no.way") == 2


@pytest.mark.parametrize("method", ["sampling/createMessage", "elicitation/create", "roots/list", "ping"])
@pytest.mark.parametrize("later", [False, True], ids=["plain", "async"])
async def test_a_refused_request_of_the_server(method: str, later: bool) -> None:
    """A server whose request is refused gets an error that does not say why; the client's callback never runs."""
    told, everything = Told(), Everything()
    no = _refusing(method, "request", "on_receive", later=later)
    async with guarded(everything.server, no, mode="legacy", told=told) as (c, made):
        assert not (await within(c.call_tool("ask"))).is_error
        assert not next(iter(made._sessions)).busy
    (got,) = everything.asked
    at = ["sampling/createMessage", "elicitation/create", "roots/list", "ping"].index(method)
    assert got.pop(at) == {"error": {"code": -32005, "message": "refused", "data": {"code": "core.refused"}}}
    assert not any("error" in answer for answer in got)
    assert len(told.asked) == (3 if method == "ping" else 2)


@pytest.mark.parametrize("method", ["sampling/createMessage", "elicitation/create", "roots/list", "ping"])
async def test_a_refused_answer_of_the_client(method: str) -> None:
    """What the client answers a server and a hook refuses becomes an error that does not say why."""
    everything = Everything()
    async with guarded(everything.server, _refusing(method, "result"), mode="legacy") as (c, _):
        assert not (await within(c.call_tool("ask"))).is_error
    errors = [answer["error"] for answer in everything.asked[0] if "error" in answer]
    assert errors == [{"code": -32005, "message": "refused", "data": {"code": "core.refused"}}]


@pytest.mark.parametrize("method", ["sampling/createMessage", "elicitation/create", "roots/list"])
@pytest.mark.parametrize(
    "do", [lambda c: c.call_tool("ask"), lambda c: c.get_prompt("ask"), lambda c: c.read_resource("x://ask")]
)
async def test_a_refused_request_inside_an_answer(method: str, do: Do) -> None:
    """One refused request inside ``input_required`` refuses the whole answer; no callback runs (SEP-2322)."""
    told = Told()
    async with guarded(Everything().server, _refusing(method, "request", "on_receive"), told=told) as (c, _):
        with pytest.raises(MCPError) as caught:
            await within(do(c))
    assert plain(caught.value.error) == _ERROR
    assert told.asked == []


@pytest.mark.parametrize("method", ["sampling/createMessage", "elicitation/create", "roots/list"])
async def test_a_refused_answer_inside_a_retry(method: str) -> None:
    """One refused answer inside a retry refuses the retry; the server never gets the others."""
    everything = Everything()
    async with guarded(everything.server, _refusing(method, "result")) as (c, _):
        with pytest.raises(MCPError) as caught:
            await within(c.call_tool("ask"))
    assert plain(caught.value.error) == _ERROR
    assert everything.asked == []


async def test_a_refused_end_of_a_stream() -> None:
    """A subscription whose graceful end is refused is lost for its consumer, and does not hang."""
    no = _refusing("subscriptions/listen", "result", "on_receive")
    async with guarded(Everything().server, no) as (c, _), c.listen(tools_list_changed=True) as stream:
        await within(c.call_tool("close"))
        with pytest.raises(Exception, match="ended without the server's graceful close"):
            await within(anext(stream))


@pytest.mark.parametrize("mode", MODES)
async def test_a_refused_handshake(mode: str) -> None:
    """A refused probe is no reason to fall back to the older handshake: the client does not connect."""
    seen = Seen()
    refused = "initialize" if mode == "legacy" else "server/discover" if mode == "auto" else "tools/list"
    made = guard(_refusing(refused, "request"), seen)
    error = await _connecting(made, mode)
    assert f"{error}".startswith("core.discover_refused" if mode == "auto" else "no.way")
    assert seen.back() == []
    assert not made._sessions


async def _connecting(made: Guard, mode: str) -> BaseException:
    """Return what keeps a client from connecting, or a pinned one, which sends nothing to connect, from listing."""

    async def connect() -> None:
        async with client(made.wrap(Everything().server, server="s"), mode) as c:
            assert mode == MODERN
            await within(c.list_tools())

    with pytest.raises((MCPError, ExceptionGroup)) as caught:
        await connect()
    error = leaf(caught.value)
    assert isinstance(error, MCPError)
    return error


async def test_a_refused_answer_to_the_probe() -> None:
    """A refused answer to ``server/discover`` is no reason to fall back either."""
    made = guard(_refusing("server/discover", "result", "on_receive"))
    assert str(await _connecting(made, "auto")).startswith("core.discover_refused")


async def test_a_refused_connection() -> None:
    """A connection that ``on_connect`` refuses is never opened, and its caller is told who and why."""
    seen = Seen()

    def refuse(connection: Connection) -> None:
        raise Refused("no.way", "not to " + connection.server)

    made = guard(ring("no", on_connect=refuse), seen)
    with pytest.raises(Refused, match="not to s") as caught:
        async with client(made.wrap(Everything().server, server="s")):
            raise AssertionError
    assert (caught.value.code, caught.value.plugin) == ("no.way", "no")
    assert seen.codes == ["core.started", "policy.loaded", "no.way", "core.stopped"]
    assert not made._sessions


@pytest.mark.parametrize("hook", ["on_send", "on_receive", "on_tool_call"])
@pytest.mark.parametrize("mode", MODES)
async def test_a_hook_that_fails(hook: str, mode: str) -> None:
    """A hook that raises is a refusal that names the plugin, and never the text of what it raised."""

    def fail(item: Any, connection: Connection) -> None:
        if getattr(item, "method", "tools/call") == "tools/call":
            raise RuntimeError("s3cret")

    async with guarded(Everything().server, ring("bad", **{hook: fail}), mode=mode) as (c, _):
        with pytest.raises(MCPError) as caught:
            await within(c.call_tool("echo"))
    assert (caught.value.code, caught.value.error.data["code"]) == (-32007, "core.hook_failed")
    assert caught.value.error.data["plugin"] == "bad"
    assert "s3cret" not in str(caught.value)


_FOREIGN: Final = [float("nan"), float("-inf"), 2**64, -(2**63) - 1, "\ud800", {"\udfff": 1}]


@pytest.mark.parametrize("value", _FOREIGN, ids=repr)
async def test_what_json_does_not_carry(value: Any) -> None:
    """What another parser lets into a message and JSON cannot carry exactly is refused in both directions (A55)."""
    server = Scripted(lambda request: {"content": [], "structuredContent": {"a": value}})
    made = guard(Seen())
    async with made.wrap(server, server="s") as streams, dispatching(streams) as asker:
        for arguments in ({"a": value}, {"a": 1}):
            with pytest.raises(MCPError) as caught:
                await within(asker.send_raw_request("tools/call", {"name": "t", "arguments": arguments}))
            assert caught.value.error.data["code"] == "core.not_json"
    sent: list[Any] = [one.message for one in server.got]
    assert [message.params["arguments"] for message in sent] == [{"a": 1}]

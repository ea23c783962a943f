"""Plugins of two guards that speak with each other before the host says anything."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import pytest
from tests.core.harness import Rig, make_rig, notification, request, rig, ring

from hauberk.layers import Layer
from hauberk.refusals import PluginError, Refused

HELLO = "com.example/hello"


def greeter(answer: Any = None, **members: Any) -> Any:
    """Return a plugin that answers hello."""

    def echo(method: str, params: dict[str, Any], connection: Any) -> dict[str, Any]:
        return {"method": method, "said": params, "server": connection.server}

    return ring("greeter", on_connect=None, answers=(HELLO,), answer=answer or echo, **members)


def asker(agree: Callable[..., Awaitable[None]], **members: Any) -> Any:
    """Return a plugin that agrees with the peer, and can answer hello."""
    return ring("greeter", on_connect=None, answers=(HELLO,), answer=lambda *_: {}, agree=agree, **members)


def join(client: Rig, server: Rig) -> None:
    """Carry what one guard writes to the wire to the other one."""
    client.far.on_deliver = lambda data: server.session.receive(server.session.inn, data)
    server.far.on_deliver = lambda data: client.session.receive(client.session.inn, data)


async def test_a_plugin_answers_the_plugin_of_its_peer() -> None:
    """What agree asks is answered by the plugin in front of the server; neither host nor server sees any of it."""
    heard: list[Any] = []

    async def agree(connection: Any, ask: Any) -> None:
        heard.append(await ask(HELLO, {"a": 1}, seconds=5))

    async with rig(asker(agree)) as client, rig(greeter(), role="server") as server:
        join(client, server)
        await client.session.agree()
        assert heard == [{"method": HELLO, "said": {"a": 1}, "server": "files"}]
        assert client.near.raw == server.near.raw == []
        assert not client.session.busy
        assert not server.session.busy


async def test_message_hooks_see_nothing_of_it() -> None:
    """Frame hooks of both guards see question and answer; message hooks are for what reaches host or server."""
    seen: list[Any] = []

    def framed(frame: Any, _: Any) -> None:
        seen.append((frame.toward, frame.kind, frame.method))

    def never(message: Any, _: Any) -> None:
        raise AssertionError

    async def agree(connection: Any, ask: Any) -> None:
        await ask(HELLO, {}, seconds=5)

    seal = ring("seal", Layer.SEAL, on_send=framed, on_receive=framed)
    above = [ring(f"r{layer}", layer, on_send=never, on_receive=never) for layer in Layer if layer > Layer.SEAL]
    async with rig(asker(agree), seal, *above) as client, rig(greeter(), seal, *above, role="server") as server:
        join(client, server)
        await client.session.agree()
    sent, received = ("server", "request", HELLO), ("server", None, "")
    assert seen == [sent, received, ("client", "result", HELLO), ("client", None, "")]


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (lambda *_: None, "core.hook_answer"),
        (lambda *_: asyncio.sleep(0), "core.hook_answer"),
        (lambda *_: 1 / 0, "core.hook_failed"),
    ],
)
async def test_a_plugin_that_cannot_answer(answer: Any, code: str) -> None:
    """A plugin that fails, or answers something else than an object, is a refusal that names nothing to the peer."""
    async with rig(greeter(answer), role="server") as r:
        await r.send(r.session.inn, request(HELLO, {}, id=3))
        assert [(reply["id"], reply["error"]["data"]["code"]) for reply in r.far.got] == [(3, "core.refused")]
        assert r.near.raw == []
        assert code in [event.code for event in r.recorder.events]


async def test_a_plugin_that_says_no() -> None:
    """A refusal of the plugin in front of the server is its peer's error answer, and refuses the connection."""

    def no(*_: Any) -> Any:
        raise Refused("greeter.no", "no")

    async def agree(connection: Any, ask: Any) -> None:
        await ask(HELLO, {}, seconds=5)

    async with rig(asker(agree)) as client, rig(greeter(no), role="server") as server:
        join(client, server)
        with pytest.raises(Refused, match="refused"):
            await client.session.agree()
        await client.settle()
        assert "greeter.no" in [event.code for event in server.recorder.events]
        assert "core.peer_error" in [event.code for event in client.recorder.events]


@pytest.mark.parametrize("error", [ValueError("x"), asyncio.CancelledError(), Refused("greeter.no", "no")])
async def test_an_agreement_that_fails_refuses_the_connection(error: BaseException) -> None:
    """Whatever agree raises, the connection is not to be used, and the record says so."""

    async def agree(connection: Any, ask: Any) -> None:
        raise error

    async with rig(asker(agree)) as r:
        with pytest.raises(Refused):
            await r.session.agree()
        await r.settle()
        (event,) = [event for event in r.recorder.events if event.action == "blocked"]
        assert event.code == ("greeter.no" if isinstance(error, Refused) else "core.hook_failed")


async def test_an_agreement_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer that never answers is given up."""

    async def agree(connection: Any, ask: Any) -> None:
        await ask(HELLO, {}, seconds=3600)

    monkeypatch.setattr("hauberk.agreement.SECONDS", 0.01)
    async with rig(asker(agree)) as r:
        with pytest.raises(Refused):
            await r.session.agree()


@pytest.mark.parametrize("toml", ["", f"[[core.methods]]\nname = '{HELLO}'\nsender = 'both'\nkind = 'request'\n"])
@pytest.mark.parametrize("role", ["client", "server"])
async def test_such_a_method_crosses_no_guard(role: Any, toml: str) -> None:
    """A host cannot send it, a server cannot, and beside a client nobody can ask for it, whatever is declared."""
    async with rig(greeter(), role=role, toml=toml) as r:
        await r.send(r.from_server, request(HELLO, {}, id="s"))
        if role == "client":
            await r.send(r.from_client, request(HELLO, {}, id="c"))
            assert r.codes[-1] == "core.method_unknown"
        await r.send(r.from_client, notification(HELLO, {}))
        assert [one for one in r.server.got if "method" in one] == []
        assert [one for one in r.client.got if "method" in one] == []


async def test_an_unasked_answer_is_dropped() -> None:
    """An answer that nobody waits for resolves nothing and reaches nobody."""
    async with rig(asker(lambda *_: asyncio.sleep(0))) as r:
        await r.send(r.session.inn, {"jsonrpc": "2.0", "id": "hauberk:0", "result": {}})
        assert r.near.raw == r.far.raw == []


@pytest.mark.parametrize("method", ["tools/call", "hello", "hello/x", "com.example/"])
def test_a_plugin_answers_methods_of_its_own(method: str) -> None:
    """A plugin cannot take a method of the protocol, nor one without a domain of somebody's."""
    with pytest.raises(PluginError, match="no method of an extension"):
        make_rig([ring("greeter", on_connect=None, answers=(method,), answer=lambda *_: {})])


def test_one_plugin_answers_a_method() -> None:
    """Two plugins that answer one method do not load together."""
    with pytest.raises(PluginError, match="both answer"):
        make_rig([ring(name, on_connect=None, answers=(HELLO,), answer=lambda *_: {}) for name in ("a", "b")])


async def test_an_answer_waits_for_its_turn() -> None:
    """An answer leaves after what came before it and still waits."""
    gate = asyncio.Event()

    async def wait(message: Any, _: Any) -> None:
        await gate.wait()

    async with rig(greeter(), ring("slow", on_receive=wait), role="server") as r:
        r.post(r.session.inn, notification("notifications/initialized"))
        r.post(r.session.inn, request(HELLO, {}, id=1))
        await asyncio.sleep(0)
        assert r.far.raw == []
        gate.set()
        await r.settle()
        assert [orjson.loads(frame)["id"] for frame in r.far.raw] == [1]

"""Which meshes look at what: each at what it names, and none is passed by that could find something."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from hauberk.message import Message
from hauberk.methods import METHODS
from hauberk_sieve import Sieve
from hauberk_sieve._mesh import Mesh
from hauberk_sieve._routes import Routes, is_text

if TYPE_CHECKING:
    from plugins.sieve.tests.conftest import Connect

TEXT = {"content": [{"type": "text", "text": "x"}]}


def message(method: str, toward: Any, result: Any = None) -> Message:
    data = {"jsonrpc": "2.0", "id": 1, "result": result or {}}
    return Message("result", toward, method, data)


def made(name: str, **members: Any) -> Mesh:
    def look(self: Any, message: Any, connection: Any) -> None:
        return None

    kind: Any = type(name, (Mesh,), {"word": name, "look": look, **members})
    mesh: Mesh = kind(None)
    return mesh


def test_mesh_looks_at_what_it_names() -> None:
    """A mesh gets its methods both ways, toward the server those it says, and everything where it says so."""
    meshes = [
        made("both", methods=("ping",)),
        made("down", methods=("ping",), toward_server=()),
        made("up", methods=(), toward_server=("ping",)),
        made("all", everything=True, toward_server=()),
    ]
    routes = Routes(meshes)
    seen = {
        (method, way): [look.__self__.word for look in routes.of(message(method, way))]  # type: ignore[attr-defined]
        for method in ("ping", "prompts/get")
        for way in ("client", "server")
    }
    assert seen == {
        ("ping", "client"): ["both", "down", "all"],
        ("ping", "server"): ["both", "up"],
        ("prompts/get", "client"): ["all"],
        ("prompts/get", "server"): [],
    }
    assert routes.toward == {"server": ("ping",)}


@pytest.mark.parametrize(
    "result",
    [
        {"content": [{"type": "resource_link", "uri": "file:///x"}]},
        {"content": [{"type": "text", "text": "x"}, {"type": "resource", "resource": {}}]},
        {"content": [{"text": "x"}]},
        {"content": ["x"]},
        {"content": {"type": "text"}},
        {**TEXT, "contents": [{"uri": "file:///x"}]},
        {**TEXT, "messages": []},
        {**TEXT, "inputRequests": {}},
        {**TEXT, "unheard_of": 1},
        {},
    ],
)
def test_what_may_hold_a_link_is_no_text(result: Any) -> None:
    """Only a result of texts, with members that hold no link, takes the short way."""
    assert not is_text(message("tools/call", "client", result))


def test_text_takes_the_short_way_and_nothing_else_does() -> None:
    """The short way is for answers to calls, on their way to the client."""
    assert is_text(message("tools/call", "client", {**TEXT, "isError": True, "structuredContent": {}, "_meta": {}}))
    assert not is_text(message("tools/call", "server", TEXT))
    assert not is_text(message("prompts/get", "client", TEXT))


async def test_every_method_of_the_protocol_is_scanned(link: Connect) -> None:
    """Whatever method an answer belongs to, the mesh of text looks at it on its way to the client."""
    sieve = (await link("[sieve]")).guard.loaded["sieve"].plugin
    assert isinstance(sieve, Sieve)
    for method in (*METHODS, "vendor/unheard_of"):
        assert sieve.meshes["text"].look in sieve._routes.of(message(method, "client", TEXT))

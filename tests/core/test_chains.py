"""One onion, walked two ways: what a message meets, and in which order."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from tests.core.harness import RESULT, notification, request, rig, ring

from hauberk.chains import Chain, Chains, HookName, Step
from hauberk.layers import Layer
from hauberk.message import Frame, Message
from hauberk.plugins import Registry
from hauberk.refusals import PluginError

OUT = ["content", "policy", "admit", "replay", "seal", "gate", "wire"]
"""The layers from the host to the wire."""


def onion(order: list[str], **more: Any) -> list[Any]:
    """Return a plugin in each layer, the lowest first; each says when it sees a message, and as what."""

    def see(name: str) -> Any:
        def hook(item: Any, _: Any) -> None:
            assert type(item) is (Frame if Layer[name.upper()].framed else Message)
            order.append(name)

        return hook

    return [ring(name, Layer[name.upper()], on_send=see(name), on_receive=see(name), **more) for name in OUT[::-1]]


@pytest.mark.parametrize("role", ["client", "server"])
async def test_outwards_from_content_to_wire_and_inwards_back(role: Any) -> None:
    """However they are listed, what leaves meets the layers from CONTENT to WIRE, what comes in from WIRE to CONTENT;
    nearer the wire than REPLAY it is a frame.
    """
    order: list[str] = []
    async with rig(*onion(order), role=role) as r:
        await r.send(r.session.out, notification("notifications/cancelled") | {"params": {}})
        assert order == OUT
        order.clear()
        await r.send(r.session.inn, notification("notifications/cancelled") | {"params": {}})
        assert order == OUT[::-1]


@pytest.mark.parametrize("role", ["client", "server"])
async def test_requests_and_answers_walk_the_same_onion(role: Any) -> None:
    """A call and its result each meet every layer once, in the order of their direction."""
    order: list[str] = []
    async with rig(*onion(order), role=role) as r:
        await r.call()
        await r.answer()
        there, back = (OUT, OUT[::-1]) if role == "client" else (OUT[::-1], OUT)
        assert order == there + back
        assert r.replies[0]["result"] == RESULT


async def test_in_a_layer_listed_order_outwards_and_reverse_inwards() -> None:
    """Inside a layer plugins run in listed order outwards and in reverse inwards, so what wraps last unwraps first."""
    order: list[str] = []

    def see(name: str) -> Any:
        return lambda *_: order.append(name)

    plugins = [ring(name, Layer.ADMIT, on_send=see(name), on_receive=see(name)) for name in ("b", "c", "a")]
    async with rig(*plugins) as r:
        await r.call()
        assert order == ["b", "c", "a"]
        order.clear()
        await r.answer()
        assert order == ["a", "c", "b"]


async def test_auth_speaks_first_inwards() -> None:
    """auth, which is listed last, is the first of ADMIT that a message from the wire meets."""
    order: list[str] = []
    names = ["ratelimit", "bulkhead", "auth"]
    plugins = [ring(name, Layer.ADMIT, on_receive=lambda *_, name=name: order.append(name)) for name in names]
    async with rig(*plugins, role="server") as r:
        await r.call()
        assert order[0] == "auth"


async def test_layer_of_each_hook_places_it() -> None:
    """A plugin with ``layers`` stands in one place for one hook and in another for the next."""
    order: list[str] = []

    def say(what: str) -> Any:
        return lambda *_: order.append(what)

    split = ring(
        "split",
        Layer.ADMIT,
        layers={"on_send": Layer.GATE, "on_receive": Layer.CONTENT},
        on_send=say("send"),
        on_receive=say("receive"),
        on_tool_call=say("charge"),
    )
    other = ring("other", on_send=say("other out"), on_receive=say("other in"), on_tool_call=say("judge"))
    async with rig(split, other) as r:
        await r.call()
        assert order == ["other out", "judge", "charge", "send"]
        order.clear()
        await r.answer()
        assert order == ["other in", "receive"]


@pytest.mark.parametrize("role", ["client", "server"])
async def test_a_call_is_judged_where_nothing_rewrites_it_any_more(role: Any) -> None:
    """Beside a client a call is judged after POLICY's on_send and before ADMIT's; in front of a server after the whole
    way in.
    """
    order: list[str] = []

    def judge(name: str, layer: Layer) -> Any:
        return ring(f"judge_{name}", layer, on_tool_call=lambda *_: order.append(f"judge {name}"))

    judges = [judge("admit", Layer.ADMIT), judge("policy", Layer.POLICY), judge("content", Layer.CONTENT)]
    async with rig(*onion(order), *judges, role=role) as r:
        await r.call()
        rounds = ["judge content", "judge policy", "judge admit"]
        assert order == ([*OUT[:2], *rounds, *OUT[2:]] if role == "client" else [*OUT[::-1], *rounds])


# --- the frozen chains themselves ---

STEPS = st.lists(
    st.tuples(st.sampled_from(["on_send", "on_receive", "on_tool_call", "on_connect"]), st.sampled_from(Layer)),
    max_size=12,
)


def step(number: int, hook: HookName, layer: Layer, *, is_async: bool = False) -> Step:
    return Step(plugin=f"p{number}", hook=hook, layer=layer, call=lambda *_: None, is_async=is_async)


def names(*chains: Chain) -> list[str]:
    return [one.plugin for chain in chains for one in chain.steps]


@given(STEPS)
def test_the_way_in_is_the_way_out_backwards(both: list[tuple[Any, Layer]]) -> None:
    """For plugins that have both hooks, the way in is exactly the way out, backwards, and no step is left out."""
    layers = [layer for _, layer in both]
    outward = Chains([step(n, "on_send", layer) for n, layer in enumerate(layers)])
    inward = Chains([step(n, "on_receive", layer) for n, layer in enumerate(layers)])
    out, back = outward.route("x", "server"), inward.route("x", "server")
    way_out = names(out.shape_out, out.admit_out, outward.frames_out)
    assert way_out == names(inward.frames_in, back.inward)[::-1]
    assert sorted(way_out) == sorted(f"p{n}" for n in range(len(layers)))
    assert way_out == [f"p{n}" for n in sorted(range(len(layers)), key=lambda n: -layers[n])]


@given(STEPS)
def test_every_step_stands_in_exactly_one_chain(steps: list[tuple[Any, Layer]]) -> None:
    """Nothing that was loaded is left out of the chains, and nothing runs twice."""
    made = [
        step(n, hook, max(layer, Layer.ADMIT) if hook == "on_tool_call" else layer)
        for n, (hook, layer) in enumerate(steps)
    ]
    chains = Chains(made)
    route = chains.route("x", "server")
    outwards = names(route.shape_out, route.admit_out, chains.frames_out, chains.judges, chains.charges)
    assert sorted(outwards + names(chains.frames_in, route.inward, chains.connect)) == sorted(s.plugin for s in made)


@given(STEPS, st.sets(st.integers(0, 11)))
def test_a_hook_that_names_methods_meets_these_alone(steps: list[tuple[Any, Layer]], narrow: set[int]) -> None:
    """A hook that names methods stands in the chains of these, in its place, and in those of no other method."""
    steps = [(hook, layer) for hook, layer in steps if hook in ("on_send", "on_receive") and layer >= Layer.REPLAY]
    made = [step(n, hook, layer) for n, (hook, layer) in enumerate(steps)]
    methods = frozenset({"tools/list"})
    chains = Chains([structs.replace(s, methods=methods) if n in narrow else s for n, s in enumerate(made)])
    everywhere = [s for n, s in enumerate(made) if n not in narrow]
    for method, met in (("tools/list", made), ("tools/call", everywhere)):
        route, alone = chains.route(method, "client"), Chains(met).route(method, "client")
        for chain in ("shape_out", "admit_out", "inward"):
            assert names(getattr(route, chain)) == names(getattr(alone, chain))


@given(STEPS, st.sets(st.integers(0, 11)))
def test_a_hook_that_names_methods_of_a_direction_meets_these_alone(
    steps: list[tuple[Any, Layer]], narrow: set[int]
) -> None:
    """A hook that names the methods of one direction is in no chain of others there, and in all of the other one."""
    steps = [(hook, layer) for hook, layer in steps if hook in ("on_send", "on_receive") and layer >= Layer.REPLAY]
    made = [step(n, hook, layer) for n, (hook, layer) in enumerate(steps)]
    toward = {"server": frozenset({"tools/list"})}
    chains = Chains([structs.replace(s, toward=toward) if n in narrow else s for n, s in enumerate(made)])
    everywhere = [s for n, s in enumerate(made) if n not in narrow]
    for method, way, met in (
        ("tools/list", "server", made),
        ("tools/call", "server", everywhere),
        ("x", "server", everywhere),
        ("tools/call", "client", made),
        ("x", "client", made),
    ):
        route, alone = chains.route(method, way), Chains(met).route(method, way)  # type: ignore[arg-type]
        for chain in ("shape_out", "admit_out", "inward"):
            assert names(getattr(route, chain)) == names(getattr(alone, chain))


@pytest.mark.parametrize("role", ["client", "server"])
async def test_only_the_named_methods_of_a_direction_are_seen(role: Any) -> None:
    """With ``toward`` a hook sees what travels one way by its method, and everything the other way, in both roles."""
    seen: list[tuple[str, str]] = []

    def see(message: Message, _: Any) -> None:
        seen.append((message.toward, message.method))

    narrow = ring("narrow", on_send=see, on_receive=see, toward={"server": ("ping",)})
    async with rig(narrow, role=role) as r:
        up, down = (r.session.out, r.session.inn) if role == "client" else (r.session.inn, r.session.out)
        await r.send(up, request("tools/list", id=4))
        await r.send(down, {"jsonrpc": "2.0", "id": 4, "result": {"tools": []}})
        await r.send(up, request("ping", id=5))
    assert seen == [("client", "tools/list"), ("server", "ping")]


@pytest.mark.parametrize("toward", [("ping",), {"host": ("ping",)}, {"server": ()}, {"server": ("ping/pong",)}])
def test_directions_and_methods_that_do_not_exist_are_load_errors(toward: Any) -> None:
    """A slip in ``toward`` would hide messages from a hook, so it stops the load."""
    with pytest.raises(PluginError):
        Registry().add(ring(on_send=lambda *_: None, toward=toward))


async def test_only_the_named_methods_are_seen() -> None:
    """With ``methods`` a hook sees the requests, results and notifications of these methods and nothing else."""
    seen: list[tuple[str, str]] = []

    def see(message: Message, _: Any) -> None:
        seen.append((message.kind, message.method))

    named = {"on_send": ("ping",), "on_receive": ("ping", "notifications/message")}
    async with rig(ring("narrow", on_send=see, on_receive=see, methods=named)) as r:
        await r.call()
        await r.answer()
        await r.send(r.session.out, request("ping", id=5))
        await r.send(r.session.inn, {"jsonrpc": "2.0", "id": 5, "result": {}})
        for method in ("notifications/message", "notifications/tools/list_changed"):
            await r.send(r.session.inn, notification(method, {"level": "info", "data": 1}))
    assert seen == [("request", "ping"), ("result", "ping"), ("notification", "notifications/message")]


@pytest.mark.parametrize(
    ("hook", "layer", "outward", "inward"),
    [
        ("on_send", Layer.POLICY, True, False),
        ("on_send", Layer.ADMIT, True, False),
        ("on_send", Layer.WIRE, False, False),
        ("on_receive", Layer.POLICY, False, True),
        ("on_receive", Layer.GATE, False, True),
        ("on_tool_call", Layer.POLICY, True, False),
        ("on_tool_call", Layer.ADMIT, True, False),
        ("on_connect", Layer.POLICY, False, False),
    ],
)
def test_async_hooks_say_where_messages_may_wait(hook: Any, layer: Layer, outward: bool, inward: bool) -> None:
    """A direction is known to wait if one of its hooks is async, and only then."""
    assert (Chains([]).waits_outward, Chains([]).waits_inward) == (False, False)
    chains = Chains([step(0, hook, layer, is_async=True)])
    assert (chains.waits_outward, chains.waits_inward) == (outward, inward)
    plain = Chains([step(0, hook, layer)])
    assert (plain.waits_outward, plain.waits_inward) == (False, False)


@pytest.mark.parametrize(
    ("hook", "layer", "out", "inn"),
    [
        ("on_send", Layer.POLICY, False, True),
        ("on_send", Layer.REPLAY, False, True),
        ("on_receive", Layer.CONTENT, True, False),
        ("on_tool_call", Layer.POLICY, False, False),
        ("on_tool_call", Layer.ADMIT, False, False),
    ],
)
def test_a_direction_with_a_hook_is_not_idle(hook: Any, layer: Layer, out: bool, inn: bool) -> None:
    """A message is forwarded as it was checked only where no hook of its direction, and no judge, could see it."""
    chains = Chains([step(0, hook, layer)])
    route = chains.route("tools/call", "client")
    assert (route.idle_out and not chains.judged, route.idle_in and not chains.judged) == (out, inn)


def test_chain_knows_which_step_was_running() -> None:
    """From the number of steps that are left the chain tells which one ran."""
    chain = Chain(step(n, "on_send", Layer.POLICY) for n in range(3))
    assert [chain.at(left).plugin for left in (2, 1, 0)] == ["p0", "p1", "p2"]
    assert (chain.names, bool(chain), bool(Chain([]))) == ("p0, p1, p2", True, False)

"""Completions, streams and news of resources: what nobody pinned is neither used nor heard of."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from plugins.pins.tests.conftest import STRICT, Showing, codes, tool
from plugins.pins.tests.test_plugin import everything, pinned

from hauberk.testing import notification
from hauberk_pins import _items, _templates
from hauberk_pins._limits import Limits

if TYPE_CHECKING:
    from plugins.pins.tests.conftest import Guarded

Trust = Callable[..., None]
Json = dict[str, Any]
COMPLETE, LISTEN, UPDATED = "completion/complete", "subscriptions/listen", "notifications/resources/updated"


def about(**ref: Any) -> Json:
    return {"ref": ref, "argument": {"name": "a", "value": "b"}}


def stream(*uris: Any) -> Json:
    return {"notifications": {"resourceSubscriptions": list(uris)}}


PINNED = [
    (COMPLETE, about(type="ref/prompt", name="greet")),
    (COMPLETE, about(type="ref/resource", uri="file:///a")),
    (COMPLETE, about(type="ref/resource", uri="note:///7")),
    (COMPLETE, about(type="ref/resource", uri="note:///{id}")),
    (LISTEN, stream("file:///a", "note:///7")),
    (LISTEN, {"notifications": {"toolsListChanged": True}}),
]
UNPINNED = [
    (COMPLETE, about(type="ref/prompt", name="other")),
    (COMPLETE, about(type="ref/resource", uri="file:///etc/shadow")),
    (COMPLETE, about(type="ref/resource", uri="file:///{+path}")),
    (COMPLETE, about(type="ref/prompt", name=7)),
    (COMPLETE, about(type="ref/resource")),
    (COMPLETE, about(type="ref/other", name="greet")),
    (LISTEN, stream("file:///a", "file:///etc/shadow")),
    (LISTEN, stream("file:///a", 7)),
    (LISTEN, {"notifications": {"resourceSubscriptions": "file:///a"}}),
]


async def sent(rig: Any, method: str, params: Json) -> bool:
    """Send a request; whether it reached the server."""
    await rig.request(method, params)
    return any(message.get("method") == method for message in rig.reached)


@pytest.mark.parametrize(("method", "params"), PINNED)
async def test_pinned_completions_and_streams_reach_the_server(
    guarded: Guarded, trust: Trust, method: str, params: Json
) -> None:
    """A completion for what is pinned, and a stream about it, work without a list of the host's before."""
    server = everything()
    await pinned(guarded, trust, server)
    async with guarded(server) as rig:
        assert await sent(rig, method, params)
        assert rig.codes == []


@pytest.mark.parametrize(("method", "params"), UNPINNED)
async def test_unpinned_completions_and_streams_do_not(
    guarded: Guarded, trust: Trust, method: str, params: Json
) -> None:
    """A completion or stream about what nobody pinned is refused, and so is one that cannot be read (A39)."""
    server = everything()
    await pinned(guarded, trust, server)
    async with guarded(server) as rig:
        assert not await sent(rig, method, params)
        assert rig.codes == ["pins.unpinned"]


@pytest.mark.parametrize(
    ("method", "params", "member"),
    [
        (*PINNED[0], "prompts"),
        (*PINNED[1], "resources"),
        (*PINNED[2], "resourceTemplates"),
        (*PINNED[3], "resourceTemplates"),
        (*PINNED[4], "resources"),
    ],
)
async def test_changed_completions_and_streams_are_refused(
    guarded: Guarded, trust: Trust, method: str, params: Json, member: str
) -> None:
    """What changed after it was pinned is neither completed nor subscribed to in a stream (A38)."""
    server = everything()
    await pinned(guarded, trust, server)
    server.pages[member] = [[server.pages[member][0][0] | {"title": "x"}]]
    async with guarded(server) as rig:
        assert not await sent(rig, method, params)
        assert rig.codes[-1] in {"pins.changed", "pins.unpinned"}


async def heard(rig: Any, uri: Any) -> bool:
    """Let the server tell of a resource; whether the client hears of it."""
    before = len(rig.client.got)
    await rig.send(rig.from_server, notification(UPDATED, {"uri": uri}))
    return len(rig.client.got) > before


async def test_news_of_unpinned_resources_is_dropped(guarded: Guarded, trust: Trust) -> None:
    """The client hears of pinned resources, and of those of pinned templates, and of no other (S3.40)."""
    server = everything()
    await pinned(guarded, trust, server)
    async with guarded(server) as rig:
        for method in ("resources/list", "resources/templates/list"):
            await rig.request(method)
        uris = ["file:///a", "note:///7", "file:///etc/shadow"]
        assert [await heard(rig, uri) for uri in uris] == [True, True, False]
        await rig.send(rig.from_server, notification("notifications/resources/list_changed"))
        assert [await heard(rig, uri) for uri in uris] == [True, True, False]


async def test_news_of_changed_resources_is_dropped(guarded: Guarded, trust: Trust) -> None:
    """A resource that changed since it was pinned is not told of (A38)."""
    server = everything()
    await pinned(guarded, trust, server)
    server.pages["resources"][0][0] = {**server.pages["resources"][0][0], "title": "x"}
    async with guarded(server) as rig:
        await rig.request("resources/list")
        assert not await heard(rig, "file:///a")


async def test_news_of_any_resource_passes_where_nothing_is_refused(guarded: Guarded) -> None:
    """Where first sight is trust and a change an alert, each resource may be told of."""
    text = '[pins]\nauto_trust_first = true\non_change = "alert"\n'
    async with guarded(Showing(), text) as rig:
        assert await heard(rig, "file:///etc/shadow")


# --- what a comparison with templates costs ---

FIRST = '[pins]\nauto_trust_first = true\non_change = "block"\n'


def templated(*templates: str) -> Showing:
    return Showing(resourceTemplates=[[{"uriTemplate": template, "name": "t"} for template in templates]])


async def read(rig: Any, uri: str) -> None:
    for method in ("resources/list", "resources/templates/list"):
        await rig.request(method)
    await rig.request("resources/read", {"uri": uri})


async def test_templates_pinned_by_first_sight_cost_a_read_little(guarded: Guarded) -> None:
    """Two thousand pinned templates that are slow to compare do not stop the guard while a resource is read (A46)."""
    async with guarded(templated(*("{+a}" * 32 + str(number) for number in range(2000))), FIRST) as rig:
        await rig.request("resources/templates/list")
        begun = time.process_time()
        await read(rig, "notes://" + "x" * 992)
        assert rig.codes == ["pins.unpinned"]
        assert time.process_time() - begun < 5.0


async def test_comparisons_with_templates_have_a_budget(guarded: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
    """A read that takes more steps than one request may cost is refused, and the refusal says so (A46)."""
    monkeypatch.setattr("hauberk_pins._templates.LIMITS", Limits(template_steps=20))
    async with guarded(templated("a://{x}/b", "a://{x}/c"), FIRST) as rig:
        await read(rig, "a://1/b")
        assert rig.codes == []
        await read(rig, "a://1/c")
        assert rig.codes == ["pins.unpinned"]
        assert "steps" in str(rig.error())


async def test_the_budget_is_that_of_a_request(guarded: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many resources a stream is about, their comparisons share one budget (A46)."""
    monkeypatch.setattr("hauberk_pins._templates.LIMITS", Limits(template_steps=20))
    async with guarded(templated("a://{x}"), FIRST) as rig:
        await read(rig, "a://1")
        await rig.request(LISTEN, stream("a://1"))
        assert rig.codes == []
        await rig.request(LISTEN, stream("a://1", "a://2"))
        assert rig.codes == ["pins.unpinned"]


def test_the_set_of_places_is_that_of_a_walk() -> None:
    """A template's places, kept as bits, are those that trying every expansion would find."""
    for template, pattern in [
        ("{x}a{+y}b", "[^/?#]*a.*b"),
        ("{x}{y}/{z}a", "[^/?#]*/[^/?#]*a"),
        ("{?q}a{x}", ".*a[^/?#]*"),
    ]:
        for letters in itertools.product("ab/", repeat=5):
            uri = "".join(letters)
            assert _templates.matches(template, uri) is bool(re.fullmatch(pattern, uri))


# --- what a list costs ---


async def test_a_list_without_an_end_is_kept_by_its_names(guarded: Guarded) -> None:
    """Of a list under way the names are kept and no page of it, however often they come (A46)."""
    pages = [[tool(f"t{number % 4}", title=str(number))] for number in range(40)]
    async with guarded(Showing(tools=pages)) as rig:
        for at in range(39):
            await rig.request("tools/list", {"cursor": str(at)})
        parts = rig.guard.loaded["pins"].plugin.gate.sight(rig.connection)._parts
        assert parts == {"tool": {("tool", f"t{number}") for number in range(4)}}


async def test_new_names_cost_one_pass_over_the_pins(
    guarded: Guarded, trust: Trust, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 50 pins each body is computed once, however many new names a server shows, and however often (A46)."""
    server = Showing(*[tool(f"t{number}") for number in range(50)])
    await pinned(guarded, trust, server)
    computed: list[str] = []
    body = _items.body

    def counted(one: _items.Item) -> str:
        computed.append(one.name)
        return body(one)

    monkeypatch.setattr(_items, "body", counted)
    async with guarded(server) as rig:
        for turn in range(3):
            server.show(*[tool(f"new{turn}_{number}") for number in range(32)])
            await rig.request("tools/list")
        assert len([name for name in computed if name.startswith("t")]) == 50


# --- who a list says the server is ---

INFO = "io.modelcontextprotocol/serverInfo"
SHOP = {"name": "shop", "version": "1"}


class Stamping(Showing):
    """A server that says in each list of tools who it is."""

    info: Json = SHOP

    def _honest(self, message: Json) -> Json:
        said = super()._honest(message)
        if message["method"] == "tools/list":
            said["result"]["_meta"] = {INFO: self.info}
        return said


@pytest.mark.parametrize("trusted", ["[pins]\n", FIRST])
async def test_another_server_in_a_list_is_a_change(guarded: Guarded, trust: Trust, trusted: str) -> None:
    """A list that says another `serverInfo` than the pinned one shows none, and nothing may be used (A38, S3.40)."""
    server = Stamping(tool("read"))
    await pinned(guarded, trust, server)
    async with guarded(server, trusted) as rig:
        for info, shown in ((SHOP, SHOP), ({"name": "evil", "version": "1"}, {"name": "files", "version": ""})):
            server.info = info
            reply = await rig.request("tools/list")
            assert reply is not None
            assert reply["result"]["_meta"][INFO] == shown
            await rig.call("read")
        assert len(server.called("read")) == 1
        assert rig.codes == ["pins.changed"]


async def test_another_server_in_a_list_may_be_an_alert(guarded: Guarded, trust: Trust) -> None:
    """Where a change is an alert, another `serverInfo` in lists is told of once, and passes."""
    server = Stamping(tool("read"))
    await pinned(guarded, trust, server)
    server.info = SHOP | {"version": "2"}
    async with guarded(server, STRICT + 'on_change = "alert"\n') as rig:
        for _ in range(2):
            await rig.request("tools/list")
        await rig.call("read")
        assert (rig.codes, codes(rig).count("pins.drifted")) == ([], 1)

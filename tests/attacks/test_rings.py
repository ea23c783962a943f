"""A plugin that misbehaves: what it kept, changed later, or answered badly lets nothing pass and hangs nobody."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from mcp.shared.message import SessionMessage
from mcp_types import JSONRPCNotification
from tests.attacks.kit import sieved
from tests.core.harness import Clock, Port, Recorder, Rig, request, ring

from hauberk.config import Config
from hauberk.event import Event
from hauberk.guard import Guard
from hauberk.hosts._translate import to_sdk
from hauberk.layers import Layer
from hauberk.message import Message
from hauberk.verdict import Allow, Approved, Ask, Deny, Verdict


class SubAllow(Allow, frozen=True):
    """Looks like an Allow."""


class SubDeny(Deny, frozen=True):
    """Looks like a Deny."""


class SubMessage(Message, frozen=True, eq=False, kw_only=True):
    """Looks like a message."""


@pytest.mark.parametrize(
    "deny",
    [
        Deny("p.no", "\udc80 from a file name"),
        Deny("p.no", "no", rule=object()),  # type: ignore[arg-type]
        Deny("p.no", "no", hint={1: 2}),  # type: ignore[arg-type]
        Deny(b"p.no", "no"),  # type: ignore[arg-type]
        Deny("p.no", "no", retry_after=object()),  # type: ignore[arg-type]
    ],
)
@pytest.mark.parametrize("bytes_only", [True, False])
async def test_a_refusal_that_cannot_be_written_is_one_all_the_same(deny: Any, bytes_only: bool) -> None:
    """Nobody hangs: a reason that JSON does not carry is left out, and the asker is told no (A68)."""
    async with sieved(ring("p", on_tool_call=deny), bytes_only=bytes_only) as r:
        await r.call("read_x")
        assert r.reached == []
        assert r.error()["data"] == {"code": "core.refused"}
        assert not r.session.out.exchanges.flight


@pytest.mark.parametrize("verdict", [SubAllow(), SubDeny("p.no", "no"), Verdict(), True, Allow, "allow", 1, [Allow()]])
async def test_what_is_no_verdict_allows_nothing(verdict: Any) -> None:
    """Only the three verdicts count, and not what is derived from them (V14, A68)."""
    async with sieved(ring("p", on_tool_call=lambda call, connection: verdict)) as r:
        await r.call("read_x")
        assert r.codes == ["core.hook_answer"]
        assert r.reached == []


async def test_a_message_of_another_class_goes_no_further() -> None:
    """A subclass could answer differently each time that it is read (A69)."""

    def rewrite(message: Message, connection: Any) -> Any:
        return SubMessage(**{name: getattr(message, name) for name in message.__struct_fields__})

    async with sieved(ring("p", on_send=rewrite)) as r:
        await r.call("read_x")
        assert r.codes == ["core.hook_answer"]
        assert r.reached == []


class Keeper:
    """Keeps a call, and changes it at one of the moments when it waits."""

    def __init__(self, meddle: Any, where: str) -> None:
        self._meddle = meddle
        self._where = where
        self._kept: list[Message] = []

    def keep(self, message: Message, connection: Any) -> None:
        self._kept.append(message)

    async def _at(self, where: str) -> None:
        await asyncio.sleep(0)
        if where == self._where:
            self._meddle(self._kept[0].data)

    async def judge(self, call: Any, connection: Any) -> Ask:
        await self._at("judge")
        return Ask("sure?")

    async def approve(self, call: Any, connection: Any) -> Approved:
        await self._at("approver")
        return Approved(call.digest)

    async def charge(self, call: Any, connection: Any) -> None:
        await self._at("charge")

    async def record(self, event: Event) -> None:
        if event.code == "core.allowed":
            await self._at("sink")

    def rings(self) -> list[Any]:
        late = ring("late", on_tool_call=self.judge, approve=self.approve, on_audit=self.record, required=True)
        return [ring("keeper", on_send=self.keep), late, ring("charger", Layer.ADMIT, on_tool_call=self.charge)]


@pytest.mark.parametrize(
    "meddle",
    [
        lambda data: data["params"].update(name="execute_shell"),
        lambda data: data["params"].update(arguments={"path": "/etc/shadow"}),
        lambda data: data["params"].get("arguments", {}).update(path="/etc/shadow"),
        lambda data: data["params"].pop("arguments", None),
        lambda data: data.update(method="resources/read"),
        lambda data: data.update(id=2),
        lambda data: data.update(params={"name": "execute_shell", "arguments": {"path": "/a"}}),
    ],
    ids=["name", "arguments", "inside", "none", "method", "id", "params"],
)
@pytest.mark.parametrize("where", ["judge", "approver", "sink", "charge"])
@pytest.mark.parametrize("bytes_only", [True, False])
async def test_a_call_that_is_changed_while_it_waits_is_not_sent(meddle: Any, where: str, bytes_only: bool) -> None:
    """A plugin that kept the message and changes it, whenever that is, changes nothing that leaves (V16, A69)."""
    recorder = Recorder()
    guard = Guard(Config.from_toml('core.approvers = ["late"]'), [*Keeper(meddle, where).rings(), recorder])
    async with guard:
        r = Rig(guard, Clock(), recorder, Port(bytes_only=bytes_only), Port(bytes_only=bytes_only))
        await r.start()
        await r.call("read_x", {"path": "/a"})
        assert r.reached in ([], [request("tools/call", {"name": "read_x", "arguments": {"path": "/a"}})])
        assert r.reached or r.codes == ["core.call_changed"]
        await r.session.close()


@pytest.mark.parametrize("bytes_only", [True, False])
async def test_parameters_that_a_hook_took_away_do_not_leave(bytes_only: bool) -> None:
    """What a hook removed from a notification is gone on every kind of carrier (S3.39)."""

    def strip(message: Message, connection: Any) -> Message:
        data = {key: value for key, value in message.data.items() if key != "params"}
        return msgspec.structs.replace(message, data=data)

    async with sieved(ring("p", Layer.CONTENT, on_send=strip), bytes_only=bytes_only) as r:
        await r.send(r.from_client, request("tools/list", {"_meta": {"note": "secret"}}))
        assert r.reached == [request("tools/list")]


def test_parameters_that_a_hook_took_away_are_gone_from_the_item_that_carried_them() -> None:
    """The SDK's own object of a message does not bring back what a hook removed (S3.39)."""
    carried = SessionMessage(JSONRPCNotification(jsonrpc="2.0", method="notifications/message", params={"data": "k"}))
    left = to_sdk({"jsonrpc": "2.0", "method": "notifications/message"}, carried).message
    assert isinstance(left, JSONRPCNotification)
    assert left.params is None

"""WIRE, GATE and SEAL: frames of bytes around the messages, sealed on the way out and opened on the way in."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
from tests.core.harness import META, Clock, Port, Rig, call_params, make_rig, notification, request, rig, ring

from hauberk import Event, Frame, Layer, Message, Proof, Refused
from hauberk.connection import Role

ROLES: tuple[Role, ...] = ("client", "server")


def seal(frame: Frame, _connection: Any) -> Frame:
    """Put the whole message, as a string, into one of the same kind, method and id."""
    data = orjson.loads(frame.data)
    box = base64.b64encode(frame.data).decode()
    head = {key: data[key] for key in ("jsonrpc", "id", "method") if key in data}
    if "method" in data:
        return frame.with_data(orjson.dumps({**head, "params": {"sealed": box}}))
    if "result" in data:
        return frame.with_data(orjson.dumps({**head, "result": {"sealed": box}}))
    return frame.with_data(orjson.dumps({**head, "error": {"code": 0, "message": "sealed", "data": box}}))


def unseal(frame: Frame, _connection: Any) -> Frame:
    """Take the message out again, with a proof of its nonce."""
    try:
        return frame.with_data(opened(frame.data), proof=Proof(key_id="k1", nonce=len(frame.data), issued=5.0))
    except (KeyError, ValueError, TypeError):
        raise Refused("seal.missing", "the message is not sealed") from None


def opened(data: bytes) -> bytes:
    outer = orjson.loads(data)
    box = outer.get("params") or outer.get("result")
    return base64.b64decode(box["sealed"] if box else outer["error"]["data"], validate=True)


def sealer(**more: Any) -> Any:
    return ring("seal", Layer.SEAL, on_send=seal, on_receive=unseal, **more)


def wire(data: dict[str, Any]) -> bytes:
    """Return a message as the far peer would seal it."""
    return seal(Frame(orjson.dumps(data), "server"), None).data


def plain(port: Port) -> list[dict[str, Any]]:
    """Return what a port got, with its seals opened."""
    return [orjson.loads(opened(data if isinstance(data, bytes) else orjson.dumps(data))) for data in port.raw]


class Link(Port):
    """A far port that is the other guard's far side."""

    other: Rig

    def deliver(self, data: Any, ticket: Any) -> None:
        super().deliver(data, ticket)
        session = self.other.session
        if self.bytes_only:
            session.receive(session.inn, data)
        else:
            session.receive_object(session.inn, data)


@asynccontextmanager
async def pair(bytes_only: bool, *plugins: tuple[Any, Any]) -> AsyncIterator[tuple[Rig, Rig]]:
    """Open two guards with sealed bytes between them: one beside a client, one in front of a server."""
    sides = [make_rig([sealer(), *(one[n] for one in plugins)], bytes_only=bytes_only) for n in (0, 1)]
    for side, other in (sides, sides[::-1]):
        link = Link(bytes_only=bytes_only)
        link.other, side.far = other, link
    async with sides[0].guard, sides[1].guard:
        await sides[0].start("client")
        await sides[1].start("server")
        yield sides[0], sides[1]


# --- there and back ---


@pytest.mark.parametrize("bytes_only", [True, False])
async def test_sealed_messages_arrive_as_they_left(bytes_only: bool) -> None:
    """Between two guards that seal, over bytes and over objects, each side gets exactly what the other sent."""
    proofs: list[Any] = []

    def read(message: Message, _connection: Any) -> None:
        proofs.append(message.proof)

    reads = (ring("read", on_receive=read), ring("read", on_receive=read))
    call = request("tools/call", call_params("ls", {"n": 2**63, "é": [1.5, None]}, _meta=META), id="07")
    answer = {"jsonrpc": "2.0", "id": 7, "result": {"content": [], "x": {"b": 1, "a": 2}}}
    async with pair(bytes_only, reads) as (near, far):
        near.post(near.session.out, call)
        far.post(far.session.out, notification("notifications/message", {"level": "info", "data": "é"}))
        far.post(far.session.out, request("roots/list", id=1))
        near.post(near.session.out, {"jsonrpc": "2.0", "id": 1, "error": {"code": -1, "message": "none"}})
        far.post(far.session.out, answer)
        assert far.near.got == [call, {"jsonrpc": "2.0", "id": 1, "error": {"code": -1, "message": "none"}}]
        assert near.near.got == [
            notification("notifications/message", {"level": "info", "data": "é"}),
            request("roots/list", id=1),
            answer | {"id": "07"},
        ]
        assert all(b"sealed" in (data if bytes_only else orjson.dumps(data)) for data in near.far.raw + far.far.raw)
    assert len(proofs) == 5
    assert {proof.key_id for proof in proofs} == {"k1"}


async def test_a_refusal_crosses_sealed() -> None:
    """What the guard in front of a server refuses reaches the client's host sealed, and as the generic refusal."""

    def refuse(_message: Message, _connection: Any) -> None:
        raise Refused("no.way", "secret")

    async with pair(True, (ring("no"), ring("no", on_tool_call=refuse))) as (near, far):
        near.post(near.session.out, request("tools/call", call_params("rm")))
        await near.settle()
        await far.settle()
        error = {"code": -32003, "message": "refused", "data": {"code": "core.refused"}}
        assert near.near.got == [{"jsonrpc": "2.0", "id": 1, "error": error}]
        assert b"refused" not in far.far.raw[0]


# --- what the core itself writes ---


async def test_every_word_of_the_core_to_the_wire_is_sealed() -> None:
    """Refusals, replaced answers, time-outs' cancels and the guard's own requests pass SEAL, GATE and WIRE."""
    seen: list[tuple[Any, str, Any]] = []

    def gate(frame: Frame, _connection: Any) -> None:
        assert b"sealed" in frame.data
        seen.append((frame.kind, frame.method, frame.id))

    def hook(message: Message, _connection: Any) -> None:
        if message.kind == "result" or message.method == "prompts/list":
            raise Refused("no.way", "no")

    async with rig(
        sealer(),
        ring("gate", Layer.GATE, on_send=gate),
        ring("no", on_send=hook, on_receive=hook),
        role="server",
        toml="core.request_timeout = 60.0",
    ) as r:
        r.session.receive(r.session.inn, wire(request("prompts/list", id=1)))
        r.session.receive(r.session.inn, wire(request("ping", id=2)))
        r.session.receive(r.session.out, b'{"jsonrpc":"2.0","id":2,"result":{}}')
        r.session.receive(r.session.inn, wire(request("no/such", id=3)))
        r.session.receive(r.session.out, b'{"jsonrpc":"2.0","id":"s","method":"roots/list"}')
        exchange = r.session.out.exchanges.flight["s"]
        exchange.timer._run()
        asking = asyncio.ensure_future(r.session.request("ping"))
        await r.session.notify("notifications/tools/list_changed")
        await asyncio.sleep(0)
        asking.cancel()
        await r.settle()
        assert seen[:5] == [
            ("error", "prompts/list", 1),
            ("error", "ping", 2),
            ("error", "no/such", 3),
            ("request", "roots/list", "s"),
            ("notification", "notifications/cancelled", None),
        ]
        assert sorted((kind, method) for kind, method, _ in seen[5:]) == [
            ("notification", "notifications/tools/list_changed"),
            ("request", "ping"),
        ]
        assert [data.get("error", {}).get("data") for data in plain(r.far)][:3] == [{"code": "core.refused"}] * 3


@pytest.mark.parametrize("role", ROLES)
async def test_what_cannot_be_sealed_does_not_leave(role: Role) -> None:
    """When the seal fails nothing reaches the wire: the host's request is refused and was never sent."""
    exchanges: list[Any] = []

    def broken(_frame: Frame, _connection: Any) -> Frame:
        raise RuntimeError("no key")

    def keep(message: Message, _connection: Any) -> None:
        exchanges.append(message.exchange)

    async with rig(ring("seal", Layer.SEAL, on_send=broken), ring("keep", on_send=keep), role=role) as r:
        method = "ping" if role == "client" else "roots/list"
        await r.send(r.session.out, request(method))
        assert (r.far.got, [reply["error"]["data"]["code"] for reply in r.near.got]) == ([], ["core.hook_failed"])
        assert (exchanges[0].sent, exchanges[0].outcome) == (False, "refused")
        await r.send(r.session.out, notification("notifications/cancelled", {}))
        assert r.far.got == []


async def test_an_answer_that_cannot_be_sealed_ends_its_exchange() -> None:
    """When neither an answer nor the error in its place can be sealed, nothing leaves and nothing stays open."""

    def broken(_frame: Frame, _connection: Any) -> Frame:
        raise Refused("seal.no_key", "no key")

    async with rig(ring("seal", Layer.SEAL, on_send=broken), role="server") as r:
        await r.call()
        outcomes: list[str] = []
        r.session.inn.exchanges.flight[1].defer(outcomes.append)
        await r.answer()
        await r.send(r.session.inn, request("no/such", id=2))
        assert (r.far.got, outcomes, r.session.busy) == ([], ["refused"], False)
        assert r.recorder.codes.count("seal.no_key") == 3  # the answer, the error in its place, the refusal of 2


# --- on the way in ---


async def test_frames_are_refused_before_they_are_read() -> None:
    """GATE and SEAL see a frame before it is parsed, however malformed, and what they refuse is not parsed at all."""
    seen: list[bytes] = []

    def gate(frame: Frame, _connection: Any) -> None:
        seen.append(frame.data)
        assert (frame.kind, frame.method, frame.id) == (None, "", None)
        raise Refused("gate.closed", "no", public=True)

    lines = [b"\xff\xfe noise", b"[" * 200, b'{"jsonrpc":"2.0","id":5,"method":"ping","id":5}']
    async with rig(ring("gate", Layer.GATE, on_receive=gate)) as r:
        for line in lines:
            await r.send(r.session.inn, line)
        assert seen == lines
        assert r.recorder.codes.count("gate.closed") == 3
        assert (r.near.got, r.far.got) == ([], [])


@pytest.mark.parametrize("bytes_only", [True, False])
@pytest.mark.parametrize("waits", [False, True])
async def test_whoever_waits_learns_that_a_frame_was_refused(waits: bool, bytes_only: bool) -> None:
    """A request that GATE refuses is answered, an answer becomes an error, a notification is dropped."""

    def gate(_frame: Frame, _connection: Any) -> None:
        raise Refused("gate.closed", "no", public=True)

    async def slow(_frame: Frame, _connection: Any) -> None:
        await asyncio.sleep(0)
        raise Refused("gate.closed", "no", public=True)

    async with rig(ring("gate", Layer.GATE, on_receive=slow if waits else gate), bytes_only=bytes_only) as r:
        await r.call(id="7")
        await r.answer(id=7)
        await r.send(r.session.inn, request("roots/list", id="x"))
        await r.send(r.session.inn, notification("notifications/tools/list_changed"))
        assert [(reply["id"], reply["error"]["data"]["code"]) for reply in r.near.got] == [("7", "gate.closed")]
        assert [(data["id"], data["error"]["data"]["code"]) for data in r.far.got[1:]] == [("x", "gate.closed")]
        assert r.session.busy is False


async def test_an_unsealed_answer_ends_its_request() -> None:
    """An answer that is not sealed as it must be becomes an error for its asker, who does not hang."""
    async with rig(sealer()) as r:
        await r.call()
        await r.send(r.session.inn, {"jsonrpc": "2.0", "id": 1, "result": {"content": []}})
        assert r.codes == ["seal.missing"]


@pytest.mark.parametrize(
    "inner",
    [
        b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":1,"a":2}}',
        b'[{"jsonrpc":"2.0","id":1,"method":"ping"}]',
        b'{"jsonrpc":"2.0","id":1,"method":"no/such"}',
        b"nonsense",
    ],
)
async def test_what_was_sealed_is_read_strictly(inner: bytes) -> None:
    """The edge reads what comes out of the seal: sealing smuggles nothing past it."""
    outer = {"jsonrpc": "2.0", "id": 1, "method": "ping", "params": {"sealed": base64.b64encode(inner).decode()}}
    async with rig(sealer(), role="server") as r:
        await r.send(r.session.inn, orjson.dumps(outer))
        assert r.near.got == []
        assert [(reply["id"], reply["error"]["data"]["code"]) for reply in plain(r.far)] == [(1, "core.refused")]


@pytest.mark.parametrize("hook", ["on_send", "on_receive"])
async def test_no_frame_holds_a_line_feed(hook: str) -> None:
    """A frame hook that puts a line feed into a frame, and so a second line on the wire, is refused and named (A56)."""

    def split(frame: Frame, _connection: Any) -> Frame:
        return frame.with_data(frame.data + b"\n{}")

    async with rig(ring("split", Layer.GATE, **{hook: split})) as r:
        await r.call()
        await r.answer()
        assert all(b"\n" not in data for data in r.far.raw + r.near.raw)
        assert r.codes == ["core.hook_answer"]
        assert r.error()["data"]["plugin"] == "split"


async def test_a_proof_reaches_the_message_and_what_is_in_it() -> None:
    """The proof that opening gave stands on the message, and on each message inside it."""
    proofs: list[tuple[str, Any]] = []

    def read(message: Message, _connection: Any) -> None:
        proofs.append((message.method, message.proof and message.proof.key_id))

    async with rig(sealer(), ring("replay", Layer.REPLAY, on_receive=read)) as r:
        await r.call(_meta=META)
        asks = {"a": {"method": "roots/list"}}
        answer = {"jsonrpc": "2.0", "id": 1, "result": {"resultType": "input_required", "inputRequests": asks}}
        await r.send(r.session.inn, wire(answer))
        assert proofs == [("tools/call", "k1"), ("roots/list", "k1")]


async def test_without_a_seal_there_is_no_proof() -> None:
    """A message that nobody opened carries no proof."""
    proofs: list[Any] = []
    async with rig(ring("read", on_receive=lambda message, _c: proofs.append(message.proof))) as r:
        await r.send(r.session.inn, notification("notifications/tools/list_changed"))
        assert proofs == [None]


async def test_what_frame_hooks_note_is_recorded() -> None:
    """Events that frame hooks leave reach the record, in both directions and also when the frame is refused."""

    def gate(frame: Frame, _connection: Any) -> None:
        frame.note(Event(code=f"gate.{frame.toward}"))

    def note(message: Message, _connection: Any) -> None:
        message.note(Event(code="note.seen"))

    async with rig(ring("gate", Layer.GATE, on_send=gate, on_receive=gate), ring("note", on_receive=note)) as r:
        await r.call()
        await r.answer()
        await r.send(r.session.inn, b"noise")
        codes = [code for code in r.recorder.codes if code.startswith(("gate.", "note."))]
        assert codes == ["gate.server", "gate.client", "note.seen", "gate.client"]
        assert [event.exchange for event in r.recorder.of("note.seen")] == [f"{r.connection.id}.1"]


async def test_a_frame_knows_its_peer() -> None:
    """GATE sees the address of the other end, in both directions."""
    peers: list[str] = []

    def gate(frame: Frame, _connection: Any) -> None:
        peers.append(frame.peer)

    made = make_rig([ring("gate", Layer.GATE, on_send=gate, on_receive=gate)], clock=Clock())
    async with made.guard:
        made.connection = await made.guard.connect("files", "client", peer="192.0.2.1:5")
        made.session = made.guard.session(made.connection, made.near, made.far)
        await made.call()
        await made.answer()
        assert peers == ["192.0.2.1:5"] * 2

"""What a sealed message shows outside is compared with what was inside."""

from __future__ import annotations

from typing import Any

import msgspec
import orjson
import pytest
from tests.core.harness import META, Rig, call_params, notification, request, rig, ring

from hauberk import Frame, Layer
from hauberk.outside import VISIBLE, meta_of

CALL = request("tools/call", call_params("ls", _meta=META), id=7)


def opening(**shown: Any) -> Any:
    """Return a seal that opens each frame to itself, and says that this was shown outside."""

    def on_receive(frame: Frame, _: Any) -> Frame:
        return msgspec.structs.replace(frame, **shown)

    return ring("seal", Layer.SEAL, on_receive=on_receive)


TRUE: dict[str, Any] = {"kind": "request", "method": "tools/call", "id": 7, "meta": meta_of(CALL)}


async def arrived(r: Rig) -> bool:
    await r.send(r.session.inn, CALL)
    return CALL in r.near.got


async def test_what_was_shown_as_it_is() -> None:
    """A message whose outside says what it is passes."""
    async with rig(opening(**TRUE), role="server") as r:
        assert await arrived(r)


@pytest.mark.parametrize(
    "lie",
    [
        {"method": "ping"},
        {"kind": "notification", "id": None},
        {"id": 8},
        {"id": "7"},
        {"id": None},
        {"meta": None},
        {"meta": {VISIBLE[0]: "2025-11-25"}},
        {"meta": {**(TRUE["meta"] or {}), VISIBLE[1]: {"x": {}}}},
    ],
)
async def test_a_message_that_was_shown_as_another(lie: dict[str, Any]) -> None:
    """A call that travelled as something else is refused: whoever stands between has judged another message."""
    async with rig(opening(**{**TRUE, **lie}), role="server") as r:
        assert not await arrived(r)
        assert [event.code for event in r.recorder.events if event.action == "blocked"] == ["core.mislabelled"]


@pytest.mark.parametrize(
    ("outside", "inside"),
    [
        ({"x": 1}, {"x": True}),
        ({"x": False}, {"x": 0}),
        ({"x": 1}, {"x": 1.0}),
        ({"x": [{"y": 0}]}, {"x": [{"y": False}]}),
        ({"x": [1]}, {"x": [1, 1]}),
        ({"x": {}}, {"x": {}, "y": {}}),
        ([], {}),
    ],
)
async def test_equal_in_python_and_not_in_json(outside: Any, inside: Any) -> None:
    """What is shown outside is the same in JSON, not only equal in Python: who stands between may tell them apart."""
    meta = {VISIBLE[0]: "2026-07-28", VISIBLE[1]: inside}
    call = request("tools/call", call_params("ls", _meta={**META, **meta}), id=7)
    for shown, passes in ((outside, False), (inside, True)):
        async with rig(opening(**TRUE | {"meta": {**meta, VISIBLE[1]: shown}}), role="server") as r:
            await r.send(r.session.inn, call)
            codes = [event.code for event in r.recorder.events if event.action == "blocked"]
            assert (call in r.near.got, "core.mislabelled" in codes) == (passes, not passes)


async def test_an_answer_that_was_shown_as_another() -> None:
    """An answer is held to the id that was shown outside, and its asker gets an error in its place."""
    async with rig(opening(kind="result", id=2)) as r:
        r.post(r.session.out, request("tools/list", id=1))
        await r.answer(id=1)
        assert r.codes == ["core.mislabelled"]


async def test_what_is_shown_when_a_message_leaves() -> None:
    """A seal is told kind, method and id, and of a request's ``_meta`` what the protocol demands, and no more."""
    seen: list[Any] = []

    def on_send(frame: Frame, _: Any) -> None:
        seen.append((frame.kind, frame.method, frame.id, frame.meta))

    async with rig(ring("seal", Layer.SEAL, on_send=on_send)) as r:
        meta = {name: META[name] for name in VISIBLE if name in META}
        asked = request("tools/call", call_params("ls", _meta={**META, "progressToken": 1, "x/y": 2}), id="a")
        for sent in (asked, request("tools/list", id=2), notification("notifications/initialized")):
            r.post(r.session.out, sent)
        assert seen == [
            ("request", "tools/call", "a", meta),
            ("request", "tools/list", 2, None),
            ("notification", "notifications/initialized", None, None),
        ]


@pytest.mark.parametrize("params", [None, [], {"_meta": None}, {"_meta": {}}, {"_meta": []}, {"_meta": {"a": 1}}])
def test_nothing_to_show(params: Any) -> None:
    """A message without such members shows none, whatever its parameters are."""
    assert meta_of(orjson.loads(orjson.dumps({"params": params}))) is None

"""The first word of a connection that is dialled, and its answer."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hauberk.carriers import ping
from hauberk.refusals import LIMITS, Refused

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


def test_ping_is_known_and_accepted() -> None:
    """A ping of a guard is known as one, and its answer accepts the connection; no two have one id."""
    id, frame = ping.request()
    assert ping.id_of(frame) == id
    assert ping.denial(ping.accepted(id), id) is None
    assert ping.request()[0] != id


@pytest.mark.parametrize(
    "change",
    [
        {"id": 1},
        {"id": "hauberk:1"},
        {"id": "hauberk:" + "G" * 32},
        {"id": None},
        {"method": "pong"},
        {"params": {}},
        {"id": "x" * 300},
    ],
)
def test_other_pings_are_the_servers(change: dict[str, Any]) -> None:
    """A ping that a guard did not make goes on to the server: whoever sent it waits for the server's answer."""
    _, frame = ping.request()
    assert ping.id_of(orjson.dumps(orjson.loads(frame) | change)) is None


@given(JSON | st.binary())
def test_any_first_frame(value: Any) -> None:
    """Any frame is a ping of a guard, or is not; none is an error."""
    frame = value if isinstance(value, bytes) else json.dumps(value).encode()
    assert ping.id_of(frame) is None


@pytest.mark.parametrize(("public", "code"), [(True, "core.too_many_connections"), (False, "core.refused")])
@pytest.mark.parametrize("known", [True, False])
def test_denial_tells_the_public_code(public: bool, code: str, known: bool) -> None:
    """A stranger learns the code of load and admission only, whether its id was known by then or not."""
    id, _ = ping.request()
    refused = Refused("core.too_many_connections", "a secret reason", jsonrpc=LIMITS, rule="r", public=public)
    answer = ping.denied(id if known else None, refused)
    assert ping.denial(answer, id) == code
    assert b"secret" not in answer


def test_server_without_ping_has_answered() -> None:
    """An error of a server that knows no ping is an answer: the connection is made."""
    id, _ = ping.request()
    error = {"jsonrpc": "2.0", "id": id, "error": {"code": -32601, "message": "Method not found"}}
    assert ping.denial(orjson.dumps(error), id) is None


@given(JSON)
def test_any_answer(value: Any) -> None:
    """Whatever comes first is an answer, a denial with a code that can be shown, or no answer (ValueError)."""
    id, _ = ping.request()
    for data in (value, {"id": id, "error": value}, {"id": None, "error": {"data": {"code": value}}}):
        try:
            code = ping.denial(json.dumps(data).encode(), id)
        except ValueError:
            continue
        assert code is None or code.isprintable()


@pytest.mark.parametrize(
    "data",
    [
        {"id": "another", "result": {}},
        {"id": "ID", "method": "ping"},
        {"method": "notifications/message"},
        {"result": {}},
        {"id": None, "result": {}},
    ],
)
def test_no_answer(data: dict[str, Any]) -> None:
    """The answer to something else, a request, and a result of nothing, are no answer to the ping."""
    id, _ = ping.request()
    if data.get("id") == "ID":
        data = data | {"id": id}
    with pytest.raises(ValueError, match="no answer"):
        ping.denial(orjson.dumps(data), id)

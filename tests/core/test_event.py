"""Events: their names, and that no two share what can be changed."""

from __future__ import annotations

import threading
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.core.harness import call_params, request, rig, ring

from hauberk.event import Event, id_source
from hauberk.principal import Principal
from hauberk.verdict import Allow


@given(st.binary(min_size=10, max_size=10))
def test_ids_are_uuids(node: bytes) -> None:
    """An id is a UUID of version 8 (RFC 9562, section 5.8): 74 bits of a process, then a number that counts from 1."""
    next_id = id_source(lambda count: node[:count])
    ids = [next_id() for _ in range(300)]
    assert [int(id[24:], 16) for id in ids] == list(range(1, 301))
    assert len({id[:24] for id in ids}) == 1
    for id in ids:
        made = uuid.UUID(id)
        assert (str(made), made.version, made.variant) == (id, 8, uuid.RFC_4122)


def test_ids_of_threads_differ() -> None:
    """Threads that ask at the same time get no id twice, and their numbers have no gap."""
    next_id, made = id_source(), []

    def ask() -> None:
        made.extend([next_id() for _ in range(20_000)])

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(int(id[24:], 16) for id in made) == list(range(1, 80_001))


async def test_no_two_events_share_a_table() -> None:
    """A sink that writes into an event's tables changes no other event, of the same call or of the next (S3.1)."""
    told: list[tuple[str, dict[str, Any], dict[str, Any]]] = []

    def on_audit(event: Event) -> None:
        told.append((event.code, dict(event.sizes), dict(event.details)))
        event.sizes["planted"] = 1
        event.details["planted"] = "by a sink"

    async with rig(ring("vandal", on_audit=on_audit, quick=True), ring("judge", on_tool_call=Allow("a rule"))) as r:
        told.clear()
        for id in (1, 2):
            r.post(r.from_client, request("tools/call", call_params("ls"), id=id))
            r.post(r.from_server, {"jsonrpc": "2.0", "id": id, "result": {}})
        await r.settle()
    calls = [one for one in told if one[0] in ("core.allowed", "core.answered")]
    assert [code for code, _, _ in calls] == ["core.allowed", "core.answered"] * 2
    assert [sorted(sizes) for _, sizes, _ in calls] == [["request"], ["request", "result"]] * 2
    assert [sorted(details) for _, _, details in calls] == [[], ["seconds"]] * 2


@pytest.mark.parametrize("groups", [(), ("a", "b")])
@pytest.mark.parametrize("roles", [(), ("root",)])
async def test_decision_names_the_groups_and_roles_it_went_by(groups: tuple[str, ...], roles: tuple[str, ...]) -> None:
    """The event of a decision has what of the caller's groups and roles a hook has left it, and nothing else of it."""
    who = Principal(id="alice", kind="user", groups=frozenset({"a", "b", "c"}), roles=frozenset({"root", "x"}))

    def narrow(message: Any, _: Any) -> Any:
        return message.with_principal(message.principal.narrow(groups=frozenset(groups), roles=frozenset(roles)))

    async with rig(ring("narrow", on_receive=narrow), ring("judge", on_tool_call=Allow()), role="server") as r:
        r.connection.principal = who
        await r.call()
        (event,) = r.recorder.of("core.allowed")
    claims = {"groups": list(groups), "roles": list(roles)}
    assert event.details == {name: values for name, values in claims.items() if values}
    assert (event.principal, event.plugin) == ("alice", "judge")

"""What a table may say, and what it may not: nothing that is wrong lets a host start."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace
from plugins.bulkhead.tests.conftest import Opened, plugin_of

from hauberk import Config
from hauberk.message import Message, Proof
from hauberk.refusals import ConfigError, Refused
from hauberk_bulkhead import Bulkhead
from hauberk_bulkhead._options import Options
from hauberk_bulkhead._plugin import Patient

BAD = [
    ("in_flight = -1", "in_flight: expected integer >= 0"),
    ("in_flight = 1000001", "in_flight: expected integer >= 0 <= 1000000"),
    ("in_flight = 1.5", "in_flight: expected integer"),
    ("in_flight = true", "in_flight: expected integer"),
    ('in_flight = "many"', "in_flight: expected integer"),
    ("queue_seconds = nan", "queue_seconds: expected a finite number"),
    ("queue_seconds = inf", "queue_seconds: expected a finite number"),
    ("queue_seconds = 0", "queue_seconds: expected number > 0"),
    ("queue_seconds = -1.0", "queue_seconds: expected number > 0"),
    ("queue_seconds = 2.0", "queue_seconds: 2 s is not below core.bounds.deadline, 2 s"),
    ("to_server_bytes = 0", "to_server_bytes: expected integer >= 1024"),
    ("to_client_bytes = 99999999", "to_client_bytes: 99999999 bytes are more than core.bounds.line_bytes"),
    ("alert_percent = 101", "alert_percent: expected number > 0 <= 100"),
    ("alert_percent = nan", "alert_percent: expected a finite number"),
    ("depth = 129", "depth: expected integer >= 2 <= 128"),
    ("width = 1", "width: expected integer >= 8"),
    ("memory_bytes = 2000\nmemory_total_bytes = 1999", "memory_bytes: one connection may hold 2000 bytes"),
    ("tools.read = -1", "tools.read: expected integer >= 0"),
    ("breaker.failures = 0", "breaker.failures: expected integer >= 1"),
    ("breaker.window_seconds = nan", "window_seconds: expected a finite number"),
    ("breaker.probes = 0", "breaker.probes: expected integer >= 1"),
    ('breaker.scope = "server"', "breaker.scope: expected 'tool' or 'tenant'"),
    ('breaker.store = "http://redis"', "there is no shared store of the kind"),
    ('breaker.on_store_failure = "open"', "breaker.on_store_failure: expected 'local' or 'refuse'"),
    ("shedding.cpu_percent = 0", "shedding.cpu_percent: expected number > 0"),
    ("shedding.cpu_percent = 100.1", "shedding.cpu_percent: expected number > 0 <= 100"),
    ("shedding.cpu_percent = 5.0", "margin_percent is not below each threshold"),
    ("shedding.margin_percent = nan", "margin_percent: expected a finite number"),
    ("shedding.sample_seconds = 0", "shedding.sample_seconds: expected number >= 0.1"),
    ("isolation.events = 0", "isolation.events: expected integer >= 1"),
    ("isolation.suspend_seconds = -1", "isolation.suspend_seconds: expected number >= 0"),
    ('isolation.of_principals = ["*"]', "isolation.of_principals[0]: expected string like"),
    ("inflight = 3", "inflight: unknown key"),
    ("breaker.failure = 3", "breaker.failure: unknown key"),
]


@pytest.mark.parametrize(("line", "said"), BAD, ids=[line for line, _ in BAD])
async def test_bad_input_is_a_clear_error(guarded: Opened, line: str, said: str) -> None:
    """Negative, absurd, not a number, unknown: the error names the key and what was expected, and nothing starts."""
    with pytest.raises(ConfigError) as error:
        async with guarded(f"[bulkhead]\n{line}\n"):
            pass
    assert said in str(error.value)


async def test_bad_table_of_a_server_is_named(guarded: Opened) -> None:
    """What one server's table says wrong is named with its table."""
    with pytest.raises(ConfigError, match=r"\[server\.files\.bulkhead\] to_client_bytes"):
        async with guarded("[bulkhead]\n[server.files.bulkhead]\nto_client_bytes = 99999999\n"):
            pass


@pytest.mark.parametrize(
    "line",
    [
        "shedding.cpu_percent = 50",
        "isolation.events = 3",
        "memory_total_bytes = 104857600",
        'breaker.store = "redis://localhost"',
    ],
)
async def test_what_holds_for_all_servers_stands_in_the_general_table(guarded: Opened, line: str) -> None:
    """In a server's table nobody would read it, so there it is an error."""
    with pytest.raises(ConfigError, match="it holds for all servers"):
        async with guarded(f"[bulkhead]\n[server.files.bulkhead]\n{line}\n"):
            pass


async def test_password_of_a_store_is_shown_nowhere(guarded: Opened) -> None:
    """An address that is wrong is an error without the password in it."""
    with pytest.raises(ConfigError) as error:
        async with guarded('[bulkhead]\nbreaker.store = "redis://:canary@host:99999"\n'):
            pass
    assert "canary" not in str(error.value)
    assert "canary" not in repr(Options())


def merged(general: str, specific: str, **more: Any) -> Options:
    config = Config.from_toml(f"[bulkhead]\n{general}\n[server.files.bulkhead]\n{specific}\n", **more)
    return config.options("bulkhead", Options, "files")


def test_servers_table_only_narrows() -> None:
    """Of two caps the smaller stands, tool by tool too; a larger one has to be written as an override."""
    both = merged("in_flight = 10\ntools = { read = 5, write = 9 }", "in_flight = 20\ntools = { read = 7, list = 1 }")
    assert (both.in_flight, both.tools) == (10, {"read": 5, "write": 9, "list": 1})
    assert merged("in_flight = 10", "override = true\nin_flight = 20").in_flight == 20
    assert merged("to_server_bytes = 4096", "to_server_bytes = 2048").to_server_bytes == 2048
    assert merged("queue = 5", "queue = 0").queue == 0


async def test_calls_wait_only_where_somebody_may(guarded: Opened) -> None:
    """Without a queue no hook is awaited, which is faster; one server with a queue is enough for it."""
    async with guarded("queue = 0\n") as rig:
        assert type(plugin_of(rig)) is Bulkhead
        assert not rig.guard.chains.waits_outward
    async with guarded("[bulkhead]\nqueue = 0\n[server.a.bulkhead]\noverride = true\nqueue = 1\n") as rig:
        assert type(plugin_of(rig)) is Patient


async def test_sealed_messages_are_looked_at_once_more(guarded: Opened) -> None:
    """Where messages are sealed and their shape has a limit, every opened message meets the hook; else few do."""
    for depth, sealed, seen in ((16, False, True), (16, True, False), (128, True, True)):
        async with guarded(f"depth = {depth}\n") as rig:
            guard = plugin_of(rig).gate.guard
            config = SimpleNamespace(
                has_table=lambda word, sealed=sealed: sealed and word == "envelope",
                servers_of=guard.config.servers_of,
                core=guard.config.core,
                production=False,
            )
            other = SimpleNamespace(config=config, options_for=guard.options_for, clock=guard.clock)
            assert bool(Bulkhead(Options(), other).toward) is seen


async def test_what_stood_in_a_seal_has_a_shape_too(guarded: Opened) -> None:
    """An opened message is refused for the shape that its seal hid; one that was plain was looked at as bytes."""
    async with guarded("depth = 4\nwidth = 100\n") as rig:
        gate, proof = plugin_of(rig).gate, Proof(key_id="k", nonce=1, issued=0.0)
        for params, code in (({"a": [[[[1]]]]}, "bulkhead.too_deep"), ({"a": [1] * 101}, "bulkhead.too_wide")):
            data = {"jsonrpc": "2.0", "method": "notifications/x", "params": params}
            plain = Message(kind="notification", toward="server", method="notifications/x", data=data)
            gate.request(plain, rig.connection)
            with pytest.raises(Refused) as caught:
                gate.request(replace(plain, proof=proof), rig.connection)
            assert caught.value.code == code

"""The doctor: each control is sent what it must stop, and it is said what got through."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
from collections.abc import Callable, Generator
from typing import Any

import orjson
import pytest
from tests.core.harness import Clock, Recorder, ring

from hauberk import _stand, crossing, doctor, edge, embedded, exchange, methods, notices, pipeline, refusals
from hauberk._core_probes import cases
from hauberk.bounds import Bounds
from hauberk.config import Config
from hauberk.doctor import Finding, Report
from hauberk.event import Event
from hauberk.exchange import Exchange, Exchanges
from hauberk.guard import Guard
from hauberk.hosts import _dial
from hauberk.judgement import Judgement
from hauberk.layers import Layer
from hauberk.message import ToolCall
from hauberk.principal import ANONYMOUS
from hauberk.probe import SERVER, Probe, call, client, notification, request, result, server
from hauberk.refusals import ConfigError, PluginError, Refused
from hauberk.sinks import Recorder as Sinks
from hauberk.verdict import Allow, Deny

PRODUCTION = 'profile = "production"\n'
DENIED = (client(call("forbidden")),)
REFUSES = Probe("ring.refuses", "a forbidden call is refused", DENIED, refused="ring.no")

Fault = Callable[[pytest.MonkeyPatch], None]


def guard_of(*plugins: Any, toml: str = "") -> Guard:
    clock = Clock()
    return Guard(Config.from_toml(toml), plugins, clock=clock, now=clock)


async def examined(*plugins: Any, toml: str = "") -> Report:
    """Return what the doctor says of a host with these plugins."""
    return await doctor.run(guard_of(*plugins, toml=toml))


def found(report: Report, name: str) -> Finding:
    (finding,) = [one for one in report.findings if one.name == name]
    return finding


def probed(*probes: Probe, **members: Any) -> Any:
    """Return a plugin with these probes."""
    return ring(probes=lambda: list(probes), **members)


def denying(tool_call: ToolCall, _: Any) -> Deny | None:
    return Deny("ring.no", "no") if tool_call.name == "forbidden" else None


# --- the core's own: each of them can fail ---


def lenient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the edge make something of anything."""

    def read(line: bytes, *, bounds: Bounds) -> tuple[dict[str, Any], bytes]:
        value = json.loads(line.decode(errors="replace"))
        value = value[0] if isinstance(value, list) else value
        value = value if isinstance(value, dict) else request("ping")
        return value, orjson.dumps(value)

    monkeypatch.setattr(edge, "read", read)


def not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge, "_read_again", lambda line, own: None)


def any_depth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge, "_shallow", lambda text: True)


def any_length(monkeypatch: pytest.MonkeyPatch) -> None:
    read = edge.read
    monkeypatch.setattr(edge, "read", lambda line, *, bounds: read(line, bounds=Bounds()))
    monkeypatch.setattr(_stand, "Framer", lambda bounds: edge.Framer(Bounds()))


def any_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge, "_check_values", lambda line, most: None)


def any_envelope(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crossing, "classify", lambda data, bounds: ("request", data["method"], 1))


def any_member(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(methods, "_check_members", lambda data, bounds: None)


def any_method(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crossing, "check", lambda *_: None)


def any_embedded(monkeypatch: pytest.MonkeyPatch) -> None:
    def requests(_: Any, __: Any, holder: dict[str, Any]) -> Generator[None, None, dict[str, Any]]:
        yield from ()
        return holder

    monkeypatch.setattr(embedded, "requests", requests)


def ids_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "correlation_key", lambda id: id)


def always_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Exchanges, "answer", lambda self, id: Exchange(id, id, "ping", ANONYMOUS, 0.0, 1))


def progress_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notices, "_expect", lambda *_: None)


def never_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Exchanges, "drop", lambda *_, **__: None)


def any_number(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Exchanges.open

    def unbounded(self: Exchanges, *args: Any) -> Exchange:
        object.__setattr__(self, "_bounds", Bounds())
        return opened(self, *args)

    monkeypatch.setattr(Exchanges, "open", unbounded)


def last_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    def judge(chain: Any, tool_call: Any, connection: Any, *_: Any) -> Any:
        return [(step.plugin, step.call(tool_call, connection)) for step in chain.steps][-1]

    monkeypatch.setattr(pipeline, "judge", judge)


def failures_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the chains go on where a hook raises, or answers nonsense."""
    monkeypatch.setattr(pipeline, "judge", lambda *_: None)
    monkeypatch.setattr(pipeline, "walk", lambda chain, item, *_: item)


def nobody_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Judgement, "_approve", lambda self: iter(()))


def changes_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compare a call neither after a round nor before it is written."""
    monkeypatch.setattr(ToolCall, "changed", lambda self: False)
    monkeypatch.setattr(crossing.Crossing, "_compared", lambda self, message, call, data: data)


def barrier_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Sinks, "barrier", lambda *_, **__: None)


def silence_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Judgement, "run", lambda self: iter(()))


def anybody_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_dial, "check_owner", lambda *_: None)


def plain_wire(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_dial, "secured", lambda *_: None)


NO_MESSAGE = ("core.refuses_other_user", "core.refuses_wire_without_tls")
"""What is tried without a message is at fault where it gets through."""
FAULTS: dict[str, Fault] = {
    "core.refuses_broken_text": lenient,
    "core.refuses_array": lenient,
    "core.refuses_scalar": lenient,
    "core.refuses_duplicate_key": not_compared,
    "core.refuses_number": not_compared,
    "core.refuses_depth": any_depth,
    "core.refuses_long_line": any_length,
    "core.refuses_many_values": any_values,
    "core.refuses_envelope": any_envelope,
    "core.refuses_twin": any_member,
    "core.refuses_id": any_envelope,
    "core.refuses_unknown_method": any_method,
    "core.refuses_direction": any_method,
    "core.refuses_kind": any_method,
    "core.refuses_params": any_method,
    "core.refuses_embedded": any_embedded,
    "core.refuses_second_id": ids_apart,
    "core.refuses_unasked_answer": always_asked,
    "core.refuses_unasked_progress": progress_passes,
    "core.drops_late_answer": never_dropped,
    "core.refuses_too_many": any_number,
    "core.keeps_denied": last_wins,
    "core.refuses_failed_judge": failures_pass,
    "core.refuses_failed_hook": failures_pass,
    "core.refuses_odd_answer": failures_pass,
    "core.refuses_unapproved_call": nobody_asked,
    "core.refuses_changed_call": changes_pass,
    "core.refuses_unrecorded_call": barrier_is_none,
    "core.refuses_unjudged_call": silence_allows,
    "core.refuses_other_user": anybody_holds,
    "core.refuses_wire_without_tls": plain_wire,
}
"""What takes each control of the core away."""


@pytest.mark.parametrize("name", FAULTS)
async def test_control_of_the_core_that_is_gone_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each probe of the core says ``ok``, and ``not_stopped`` once the code behind its control is taken away (X.1)."""
    toml = PRODUCTION if name == "core.refuses_unjudged_call" else ""
    assert found(await examined(toml=toml), name).state == "ok"
    FAULTS[name](monkeypatch)
    report = await examined(toml=toml)
    state = "faulty" if name in NO_MESSAGE else "not_stopped"
    assert (found(report, name).state, found(report, name).detail) == (state, "it got through")
    assert report.status == 1


def test_every_probe_of_the_core_has_its_fault() -> None:
    """There is no probe of the core that nobody has seen fail."""
    assert {case.probe.name for case in cases(production=True)} == set(FAULTS)


async def test_sound_host_is_live() -> None:
    """A host whose controls all stop what they must is live: status 0, and each finding is ``ok``."""
    report = await examined(probed(REFUSES, on_tool_call=denying))
    assert report.status == 0
    assert {one.state for one in report.findings} == {"ok"}
    assert found(report, "ring.refuses").plugin == "ring"


# --- probes of plugins ---


async def test_call_that_gets_through_is_found() -> None:
    """A plugin that says nothing where its probe says it refuses is not live."""
    report = await examined(probed(REFUSES, on_tool_call=None))
    assert found(report, "ring.refuses").state == "not_stopped"
    assert report.status == 1


@pytest.mark.parametrize("layer", [Layer.ADMIT, Layer.CONTENT])
async def test_control_behind_another_is_tried_alone(layer: Layer) -> None:
    """Where another plugin stops the message first, it is found out what the control does by itself."""
    other = ring("other", layer, on_tool_call=Deny("other.no", "no"), probes=list)
    sound = await examined(probed(REFUSES, on_tool_call=denying), other)
    assert found(sound, "ring.refuses").state == "ok"
    broken = await examined(probed(REFUSES, on_tool_call=None), other)
    assert found(broken, "ring.refuses").state == "not_stopped"


async def test_what_another_code_stopped_cannot_be_told() -> None:
    """A message that is stopped by a failure, or by another code, says nothing of the control: status 2."""
    report = await examined(probed(REFUSES, on_tool_call=Deny("ring.other", "no")))
    assert found(report, "ring.refuses").state == "unknown"
    assert "ring.other" in found(report, "ring.refuses").detail
    assert report.status == 2


@pytest.mark.parametrize("hook", ["on_receive", "on_send"])
async def test_what_is_hidden_must_be_gone(hook: str) -> None:
    """A text that must be hidden is found wherever it stands, beside a client and in front of a server."""
    listed = (client(request("tools/list")), server(result({"tools": [{"name": "x", "notes": ["see forbidden"]}]})))
    hides = Probe("ring.hides", "it is hidden", listed, hidden="forbidden")

    def hide(message: Any, _: Any) -> Any:
        return message.with_result({"tools": []}) if message.kind == "result" else None

    both = await examined(probed(hides, on_receive=hide, on_send=hide))
    assert found(both, "ring.hides").state == "ok"
    one = await examined(probed(hides, **{hook: hide}))
    where = {"on_receive": "in front of a server", "on_send": "beside a client"}[hook]
    assert found(one, "ring.hides").state == "not_stopped"
    assert where in found(one, "ring.hides").detail


async def test_what_does_not_come_out_is_not_shown_to_be_hidden() -> None:
    """An answer that is refused says nothing of what would have been hidden in it."""
    listed = (client(request("tools/list")), server(result({"tools": []})))

    def refuse(message: Any, _: Any) -> None:
        if message.kind == "result":
            raise Refused("ring.no", "no")

    report = await examined(probed(Probe("ring.hides", "…", listed, hidden="x"), on_receive=refuse, on_send=refuse))
    assert found(report, "ring.hides").state == "unknown"


async def test_refused_answer_is_stopped() -> None:
    """The error in place of an answer is no answer, whether the host may read its code or a remote peer may not."""
    listed = (client(request("tools/list")), server(result({"tools": []})))

    def refuse(message: Any, _: Any) -> None:
        if message.kind == "result":
            raise Refused("ring.no", "no")

    probe = Probe("ring.refuses", "…", listed, refused="ring.no")
    assert found(await examined(probed(probe, on_receive=refuse, on_send=refuse)), "ring.refuses").state == "ok"


async def test_refusal_as_result_is_stopped() -> None:
    """``refuse_as = "result"`` changes the form of a refusal, and nothing that the doctor says."""

    def refuse(message: Any, _: Any) -> None:
        if message.kind == "result":
            raise Refused("ring.no", "no")

    answered = Probe("ring.refuses", "…", (client(call("x")), server(result({"content": []}))), refused="ring.no")
    toml = '[core]\nrefuse_as = "result"'
    assert (await examined(probed(answered, on_receive=refuse, on_send=refuse), toml=toml)).status == 0


async def test_dropped_means_that_nothing_comes_out() -> None:
    """A message that must be dropped and comes out is found."""
    noise = Probe("ring.drops", "…", (client(notification("notifications/initialized")),), dropped=True)

    def drop(message: Any, _: Any) -> None:
        raise Refused("ring.no", "no")

    assert found(await examined(probed(noise, on_send=drop, on_receive=drop)), "ring.drops").state == "ok"
    assert found(await examined(probed(noise, on_connect=None)), "ring.drops").state == "not_stopped"


async def test_unprepared_probe_cannot_be_told() -> None:
    """Where a message that prepares the probe is stopped, nothing can be said of the last."""

    def drop(message: Any, _: Any) -> None:
        if message.method == "ping":
            raise Refused("ring.other", "no")

    two = Probe("ring.refuses", "…", (client(request("ping")), client(call("x", id=2))), refused="ring.no")
    report = await examined(probed(two, on_send=drop, on_receive=drop))
    assert found(report, "ring.refuses").state == "unknown"
    assert "ring.other" in found(report, "ring.refuses").detail


async def test_plugin_that_only_observes_is_found() -> None:
    """A plugin in mode ``audit`` lets its probe pass, and that is said (X.1)."""
    report = await examined(probed(REFUSES, on_tool_call=denying, mode="audit"))
    assert found(report, "ring.refuses").state == "not_stopped"
    assert found(report, "ring.refuses").detail == "it only observes, and stops nothing"


@pytest.mark.parametrize("members", [{}, {"probes": list}])
async def test_plugin_without_probes_is_found(members: dict[str, Any]) -> None:
    """Of a plugin without probes nobody can tell whether it works: that is said, and the status is 2."""
    report = await examined(ring(on_tool_call=None, **members))
    assert found(report, "ring.probes").state == "unprobed"
    assert report.status == 2


def raising() -> list[Probe]:
    raise RuntimeError("hunter2")


@pytest.mark.parametrize(
    "probes",
    [raising, lambda: None, lambda: ["ring.x"], lambda: [Probe("other.x", "…", DENIED, refused="other.no")]],
    ids=["raises", "none", "text", "foreign"],
)
async def test_broken_probes_cannot_be_told(probes: Any) -> None:
    """What is no list of probes of the plugin's own name is said, without the text of an exception."""
    finding = found(await examined(ring(on_tool_call=None, probes=probes)), "ring.probes")
    assert finding.state == "unknown"
    assert "hunter2" not in finding.detail


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": DENIED},
        {"messages": DENIED, "refused": "a.b", "hidden": "x"},
        {"refused": "a.b"},
        {"messages": DENIED, "dropped": True, "check": lambda _: None},
    ],
)
def test_probe_says_one_thing(fields: dict[str, Any]) -> None:
    """A probe that says nothing of its outcome, two things, or sends nothing, is an error."""
    with pytest.raises(PluginError, match=r"probe 'ring\.x'"):
        Probe("ring.x", "…", **fields)


@pytest.mark.parametrize("name", ["", "ring", "ring.", ".x", "ring.a.b", "ring.a b"])
def test_probe_has_a_proper_name(name: str) -> None:
    """A probe is named by its plugin's word, a dot and what is tried."""
    with pytest.raises(PluginError, match="no proper name"):
        Probe(name, "…", DENIED, refused="a.b")


# --- checks ---


def config_error(_: Any) -> None:
    raise ConfigError("the file is gone")


def key_error(_: Any) -> None:
    raise KeyError("hunter2")


async def fine(_: Any) -> None:
    return None


@pytest.mark.parametrize(
    ("check", "state", "detail"),
    [
        (lambda _: None, "ok", ""),
        (fine, "ok", ""),
        (lambda _: "it is wet", "faulty", "it is wet"),
        (config_error, "faulty", "the file is gone"),
        (key_error, "unknown", "its check failed (KeyError)"),
    ],
)
async def test_check_says_what_is_wrong(check: Any, state: str, detail: str) -> None:
    """A check returns or raises what is wrong; one that breaks has not told, and its text is not shown."""
    probe = Probe("ring.is_dry", "…", check=check)
    finding = found(await examined(probed(probe, on_tool_call=None)), "ring.is_dry")
    assert (finding.state, finding.detail) == (state, detail)


async def test_check_gets_what_its_messages_caused() -> None:
    """A check with messages sees the events that they caused, once the sinks have them, and no others."""
    seen: list[list[str]] = []
    recorder = Recorder()

    def check(events: Any) -> str | None:
        seen.append([event.code for event in events])
        return None if all(event in recorder.events for event in events) else "not recorded"

    probe = Probe("ring.is_recorded", "…", DENIED, check=check)
    report = await examined(probed(probe, on_tool_call=denying), recorder)
    assert found(report, "ring.is_recorded").state == "ok"
    assert seen == [["ring.no"], ["ring.no"]]  # beside a client, in front of a server


@pytest.mark.parametrize("required", [False, True])
async def test_sink_that_cannot_record_is_found(required: bool, caplog: pytest.LogCaptureFixture) -> None:
    """A sink that fails is found, required or not (X.16)."""
    caplog.set_level(logging.CRITICAL, "hauberk")

    def broken(event: Event) -> None:
        raise OSError("disk full")

    report = await examined(ring("disk", on_audit=broken, required=required, probes=lambda: [REFUSES_DISK]))
    assert found(report, "disk.records").state == "faulty"
    assert report.status == 1


async def test_a_check_that_never_ends_has_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A probe's check that waits for ever ends as one that could not be told, and the doctor goes on (X.1)."""

    async def never(_: Any) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(doctor, "PATIENCE", 0.01)
    finding = found(await examined(probed(Probe("ring.ends", "…", check=never))), "ring.ends")
    assert (finding.state, finding.detail) == ("unknown", "its check failed (TimeoutError)")


REFUSES_DISK = Probe("disk.x", "…", check=lambda _: None)


async def test_plugin_that_does_not_open_is_found() -> None:
    """A plugin that cannot open is a finding, and checks that need no message say why."""

    async def cannot_open() -> None:
        raise ConfigError("key file has mode 644")

    private = Probe("ring.keeps_key", "the key is private", check=lambda _: "mode 644")
    report = await examined(probed(private, REFUSES, on_tool_call=None, open=cannot_open))
    assert [(one.name, one.state) for one in report.findings] == [
        ("core.opens", "unknown"),
        ("ring.keeps_key", "faulty"),
    ]
    assert report.status == 1


# --- what is left behind ---


class Required(Recorder):
    """A sink whose record is awaited."""

    required = "both"


@pytest.mark.parametrize("kind", [Recorder, Required])
async def test_everything_that_the_doctor_causes_says_so(kind: type[Recorder]) -> None:
    """Each event is marked, and names the doctor as server and principal, wherever it has any (X.1)."""
    recorder = kind()
    await examined(probed(REFUSES, on_tool_call=denying), recorder)
    assert recorder.codes.count("ring.no") == 2  # beside a client, in front of a server; not what the core stops
    assert not any(code in recorder.codes for code in ("core.batch", "core.unrecorded", "doctor.denied"))
    assert {event.probe for event in recorder.events} == {True}
    spoken = [event for event in recorder.events if event.category in {"refusal", "decision", "outcome", "connection"}]
    assert {(event.server, event.principal) for event in spoken} == {(SERVER, SERVER)}
    assert recorder.codes.count("core.connected") == recorder.codes.count("core.disconnected") == 2


async def test_doctor_asks_nobody() -> None:
    """An approver is never asked: what would ask is refused as unapproved."""
    asked: list[Any] = []

    async def approve(tool_call: Any, _: Any) -> None:
        asked.append(tool_call)

    person = ring("person", on_connect=None, approve=approve, probes=list)
    report = await examined(person, toml='[core]\napprovers = ["person"]')
    assert found(report, "core.refuses_unapproved_call").state == "ok"
    assert asked == []


async def test_what_the_doctor_does_wrong_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The hooks that the doctor lets fail are no news for the log; another plugin's failure is."""
    caplog.set_level(logging.DEBUG, "hauberk")
    await examined()
    assert caplog.records == []

    def fail(*_: Any) -> None:
        raise RuntimeError("x")

    await examined(probed(REFUSES, on_tool_call=fail))
    assert {record.args[0] for record in caplog.records if isinstance(record.args, tuple)} == {"ring"}


# --- the start in production ---


async def test_production_does_not_start_with_a_dead_control() -> None:
    """A control that lets its probe through stops the start; it is named, and every plugin is closed again (X.1)."""
    closed: list[str] = []

    async def close() -> None:
        closed.append("ring")

    allowing = probed(REFUSES, on_tool_call=Allow("all"), close=close)
    guard = guard_of(allowing, toml=PRODUCTION)
    with pytest.raises(PluginError) as caught:
        await guard.open()
    assert caught.value.message == "control 'ring.refuses' is not live: it got through (beside a client)"
    assert caught.value.hint is not None
    assert "hauberk doctor" in caught.value.hint
    assert closed == ["ring"]
    assert not guard.is_open


@pytest.mark.parametrize("check", [lambda _: "mode 644", key_error])
async def test_production_does_not_start_with_a_fault(check: Any) -> None:
    """What is faulty, or cannot be told, stops the start as well."""
    with pytest.raises(PluginError, match=r"control 'ring\.is_dry' is not live"):
        await guard_of(probed(Probe("ring.is_dry", "…", check=check), on_tool_call=None), toml=PRODUCTION).open()


async def test_production_starts_with_live_controls() -> None:
    """A sound host starts, and what was tried at the start is in the record before the start itself."""
    recorder = Recorder()
    probes_of_recorder = ring(
        "witness", on_audit=recorder.on_audit, probes=lambda: [Probe("witness.x", "…", check=fine)]
    )
    async with guard_of(probed(REFUSES, on_tool_call=denying), probes_of_recorder, toml=PRODUCTION):
        pass
    marked = [event.probe for event in recorder.events]
    begun = recorder.codes.index("core.started")
    assert set(marked[:begun]) == {True}
    assert set(marked[begun:]) == {False}


async def test_production_says_what_has_no_probes() -> None:
    """A plugin without probes does not stop the start; the record says that nobody can tell (X.16)."""
    recorder = Recorder()
    async with guard_of(ring(on_tool_call=None), recorder, toml=PRODUCTION):
        pass
    assert {event.plugin for event in recorder.of("core.unprobed")} == {"ring", "recorder"}


async def test_development_tries_nothing() -> None:
    """In development a host starts at once, with whatever it has; no hook is called."""
    called: list[Any] = []
    async with guard_of(probed(REFUSES, on_tool_call=lambda *_: called.append(1), on_send=lambda *_: called.append(2))):
        pass
    assert called == []


def test_development_does_not_load_the_doctor() -> None:
    """A guard of the development profile opens without importing the doctor, or the probes."""
    program = (
        "import asyncio, sys, hauberk\n"
        "asyncio.run(hauberk.Guard(hauberk.Config.default()).open())\n"
        "print(sorted(name for name in sys.modules if 'doctor' in name or 'probe' in name))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


async def test_reload_in_production_proves_the_new_policy() -> None:
    """A new policy with a dead control is rejected: the old one stays in force, and nothing was judged by the new."""
    live = True

    def judge(tool_call: ToolCall, _: Any) -> Any:
        return denying(tool_call, _) or Allow("x") if live else Allow("x")

    recorder = Recorder()
    async with guard_of(probed(REFUSES, on_tool_call=judge), recorder, toml=PRODUCTION) as guard:
        before = guard.policy
        live = False
        with pytest.raises(PluginError, match=r"control 'ring\.refuses' is not live"):
            await guard.reload(Config.from_toml(PRODUCTION + "# another"))
        assert guard.policy is before
        live = True
        await guard.reload(Config.from_toml(PRODUCTION + "# a third"))
        assert guard.policy is not before
    assert "policy.rejected" in recorder.codes


def test_stand_knows_the_refusal_of_a_guard() -> None:
    """An error that a peer makes is none that stands for a refusal, whatever it says; one with a heard code is."""
    of_peer = orjson.dumps({"jsonrpc": "2.0", "id": 1, "error": {"code": -1, "message": "x", "data": "ring.no"}})
    of_guard = orjson.dumps({"jsonrpc": "2.0", "id": 1, "error": Refused("ring.no", "no").error_object(trusted=True)})
    unheard = orjson.dumps({"jsonrpc": "2.0", "id": 1, "error": {"code": 1, "data": {"code": "ring.other"}}})
    heard = _stand.Heard([of_peer, of_guard, unheard, b"{"], ("ring.no",))
    assert heard.passed == [of_peer, unheard, b"{"]
    assert refusals.POLICY == -32003

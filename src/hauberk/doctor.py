"""Whether the controls are live: each probe sent through the real chains, and what came of it.

The rules:

1. What is sent goes through a real session of the policy's own chains, between two ports in memory. No server is
   dialled and nobody is asked. Each event that is recorded says ``probe``; what the core itself stops is not recorded.
2. A control is live if its own code stopped the message. Where another control stopped it first, the plugin is tried
   once more with nothing beside it. What was stopped by neither, or by a failure, could not be told.
3. What got through is ``not_stopped``, whatever the reason: a plugin that only observes stops nothing.
4. An active plugin without probes is a control of which nobody can tell; a plugin that has a table and does not run is
   one that an operator may believe in. Both are said.
5. A host in production does not start with what is not stopped, is faulty or cannot be told (`self_test`). A plugin
   without probes does not stop it, and leaves the event ``core.unprobed``.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec
import orjson

from hauberk._core_probes import CORE, Case, cases
from hauberk._stand import DOCTOR, PATIENCE, Heard, Stand
from hauberk.event import Event
from hauberk.probe import BOTH, Probe
from hauberk.refusals import ConfigError, HauberkError, PluginError

if TYPE_CHECKING:
    from hauberk.config import Config
    from hauberk.connection import Connection, Role
    from hauberk.guard import Guard
    from hauberk.plugins import Loaded
    from hauberk.policy import Policy

State = Literal["ok", "not_stopped", "faulty", "unknown", "unprobed"]
_GRAVITY: Final[tuple[State, ...]] = ("not_stopped", "faulty", "unknown", "unprobed", "ok")
_ROLE: Final[dict[Role, str]] = {"client": "beside a client", "server": "in front of a server"}
_WRONG: Final = frozenset({"not_stopped", "faulty"})
_BROKEN_SINK: Final = frozenset({"core.sink_failed", "core.events_lost"})


class Finding(msgspec.Struct, frozen=True):
    """What was found of one control."""

    name: str
    plugin: str
    """``core`` for the core's own."""
    control: str
    state: State
    detail: str = ""
    hint: str = ""


class Report(msgspec.Struct, frozen=True):
    """What was found of all of them."""

    findings: tuple[Finding, ...]

    @property
    def status(self) -> int:
        """0: everything was stopped; 1: something got through or is not as it must be; 2: something cannot be told."""
        states = {one.state for one in self.findings}
        return 1 if states & _WRONG else 2 if states - {"ok"} else 0

    def of(self, *states: State) -> list[Finding]:
        """Return the findings of some states."""
        return [one for one in self.findings if one.state in states]


# --- who examines ---


async def self_test(guard: Guard, policy: Policy) -> None:
    """Examine a policy whose plugins are open, before anything passes through it.

    Raises:
        PluginError: A control is not live; it is named.
    """
    report = await examine(guard, policy)
    bad = report.of("not_stopped", "faulty", "unknown")
    if bad:
        first = min(bad, key=lambda one: _GRAVITY.index(one.state))
        more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
        raise PluginError(
            f"control {first.name!r} is not live: {first.detail or first.control}{more}",
            hint=first.hint or "hauberk doctor shows all; a host in production starts when each control is live",
        )
    for one in report.of("unprobed"):
        event = Event(code="core.unprobed", category="system", severity="warning", plugin=one.plugin)
        policy.recorder.note([guard.complete(event)])


async def run(guard: Guard) -> Report:
    """Open a guard, examine it and close it; what cannot be opened is a finding."""
    policy = guard.policy
    guard.probing = True
    standing = _standing(policy)
    try:
        await guard.open()
    except (HauberkError, OSError) as error:
        faulty = [fault for one in policy.loaded.values() for fault in await _checked_closed(one)]
        return Report((cannot("opens", "every plugin opens", error), *standing, *faulty))
    try:
        report = await examine(guard, policy)
    finally:
        await guard.close()
    return Report((*report.findings, *standing))


async def examine(guard: Guard, policy: Policy) -> Report:
    """Send every probe of the core and of each active plugin.

    Args:
        guard: Whose clocks are used.
        policy: Its plugins are open. It need not be the guard's.
    """
    stand = Stand(guard, policy)
    found: dict[str, list[Finding]] = {}
    probes = [(one, *_probes_of(one)) for one in policy.loaded.values()]
    for role in BOTH:
        connection = await stand.connect(role)
        if role == "client":
            found |= {
                case.probe.name: [await _core(stand, connection, case)] for case in cases(production=policy.production)
            }
        for one, mine, _ in probes:
            for probe in mine:
                if role in probe.roles and (probe.messages or role == probe.roles[0]):
                    found.setdefault(probe.name, []).append(await _tried(stand, connection, one, probe))
        await stand.disconnect(connection)
    faults = [fault for _, _, fault in probes if fault is not None]
    return Report((*map(_worst, found.values()), *faults, *_of_sinks(stand.events)))


def _worst(findings: Sequence[Finding]) -> Finding:
    """Return the gravest of what one probe found in several roles."""
    return min(findings, key=lambda one: _GRAVITY.index(one.state))


# --- one probe ---


def _probes_of(loaded: Loaded) -> tuple[list[Probe], Finding | None]:
    """Return a plugin's probes, and what is to be said of them."""
    about = f"what {loaded.name!r} promises"
    name = f"{loaded.name}.probes"
    try:
        probes = list(loaded.plugin.probes()) if hasattr(loaded.plugin, "probes") else []
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a plugin that cannot say is one of which nobody can tell
        return [], Finding(name, loaded.name, about, "unknown", f"probes() failed ({_said(error)})")
    if not probes:
        return [], Finding(name, loaded.name, about, "unprobed", "it has no probe", "give the plugin probes()")
    foreign = [one for one in probes if type(one) is not Probe or not one.name.startswith(f"{loaded.name}.")]
    if foreign:
        return [], Finding(
            name, loaded.name, about, "unknown", f"probes() answered with what is no probe of {loaded.name!r}"
        )
    return probes, None


async def _core(stand: Stand, connection: Connection, case: Case) -> Finding:
    """Try one control of the core."""
    if case.probe.check is not None:
        state, detail = await _checked(case.probe, ())
        return Finding(case.probe.name, CORE, case.probe.control, state, detail)
    changed = msgspec.structs.replace(stand.policy.bounds, **case.bounds)

    async def send(alone: str | None) -> Heard:
        return await stand.send(
            connection, case.probe.messages, alone=alone, steps=case.steps, sinks=case.sinks(), bounds=changed
        )

    heard = await send("" if case.alone else None)
    state, detail = _judged(case.probe, heard)
    if state == "unknown" and not case.alone:
        state, detail = _judged(case.probe, await send(""))
    return Finding(case.probe.name, CORE, case.probe.control, state, detail)


async def _tried(stand: Stand, connection: Connection, loaded: Loaded, probe: Probe) -> Finding:
    """Try one control of a plugin."""
    before = len(stand.events)
    try:
        state, detail = await _sent(stand, connection, loaded, probe)
        if probe.check is not None:
            await stand.drain()
            state, detail = await _checked(probe, stand.events[before:])
    except TimeoutError:
        state, detail = "unknown", "it was neither stopped nor let through in time"
    hint = ""
    if state != "ok":
        if loaded.mode == "audit" and probe.check is None:
            detail, hint = "it only observes, and stops nothing", f"take mode = 'audit' out of [{loaded.name}]"
        elif probe.messages:
            detail = f"{detail} ({_ROLE[connection.role]})"
    return Finding(probe.name, loaded.name, probe.control, state, detail, hint)


async def _sent(stand: Stand, connection: Connection, loaded: Loaded, probe: Probe) -> tuple[State, str]:
    if not probe.messages:
        return "ok", ""
    heard = await stand.send(connection, probe.messages)
    state, detail = _judged(probe, heard)
    if state == "unknown":
        state, alone = _judged(probe, await stand.send(connection, probe.messages, alone=loaded.name))
        detail = detail if state == "unknown" else alone
    return state, detail


def _judged(probe: Probe, heard: Heard) -> tuple[State, str]:
    """Say what came of the last message."""
    if heard.unprepared:
        return "unknown", heard.unprepared
    passed = heard.passed
    if probe.hidden:
        if not passed:
            return "unknown", f"nothing came out in which it could be hidden ({_stopped_by(heard)})"
        return ("not_stopped", "it came out") if _holds(passed, probe.hidden) else ("ok", "")
    if passed:
        return "not_stopped", "it got through"
    if probe.refused and probe.refused not in heard.codes:
        return "unknown", f"{_stopped_by(heard)}, and not {probe.refused}"
    return "ok", ""


def _stopped_by(heard: Heard) -> str:
    return f"stopped by {', '.join(heard.codes)}" if heard.codes else "nobody says why it was stopped"


def _holds(lines: Iterable[bytes], text: str) -> bool:
    """Whether a text stands in any string of any of these messages."""
    return any(_in_value(orjson.loads(line), text) for line in lines)


def _in_value(value: Any, text: str) -> bool:
    if isinstance(value, str):
        return text in value
    if isinstance(value, dict):
        return any(text in key or _in_value(item, text) for key, item in value.items())
    return isinstance(value, list) and any(_in_value(item, text) for item in value)


async def _checked(probe: Probe, events: Sequence[Event]) -> tuple[State, str]:
    """Run a probe's check."""
    if probe.check is None:
        return "ok", ""
    try:
        fault = probe.check(events)
        if inspect.isawaitable(fault):
            async with asyncio.timeout(PATIENCE):
                fault = await fault
    except HauberkError as error:
        return "faulty", error.message
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a check that fails has not told
        return "unknown", f"its check failed ({_said(error)})"
    return ("faulty", fault) if fault else ("ok", "")


def _said(error: BaseException) -> str:
    """Name an error; what a plugin raised may hold anything, so only our own is repeated."""
    return error.message if isinstance(error, HauberkError) else type(error).__name__


# --- what needs no message ---


def _standing(policy: Policy) -> list[Finding]:
    """Say what is configured and does not run."""
    return [
        Finding(
            f"{one.name}.runs",
            one.name,
            f"[{one.name}] in the configuration is in force",
            "not_stopped",
            f"it is configured and idle: {one.why}",
            f"let it run, or take [{one.name}] out",
        )
        for one in policy.roster
        if not one.active and policy.config.has_table(one.name)
    ]


def _of_sinks(events: Iterable[Event]) -> list[Finding]:
    """Say which sinks did not record what they were given."""
    failed = dict.fromkeys(event.plugin for event in events if event.code in _BROKEN_SINK and event.plugin != DOCTOR)
    return [
        Finding(
            f"{name}.records",
            name,
            "what happens is recorded",
            "faulty",
            "it cannot record",
            f"see why {name!r} cannot write (disk, permission)",
        )
        for name in failed
    ]


async def _checked_closed(loaded: Loaded) -> list[Finding]:
    """Run those checks of a plugin that need no message: they may say why it does not open."""
    found = []
    for probe in _probes_of(loaded)[0]:
        if not probe.messages:
            state, detail = await _checked(probe, ())
            found.append(Finding(probe.name, loaded.name, probe.control, state, detail))
    return [one for one in found if one.state == "faulty"]


def cannot(name: str, control: str, error: Exception) -> Finding:
    """Return the finding of what did not even begin."""
    hint = error.hint or "" if isinstance(error, HauberkError) else ""
    return Finding(f"{CORE}.{name}", CORE, control, "unknown", str(getattr(error, "message", error)), hint)


def locked(config: Config) -> Finding | None:
    """Compare what is installed with the lock of a configuration; None where nothing is locked and need not be."""
    import os

    from hauberk import loading, locking

    control = "what is installed is what was locked"
    try:
        if not config.production and not (config.base is not None and os.path.lexists(locking.path_of(config))):
            return None
        locking.check(config, loading.sources(config, discover=True))
    except (ConfigError, PluginError) as error:
        return Finding(f"{CORE}.lock", CORE, control, "faulty", error.message, error.hint or "")
    return Finding(f"{CORE}.lock", CORE, control, "ok")

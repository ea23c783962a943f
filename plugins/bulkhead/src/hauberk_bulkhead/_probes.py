"""What shows that limits are live: the doctor's server has small ones, and a probe goes past each.

A breaker, a suspension and shedding take more than one connection of the doctor: they would stand between it and what
other plugins have to show; and silence takes time. What decides on them is driven with the options in force, by a clock
of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Final

from hauberk.connection import Connection
from hauberk.event import Event
from hauberk.probe import SERVER, Probe, call, client, request
from hauberk_bulkhead._breaker import Breaker
from hauberk_bulkhead._doctor import HELD
from hauberk_bulkhead._door import IDLE, Door
from hauberk_bulkhead._gate import Gate
from hauberk_bulkhead._hysteresis import Level
from hauberk_bulkhead._state import State
from hauberk_bulkhead._tally import Tally

if TYPE_CHECKING:
    from hauberk_bulkhead._breaker import Terms
    from hauberk_bulkhead._options import Isolating, Options, Shedding

_HEADROOM: Final = 1024
_WIDEST: Final = 100_000
"""Beyond it the probe would be larger than what the doctor's server takes."""
Check = Callable[[Sequence[Event]], str | None]


def probes(gate: Gate, general: Options) -> list[Probe]:
    """Return a probe for each limit that is in force."""
    options = gate.rules(SERVER).options
    large = "x" * (options.to_server_bytes or _HEADROOM)
    found = [
        Probe(
            "bulkhead.refuses_one_too_many",
            "a call beyond a cap is refused at once",
            (client(call(HELD, id=1)), client(call(HELD, id=2))),
            refused="bulkhead.full",
        ),
        Probe(
            "bulkhead.refuses_large",
            "a message beyond the limit of its direction is refused before it is read",
            (client(request("tools/list", {"cursor": large})),),
            refused="bulkhead.too_large",
        ),
    ]
    if options.width <= _WIDEST:
        found.append(
            Probe(
                "bulkhead.refuses_wide",
                "an array of more members than any may have is refused before it is parsed",
                (client(request("tools/list", {"_meta": {"wide": [0] * (options.width + 1)}})),),
                refused="bulkhead.too_wide",
            )
        )
    breaking = general.breaker
    if breaking.enabled:
        found.append(
            Probe("bulkhead.breaker_opens", "failures open a breaker", check=_check(lambda: _breaks(breaking.terms)))
        )
    isolation, shedding = general.isolation, general.shedding
    if isolation.enabled:
        found.append(
            Probe("bulkhead.isolates", "who causes too much is suspended", check=_check(lambda: _counts(isolation)))
        )
    if shedding is not None:
        found.append(Probe("bulkhead.sheds", "a busy machine refuses requests", check=_check(lambda: _sheds(shedding))))
    for server in (SERVER, *gate.guard.config.servers_of("bulkhead")):
        if (seconds := gate.rules(server).idle) is not None:
            does, check = "a silent connection is hung up", _check(partial(_hangs_up, gate, server, seconds))
            return [*found, Probe("bulkhead.hangs_up_silent", does, check=check)]
    return found


def _check(find: Callable[[], str | None]) -> Check:
    return lambda _: find()


def _breaks(terms: Terms) -> str | None:
    breaker = Breaker(terms, 0.0)
    for _ in range(max(terms.failures, terms.minimum)):
        permit = breaker.allow(0.0)
        if permit is None:
            break
        breaker.fail(permit, 0.0)
    if breaker.allow(0.0) is not None:
        return "it lets a call pass after so many failures"
    tried = [breaker.allow(terms.open_seconds) for _ in range(terms.probes + 1)]
    return None if tried[-1] is None and tried[0] is not None else "it does not try as many calls as it should"


def _counts(options: Isolating) -> str | None:
    tally = Tally(1)
    found = [
        tally.count(("principal", SERVER), 0.0, events=options.events, window=options.window_seconds)
        for _ in range(options.events)
    ]
    return None if found.index(True) == options.events - 1 else "it does not count the events"


def _hangs_up(gate: Gate, server: str, seconds: float) -> str | None:
    time = [0.0]
    guard = SimpleNamespace(
        config=gate.guard.config,
        options_for=gate.guard.options_for,
        clock=lambda: time[0],
        now=gate.guard.now,
        emit=lambda _: None,
        guard=SimpleNamespace(sessions=()),
    )
    door = Door(guard, Gate(guard, gate.plugin, State()), seconds)
    connection = Connection(id=SERVER, host="", server=server, role="server", carrier="unix")
    door.connect(connection)
    time[0] = seconds
    door.look()
    return None if connection.over == IDLE else f"a connection that is silent for {seconds:g} s goes on"


def _sheds(options: Shedding) -> str | None:
    for high in (options.cpu_percent, options.memory_percent, options.disk_percent):
        if high is None:
            continue
        level = Level(high, options.margin_percent, options.samples)
        for _ in range(options.samples):
            level.see(high)
        if not level.sheds:
            return f"it does not shed at {high:g} %"
    return None

"""What is looked at before a request may go on, and what is given back once it is over.

The order: who is suspended, whether the machine is busy, the breaker, memory, the room. What was taken is given back
by one function that is deferred to the end of the exchange before anything is taken: so it is given back once, whatever
ends the request, and whoever raised on the way.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from hauberk.connection import Connection
from hauberk.exchange import Exchange, Outcome
from hauberk.message import Frame, Message, ToolCall, encode
from hauberk.principal import DOCTOR, Principal
from hauberk_bulkhead import _events, _hold
from hauberk_bulkhead._breakers import Key, Pass
from hauberk_bulkhead._callers import caller_of, kept, party_of, readable
from hauberk_bulkhead._doctor import for_doctor
from hauberk_bulkhead._hold import Hold, Rules
from hauberk_bulkhead._idle import SUBSCRIBE, UNSUBSCRIBE
from hauberk_bulkhead._limits import LIMITS
from hauberk_bulkhead._load import Load
from hauberk_bulkhead._options import Options
from hauberk_bulkhead._refusals import refused
from hauberk_bulkhead._room import Full
from hauberk_bulkhead._shape import fault
from hauberk_bulkhead._state import State
from hauberk_bulkhead._verdicts import verdict

if TYPE_CHECKING:
    from hauberk_bulkhead._idle import Life
    from hauberk_bulkhead._sharing import Sharing

_URL_NEEDED: Final = -32042
"""The error of a call that goes on once a person has been at a URL (2025-11-25, client/elicitation)."""
_NEWS: Final = frozenset({SUBSCRIBE, UNSUBSCRIBE})


class Gate:
    """The checks of one policy, on the state of its host."""

    def __init__(self, guard: Any, plugin: Any, state: State) -> None:
        self.guard: Final = guard
        self.state = state
        self.load: Load | None = None
        self.sharing: Sharing | None = None
        """Where breakers are kept together with other hosts."""
        self.plugin: Final = plugin
        self._rules: Final[dict[str, Rules]] = {}
        self._calls: Final[dict[int, Hold]] = {}
        """What requests in flight have taken, by the identity of their exchange."""
        self._values: Final = guard.config.core.bounds.values
        self._line: Final = guard.config.core.bounds.line_bytes
        self._person: Final = guard.config.core.bounds.approval_deadline
        """What a person has who is asked because of an answer (seconds): as long as an approver."""

    def rules(self, server: str) -> Rules:
        """Return what holds for a server."""
        found = self._rules.get(server)
        if found is None:
            if len(self._rules) >= LIMITS.servers:
                self._rules.clear()
            options = self.guard.options_for(self.plugin, server)
            options = for_doctor(options, self._line) if server == DOCTOR.id else options
            idle = options.idle(production=self.guard.config.production)
            found = self._rules[server] = Rules(options, options.caps, options.breaker.terms, idle)
        return found

    # --- frames ---

    def frame(self, frame: Frame, connection: Connection) -> None:
        """Look at a message as it is on the wire.

        Raises:
            Refused: It is too large, too deep or too wide.
        """
        if (life := self.state.lives.get(connection.id)) is not None:
            life.said = True
        options, size = self.rules(connection.server).options, len(frame.data)
        key = "to_server_bytes" if frame.toward == "server" else "to_client_bytes"
        most = (options.to_server_bytes if frame.toward == "server" else options.to_client_bytes) or self._line
        if size > most:
            raise refused("bulkhead.too_large", f"a message of {size} bytes", rule=f"bulkhead.{key} = {most}")
        if 100 * size >= options.alert_percent * most:
            self.near(key, connection.server, size, most, options)
        if (wrong := fault(frame.data, options.depth, options.width, self._values)) is not None:
            raise _hold.misshapen(wrong, options)

    # --- requests ---

    def request(self, message: Message, connection: Connection) -> None:
        """Let a request go on that is no call, or the retry of one; there is no waiting for it.

        Raises:
            Refused: It may not go on.
        """
        if message.proof is not None:
            options = self.rules(connection.server).options
            if (wrong := fault(encode(message.data), options.depth, options.width, self._values)) is not None:
                raise _hold.misshapen(wrong, options)
        exchange = message.exchange
        if message.embedded is not None and message.kind == "request":
            self._asks(connection)
        if (
            message.kind != "request"
            or message.embedded is not None
            or exchange is None
            or exchange.outcome is not None
        ):
            return
        if message.method == "tools/call":
            if "requestState" not in message.params or self._has_taken(exchange):
                return  # it is judged first, or was
            tool = message.params["name"]
        else:
            tool = f"({message.method})"
            if message.method in _NEWS and (life := self.state.lives.get(connection.id)) is not None:
                exchange.defer(partial(_answered, life, message.method, message.params["uri"]))
        room = connection.server if message.toward == "server" else f"{connection.server}/asks"
        hold = self.begin(exchange, message.principal, tool, message.size, connection)
        self.enter(hold, tool, room, wait=False)
        self.entered(hold)

    def call(self, call: ToolCall, connection: Connection, *, wait: bool) -> Hold | None:
        """Let a call go on as far as that is known at once.

        Returns:
            What it has taken: a place in the room, or one at its door if it may ``wait``. None where there is nothing
            to take: somebody has to be asked first (then memory is taken, and no more), it has been taken, or the
            request is over: a server may answer what it was not sent yet, and what is taken after the end nobody gives
            back.

        Raises:
            Refused: It may not go on.
        """
        exchange = call.exchange
        if self._has_taken(exchange) or exchange.outcome is not None:
            return None
        if call.asks and call.approved is None:
            self._keep(exchange, call, connection)
            return None
        hold = self.begin(exchange, call.principal, call.name, call.message.size, connection, shared=wait)
        if not hold.asks:
            self.enter(hold, call.name, connection.server, wait=wait)
        return hold

    def begin(
        self,
        exchange: Exchange,
        principal: Principal,
        tool: str,
        size: int,
        connection: Connection,
        *,
        shared: bool = False,
    ) -> Hold:
        """Take all but a place in the room.

        Raises:
            Refused: It may not go on.
        """
        rules, now = self.rules(connection.server), self.guard.clock()
        hold = self._hold(exchange, connection, rules)
        hold.started, hold.begun, hold.caller = now, True, caller_of(principal, connection)
        if hold.asked:
            self.state.asked(hold.asked)
            hold.asked = ""
        if self.state.suspended:  # else there is nobody to be looked for
            self.check_suspended("server", connection.server, connection)
            self.check_suspended("principal", principal.key, connection)
        if self.load is not None:
            self.check_load()
        if rules.options.breaker.enabled:
            self._check_breaker(hold, tool, principal, shared=shared)
        if not hold.size:
            self._take(hold, size)
        return hold

    def enter(self, hold: Hold, tool: str, name: str, *, wait: bool) -> None:
        """Go into the room, or wait at its door.

        Raises:
            Refused: There is no room, and no place to wait.
        """
        rules, now = hold.rules, self.guard.clock()
        room = self.state.room(name, rules.caps, now)
        try:
            hold.place = room.enter(hold.caller, tool, now, now + rules.options.queue_seconds if wait else now)
        except Full as full:
            hold.exhausted = full.scope in {"server", "tool"} and room.is_alone(hold.caller)
            self.state.left(name)
            raise _hold.full(full.scope, tool, hold) from None
        hold.room = name

    def over(self, hold: Hold) -> None:
        """Let a call wait no longer that has waited as long as it may."""
        place = hold.place
        if place is not None and (room := self.state.rooms.get(hold.room)) is not None:
            room.expire(place, max(place.until, self.guard.clock()))
            self.state.left(hold.room)

    def entered(self, hold: Hold) -> None:
        """Tell if the room is nearly full; refuse who waited in vain.

        Raises:
            Refused: The place is none in the room.
        """
        place, options, server = hold.place, hold.rules.options, hold.connection.server
        if place is None:
            return
        if place.state == "in":
            held = self.state.rooms[hold.room].held
            if 100 * held >= options.alert_percent * options.in_flight:
                self.near("in_flight", server, held, options.in_flight, options)
            return
        if place.state == "displaced":
            raise _hold.full("queue", place.tool, hold)
        room = self.state.rooms.get(hold.room)
        hold.exhausted = place.scope in {"server", "tool"} and room is not None and room.is_alone(place.principal)
        text = f"no place of server {server!r} was free for {options.queue_seconds:g} s"
        raise refused("bulkhead.late", text, rule=_hold.rule(place.scope, place.tool, options), retry_after=_hold.RETRY)

    # --- the end ---

    def _end(self, hold: Hold, exchange: Exchange, outcome: Outcome) -> None:
        """Give everything back."""
        state, now = self.state, self.guard.clock()
        self._calls.pop(id(exchange), None)
        if exchange.error == _URL_NEEDED:
            self._asks(hold.connection)
        if hold.asked:
            state.asked(hold.asked)
        if hold.place is not None and (room := state.rooms.get(hold.room)) is not None:
            room.leave(hold.place, now)
            state.left(hold.room)
        if hold.size:
            state.account.give(hold.connection.id, hold.size)
        if hold.passed is None:
            return
        breaking = hold.rules.options.breaker
        seconds = now - hold.started
        how = verdict(exchange, outcome, seconds, slow=breaking.slow_seconds, tool_errors=breaking.tool_errors)
        if hold.exhausted and not exchange.sent:  # in mode "audit" it was sent all the same
            how = "failed"
        if hold.shared and self.sharing is not None and self.sharing.end(hold.passed, hold.probe, how):
            return
        if how == "succeeded":
            state.breakers.succeed(hold.passed, now)
        elif how == "failed":
            state.breakers.fail(hold.passed, now)
        else:
            state.breakers.forget(hold.passed)

    # --- the parts ---

    def _asks(self, connection: Connection) -> None:
        """See that the client has to ask a person before it goes on (S4.21)."""
        if (life := self.state.lives.get(connection.id)) is not None:
            life.asked = self.guard.clock() + self._person

    def _has_taken(self, exchange: Exchange) -> bool:
        """Whether it has taken all that it needs, and not only memory while somebody is asked."""
        hold = self._calls.get(id(exchange))
        return hold is not None and hold.begun

    def _hold(self, exchange: Exchange, connection: Connection, rules: Rules) -> Hold:
        """Return what a request has taken; of a new one that is nothing, and is given back at its end."""
        hold = self._calls.get(id(exchange))
        if hold is None:
            hold = self._calls[id(exchange)] = Hold(connection, rules, self.guard.clock())
            exchange.defer(partial(self._end, hold, exchange))
        return hold

    def _keep(self, exchange: Exchange, call: ToolCall, connection: Connection) -> None:
        """Take memory alone, for a call that waits for a person.

        Raises:
            Refused: It may not wait.
        """
        if id(exchange) in self._calls:
            return
        rules, caller = self.rules(connection.server), caller_of(call.principal, connection)
        hold = self._hold(exchange, connection, rules)
        self.check_suspended("server", connection.server, connection)
        self.check_suspended("principal", call.principal.key, connection)
        if not self.state.ask(caller, rules.options.in_flight_per_principal):
            raise _hold.asking(caller, rules.options)
        hold.asked = caller
        self._take(hold, call.message.size)

    def _take(self, hold: Hold, size: int) -> None:
        """Take memory.

        Raises:
            Refused: There is none.
        """
        connection, options, server = hold.connection, hold.rules.options, hold.connection.server
        scope = self.state.account.take(
            connection.id, size, most=options.memory_bytes, total=options.memory_total_bytes
        )
        if scope is not None:
            key = "memory_bytes" if scope == "connection" else "memory_total_bytes"
            most = getattr(options, key)
            self.near(key, server, most, most, options)
            text = f"a request of {size} bytes, and so many wait for answers already"
            raise refused("bulkhead.memory", text, rule=f"bulkhead.{key} = {most}", retry_after=_hold.RETRY)
        hold.size = size
        held = self.state.account.of(connection.id)
        if 100 * held >= options.alert_percent * options.memory_bytes:
            self.near("memory_bytes", server, held, options.memory_bytes, options)

    # --- the checks ---

    def check_suspended(self, kind: Any, name: str, connection: Connection) -> None:
        """Refuse whoever is suspended, but on the connections of the doctor.

        Those are known by their server, whose name no other connection has (`hauberk.admission`); by the name of a
        principal they would not be, since that is what a peer proves.

        Raises:
            Refused: ``bulkhead.suspended``.
        """
        suspended = self.state.suspended
        if not suspended or connection.server == DOCTOR.id:
            return
        now = self.guard.now()
        one = suspended.find(kind, kept(name), now)
        if one is not None:
            left = max(1.0, one.until - now) if one.until else None
            raise refused("bulkhead.suspended", f"{kind} {readable(one.name)!r} is suspended", retry_after=left)

    def check_load(self) -> None:
        if self.load is not None and self.load.sheds:
            what = " and ".join(self.load.sheds)
            raise refused(
                "bulkhead.overloaded", "the machine is busy", rule=f"bulkhead.shedding: {what}", retry_after=5.0
            )

    def _check_breaker(self, hold: Hold, tool: str, principal: Principal, *, shared: bool) -> None:
        breaking, sharing = hold.rules.options.breaker, self.sharing
        party = party_of(principal, hold.caller) if breaking.scope == "tenant" else ""
        key = Key(hold.connection.server, kept(tool), party)
        if sharing is not None and shared:
            if not sharing.store.up and breaking.on_store_failure == "refuse":
                raise refused("bulkhead.store_down", "the shared store of the breakers is down", retry_after=5.0)
            hold.shared, hold.asks = True, sharing.asks(key)
        if hold.asks:
            hold.passed = Pass(key, hold.rules.terms)
            return
        now = self.guard.clock()
        passed = self.state.breakers.allow(key, hold.rules.terms, now)
        if not isinstance(passed, Pass):
            breaker = self.state.breakers.get(passed)
            raise _hold.opened(passed, 1.0 if breaker is None else breaker.again_in(now))
        hold.passed = passed

    async def ask(self, hold: Hold, exchange: Exchange) -> None:
        """Ask the shared store whether a call may go on; of one that is over meanwhile, nothing is kept.

        Raises:
            Refused: It may not.
        """
        passed, sharing = hold.passed, self.sharing
        if passed is None or sharing is None:
            return
        hold.passed = None  # until it is known, its end says nothing
        allowed, probe, seconds = await sharing.ask(passed)
        if exchange.outcome is not None:
            if allowed is not None and not (probe and sharing.end(allowed, probe, "nothing")):
                self.state.breakers.forget(allowed)
            return
        hold.passed, hold.probe = allowed, probe
        if hold.passed is None:
            raise _hold.opened(passed.key, seconds)

    def near(self, what: str, server: str, used: int, most: int, options: Options) -> None:
        if not most or 100 * used < options.alert_percent * most or server == DOCTOR.id:
            return
        count = self.state.alerts.due(what, server, self.guard.clock())
        if count:
            self.guard.emit(_events.near(what, server, used, most, count))


def _answered(life: Life, method: str, uri: str, outcome: Outcome) -> None:
    if outcome == "answered":
        life.answered(method, uri)

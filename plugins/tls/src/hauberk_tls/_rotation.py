"""Key material that is renewed when its files are (S0.18, A84).

The rules:

1. When a connection begins, the files are looked at: what they are, not what is in them. Where one changed, all is
   read, by the rules of the start, and new contexts are made. Connections that are there keep theirs. No ticket of an
   old context resumes on a new one: its keys are gone. After two hours new contexts are made in any case: a chain is
   verified in a full handshake only, and a session that is resumed would otherwise have no end.
2. A certificate or key that cannot be used changes nothing: the one before goes on, and the event
   ``tls.rotation_failed`` says so, once for each change. That is safe, since it is the others who judge it; and two
   files are seldom replaced in one moment.
3. Authorities or revocation lists that cannot be used refuse whoever comes from then on, until they can. They say who
   is trusted: to go on with old ones would let in who was thrown out, and whoever can break a file could bring that
   about.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Final

from hauberk.event import Event, Severity
from hauberk.refusals import ConfigError
from hauberk_tls import _contexts, _own, _trust
from hauberk_tls._limits import LIMITS
from hauberk_tls._lists import Lists
from hauberk_tls._options import Options
from hauberk_tls._own import Own
from hauberk_tls._refusals import refused
from hauberk_tls._tickets import ClientContext, ServerContext
from hauberk_tls._trust import Trust

_DAY: Final = 86400.0


class Generation:
    """The contexts of one state of the files, for as long as a session can be resumed.

    Tickets of a context count on no other one: its keys are its own. So no session outlives its generation, however
    often it is resumed, and whatever the other side says of its tickets.
    """

    def __init__(self, options: Options, own: Own, trust: Trust, born: float) -> None:
        self.options: Final = options
        self.own: Final = own
        self.trust: Final = trust
        self.born: Final = born
        """Seconds since 1970."""
        self.lists: Final = Lists(trust.lists, trust.named)
        self._clients: Final[OrderedDict[tuple[str, str], ClientContext]] = OrderedDict()
        self._servers: Final[dict[str, ServerContext]] = {}

    def client(self, endpoint: str, alpn: str) -> ClientContext:
        """Return the context to call an endpoint with; the endpoints that were not called for longest are let go."""
        context = self._clients.pop((endpoint, alpn), None)
        if context is None:
            context = _contexts.for_client(self.options, self.own, self.trust, alpn)
            context.lists = self.lists
        self._clients[endpoint, alpn] = context
        if len(self._clients) > LIMITS.endpoints:
            self._clients.popitem(last=False)
        return context

    def server(self, alpn: str) -> ServerContext:
        """Return the context to be called with."""
        context = self._servers.get(alpn)
        if context is None:
            context = self._servers[alpn] = _contexts.for_server(self.options, self.own, self.trust, alpn)
            context.lists = self.lists
        return context

    def lasts(self, now: float) -> bool:
        """Whether sessions of it may be resumed still; not, if the clock was turned back."""
        return 0 <= now - self.born < LIMITS.session_seconds

    def prove(self) -> None:
        """Make a context of what may be needed.

        Raises:
            ConfigError: OpenSSL does not take it.
        """
        if self.trust.authorities is not None or self.own.chain:
            _contexts.for_client(self.options, self.own, self.trust, "hauberk")


class Kept:
    """The material of one set of options."""

    def __init__(
        self,
        options: Options,
        *,
        environment: Callable[[], Mapping[str, str]],
        production: bool,
        now: Callable[[], float],
        emit: Callable[[Event], None],
    ) -> None:
        """Read it.

        Raises:
            ConfigError: It cannot be used.
        """
        self.options: Final = options
        self._environment: Final = environment
        self._production: Final = production
        self.now: Final = now
        self._emit: Final = emit
        self._warned = -LIMITS.warning_seconds
        self._fault: tuple[str, str] | None = None
        trust, own = _trust.read(options), self._read_own()
        self._seen = (trust.stamps, own.stamps)
        self.generation = Generation(options, own, trust, now())
        self.generation.prove()

    def again(self) -> None:
        """Read and judge all once more, as at a start; contexts and tickets stay where nothing changed.

        Raises:
            ConfigError: It cannot be used; what was read before is as it was.
        """
        trust, own = _trust.read(self.options), self._read_own()
        if (seen := (trust.stamps, own.stamps)) != self._seen or self._fault is not None:
            self._renew(own, trust)
            self._seen, self._fault = seen, None
            self._warned = -LIMITS.warning_seconds

    def begin(self, who: str) -> Generation:
        """Return what a connection that begins now is made with.

        Raises:
            Refused: It is not known who is trusted.
        """
        seen = (_trust.stamps_of(self.options), _own.stamps_of(self.options))
        if seen != self._seen:
            before, self._seen = self._seen, seen
            if seen[0] != before[0]:
                self._renew_trust()
            if seen[1] != before[1]:
                self._renew_own()
        if self._fault is not None:
            reason, detail = self._fault
            raise refused(reason, who, detail)
        self._warn()
        if not self.generation.lasts(self.now()):
            self.generation = Generation(self.options, self.generation.own, self.generation.trust, self.now())
        return self.generation

    def _renew_trust(self) -> None:
        reason = "tls.ca_unusable"
        try:
            if self.options.ca is not None:
                _trust.authorities_of(self.options.ca)
            reason = "tls.crl_unusable"
            self._renew(self.generation.own, _trust.read(self.options))
        except ConfigError as error:
            self._fault = (reason, error.message)
            self._tell("tls.rotation_failed", "critical", part="trust", reason=error.message)
        else:
            self._fault = None
            self._tell("tls.rotated", "info", part="trust")

    def _renew_own(self) -> None:
        try:
            self._renew(self._read_own(), self.generation.trust)
        except ConfigError as error:
            self._tell("tls.rotation_failed", "warning", part="certificate", reason=error.message)
        else:
            self._warned = -LIMITS.warning_seconds
            self._tell("tls.rotated", "info", part="certificate", not_after=self.generation.own.not_after)

    def _renew(self, own: Own, trust: Trust) -> None:
        new = Generation(self.options, own, trust, self.now())
        new.prove()
        self.generation = new

    def _read_own(self) -> Own:
        own = _own.read(self.options, self._environment())
        fault = _own.fault(own, self.now(), self.options.certificate)
        if fault is not None and self._production:
            raise fault
        return own

    def _warn(self) -> None:
        own, now = self.generation.own, self.now()
        left = own.not_after - now
        if (
            own.chain
            and left < self.options.expiry_warning_days * _DAY
            and now - self._warned >= LIMITS.warning_seconds
        ):
            self._warned = now
            self._tell(
                "tls.expires_soon",
                "warning",
                certificate=str(self.options.certificate),
                not_after=own.not_after,
                seconds=int(left),
            )

    def _tell(self, code: str, severity: Severity, **details: object) -> None:
        self._emit(Event(code=code, category="system", severity=severity, plugin="tls", details=details))

"""The mesh of addresses: take out links that lead where none may, refuse to ask for what is there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from hauberk.connection import Connection
from hauberk.event import Event
from hauberk.message import Message
from hauberk.refusals import Refused
from hauberk_sieve._limits import LIMITS
from hauberk_sieve._mesh import Mesh, PerServer, Setting
from hauberk_sieve._spelling import shown
from hauberk_sieve.addresses import _resolve
from hauberk_sieve.addresses._options import is_patient, origins
from hauberk_sieve.addresses._places import METHODS, READS, Found, Sift, asked, is_plain
from hauberk_sieve.addresses._policy import Policy, Use
from hauberk_sieve.addresses._url import PORTS, Unreadable, Url, read, scheme_of

if TYPE_CHECKING:
    from hauberk.probe import Probe
    from hauberk_sieve._options import Options

_LOOKED_UP: Final = frozenset((Use.LINK, Use.READ))


class _Stance:
    """What holds for one server."""

    def __init__(self, options: Options) -> None:
        table = options.addresses
        self.act: Final = table.act
        self.resolve: Final = table.resolve
        self.seconds: Final = table.resolve_seconds
        self.policy: Final[Policy] = table.policy()
        self.asking: Final[Policy] = table.policy(*origins("asks.origins", options.asks.origins))
        """Where an elicitation may lead; that its origin is listed is for the mesh of asks to say."""


class Addresses(Mesh):
    """Scheme and address policy for what a server hands to the host, and for what the host asks a server for."""

    word = "addresses"
    methods = METHODS
    toward_server = READS
    passes_text = True

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self.stances: Final[PerServer[_Stance]] = PerServer(setting, _Stance)
        self.lookup: _resolve.Lookup = _resolve.system

    patient = staticmethod(is_patient)

    def look(self, message: Message, connection: Connection) -> Message | None:
        """Take out links from what comes to the client; refuse what the client asks for."""
        if is_plain(message):
            return None
        stance = self.stances[connection.server]
        policy = stance.asking if message.method == "elicitation/create" else stance.policy
        sift = Sift(policy.fault)
        return self._acted(message, connection, stance, sift, _sifted(message, sift))

    async def settle(self, message: Message, connection: Connection) -> Message | None:
        """Do the same once the names in a message are looked up."""
        stance = self.stances[connection.server]
        if not stance.resolve:
            return None
        names = _names(message, stance.policy)
        if not names:
            return None
        found = await _resolve.looked_up(names, self.lookup, stance.seconds)
        addresses = {shown(name): list(map(shown, addresses)) for name, addresses in found.items()}
        message.note(Event(code="sieve.resolved", plugin="sieve", count=len(found), details={"addresses": addresses}))

        def fault(uri: str, use: Use) -> str | None:
            url = _to_look_up(uri, use, stance.policy)
            return None if url is None else _resolve.fault(url.host, found)

        sift = Sift(fault)
        return self._acted(message, connection, stance, sift, _sifted(message, sift))

    def probes(self) -> list[Probe]:
        """Return what shows that links are looked at."""
        from hauberk_sieve.addresses._probes import probes  # in development a host starts without them

        return probes(self.setting.guard, self.setting.plugin)

    def _acted(
        self, message: Message, connection: Connection, stance: _Stance, sift: Sift, left: Message
    ) -> Message | None:
        if not sift.found:
            return None
        first, alerts = sift.found[0], stance.act == "alert"
        if not alerts and (stance.act == "deny" or left is message):  # from some places nothing can be taken out
            raise _refused(first, connection.server)
        blocks = not alerts and self.setting.options.mode == "enforce"
        message.note(_removed(sift.found, blocks=blocks))
        return None if alerts or left is message else left


def _sifted(message: Message, sift: Sift) -> Message:
    """Return what is left of a message; the message itself where nothing was taken out."""
    if message.toward == "server":
        sift.ok(asked(message), Use.READ)
        return message
    if message.kind == "result":
        result = message.data["result"]
        kept = sift.result(message.method, result)
        return message if kept is result else message.with_result(kept)
    if message.kind != "error":
        params = message.params
        kept = sift.params(message.method, params)
        return message if kept is params else message.with_params(kept)
    return message


def _names(message: Message, policy: Policy) -> list[str]:
    names: list[str] = []

    def gather(uri: str, use: Use) -> None:
        url = _to_look_up(uri, use, policy)
        if url is not None:
            names.append(url.host)

    _ = _sifted(message, Sift(gather))
    return names


def _to_look_up(uri: str, use: Use, policy: Policy) -> Url | None:
    try:
        if use not in _LOOKED_UP or scheme_of(uri) not in PORTS:
            return None
        url = read(uri)
    except Unreadable:  # it is alerted of, or gone
        return None
    return None if url.address is not None or policy.is_listed(url) else url


def _place(uri: str) -> str:
    """Return of a URI what an event may hold: never its path, its query or user information."""
    try:
        url = read(uri)
    except Unreadable:
        return f"{shown(uri.partition(':')[0])}:" if ":" in uri else ""
    return url.origin


def _refused(found: Found, server: str) -> Refused:
    what = found.use.value
    return Refused(
        "sieve.address",
        f"{what} of server '{shown(server)}' leads where none may: {_place(found.uri)!r}",
        rule=found.rule,
        hint="if it may lead there, add its origin to sieve.addresses.origins, or its folder to sieve.addresses.files",
    )


def _removed(found: list[Found], *, blocks: bool) -> Event:
    places = list(dict.fromkeys(_place(one.uri) for one in found))
    details: dict[str, Any] = {
        "places": places[: LIMITS.shown_names],
        "uses": sorted({one.use.value for one in found}),
    }
    return Event(
        code="sieve.link_removed",
        severity="warning",
        action="blocked" if blocks else "logged",
        plugin="sieve",
        rule=found[0].rule,
        count=len(found),
        details=details,
    )

"""The mesh of access: hide what may not be used, refuse it when it is used all the same, and leave an event."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from hauberk.connection import Connection
from hauberk.event import Event
from hauberk.listings import LISTS, Listing
from hauberk.message import Message, ToolCall
from hauberk.principal import Principal
from hauberk.refusals import Refused
from hauberk.verdict import Allow, Deny
from hauberk_sieve._limits import LIMITS
from hauberk_sieve._mesh import Mesh, PerServer, Setting
from hauberk_sieve._settled import Judge
from hauberk_sieve._spelling import shown
from hauberk_sieve.access import _uses
from hauberk_sieve.access._facts import Facts
from hauberk_sieve.access._lists import Sifted, sift
from hauberk_sieve.access._pages import Pages
from hauberk_sieve.access._rule import NAMED_BY, Kind
from hauberk_sieve.access._rules import Decision, Rules
from hauberk_sieve.access._uris import shown_uri
from hauberk_sieve.access._whom import NOBODY, Asker

if TYPE_CHECKING:
    from hauberk.probe import Probe

_WORDS: Final[dict[Kind, str]] = {"tool": "tool", "prompt": "prompt", "resource": "resource", "template": "template"}
_TOLD: Final = frozenset({("notification", _uses.ENDED), ("notification", _uses.STATUS), ("request", _uses.SAMPLING)})
"""What a server sends of its own accord that may hold links."""


class Access(Mesh):
    """One decision for lists, calls, gets and reads: layer 1 hides, layer 2 refuses, layer 3 detects (S1.2-S1.4)."""

    word = "access"
    methods = tuple(dict.fromkeys((*LISTS, *_uses.REQUESTS, *_uses.RESULTS, *_uses.NEWS, _uses.SAMPLING)))
    toward_server = _uses.REQUESTS
    allows = True
    passes_text = True

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self.rules: Final[PerServer[Rules]] = PerServer(setting, lambda options: options.rules())
        self.pages: Final = Pages()
        self._facts: Final[WeakKeyDictionary[Connection, dict[str, Facts]]] = WeakKeyDictionary()
        self._who: Final = setting.meshes.get("who")
        self._left: tuple[list[Any], bytes] | None = None
        """What this mesh left of the last list of which it hid something."""

    def decide(
        self,
        kind: Kind,
        name: str,
        connection: Connection,
        principal: Principal,
        *,
        proved: Principal | None = None,
    ) -> Decision:
        """Say whether somebody may use one thing of the server of a connection: the decision that all else goes by.

        Args:
            kind: What it is; a concrete URI is a ``resource``.
            name: The name of a tool or prompt, the URI of a resource, the text of a template.
            connection: To the server.
            principal: Who asks.
            proved: What the channel proved of who asks, where ``principal`` may be narrower.
        """
        rules = self.rules[connection.server]
        definition = self._definition(name, connection) if rules.by_definition and kind == "tool" else None
        return rules.decide(
            connection.server, kind, name, self._asker(rules, connection, principal, proved), definition
        )

    def inner(self, server: str, tool: str, connection: Connection, who: Principal, proved: Principal) -> Decision:
        """Say whether somebody may call a tool of any server through a tool of this one, by the tables of both."""
        definition = self._definition(tool, connection) if server == connection.server else None
        for table in dict.fromkeys((connection.server, server)):
            rules = self.rules[table]
            decision = rules.decide(server, "tool", tool, self._asker(rules, connection, who, proved), definition)
            if not decision.allowed:
                break
        return decision

    def look(self, message: Message, connection: Connection) -> Message | None:
        """Hide from lists and results what may not be used, and refuse what uses it."""
        method, kind = message.method, message.kind
        if message.toward == "server":
            if kind == "request" and method in _uses.REQUESTS:
                self._check(message, connection)
            return None
        if kind == "result":
            listing = LISTS.get(method)
            if listing is not None:
                return self._listed(message, connection, listing)
            return self._unlinked(message, connection) if method in _uses.RESULTS else None
        if kind == "notification" and method == _uses.UPDATED:
            self._check(message, connection)
        if kind == "notification" and method == _uses.ACKNOWLEDGED:
            return self._agreed(message, connection)
        if (kind, method) in _TOLD:
            return self._unlinked(message, connection)
        return None

    def digest(self, message: Message) -> bytes:
        """Return a digest of a list as it stands where it is as this mesh left it; empty where it may not be.

        A mesh that comes later knows a list by it that came before.
        """
        if message.first is None:
            return message.result_digest
        listing = LISTS.get(message.method)
        if listing is None or self._left is None or (message.result or {}).get(listing.member) is not self._left[0]:
            return b""
        return hashlib.sha256(message.result_digest + self._left[1]).digest()

    def judge(self, call: ToolCall, connection: Connection) -> Allow | Deny:
        """Refuse what the rules do not allow, listed or not."""
        proved = call.message.original.principal
        decision = self.decide("tool", call.name, connection, call.principal, proved=proved)
        if decision.allowed:
            return Allow(decision.rule)
        if decision.by == "unlisted":
            call.lacks("the definition of the tool, which a rule goes by")
        return denied(connection.server, call.name, decision)

    def again(self, call: ToolCall, connection: Connection) -> Judge | None:  # noqa: ARG002 - the same of each call
        """Decide each time where there are people: what the register says of them changes."""
        return self.judge if self._who is not None and self._who.everything else None

    def probes(self) -> list[Probe]:
        """Return what shows that hiding and refusing are live."""
        from hauberk_sieve.access._probes import probes  # in development a host starts without them

        return probes(self.setting.guard, self.setting.plugin)

    # --- layer 2 ---

    def _check(self, message: Message, connection: Connection) -> None:
        """Refuse a message that uses, or tells of, what may not be used."""
        server = connection.server
        try:
            things = _uses.used(message.method, message.params)
        except _uses.Unreadable as error:
            reason = f"nobody can tell what {message.method} of server '{shown(server)}' is about"
            raise Refused("sieve.denied", reason, rule=str(error), hint="send what the protocol asks for") from None
        principal, proved = self._client(message, connection)
        for kind, name in things:
            decision = self.decide(kind, name, connection, principal, proved=proved)
            if not decision.allowed:
                deny = denied(server, name, decision)
                raise Refused(deny.code, deny.reason, rule=deny.rule, hint=deny.hint)

    # --- layer 1 ---

    def _listed(self, message: Message, connection: Connection, listing: Listing) -> Message | None:
        result, server = message.result or {}, connection.server
        entries = result.get(listing.member)
        if not isinstance(entries, list):
            raise _malformed(server, message.method, listing.member)
        rules = self.rules[server]
        asker = self._asker(rules, connection, *self._client(message, connection))
        sent = message.original.result or {}
        if result is sent:
            key = server, message.method, message.result_digest, rules.about(asker), asker.grants
            sifted = self.pages.of(key, lambda: _sifted(rules, server, listing, asker, entries, entries))
        else:
            sifted = _sifted(rules, server, listing, asker, entries, sent.get(listing.member))
        if not sifted.changes:
            return None
        message.note(self._hidden(sifted.names, sifted.hidden, sifted.malformed))
        kept = sifted.kept(entries)
        self._left = (kept, sifted.mask) if result is sent else None
        return message.with_result({**result, listing.member: kept})

    def _unlinked(self, message: Message, connection: Connection) -> Message | None:
        is_answer = message.kind == "result"
        result = message.result or {} if is_answer else message.params
        if _uses.is_plain_text(result):
            return None

        def judge(uri: str) -> Decision:
            principal, proved = self._client(message, connection)
            return self.decide("resource", uri, connection, principal, proved=proved)

        passed, gone = _uses.without_links(result, judge)
        if passed is result:
            return None
        message.note(self._hidden([shown_uri(uri) for uri in gone[: LIMITS.shown_names]], len(gone)))
        return message.with_result(passed) if is_answer else message.with_params(passed)

    def _agreed(self, message: Message, connection: Connection) -> Message | None:
        try:
            uris = _uses.subscriptions(message.params)
        except _uses.Unreadable as error:
            raise Refused("sieve.denied", "nobody can tell what a stream is about", rule=str(error)) from None
        principal, proved = self._client(message, connection)
        seen = [uri for uri in uris if self.decide("resource", uri, connection, principal, proved=proved).allowed]
        if len(seen) == len(uris):
            return None
        gone = [uri for uri in uris if uri not in seen]
        message.note(self._hidden([shown_uri(uri) for uri in gone[: LIMITS.shown_names]], len(gone)))
        return message.with_params(_uses.with_subscriptions(message.params, seen))

    def _hidden(self, names: list[str], hidden: int, malformed: int = 0) -> Event:
        details: dict[str, Any] = {"names": names}
        if malformed:
            details["malformed"] = malformed
        return Event(
            code="sieve.hidden",
            severity="warning" if malformed else "info",
            action="blocked" if self.setting.options.mode == "enforce" else "logged",
            plugin="sieve",
            count=hidden + malformed,
            details=details,
        )

    # --- what a decision depends on ---

    def _client(self, message: Message, connection: Connection) -> tuple[Principal, Principal]:
        """Return who asks, asked or is told, perhaps narrowed, and what the channel proved of it."""
        if message.toward == "server":
            return message.principal, message.original.principal
        proved: Principal = self.setting.guard.principal if connection.role == "client" else connection.principal
        asked = message.exchange.principal if message.exchange is not None and message.kind == "result" else proved
        return asked, proved

    def _asker(self, rules: Rules, connection: Connection, principal: Principal, proved: Principal | None) -> Asker:
        if self._who is None or not (rules.by_asker or self._who.everything):
            return NOBODY
        one = self._who.standing(principal, connection.server, proved=proved)
        method = principal.method or ""
        return Asker(one.id, method, one.groups, one.roles, one.all_groups, one.all_roles, one.grants or ())

    def _definition(self, name: str, connection: Connection) -> Facts | None:
        """Return what is known of a tool's definition, as it was listed last."""
        definition = self.setting.seen.tool(name, connection)
        if definition is None:
            return None
        known = self._facts.setdefault(connection, {})
        facts = known.get(name)
        if facts is None or facts.definition is not definition:
            if len(known) >= LIMITS.seen_tools:
                known.clear()
            facts = known[name] = Facts(definition)
        return facts


def _sifted(rules: Rules, server: str, listing: Listing, asker: Asker, entries: list[Any], sent: Any) -> Sifted:
    """Decide on one page; of a tool that the server described more than once, all that it said must be allowed."""
    kind = listing.kind
    if kind != "tool" or not rules.by_definition:
        return sift(entries, listing.key, lambda name: rules.decide(server, kind, name, asker).allowed)
    said: dict[str, list[Facts | None]] = {}
    for entry in sent if isinstance(sent, list) else ():
        if isinstance(entry, dict) and isinstance(name := entry.get(listing.key), str):
            said.setdefault(name, []).append(Facts(entry))

    def allowed(name: str) -> bool:
        return all(rules.decide(server, kind, name, asker, one).allowed for one in said.get(name, [None]))

    return sift(entries, listing.key, allowed)


def denied(server: str, name: str, decision: Decision) -> Deny:
    """Return the verdict on what the rules refuse, with the one thing to do about it."""
    what = shown_uri(name) if NAMED_BY[decision.kind] == "resource" else shown(name)
    reason = f"{_WORDS[decision.kind]} '{what}' of server '{shown(server)}' is not allowed"
    return Deny("sieve.denied", reason, rule=decision.rule, hint=decision.hint(server, name))


def _malformed(server: str, method: str, member: str) -> Refused:
    return Refused(
        "sieve.malformed_list",
        f"server '{shown(server)}' answered {method} without an array of {member}",
        rule=f"{member} is an array",
        hint="report it to the author of the server",
    )

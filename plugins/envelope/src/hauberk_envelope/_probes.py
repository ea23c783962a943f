"""What shows that each control is live: sessions in memory, with agents made up for it, by the rules in force."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final, NamedTuple

import orjson

from hauberk.bounds import Bounds
from hauberk.event import Event
from hauberk.message import Frame
from hauberk.principal import DOCTOR
from hauberk.probe import SERVER, Probe
from hauberk.refusals import Refused
from hauberk_envelope._identity import Identity
from hauberk_envelope._trust import Rules, Trust
from hauberk_envelope.session._agreement import MAX_AGE, Offer, Party, answer
from hauberk_envelope.session._link import Link
from hauberk_envelope.session._parties import Known
from hauberk_envelope.session._session import Session

_CANARY: Final = "hauberk-doctor-canary"
_CALL: Final = orjson.dumps(
    {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": _CANARY, "arguments": {"a": _CANARY}}}
)
_FRAME: Final = Frame(_CALL, "server", "", "request", "tools/call", 1)
_ASKER: Final = f"{DOCTOR.id}/client"
_ASKED: Final = f"{DOCTOR.id}/server"


class Stage(NamedTuple):
    """Two agents who trust each other, by the rules of one table."""

    asker: Party
    asked: Party
    now: float

    @classmethod
    def set(cls, known: Known, now: float, *, allowed: bool = True, trusted: bool = True) -> Stage:
        """Make them up."""
        agents = [Identity.generate(name, now=now) for name in (_ASKER, _ASKED)]
        talk = {_ASKER: frozenset({_ASKED})} if allowed else {}
        rules = known.trust.rules
        free = Rules(
            can_communicate_with={**rules.can_communicate_with, **talk},
            privileged_agents=rules.privileged_agents,
            rotation_days=rules.rotation_days,
            grace_days=rules.grace_days,
            production=rules.production,
        )
        keys = {one.key_id: one.public for one in agents}
        both, none = Trust(keys, rules=free), Trust({}, rules=free)
        mine = known.party._replace
        return cls(mine(identity=agents[0], trust=both), mine(identity=agents[1], trust=both if trusted else none), now)

    def agree(self) -> tuple[Session, Session]:
        """Let them agree."""
        offer = Offer(self.asker, self.asked.identity.public, SERVER, self.now)
        result, session = answer(self.asked, offer.params, SERVER, self.now)
        return offer.accept(result, self.now), session

    def asked_late(self) -> None:
        """Let a request come too late."""
        offer = Offer(self.asker, self.asked.identity.public, SERVER, self.now)
        answer(self.asked, offer.params, SERVER, self.now + MAX_AGE + 1)

    def links(self) -> tuple[Link, Link]:
        """Return the links of a connection on which they have agreed."""
        made = Link("client", _ASKED), Link("server", _ASKER)
        made[0].session, made[1].session = self.agree()
        return made

    def sent(self, link: Link) -> Frame:
        """Return a call, as it leaves."""
        return Frame((link.send(_FRAME, self.now) or _FRAME).data, "server")

    def arrives(self, link: Link, frame: Frame) -> Frame | None:
        """Let a frame come in."""
        return link.receive(frame, self.now, Bounds())


Trial = Callable[[Known, float], str | None]


def _refused(code: str, act: Callable[[], object]) -> str | None:
    """Return what is wrong if something is not refused by a code."""
    try:
        act()
    except Refused as refused:
        return None if refused.code == code else f"it was refused by {refused.code}, not by {code}"
    return "it was not refused"


def _seals(known: Known, now: float) -> str | None:
    stage = Stage.set(known, now)
    link, other = stage.links()
    frame = stage.sent(link)
    if _CANARY.encode() in frame.data:
        return "a call left in plain"
    found = stage.arrives(other, frame)
    return None if found is not None and found.data == _CALL and found.proof is not None else "it did not arrive"


def _plain(known: Known, now: float) -> str | None:
    stage = Stage.set(known, now)
    bare = Link("server", _ASKER)
    return _refused("envelope.plain", lambda: stage.arrives(stage.links()[1], _FRAME)) or _refused(
        "envelope.plain", lambda: stage.arrives(bare, _FRAME)
    )


def _unagreed(known: Known, now: float) -> str | None:
    return _refused("envelope.no_session", lambda: Stage.set(known, now).sent(Link("client", _ASKED)))


def _forged(known: Known, now: float) -> str | None:
    stage = Stage.set(known, now)
    for old, new in ((b"tools/call", b"tools/list"), (b'"id":1', b'"id":2')):
        link, other = stage.links()
        frame = Frame(stage.sent(link).data.replace(old, new), "server")
        if fault := _refused("envelope.forged", partial(stage.arrives, other, frame)):
            return fault
    return None


def _repeated(known: Known, now: float) -> str | None:
    stage = Stage.set(known, now)
    link, other = stage.links()
    frame = stage.sent(link)
    stage.arrives(other, frame)
    return _refused("envelope.out_of_order", lambda: stage.arrives(other, frame))


def _ended(known: Known, now: float) -> str | None:
    stage = Stage.set(known, now)
    link, other = stage.links()
    with suppress(Refused):
        stage.arrives(other, _FRAME)
    frame = stage.sent(link)
    return _refused("envelope.session_over", lambda: stage.arrives(other, frame))


def _untrusted(known: Known, now: float) -> str | None:
    return _refused("envelope.untrusted", Stage.set(known, now, trusted=False).agree)


def _not_allowed(known: Known, now: float) -> str | None:
    return _refused("envelope.not_allowed", Stage.set(known, now, allowed=False).agree)


def _stale(known: Known, now: float) -> str | None:
    return _refused("envelope.stale", Stage.set(known, now).asked_late)


def _counts(known: Known, now: float) -> str | None:
    """Look whether a key of ours counts."""
    try:
        known.trust.check(known.own[0].public, now)
    except Refused as refused:
        return f"{refused.message}; {refused.hint}"
    return None


TRIALS: Final[Mapping[str, tuple[str, Trial]]] = {
    "seals": ("a call leaves sealed, and only the other end opens it", _seals),
    "refuses_plain": ("a message that is not sealed is refused", _plain),
    "refuses_before_agreement": ("nothing leaves before there is a session", _unagreed),
    "refuses_forged": ("a sealed message that was changed is refused", _forged),
    "refuses_repeated": ("a sealed message that comes again is refused", _repeated),
    "ends_sessions": ("after a forgery nothing passes in a session", _ended),
    "refuses_untrusted": ("an agent whose key is not trusted is refused", _untrusted),
    "refuses_not_allowed": ("an agent that may not talk to this one is refused", _not_allowed),
    "refuses_stale": ("a request for a session that is too old is refused", _stale),
    "has_keys": ("our own key counts", _counts),
}


_NO_KEYS: Final = "envelope.has_keys", "our own key counts"
_NONE: Final = "there are no keys, so every connection would be refused; hauberk keys generate AGENT"


def probes(all_known: Mapping[str, Known], now: Callable[[], float]) -> list[Probe]:
    """Return a probe for each control, tried by the rules of each table that was read."""
    return list(_probes(all_known, now)) if all_known else [Probe(*_NO_KEYS, check=lambda _: _NONE)]


def _probes(all_known: Mapping[str, Known], now: Callable[[], float]) -> Iterator[Probe]:
    for name, (control, trial) in TRIALS.items():

        def check(_: Sequence[Event], trial: Trial = trial) -> str | None:
            faults: list[Any] = [(where, trial(known, now())) for where, known in all_known.items()]
            return next((f"{where}: {fault}" for where, fault in faults if fault), None)

        yield Probe(f"envelope.{name}", control, check=check)

"""Who we are and whom we trust: what the files of a configuration hold, read once for each set of options."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Final, NamedTuple

from hauberk.config import Config
from hauberk.event import Event
from hauberk.refusals import ConfigError, Refused
from hauberk_envelope import _keyfiles
from hauberk_envelope._channel import key_old
from hauberk_envelope._identity import Identity, PublicIdentity
from hauberk_envelope._options import Options
from hauberk_envelope._trust import Rules, Trust
from hauberk_envelope.keys._places import Places
from hauberk_envelope.session._agreement import Party
from hauberk_envelope.session._refusals import refused
from hauberk_envelope.session._session import Session

TRIES: Final = 4
"""Pairs of keys, ours and theirs, that are tried: several while one of us rotates."""


class Known(NamedTuple):
    """What one set of options stands for."""

    own: tuple[Identity, ...]
    """Our identities, the newest first."""
    trust: Trust
    party: Party
    """We, with the newest of them."""

    def speaking(self, key_id: str) -> Party:
        """Return us with the identity of a key id; one that is none of ours is refused by whoever compares."""
        return self.party._replace(identity=next((one for one in self.own if one.key_id == key_id), self.own[0]))

    def pairs(self, agent: str, now: float) -> list[tuple[Party, PublicIdentity]]:
        """Return as whom we may ask which key of an agent, the newest first.

        Raises:
            Refused: ``envelope.no_peer``: no key of it counts, or none of ours.
        """
        theirs = self.trust.keys_of(agent, now)
        ours = [one for one in self.own if self._counts(one, now)]
        if not theirs or not ours:
            raise refused("envelope.no_peer", repr(agent), "no key of it counts" if ours else "no key of ours counts")
        return [(self.party._replace(identity=me), peer) for me, peer in product(ours, theirs)][:TRIES]

    def check(self, session: Session, *, asked: bool, now: float) -> None:
        """Check that a session would be agreed on now.

        Args:
            session: One that there is.
            asked: Whether the other end has asked for it.
            now: Seconds since 1970.

        Raises:
            Refused: A key of it counts no longer, ours is gone, one may not talk to the other, or nothing is signed.
        """
        me, peer = session.me, self.trust.find(session.peer.key_id, now)
        if all(one.key_id != me.key_id for one in self.own):
            raise refused("envelope.no_keys", me.agent)
        self.trust.check(me, now)
        asker, other = (peer, me) if asked else (me, peer)
        if not self.trust.may(asker.agent, other.agent):
            raise refused("envelope.not_allowed", asker.agent, recipient=other.agent)
        if self.party.sign == "message" and not session.signed:
            raise refused("envelope.unsigned", peer.agent, "we want that")

    def _counts(self, identity: Identity, now: float) -> bool:
        try:
            self.trust.check(identity.public, now)
        except Refused:
            return False
        return True

    def old(self, now: float) -> list[Event]:
        """Return an event for each key of ours, or of those that we trust, that is past its rotation period (S0.26)."""
        return [
            key_old(one, now)
            for one in (*(me.public for me in self.own[:1]), *self.trust.identities())
            if self.trust.old(one, now) and self.trust.revocation(one.key_id) is None and now <= one.not_after
        ]


def any_keys(options: Options) -> bool:
    """Whether there is anything to read: where the table names no keys, there may be none yet."""
    return options.own_keys is not None or Places.of(None).own.is_dir()


def directories(options: Options, config: Config) -> tuple[Path, Path]:
    """Return where our own keys are, and those of whom we trust."""
    places = Places.of(None)
    return _at(options.own_keys, places.own, config), _at(options.keys_directory, places.agents, config)


def read(options: Options, config: Config) -> Known:
    """Read what a set of options names.

    Raises:
        ConfigError: It cannot be used.
    """
    own_keys, agents = directories(options, config)
    own = _keyfiles.read_own(own_keys, options.agent)
    where = str(options.own_keys or own_keys)
    if not own:
        whose = "any agent" if options.agent is None else repr(options.agent)
        raise ConfigError(f"[envelope] there are no keys of {whose} in {where!r}", hint="hauberk keys generate AGENT")
    if len(names := sorted({one.agent for one in own})) > 1:
        raise ConfigError(
            f"[envelope] {where!r} holds keys of {', '.join(names)}",
            hint="say in [envelope] agent which of them we are",
        )
    rules = Rules(
        can_communicate_with={name: frozenset(others) for name, others in options.can_communicate_with.items()},
        privileged_agents=frozenset(options.privileged_agents),
        rotation_days=options.key_rotation_days,
        grace_days=options.key_grace_days,
        production=config.production,
    )
    trust = Trust.read(agents, rules=rules)
    longest = config.core.bounds.line_bytes
    party = Party(own[0], trust, sign=options.sign, rekey=options.rekey_messages, longest=longest)
    return Known(tuple(own), trust, party)


def _at(named: Path | None, default: Path, config: Config) -> Path:
    return default if named is None else config.resolve(named)

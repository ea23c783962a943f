"""A random walk over two ends and whoever stands between (A05, A11, A13, A15): what passes is what was sent, once."""

from __future__ import annotations

import os
import warnings
from typing import Any

import orjson
import pybase64
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from plugins.envelope.tests.ends import ALICE, BOB, NOW, call, opened, pair, seal

from hauberk.refusals import Refused
from hauberk_envelope._trust import Rules, Trust
from hauberk_envelope.session._agreement import MAX_AGE, SKEW, Offer, Party, answer
from hauberk_envelope.session._direction import HEAD
from hauberk_envelope.session._layout import EXTENSION
from hauberk_envelope.session._session import Session

pytestmark = pytest.mark.campaign

TRUST = Trust(
    {one.key_id: one.public for one in (ALICE, BOB)}, rules=Rules(can_communicate_with={"alice": frozenset({"bob"})})
)
side = st.sampled_from((0, 1))


class Walk(RuleBasedStateMachine):
    """Two ends; frames lie between them until somebody delivers, drops, doubles or keeps them."""

    def __init__(self) -> None:
        super().__init__()
        self.agreements = 0
        self.sent = 0
        self.keys: dict[tuple[bytes, int], bytes] = {}
        """What was sealed under each key and counter, ever."""
        self.kept: list[tuple[int, bytes]] = []
        """Every frame that was ever sent, with its sender: also of sessions before."""
        self.requests: list[tuple[dict[str, Any], float]] = []
        """Every request for a session, and when it was made."""

    @initialize(sign=st.sampled_from(("session", "message")), rekey=st.sampled_from((1, 3, 1 << 20)))
    def begin(self, sign: Any, rekey: int) -> None:
        """Agree for the first time."""
        self.parties = [Party(one, TRUST, sign=sign, rekey=rekey) for one in (ALICE, BOB)]
        self.clocks = [NOW, NOW]
        self.agree()

    def agree(self) -> None:
        """Agree on a new session, with clocks that are right."""
        at = self.clocks[0] = self.clocks[1]
        self.agreements += 2
        seeds = [bytes([self.agreements + n]) * 32 for n in (0, 1)]
        offer = Offer(self.parties[0], BOB.public, "files", at, lambda: pair(seeds[0]))
        self.requests.append((offer.params, at))
        result, bob = answer(self.parties[1], offer.params, "files", at, lambda: pair(seeds[1]))
        self.ends: list[Session] = [offer.accept(result, at), bob]
        self.between: list[list[bytes]] = [[], []]
        self.due: list[list[bytes]] = [[], []]
        """What each end has sealed and the other has not opened yet, in order."""

    @rule(by=side, text=st.text(max_size=20))
    def send(self, by: int, text: str) -> None:
        """One end seals a message."""
        data = call(text, id=self.sent)
        self.sent += 1
        end = self.ends[by]
        try:
            frame = seal(end, data, self.clocks[by])
        except Refused:
            assert end.over
            return
        start = frame.index(EXTENSION.encode()) + len(EXTENSION) + 3
        _, _, counter, _ = HEAD.unpack(pybase64.b64decode(frame[start : start + 28]))
        assert self.keys.setdefault((end._sending._key, counter), frame) == frame
        self.between[by].append(frame)
        self.kept.append((by, frame))
        self.due[by].append(orjson.dumps(data))

    @rule(by=side, at=st.integers(0, 5), keep=st.booleans())
    def deliver(self, by: int, at: int, keep: bool) -> None:
        """A frame that lies between arrives: the next one, or one that lies behind it; it may be kept for later."""
        if not self.between[by]:
            return
        at = min(at, len(self.between[by]) - 1)
        frame = self.between[by][at] if keep else self.between[by].pop(at)
        self.arrives(1 - by, frame)

    def arrives(self, at: int, frame: bytes) -> None:
        """What opens is the next message that the other end sealed; anything else ends the session."""
        end, due = self.ends[at], self.due[1 - at]
        over = end.over
        try:
            found = opened(end, frame, self.clocks[at])
        except Refused:
            assert end.over
            return
        assert not over
        assert found.data == due.pop(0)

    @precondition(lambda self: any(self.between))
    @rule(by=side)
    def drop(self, by: int) -> None:
        """A frame is lost."""
        del self.between[by][:1]

    @precondition(lambda self: bool(self.kept))
    @rule(at=side, which=st.integers(0, 1000))
    def replay(self, at: int, which: int) -> None:
        """A frame of any time, in this session or before it, comes to either end."""
        self.arrives(at, self.kept[which % len(self.kept)][1])

    @precondition(lambda self: bool(self.kept))
    @rule(at=side, which=st.integers(0, 1000), bit=st.integers(0, 10_000))
    def forge(self, at: int, which: int, bit: int) -> None:
        """A frame comes with one bit changed."""
        changed = bytearray(self.kept[which % len(self.kept)][1])
        bit %= 8 * len(changed)
        changed[bit // 8] ^= 1 << bit % 8
        before = list(self.due[1 - at])
        self.arrives(at, bytes(changed))
        assert self.due[1 - at] == before
        assert self.ends[at].over

    @rule(by=side)
    def rekey(self, by: int) -> None:
        """One end goes on to another key, in the middle of whatever."""
        if (
            not self.ends[by].over
            and self.ends[by]._sending._last < self.ends[by]._sending.count + self.parties[0].rekey
        ):
            self.ends[by].rekey()

    @rule(by=side, seconds=st.sampled_from((-1e6, -3600.0, -61.0, -5.0, 5.0, 299.0, 3600.0)))
    def clock(self, by: int, seconds: float) -> None:
        """The clock of one end jumps, either way: a session goes on, for counters know no time (A13)."""
        self.clocks[by] = max(0.0, self.clocks[by] + seconds)

    @rule()
    def restart(self) -> None:
        """Both begin anew: what was sealed before opens nowhere now (A11)."""
        self.clocks = [NOW + self.agreements, NOW + self.agreements]
        self.agree()

    @rule(at=st.integers(0, 1000), later=st.sampled_from((0.0, 10.0, MAX_AGE + 1, -SKEW - 1, 1e5)))
    def replay_request(self, at: int, later: float) -> None:
        """A request for a session that comes again gives a session to nobody: who has not made it cannot use it."""
        params, made = self.requests[at % len(self.requests)]
        if not -SKEW <= later <= MAX_AGE:
            with pytest.raises(Refused, match=r"s old|in the future"):
                answer(self.parties[1], params, "files", made + later)
            return
        _, bob = answer(self.parties[1], params, "files", made + later)
        for _, frame in self.kept[-3:]:
            try:
                opened(bob, frame, made)
            except Refused:
                continue
            raise AssertionError

    @rule()
    def fork(self) -> None:
        """A child of this process can seal nothing; the parent goes on, and no counter was used twice (A05)."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a runner of tests may have threads; the child uses none
            child = os.fork()
        if not child:
            used = 1
            try:
                used = sum(map(self.usable, (0, 1)))
            finally:
                os._exit(used)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

    def usable(self, at: int) -> bool:
        """Whether an end can still seal."""
        try:
            seal(self.ends[at], call(), self.clocks[at])
        except Refused:
            return False
        return True

    @invariant()
    def no_key_twice(self) -> None:
        """The two directions never share a key, and a session that is over has none."""
        if not hasattr(self, "ends"):
            return
        for end in self.ends:
            if end.over:
                assert not end._sending._key
                assert not end._receiving._key
            else:
                assert end._sending._key != end._receiving._key


TestWalk = Walk.TestCase
TestWalk.settings = settings(max_examples=80, stateful_step_count=60, deadline=None)

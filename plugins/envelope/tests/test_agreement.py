"""The agreement on a session: what is taken from whom, on which terms, and that nothing else is ever raised."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pybase64
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plugins.envelope.tests.ends import ALICE, BOB, EVE, NOW, call, ends, opened, seal
from plugins.envelope.tests.parties import DAY, identity

from hauberk.refusals import Refused
from hauberk_envelope._keyfiles import Revocation
from hauberk_envelope._trust import Rules, Trust
from hauberk_envelope.session import _agreement
from hauberk_envelope.session._agreement import MAX_AGE, SKEW, Offer, Party, answer

RULES = Rules(can_communicate_with={"alice": frozenset({"bob", "eve"}), "eve": frozenset({"bob"})})
TRUST = Trust({one.key_id: one.public for one in (ALICE, BOB, EVE)}, rules=RULES)
A, B, E = (Party(one, TRUST) for one in (ALICE, BOB, EVE))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=60),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=6,
)


def offer(asker: Party = A, asked: Party = B, server: str = "files", now: float = NOW) -> Offer:
    return Offer(asker, asked.identity.public, server, now)


def code(params: Any, asked: Party = B, server: str = "files", now: float = NOW) -> str:
    """Return the code by which a request is refused; empty if it is not."""
    try:
        answer(asked, params, server, now)
    except Refused as refused:
        return refused.code
    return ""


def test_both_ends_have_one_session() -> None:
    """Who asks and who answers have one session, with each other."""
    asked = offer()
    result, theirs = answer(B, asked.params, "files", NOW)
    ours = asked.accept(result, NOW)
    assert (ours.id, ours.peer, theirs.peer) == (theirs.id, BOB.public, ALICE.public)
    assert opened(theirs, seal(ours, call())).count == opened(ours, seal(theirs, call())).count == 0
    assert ours._terms.until == min(ALICE.public.not_after, BOB.public.not_after)


FORK = """
import os, sys
sys.path.insert(0, sys.argv[1])
from hauberk.refusals import Refused
from plugins.envelope.tests.test_agreement import B, NOW, answer, offer

asked = offer()
result, _ = answer(B, asked.params, "files", NOW)
child = os.fork()
if not child:
    try:
        asked.accept(result, NOW)
    except Refused as refused:
        os._exit(3 if refused.code == "envelope.session_over" else 4)
    os._exit(5)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), asked.accept(result, NOW).over == "")
"""


def test_a_fork_before_the_answer() -> None:
    """Of two processes that both wait for one answer the child gets no session: they would use one key twice (A05)."""
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", FORK, str(root)], capture_output=True, text=True, timeout=60, check=True, env=os.environ
    )
    assert done.stdout.split() == ["3", "True"]


def test_a_clock_before_1970() -> None:
    """A clock that stands before 1970 is told as 0, and costs no counter."""
    early = -1000.0
    ours, theirs = ends()
    assert opened(theirs, seal(ours, call(), early), early).time == 0
    assert opened(theirs, seal(ours, call(), NOW)).count == 1


def test_no_two_sessions_are_alike() -> None:
    """The same two agree on other keys each time (forward secrecy begins here)."""
    made = []
    for _ in range(20):
        asked = offer()
        result, _ = answer(B, asked.params, "files", NOW)
        session = asked.accept(result, NOW)
        made += [session._sending._key, session._receiving._key, session.id]
    assert len(set(made)) == 60


@pytest.mark.parametrize(
    ("wants", "sign"),
    [(("session", "session"), False), (("message", "session"), True), (("session", "message"), True)],
)
def test_terms(wants: Any, sign: bool) -> None:
    """Messages are signed as soon as one side wants it, and each end keeps to what the other one takes."""
    asked = offer(A._replace(sign=wants[0], longest=5000, rekey=7))
    result, theirs = answer(B._replace(sign=wants[1], longest=9000), asked.params, "files", NOW)
    ours = asked.accept(result, NOW)
    assert ours.signed == theirs.signed == sign
    assert (ours._terms.longest, theirs._terms.longest, ours._terms.rekey) == (9000, 5000, 7)


def test_less_than_was_wanted() -> None:
    """An answer by which messages are not signed is refused where that was wanted (A08)."""
    asked = offer(A._replace(sign="message"))
    with pytest.MonkeyPatch.context() as patch:
        read = _agreement._read_payload
        patch.setattr(_agreement, "_read_payload", lambda *rest: (False, read(*rest)[1]))
        result, _ = answer(B, asked.params, "files", NOW)
    with pytest.raises(Refused, match="does not sign each message"):
        asked.accept(result, NOW)


@pytest.mark.parametrize(
    ("given", "refused"),
    [
        ({"params": offer(E).params, "asked": B._replace(trust=Trust({}, rules=RULES))}, "envelope.untrusted"),
        ({"params": offer(A, E._replace(trust=TRUST)).params, "asked": B}, "envelope.wrong_recipient"),
        ({"params": offer().params, "server": "payroll"}, "envelope.wrong_server"),
        ({"params": offer().params, "now": NOW + MAX_AGE}, ""),
        ({"params": offer().params, "now": NOW + MAX_AGE + 0.01}, "envelope.stale"),
        ({"params": offer().params, "now": NOW - SKEW}, ""),
        ({"params": offer().params, "now": NOW - SKEW - 0.01}, "envelope.stale"),
        ({"params": {**offer().params, "from": EVE.key_id}}, "envelope.forged"),
        ({"params": {**offer().params, "from": BOB.key_id}}, "envelope.wrong_recipient"),
        ({"params": {**offer().params, "server": "payroll"}, "server": "payroll"}, "envelope.forged"),
        ({"params": {**offer().params, "sign": "message"}}, "envelope.forged"),
        ({"params": {**offer().params, "version": 2}}, "envelope.unsupported"),
        ({"params": {**offer().params, "version": 1.5}}, "envelope.malformed"),
        ({"params": {**offer().params, "server": "x" * 257}}, "envelope.malformed"),
        ({"params": {**offer().params, "message": "A" * 260}}, "envelope.malformed"),
    ],
)
def test_who_is_refused(given: dict[str, Any], refused: str) -> None:
    """Each way to be somebody else, to ask for something else or too late, has its refusal (A02, S0.23, S0.31)."""
    assert code(**given) == refused


def test_a_key_of_ours_that_does_not_count() -> None:
    """Neither end agrees with a key of its own that has expired, or was revoked here (S0.24)."""
    late = ALICE.public.not_after + 1
    with pytest.raises(Refused, match="expired"):
        offer(now=late)
    brief = identity("bob", seed="brief", begin=NOW - 2 * DAY, days=1)
    both = Trust({one.key_id: one.public for one in (ALICE, brief)}, rules=RULES)
    asked = Party(brief, both)
    assert code(offer(A._replace(trust=both), asked).params, asked) == "envelope.key_expired"
    known = {one.key_id: one.public for one in (ALICE, BOB)}
    for me in (A, B):
        gone = Revocation(1, me.identity.key_id, "2026-01-01T00:00:00Z", "retired")
        mine = me._replace(trust=Trust(known, {gone.key_id: gone}, rules=RULES))
        with pytest.raises(Refused, match="was revoked"):
            offer(mine) if me is A else answer(mine, offer().params, "files", NOW)


@pytest.mark.parametrize("payload", [b"", bytes(16), bytes(18), bytes(8) + b"\0\0\0\0\1\0\0\0" + b"\2"])
def test_what_a_peer_says_in_secret_has_one_form(payload: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is sealed in an agreement is of one length, and yes or no is one bit, whoever says it."""
    with monkeypatch.context() as patch:
        patch.setattr(_agreement, "_payload", lambda *_, **__: payload)
        asked = offer()
    assert code(asked.params) == "envelope.malformed"


def test_a_session_ends_with_the_first_of_both_keys() -> None:
    """Whose key expires first, both ends seal and open nothing after it (S0.24)."""
    brief = identity("bob", seed="brief", begin=NOW - DAY, days=2)
    until = brief.public.not_after
    assert until < ALICE.public.not_after
    trust = Trust({one.key_id: one.public for one in (ALICE, brief)}, rules=RULES)
    asked = offer(A._replace(trust=trust), Party(brief, trust))
    result, theirs = answer(Party(brief, trust), asked.params, "files", NOW)
    for end in (asked.accept(result, NOW), theirs):
        assert seal(end, call(), now=until)
        with pytest.raises(Refused, match="expired"):
            seal(end, call(), now=until + 1)


def test_the_answer_to_another_request() -> None:
    """An answer is for one request: another one of the same two does not take it (splice)."""
    one, other = offer(), offer()
    result, _ = answer(B, one.params, "files", NOW)
    with pytest.raises(Refused, match="was not sealed by who it names"):
        other.accept(result, NOW)


@pytest.mark.parametrize("seconds", [MAX_AGE + 1, -SKEW - 1])
def test_an_answer_of_another_time(seconds: float) -> None:
    """An answer of a guard whose clock is wrong is refused before anything is said."""
    asked = offer()
    result, _ = answer(B._replace(max_age=1e6, skew=1e6), asked.params, "files", NOW - seconds)
    with pytest.raises(Refused, match=r"old|future"):
        asked.accept(result, NOW)


def test_every_flipped_bit_of_the_handshake() -> None:
    """Each flipped bit of either handshake message is no session (S0.22)."""
    asked = offer()
    first = pybase64.b64decode(asked.params["message"])
    for at in range(8 * len(first)):
        changed = bytearray(first)
        changed[at // 8] ^= 1 << at % 8
        assert code({**asked.params, "message": pybase64.b64encode(bytes(changed)).decode()}).startswith("envelope.")
    second = pybase64.b64decode(answer(B, asked.params, "files", NOW)[0]["message"])
    for at in range(0, 8 * len(second), 5):
        changed = bytearray(second)
        changed[at // 8] ^= 1 << at % 8
        with pytest.raises(Refused):
            offer().accept({"message": pybase64.b64encode(bytes(changed)).decode()}, NOW)


@given(JSON, st.sampled_from([None, "version", "from", "to", "server", "sign", "message"]))
def test_any_request_is_answered_or_refused(value: Any, member: str | None) -> None:
    """Whatever is asked, what comes of it is a session or a refusal of this package, and never another error."""
    params = value if member is None else {**offer().params, member: value}
    refused = code(params)
    assert refused.startswith("envelope.") or params == {**offer().params, **params}


@given(JSON, st.booleans())
def test_any_answer_is_a_session_or_refused(value: Any, member: bool) -> None:
    """Whatever is answered, what comes of it is a refusal of this package."""
    with pytest.raises(Refused) as caught:
        offer().accept({"message": value} if member else value, NOW)
    assert caught.value.code.startswith("envelope.")

"""When a message may be accepted at all."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hauberk.message import Proof
from hauberk.refusals import Refused
from hauberk_replay import Checker, LocalNonces, Window

NOW = 1_790_000_000.0


def said(window: Window, issued: float, expires: float | None = None, now: float = NOW) -> str:
    try:
        window.check(issued, expires, now)
    except Refused as error:
        return error.code.removeprefix("replay.")
    return "accepted"


@pytest.mark.parametrize(
    ("issued", "expires", "answer"),
    [
        (NOW, None, "accepted"),
        (NOW - 300, None, "accepted"),
        (NOW - 300.001, None, "too_old"),
        (NOW + 60, None, "accepted"),
        (NOW + 60.001, None, "from_the_future"),
        (NOW + 1e9, None, "from_the_future"),
        (NOW - 10, NOW, "accepted"),
        (NOW - 10, NOW - 0.001, "expired"),
        (NOW - 301, NOW + 1000, "too_old"),
        (NOW + 30, NOW + 10, "expired"),
        (math.nan, None, "too_old"),
        (math.inf, None, "from_the_future"),
        (-math.inf, None, "too_old"),
        (NOW, math.nan, "expired"),
        (NOW, math.inf, "accepted"),
        (0.0, None, "too_old"),
    ],
)
def test_bounds_are_exact(issued: float, expires: float | None, answer: str) -> None:
    """S0.30, S0.31, S0.32: 300 s old is accepted and 300.001 s is not; 60 s ahead; no longer than its own ttl."""
    assert said(Window(), issued, expires) == answer


@given(
    issued=st.floats(),
    expires=st.none() | st.floats(),
    now=st.floats(min_value=0, max_value=1e10),
    max_age=st.floats(min_value=0.001, max_value=86400),
    skew=st.floats(min_value=0, max_value=300),
)
def test_whatever_is_accepted_is_in_the_window(
    issued: float, expires: float | None, now: float, max_age: float, skew: float
) -> None:
    """Whatever times a message says, it is accepted exactly where the three rules hold."""
    holds = issued >= now - max_age - 1e-6 and issued <= now + skew + 1e-6 and (expires is None or now <= expires)
    if said(Window(max_age, skew), issued, expires, now) == "accepted":
        assert holds


@given(
    issued=st.floats() | st.floats(min_value=NOW - 400, max_value=NOW + 400),
    expires=st.none() | st.floats(),
    max_age=st.floats(min_value=0.001, max_value=86400),
    skew=st.floats(min_value=0, max_value=300),
)
def test_a_checker_says_what_its_window_says(issued: float, expires: float | None, max_age: float, skew: float) -> None:
    """S0.30-S0.32: a message is accepted, or refused for its times, exactly as the three rules say."""
    window = Window(max_age, skew)
    checker = Checker(window, LocalNonces(window, 100, since=0))
    try:
        checker.check(Proof(key_id="k", nonce=0, issued=issued, expires=expires), NOW)
    except Refused as error:
        answer = error.code.removeprefix("replay.")
    else:
        answer = "accepted"
    assert answer == said(window, issued, expires)


@pytest.mark.parametrize("late", [300, 300.001, -60, -60.001, math.nan, math.inf, -math.inf])
def test_a_checker_is_exact(late: float) -> None:
    """S0.31, S0.32: at the bounds of the window, too."""
    checker = Checker(Window(), LocalNonces(Window(), 100, since=0))
    if said(Window(), NOW - late) == "accepted":
        checker.check(Proof(key_id="k", nonce=0, issued=NOW - late), NOW)
        return
    with pytest.raises(Refused) as caught:
        checker.check(Proof(key_id="k", nonce=0, issued=NOW - late), NOW)
    assert caught.value.code == f"replay.{said(Window(), NOW - late)}"


@given(late=st.floats(min_value=0, max_value=299), ttl=st.floats(min_value=0.001, max_value=1000))
def test_a_ttl_ends_sooner_and_never_later(late: float, ttl: float) -> None:
    """S0.30: a message is refused after its time and its ttl, even inside 300 s."""
    issued = NOW - late
    assert said(Window(), issued, issued + ttl) == ("accepted" if issued + ttl >= NOW else "expired")


def test_what_is_refused_is_not_remembered() -> None:
    """A message outside of the window takes no room, and its nonce is free."""
    nonces = LocalNonces(Window(), 100, since=0)
    checker = Checker(Window(), nonces)
    for issued in (NOW - 301, NOW + 61, math.nan):
        with pytest.raises(Refused):
            checker.check(Proof(key_id="k", nonce=b"n", issued=issued), NOW)
    assert nonces.held == 0
    checker.check(Proof(key_id="k", nonce=b"n", issued=NOW), NOW)
    assert nonces.held == 1

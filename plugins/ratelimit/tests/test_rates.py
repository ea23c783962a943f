"""Limits as people write them, and what is no limit."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hauberk.config import Config
from hauberk.refusals import ConfigError
from hauberk_ratelimit import RateLimit
from hauberk_ratelimit._rates import UNLIMITED, Credit, Limit, Quota, Rate, parse, stricter

UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}
RATES = st.builds(
    lambda unit, count, burst: Rate(count, UNITS[unit], burst),
    st.sampled_from(sorted(UNITS)),
    st.integers(1, 100_000),
    st.integers(1, 300),
).filter(lambda rate: rate.burst * rate.seconds <= 366 * 86_400 * rate.count)
LIMITS = st.builds(
    lambda rates, quotas, given, each: Limit((*dict.fromkeys(rates), *quotas, *given), each),
    st.lists(RATES, min_size=1, max_size=1),
    st.lists(st.builds(Quota, st.integers(0, 10**6)), max_size=1),
    st.lists(st.builds(Credit, st.integers(0, 10**6)), max_size=1),
    st.booleans(),
)


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("600/minute burst 50", Limit((Rate(600, 60, 50),))),
        ("10/second", Limit((Rate(10, 1, 10),))),
        ("10 per second", Limit((Rate(10, 1, 10),))),
        (" 5 / hours  burst 2 ", Limit((Rate(5, 3600, 2),))),
        ("1/day", Limit((Rate(1, 86_400, 1),))),
        ("30/minute, 100/month", Limit((Rate(30, 60, 30), Quota(100)))),
        ("300/minute burst 30 each", Limit((Rate(300, 60, 30),), each=True)),
        ("0/minute", Limit((Rate(0, 60, 0),))),
        ("0/month", Limit((Quota(0),))),
        ("500 credits/month", Limit((Credit(500),))),
        ("1 credit per month", Limit((Credit(1),))),
        ("9/month, 0 credits/month each", Limit((Quota(9), Credit(0)), each=True)),
        ("unlimited", UNLIMITED),
    ],
)
def test_limits_are_read_as_people_write_them(text: str, limit: Limit) -> None:
    """A number, a unit and a burst; without a burst, as many at once as the number; 0 is nothing (S3.44, S1.41)."""
    assert parse(text) == limit


@given(LIMITS)
def test_a_limit_is_written_as_it_is_read(limit: Limit) -> None:
    """What is written of a limit reads as the same limit."""
    assert parse(str(limit)) == limit


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("-5/minute", "not negative"),
        ("5/minute burst -1", "not negative"),
        ("nan/minute", "no number of requests"),
        ("inf/second", "no number of requests"),
        ("Infinity/second", "no number of requests"),
        ("1.5/second", "whole number"),
        (".5/second", "whole number"),
        ("1e3/second", "is no limit"),
        ("", "is no limit"),
        ("10", "is no limit"),
        ("-1", "not negative"),
        ("none", "is no limit"),
        ("10/fortnight", "is no unit"),
        ("10 credits", "is no limit"),
        ("10 credits/day", "by the month"),
        ("-1 credits/month", "not negative"),
        ("10 credits/month burst 5", "no burst"),
        ("10/second burst", "is no limit"),
        ("10/second burst 0", "lets nothing pass and something"),
        ("0/second burst 5", "lets nothing pass and something"),
        ("100001/second", "more than 100000 a second"),
        ("99999999999999999999/day", "which is no limit"),
        ("2000000000/day", "which is no limit"),
        ("10/second burst 99999999", "burst of more than"),
        ("1/day burst 400", "more than a year"),
        ("10/month burst 5", "has no burst"),
        ("٣/minute", "is no limit"),
        ("1/second, 2/second, 3/second, 4/second, 5/second", "at most 4"),
        ("9" * 201, "no longer than"),
    ],
)
def test_what_is_no_limit_is_refused_with_a_reason(text: str, said: str) -> None:
    """A negative, infinite, fractional or absurd rate is an error that says what to write (S3.44, S1.41)."""
    with pytest.raises(ValueError, match=said):
        parse(text)


@given(st.text(max_size=40))
def test_any_text_is_a_limit_or_an_error(text: str) -> None:
    """No text does anything else than be read, or be refused."""
    try:
        limit = parse(text)
    except ValueError:
        return
    assert parse(str(limit)) == limit


@given(RATES)
def test_an_interval_is_never_too_short(rate: Rate) -> None:
    """Rounding never lets more pass than the rate, and takes less than 0.2 % of it."""
    exact = Fraction(rate.seconds, rate.count)
    assert exact <= Fraction(rate.interval)
    assert Fraction(rate.interval) - exact < Fraction(1, 1 << 26)
    assert 0 <= rate.micros - exact * 10**6 < 1


@given(LIMITS, LIMITS)
def test_the_stricter_of_two_lets_pass_what_both_do(one: Limit, other: Limit) -> None:
    """Of two tables both limits hold: each part is in the result, or one that is at least as strict."""
    both = parse(stricter(str(one), str(other)))
    for part in (*one.parts, *other.parts):
        if isinstance(part, Rate):
            assert any(isinstance(kept, Rate) and kept.holds(part) for kept in both.parts)
        else:
            assert any(type(kept) is type(part) and kept.count <= part.count for kept in both.parts)
    assert both.each == (one.each and other.each)


def test_unlimited_gives_way() -> None:
    """What is unlimited in one table is limited by the other."""
    assert stricter("unlimited", "5/minute") == stricter("5/minute", "unlimited") == "5/minute"
    assert stricter("unlimited", "unlimited") == "unlimited"


# --- in a configuration ---


def options(toml: str) -> Any:
    config = Config.from_toml(toml)
    config.check({"ratelimit": RateLimit.Options})
    return config.options("ratelimit", RateLimit.Options)


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ('[ratelimit]\nglobal = "-1/minute"', r"global: '-1/minute': a limit is not negative"),
        ("[ratelimit]\nglobal = nan", "global"),
        ("[ratelimit]\nglobal = 600", "expected string"),
        ('[ratelimit]\nglobal = "5/second each"', "says each"),
        ('[ratelimit]\nclient = "5/second"', "unknown key"),
        ('[ratelimit.domains]\n"exa mple" = "5/second"', "is no host"),
        ('[ratelimit.tools]\n"" = "5/second"', "characters"),
        ('[ratelimit]\nmembers = {"*" = "gold"}', "no plan 'gold'"),
        ('[[ratelimit.rules]]\nlimit = "5/second"', "write it as global"),
        ('[[ratelimit.rules]]\nlimit = "5/second"\nscope = "tenant"', "unknown key"),
        ('[[ratelimit.rules]]\nlimit = "5/second"\neach = ["tenant"]', "each"),
        ('[ratelimit]\ncosts = {"x" = -1}', "costs from 0"),
        ("[ratelimit]\nmax_ids = 0", "max_ids"),
        ("[ratelimit]\nlease = 1", "lease"),
        ("[ratelimit]\nsync_seconds = 0.05", "sync_seconds"),
        ("[ratelimit]\nstore_timeout = 2.5", "store_timeout"),
        ('[ratelimit]\ncalls = "5/second each"', "calls: .*says each"),
        ('[ratelimit]\nmessages = "many"', "messages: 'many' is no limit"),
        ('[ratelimit]\naddress = "many"', "address: 'many' is no limit"),
        *(
            (f'[ratelimit.{table}]\nx = "many"', f"{table}.'x': 'many' is no limit")
            for table in ("tools", "domains", "principals", "plans")
        ),
    ],
)
def test_a_wrong_table_is_an_error_that_names_it(toml: str, said: str) -> None:
    """A configuration with a limit that is none, or a scope that is unknown, is not loaded, and the text says why."""
    with pytest.raises(ConfigError, match=said):
        options(toml)


def test_a_preset_is_what_its_word_says() -> None:
    """Each preset is a table without a fault (S0.35, S1.23, S3.44, S4.15)."""
    for word in ("servers", "agents", "sandbox", "service", "plans"):
        assert options(f'[ratelimit]\npreset = "{word}"').preset == word
    assert options('[ratelimit]\npreset = "plans"\nmembers = {"alice" = "pro"}').members == {"alice": "pro"}


@pytest.mark.parametrize(
    ("key", "strict", "loose"),
    [
        ("max_ids", "5", "9"),
        ("lease", "5", "9"),
        ("sync_seconds", "5.0", "9.0"),
        ("store_timeout", "0.5", "0.9"),
        ("sharing", '"exact"', '"lease"'),
        ("sharing", '"lease"', '"sync"'),
        ("on_store_failure", '"refuse"', '"local"'),
        *((key, '"5/hour"', '"9/hour"') for key in ("global", "calls", "messages", "address")),
        *((key, '{x = "5/hour"}', '{x = "9/hour"}') for key in ("tools", "domains", "principals", "plans")),
    ],
)
def test_the_stricter_of_two_tables_holds(key: str, strict: str, loose: str) -> None:
    """The table of a host makes nothing wider that the general one says, and may make it narrower."""
    for one, other in ((strict, loose), (loose, strict)):
        found = options(f"[ratelimit]\n{key} = {one}\n[host.default.ratelimit]\n{key} = {other}\n")
        kept = getattr(found, "global_" if key == "global" else key)
        assert kept == ({"x": "5/hour"} if isinstance(kept, dict) else type(kept)(strict.strip('"')))


def test_the_rules_of_two_tables_hold_both() -> None:
    """A combination of one table is no other one's."""
    rule = '[[{}ratelimit.rules]]\nlimit = "5/hour"\ntool = "{}"\n'
    found = options(rule.format("", "a") + rule.format("host.default.", "b"))
    assert [one.tool for one in found.rules] == ["a", "b"]

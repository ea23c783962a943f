"""Calls of a log, judged anew: what holds without the arguments, and what cannot be told."""

from __future__ import annotations

import itertools
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.core.harness import Clock, ring

from hauberk import rejudging
from hauberk.config import Config
from hauberk.guard import Guard
from hauberk.layers import Layer
from hauberk.refusals import ConfigError, HauberkError
from hauberk.rejudging import Outcome
from hauberk.verdict import Allow, Ask, Deny

CODES = ("core.allowed", "judge.no", "core.busy", "core.unapproved")
NUMBERS = itertools.count()
PRODUCTION = 'profile = "production"\n'


def entry(code: str = "core.allowed", tool: str = "ls", **fields: Any) -> bytes:
    """Return one line of a log."""
    category = "decision" if code == "core.allowed" else "refusal"
    found = {
        "exchange": f"c.{next(NUMBERS)}",
        "server": "files",
        "principal": "ada",
        "method": "tools/call",
        "category": category,
    } | fields
    return orjson.dumps({"format": "hauberk-audit/1", "code": code, "tool": tool} | found) + b"\n"


def judge(answer: Any, name: str = "judge", **members: Any) -> Any:
    """Return a plugin with this answer, or whose answer this function gives."""
    return ring(name, Layer.POLICY, on_tool_call=answer if callable(answer) else lambda *_: answer, **members)


def guard_of(*plugins: Any, toml: str = "") -> Guard:
    clock = Clock()
    return Guard(Config.from_toml(toml), plugins, clock=clock, now=clock)


async def rejudged(*lines: bytes, by: tuple[Any, ...], toml: str = "") -> Outcome:
    return await rejudging.rejudge(guard_of(*by, toml=toml), lines)


def counts(outcome: Outcome) -> tuple[int, int, int, int, int]:
    return outcome.refused, outcome.allowed, outcome.asked, outcome.unknown, outcome.same


# --- what holds ---


async def test_each_difference_is_counted() -> None:
    """A call that was let through and would be refused, one the other way round, and one that stays what it was."""

    def decide(call: Any, _: Any) -> Any:
        return Deny("judge.no", "no", rule="r") if call.name == "rm" else Allow("ok")

    lines = (entry(tool="rm"), entry("judge.no", "ls"), entry(tool="ls"), entry("judge.no", "rm"))
    outcome = await rejudged(*lines, by=(judge(decide),))
    assert counts(outcome) == (1, 1, 0, 0, 2)
    assert outcome.status == 1
    assert {(change.before, change.tool, change.verdict.after, change.verdict.rule) for change in outcome.changes} == {
        ("core.allowed", "rm", "refused", "r"),
        ("judge.no", "ls", "passes", "ok"),
    }


async def test_nothing_that_changes_is_status_0() -> None:
    """Where every call would be treated as it was, the status is 0."""
    outcome = await rejudged(entry(), entry(), by=(judge(Allow()),))
    assert (outcome.status, outcome.same) == (0, 2)


@pytest.mark.parametrize("read", ["arguments", "digest", "frozen"])
async def test_verdict_that_went_by_the_arguments_does_not_hold(read: str) -> None:
    """The log has no arguments: a judge that looked at them could say anything, so it cannot be told."""

    def decide(call: Any, _: Any) -> Any:
        getattr(call, read)
        return Allow()

    outcome = await rejudged(entry(), by=(judge(decide),))
    assert counts(outcome)[3] == (0 if read == "frozen" else 1)
    assert outcome.status == (0 if read == "frozen" else 2)


async def test_verdict_that_misses_something_does_not_hold() -> None:
    """A judge that says what it lacks, on a connection that does not exist, cannot be taken at its word."""

    def decide(call: Any, _: Any) -> Any:
        call.lacks("the list of tools")
        return Deny("judge.unlisted", "not listed")

    assert counts(await rejudged(entry(), by=(judge(decide),))) == (0, 0, 0, 1, 0)


async def test_deny_that_holds_is_the_answer() -> None:
    """One judge that denies whatever the arguments are decides, though another one would have to see them."""

    def looks(call: Any, _: Any) -> Any:
        return Allow() if call.arguments else None

    for pair in ((looks, Deny("b.no", "no")), (Deny("b.no", "no"), looks)):
        by = (judge(pair[0], "a"), judge(pair[1], "b"))
        assert counts(await rejudged(entry(), by=by)) == (1, 0, 0, 0, 0)


async def test_judge_that_fails_could_not_tell() -> None:
    """What a judge raises about a call without arguments says nothing of the call that was made."""

    def fails(*_: Any) -> Any:
        raise KeyError

    outcome = await rejudged(entry(), by=(judge(fails),))
    assert (outcome.unknown, outcome.status) == (1, 2)


async def test_ask_is_told_apart() -> None:
    """A call that passed and would now be asked about is a difference; one that was approved before is none."""
    approved = entry(details={"approved": True})
    by = (judge(Ask("sure?")),)
    assert counts(await rejudged(entry(), approved, entry("core.unapproved"), by=by)) == (0, 0, 1, 0, 2)


async def test_silence_is_judged_as_the_profile_says() -> None:
    """On a call that nobody judges, development lets pass what production refuses."""
    by = (judge(None),)
    assert counts(await rejudged(entry(), by=by)) == (0, 0, 0, 0, 1)
    assert counts(await rejudged(entry(), by=by, toml=PRODUCTION)) == (1, 0, 0, 0, 0)


async def test_silence_cannot_be_told_where_somebody_charges() -> None:
    """In production a plugin that is not run, in ADMIT, might have allowed the call."""
    charges = ring("charges", Layer.ADMIT, on_tool_call=lambda *_: pytest.fail("not to be called"))
    assert counts(await rejudged(entry(), by=(judge(None), charges), toml=PRODUCTION))[3] == 1


async def test_observer_has_no_say() -> None:
    """A judge in mode ``audit`` changes nothing, whatever it says or looks at."""

    def looks(call: Any, _: Any) -> Any:
        return Deny("watch.no", str(call.arguments))

    by = (judge(Allow()), judge(looks, "watch", mode="audit"))
    assert counts(await rejudged(entry(), by=by)) == (0, 0, 0, 0, 1)


async def test_groups_and_roles_are_those_of_the_log() -> None:
    """A verdict goes by the groups and roles with which the call was decided."""

    def decide(call: Any, _: Any) -> Any:
        return Allow() if "dev" in call.principal.groups and "root" in call.principal.roles else Deny("judge.no", "no")

    claims = {"groups": ["dev"], "roles": ["root"]}
    assert counts(await rejudged(entry(details=claims), entry(), by=(judge(decide),))) == (1, 0, 0, 0, 1)


async def test_connection_that_is_refused_refuses_its_calls() -> None:
    """A plugin that refuses the connection to a server refuses what was called there."""
    from hauberk.refusals import Refused

    def refuse(connection: Any) -> None:
        if connection.server == "bad":
            raise Refused("door.no", "no")

    door = ring("door", Layer.POLICY, on_connect=refuse, on_tool_call=lambda *_: Allow())
    assert counts(await rejudged(entry(server="bad"), entry(), by=(door,))) == (1, 0, 0, 0, 1)


# --- what the log says ---


async def test_refusals_of_others_stay_what_they_were() -> None:
    """What an edge, a limit or a sink refused is counted, and no judge is asked about it."""
    limits = ring("limits", Layer.ADMIT, on_tool_call=lambda *_: pytest.fail("not to be called"))
    lines = (entry("core.duplicate_key"), entry("limits.exceeded"))
    outcome = await rejudged(*lines, by=(judge(Allow()), limits))
    assert (outcome.calls, outcome.left_out) == (0, 2)


async def test_refused_answer_is_no_refused_call() -> None:
    """A refusal in an exchange whose call was let through is about the answer."""
    lines = (entry(exchange="c.1"), entry("judge.answer", exchange="c.1"))
    assert counts(await rejudged(*lines, by=(judge(Allow()),))) == (0, 0, 0, 0, 1)


async def test_probes_and_other_events_are_no_calls() -> None:
    """Probes, events about connections, and refusals of other requests are not judged."""
    lines = (
        entry(probe=True),
        entry("core.connected", category="connection"),
        entry("sieve.denied", tool="", method="prompts/get"),
    )
    assert (await rejudged(*lines, by=(judge(Allow()),))).calls == 0


@pytest.mark.parametrize("name", ["x" * 256, "a\\u202eb"])
async def test_name_that_the_log_does_not_have_is_not_judged(name: str) -> None:
    """A name that was cut, or is written by the numbers of its characters, may match another rule than the real one."""
    assert counts(await rejudged(entry(tool=name), by=(judge(Allow()),)))[3] == 1


async def test_sealed_line_is_an_error_with_a_way() -> None:
    """Of an entry that is encrypted it is said how it can be judged."""
    line = b'{"format":"hauberk-audit/1","file":"0123456789abcdef","line":1,"sealed":"AAAA","integrity":{}}\n'
    with pytest.raises(ConfigError, match="line 1 is sealed") as error:
        await rejudged(line, by=(judge(Allow()),))
    assert "hauberk audit export LOG | hauberk rejudge -" in str(error.value.hint)


@pytest.mark.parametrize("line", [b"not json\n", b"[]\n", b'{"code":1}\n', b"\xff\n", b"{}\n", b"\n"])
async def test_line_that_is_no_entry_is_an_error(line: bytes) -> None:
    """What is no entry is named by its line, never skipped."""
    with pytest.raises(ConfigError, match="line 2 is no entry"):
        await rejudged(entry(), line, by=(judge(Allow()),))


async def test_long_line_is_an_error() -> None:
    """A line that no log has is refused before it is parsed."""
    with pytest.raises(ConfigError, match="longer than"):
        await rejudged(b" " * rejudging.LIMITS.line_bytes + b"{}\n", by=(judge(Allow()),))


async def test_torn_last_line_is_left_out() -> None:
    """A last line without line feed was never acknowledged."""
    assert (await rejudged(entry(), entry()[:-1], by=(judge(Allow()),))).calls == 1


async def test_guard_that_is_open_is_refused() -> None:
    """A guard that is in use is not used for this."""
    guard = guard_of(judge(Allow()))
    await guard.open()
    try:
        with pytest.raises(HauberkError, match="open"):
            await rejudging.rejudge(guard, ())
    finally:
        await guard.close()


# --- bounds ---


async def test_each_caller_is_judged_once() -> None:
    """A long log costs no more judgements than there are callers, servers and tools in it."""
    asked: list[str] = []

    def decide(call: Any, _: Any) -> Any:
        asked.append(call.name)
        return Allow()

    outcome = await rejudged(*[entry(tool=name) for name in "abab" * 50], by=(judge(decide),))
    assert (sorted(asked), outcome.calls) == (["a", "b"], 200)


async def test_differences_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names in a log fill no memory: beyond a bound differences are counted, and not told apart."""
    monkeypatch.setattr(rejudging, "LIMITS", rejudging.Limits(changes=2, verdicts=2, exchanges=2))
    lines = [entry(tool=f"t{number}", exchange=f"c.{number}") for number in range(9)]
    outcome = await rejudged(*lines, by=(judge(Deny("judge.no", "no")),))
    assert (outcome.refused, len(outcome.changes)) == (9, 2)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.sampled_from(["core.allowed", "judge.no", "core.busy", "core.unapproved"]), max_size=8), st.booleans()
)
async def test_every_call_is_counted_once(codes: list[str], denies: bool) -> None:
    """What is the same, what differs, and what cannot be told are all calls that a judge had a part in."""
    by = (judge(Deny("judge.no", "no") if denies else Allow()),)
    outcome = await rejudged(*[entry(code, exchange=f"c.{place}") for place, code in enumerate(codes)], by=by)
    assert sum(counts(outcome)) == outcome.calls == len(codes) - outcome.left_out
    assert outcome.left_out == codes.count("core.busy")

"""What the sieve shows of itself."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from hauberk import doctor
from hauberk.guard import Guard
from hauberk.hookspecs import hookimpl
from hauberk.probe import SERVER
from hauberk.verdict import Allow
from hauberk_sieve import Sieve
from hauberk_sieve._options import PROBED, Options

Load = Callable[[str], Guard]


async def states(guard: Guard) -> dict[str, str]:
    report = await doctor.run(guard)
    found = {one.name.removeprefix("sieve."): one.state for one in report.findings if one.plugin == "sieve"}
    return {name: state for name, state in found.items() if name in ACCESS}


REFUSED = ("refuses_denied_call", "refuses_denied_prompt", "refuses_denied_resource")
HIDDEN = ("hides_denied_tool", "hides_denied_prompt", "hides_denied_resource", "hides_denied_template")
UNLISTED = ("refuses_unlisted_call", "refuses_unlisted_prompt", "refuses_unlisted_resource")
ACCESS = (*REFUSED, *HIDDEN, *UNLISTED)
LISTS = dict.fromkeys((*REFUSED, *HIDDEN), "ok")
ALL = LISTS | dict.fromkeys(UNLISTED, "ok")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", LISTS),
        ('[sieve]\ndefault = "allow"', LISTS),
        ('[sieve]\nallow = ["files/*"]', ALL),
        ('[sieve]\ntool_policy = "read-only"\nallow = ["files/*"]', ALL),
        ('[sieve]\nallow = ["*"]', LISTS | dict.fromkeys(UNLISTED[1:], "ok")),
        (f'[sieve]\nallow = ["{SERVER}/*"]', LISTS | dict.fromkeys(UNLISTED[1:], "ok")),
        ('[sieve]\nallow = [{ server = "*", tool = "*", prompt = "*", resource = "*" }]', LISTS),
    ],
)
async def test_probes_hold_for_every_table(load: Load, text: str, found: dict[str, str]) -> None:
    """Whatever the table says, what it promises is tried and holds; an allow rule for all leaves nothing unlisted."""
    assert await states(load(text)) == found


def test_every_table_denies_the_probe() -> None:
    """The rule that probes call on comes before all of a table's, whatever it allows."""
    decision = Options(default="allow", allow=("*",)).rules().decide(SERVER, "tool", PROBED.tool)
    assert not decision.allowed
    assert (PROBED.server, decision.rule) == (SERVER, f"{SERVER}/denied")


def test_probed_rule_is_of_the_doctor_alone() -> None:
    """A tool of the same name of another server is what the table says it is."""
    assert Options(default="allow").rules().decide("files", "tool", PROBED.tool).allowed


@pytest.mark.parametrize("default", ["allow", "deny"])
async def test_sieve_that_allows_everything_is_found(load: Load, monkeypatch: pytest.MonkeyPatch, default: str) -> None:
    """With its judging switched off each probe of a call gets through, and hiding still holds (X.1)."""
    monkeypatch.setattr(Sieve, "on_tool_call", hookimpl(lambda self, call, connection: Allow("off")))
    found = await states(load(f'[sieve]\ndefault = "{default}"'))
    calls = {name for name in found if name.endswith("_call")}
    assert found == dict.fromkeys(found, "ok") | dict.fromkeys(calls, "not_stopped")


@pytest.mark.parametrize("hook", ["on_send", "on_receive"])
async def test_sieve_that_hides_nothing_is_found(load: Load, monkeypatch: pytest.MonkeyPatch, hook: str) -> None:
    """With its hooks on messages switched off, on either side, all but calls gets through (X.1)."""
    monkeypatch.setattr(Sieve, hook, hookimpl(lambda self, message, connection: None))
    assert await states(load("")) == dict.fromkeys(LISTS, "not_stopped") | {"refuses_denied_call": "ok"}


async def test_rules_that_decide_nothing_are_found(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """The probes go by the rules themselves: where these say yes to all, both hiding and refusing are gone."""
    decision = Options(default="allow").rules().decide("files", "tool", "x")
    monkeypatch.setattr("hauberk_sieve.access._rules.Rules.decide", lambda self, *_: decision)
    assert set((await states(load(""))).values()) == {"not_stopped"}

"""The checks, in the order in which they are run: each has a name, and a line that says what holds when it passes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any, Final

import msgspec

from hauberk.conformance import _apart, _endurance, _manners, _static
from hauberk.conformance._subject import Fault, Subject
from hauberk.refusals import HauberkError

Run = Callable[[Subject], Awaitable[list[Fault]]]


class Check(msgspec.Struct, frozen=True):
    """One thing that a plugin has to do."""

    name: str
    claim: str
    run: Run
    needs: str = ""
    """The check without which this one cannot be run."""


class Result(msgspec.Struct, frozen=True):
    """How a check ended; ``faults`` is None where it was not run."""

    check: Check
    faults: list[Fault] | None

    @property
    def passed(self) -> bool:
        """Whether it was run and found nothing."""
        return self.faults == []


async def _imports(subject: Subject) -> list[Fault]:
    """Import the plugin's class."""
    try:
        _ = subject.cls
    except HauberkError as error:
        return [Fault(error.message)]
    return []


CHECKS: Final = (
    Check("imports", "the entry point leads to a plugin of that name", _imports),
    Check("loads", "a guard with it loads, opens and closes", _static.loads, "imports"),
    Check("hook-options", "no hook has options: order comes from the layer", _static.hook_options, "imports"),
    Check("declared-hooks", "every on_… method is a hook, and takes what it takes", _static.declared_hooks, "imports"),
    Check("unknown-option", "an option that nobody knows is an error", _static.unknown_option, "imports"),
    Check("quiet-import", "its import connects, writes and starts nothing", _apart.quiet_import),
    Check("guards-clock", "it asks the guard for the time, and nobody else", _apart.guards_clock, "imports"),
    Check("no-mutation", "what it receives stays as it was", _manners.no_mutation, "loads"),
    Check("own-prefix", "its codes begin with its name", _manners.own_prefix, "loads"),
    Check("no-canary", "no secret gets into errors, events, the log or its files", _manners.no_canary, "loads"),
    Check("survives", "unknown fields and methods do not make it fail", _manners.survives, "loads"),
    Check("bounded-memory", "many peers do not fill the memory", _endurance.bounded_memory, "loads"),
    Check("cancellation", "it may be cancelled, and a request may end in any way", _endurance.cancellation, "loads"),
)


def check_named(name: str) -> Check:
    """Return a check by its name."""
    return next(check for check in CHECKS if check.name == name)


def run(subject: Subject, checks: Iterable[Check] = CHECKS) -> Iterator[Result]:
    """Run checks, each after the one that it needs; a check whose need has failed is not run."""
    passed: dict[str, bool] = {}

    def ok(check: Check) -> bool:
        if check.name not in passed:
            if check.needs and not ok(check_named(check.needs)):
                return False
            passed[check.name] = not faults_of(subject, check)
        return passed[check.name]

    for check in checks:
        if check.needs and not ok(check_named(check.needs)):
            yield Result(check, None)
            continue
        faults = faults_of(subject, check)
        passed[check.name] = not faults
        yield Result(check, faults)


def faults_of(subject: Subject, check: Check) -> list[Fault]:
    """Run one check in an event loop of its own."""

    async def main() -> list[Fault]:
        return await check.run(subject)

    return asyncio.run(main())


def plain(result: Result) -> dict[str, Any]:
    """Return a result as JSON shows it."""
    status = "not run" if result.faults is None else "failed" if result.faults else "passed"
    faults = [msgspec.to_builtins(fault) for fault in result.faults or ()]
    return {"check": result.check.name, "claim": result.check.claim, "status": status, "faults": faults}

"""What shows that each check is live: messages of a key of the doctor's own, given to the memory that is in use."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from hauberk.event import Event
from hauberk.message import Proof
from hauberk.probe import Probe
from hauberk.refusals import Refused
from hauberk_replay._checker import Checker

KEY: Final = "hauberk-doctor"
_FORWARD: Final = frozenset({"replay.not_remembered"})
"""A memory that has just begun refuses what it cannot know of: it stops what it must, and something more."""


def probes(checker: Checker, guard: Any) -> list[Probe]:
    """Return the probes of a checker."""

    def made(**more: Any) -> Proof:
        now = guard.now()
        return Proof(**({"key_id": KEY, "nonce": secrets.token_bytes(16), "issued": now + checker.window.skew} | more))

    def again(proof: Proof) -> list[Proof]:
        return [proof, proof]

    tries: dict[str, tuple[str, str, Callable[[], list[Proof]]]] = {
        "refuses_replay": ("a message that came before is refused", "replay.detected", lambda: again(made())),
        "refuses_counter_again": (
            "a counter of a session that came before is refused",
            "replay.detected",
            lambda: again(made(key_id=f"{KEY}:{secrets.token_hex(8)}", nonce=7)),
        ),
        "refuses_old": (
            "a message that is too old is refused",
            "replay.too_old",
            lambda: [made(issued=guard.now() - checker.window.max_age - 1)],
        ),
        "refuses_future": (
            "a message that is made in the future is refused",
            "replay.from_the_future",
            lambda: [made(issued=guard.now() + checker.window.skew + 60)],
        ),
        "refuses_expired": (
            "a message that says it holds no more is refused",
            "replay.expired",
            lambda: [made(issued=guard.now() - 1, expires=guard.now() - 0.5)],
        ),
    }
    return [
        Probe(f"replay.{name}", control, check=_check(checker, guard, code, proofs))
        for name, (control, code, proofs) in tries.items()
    ]


def _check(
    checker: Checker, guard: Any, code: str, proofs: Callable[[], list[Proof]]
) -> Callable[[Sequence[Event]], Awaitable[str | None]]:
    async def check(_: Sequence[Event]) -> str | None:
        *before, last = proofs()
        for proof in before:
            if (why := await _refusal(checker, guard, proof)) is not None:
                return None if why in _FORWARD else f"a message that is in order was stopped by {why}"
        why = await _refusal(checker, guard, last)
        if why == code:
            return None
        return "it was not stopped" if why is None else f"it was stopped by {why}, not by {code}"

    return check


async def _refusal(checker: Checker, guard: Any, proof: Proof) -> str | None:
    try:
        if (waiting := checker.check(proof, guard.now())) is not None:
            await waiting
    except Refused as error:
        return error.code
    return None

"""What mode ``audit`` makes of a plugin's hooks: wrapped once, when the chains are frozen."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from hauberk.chains import Step
from hauberk.event import Event
from hauberk.pipeline import failure, is_cancelled, nonsense, rank
from hauberk.refusals import HookError, Refused
from hauberk.verdict import Allow, Ask, Deny


def observed(step: Step) -> Step:
    """Return the step of a plugin in mode ``audit``: whatever it says is noted, and nothing of it takes effect."""
    call, is_async = step.call, step.is_async

    async def observe_async(item: Any, *rest: Any) -> None:
        try:
            _note(step, item, await call(item, *rest))
        except KeyboardInterrupt:
            raise
        except asyncio.CancelledError as error:
            if is_cancelled():
                raise
            _note(step, item, error)
        except BaseException as error:  # noqa: BLE001 - mode `audit` lets the message pass, and says so
            _note(step, item, error)

    def observe(item: Any, *rest: Any) -> None:
        try:
            _note(step, item, call(item, *rest))
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - as above
            _note(step, item, error)

    return msgspec.structs.replace(step, call=observe_async if is_async else observe)


def _note(step: Step, item: Any, answer: Any) -> None:
    verdict = step.hook == "on_tool_call" and rank(answer) > 0
    if answer is None or (verdict and type(answer) is Allow):
        return
    rewrites = type(answer) is type(item)
    if rewrites:
        code = "core.would_rewrite"
    elif isinstance(answer, Refused | HookError) or (verdict and type(answer) is Deny):
        code = answer.code
    elif verdict:
        code = "core.unapproved"
    else:
        code = (failure(step, answer) if isinstance(answer, BaseException) else nonsense(step, answer)).code
    item.note(
        Event(
            code="core.would_rewrite" if rewrites else "core.would_refuse",
            category="policy",
            severity="warning",
            plugin=step.plugin,
            rule=(answer.rule if isinstance(answer, Refused | Deny | Ask) else None) or "",
            details={"code": code, "hook": step.hook},
        )
    )

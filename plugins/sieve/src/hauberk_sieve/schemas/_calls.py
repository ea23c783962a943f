"""What is wrong with one call, or with one result, by the schemas of its tool."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from hauberk.message import ToolCall, filled, references
from hauberk_sieve.schemas._addresses import Unusable
from hauberk_sieve.schemas._checker import Checker
from hauberk_sieve.schemas._fault import Fault, pointer
from hauberk_sieve.schemas._headers import LARGEST, WORD, too_large
from hauberk_sieve.schemas._known import Ready, Reason

UNUSABLE: Final = "sieve.schema_unusable"
_LATER: Final = ("input_required", "task")
"""What a result says in ``resultType`` that is not the result yet."""
_AUTHOR: Final = "report it to the author of the server"
_SCHEMA: Final = "give the tool the arguments that its inputSchema asks for"


class Finding(msgspec.Struct, frozen=True):
    """Why something is refused."""

    code: str
    text: str
    rule: str
    hint: str


def of_call(tool: Ready, call: ToolCall, *, results: bool) -> Finding | None:
    """Return what is wrong with the arguments of a call, or with the schemas of its tool.

    Args:
        tool: Its tool.
        call: It.
        results: Whether its result will be checked.
    """
    checker = tool.arguments
    if type(checker) is not Checker:
        return _unusable("inputSchema", checker) if checker is not None else None
    if tool.result is not None and results and type(tool.result) is Reason:
        return _unusable("outputSchema", tool.result)
    arguments, size = call.arguments, len(call.frozen)
    if tool.headers and (found := _header(tool, arguments)) is not None:
        return found
    if call.holds_secrets:
        return _with_references(checker, arguments, size)
    if size <= checker.most and checker.is_valid(arguments):
        return None
    return _arguments(checker, arguments, size)


def of_result(tool: Ready, result: dict[str, Any], size: int) -> Finding | None:
    """Return what is wrong with the result of a call.

    Args:
        tool: Its tool.
        result: It.
        size: The length of the message that brought it (bytes).
    """
    checker = tool.result
    if result.get("isError") is True or checker is None:
        return None
    if type(checker) is not Checker:
        return _unusable("outputSchema", checker)
    if "structuredContent" not in result:
        is_later = result.get("resultType") in _LATER or type(result.get("task")) is dict
        return None if is_later else _result(Fault("", "structuredContent"), checker)
    try:
        fault = checker.fault(result["structuredContent"], size)
    except Unusable as unusable:
        return _unusable("outputSchema", Reason(unusable.rule, unusable.reason))
    return None if fault is None else _result(fault, checker)


def _arguments(checker: Checker, arguments: dict[str, Any], size: int) -> Finding | None:
    try:
        fault = checker.fault(arguments, size)
    except Unusable as unusable:
        return _unusable("inputSchema", Reason(unusable.rule, unusable.reason))
    return None if fault is None else _faulty(fault, checker)


def _with_references(checker: Checker, arguments: dict[str, Any], size: int) -> Finding | None:
    """Check arguments of which some are references to secrets: they are texts, and nobody here knows which."""
    found = references(arguments)
    plain = filled(arguments, dict.fromkeys((reference for _, reference in found), ""))
    try:
        checker.afford(plain, size)
    except Unusable as unusable:
        return _unusable("inputSchema", Reason(unusable.rule, unusable.reason))
    if checker.is_valid(plain):
        return None
    fault = checker.located(plain, size, unsure=[pointer(path) for path, _ in found])
    return None if fault is None else _faulty(fault, checker)


def _header(tool: Ready, arguments: dict[str, Any]) -> Finding | None:
    if type(tool.headers) is Reason:
        text = f"its {WORD} breaks a rule: {tool.headers.text}"
        return Finding("sieve.header", text, WORD, _AUTHOR)
    if type(tool.headers) is tuple and too_large(tool.headers, arguments) is not None:
        text = "an argument that goes into a header is no integer that headers carry"
        return Finding("sieve.header", text, f"within {LARGEST}", "send an integer within 2^53 - 1")
    return None


def _faulty(fault: Fault, checker: Checker) -> Finding:
    rule = fault.told(checker.names)
    return Finding("sieve.arguments", f"its arguments are not what its inputSchema says ({rule})", rule, _SCHEMA)


def _result(fault: Fault, checker: Checker) -> Finding:
    rule = fault.told(checker.names)
    return Finding("sieve.result_schema", f"its result is not what its outputSchema says ({rule})", rule, _AUTHOR)


def _unusable(member: str, reason: Reason) -> Finding:
    return Finding(UNUSABLE, f"its {member} cannot be used: {reason.text}", reason.rule, _AUTHOR)

"""What the end of a request says of its server. Pure.

A failure is: no answer in time; an answer that came too late; an error by which a server says that it could not
(JSON-RPC 2.0 §5.1: -32603, and -32000…-32099 but for those below), that it has no room, or that it waited in vain
(-32001); a status of HTTP from 500 on. And a call that found no room here, because the server did not make any.

Neither a failure nor a success, because whoever calls can bring it about at will: an error about the request
(-32700, -32600, -32601, -32602, -32002, and -32042 which asks for more input), a denial (-32003, -32004, -32006), a
status below 500, any other number; a result with ``isError``, unless it is said that it counts; what was withdrawn,
or refused before it was sent.
"""

from __future__ import annotations

from typing import Final, Literal

from hauberk.exchange import Exchange, Outcome

Verdict = Literal["succeeded", "failed", "nothing"]
_INTERNAL: Final = -32603
_NOT_ITS_FAULT: Final = frozenset({-32002, -32003, -32004, -32006, -32042})
_RESERVED: Final = range(-32099, -31999)
_STATUS: Final = range(500, 600)


def verdict(exchange: Exchange, outcome: Outcome, seconds: float, *, slow: float, tool_errors: bool) -> Verdict:
    """Return what it says.

    Args:
        exchange: The request.
        outcome: How it ended.
        seconds: How long it took.
        slow: An answer that takes longer is a failure (seconds).
        tool_errors: Whether ``isError`` is one.
    """
    if not exchange.sent:
        return "nothing"
    if outcome == "timed_out" or (outcome in ("answered", "error", "cancelled") and seconds > slow):
        return "failed"
    if outcome == "error":
        return "failed" if is_failure(exchange.error) else "nothing"
    if outcome != "answered":
        return "nothing"
    if exchange.failed:
        return "failed" if tool_errors else "nothing"
    return "succeeded"


def is_failure(code: int) -> bool:
    """Whether an error of this number is the server's own."""
    return code == _INTERNAL or code in _STATUS or (code in _RESERVED and code not in _NOT_ITS_FAULT)

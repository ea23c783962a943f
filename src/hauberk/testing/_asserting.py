"""Was it refused, and by which code?"""

from __future__ import annotations

from typing import Any

from hauberk.refusals import HookError, Refused
from hauberk.verdict import Ask, Deny


def refusal_code(what: Any) -> str | None:
    """Return the code of a refusal, or None of what is none.

    Args:
        what: A verdict, a `Refused`, a JSON-RPC message, the SDK's ``MCPError``, or a `Rig` (the last that its client
            got). An `Ask` that nobody answered is ``core.unapproved``, and a verdict only says what it asks for: None.
    """
    if isinstance(what, Deny | Refused | HookError):
        return what.code
    if what is None or isinstance(what, Ask):
        return None
    if hasattr(what, "replies"):
        return refusal_code(what.replies[-1] if what.replies else None)
    error = what.get("error") if isinstance(what, dict) else getattr(what, "error", None)
    data = error.get("data") if isinstance(error, dict) else getattr(error, "data", None)
    code = data.get("code") if isinstance(data, dict) else None
    return code if isinstance(code, str) else None


def assert_refused(what: Any, code: str) -> None:
    """Check that something was refused, with this code.

    >>> assert_refused(Deny("curfew.night", "it is late"), "curfew.night")
    >>> assert_refused({"jsonrpc": "2.0", "id": 1, "result": {}}, "curfew.night")
    Traceback (most recent call last):
        ...
    AssertionError: expected a refusal 'curfew.night', got {'jsonrpc': '2.0', 'id': 1, 'result': {}}

    Args:
        what: What `refusal_code` takes.
        code: The code that it must have.

    Raises:
        AssertionError: It passed, or was refused for another reason.
    """
    found = refusal_code(what)
    if found == code:
        return
    got = f"a refusal {found!r}" if found is not None else repr(what)
    raise AssertionError(f"expected a refusal {code!r}, got {got}")

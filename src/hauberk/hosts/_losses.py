"""What is said of a connection that is lost, and whether it is worth dialling again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hauberk.hosts._dial import LOST, UNREACHABLE
from hauberk.refusals import FAILED_HOOK, MEDIATION, Refused

if TYPE_CHECKING:
    from hauberk.connection import Connection

_TRIED_AGAIN: Final = frozenset((UNREACHABLE, "core.unanswered"))
_LOAD: Final = frozenset(("core.too_many_connections", "core.draining", "core.busy"))
"""Why a server that would take us does not at the moment: its public codes."""


def passes(error: Refused) -> bool:
    """Whether a peer that was not reached may be reached later: nobody is there, or it has no room."""
    return error.code in _TRIED_AGAIN or (error.code == "core.refused_by_peer" and error.details.get("code") in _LOAD)


def lost(*, sent: bool) -> Refused:
    """Return what is told of a request that was in flight."""
    if sent:
        return Refused(
            LOST,
            "the connection was lost before the answer came",
            jsonrpc=MEDIATION,
            hint="it may have been done or not; look before you ask again",
        )
    return Refused(
        LOST, "the connection was lost before this was sent", jsonrpc=MEDIATION, hint="it was not done; ask again"
    )


def gone(hint: str) -> Refused:
    """Return what is told of a request that a server did not answer before it ended."""
    what = "the server has gone without an answer"
    return Refused("core.server_gone", what, jsonrpc=FAILED_HOOK, hint=hint, public=True)


def failed() -> Refused:
    """Return what is told of a request that waits for a connection when something failed that nobody foresaw."""
    return Refused(
        "core.internal", "hauberk failed", jsonrpc=MEDIATION, hint="what it says on standard error tells more"
    )


def not_restored(why: str) -> Refused:
    """Return what ends a session that another server does not go on with."""
    return Refused(
        "core.not_restored",
        f"the server was dialled again, and does not go on with the session: {why}",
        jsonrpc=MEDIATION,
        hint="start the client again",
    )


def check_worth(connection: Connection, *, asked: bool, left: float | None) -> None:
    """Dial no server again that never answers: not the first time that it was asked, nor for long.

    Args:
        connection: On which it said nothing.
        asked: Whether it was asked something there.
        left: For how long it is still dialled (seconds); None where this is the first time.

    Raises:
        Refused: It is such a one.
    """
    if left is None and asked:
        what = "closed the connection before it answered anything"
    elif left is not None and left < 0:
        what = "takes connections and closes them again"
    else:
        return
    raise Refused(LOST, f"{connection.target} {what}", jsonrpc=MEDIATION, hint="its log says why")

"""What a session says: events for the record, completed with who, where and when, and refusals for whoever asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from hauberk.event import Event
from hauberk.exchange import Exchange, Outcome, RequestId
from hauberk.message import ToolCall, encode
from hauberk.refusals import FAILED_HOOK, INVALID_REQUEST, PARSE_ERROR, Refused
from hauberk.verdict import Allow

if TYPE_CHECKING:
    from hauberk.connection import Connection
    from hauberk.crossing import Crossing
    from hauberk.guard import Guard
    from hauberk.principal import Principal

_NOBODY: Final = ("", Allow())
"""The answer where no judge has an opinion."""
_GRAVE: Final = frozenset({"core.internal", "core.call_changed"})


class Reports:
    """The events and refusals of one connection."""

    def __init__(self, guard: Guard, connection: Connection) -> None:
        self._guard: Final = guard
        self._connection: Final = connection
        self._next_id: Final = guard.next_id
        self._now: Final = guard.now
        self._host: Final = guard.host

    def record(self, event: Event, exchange: Exchange | None = None) -> None:
        """Record an event about the connection itself, or about a request in flight."""
        if self._guard.recorder:
            self._guard.recorder.note([self.about(event, exchange, self._connection.principal)])

    def complete(self, event: Event, crossing: Crossing) -> Event:
        """Fill in who, where and when, of an event that a message caused."""
        speaker = crossing.session.speaker(crossing.way)
        return self.about(event, crossing.exchange, speaker, crossing.method)

    def allowed(self, call: ToolCall, answer: tuple[str, Any] | None) -> Event:
        """Return the event of a call that may be sent; made when it is wanted, which may be after it was sent.

        Args:
            call: The call; its exchange gets its digest.
            answer: Whose Allow or Ask lets it pass, where somebody has an opinion.
        """
        connection, exchange = self._connection, call.exchange
        principal, digest = exchange.principal, call.digest
        plugin, verdict = answer or _NOBODY
        exchange.digest = digest
        return Event(  # two for each call: by position, in the order of the fields, it takes half the time
            "core.allowed",
            self._next_id(),
            self._now(),
            "decision",
            "info",
            "allowed",
            self._host,
            connection.server,
            principal.id,
            principal.method or "",
            exchange.method,
            exchange.tool,
            f"{connection.id}.{exchange.number}",
            digest,
            {"request": call.message.size},
            verdict.rule or "",
            plugin,
            1,
            False,
            _circumstances(call) if call.round or exchange.approved or principal.groups or principal.roles else {},
        )

    def ended(self, exchange: Exchange, outcome: Outcome, size: int, details: dict[str, Any]) -> Event:
        """Return the event of how a tool call ended, given the bytes of its answer."""
        connection, principal = self._connection, exchange.principal
        return Event(  # by position, as above
            f"core.{outcome}",
            self._next_id(),
            self._now(),
            "outcome",
            "info",
            "allowed",
            self._host,
            connection.server,
            principal.id,
            principal.method or "",
            exchange.method,
            exchange.tool,
            f"{connection.id}.{exchange.number}",
            exchange.digest,
            {"request": exchange.size, "result": size},
            "",
            "",
            1,
            False,
            details,
        )

    def about(self, event: Event, exchange: Exchange | None, principal: Principal, method: str = "") -> Event:
        """Fill in who, where and when."""
        connection, tool, digest, number = self._connection, "", "", self._connection.id
        if exchange is not None:
            principal, method = exchange.principal, method or exchange.method
            tool, digest, number = exchange.tool, exchange.digest, f"{connection.id}.{exchange.number}"
        claims = principal.claims if event.category == "refusal" else {}
        return replace(
            event,
            details={**event.details, **claims} if claims else event.details,
            id=event.id or self._next_id(),
            time=event.time or self._now(),
            host=self._host,
            server=connection.server,
            principal=principal.id,
            source=principal.method or "",
            method=event.method or method,
            tool=event.tool or tool,
            exchange=number,
            digest=event.digest or digest,
        )

    def refusal(
        self, refused: Refused, id: RequestId | None, crossing: Crossing | None, *, trusted: bool
    ) -> dict[str, Any]:
        """Return the message that tells an asker no; the host learns why, a remote peer does not.

        Args:
            refused: What is said.
            id: The asker's own id; None where it cannot be known.
            crossing: The message that was refused, if there is one.
            trusted: Whether the asker is the host that the guard works for.
        """
        error = _plain(refused.error_object(trusted=trusted))
        if id is None and error["code"] != PARSE_ERROR:
            error["code"] = INVALID_REQUEST
        head = {"jsonrpc": "2.0", "id": id}
        if crossing is None or crossing.method != "tools/call" or id is None or crossing.exchange is None:
            return {**head, "error": error}
        if not crossing.policy.refuses_as_result:
            return {**head, "error": error}
        hint = error["data"].get("hint")
        text = f"{error['message']}\nhint: {hint}" if hint else error["message"]
        result: dict[str, Any] = {"content": [{"type": "text", "text": text}], "isError": True}
        if crossing.exchange.revision is not None:
            result["resultType"] = "complete"
        return {**head, "result": result}


def _circumstances(call: ToolCall) -> dict[str, Any]:
    """Return what the verdict went by, beside who calls what: whoever judges the call anew needs it."""
    details: dict[str, Any] = {"round": call.round} if call.round else {}
    if call.exchange.approved:
        details["approved"] = True
    return details | call.exchange.principal.claims


def _plain(error: dict[str, Any]) -> dict[str, Any]:
    """Return an error that can be written: a reason that a plugin gave may be anything, and the asker must be told."""
    try:
        encode(error)
    except Refused:
        return {"code": error["code"], "message": "refused", "data": {"code": "core.refused"}}
    return error


def internal(error: BaseException) -> Refused:
    """Return the refusal for an error of the core; its text stays in the log."""
    return Refused(
        "core.internal",
        f"an error in hauberk itself ({type(error).__name__})",
        jsonrpc=FAILED_HOOK,
        hint="please report it with the log; the message was not forwarded",
    )


def refusal_event(refused: Refused) -> Event:
    """Return the event of a refusal; what a plugin knows of its own is in it."""
    known = {} if refused.plugin is None or str(refused.code).startswith("core.") else refused.details
    return Event(
        code=refused.code,
        category="refusal",
        severity="critical" if refused.code in _GRAVE else "warning",
        action="blocked",
        rule=refused.rule or "",
        plugin=refused.plugin or "",
        details={**known, "reason": refused.message},
    )

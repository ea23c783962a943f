"""What each failure of a session is called, and what to do about it: one code, one text and one hint each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from hauberk.refusals import IDENTITY, Refused
from hauberk_envelope import _refusals
from hauberk_envelope._refusals import Reason

_DELIVERY: Final = "somebody dropped, doubled or held back a message, or a plugin in GATE refused one; reconnect"

REASONS: Final[Mapping[str, Reason]] = {
    "envelope.carrier": Reason(
        "{who} is reached by {detail}, over which no session is sealed",
        "reach it by tls:// or unix://, or write seal = 'off' in its [server.NAME.envelope]",
    ),
    "envelope.no_agreement": Reason(
        "{who} did not agree on a sealed session: {detail}",
        "see the log of the guard there; write seal = 'off' in [server.NAME.envelope] for one that does not seal",
    ),
    "envelope.no_keys": Reason("sessions of {who} are sealed, and we have no keys", "hauberk keys generate AGENT"),
    "envelope.no_peer": Reason(
        "nobody is known who answers for {who}: {detail}", "hauberk keys trust FILE, with the key of that agent"
    ),
    "envelope.no_session": Reason("{who} has not agreed on a session: {detail}", "let it agree first"),
    "envelope.session_over": Reason("the sealed session with {who} is over: {detail}", "reconnect"),
    "envelope.out_of_order": Reason("a message of {who} is not the next one: {detail}", _DELIVERY),
    "envelope.stale": Reason(
        "an agreement with {who} is {detail}", "compare the clocks of the two machines; somebody may be replaying"
    ),
    "envelope.wrong_server": Reason(
        "{who} asks for {detail}", "say in [server.NAME.envelope] server_name what the server is called there"
    ),
    "envelope.wrong_name": Reason(
        "{who} is {detail} to the channel", "give the agent the name that its certificate has, or another certificate"
    ),
    "envelope.unsigned": Reason(
        "{who} does not sign each message, and {detail}", "write sign = 'message' in its [envelope] too"
    ),
}
"""By their codes; those of keys and messages are in `hauberk_envelope._refusals`."""

REFUSED: Final = "envelope.refused"
"""All that a peer is ever told (`hauberk_envelope.session._link`)."""


def refused(code: str, who: str, detail: str = "", **details: Any) -> Refused:
    """Return a refusal; a remote peer learns nothing of it but that there is one.

    Args:
        code: One of `REASONS`, here or of keys and messages.
        who: Whose message or connection was refused.
        detail: What is known besides.
        details: For the event.
    """
    reason = REASONS.get(code)
    if reason is None:
        return _refusals.refused(code, who, detail, **details)
    return Refused(
        code,
        reason.text.format(who=who, detail=detail),
        plugin="envelope",
        hint=reason.hint,
        jsonrpc=IDENTITY,
        details=details,
    )

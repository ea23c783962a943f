"""What each failure of a key or a message is called, and what to do about it: one code, one text and one hint each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from hauberk.refusals import IDENTITY, Refused


class Reason(NamedTuple):
    """One way to fail."""

    text: str
    """``{who}`` is an agent, a key or a message."""
    hint: str


REASONS: Final[Mapping[str, Reason]] = {
    "envelope.untrusted": Reason(
        "{who} is not in the trust directory",
        "hauberk keys trust FILE, once the agent has told you its key id some other way",
    ),
    "envelope.key_expired": Reason("{who} has expired", "let the agent rotate (hauberk keys rotate), then trust that"),
    "envelope.key_not_yet_valid": Reason("{who} is not valid yet", "compare the clocks of the two machines"),
    "envelope.key_too_old": Reason(
        "{who} has not been rotated in time", "let the agent rotate (hauberk keys rotate), then trust the new key"
    ),
    "envelope.key_revoked": Reason("{who} was revoked", "let the agent make another one (hauberk keys generate)"),
    "envelope.not_allowed": Reason(
        "{who} may not talk to this agent",
        "name the recipient under the sender in [envelope] can_communicate_with, if it should",
    ),
    "envelope.plain": Reason("{who} is not sealed", "let the sender seal it: nothing plain is taken here"),
    "envelope.malformed": Reason("{who} is not of the form that sealed messages have", "compare the two versions"),
    "envelope.unsupported": Reason(
        "{who} is sealed in a way that is not taken here", "bring the older side up to date; no weaker way is spoken"
    ),
    "envelope.wrong_recipient": Reason("{who} is for somebody else", "see who the sender seals for"),
    "envelope.wrong_sender": Reason(
        "{who} is not from the agent on the other side", "see who else writes to this channel"
    ),
    "envelope.forged": Reason(
        "{who} was not sealed by who it names, or was changed since", "see what stands between; tell the sender"
    ),
    "envelope.too_large": Reason("{who} is too large", "send it in parts"),
}
"""By their codes; those of sessions are in ``session``."""


def refused(code: str, who: str, detail: str = "", **details: Any) -> Refused:
    """Return a refusal; a remote peer learns nothing of it but that there is one.

    Args:
        code: One of `REASONS`.
        who: What was refused; nothing from it is shown but what was checked.
        detail: What is known besides.
        details: For the event.
    """
    text, hint = REASONS[code]
    said = text.format(who=who)
    return Refused(
        code,
        f"{said}: {detail}" if detail else said,
        plugin="envelope",
        hint=hint,
        jsonrpc=IDENTITY,
        details=details,
    )

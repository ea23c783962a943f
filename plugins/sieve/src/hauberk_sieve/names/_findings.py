"""What was found in names, and what becomes of it: hidden and refused, or told of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal, NamedTuple

from hauberk.event import Event
from hauberk.message import Message
from hauberk.names import Kind
from hauberk.refusals import Refused
from hauberk.verdict import Deny
from hauberk_sieve._limits import LIMITS
from hauberk_sieve._spelling import shown
from hauberk_sieve.names._options import Names as Options

Why = Literal["spelling", "twins", "lookalikes", "shadows"]
Found = Mapping[str, "Finding"]

CODE: Final = "sieve.name"
LISTS: Final[dict[str, Kind]] = {"tools/list": "tools", "prompts/list": "prompts"}
"""The methods whose entries are called by a name, and where those stand in the result."""
USES: Final = "prompts/get"
"""The method that uses a name and is no tool call."""
_WORDS: Final[dict[Kind, str]] = {"tools": "tool", "prompts": "prompt"}
_HINTS: Final[dict[Why, str]] = {
    "spelling": "report it to the author of the server; a name that can be read may be named in full in [sieve] allow",
    "twins": "name the one that is meant in [sieve] allow, in full",
    "lookalikes": "if it is the one that is meant, name it in [sieve] allow, in full",
    "shadows": "say which server the name belongs to in [sieve.names] owners",
}


class Finding(NamedTuple):
    """What is wrong with one name."""

    why: Why
    """The option that says what becomes of it."""
    rule: str
    """What it breaks, in words."""
    settled: bool = False
    """Whether an exact allow rule of the name settles it."""

    def denies(self, options: Options) -> bool:
        """Whether the name is hidden and refused."""
        return bool(getattr(options, self.why) == "deny")


def named(message: Message) -> list[Any]:
    """Return the entries of a list that comes to the client; empty where it is no list."""
    entries = (message.result or {}).get(LISTS.get(message.method, ""))
    return entries if message.toward == "client" and isinstance(entries, list) else []


def name_of(entry: Any) -> str | None:
    """Return the name of one entry, where it has one."""
    name = entry.get("name") if isinstance(entry, dict) else None
    return name if isinstance(name, str) else None


def used(message: Message) -> str | None:
    """Return the name of the prompt that a client asks for."""
    if message.method != USES or message.kind != "request" or message.toward != "server":
        return None
    name = message.params.get("name")
    return name if isinstance(name, str) else None


def without(message: Message, hidden: Iterable[str]) -> Message | None:
    """Return a list without the entries of these names, or None where there are none."""
    gone = frozenset(hidden)
    if not gone:
        return None
    kind = LISTS[message.method]
    return message.with_result(
        {**(message.result or {}), kind: [entry for entry in named(message) if name_of(entry) not in gone]}
    )


def told(found: Found, options: Options, *, blocking: bool, uncompared: int = 0) -> Iterable[Event]:
    """Yield the events of what was found in one list: one of what is hidden, one of what is not.

    Args:
        found: What is wrong with which names.
        options: What becomes of it.
        blocking: Whether what is hidden is hidden in fact, and not only said to be.
        uncompared: How many names could not be compared with all others.
    """
    for hidden in (True, False):
        names = [name for name, finding in found.items() if finding.denies(options) is hidden]
        if names:
            details: dict[str, Any] = {
                "names": [shown(name) for name in names[: LIMITS.shown_names]],
                "rules": [found[name].rule for name in names[: LIMITS.shown_names]],
            }
            yield Event(
                code="sieve.names",
                severity="warning",
                action="blocked" if hidden and blocking else "logged",
                plugin="sieve",
                count=len(names),
                details=details | ({"uncompared": uncompared} if uncompared else {}),
            )


def denied(finding: Finding, server: str, name: str) -> Deny:
    """Return the verdict on a call of a tool whose name misleads."""
    return Deny(CODE, _reason("tools", server, name), rule=finding.rule, hint=_HINTS[finding.why])


def refused(finding: Finding, server: str, name: str) -> Refused:
    """Return the refusal of a prompt whose name misleads."""
    return Refused(CODE, _reason("prompts", server, name), rule=finding.rule, hint=_HINTS[finding.why])


def _reason(kind: Kind, server: str, name: str) -> str:
    return f"{_WORDS[kind]} '{shown(name)}' of server '{shown(server)}' has a name that misleads"

"""The table ``[sieve]``."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec

from hauberk import config
from hauberk.config import Narrow
from hauberk.principal import DOCTOR
from hauberk_sieve.access._facts import Needs
from hauberk_sieve.access._patterns import Pattern
from hauberk_sieve.access._rule import Entry, Rule, Which, read
from hauberk_sieve.access._rules import POLICY, Default, Rules
from hauberk_sieve.addresses._options import Addresses
from hauberk_sieve.asks._options import Asks
from hauberk_sieve.inner._entries import Entries
from hauberk_sieve.inner._options import Inner
from hauberk_sieve.names._options import ALERT, Names
from hauberk_sieve.probing._options import Probing
from hauberk_sieve.schemas._options import Schemas
from hauberk_sieve.storms._options import Storms
from hauberk_sieve.text._options import TextOptions
from hauberk_sieve.who._options import People

PROBED: Final = Pattern(DOCTOR.id, "denied", f"{DOCTOR.id}/denied")
"""The first deny rule of every table: what shows that the rules are live calls this tool (`hauberk.probe`)."""
PROBED_URI: Final = f"{DOCTOR.id}:denied"
_PROBED: Final = Rule(
    server=PROBED.server,
    names={"tool": PROBED.tool, "prompt": PROBED.tool, "resource": PROBED_URI},
    text=PROBED.text,
)
_READ_ONLY: Final = Rule(server="*", names={"tool": "*"}, text=POLICY, needs=Needs(annotations=("readOnlyHint",)))


class Options(config.Options, frozen=True):
    """What may be seen and called. A deny rule wins over every allow rule, and no more specific table takes it back."""

    default: Annotated[Literal["allow", "deny"] | None, Narrow.strictest("deny", "allow")] = None
    """What holds for what no rule names, whatever it is; without it what `tool_policy` says, else ``deny``."""
    tool_policy: Annotated[
        Literal["read-only", "allowlist", "denylist"] | None, Narrow.strictest("read-only", "allowlist", "denylist")
    ] = None
    """The default in one word: ``denylist`` allows; ``allowlist`` denies; ``read-only`` denies, and each tool that does
    not say ``readOnlyHint = true`` as well."""
    allow: tuple[str | Entry, ...] = ()
    """Rules, as ``"server/tool"`` or as tables; ``*`` matches any characters, ``/`` included."""
    deny: Annotated[tuple[str | Entry, ...], Narrow.UNION] = ()
    """Rules on what nobody sees or uses."""
    people: People | None = None
    """The table `[sieve.people]`."""
    inner: Annotated[dict[str, str | Inner], Narrow.UNION] = msgspec.field(default_factory=dict)
    """By the pattern of a tool that calls tools: where their names stand; a path, or a table `[sieve.inner]`."""
    probing: Probing = Probing()
    asks: Asks = Asks()
    addresses: Addresses = Addresses()
    storms: Storms = Storms()
    names: Names = Names()
    schemas: Schemas = Schemas()
    text: TextOptions = TextOptions()

    def __post_init__(self) -> None:
        allow = rules("allow", self.allow)
        rules("deny", self.deny)
        Entries(self.inner)
        if self.otherwise == "allow":
            for place, rule in enumerate(allow):
                if rule.whom is not None or rule.needs is not None:
                    raise ValueError(f"allow[{place}]: its conditions say nothing where the default allows")

    @property
    def otherwise(self) -> Default:
        """Return what holds for what no rule names: the stricter of what both options say."""
        said = {self.default, {None: None, "denylist": "allow"}.get(self.tool_policy, "deny")} - {None}
        return "allow" if said == {"allow"} else "deny"

    def rules(self) -> Rules:
        """Return the rules of this table."""
        preset = (_READ_ONLY,) if self.tool_policy == "read-only" else ()
        deny = (_PROBED, *preset, *rules("deny", self.deny))
        return Rules(self.otherwise, rules("allow", self.allow), deny)


def rules(which: Which, items: tuple[str | Entry, ...]) -> list[Rule]:
    """Read the rules of one list.

    Raises:
        ValueError: One is malformed; it is named by its place.
    """
    found = []
    for place, item in enumerate(items):
        try:
            found.append(read(which, item))
        except ValueError as error:
            raise ValueError(f"{which}[{place}]: {error}") from None
    return found


SAFE: Final = Options(
    default="allow",
    asks=Asks(sampling="alert", elicitation="alert", roots="alert"),
    addresses=Addresses(act="alert"),
    names=ALERT,
    schemas=Schemas(arguments="alert", results="alert"),
    text=TextOptions(act="alert"),
)
"""What holds without any table: nothing is refused, and what a table would refuse is told."""

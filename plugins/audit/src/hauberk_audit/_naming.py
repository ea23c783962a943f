"""Arguments that a policy names, in clear: of all others the log has a digest, and nothing else."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

from hauberk.connection import Connection
from hauberk.event import Event
from hauberk.hookspecs import hookimpl
from hauberk.layers import Layer
from hauberk.message import SecretRef, ToolCall
from hauberk_audit._options import Options
from hauberk_audit._plugin import Audit

if TYPE_CHECKING:
    from hauberk.policy import GuardView

NAMED: Final = "audit.arguments"
_MEMORY: Final = 1024
"""Tools whose names are remembered."""


class Naming(Audit):
    """A log whose policy names arguments. It judges nothing; it sees calls for what they name."""

    layers: Final = {"on_tool_call": Layer.CONTENT}  # before others refuse: it has its turn by its name

    def __init__(self, options: Options, guard: GuardView) -> None:
        """Take the names, beside all else."""
        super().__init__(options, guard)
        self._names = functools.lru_cache(_MEMORY)(functools.partial(names_of, options.arguments))

    @hookimpl
    def on_tool_call(self, call: ToolCall, connection: Connection) -> None:
        """Leave what the policy names for the record."""
        names = self._names(f"{connection.server}/{call.name}")
        if not names or call.dry:
            return
        there = {name: call.arguments[name] for name in names if name in call.arguments}
        shown = {name: value for name, value in there.items() if not isinstance(value, SecretRef)}
        if shown:
            call.note(Event(code=NAMED, category="decision", details=shown))


def names_of(patterns: Mapping[str, Sequence[str]], tool: str) -> tuple[str, ...]:
    """Return the names of the arguments that are recorded of a tool, given as ``server/tool``."""
    found = [
        name for pattern, names in patterns.items() if fnmatchcase(tool, pattern.replace("[", "[[]")) for name in names
    ]
    return tuple(dict.fromkeys(found))

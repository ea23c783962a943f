"""The table ``[sieve.inner]``: one entry for each meta-tool, by the pattern of its name."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from hauberk_sieve._limits import LIMITS
from hauberk_sieve.inner import _path


class Inner(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where a meta-tool's calls stand in its arguments, and where it lists tools in its results."""

    name: str = ""
    """Where the name of the inner tool stands in the arguments: `tool`, or `commands[].tool` for several calls."""
    server: str = ""
    """Where the name of the inner tool's server stands; without it, it is the server of the meta-tool."""
    id: str = ""
    """Where a call's own id stands, beside its name; no two calls have one."""
    after: str = ""
    """Where the ids stand of the calls that a call waits for, beside its name: a string, or an array of strings."""
    most: Annotated[int, Meta(ge=1, le=LIMITS.inner_calls)] = 10
    """Calls in one call (S1.6)."""
    results: str = ""
    """Where names of tools stand in the results: `tools[].name`; those that may not be called are left out."""

    def calls(self) -> _path.Calls | None:
        """Return where the calls stand.

        Raises:
            ValueError: A path is malformed, or does not stand beside the name.
        """
        if not (self.name or self.results):
            raise ValueError("says neither name nor results: nothing would be judged")
        if self.after and not self.id:
            raise ValueError("after needs id: nobody knows what a call waits for")
        if not self.name:
            if beside := next((key for key in ("server", "id", "after") if getattr(self, key)), None):
                raise ValueError(f"{beside} needs name: it stands beside the name of a tool")
            return None
        return _path.Calls.of(self.name, {"server": self.server, "id": self.id, "after": self.after})

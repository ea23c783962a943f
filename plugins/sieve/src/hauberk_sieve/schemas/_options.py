"""The table ``[sieve.schemas]``."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from hauberk.config import Narrow

Effect = Literal["deny", "alert", "off"]
_STRICT = Narrow.strictest("deny", "alert", "off")


class Schemas(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Whether arguments and results have to be what the tool's own schemas say."""

    arguments: Annotated[Effect, _STRICT] = "deny"
    """What becomes of a call whose arguments the tool's ``inputSchema`` does not allow, or cannot be checked with."""
    results: Annotated[Effect, _STRICT] = "deny"
    """What becomes of a result that the tool's ``outputSchema`` does not allow, or cannot be checked with."""
    require: Annotated[bool, Narrow.OR] = False
    """Whether a call is refused where no list on this connection showed the tool's schema."""

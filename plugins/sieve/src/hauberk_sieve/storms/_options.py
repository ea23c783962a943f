"""The table ``[sieve.storms]``."""

from __future__ import annotations

from typing import Annotated

import msgspec

from hauberk.config import Narrow


class Storms(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How much news, and how long a list, one connection may have."""

    every: Annotated[float, msgspec.Meta(ge=0), Narrow.MAX] = 1.0
    """How far apart two words are that one list, or one resource, has changed (seconds); 0 lets all pass."""
    pages: Annotated[int, msgspec.Meta(ge=1), Narrow.MIN] = 1000
    """Pages of one list."""

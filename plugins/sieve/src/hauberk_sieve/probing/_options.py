"""The table ``[sieve.probing]``."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from hauberk.config import Narrow


class Probing(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """When somebody who is refused again and again is taken for somebody who looks for a way round."""

    refusals: Annotated[int, Meta(ge=1, le=1000), Narrow.MIN] = 10
    """So many refusals of one principal at one server raise the event `sieve.probing` (refusals)."""
    window: Annotated[float, Meta(gt=0), Narrow.MAX] = 60.0
    """Within so long; and for so long the event is not raised again (seconds)."""

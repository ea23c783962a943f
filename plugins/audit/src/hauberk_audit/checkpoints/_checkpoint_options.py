"""``[audit.checkpoints]``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Final

import msgspec

from hauberk.config import Narrow

_SINK: Final = re.compile(r"[a-z][a-z0-9+.-]*:\S+")
_NAME: Final = re.compile(r"[^\s+]*")


class Checkpoints(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``[audit.checkpoints]``: nothing is made where nobody gets it."""

    sinks: tuple[str, ...] = ()
    """Who gets them, in this order: ``file:/path``, ``https://host/path``, or what a package brings."""
    key_file: Path | None = None
    """The key that signs them; without it, ``checkpoint.key`` in the state directory."""
    origin: str = ""
    """What names the log in them; without it, ``hauberk/<machine>/<host>/<file name of the log>``."""
    interval: Annotated[float, msgspec.Meta(gt=0)] = 60.0
    """Seconds between two of them, if anything was written."""
    max_age: Annotated[float, msgspec.Meta(gt=0)] = 600.0
    """Seconds for which what was written may be in none that a sink took; then that is an event, ``critical``."""
    required: Annotated[bool, Narrow.OR] = False
    """Whether nothing passes, where the log is required, while that is so."""
    tokens: dict[str, Path] = {}
    """Files with a token each, by the name of the host that is sent it (``Authorization: Bearer``)."""
    ca_file: Path | None = None
    """Certificates of authorities (PEM) that are trusted instead of those of the system."""

    def __post_init__(self) -> None:
        for sink in self.sinks:
            if not _SINK.fullmatch(sink):
                raise ValueError(f"checkpoints.sinks: {sink!r} is no URL, such as 'file:/path' or 'https://host/path'")
            if sink.startswith("http:"):
                raise ValueError("checkpoints.sinks: http is not encrypted; write https")
        if not _NAME.fullmatch(self.origin):
            raise ValueError("checkpoints.origin: it has neither blanks nor '+'")
        if (self.required or self.origin) and not self.sinks:
            raise ValueError("checkpoints.sinks: nobody gets a checkpoint; name a sink")

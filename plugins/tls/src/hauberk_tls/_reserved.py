"""Names that hauberk gives away itself: no certificate makes anybody one of them."""

from __future__ import annotations

from typing import Final

from hauberk.principal import ANONYMOUS, DOCTOR

_NAMES: Final = frozenset((ANONYMOUS.id.lower(), DOCTOR.id.lower()))
_SCHEMES: Final = ("host:", "uid:")
"""The host itself; who connects by a Unix socket, as the kernel says."""


def is_reserved(name: str) -> bool:
    """Whether a name is one of these, in whatever letters: rules are read by people too."""
    plain = name.lower()
    return plain in _NAMES or plain.startswith(_SCHEMES)

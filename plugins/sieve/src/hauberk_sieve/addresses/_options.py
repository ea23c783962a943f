"""The table ``[sieve.addresses]``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec

from hauberk.config import Narrow
from hauberk_sieve.addresses._policy import Policy
from hauberk_sieve.addresses._url import Unreadable, origin

_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.\-]*")


class Addresses(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where links may lead."""

    act: Annotated[Literal["deny", "redact", "alert"], Narrow.strictest("deny", "redact", "alert")] = "redact"
    """What becomes of an answer with a link that leads where it may not; a request is refused unless it is alert."""
    deny_schemes: Annotated[tuple[str, ...], Narrow.UNION] = ()
    """Schemes that are refused besides the built-in ones."""
    origins: tuple[str, ...] = ()
    """Origins that may be led to, wherever they are: ``"http://localhost:3000"``."""
    files: tuple[Path, ...] = ()
    """Folders into which links to files may lead."""
    resolve: Annotated[bool, Narrow.OR] = False
    """Whether the names of hosts are looked up when they are used."""
    resolve_seconds: Annotated[float, msgspec.Meta(gt=0), Narrow.MIN] = 1.0
    """How long all look-ups for one message may take (seconds)."""

    def __post_init__(self) -> None:
        origins("origins", self.origins)
        for scheme in self.deny_schemes:
            if _SCHEME.fullmatch(scheme) is None:
                raise ValueError(f"deny_schemes: {scheme!r} is no scheme in lower case, without its colon")

    @property
    def origins_with_ports(self) -> tuple[str, ...]:
        """Return ``origins``, each with its port."""
        return origins("origins", self.origins)

    def policy(self, *more: str) -> Policy:
        """Return the policy; ``more`` are further origins that may be led to."""
        return Policy(deny=self.deny_schemes, origins=(*self.origins_with_ports, *more), files=self.files)


def origins(key: str, texts: tuple[str, ...]) -> tuple[str, ...]:
    """Return origins with their ports.

    Raises:
        ValueError: One is none; it is named by its place.
    """
    found = []
    for place, text in enumerate(texts):
        try:
            found.append(origin(text))
        except Unreadable as error:
            raise ValueError(f"{key}[{place}]: {text!r} is no origin: {error}") from None
        except ValueError as error:
            raise ValueError(f"{key}[{place}]: {text!r}: {error}") from None
    return tuple(found)


def is_patient(options: Any) -> bool:
    """Whether something has to be looked up."""
    found: bool = options.addresses.resolve
    return found

"""The two faces of a hostile server, the eras of the protocol that it speaks, and which of them an attack fits."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, Concatenate, Final, Literal, ParamSpec, Protocol, TypeVar

Face = Literal["objects", "bytes"]
"""``objects`` are the messages of the SDK's streams, ``bytes`` are what goes through a pipe."""
BOTH: Final[frozenset[Face]] = frozenset({"objects", "bytes"})
Era = Literal["2025-11-25", "2026-07-28"]
"""``2025-11-25`` begins with a handshake (``initialize``), ``2026-07-28`` has none: each request says its revision."""
HANDSHAKE: Final[Era] = "2025-11-25"
STATELESS: Final[Era] = "2026-07-28"
ERAS: Final[frozenset[Era]] = frozenset({HANDSHAKE, STATELESS})
REVISION: Final = "io.modelcontextprotocol/protocolVersion"
"""Where in ``_meta`` a request says its revision."""


class DoesNotFit(ValueError):
    """An attack was asked of a face that cannot carry it."""


class Faced(Protocol):
    """What has attacks."""

    @property
    def face(self) -> Face | None:
        """Return the face that it has, if it has one."""

    @property
    def armed(self) -> list[tuple[str, dict[str, Any]]]:
        """Return the attacks that were asked for, with their arguments."""


S = TypeVar("S", bound=Faced)
P = ParamSpec("P")


def attack(
    *faces: Face, eras: frozenset[Era] = ERAS
) -> Callable[[Callable[Concatenate[S, P], None]], Callable[Concatenate[S, P], None]]:
    """Mark a method as an attack that fits these faces, or both, and exists in these eras.

    Args:
        faces: The faces; without any, both.
        eras: The eras in which it does what it says; in another one the server stays honest.
    """
    fits = frozenset(faces) or BOTH

    def mark(method: Callable[Concatenate[S, P], None]) -> Callable[Concatenate[S, P], None]:
        name = method.__name__

        @functools.wraps(method)
        def asked(self: S, /, *args: P.args, **kwargs: P.kwargs) -> None:
            check(name, fits, self.face)
            names = method.__code__.co_varnames[1:]
            self.armed.append((name, {**dict(zip(names, args, strict=False)), **kwargs}))
            method(self, *args, **kwargs)

        asked.__dict__["faces"] = fits
        asked.__dict__["eras"] = eras
        return asked

    return mark


def check(name: str, fits: frozenset[Face], face: Face | None) -> None:
    """Check that an attack fits the face that a server has, if it has one already.

    Raises:
        DoesNotFit: It does not.
    """
    if face is not None and face not in fits:
        raise DoesNotFit(f"attack {name!r} fits {', '.join(sorted(fits))}, and this server speaks {face}")


def era_of(message: Mapping[str, Any]) -> Era:
    """Return the era of a request.

    >>> era_of({"method": "initialize"})
    '2025-11-25'
    >>> era_of({"method": "tools/list", "params": {"_meta": {REVISION: "2026-07-28"}}})
    '2026-07-28'
    """
    meta = (message.get("params") or {}).get("_meta") or {}
    return STATELESS if meta.get(REVISION) == STATELESS or message["method"] == "server/discover" else HANDSHAKE

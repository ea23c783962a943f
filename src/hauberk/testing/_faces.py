"""The two faces of a hostile server, and which of them an attack fits."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Concatenate, Final, Literal, ParamSpec, Protocol, TypeVar

Face = Literal["objects", "bytes"]
"""``objects`` are the messages of the SDK's streams, ``bytes`` are what goes through a pipe."""
BOTH: Final[frozenset[Face]] = frozenset({"objects", "bytes"})


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


def attack(*faces: Face) -> Callable[[Callable[Concatenate[S, P], None]], Callable[Concatenate[S, P], None]]:
    """Mark a method as an attack that fits these faces, or both."""
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
        return asked

    return mark


def check(name: str, fits: frozenset[Face], face: Face | None) -> None:
    """Check that an attack fits the face that a server has, if it has one already.

    Raises:
        DoesNotFit: It does not.
    """
    if face is not None and face not in fits:
        raise DoesNotFit(f"attack {name!r} fits {', '.join(sorted(fits))}, and this server speaks {face}")

"""What an error of the HTTP client's libraries stands for."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

import anyio
import httpcore2


def cause(error: Exception) -> Exception:
    """Return what a library's error stands for."""
    for one in _chain(error):
        if isinstance(one, ssl.SSLError):
            return one
    for one in _chain(error):
        if isinstance(one, httpcore2.ConnectTimeout | TimeoutError):
            return TimeoutError()
        if isinstance(one, anyio.EndOfStream):
            return EOFError()
    return ConnectionError(type(error).__name__)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen = 0
    while error is not None and seen < 16:  # noqa: PLR2004 - no chain is that long
        yield error
        error, seen = error.__cause__ or error.__context__, seen + 1

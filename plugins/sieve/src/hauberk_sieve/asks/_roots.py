"""The roots that a server gets to see.

The rules:

1. With ``roots_under``, a root is shown if it is a ``file`` URI on this machine whose path is one of the folders or
   below one, as it is written: no link in a file system is followed.
2. Where a server may not learn the roots, it gets none, should an answer be on its way all the same.
"""

from __future__ import annotations

from typing import Any, Final

from hauberk_sieve.addresses._policy import file_path, parts, under
from hauberk_sieve.addresses._url import Unreadable, scheme_of
from hauberk_sieve.asks._options import Asks


class Roots:
    """The rules of one table."""

    def __init__(self, asks: Asks) -> None:
        self._denied: Final = asks.roots == "deny"
        self._folders: Final = tuple(map(parts, asks.roots_under))

    def shown(self, roots: list[Any]) -> list[Any]:
        """Return the roots that may be shown: the very objects."""
        if self._denied:
            return []
        return [root for root in roots if self._is_inside(root)] if self._folders else roots

    def _is_inside(self, root: Any) -> bool:
        uri = root.get("uri") if type(root) is dict else None
        try:
            return type(uri) is str and scheme_of(uri) == "file" and under(file_path(uri), self._folders)
        except Unreadable:
            return False

"""How far a client has walked through the pages of one list, and whether it is led in a circle.

The rules:

1. A request without a cursor begins a walk, with page 1; what was known of an earlier walk is forgotten. A request
   with a cursor asks for the page of the answer in which the cursor stood, plus one.
2. A cursor that stands in an answer is of the next page. If it was that of this page or an earlier one before, the walk
   goes in a circle.
3. Two walks at once meet the same cursors on the same pages, so neither takes the other for a circle.
4. A cursor that is not known is of page 2: the client has it from elsewhere.
"""

from __future__ import annotations

from typing import Final


class Walk:
    """One list of one connection."""

    __slots__ = ("_pages",)

    def __init__(self) -> None:
        self._pages: Final[dict[int, int]] = {}

    def asked(self, cursor: str | None) -> int:
        """Return the page that a request asks for."""
        if cursor is None:
            self._pages.clear()
            return 1
        return self._pages.get(hash(cursor), 2)

    def answered(self, page: int, cursor: str, most: int) -> str | None:
        """Take the cursor in an answer; return the rule that it breaks, or None.

        Args:
            page: Of the answer.
            cursor: What stands in it.
            most: Pages of a list.
        """
        if page >= most:
            return f"pages = {most}"
        key = hash(cursor)
        if self._pages.get(key, page + 1) <= page:
            return "no cursor comes twice"
        if len(self._pages) >= 2 * most:
            del self._pages[next(iter(self._pages))]
        self._pages[key] = page + 1
        return None

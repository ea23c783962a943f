"""What becomes of an item: the tree of decisions.

1. Its hash is the pinned one: it is shown, and may be used.
2. It is not pinned: with ``auto_trust_first`` the first sight of it is its pin, with an event. Else it is hidden, and
   refused.
3. It is pinned with another hash: with ``on_change = "block"`` it is hidden, and refused, until somebody trusts it.
   ``"alert"`` lets it pass with a warning, ``"allow"`` with a note. The pin stays what it was: the second look at a
   changed item is a change as well.
4. A server of which nothing is pinned may be started: whatever it shows is hidden. One of which anything is pinned is
   reached as it was pinned, by the same rules: another executable, command line or URL is refused before it is started.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from hauberk_pins import _items as items
from hauberk_pins._items import TWINS, Key, Shown

OnChange = Literal["block", "alert", "allow"]
Standing = Literal["pinned", "unpinned", "changed"]
UNPINNED: Final = "pins.unpinned"
CHANGED: Final = "pins.changed"
EXECUTABLE: Final = "pins.executable"


class Stance(msgspec.Struct, frozen=True):
    """What is to be done, as the options say it."""

    auto_trust_first: bool
    on_change: OnChange

    @property
    def lenient(self) -> bool:
        """Whether nothing is ever refused."""
        return self.auto_trust_first and self.on_change != "block"


def standing(key: Key, digest: str, pins: Shown) -> Standing:
    """Return how an item of this hash stands to the pins."""
    pin = pins.get(key)
    if pin is None:
        twin = pins.get(TWINS[key]) if key in TWINS else None
        if twin is None:
            return "unpinned"
        pin = twin
    return "pinned" if pin.hash == digest else "changed"


def may_pass(found: Standing, stance: Stance) -> bool:
    """Whether an item that stands so is shown, and may be used."""
    if found == "pinned":
        return True
    if found == "unpinned":
        return stance.auto_trust_first
    return stance.on_change != "block"


def code(found: Standing, key: Key) -> str:
    """Return the code of an item that stands so."""
    if found == "unpinned":
        return UNPINNED
    return EXECUTABLE if key == items.EXECUTABLE else CHANGED

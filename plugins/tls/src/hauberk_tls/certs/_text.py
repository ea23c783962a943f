"""Texts from files, as they may stand in an error or on a terminal."""

from __future__ import annotations

from hauberk_tls.certs._limits import LIMITS


def shown(text: object, most: int = LIMITS.shown_chars) -> str:
    """Return a text of bounded length in which every character can be seen."""
    given = str(text)
    cut = given if len(given) <= most else f"{given[: most - 1]}…"
    return cut if cut.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in cut)

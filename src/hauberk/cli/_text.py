"""Text of others on a terminal."""

from __future__ import annotations


def printable(text: str) -> str:
    """Return text as a terminal may get it: what moves its cursor, or cannot be seen, as an escape."""
    return "".join(char if char.isprintable() else f"\\u{{{ord(char):x}}}" for char in text)

"""The index of the decisions: number and title of each, as its page says."""

from __future__ import annotations

from contrib.docs.pages import DOCS, NOTE

_HEAD = f"""{NOTE}# Decisions

Why hauberk is as it is: what had to be decided, what was chosen, and what follows from it. The first page says what the
project is for, and what not.

"""
_TREE = """
```{toctree}
:hidden:
:glob:

adr/*
```
"""


def page() -> str:
    """Return the page."""
    titles = {path: path.read_text(encoding="utf-8").splitlines()[0] for path in sorted(DOCS.glob("adr/*.md"))}
    lines = [f"- [{title.removeprefix('# ')}](adr/{path.name})\n" for path, title in titles.items()]
    return _HEAD + "".join(lines) + _TREE

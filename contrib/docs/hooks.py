"""The hook reference, from the docstrings of `hauberk.hookspecs`."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any, Final

from contrib.docs.pages import NOTE, plain

from hauberk import hookspecs

_TITLES: Final = ("Args", "Returns", "Raises", "When", "Failure")
_INDENT: Final = 4


def specs() -> list[Callable[..., Any]]:
    """Return the hooks in the order in which they stand."""
    return [
        value
        for value in vars(hookspecs).values()
        if inspect.isfunction(value) and hasattr(value, f"{hookspecs.PROJECT}_spec")
    ]


def page() -> str:
    """Return the page."""
    first, *rest = plain(inspect.getdoc(hookspecs) or "").split("\n\n")
    head = [f"{NOTE}# The hooks", first.removesuffix("."), *rest]
    head[1] += "."
    return "\n\n".join([*head, *(part for spec in specs() for part in _hook(spec))]) + "\n"


def heading(spec: Callable[..., Any]) -> str:
    """Return the hook as a plugin writes it: name and arguments."""
    return f"`{spec.__name__}({', '.join(inspect.signature(spec).parameters)})`"


def _hook(spec: Callable[..., Any]) -> Iterator[str]:
    yield f"## {heading(spec)}"
    yield f"```python\n{_signature(spec)}\n```"
    for part in plain(inspect.getdoc(spec) or "").split("\n\n"):
        title, _, body = part.partition(":\n")
        yield _section(title, inspect.cleandoc(body)) if title in _TITLES else part


def _signature(spec: Callable[..., Any]) -> str:
    source = inspect.getsource(spec)
    return source[source.index("def ") :].partition('"""')[0].strip().removesuffix(":")


def _section(title: str, body: str) -> str:
    if title in {"Args", "Raises"}:
        body = re.sub(r"(?m)^(\w+): ", r"- `\1`: ", body)
        return f"**{title}**\n\n{body.replace(chr(10) + ' ' * _INDENT, chr(10) + '  ')}"
    return f"**{title}**: {body}"

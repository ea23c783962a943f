"""The text of a first ``hauberk.toml``: commented, sound as it stands, with the servers that a client starts.

The rules:

1. It is one that a host starts with, and the plugins that are installed stand in it with a rule that refuses nothing.
2. Of a server its command and arguments are copied, and the names in its ``env``; no value of it.
3. A command line in which something looks like a secret is not copied, and one that only its client understands
   neither (``${…}``, a path that starts somewhere else). The server has its table all the same.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator
from typing import Final, NamedTuple

from hauberk._options import quoted
from hauberk._servers import shown_args

SCHEMA_NAME: Final = "hauberk.schema.json"
_HEAD: Final = f"""\
#:schema ./{SCHEMA_NAME}
# What hauberk does between your client and its servers.
#   hauberk config check              is this file sound?
#   hauberk config show               what is in force?
#   hauberk config schema > {SCHEMA_NAME}   beside this file: editors then complete its keys

# "production" is stricter: exactly the plugins in require run, and what no rule allows is refused.
profile = "development"
"""
_SIEVE: Final = """
# Which tools a model may see and call. A pattern is "server/tool", and `*` is any characters.
[sieve]
# What holds for a tool that no pattern names. With "deny" only what allow lists is left.
default = "allow"
# allow = ["NAME/read_*", "NAME/list_*"]
# What nobody sees or calls; deny wins over allow.
deny = []
# deny = ["*/delete_*", "*/execute_*"]
"""
_AUDIT: Final = """
# A tamper-evident log of every decision, in the state directory; `hauberk audit verify` proves it.
[audit]
# Whether what cannot be recorded does not pass.
# required = true
"""
_RULES: Final = """
# What holds for one server alone stands under its name:
# [server.NAME.sieve]
# deny = ["NAME/write_*"]
"""


class Start(NamedTuple):
    """How a client starts a server."""

    name: str
    words: tuple[str, ...] = ()
    """Command and arguments; none of a server that is reached by a URL."""
    env: tuple[str, ...] = ()
    """Names."""


def text(starts: Iterable[tuple[str, Start]], installed: Collection[str]) -> str:
    """Return the text; each server comes with the file that it was found in, and the first of a name stands."""
    found: dict[str, tuple[str, Start]] = {}
    for origin, start in starts:
        found.setdefault(start.name, (origin, start))
    name = next(iter(found), "files")
    require = [word for word in ("audit", "sieve") if word in installed]
    parts = [_HEAD, f"\n[plugins]\n# Without one of these nothing starts.\nrequire = {_value(require)}\n"]
    parts += [
        _SIEVE.replace("NAME", _inside(name)) if "sieve" in installed else _missing("sieve", "allow and deny lists")
    ]
    parts += [_AUDIT if "audit" in installed else _missing("audit", "a tamper-evident log")]
    before = ""
    for origin, start in found.values():
        if origin != before:
            parts.append(f"\n# The servers in {_shown(origin)}. `hauberk run` with the name of one starts it.")
            before = origin
        parts.append("\n".join(["", *_server(start), ""]))
    if "sieve" in installed and quoted(name) == name:
        parts.append(_RULES.replace("NAME", name))
    return "".join(parts)


def _missing(word: str, what: str) -> str:
    return f"\n# For {what}: pip install hauberk-{word}\n"


def _server(start: Start) -> Iterator[str]:
    yield f"[server.{quoted(start.name)}]"
    if not start.words:
        yield "# reached by a URL, which `hauberk wrap` does not guard yet"
        return
    if fault := _fault(start.words):
        yield f"# {fault}"
    else:
        yield f"command = {_value(start.words[0])}"
        yield f"args = {_value(list(start.words[1:]))}"
    if names := [f"{quoted(name)} = true" for name in start.env if name.isprintable() and name and "=" not in name]:
        yield f"env = {{ {', '.join(names)} }}  # passed on by name"


def _fault(words: tuple[str, ...]) -> str | None:
    """Return why a command line is not copied, or None."""
    if list(words) != shown_args(words):
        return "its command line is not copied: something in it looks like a secret"
    command = words[0]
    relative = "/" in command and not command.startswith("/")
    if relative or any("${" in word or not _is_text(word) for word in words):
        return "its command line is not copied: only its client knows where that starts"
    return None


def _is_text(word: str) -> bool:
    return word.isprintable() or all(char.isprintable() or char in "\t\n" for char in word)


def _value(value: str | list[str]) -> str:
    return json.dumps(value, ensure_ascii=False)


def _inside(name: str) -> str:
    """Return a name as it stands inside a quoted string."""
    return json.dumps(name, ensure_ascii=False)[1:-1]


def _shown(where: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in where)

"""The entries of a client's configuration: where its servers stand, how each is started, and what rules call it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator
from pathlib import PurePath
from typing import Final, Literal, NamedTuple

from hauberk import _spans
from hauberk._document import is_name
from hauberk._spans import Member, Node, Tree
from hauberk.refusals import ConfigError

State = Literal["wrapped", "unwrapped", "guarded", "unguarded", "url", "unknown"]
"""``guarded`` goes through hauberk and stays, ``unguarded`` does not and stays, ``unknown`` is not understood."""

TABLES: Final = (
    ("mcpServers",),
    ("servers",),
    ("context_servers",),
    ("mcp", "servers"),
    ("mcp.servers",),
    ("amp.mcpServers",),
    ("projects", "*", "mcpServers"),
)
"""Where clients keep servers: most of them, VS Code, Zed, VS Code's older settings, Amp, Claude Code by project."""

RUN: Final = "run"
SEPARATOR: Final = "--"
_PYTHON: Final = r"(?:python[0-9.]*|py)(?:\.exe)?"
_FLAGS: Final = r"-[bBdEIOPqsSuv]+"
"""Options of Python after which ``-m`` is what runs: not ``-c``, and not ``-`` for standard input."""
_DISTRIBUTION: Final = r"hauberk(?:\[[a-z,-]*\])?(?:[=<>~!]=?[0-9.,<>=~!]*)?"
_REMOTE_TYPES: Final = {"http", "sse", "ws", "websocket", "streamable-http", "streamablehttp", "streamable_http"}
REMOTE_KEYS: Final = ("url", "serverUrl", "httpUrl")
_HIDDEN: Final = "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
_NAME_CHARS: Final = 128


class Server(NamedTuple):
    """What became of one entry. It holds names and nothing that could be a secret."""

    table: tuple[str, ...]
    """The keys of the table in which it stands."""
    key: str
    name: str
    """What rules and events call it."""
    state: State
    notes: tuple[str, ...] = ()


class Entry(NamedTuple):
    """One entry of a table of servers."""

    table: tuple[str, ...]
    key: str
    value: Node

    @property
    def command(self) -> Node | None:
        """The command, if it is a string."""
        found = self.value.get("command")
        return found if found is not None and found.text is not None else None

    @property
    def args(self) -> Node | None:
        """The value of ``args``, whatever it is."""
        return self.value.get("args")

    @property
    def words(self) -> list[str]:
        """Command and arguments."""
        texts = [self.command.text if self.command else None, *(item.text for item in items_of(self.args))]
        return [text for text in texts if text is not None]

    @property
    def env(self) -> list[str]:
        """The names in ``env``."""
        return [member.key for member in _members(self.value.get("env"))]


def _tables(root: Node) -> Iterator[tuple[tuple[str, ...], Node]]:
    """Give each table of servers, with its path."""
    for path in TABLES:
        yield from _below(root, path, ())


def is_guarded(words: list[str]) -> bool:
    """Whether a command line starts ``hauberk run``."""
    if not words:
        return False
    program, rest = PurePath(words[0].replace("\\", "/")).name.lower(), words[1:]
    if program in {"hauberk", "hauberk.exe"}:
        return rest[:1] == [RUN]
    if program in {"uvx", "uvx.exe"}:
        at = 2 if rest[:1] == ["--from"] and re.fullmatch(_DISTRIBUTION, "".join(rest[1:2])) else 0
    elif re.fullmatch(_PYTHON, program) and "-m" in rest:
        at = rest.index("-m") + 1
        if not all(re.fullmatch(_FLAGS, word) for word in rest[: at - 1]):
            return False
    else:
        return False
    return rest[at : at + 2] == ["hauberk", RUN]


def read(text: str, name: str, only: Collection[str] = ()) -> tuple[Tree, list[Entry]]:
    """Return a client's configuration and all its entries; each key in ``only`` is one of theirs.

    Raises:
        ConfigError: The text is no JSON, has no table of servers, or none of the keys in ``only``.
    """
    tree = _spans.parse(text, name)
    entries = entries_in(tree)
    if entries is None:
        raise ConfigError(
            f"{name}: there is no table of MCP servers",
            hint=f"looked for: {', '.join('.'.join(path) for path in TABLES)}",
        )
    there = [entry.key for entry in entries]
    for key in only:
        if key not in there:
            raise ConfigError(
                f"{name}: there is no server {key!r}", hint=f"its servers: {', '.join(map(repr, there)) or 'none'}"
            )
    return tree, entries


def entries_in(tree: Tree) -> list[Entry] | None:
    """Return the entries of all tables of servers, or None if there is no such table."""
    found = list(_tables(tree.root))
    if not found:
        return None
    return [Entry(path, member.key, member.value) for path, table in found for member in table.members or ()]


def _below(node: Node, path: tuple[str, ...], seen: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Node]]:
    if not path:
        if node.members is not None:
            yield seen, node
        return
    for member in node.members or ():
        if path[0] in {"*", member.key}:
            yield from _below(member.value, path[1:], (*seen, member.key))


def judged(entry: Entry, name: str) -> Server:
    """Return how an entry stands before anything is done."""
    server = Server(entry.table, entry.key, name, "unguarded")
    kind = entry.value.get("type")
    remote = any(entry.value.get(key) is not None for key in REMOTE_KEYS)
    if (kind is not None and (kind.text or "").lower() in _REMOTE_TYPES) or (remote and entry.command is None):
        return server._replace(state="url", notes=("not guarded: hauberk does not dial URLs from wrap yet",))
    if fault := _fault(entry):
        return server._replace(state="unknown", notes=(f"not guarded: {fault}",))
    if is_guarded(entry.words):
        return server._replace(state="guarded", notes=(f"goes through {entry.words[0]!r}",))
    return server


def _fault(entry: Entry) -> str | None:
    """Return why an entry is not one that starts a command, or None."""
    if entry.value.members is None:
        return "it is no object"
    if entry.command is None or not entry.command.text:
        return "its command is no string" if entry.value.get("command") else "it has no command"
    args, env = entry.args, entry.value.get("env")
    if args is not None and (args.items is None or any(item.text is None for item in args.items)):
        return "its args are no array of strings"
    if env is not None and env.members is None and not env.null:
        return "its env is no object"
    return None


def items_of(node: Node | None) -> tuple[Node, ...]:
    """Return the items of an array; of anything else there are none."""
    return (node.items if node is not None else None) or ()


def _members(node: Node | None) -> tuple[Member, ...]:
    return (node.members if node is not None else None) or ()


# --- names ---


def names_of(entries: Iterable[Entry]) -> dict[Entry, str]:
    """Return the name of each entry: its key where that can be one, and no two keys have the same."""
    entries = list(entries)
    own = {entry: name for entry in entries if (name := _named_by(entry))}
    plain = {entry.key for entry in entries if server_name(entry.key) == entry.key}
    given: dict[str, str] = {}
    for entry in entries:
        if entry.key not in given:
            used = {*plain, *own.values(), *given.values()}
            given[entry.key] = entry.key if entry.key in plain else _free(server_name(entry.key), used)
    return {entry: own.get(entry, given[entry.key]) for entry in entries}


def server_name(key: str) -> str:
    """Return a key as the name of a server that a pattern can tell: what cannot stand in one is a hyphen."""
    shown = re.sub(_HIDDEN, "", unicodedata.normalize("NFC", key))
    name = "".join(char if char.isprintable() and char not in "/*?[]" else "-" for char in shown)
    name = name.lstrip("- ")[:_NAME_CHARS].strip()
    return name if is_name(name) else "server"


def _free(name: str, used: Collection[str]) -> str:
    number, free = 1, name
    while free in used:
        number += 1
        free = f"{name[: _NAME_CHARS - 8]}-{number}"
    return free


def _named_by(entry: Entry) -> str | None:
    """Return the name that an entry which goes through hauberk gives, or None."""
    words = entry.words
    if not is_guarded(words) or SEPARATOR not in words:
        return None
    before = words[: words.index(SEPARATOR)]
    for word, value in zip(before, [*before[1:], ""], strict=True):
        if word == "--server":
            return value
        if word.startswith("--server="):
            return word.partition("=")[2]
    return None

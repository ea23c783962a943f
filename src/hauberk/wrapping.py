"""A client's configuration, rewritten so that each of its servers is started by ``hauberk run``: text in, text out.

The rules:

1. Only the value of ``command`` and the first items of ``args`` change. Everything else keeps its bytes: order,
   indentation, comments, line ends. ``env`` stays where it is: the client sets it for hauberk, which passes on, by
   name, what stands there. No value of it is ever copied.
2. The command comes after ``--`` as it was written, its arguments stay where they are. So the way back needs nothing
   but the file: what stands before them is taken out.
3. An entry without ``args`` gets one, and ``--server=NAME`` in place of ``--server NAME`` says so to the way back.
4. An entry that goes through hauberk already is left alone, whichever program it names. Through hauberk goes what
   starts a program of that name, by its path, by ``python -m`` or by ``uvx``; to have the word among the arguments is
   not enough. An option that was asked for and is not in it is named, for it does not hold there.
5. A variable of ``env`` that changes what Python imports would change hauberk too. Such an entry starts the interpreter
   with ``-E -P``, which looks at none of them.
6. A rewritten text is unwrapped again before it is returned: anything but the bytes that came is an error.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Collection, Iterable
from typing import Final, NamedTuple

from hauberk import _spans
from hauberk._entries import (
    REMOTE_KEYS,
    RUN,
    SEPARATOR,
    Entry,
    Server,
    entries_in,
    is_guarded,
    items_of,
    judged,
    names_of,
    read,
)
from hauberk._spans import Edit, Node, Tree
from hauberk.refusals import HauberkError

_IMPORTS: Final = {
    *("PYTHONPATH", "PYTHONHOME", "PYTHONUSERBASE", "PYTHONPLATLIBDIR", "PYTHONINSPECT", "PYTHONPYCACHEPREFIX"),
    *("PYTHONCASEOK", "PYTHONEXECUTABLE", "PYTHONWARNINGS", "PYTHON_PRESITE"),
}
_DIRECTORIES: Final = {"HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"}
_LOADERS: Final = ("LD_", "DYLD_", "OPENSSL_", "GCONV_PATH", "GLIBC_TUNABLES")
_BLANK: Final = " \t\r\n"


class Via(NamedTuple):
    """How a server is started through hauberk."""

    program: str
    """The program ``hauberk``, as the client is to start it."""
    python: str | None = None
    """The interpreter that has hauberk, for rule 5; None writes the program all the same."""
    config: str | None = None
    """An absolute path for ``--config``."""
    own: str | None = None
    """The user's own configuration, if there is one: named where an entry would let hauberk look elsewhere for it."""
    host: str = "default"
    env: tuple[str, ...] = ()
    """Names to pass on besides those of an entry: what an ``envFile`` sets."""


class Rewritten(NamedTuple):
    """A text, and what became of its entries."""

    text: str
    servers: tuple[Server, ...]


def wrap(text: str, via: Via, *, name: str, only: Collection[str] = ()) -> Rewritten:
    """Return a client's configuration with its servers started through hauberk; ``only`` are the keys that are meant.

    Raises:
        ConfigError: The text is no JSON, has no table of servers, or none of the keys in ``only``.
    """
    tree, entries = read(text, name, only)
    names = names_of(entries)
    edits: list[Edit] = []
    servers = []
    for entry in _meant(entries, only):
        server = judged(entry, names[entry])
        if server.state == "unguarded":
            edits += _wrapping(tree, entry, via, names[entry])
            server = server._replace(state="wrapped", notes=_notes(entry, via))
        elif server.state == "guarded":
            server = server._replace(notes=(*server.notes, *_unmet(entry, via)))
        servers.append(server)
    changed = _spans.replaced(text, edits)
    done = {(one.table, one.key) for one in servers if one.state == "wrapped"}
    if _unwrapped(changed, name, lambda entry: (entry.table, entry.key) in done)[0] != text:
        raise HauberkError(f"{name}: the change could not be taken back, and was not made", hint="please report this")
    return Rewritten(changed, tuple(servers))


def unwrap(text: str, *, name: str, only: Collection[str] = ()) -> Rewritten:
    """Return a client's configuration with its servers started directly again.

    Raises:
        ConfigError: As `wrap`.
    """
    read(text, name, only)
    changed, servers = _unwrapped(text, name, lambda entry: not only or entry.key in only)
    return Rewritten(changed, servers)


def entries_of(text: str, *, name: str) -> list[tuple[Entry, Server]]:
    """Return the entries of a client's configuration with how they stand; none if it has no table of servers.

    Raises:
        ConfigError: The text is no JSON.
    """
    entries = entries_in(_spans.parse(text, name)) or []
    names = names_of(entries)
    return [(entry, judged(entry, names[entry])) for entry in entries]


def started(entry: Entry) -> list[str]:
    """Return the command of an entry and its arguments; of one that goes through hauberk, those after ``--``."""
    words = entry.words
    if not is_guarded(words):
        return words
    return words[words.index(SEPARATOR) + 1 :] if SEPARATOR in words else []


def _meant(entries: Iterable[Entry], only: Collection[str]) -> list[Entry]:
    return [entry for entry in entries if not only or entry.key in only]


# --- the way there ---


def _wrapping(tree: Tree, entry: Entry, via: Via, name: str) -> list[Edit]:
    command = entry.command
    assert command is not None  # noqa: S101 - `judged` has looked
    program, before = _through(entry, via, name)
    literals = [*map(_literal, before), tree.raw(command)]
    return [(command.start, command.end, _literal(program)), _inserted(tree, entry, command, literals)]


def _through(entry: Entry, via: Via, name: str) -> tuple[str, list[str]]:
    """Return the program to start, and its arguments up to the separator."""
    program, before = via.program, [RUN]
    if via.python is not None and _IMPORTS.intersection(entry.env):
        program, before = via.python, ["-E", "-P", "-m", "hauberk", RUN]
    before += [f"--server={name}"] if entry.args is None else ["--server", name]
    config = via.own if via.config is None and _DIRECTORIES.intersection(entry.env) else via.config
    if config is not None:
        before += _option("--config", config)
    if via.host != "default":
        before += _option("--host", via.host)
    for variable in dict.fromkeys((*filter(_is_variable, entry.env), *via.env)):
        before += _option("--env", variable)
    return program, [*before, SEPARATOR]


def _option(option: str, value: str) -> list[str]:
    return [f"{option}={value}"] if value.startswith("-") else [option, value]


def _is_variable(name: str) -> bool:
    return name.isprintable() and name != "" and "=" not in name


def _inserted(tree: Tree, entry: Entry, command: Node, literals: list[str]) -> Edit:
    if entry.args is None:
        colon = ": " if tree.text[command.start - 1].isspace() else ":"
        lead = _lead(tree.text, entry, command) or colon[1:]
        return command.end, command.end, f',{lead}"args"{colon}[{", ".join(literals)}]'
    items = entry.args.items or ()
    if not items:
        return entry.args.start + 1, entry.args.start + 1, ", ".join(literals)
    between = _between(tree.text, entry.args.start, items)
    return items[0].start, items[0].start, "".join(f"{literal},{between}" for literal in literals)


def _lead(text: str, entry: Entry, command: Node) -> str:
    """Return the white space that stands before the key ``command``."""
    start = next(member.start for member in entry.value.members or () if member.value is command)
    return text[len(text[:start].rstrip(_BLANK)) : start]


def _between(text: str, opening: int, items: tuple[Node, ...]) -> str:
    """Return the white space that the items of an array have between them."""
    if len(items) > 1:
        after = text[items[0].end : items[1].start]
        return after[1:] if after[:1] == "," and not after[1:].strip(_BLANK) else " "
    lead = text[opening + 1 : items[0].start]
    return lead if "\n" in lead and not lead.strip(_BLANK) else " "


def _literal(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _notes(entry: Entry, via: Via) -> tuple[str, ...]:
    notes = []
    env = entry.env
    if entry.value.get("envFile") is not None and not via.env:
        notes.append("name what its envFile sets with --env NAME, or the server does not get it")
    if moved := sorted(_DIRECTORIES.intersection(env)):
        notes.append(f"{', '.join(moved)} in its env moves hauberk's log and keys too: set core.state_dir")
    if loaded := sorted(name for name in env if name.startswith(_LOADERS)):
        notes.append(f"{', '.join(loaded)} in its env changes hauberk too: set it in [server.NAME] env instead")
    if via.python is None and (imported := sorted(_IMPORTS.intersection(env))):
        notes.append(f"{', '.join(imported)} in its env changes hauberk too: leave --bare-command out")
    if bad := [name for name in env if not _is_variable(name)]:
        notes.append(f"{', '.join(map(repr, bad))} in its env cannot be passed on")
    if any(entry.value.get(key) is not None for key in REMOTE_KEYS):
        notes.append("it has a URL too, which is not guarded")
    return tuple(notes)


def _unmet(entry: Entry, via: Via) -> list[str]:
    """Return a note if an entry that goes through hauberk does so without an option that was asked for."""
    words = entry.words
    before = words[: words.index(SEPARATOR)] if SEPARATOR in words else words
    there = {*itertools.pairwise(before), *((word, value) for word, _, value in (one.partition("=") for one in before))}
    asked = [("--env", variable) for variable in via.env]
    if via.host != "default":
        asked.insert(0, ("--host", via.host))
    if via.config is not None:
        asked.insert(0, ("--config", via.config))
    missing = [f"{option} {value!r}" for option, value in asked if (option, value) not in there]
    return [f"without {', '.join(missing)}: unwrap it first"] if missing else []


# --- the way back ---


def _unwrapped(text: str, name: str, meant: Callable[[Entry], bool]) -> tuple[str, tuple[Server, ...]]:
    tree, entries = read(text, name)
    names = names_of(entries)
    edits: list[Edit] = []
    servers = []
    for entry in filter(meant, entries):
        server = judged(entry, names[entry])
        if server.state == "guarded":
            found = _unwrapping(tree, entry)
            edits += found
            server = server._replace(
                state="unwrapped" if found else "guarded",
                notes=() if found else ("its command is in hauberk's configuration",),
            )
        servers.append(server)
    return _spans.replaced(text, edits), tuple(servers)


def _unwrapping(tree: Tree, entry: Entry) -> list[Edit]:
    """Return what restores an entry; nothing if no command stands after the separator."""
    items, command = items_of(entry.args), entry.command
    words = [item.text for item in items]
    at = words.index(SEPARATOR) + 1 if SEPARATOR in words else len(items)
    if at >= len(items) or command is None or entry.args is None:
        return []
    edits = [(command.start, command.end, tree.raw(items[at]))]
    if at + 1 < len(items):
        return [*edits, (items[0].start, items[at + 1].start, "")]
    if any(str(word).startswith("--server=") for word in words[:at]):
        return [*edits, _without_args(entry)]
    return [*edits, (items[0].start, items[-1].end, ""), *_last_comma(tree, items[-1].end, entry.args.end)]


def _without_args(entry: Entry) -> Edit:
    """Return what takes the member ``args`` out, with one comma."""
    members = entry.value.members or ()
    at = next(number for number, member in enumerate(members) if member.key == "args")
    if at > 0:
        return members[at - 1].value.end, members[at].value.end, ""
    return members[0].start, members[1].start, ""  # the command comes after it


def _last_comma(tree: Tree, start: int, end: int) -> list[Edit]:
    """Return what takes a comma out that stands after the last item of an array, perhaps behind a comment."""
    commented = {place for span in tree.comments for place in range(*span) if start <= place < end}
    return [(at, at + 1, "") for at in range(start, end) if tree.text[at] == "," and at not in commented]

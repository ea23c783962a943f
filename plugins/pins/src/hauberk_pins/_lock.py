r"""``hauberk.lock``: what each server showed when it was trusted, as text for a review.

The form, line by line::

    # hauberk.lock: …                         the first line
    generation 3 sha256:…                     grows with each change; the hash over all servers
                                              an empty line before each server
    server "files" sha256:…                   the hash over its name and all of its items
      tool "read_file" sha256:…               the hash over the canonical form of the definition
        {                                     the definition in full (`hauberk_pins._visible`)
          "description": "Read a file.",
          "name": "read_file"
        }

Servers are in order of their names; items in order of kind (origin, server, tool, prompt, resource, template), then of
their name.

One content has one text. So the reader reads, writes again, and refuses a text that is not the same: what a person has
reviewed is what is trusted, to the byte. A hash that is not that of the definition below it is refused the same way.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Final

from hauberk import canon
from hauberk.refusals import ConfigError, Refused
from hauberk_pins import _items, _visible
from hauberk_pins._items import Item, Key, Lock
from hauberk_pins._limits import LIMITS

HEAD: Final = "# hauberk.lock: what each server showed when it was trusted; made by `hauberk pins trust`, for review"
_QUOTED: Final = r'("(?:\\.|[^"\\])*+")'
_HASH: Final = r"sha256:[0-9a-f]{64}"
_GENERATION: Final = re.compile(rf"generation (0|[1-9][0-9]{{0,17}}) {_HASH}")
_SERVER: Final = re.compile(rf"server {_QUOTED} {_HASH}")
_ITEM: Final = re.compile(rf"  (origin|server|tool|prompt|resource|template) {_QUOTED} ({_HASH})")
_LABEL: Final = "hauberk/pins/lock/v1"
_BODY: Final = "    "


def write(lock: Lock) -> str:
    """Return the text of a lock."""
    return "".join(f"{line}\n" for line in _lines(lock))


def _lines(lock: Lock) -> Iterator[str]:
    yield HEAD
    hashes = {server: _items.server_hash(server, lock.servers[server].values()) for server in sorted(lock.servers)}
    whole = canon.digest(_LABEL, [lock.generation, list(hashes.values())])
    yield f"generation {lock.generation} {whole}"
    for server, of_server in hashes.items():
        items = lock.servers[server]
        yield ""
        yield f"server {_visible.string(server)} {of_server}"
        for one in ordered(items):
            yield f"  {one.kind} {_visible.string(one.name)} {one.hash}"
            yield _BODY + _visible.text(one.value, _BODY)


def as_json(lock: Lock) -> str:
    """Return what a lock says as JSON, which nothing reads back."""
    servers = {
        name: [{"kind": o.kind, "name": o.name, "hash": o.hash, "definition": o.value} for o in ordered(items)]
        for name, items in sorted(lock.servers.items())
    }
    return json.dumps({"generation": lock.generation, "servers": servers}, indent=2) + "\n"


def places(text: str) -> dict[tuple[str, str], int]:
    """Return on which line of a lock each server (with an empty item), and each item of it, begins; from 1.

    Args:
        text: As `write` writes it.
    """
    found: dict[tuple[str, str], int] = {}
    server = ""
    for number, line in enumerate(text.split("\n"), 1):
        if (head := _SERVER.fullmatch(line)) is not None:
            server = _visible.parse(head[1])
            found[server, ""] = number
        elif (head := _ITEM.fullmatch(line)) is not None:
            found[server, f"{head[1]} {head[2]}"] = number
    return found


def ordered(items: Mapping[Key, Item]) -> list[Item]:
    """Return items in the order of the lock."""
    return sorted(items.values(), key=lambda one: (_items.place(one.kind), one.name))


def read(data: bytes, name: str) -> Lock:
    """Return what a lock says.

    Args:
        data: The file.
        name: What the file is called in an error.

    Raises:
        ConfigError: It is too large, or not what `write` writes, to the byte; the first such line is named.
    """
    if len(data) > LIMITS.lock_bytes:
        raise _malformed(name, 0, f"is larger than {LIMITS.lock_bytes} bytes")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise _malformed(name, data.count(b"\n", 0, error.start) + 1, "is not UTF-8") from None
    lines = text.split("\n")
    lock = _read(lines, name)
    try:
        again = write(lock).split("\n")
    except (Refused, RecursionError):  # a number that JSON does not carry
        raise _malformed(name, 1, "holds what no server can have sent") from None
    if again != lines:
        differs = [mine == yours for mine, yours in zip(again, lines, strict=False)]
        line = differs.index(False) + 1 if False in differs else len(differs) + 1
        raise _malformed(name, line, "is not as hauberk writes it, or a hash is not that of what stands below it")
    return lock


def _read(lines: list[str], name: str) -> Lock:
    if lines[0] != HEAD:
        raise _malformed(name, 1, "is no hauberk.lock")
    generation = _GENERATION.fullmatch(lines[1]) if len(lines) > 1 else None
    if generation is None:
        raise _malformed(name, 2, "says no generation")
    servers: dict[str, dict[Key, Item]] = {}
    items: dict[Key, Item] | None = None
    at = 2
    while at < len(lines):
        line, number = lines[at], at + 1
        at += 1
        if not line:
            continue
        if (server := _SERVER.fullmatch(line)) is not None:
            items = servers.setdefault(_string(server[1], name, number), {})
        elif (head := _ITEM.fullmatch(line)) is not None and items is not None:
            end = at
            while end < len(lines) and lines[end].startswith(_BODY):
                end += 1
            one = _item(head, "\n".join(lines[at:end]), name, number)
            items[one.key] = one
            at = end
        else:
            raise _malformed(name, number, "is not as hauberk writes it")
    return Lock(int(generation[1]), servers)


def _item(head: re.Match[str], body: str, name: str, number: int) -> Item:
    try:
        return _items.item(head[1], _string(head[2], name, number), _visible.parse(body))
    except (ValueError, RecursionError, Refused):
        raise _malformed(name, number, "has no definition below it") from None


def _string(quoted: str, name: str, number: int) -> str:
    try:
        value: str = _visible.parse(quoted)
        value.encode()
    except ValueError:
        raise _malformed(name, number, "holds no name") from None
    return value


def _malformed(name: str, line: int, what: str) -> ConfigError:
    return ConfigError(
        f"cannot use {name!r}: {f'line {line} ' if line else 'it '}{what}",
        hint="take the file back from version control; `hauberk pins export` writes what is trusted on this machine",
    )

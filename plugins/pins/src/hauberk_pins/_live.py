"""What a server shows when it is started and asked, without any host: for a first trust, and for a check in CI.

The rules:

1. Each revision family is asked for in a process of its own: ``initialize`` (until 2025-11-25), then
   ``server/discover`` (from 2026-07-28 on). A server may speak one of the two, or both.
2. The client says that it can do everything, so that a server shows everything it has.
3. All pages of all lists of what a server says that it has are asked for; one that changes meanwhile, once more.
4. What is shown differently in the two families cannot be pinned as one thing, and is told.
5. What is started is what was hashed (`hauberk_pins._program`).
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from hauberk.bounds import Bounds
from hauberk.connection import Program
from hauberk.listings import LISTS, Listing
from hauberk.refusals import HauberkError, Refused
from hauberk_pins import _compare, _items, _origin, _program
from hauberk_pins._items import Item, Key
from hauberk_pins._limits import LIMITS
from hauberk_pins._program import Known
from hauberk_pins._visible import shown
from hauberk_pins._wire import METHOD_NOT_FOUND, Peer, PeerError

_SHAKEN: Final = "2025-11-25"
_NEW: Final = "2026-07-28"
_META: Final = "io.modelcontextprotocol/"
_CLIENT: Final = {"name": "hauberk", "version": "1"}
_ABLE: Final = {"roots": {"listChanged": True}, "sampling": {"tools": {}}, "elicitation": {"form": {}, "url": {}}}
_NEW_PARAMS: Final = {
    "_meta": {
        f"{_META}protocolVersion": _NEW,
        f"{_META}clientInfo": _CLIENT,
        f"{_META}clientCapabilities": _ABLE,
    }
}
_CHANGED: Final[Mapping[str, str]] = {
    "tools/list": "notifications/tools/list_changed",
    "prompts/list": "notifications/prompts/list_changed",
    "resources/list": "notifications/resources/list_changed",
    "resources/templates/list": "notifications/resources/list_changed",
}
_AGAIN: Final = 3
"""How often a list is asked for that changes meanwhile."""
Say = Callable[[str], None]
Items = dict[Key, Item]


async def look(program: Program, bounds: Bounds, say: Say) -> Items:
    """Start a server and return what it shows.

    Args:
        program: What is started.
        bounds: The core's.
        say: Is told how far it is.

    Raises:
        HauberkError: It cannot be started, does not speak, or says what cannot be pinned.
    """
    known = _hashed(program)
    said: list[str] = []
    families = []
    for ask in (_shaken, _discovered):
        async with _started(program, known, bounds) as peer:
            families.append(await ask(peer, say, said))
    if families == [None, None]:
        raise HauberkError(f"the server cannot be asked: {said[0]}", hint=f"start {program.command!r} by hand")
    first, second = (found or {} for found in families)
    _check_same(first, second)
    if _program.mark(known.path) != known.mark:
        raise HauberkError(f"the executable {shown(known.path)!r} was replaced while it was started")
    return {**_origin.shown_by("", program, known), **second, **first}


def _check_same(first: Items, second: Items) -> None:
    """Check that one pin of each item can hold in both families.

    Raises:
        HauberkError: One is shown differently.
    """
    for key, one in second.items():
        if key in first and first[key].hash != one.hash:
            raise HauberkError(
                f"it shows {_compare.label(one)} differently in the two revisions of the protocol",
                hint="let the host that uses it connect once through the guard, then trust what that was shown",
            )


def _hashed(program: Program) -> Known:
    path = _program.find(program)
    if path is None:
        raise HauberkError(f"command {program.command!r} is not found", hint="check its name, and PATH")
    try:
        return _program.digest(path)
    except OSError as error:
        raise HauberkError(f"cannot read {path!r}: {(error.strerror or '').lower()}") from error


@asynccontextmanager
async def _started(program: Program, known: Known, bounds: Bounds) -> AsyncIterator[Peer]:
    try:
        peer = Peer(program, known.path, bounds)
    except OSError as error:
        raise HauberkError(f"it cannot be started: {os.strerror(error.errno or 0).lower()}") from error
    try:
        yield peer
    finally:
        await peer.close()


async def _shaken(peer: Peer, say: Say, said: list[str]) -> Items | None:
    params = {"protocolVersion": _SHAKEN, "capabilities": _ABLE, "clientInfo": _CLIENT}
    try:
        result = await peer.ask("initialize", params, LIMITS.start_seconds)
    except HauberkError as error:
        said.append(error.message)
        return None
    peer.tell("notifications/initialized")
    say(f"speaks {shown(str(result.get('protocolVersion')))}")
    return introduced(result) | await _listed(peer, result, {}, say)


async def _discovered(peer: Peer, say: Say, said: list[str]) -> Items | None:
    try:
        result = await peer.ask("server/discover", _NEW_PARAMS, LIMITS.list_seconds)
    except HauberkError as error:
        said.append(error.message)
        return None
    say(f"speaks {_NEW}")
    return introduced(result) | await _listed(peer, result, _NEW_PARAMS, say)


def introduced(result: Mapping[str, Any]) -> Items:
    """Return what a server says of itself."""
    said = {key: result[key[1]] for key in (_items.SERVER_INFO, _items.INSTRUCTIONS) if key[1] in result}
    meta = result.get("_meta")
    if isinstance(meta, dict) and _items.INFO_META in meta:
        said[_items.META_INFO] = meta[_items.INFO_META]
    return {key: _items.item(*key, value) for key, value in said.items()}


async def _listed(peer: Peer, result: Mapping[str, Any], params: Mapping[str, Any], say: Say) -> Items:
    has = result.get("capabilities")
    found: Items = {}
    for method, listing in LISTS.items():
        if not isinstance(has, dict) or method.partition("/")[0] not in has:
            continue
        items: Items = {}
        for _ in range(_AGAIN):
            peer.changed.discard(_CHANGED[method])
            items = await _list(peer, method, params)
            if _CHANGED[method] not in peer.changed:
                break
        say(f"{len(items)} {listing.kind}s")
        found |= items
    return found


async def _list(peer: Peer, method: str, params: Mapping[str, Any]) -> Items:
    listing, asked = LISTS[method], dict(params)
    items: Items = {}
    for _ in range(LIMITS.pages):
        try:
            result = await peer.ask(method, asked, LIMITS.list_seconds)
        except PeerError as error:
            if error.number == METHOD_NOT_FOUND and not items:
                return {}
            raise
        items |= _read(listing, result)
        if len(items) > LIMITS.items:
            raise HauberkError(f"it shows more than {LIMITS.items} items")
        if not isinstance(cursor := result.get("nextCursor"), str):
            return items
        asked = {**params, "cursor": cursor}
    raise HauberkError(f"its {listing.kind}s have more than {LIMITS.pages} pages")


def _read(listing: Listing, result: Mapping[str, Any]) -> Items:
    entries = result.get(listing.member)
    if not isinstance(entries, list):
        raise HauberkError(f"it lists {listing.kind}s without an array of {listing.member}")
    found: Items = {}
    for entry in entries:
        name = entry.get(listing.key) if isinstance(entry, dict) else None
        if not isinstance(name, str) or len(name) > LIMITS.key_chars:
            raise HauberkError(f"it lists a {listing.kind} without a name")
        try:
            one = _items.item(listing.kind, name, entry)
        except Refused as refused:
            raise HauberkError(f"it lists a {listing.kind} that cannot be pinned ({refused.code})") from None
        if found.setdefault(one.key, one).hash != one.hash:
            raise HauberkError(f"it lists two {listing.kind}s of the name {shown(name)!r}")
    return found

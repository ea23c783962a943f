"""How a server is reached, compared with its pins before it is: its command line, its executable, its URL.

What is compared is what is used: the file that was hashed is the one that is started, by its path, and is looked at
once more when the child is there and no message has passed. So a file that is replaced in between ends the connection;
what the new one did in that moment is done.

The names of secrets are not known here: what looks like one in an argument is masked, and a change of it is none.
"""

from __future__ import annotations

import asyncio
from typing import Final

from hauberk.config import ServerOptions
from hauberk.connection import Connection, Program
from hauberk.event import Event
from hauberk.refusals import ConfigError, Refused
from hauberk.verdict import Deny
from hauberk_pins import _decide, _items, _program
from hauberk_pins._gate import Gate, unreadable, why
from hauberk_pins._items import Item, Key
from hauberk_pins._program import Known
from hauberk_pins._visible import shown

_RULE: Final = "what was compared is what is started"


async def meet(gate: Gate, connection: Connection) -> Deny | None:
    """Compare how a server is about to be reached with its pins; return why it may not be, if it may not.

    Raises:
        Refused: ``pins.unreadable``: nobody can tell what is pinned.
    """
    if connection.role != "client":
        return None
    gate.refresh()
    try:
        return await _compared(gate, connection)
    except ConfigError as error:
        raise unreadable(error) from None


async def _compared(gate: Gate, connection: Connection) -> Deny | None:
    server, program = connection.server, connection.program
    known = None if program is None else await _hashed(gate, server, program)
    items = shown_by(connection.target, program, known)
    if not items:
        return None
    refused, events = gate.judge(server).reached(items)
    for event in events:
        connection.note(event)
    gate.writer.wake()
    if known is not None:
        connection.executable = known.path
    if known is not None or _items.EXECUTABLE in gate.book.pins(server):
        connection.verify.append(lambda _: _still(gate, connection, known))
    return refused


def shown_by(target: str, program: Program | None, known: Known | None) -> dict[Key, Item]:
    """Return the items of how a server is reached.

    Args:
        target: A URL, or anything else.
        program: What is started.
        known: The file that is started.
    """
    if program is None:
        return {_items.URL: _items.item(*_items.URL, target)} if "://" in target else {}
    line = {"command": program.command, "args": _masked(program.args)}
    items = [_items.item(*_items.COMMAND, line if program.cwd is None else line | {"cwd": program.cwd})]
    if known is not None:
        items.append(_items.item(*_items.EXECUTABLE, {"sha256": known.hash.removeprefix("sha256:")}))
    return {one.key: one for one in items}


async def _hashed(gate: Gate, server: str, program: Program) -> Known | None:
    """Return the file that would be started with its hash; None where there is none, which is for the start to say.

    Raises:
        Refused: ``pins.executable``: it cannot be read, and there is a pin that it would have to match.
    """
    path = _program.find(program)
    if path is None:
        return None
    try:
        before = gate.book.executable(server)
        if before is not None and _program.is_known(before, path):
            return before
        found = await asyncio.to_thread(_program.digest, path)
    except OSError as error:
        if _items.EXECUTABLE not in gate.book.pins(server):
            return None
        reason = f"the executable of server '{shown(server)}' cannot be compared: {why(error)}"
        raise Refused(_decide.EXECUTABLE, reason, rule=_RULE, hint=f"look at {shown(path)}") from None
    if _program.at_rest(found, gate.now()):
        gate.book.started(server, found)
    return found


def _still(gate: Gate, connection: Connection, known: Known | None) -> None:
    """Check that what was hashed is what has been started; where nothing was, there was no file to start.

    Raises:
        Refused: ``pins.executable``: it was replaced meanwhile.
    """
    try:
        if known is not None and connection.executable == known.path and _program.mark(known.path) == known.mark:
            return
    except OSError:
        pass
    path = "" if known is None else shown(known.path)
    server, refuses = connection.server, gate.enforces and gate.judge(connection.server).stance.on_change == "block"
    replaced = Event(
        code="pins.replaced",
        severity="critical",
        action="blocked" if refuses else "logged",
        plugin="pins",
        server=server,
        exchange=connection.id,
        details={"path": path},
    )
    gate.emit(replaced)
    if not refuses:
        return
    reason = f"the executable of server '{shown(server)}' was replaced while it was started"
    raise Refused(_decide.EXECUTABLE, reason, rule=_RULE, hint=f"find out who writes {path or 'it'}")


def _masked(args: tuple[str, ...]) -> list[str]:
    masked: list[str] = ServerOptions(command="_", args=tuple(arg.replace("\0", "") for arg in args)).shown()["args"]
    return masked

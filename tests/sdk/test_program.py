"""What a connection says of the program that is started, and what a plugin may do about it."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import Any, Final

import pytest
from mcp import StdioServerParameters
from mcp.server import Server
from tests.core.harness import Recorder
from tests.sdk.kit import guard, within

from hauberk import Options, hookimpl
from hauberk.carriers.child import Child
from hauberk.connection import Connection
from hauberk.refusals import Refused

_SERVER: Final = str(Path(__file__).with_name("raw_server.py"))


class Gate:
    """Notes each connection, and does to it what a test says."""

    name = "gate"
    Options = Options

    def __init__(self, executable: str | None = None, refuses: str = "") -> None:
        self.executable = executable
        self.refuses = refuses
        self.seen: list[Connection] = []
        self.over: list[str] = []
        """Of which connections the end was told."""

    @hookimpl
    def on_connect(self, connection: Connection) -> None:
        """Note the connection."""
        self.seen.append(connection)
        connection.executable = self.executable
        connection.verify.append(self._check)
        connection.defer(lambda: self.over.append(connection.id))

    def _check(self, _peer: Any) -> None:
        if self.refuses:
            raise Refused(self.refuses, "no")


def params(command: str = sys.executable) -> StdioServerParameters:
    return StdioServerParameters(command=command, args=["-S", _SERVER], env={"X": "1"}, cwd=os.path.dirname(_SERVER))  # noqa: PTH120


async def test_connection_says_what_is_started() -> None:
    """``on_connect`` gets command, arguments, the child's whole environment and its working directory."""
    gate = Gate()
    async with guard(gate) as made, made.wrap(params(), server="files"):
        (connection,) = gate.seen
        program = connection.program
        assert program is not None
        assert (program.command, program.args) == (sys.executable, ("-S", _SERVER))
        assert program.cwd == str(Path(_SERVER).parent)
        assert (program.env["X"], program.env["PATH"]) == ("1", os.environ["PATH"])
        assert _SERVER not in repr(connection)


async def test_file_that_a_plugin_names_is_started() -> None:
    """The command keeps its name, and the file that is started is the plugin's."""
    gate = Gate(executable=sys.executable)
    async with guard(gate) as made, made.wrap(params("no-such-command"), server="files"):
        (connection,) = gate.seen
        assert connection.program is not None
        assert connection.program.command == "no-such-command"


async def test_child_that_is_refused_once_it_is_there_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """A check after the start that refuses ends the child, and nothing of it is read."""
    made: list[Child] = []
    begin = Child.__init__

    def beginning(child: Child, *args: Any, **more: Any) -> None:
        begin(child, *args, **more)
        made.append(child)

    monkeypatch.setattr(Child, "__init__", beginning)
    recorder = Recorder()
    async with guard(Gate(refuses="gate.no"), recorder) as one:
        with pytest.raises(Refused, match="no"):
            async with one.wrap(params(), server="files"):
                pytest.fail("connected")
    assert recorder.codes.count("gate.no") == 1
    assert len(made) == 1
    assert not made[0].running
    _ = await within(made[0].wait())


async def test_check_of_a_server_in_the_process_is_recorded() -> None:
    """A check that refuses a server of this process refuses the connection, and the record says so (X.3)."""
    recorder = Recorder()
    async with guard(Gate(refuses="gate.no"), recorder) as one:
        with pytest.raises(Refused, match="no"):
            async with one.wrap(Server("files"), server="files"):
                pytest.fail("connected")
    assert recorder.codes.count("gate.no") == 1


@pytest.mark.parametrize(
    ("target", "refuses"),
    [
        (params("/nowhere/at/all"), ""),
        (params(), "gate.no"),
        (Server("files"), "gate.no"),
        ("http://127.0.0.1:1/mcp", "gate.no"),
        ("http://127.0.0.1:1/mcp", ""),
        (Server("files"), ""),
    ],
)
async def test_each_connection_has_an_end(target: Any, refuses: str) -> None:
    """What was deferred to the end of a connection runs once, whether it is made, refused or cannot be started."""
    gate = Gate(refuses=refuses)
    async with guard(gate) as made:
        with contextlib.suppress(OSError, Refused):
            async with made.wrap(target, server="files"):
                assert gate.over == []
        assert gate.over == [connection.id for connection in gate.seen]
        assert len(gate.over) == 1

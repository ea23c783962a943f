"""Keep what a real server says about itself, as the corpus holds it.

usage: python -m tests.efficacy.capture NAME PACKAGE VERSION LICENCE -- COMMAND …

It writes ``tests/efficacy/corpus/servers/NAME.json``; the package belongs into ``tests/efficacy/corpus/NOTICE``, too.
Only what stands under MIT or Apache-2.0 may be kept.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import IO, Any, Final

import msgspec
from tests.efficacy.corpus import FOLDER, LISTS, Server

_CAN: Final[dict[str, Any]] = {"roots": {}, "sampling": {}, "elicitation": {"form": {}, "url": {}}}
"""A server may show more to a client that can do more."""
_HELLO: Final = {
    "protocolVersion": "2025-11-25",
    "capabilities": _CAN,
    "clientInfo": {"name": "capture", "version": "1"},
}


class Asker:
    """Asks a server over its pipes."""

    def __init__(self, into: IO[str], out: IO[str]) -> None:
        self._into: Final = into
        self._out: Final = out
        self._number = 0

    def say(self, **members: Any) -> None:
        """Write one message."""
        self._into.write(json.dumps({"jsonrpc": "2.0", **members}) + "\n")
        self._into.flush()

    def ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """Return the result of a request; empty where it is an error."""
        self._number += 1
        self.say(id=self._number, method=method, params=params)
        for line in self._out:
            message = json.loads(line) if line.startswith("{") else {}
            if "method" in message and "id" in message:
                self.say(id=message["id"], error={"code": -32601, "message": "not here"})
            elif message.get("id") == self._number:
                result: dict[str, Any] = message.get("result", {})
                return result
        raise EOFError(f"the server ended before it answered {method}")

    def everything(self, method: str, member: str) -> list[dict[str, Any]]:
        """Return all pages of a list."""
        result = self.ask(method, {})
        found: list[dict[str, Any]] = result.get(member, [])
        while "nextCursor" in result:
            result = self.ask(method, {"cursor": result["nextCursor"]})
            found += result[member]
        return found


def captured(package: str, version: str, licence: str, command: list[str]) -> Server:
    """Start a server and return what it says about itself."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8") as child:
        assert child.stdin is not None
        assert child.stdout is not None
        asker = Asker(child.stdin, child.stdout)
        hello = asker.ask("initialize", dict(_HELLO))
        asker.say(method="notifications/initialized")
        lists = {member: asker.everything(method, member) for method, member in LISTS.values()}
        child.stdin.close()
        child.terminate()
    said = {"serverInfo": hello["serverInfo"], "instructions": hello.get("instructions"), **lists}
    return msgspec.convert({"package": package, "version": version, "licence": licence, **said}, Server)


def text_of(server: Server) -> str:
    """Return the file of a server: an item a line."""
    members = []
    for name, value in msgspec.to_builtins(server).items():
        lines = [f"\n  {json.dumps(one, ensure_ascii=False)}" for one in value] if isinstance(value, list) else []
        shown = f"[{','.join(lines)}\n ]" if lines else json.dumps(value, ensure_ascii=False)
        members.append(f' "{name}": {shown}')
    return "{\n" + ",\n".join(members) + "\n}\n"


def main() -> None:
    """Keep what one server says."""
    name, package, version, licence, _, *command = sys.argv[1:]
    file: Path = FOLDER / "servers" / f"{name}.json"
    file.write_text(text_of(captured(package, version, licence, command)), "utf-8")


if __name__ == "__main__":
    main()

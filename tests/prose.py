"""What the tests of pages share: the blocks and tables of a page, and a user's place to run them in."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
README = ROOT / "README.md"
DOCS = ROOT / "docs"
PATIENCE = 60.0
"""Seconds; whoever waits longer has found a hang."""
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def blocks(page: Path, language: str) -> list[str]:
    """Return the blocks of one language on a page."""
    return [text for found, text in _FENCE.findall(page.read_text(encoding="utf-8")) if found == language]


def languages(page: Path) -> list[str]:
    """Return the language of each block on a page."""
    return [found for found, _ in _FENCE.findall(page.read_text(encoding="utf-8"))]


def block(page: Path, language: str, word: str) -> str:
    """Return the one block of a language in which a word stands."""
    found = [text for text in blocks(page, language) if word in text]
    assert len(found) == 1, (page.name, language, word, len(found))
    return found[0]


def section(page: Path, heading: str) -> str:
    """Return what stands under a heading, up to the next one."""
    _, _, rest = page.read_text(encoding="utf-8").partition(f"\n## {heading}\n")
    assert rest, (page.name, heading)
    return rest.partition("\n## ")[0]


def rows(text: str) -> list[list[str]]:
    """Return the cells of the rows of a table, without its head."""
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line] for line in lines[2:]]


class Step(NamedTuple):
    """One thing that a reader of a page does: save a file, or run a command."""

    file: str
    """The file; empty for a command."""
    text: str
    shown: str
    """What the page shows of a command's output."""


def steps(page: Path, heading: str = "") -> Iterator[Step]:
    """Yield what the reader of a page, or of what is under a heading of it, does, in order.

    Files are named before a block, commands are in consoles.
    """
    before = 0
    text = section(page, heading) if heading else page.read_text(encoding="utf-8")
    for fence in _FENCE.finditer(text):
        named = re.search(r"`([^`\n]+\.(?:json|py|toml))`:\s*\Z", text[before : fence.start()])
        before = fence.end()
        if fence[1] == "console":
            for line, shown in re.findall(r"(?m)^\$ (.*)\n((?:(?!\$ ).*\n)*)", fence[2]):
                yield Step("", line, shown)
        elif named:
            yield Step(named[1], fence[2], "")


def like(shown: str, real: str) -> bool:
    """Tell whether an output is as a page shows it; there an ellipsis stands for anything."""
    return re.fullmatch(re.escape(shown.strip()).replace("…", "(?s:.*)"), real.strip()) is not None


class Done(NamedTuple):
    """What a command left."""

    status: int
    out: str
    err: str


class Place:
    """A user's home, with hauberk on the path, and an ``npx`` that starts the server of notes."""

    def __init__(self, home: Path) -> None:
        self.home = home
        programs = home / "bin"
        programs.mkdir()
        npx = programs / "npx"
        server, notes = EXAMPLES / "notes_server.py", home / "notes"
        npx.write_text(f"#!/bin/sh\nexec '{sys.executable}' '{server}' '{notes}'\n", encoding="utf-8")
        npx.chmod(0o700)
        notes.mkdir()
        (notes / "milk.txt").write_text("buy milk", encoding="utf-8")
        path = os.pathsep.join((str(programs), str(Path(sys.executable).parent), os.defpath))
        state = {f"XDG_{kind}_HOME": str(home / kind.lower()) for kind in ("STATE", "CONFIG")}
        self.env = {"HOME": str(home), "PATH": path, **state}

    def write(self, name: str, text: str) -> Path:
        """Write a file that nobody else can change, and return its path."""
        file = self.home / name
        file.write_text(text, encoding="utf-8")
        file.chmod(0o600)
        return file

    def run(self, command: Sequence[str | Path] | str, *sent: dict[str, Any]) -> Done:
        """Run a command, or a line of a shell, on messages; return what it left."""
        done = subprocess.run(
            command,
            shell=isinstance(command, str),
            input="".join(f"{json.dumps(message)}\n" for message in sent),
            cwd=self.home,
            env=self.env,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def answers(self, command: Sequence[str | Path] | str, *sent: dict[str, Any]) -> dict[int, dict[str, Any]]:
        """Shake hands with a server and send it requests; return its answers by id. They have ids from 1 on."""
        hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
        greeting = (
            {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": hello},
            {"jsonrpc": "2.0", "method": "notifications/initialized"},
        )
        requests = ({"jsonrpc": "2.0", "id": number, **one} for number, one in enumerate(sent, 1))
        done = self.run(command, *greeting, *requests)
        assert done.status == 0, done.err
        return {message["id"]: message for message in map(json.loads, done.out.splitlines())}


def call(tool: str, **arguments: Any) -> dict[str, Any]:
    """Return the call of a tool, without id."""
    return {"method": "tools/call", "params": {"name": tool, "arguments": arguments}}

"""tlsfuzzer: what its scripts say of each conversation, and which of that is known.

A script plays conversations with a server, each with one thing that is wrong, or right, and says of each whether it
went as it should. One that did not is known if `Known` says so, with the reason; else it is a failure.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.tls_scan.sides import Clients, Kind
from tests.tls_scan.tools import Tool

PATIENCE: Final = 1200
"""Seconds that a script may take."""
_BEGIN: Final = re.compile(r"(?m)^(?=\S.*\.\.\.$)")
_END: Final = "\nTest end\n"
_SUM: Final = re.compile(r"(?m)^(PASS|FAIL|XFAIL|XPASS): (\d+)$")
_ERROR: Final = re.compile(r"(?m)^(?:[\w.]+\.)?\w*(?:Error|Exception)\b.*$")


@dataclass(frozen=True, slots=True)
class Known:
    """Conversations that do not go as a script expects, and are to stay so."""

    names: str
    """Their names: a regular expression for all of it."""
    error: str
    """What the script says of it: a regular expression for a part."""
    reason: str
    goes_on: bool = False
    """Whether the server goes on where the script expects that it ends the connection; else it ends it, too."""
    strict: bool = False
    """Whether it is a failure if one of them goes as the script expects."""


@dataclass(frozen=True, slots=True)
class Script:
    """One of tlsfuzzer's scripts, and how it is used."""

    name: str
    """Without ``test-tls13-``."""
    arguments: tuple[str, ...] = ()
    kind: Kind = "rsa"
    """The key of the server."""
    clients: Clients = "none"
    client: Kind | None = None
    """The key of the client, where it has one."""
    known: tuple[Known, ...] = ()
    unasked: str = ""
    """Why what it says does not count, if so; it is let loose on ``hauberk serve`` all the same."""
    all: bool = True
    """Whether it can be told to play all conversations, and not some of them by lot."""
    long: bool = False
    """Whether it takes more than a few seconds; then ``make tls-scan`` alone uses it."""

    def words(self, tool: Tool, folder: Path, port: int, kind: Kind, *, everything: bool) -> list[str]:
        """Return the command line."""
        module = "tlsfuzzer._apps.test_tls13_" + self.name.replace("-", "_")
        words = [*tool.command, module, "-h", "127.0.0.1", "-p", str(port), *self.arguments]
        if self.client is not None:
            own = folder / kind / f"scanner-{self.client}"
            words += ["-k", f"{own}.key", "-c", f"{own}.pem"]
        return [*words, "-n", "0"] if everything and self.all else words


@dataclass(frozen=True, slots=True)
class Conversation:
    """One conversation, and what became of it."""

    name: str
    error: str
    """Empty where it went as it should."""


class BrokenError(Exception):
    """A script did not come to its end, or its output is not what we can read."""


def ended(output: str) -> tuple[str, str]:
    """Return what a script tells of its conversations, and its sums.

    Raises:
        BrokenError: It has no end.
    """
    told, end, sums = output.rpartition(_END)
    if not end:
        raise BrokenError(f"the script did not come to its end: {output.strip()[-1000:]}")
    return told, sums


def read(output: str) -> list[Conversation]:
    """Return the conversations that a script tells of.

    Raises:
        BrokenError: It has no end, or its sums are others.
    """
    told, sums = ended(output)
    found = [_conversation(part) for part in _BEGIN.split(told) if "...\n" in part]
    counts = Counter({name: int(count) for name, count in _SUM.findall(sums)})
    passed, failed = sum(not one.error for one in found), sum(bool(one.error) for one in found)
    if (passed, failed) != (counts["PASS"], counts["FAIL"]) or not found:
        raise BrokenError(f"{passed} passed and {failed} failed are read, and the script says {dict(counts)}")
    return found


def _conversation(part: str) -> Conversation:
    name, _, rest = part.partition("...\n")
    name = name.strip()
    if re.search(r"(?m)^OK$", rest):
        return Conversation(name, "")
    errors = _ERROR.findall(rest)
    return Conversation(name, errors[-1] if errors else "no error is told")


def judged(script: Script, found: Iterable[Conversation]) -> tuple[list[str], Counter[Known]]:
    """Return what failed and is not known, and how many each `Known` stands for."""
    unknown, known = [], Counter[Known]()
    for one in found:
        entry = next((entry for entry in script.known if re.fullmatch(entry.names, one.name)), None)
        if one.error and entry is not None and re.search(entry.error, one.error):
            known[entry] += 1
        elif one.error:
            unknown.append(f"{script.name}: {one.name}: {one.error}")
        elif entry is not None and entry.strict:
            unknown.append(f"{script.name}: {one.name}: it passes, and is not to: {entry.reason}")
    return unknown, known


class Playing:
    """A script that plays."""

    def __init__(self, script: Script, tool: Tool, folder: Path, port: int, kind: Kind, *, everything: bool) -> None:
        """Start it.

        Args:
            script: Which.
            tool: tlsfuzzer.
            folder: Where the certificates are.
            port: Of whom it plays with.
            kind: Whose authority signed the client's certificate.
            everything: Whether to play all conversations, and not some of them by lot.
        """
        self._process: Final = subprocess.Popen(
            script.words(tool, folder, port, kind, everything=everything),
            cwd=tool.folder,
            env={name: os.environ[name] for name in ("PATH",) if name in os.environ} | {"PYTHONPATH": str(tool.folder)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def said(self) -> str:
        """Wait for its end, and return what it said.

        Raises:
            BrokenError: It does not end.
        """
        try:
            return self._process.communicate(timeout=PATIENCE)[0]
        except subprocess.TimeoutExpired:
            raise BrokenError(f"no end within {PATIENCE} s") from None
        finally:
            self._process.kill()
            self._process.wait()

"""One run of a script: against what answers it, and at the same time against ``hauberk serve``."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.tls_scan.fuzzer import Conversation, Known, Playing, Script, ended, judged, read
from tests.tls_scan.sides import Answering, Target
from tests.tls_scan.tools import Tool


@dataclass(frozen=True, slots=True)
class Played:
    """What came of one script."""

    script: Script
    conversations: tuple[Conversation, ...]
    """None of them where the script is not asked."""
    unknown: tuple[str, ...]
    """What failed, and is not known."""
    known: Counter[Known] = field(default_factory=Counter)

    @property
    def passed(self) -> int:
        """How many conversations went as they should."""
        return sum(not one.error for one in self.conversations)


def play(
    script: Script, tool: Tool, folder: Path, target: Target, answering: Answering, *, everything: bool = False
) -> Played:
    """Play a script with both; then the server of the second has to be alive, and to have let nobody in.

    Args:
        script: Which.
        tool: tlsfuzzer.
        folder: Where the certificates are.
        target: A ``hauberk serve`` that asks for certificates.
        answering: What answers the script.
        everything: Whether to play all conversations, and not some of them by lot.

    Raises:
        AssertionError: The server is not alive, or has let somebody in.
        BrokenError: The script did not come to its end.
    """
    loose = Playing(script, tool, folder, target.port, target.kind, everything=False)
    try:
        found = [] if script.unasked else _asked(script, tool, folder, answering, everything=everything)
    finally:
        ended(loose.said())
    target.check_alive()
    unknown, known = judged(script, found)
    return Played(script, tuple(found), tuple(unknown), known)


def _asked(script: Script, tool: Tool, folder: Path, answering: Answering, *, everything: bool) -> list[Conversation]:
    port = answering.port(script.kind, script.clients)
    return read(Playing(script, tool, folder, port, script.kind, everything=everything).said())

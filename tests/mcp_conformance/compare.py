"""Play a scenario twice, bare and behind a guard that allows everything, and say what differs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from tests.mcp_conformance.suite import Played, Suite

BARE: Final = [sys.executable, "-m", "tests.mcp_conformance.client"]
ALLOW: Final = """allow = ["conformance/*", { server = "conformance", prompt = "*", resource = "*" }]
[sieve.asks]
sampling = "allow"
elicitation = "allow"
roots = "allow"
[sieve.schemas]
arguments = "alert"
results = "alert"
"""
"""The rules of the sieve under which nothing may differ: what no rule names is denied, and this names all there is."""


@dataclass(frozen=True, slots=True)
class Both:
    """What came of one scenario both ways."""

    revision: str
    scenario: str
    bare: Played
    guarded: Played
    codes: tuple[str, ...]
    """The code of each event that the guard recorded."""

    @property
    def same(self) -> bool:
        """Whether each check came out alike, as often, and the suite was as content."""
        return self.bare.checks == self.guarded.checks and self.bare.status == self.guarded.status

    @property
    def guarding(self) -> bool:
        """Whether the guard stood between, as its log shows, and denied nothing."""
        return "core.connected" in self.codes and "sieve.denied" not in self.codes

    @property
    def differences(self) -> list[str]:
        """Say in which checks the two ways differ."""
        keys = sorted(self.bare.checks.keys() | self.guarded.checks.keys())
        counts = [(key, self.bare.checks[key], self.guarded.checks[key]) for key in keys]
        found = [f"{name} {status}: bare {bare}, guarded {guarded}" for (name, status), bare, guarded in counts]
        lines = [line for line, (_, bare, guarded) in zip(found, counts, strict=True) if bare != guarded]
        if self.bare.status != self.guarded.status:
            lines.append(f"exit status: bare {self.bare.status}, guarded {self.guarded.status}")
        return lines

    def data(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "revision": self.revision,
            "scenario": self.scenario,
            "same": self.same,
            "passed": {"bare": self.bare.passed, "guarded": self.guarded.passed},
            "failed": {"bare": self.bare.failed, "guarded": self.guarded.failed},
            "status": {"bare": self.bare.status, "guarded": self.guarded.status},
            "judged": self.codes.count("core.allowed"),
            "differences": self.differences,
        }


@contextmanager
def guarded(rule: str = ALLOW) -> Iterator[tuple[list[str], Path]]:
    """Give the command of a client behind a guard with one rule, and the log that the guard writes."""
    with TemporaryDirectory() as folder:
        config, log = Path(folder) / "hauberk.toml", Path(folder) / "audit.jsonl"
        config.write_text(f'[sieve]\n{rule}\n[audit]\npath = "audit.jsonl"\nkey_file = "audit.key"\n')
        config.chmod(0o600)
        yield [*BARE, "--guard", str(config)], log


def both(suite: Suite, scenario: str, revision: str, rule: str = ALLOW) -> Both:
    """Play a scenario both ways."""
    with guarded(rule) as (command, log):
        behind = suite.play(scenario, revision, command)
        codes = tuple(json.loads(line)["code"] for line in _lines(log))
    return Both(revision, scenario, suite.play(scenario, revision, BARE), behind, codes)


def _lines(log: Path) -> list[str]:
    return log.read_text().splitlines() if log.exists() else []

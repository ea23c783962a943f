"""The public suite of certificates: what is refused must be, what is good passes, and the differences are known."""

from __future__ import annotations

import json
import os
import re
import selectors
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

ROOT: Final = Path(__file__).parents[3]
PAGE: Final = ROOT / "docs" / "tls-limbo.md"
SECONDS: Final = 1.0
"""For one case (seconds of CPU)."""
PATIENCE: Final = 20.0
"""For an answer (seconds)."""
pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def suite() -> Path:
    """Return the folder of the suite; skip where there is none."""
    folder = os.environ.get("HAUBERK_VECTORS")
    if not folder:
        pytest.skip("HAUBERK_VECTORS is not set: no conformance suites")
    return Path(folder) / "x509-limbo"


class Judge:
    """A child that judges, and is ended where it takes too long."""

    def __init__(self, suite: Path) -> None:
        command = [sys.executable, "-W", "ignore", "-m", "plugins.tls.tests.limbo", str(suite / "limbo.json")]
        self.child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT)
        self.ask("")

    def ask(self, case: str) -> dict[str, Any]:
        assert self.child.stdin is not None
        assert self.child.stdout is not None
        self.child.stdin.write(f"{case}\n".encode())
        self.child.stdin.flush()
        with selectors.DefaultSelector() as selector:
            selector.register(self.child.stdout, selectors.EVENT_READ)
            assert selector.select(PATIENCE), f"{case} takes longer than {PATIENCE} s"
        found: dict[str, Any] = json.loads(self.child.stdout.readline())
        return found

    def close(self) -> None:
        self.child.kill()
        self.child.communicate()


@pytest.fixture(scope="module")
def answers(suite: Path) -> Iterator[dict[str, dict[str, Any]]]:
    """Return what is said of each case."""
    judge = Judge(suite)
    try:
        yield {case["id"]: {**case, **judge.ask(case["id"])} for case in cases(suite)}
    finally:
        judge.close()


def cases(suite: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((suite / "limbo.json").read_bytes())["testcases"]
    assert len(found) > 200
    return found


def test_the_subset_is_right(suite: Path, answers: dict[str, dict[str, Any]]) -> None:
    """A83, S4.6: of the security subset what must be refused is, and what must pass does, in a second each."""
    subset = json.loads((suite / "subset.json").read_bytes())
    wrong = [id for id in subset["must_refuse"] if not answers[id]["ours"]]
    wrong += [id for id in subset["must_accept"] if answers[id]["why"] or answers[id]["ours"]]
    wrong += [id for id, answer in answers.items() if answer["seconds"] > SECONDS]
    assert (wrong, len(subset["must_refuse"]), len(subset["must_accept"])) == ([], 46, 31)


def test_the_differences_are_those_of_the_page(answers: dict[str, dict[str, Any]]) -> None:
    """A83: what is judged otherwise than the suite says stands in the table, with what pyca/cryptography says of it."""
    told = {}
    for id, answer in answers.items():
        if not answer["why"] and (answer["ours"] == "") != (answer["expected_result"] == "SUCCESS"):
            other = "none" if answer["pyca"] is None else "refused" if answer["pyca"] else "accepted"
            told[id] = (f"`{answer['ours']}`" if answer["ours"] else "accepted", other)
    page = re.findall(r"(?m)^\| `(\S+)` \| (\S+) \| (\S+) \| \S.* \|$", PAGE.read_text(encoding="utf-8"))
    assert told == {id: (here, other) for id, here, other in page}


def test_most_cases_are_run(answers: dict[str, dict[str, Any]]) -> None:
    """A83: few cases are left out, each for one of three reasons."""
    left = [answer["why"] for answer in answers.values() if answer["why"]]
    assert set(left) <= {"no key", "no name", "another time"}
    assert len(left) < 30
    both = [answer for answer in answers.values() if answer["pyca"] is not None]
    assert len(both) > 150


def test_each_refusal_has_a_code(answers: dict[str, dict[str, Any]]) -> None:
    """S4.6: no case is refused without a code of its own kind."""
    codes = {answer["ours"] for answer in answers.values() if answer["ours"]}
    assert "tls.handshake_failed" not in codes
    assert {"tls.untrusted", "tls.name_constraint", "tls.chain_too_long", "tls.expired", "tls.name_mismatch"} <= codes

"""``make mcp-conformance``: every scenario for clients, bare and guarded; whatever differs is a fault of the guard.

usage: python tests/mcp_conformance/run.py [--json FILE] [--folder FOLDER] [SCENARIO …]

The exit status is 1 where something differs, and 2 where the suite cannot be installed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.mcp_conformance.compare import Both, both  # noqa: E402 - after the path to it
from tests.mcp_conformance.suite import REVISIONS, SUITE, NotInstalledError, Suite, install  # noqa: E402 - as above


def main() -> int:
    """Play what is asked for, print a table, write JSON."""
    parser = argparse.ArgumentParser(description="Compare the SDK's client, bare and guarded, scenario by scenario.")
    parser.add_argument("scenarios", nargs="*", help="all of them by default")
    parser.add_argument("--json", type=Path, default=ROOT / "build" / "mcp_conformance.json", help="where they go")
    parser.add_argument("--folder", type=Path, default=ROOT / ".venvs" / "mcp-conformance", help="for the suite")
    arguments = parser.parse_args()
    try:
        suite = install(arguments.folder)
    except NotInstalledError as error:
        print(f"the conformance suite is not installed: {error}", file=sys.stderr)
        return 2
    started = time.monotonic()
    found = played(suite, arguments.scenarios)
    report(found, arguments.json, time.monotonic() - started)
    return 0 if found and all(one.same and one.guarding for one in found) else 1


def played(suite: Suite, chosen: list[str]) -> list[Both]:
    """Play the scenarios of each revision, as many at a time as there are cores, and print a line for each."""
    jobs = [(revision, name) for revision in REVISIONS for name in suite.scenarios(revision)]
    jobs = [job for job in jobs if not chosen or job[1] in chosen]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        first = list(pool.map(lambda job: both(suite, job[1], job[0]), jobs))
    found = []
    for one in first:
        # Some scenarios have times of their own to keep; alone, only what lasts differs.
        again = one if one.same else both(suite, one.scenario, one.revision)
        print(line(again, repeated=again is not one), flush=True)
        found.append(again)
    return found


def line(one: Both, *, repeated: bool) -> str:
    """Return a line of the table."""
    counts = "  ".join(f"{way.passed:3} passed {way.failed:2} failed" for way in (one.bare, one.guarded))
    verdict = ("same" if one.same else "DIFFERENT") if one.guarding else "NOT GUARDED"
    text = f"{one.revision}  {one.scenario:<38} {counts}  {one.codes.count('core.allowed'):2} judged  {verdict}"
    text += f", both exit {one.bare.status}" if one.same and one.bare.status else ""
    return "\n    ".join([text + (", played again" if repeated else ""), *one.differences])


def report(found: list[Both], path: Path, seconds: float) -> None:
    """Print the sums and write everything."""
    for revision in REVISIONS:
        of = [one for one in found if one.revision == revision]
        bare = f"{sum(one.bare.passed for one in of)} passed {sum(one.bare.failed for one in of)} failed"
        behind = f"{sum(one.guarded.passed for one in of)} passed {sum(one.guarded.failed for one in of)} failed"
        print(f"\n{revision}: {len(of)} scenarios; bare {bare}; guarded {behind}", end="")
    different = sum(not one.same for one in found)
    data = {
        "suite": SUITE,
        "mcp": version("mcp"),
        "python": platform.python_version(),
        "scenarios": [one.data() for one in found],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=1) + "\n")
    print(f"\n{len(found)} scenarios, {different} different, in {seconds:.0f} s; written to {path}")


if __name__ == "__main__":
    raise SystemExit(main())

"""``make bench-peers``: print what hauberk costs beside its peers, as ratios of this run, and write them as JSON.

usage: python tests/bench/peers/run.py [--json FILE]

The exit status is 1 where a bar is missed, and 2 where a peer could not be measured.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))

from tests.bench.measure import Layout, Row, missed, table  # noqa: E402 - after the path to it
from tests.bench.peers import dispatch, proxies  # noqa: E402 - as above
from tests.bench.peers.environments import NAMES, MissingError, Peer, find  # noqa: E402 - as above

LAYOUT: Final = Layout(80, "7.4f", ".3f", 10)
_FAILED: Final = (RuntimeError, OSError, ValueError, LookupError)


def main() -> int:
    """Measure what is installed, and say what is not."""
    parser = argparse.ArgumentParser(description="Measure hauberk beside its peers, as ratios within one run.")
    parser.add_argument("--json", type=Path, default=ROOT / "build" / "bench-peers.json", help="where they go")
    arguments = parser.parse_args()
    peers, missing = installed()
    rows: list[Row] = []
    standing = [peer for peer in peers if peer.name != "cpex" and works(peer, missing)]
    if standing:
        measured("proxies", lambda: proxies.run(standing), rows, missing)
    for peer in peers:
        if peer.name == "cpex":
            measured("cpex", partial(dispatch.run, peer), rows, missing)
    for line in table(rows, LAYOUT):
        print(line)
    report(arguments.json, peers, rows, missing)
    if missing:
        return 2
    return 1 if missed(rows) else 0


def installed() -> tuple[list[Peer], dict[str, str]]:
    """Return the peers that are there, and why the others are not."""
    peers, missing = [], {}
    for name in NAMES:
        try:
            peers.append(find(name))
        except MissingError as error:
            missing[name] = str(error)
    for peer in peers:
        print(told(peer.name, peer.versions))
    return peers, missing


def told(name: str, versions: Mapping[str, str]) -> str:
    """Return the line that says what is measured."""
    return f"{name}: {', '.join(f'{package} {version}' for package, version in versions.items())}"


def works(peer: Peer, missing: dict[str, str]) -> bool:
    """Whether a call passes through a peer; if not, say why."""
    try:
        proxies.check(peer)
    except _FAILED as error:
        missing[peer.name] = f"{type(error).__name__}: {error}"
        return False
    return True


def measured(what: str, measure: Callable[[], list[Row]], rows: list[Row], missing: dict[str, str]) -> None:
    """Add what a measurement gives, or why there is nothing."""
    try:
        rows += measure()
    except _FAILED as error:
        missing[what] = f"{type(error).__name__}: {error}"


def report(path: Path, peers: list[Peer], rows: list[Row], missing: dict[str, str]) -> None:
    """Write everything, and say what could not be measured."""
    data: dict[str, Any] = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "load": os.getloadavg()[0],
        "peers": {peer.name: peer.versions for peer in peers},
        "rows": [row.data() for row in rows],
        "missing": missing,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=1) + "\n")
    for name, why in missing.items():
        print(f"\nNOT MEASURED: {name}: {why}")
    print(f"\n{total(rows, missing)}; written to {path}")


def total(rows: Sequence[Row], missing: Mapping[str, str]) -> str:
    """Return the last line of the table."""
    return f"{len(rows)} figures, {missed(rows)} over their bar, {len(missing)} not measured"


if __name__ == "__main__":
    raise SystemExit(main())

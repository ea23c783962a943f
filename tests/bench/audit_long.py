"""Verify logs of any length: memory that does not grow, and how many entries a second.

usage: python tests/bench/audit_long.py [--json FILE] [ENTRIES …]

A log of each length is written to a temporary folder and verified by a process of its own, which may not have more than
512 MiB of address space. What is growth is its peak of resident memory, beside that for the first length; what is the
speed is CPU time, and beside it stands that of nothing but the HMAC of the same lines. Ten million entries take 7.4 GB.
For Linux.
"""

from __future__ import annotations

import argparse
import itertools
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

from tests.bench.auditing import EVENT, KEY, macs  # noqa: E402 - after the path to it

from hauberk_audit._entry import render  # noqa: E402 - as above
from hauberk_audit.verifying._verify import verify  # noqa: E402 - as above
from hauberk_audit.writing._chain import GENESIS, Chain  # noqa: E402 - as above

LENGTHS: Final = (10_000, 1_000_000)
ADDRESS_SPACE: Final = 512 * 1024 * 1024
"""Bytes that a verifier may have (A27)."""
ALLOWED_KIB: Final = 8 * 1024
"""KiB by which it may grow."""
AT_ONCE: Final = 10_000
HMACS: Final = 200_000
"""Entries of which nothing but the HMAC is made."""


def lines(count: int) -> Iterator[bytes]:
    """Yield the lines of a chain."""
    signer, body, digest = Chain(KEY), render(EVENT), GENESIS
    for number in range(1, count + 1):
        line, digest = signer.seal(body, number, digest)
        yield line


def write(path: Path, count: int) -> None:
    """Write a log."""
    with path.open("wb") as file:
        written = lines(count)
        while some := list(itertools.islice(written, AT_ONCE)):
            file.write(b"".join(some))


def verified(path: Path) -> None:
    """Verify a log in this process; write what it took to standard output."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    start, wall = time.process_time(), time.monotonic()
    report = verify([path], KEY)
    taken = {"cpu": time.process_time() - start, "wall": time.monotonic() - wall}
    sys.stdout.write(json.dumps(taken | {"status": report.status, "entries": report.entries, "kib": peak()}))


def peak() -> int:
    """Return the most memory that this process had (KiB); `resource` would count that of the one that began it."""
    status = Path("/proc/self/status").read_text("ascii")
    return int(status.partition("VmHWM:")[2].split()[0])


def hmacs() -> float:
    """Return how many entries a second nothing but the HMAC of each line takes."""
    some = list(lines(HMACS))
    start = time.process_time()
    macs(some)
    return HMACS / (time.process_time() - start)


def measured(folder: Path, count: int) -> dict[str, Any]:
    """Write a log, have it verified, and delete it."""
    path = folder / "audit.jsonl"
    write(path, count)
    command = [sys.executable, __file__, "--verify", str(path)]
    size = path.stat().st_size
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    path.unlink()
    found: dict[str, Any] = json.loads(done.stdout)
    return {"count": count, "bytes": size} | found


def told(report: Any) -> Iterator[str]:
    """Yield the table of a run."""
    yield f"{'entries':>12} {'MB':>8} {'entries/s':>10} {'peak KiB':>9} {'growth':>7}"
    for row in report["rows"]:
        figures = f"{row['rate']:>10,} {row['kib']:>9,} {row['growth']:>7,}"
        verdict = "" if row["status"] == 0 and row["entries"] == row["count"] else "  does not verify"
        yield f"{row['count']:>12,} {row['bytes'] / 1e6:>8,.0f} {figures}{verdict}"
    yield f"nothing but the HMAC of each line: {report['hmac']:,} a second"


def main() -> int:
    """Print a table; the exit status is 1 where memory grew, or a log did not verify."""
    parser = argparse.ArgumentParser(description="Verify long logs.")
    parser.add_argument("lengths", nargs="*", type=int, default=list(LENGTHS), help="entries (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--verify", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.verify:
        verified(arguments.verify)
        return 0
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="hauberk-long-") as folder:
        for count in arguments.lengths:
            row = measured(Path(folder), count)
            row["rate"], row["growth"] = round(count / row["cpu"]), row["kib"] - (rows or [row])[0]["kib"]
            rows.append(row)
    report = {"python": platform.python_version(), "machine": platform.machine(), "hmac": round(hmacs()), "rows": rows}
    for line in told(report):
        print(line)
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    sound = all((row["status"], row["entries"]) == (0, row["count"]) for row in rows)
    return 0 if sound and max(row["growth"] for row in rows) <= ALLOWED_KIB else 1


if __name__ == "__main__":
    raise SystemExit(main())

"""``make tls-scan``: sslyze, testssl and tlsfuzzer with all that they have, against ``hauberk serve``.

usage: python tests/tls_scan/run.py [--json FILE] [--folder FOLDER] [--only TOOL] [SCRIPT …]

The exit status is 1 where something is found that nobody has given a reason for, and 2 where a tool cannot be had.
"""

from __future__ import annotations

import argparse
import json
import platform
import ssl
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import click

ROOT: Final = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.tls_scan import scanners, tools  # noqa: E402 - after the path to it
from tests.tls_scan.fuzzer import BrokenError, Script  # noqa: E402 - as above
from tests.tls_scan.scanning import Played, play  # noqa: E402 - as above
from tests.tls_scan.scripts import SCRIPTS  # noqa: E402 - as above
from tests.tls_scan.sides import Answering, certificates, served  # noqa: E402 - as above

Found = dict[str, Any]


def main() -> int:
    """Scan with what is asked for, print a table, write JSON."""
    parser = argparse.ArgumentParser(description="Scan `hauberk serve` under TLS with sslyze, testssl and tlsfuzzer.")
    parser.add_argument("scripts", nargs="*", help="of tlsfuzzer; all of them by default")
    parser.add_argument("--json", type=Path, default=ROOT / "build" / "tls_scan.json", help="where the results go")
    parser.add_argument("--folder", type=Path, default=ROOT / ".venvs" / "tls-scan", help="for the tools")
    parser.add_argument("--only", choices=list(_SCANS), help="one of the tools")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    click.echo(f"Python {platform.python_version()}, {ssl.OPENSSL_VERSION}, {platform.platform()}")
    data: Found = {"python": platform.python_version(), "openssl": ssl.OPENSSL_VERSION}
    bad, missing = 0, 0
    for name, scan in _SCANS.items():
        if arguments.only not in (None, name):
            continue
        started = time.monotonic()
        try:
            data[name], count = scan(arguments)
        except tools.MissingError as error:
            click.echo(f"{name}: NOT RUN: {error}")
            missing += 1
        else:
            bad += count
            click.echo(f"{name}: {count} without a reason, in {time.monotonic() - started:.0f} s\n")
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(data, indent=1) + "\n")
    click.echo(f"written to {arguments.json}")
    return 1 if bad else 2 if missing else 0


def _sslyze(arguments: argparse.Namespace) -> tuple[Found, int]:
    tool = tools.sslyze(arguments.folder)
    with TemporaryDirectory() as place:
        folder = Path(place)
        certificates(folder)
        with served(folder) as target:
            own = folder / "ec" / "scanner-ec"
            found = scanners.run_sslyze(tool, target.port, own.with_suffix(".pem"), own.with_suffix(".key"))
            target.check_alive()
    return _told(f"sslyze {tool.version}", tool, scanners.judged_sslyze(found))


def _testssl(arguments: argparse.Namespace) -> tuple[Found, int]:
    tool = tools.testssl()
    with TemporaryDirectory() as place:
        folder = Path(place)
        certificates(folder)
        with served(folder) as target:
            found = scanners.run_testssl(tool, target.port, folder / "ec" / "ca.pem")
            target.check_alive()
    return _told(f"testssl {tool.version}: {len(found)} lines", tool, scanners.judged_testssl(found))


def _told(title: str, tool: tools.Tool, findings: list[str]) -> tuple[Found, int]:
    click.echo(title)
    unlisted = scanners.unlisted(findings)
    for text in findings:
        click.echo(f"  {text}: " + ("WITHOUT A REASON" if text in unlisted else f"listed, {scanners.LISTED[text]}"))
    return {"version": tool.version, "findings": findings, "unlisted": unlisted}, len(unlisted)


def _tlsfuzzer(arguments: argparse.Namespace) -> tuple[Found, int]:
    tool = tools.tlsfuzzer(arguments.folder)
    click.echo(f"tlsfuzzer {tool.version}")
    found: list[Found] = []
    with TemporaryDirectory() as place:
        folder = Path(place)
        certificates(folder)
        answering = Answering(folder)
        with served(folder, "rsa") as target:
            for script in SCRIPTS:
                if arguments.scripts and script.name not in arguments.scripts:
                    continue
                started = time.monotonic()
                try:
                    played = play(script, tool, folder, target, answering, everything=True)
                except BrokenError as error:
                    played = Played(script, (), (str(error),))
                found.append(_line(played, time.monotonic() - started))
        answering.close()
    bad = sum(len(one["unknown"]) for one in found)
    passed, known = (sum(one[word] for one in found) for word in ("passed", "known"))
    click.echo(f"{len(found)} scripts: {passed} conversations passed, {known} known, {bad} failed; alive after each")
    return {"version": tool.version, "scripts": found}, bad


def _line(played: Played, seconds: float) -> Found:
    script: Script = played.script
    name = " ".join((script.name, *script.arguments))
    known = sum(played.known.values())
    on = sum(count for entry, count in played.known.items() if entry.goes_on)
    counts = f"{played.passed:5} passed {known:4} known {len(played.unknown):3} failed"
    click.echo(f"  {name[:48]:48} {script.kind:8} {(script.unasked and 'let loose') or counts}  alive  {seconds:.0f} s")
    for text in played.unknown:
        click.echo(f"      {text}")
    for entry in script.known:
        if not played.known[entry]:
            click.echo(f"      no such failure any more: {entry.names}")
    row: Found = {"script": name, "kind": script.kind, "clients": script.clients, "passed": played.passed}
    return row | {"known": known, "gone on": on, "unknown": played.unknown, "unasked": script.unasked}


_SCANS: Final[dict[str, Callable[[argparse.Namespace], tuple[Found, int]]]] = {
    "sslyze": _sslyze,
    "testssl": _testssl,
    "tlsfuzzer": _tlsfuzzer,
}


if __name__ == "__main__":
    raise SystemExit(main())

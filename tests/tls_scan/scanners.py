"""sslyze and testssl: what they find that is not as it should be, from what they write for machines.

A finding is a line of text, the same one for the same thing. What is here to stay stands in `LISTED`, with its reason.
"""

from __future__ import annotations

import json
import re
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from tests.tls_scan.tools import Tool

_OLD: Final = {
    "ssl_2_0": "SSL 2.0",
    "ssl_3_0": "SSL 3.0",
    "tls_1_0": "TLS 1.0",
    "tls_1_1": "TLS 1.1",
    "tls_1_2": "TLS 1.2",
}
_SUITES: Final = ("TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")
_CURVES: Final = ("X25519", "X448", "secp256r1", "secp384r1", "secp521r1", "X25519MLKEM768")
_ASKED: Final = (
    *("--sslv2", "--sslv3", "--tlsv1", "--tlsv1_1", "--tlsv1_2", "--tlsv1_3", "--compression", "--early_data"),
    *("--reneg", "--heartbleed", "--openssl_ccs", "--robot", "--fallback", "--elliptic_curves", "--ems"),
)
_FLAWS: Final = (
    ("tls_compression", "supports_compression", "compression is offered"),
    ("tls_1_3_early_data", "supports_early_data", "early data is taken"),
    ("session_renegotiation", "is_vulnerable_to_client_renegotiation_dos", "a client can renegotiate"),
    ("heartbleed", "is_vulnerable_to_heartbleed", "heartbleed"),
    ("openssl_ccs_injection", "is_vulnerable_to_ccs_injection", "CCS injection"),
)
"""Scan, field, and what it means if that is not false."""
_MERITS: Final = (
    ("session_renegotiation", "supports_secure_renegotiation", "no secure renegotiation"),
    ("tls_fallback_scsv", "supports_fallback_scsv", "no protection against a downgrade"),
)
"""Scan, field, and what it means if that is not true."""
_WANTED: Final = (
    *(f"{name}_cipher_suites" for name in (*_OLD, "tls_1_3")),
    *dict.fromkeys(name for name, *_ in (*_FLAWS, *_MERITS)),
    *("robot", "elliptic_curves"),
)
"""What sslyze has to have looked for."""
_FINE: Final = ("OK", "INFO", "DEBUG")
_NO: Final = re.compile(r"not (?:offered|vulnerable|supported)|TLS 1\.3 only")
_PROTOCOLS: Final = ("SSLv2", "SSLv3", "TLS1", "TLS1_1", "TLS1_2")
ABSENT: Final = (
    *("cipherlist_NULL", "cipherlist_aNULL", "cipherlist_EXPORT", "cipherlist_LOW", "cipherlist_3DES_IDEA"),
    *("heartbleed", "CCS", "CRIME_TLS", "POODLE_SSL", "FREAK", "DROWN", "LOGJAM", "BEAST", "LUCKY13", "RC4"),
    *("secure_client_renego",),
)
"""What testssl has to have looked for; in the words of its version 3.0."""
PATIENCE: Final = 500
"""Seconds that a scan may take."""

_SUITE: Final = (
    "the interpreter cannot restrict the suites of TLS 1.3 before Python 3.15; `hauberk serve` refuses the connection "
    "after its handshake, before anything is said (`tls.weak_cipher`)"
)
LISTED: Final = {
    "sslyze: TLS_AES_128_GCM_SHA256 is offered": _SUITE,
    "testssl: cert_revocation HIGH Neither CRL nor OCSP URI provided": (
        "both ends have the list as a file (`crl`); nobody is asked online"
    ),
    "testssl: DNS_CAArecord LOW --": "the authority is one's own; no public one is to issue for these names",
    "testssl: sessionresumption_ticket WARN check failed because of connect problem": (
        "testssl agrees on no protocol (ALPN), so that it is refused before it has a ticket"
    ),
}
"""What is found and is to stay, with its reason; everything else is a failure."""


def unlisted(findings: list[str]) -> list[str]:
    """Return the findings that nobody has given a reason for."""
    restricts = hasattr(ssl.SSLContext, "set_ciphersuites")
    listed = {text for text, reason in LISTED.items() if not (restricts and reason == _SUITE)}
    return [text for text in findings if text not in listed]


# --- sslyze ---


def run_sslyze(tool: Tool, port: int, certificate: Path, key: Path) -> dict[str, Any]:
    """Scan a port of this machine with a client certificate; return what was found of it."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "found.json"
        words = [
            *_ASKED,
            "--slow_connection",
            "--mozilla_config=disable",
            f"--json_out={path}",
            "--cert",
            str(certificate),
        ]
        done = _run([*tool.command, *words, "--key", str(key), f"127.0.0.1:{port}"])
        assert path.exists(), done
        (result,) = json.loads(path.read_bytes())["server_scan_results"]
    assert result["connectivity_status"] == "COMPLETED", result["connectivity_error_trace"]
    found: dict[str, Any] = result["scan_result"]
    return found


def judged_sslyze(found: dict[str, Any]) -> list[str]:
    """Return what sslyze found that should not be."""
    return [f"sslyze: {text}" for text in _sslyze(found)]


def _sslyze(found: dict[str, Any]) -> Iterator[str]:
    for name in _WANTED:
        if found[name]["status"] != "COMPLETED":
            yield f"{name} was not scanned ({found[name]['status']}, {found[name]['error_reason']})"
    results = {name: scan["result"] or {} for name, scan in found.items()}
    yield from _suites(results)
    yield from (text for name, field, text in _FLAWS if results[name].get(field) is not False)
    yield from (text for name, field, text in _MERITS if results[name].get(field) is not True)
    if not str(results["robot"].get("robot_result")).startswith("NOT_VULNERABLE"):
        yield f"ROBOT: {results['robot'].get('robot_result')}"
    for curve in results["elliptic_curves"].get("supported_curves") or ():
        if curve["name"] not in _CURVES:
            yield f"the curve {curve['name']} is offered"


def _suites(results: dict[str, Any]) -> Iterator[str]:
    for name, version in _OLD.items():
        suites = results[f"{name}_cipher_suites"]
        if suites.get("is_tls_version_supported") is not False or suites.get("accepted_cipher_suites") != []:
            yield f"{version} is offered"
    newest = results["tls_1_3_cipher_suites"]
    if newest.get("is_tls_version_supported") is not True:
        yield "TLS 1.3 is not offered"
    for accepted in newest.get("accepted_cipher_suites", ()):
        if (suite := accepted["cipher_suite"]["name"]) not in _SUITES:
            yield f"{suite} is offered"


# --- testssl ---


def run_testssl(tool: Tool, port: int, ca: Path, *chosen: str) -> list[dict[str, str]]:
    """Scan a port of this machine; return what was found.

    Args:
        tool: testssl.
        port: The port.
        ca: Whom to trust.
        chosen: Its options for parts of the scan; without any, all of it.
    """
    with TemporaryDirectory() as folder:
        path = Path(folder) / "found.json"
        quiet = ("--quiet", "--color", "0", "--warnings", "off", "-n", "none", "--add-ca", str(ca))
        done = _run([*tool.command, *quiet, "--jsonfile", str(path), *chosen, f"127.0.0.1:{port}"])
        assert path.exists(), done
        found: list[dict[str, str]] = json.loads(path.read_bytes())
    return found


def judged_testssl(found: list[dict[str, str]]) -> list[str]:
    """Return what testssl found that should not be, and what it did not look for."""
    return [f"testssl: {text}" for text in dict.fromkeys(_testssl(found))]


def _testssl(found: list[dict[str, str]]) -> Iterator[str]:
    said: dict[str, list[str]] = {}
    for one in found:
        said.setdefault(one["id"], []).append(one["finding"])
        if one["severity"] not in _FINE:
            yield f"{one['id']} {one['severity']} {one['finding'].strip()}"
    for name in _PROTOCOLS:
        if not all(text.startswith("not offered") for text in said.get(name, ["it was not asked for"])):
            yield f"{name} is offered"
    if not any(text.startswith("offered") for text in said.get("TLS1_3", ())):
        yield "TLS1_3 is not offered"
    for name in ABSENT:
        for text in said.get(name, ["it was not looked for"]):
            if _NO.match(text) is None:
                yield f"{name}: {text}"


def _run(command: list[str]) -> str:
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    return f"{done.returncode}\n{done.stdout}\n{done.stderr}"

"""How what the tools say is judged: what is not said is no good sign. Needs none of the tools."""

from __future__ import annotations

import re
from typing import Any

import pytest
from tests.tls_scan import scanners
from tests.tls_scan.fuzzer import BrokenError, Conversation, Known, Script, judged, read
from tests.tls_scan.scripts import SCRIPTS

GOOD = """first ...
OK

second, with a word ...
Error encountered while processing node ExpectAlert() with last message being: None
Error while processing
Traceback (most recent call last):
  File "runner.py", line 1, in run
AssertionError: Unexpected closure from peer

"third" repeat 0...
OK

What it is about.

Test end
====================
TOTAL: 3
SKIP: 0
PASS: 2
XFAIL: 0
FAIL: 1
XPASS: 0
====================
"""
KNOWN = Known("second, .*", "closure", "as it is")
OPEN = {"is_tls_version_supported": True, "accepted_cipher_suites": [{"cipher_suite": {"name": "TLS_AES_128_CCM"}}]}


def test_conversations_are_read() -> None:
    """Each conversation has its name, and the last error that is told of it."""
    assert read(GOOD) == [
        Conversation("first", ""),
        Conversation("second, with a word", "AssertionError: Unexpected closure from peer"),
        Conversation('"third" repeat 0', ""),
    ]


@pytest.mark.parametrize(
    "output",
    [
        "",
        "Traceback (most recent call last):\nImportError: no module",
        GOOD.partition("Test end")[0],
        GOOD.replace("PASS: 2", "PASS: 3"),
        GOOD.replace("second, with a word ...", "second, with a word"),
        re.sub(r"(?s)^.*(?=What it)", "", GOOD).replace("PASS: 2", "PASS: 0").replace("FAIL: 1", "FAIL: 0"),
    ],
)
def test_a_script_that_breaks_off_is_no_success(output: str) -> None:
    """An output without an end, with other sums than its conversations have, or with none, is an error."""
    with pytest.raises(BrokenError):
        read(output)


def test_what_is_not_known_is_told() -> None:
    """A conversation that fails is known by its name and by what is said of it, both."""
    (*_, failed, _) = found = read(GOOD)
    assert judged(Script("x"), found)[0] == [f"x: {failed.name}: {failed.error}"]
    assert judged(Script("x", known=(KNOWN,)), found) == ([], {KNOWN: 1})
    other = Known("second, .*", "timeout", "as it is")
    assert len(judged(Script("x", known=(other,)), found)[0]) == 1


def test_what_is_to_fail_and_passes_is_told() -> None:
    """Where a failure is the point of it (TLS 1.2 is refused), a conversation that succeeds is one that failed."""
    strict = Known("first", "protocol_version", "TLS 1.3 only", strict=True)
    unknown, _ = judged(Script("x", known=(strict, KNOWN)), read(GOOD))
    assert unknown == ["x: first: it passes, and is not to: TLS 1.3 only"]


def test_scripts_are_listed_once() -> None:
    """No script is used twice in one way; each of its known failures has a reason, and an expression that can match."""
    ways = [(one.name, one.arguments, one.kind, one.clients) for one in SCRIPTS]
    assert len(ways) == len(set(ways))
    known = [entry for one in SCRIPTS for entry in one.known]
    assert all(entry.reason and re.compile(entry.names).groups >= 0 for entry in known)
    assert [one.name for one in SCRIPTS if one.unasked and one.known] == []


def scanned(**results: Any) -> dict[str, Any]:
    closed = {"is_tls_version_supported": False, "accepted_cipher_suites": []}
    only = {"is_tls_version_supported": True, "accepted_cipher_suites": []}
    found: dict[str, Any] = {f"{name}_cipher_suites": closed for name in ("ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1")}
    found |= {"tls_1_2_cipher_suites": closed, "tls_1_3_cipher_suites": only}
    found |= {
        "tls_compression": {"supports_compression": False},
        "tls_1_3_early_data": {"supports_early_data": False},
        "session_renegotiation": {
            "is_vulnerable_to_client_renegotiation_dos": False,
            "supports_secure_renegotiation": True,
        },
        "heartbleed": {"is_vulnerable_to_heartbleed": False},
        "openssl_ccs_injection": {"is_vulnerable_to_ccs_injection": False},
        "tls_fallback_scsv": {"supports_fallback_scsv": True},
        "robot": {"robot_result": "NOT_VULNERABLE_NO_ORACLE"},
        "elliptic_curves": {"supported_curves": [{"name": "X25519"}]},
    }
    return {
        name: {"status": "COMPLETED", "error_reason": None, "result": one} for name, one in (found | results).items()
    }


@pytest.mark.parametrize(
    ("scan", "result", "told"),
    [
        ("ssl_2_0_cipher_suites", OPEN, "SSL 2.0 is offered"),
        ("tls_1_2_cipher_suites", OPEN, "TLS 1.2 is offered"),
        ("tls_1_3_cipher_suites", OPEN, "TLS_AES_128_CCM is offered"),
        ("tls_1_3_cipher_suites", {"is_tls_version_supported": False}, "TLS 1.3 is not offered"),
        ("tls_compression", {"supports_compression": True}, "compression is offered"),
        ("tls_1_3_early_data", {"supports_early_data": True}, "early data is taken"),
        ("tls_1_3_early_data", {}, "early data is taken"),
        ("tls_fallback_scsv", {"supports_fallback_scsv": False}, "no protection against a downgrade"),
        ("robot", {"robot_result": "VULNERABLE_WEAK_ORACLE"}, "ROBOT: VULNERABLE_WEAK_ORACLE"),
        ("elliptic_curves", {"supported_curves": [{"name": "secp192r1"}]}, "the curve secp192r1 is offered"),
    ],
)
def test_what_sslyze_says(scan: str, result: Any, told: str) -> None:
    """Each thing that sslyze finds is told, and so is what it did not come to find."""
    assert scanners.judged_sslyze(scanned()) == []
    assert f"sslyze: {told}" in scanners.judged_sslyze(scanned(**{scan: result}))
    unfinished = scanned() | {scan: {"status": "ERROR", "error_reason": "BUG", "result": None}}
    assert f"sslyze: {scan} was not scanned (ERROR, BUG)" in scanners.judged_sslyze(unfinished)


def said() -> list[dict[str, str]]:
    rows = [(name, "not offered") for name in ("SSLv2", "SSLv3", "TLS1", "TLS1_1", "TLS1_2")]
    rows += [("TLS1_3", "offered with final")] + [(name, "not vulnerable") for name in scanners.ABSENT]
    return [{"id": name, "severity": "OK", "finding": text} for name, text in rows]


@pytest.mark.parametrize("place", range(len(said())))
def test_what_testssl_says(place: int) -> None:
    """Each thing that testssl is to look for is told where it is there, and where it was not looked for."""
    assert scanners.judged_testssl(said()) == []
    rows = said()
    name = rows[place]["id"]
    assert scanners.judged_testssl(rows[:place] + rows[place + 1 :]) != []
    rows[place] |= {"finding": "not offered" if name == "TLS1_3" else "offered"}
    assert scanners.judged_testssl(rows) != []


@pytest.mark.parametrize("severity", ["LOW", "MEDIUM", "HIGH", "CRITICAL", "WARN", "FATAL"])
def test_what_testssl_finds_grave(severity: str) -> None:
    """Whatever testssl finds more than remarkable is told, whether or not we know of it."""
    new = {"id": "new", "severity": severity, "finding": "a weakness"}
    found = scanners.judged_testssl([*said(), new])
    assert found == [f"testssl: new {severity} a weakness"]
    assert scanners.unlisted(found) == found

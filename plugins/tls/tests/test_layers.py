"""What is checked twice, by OpenSSL and again here: each of the two holds without the other."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st
from plugins.tls.tests.maker import CLIENT, DAY, NOW, Ca, Issued

from hauberk.connection import Peer, Role
from hauberk.refusals import Refused
from hauberk_tls import _contexts
from hauberk_tls._chain import odd_key
from hauberk_tls._facts import facts, load
from hauberk_tls._limits import LIMITS, shown
from hauberk_tls._lists import Lists
from hauberk_tls._names import as_address, asked, is_common_name, is_dns_name, matches
from hauberk_tls._options import Options
from hauberk_tls._own import Own
from hauberk_tls._peer import Check
from hauberk_tls._trust import Trust

ROOT = Path(__file__).parents[3]
CA = Ca()
TRUST = Trust((), CA.pem.decode(), b"", ())
GOOD = CA.issue("files.example")


class Verified:
    """A connection that OpenSSL let through, whatever its certificate."""

    session_reused = True

    def __init__(self, der: bytes | None, **more: Any) -> None:
        self.der = der
        self.agreed: dict[str, Any] = {
            "version": "TLSv1.3",
            "cipher": ("TLS_AES_256_GCM_SHA384", "TLSv1.3", 256),
            "selected_alpn_protocol": "hauberk.jsonl/1",
            **more,
        }

    def getpeercert(self, *, binary_form: bool) -> bytes | None:
        return self.der

    def __getattr__(self, name: str) -> Any:
        return lambda: self.agreed[name]


def checked(
    shown: Issued | None, role: Role = "client", lists: tuple[x509.CertificateRevocationList, ...] = (), **changed: Any
) -> str:
    """Return the code that refuses a peer after the handshake, or nothing."""
    agreed = {key: changed.pop(key) for key in ("version", "cipher", "selected_alpn_protocol") if key in changed}
    check = Check(
        role=role,
        carrier="tls",
        name="files.example" if role == "client" else None,
        options=msgspec.structs.replace(Options(ca=Path("ca.pem")), **changed),
        lists=Lists(lists, (CA.certificate,)),
        who="somebody",
        now=NOW.timestamp,
    )
    try:
        check(Peer("tls", "", tls=Verified(None if shown is None else shown.der, **agreed)))  # type: ignore[arg-type]
    except Refused as error:
        return error.code.removeprefix("tls.")
    return ""


@pytest.mark.parametrize(
    ("issued", "code"),
    [
        (GOOD, ""),
        (CA.issue("files.example", until=NOW - DAY, since=NOW - 2 * DAY), "expired"),
        (CA.issue("files.example", since=NOW + DAY), "not_yet_valid"),
        (CA.issue("files.example", purposes=None), "wrong_purpose"),
        (CA.issue("files.example", purposes=[CLIENT]), "wrong_purpose"),
        (CA.issue("other.example"), "name_mismatch"),
        (CA.issue(common="files.example"), "name_mismatch"),
        (CA.issue("files.example", common="other.example"), "cn_mismatch"),
        (CA.issue("files.example", authority=True), "bad_certificate"),
        (None, "untrusted"),
    ],
)
def test_what_openssl_let_through(issued: Issued | None, code: str) -> None:
    """S0.12, S0.13, S4.6: what a handshake, or a resumed session, let through is refused after it all the same."""
    assert checked(issued) == code


def test_what_was_agreed_on() -> None:
    """S0.9, S0.10, A81: version, suite and protocol are looked at, whatever the context let through."""
    assert checked(GOOD, version="TLSv1.2") == "old_version"
    assert checked(GOOD, version=None) == "cut_off"
    assert checked(GOOD, cipher=("TLS_AES_128_GCM_SHA256", "TLSv1.3", 128)) == "weak_cipher"
    assert checked(GOOD, cipher=None) == "weak_cipher"
    assert checked(GOOD, selected_alpn_protocol=None) == "no_alpn"


def test_lists_are_looked_at_again() -> None:
    """S0.19: a certificate on a list is refused in a resumed session, where OpenSSL does not look."""
    assert checked(GOOD, lists=(x509.load_pem_x509_crl(CA.crl()),)) == ""
    assert checked(GOOD, lists=(x509.load_pem_x509_crl(CA.crl(GOOD)),)) == "revoked"
    assert checked(GOOD, lists=(x509.load_pem_x509_crl(Ca("Other").crl()),)) == "crl_unusable"


def test_clients_without_a_certificate() -> None:
    """S4.3, S4.4, S0.14: who shows none is refused where one is required, and nobody where none is."""
    assert checked(None, "server") == "no_client_certificate"
    assert checked(None, "server", client_certificates="optional") == ""
    unread = CA.issue("host.example", purposes=None)
    assert checked(unread, "server") == "wrong_purpose"
    assert checked(unread, "server", client_certificates="none") == ""


def test_contexts_are_strict() -> None:
    """S0.9, V7, A82: what OpenSSL is told is strict by itself, whatever is checked after it."""
    client = _contexts.for_client(Options(ca=Path("ca.pem")), Own(()), TRUST, "x")
    server = _contexts.for_server(Options(ca=Path("ca.pem")), Own((), GOOD.chain, GOOD.key_pem()), TRUST, "x")
    for context in (client, server):
        assert context.minimum_version == context.maximum_version == ssl.TLSVersion.TLSv1_3
        assert context.verify_mode == ssl.CERT_REQUIRED
        assert context.verify_flags & ssl.VERIFY_X509_STRICT
        assert context.security_level == 2
        assert str(context.keylog_filename) == "None"
        assert context.options & ssl.OP_NO_COMPRESSION
        assert context.options & ssl.OP_NO_RENEGOTIATION
    assert client.check_hostname
    assert not client.hostname_checks_common_name


WEAK = """
openssl_conf = conf
[conf]
ssl_conf = ssl
[ssl]
system_default = weak
[weak]
CipherString = DEFAULT:@SECLEVEL=0
MinProtocol = TLSv1
"""
LEVEL = """
from pathlib import Path
from hauberk_tls import _contexts
from hauberk_tls._options import Options
from hauberk_tls._own import Own
from plugins.tls.tests.test_layers import TRUST
context = _contexts.for_client(Options(ca=Path("ca.pem")), Own(()), TRUST, "x")
print(context.security_level, context.minimum_version.name)
"""


def test_a_weak_system(tmp_path: Path) -> None:
    """A81, X.5: what the system, or OPENSSL_CONF, says of weak keys and old versions has no say here."""
    path = tmp_path / "openssl.cnf"
    path.write_text(WEAK)
    environment = {**os.environ, "OPENSSL_CONF": str(path)}
    done = subprocess.run(
        [sys.executable, "-c", LEVEL], capture_output=True, text=True, timeout=30, env=environment, cwd=ROOT, check=True
    )
    assert done.stdout == "2 TLSv1_3\n"


def test_odd_certificates_are_read_as_bad() -> None:
    """S4.6: a certificate that says one thing twice, or is none, is refused and breaks nothing."""
    with pytest.raises(ValueError, match=r"\S"):
        facts(b"hello")
    with pytest.raises(ValueError, match="one of 1 to 20 bytes"):
        load(with_serial(0x80))


def with_serial(first: int) -> bytes:
    """Return a certificate whose serial number begins with another byte; its signature is not looked at here."""
    der = bytearray(GOOD.der)
    number = GOOD.certificate.serial_number
    der[der.index(number.to_bytes(-(-(number.bit_length() + 1) // 8)))] = first
    return bytes(der)


def test_kinds_of_keys() -> None:
    """S0.15: a chain with a key that is neither RSA nor on a curve is refused."""
    from cryptography.hazmat.primitives.asymmetric import dsa

    odd = CA.issue("files.example", key=dsa.generate_private_key(2048))  # type: ignore[arg-type]  # as it must not be
    assert odd_key([odd.certificate, CA.certificate]) != ""
    assert odd_key([GOOD.certificate, CA.certificate]) == ""


@given(st.binary(max_size=200), st.integers(0, 400), st.integers(0, 255))
def test_broken_certificates(tail: bytes, at: int, value: int) -> None:
    """S4.6: whatever is changed in a certificate, reading it ends in what it says or in a refusal."""
    der = bytearray(GOOD.der + tail)
    der[at % len(der)] = value
    try:
        facts(bytes(der))
    except ValueError:
        return
    assert load(bytes(der)).serial_number > 0


NO = [
    ("files.example", ["*.example"]),
    ("example", ["*"]),
    ("a.b.files.example", ["*.files.example"]),
    (".files.example", ["*.files.example"]),
    ("files.example", ["f*.example.com", "f*les.example"]),
    ("a.files.example", ["a.*.example", "*.*.example"]),
    ("files.example", ["files.example.", "files.example\0.evil.example", "xfiles.example", ""]),
    ("192.0.2.1", ["192.0.2.1", "*.0.2.1"]),
    ("xn--bcher-kva.example", ["bücher.example"]),
]


@pytest.mark.parametrize(("name", "patterns"), NO)
def test_names_that_do_not_match(name: str, patterns: list[str]) -> None:
    """S0.12, A82: a wildcard is one whole label before two others; nothing matches in part."""
    assert not matches(name, patterns, [])


def test_names_that_match() -> None:
    """S0.12: names match whatever their case, wildcards by one label, addresses by value."""
    assert matches("files.example", ["FILES.Example"], [])
    assert matches("a.files.example", ["*.files.example"], [])
    address = as_address("2001:db8::1")
    assert address is not None
    assert matches("2001:db8::1", [], [address])
    assert is_common_name("2001:db8::1", "2001:DB8:0::1")
    assert is_common_name("a.files.example", "*.files.example")
    assert not is_common_name("a.files.example", "b.files.example")
    assert not is_common_name("192.0.2.1", "192.0.2.1.example")


@given(st.text(max_size=80))
def test_names_that_are_asked_for(text: str) -> None:
    """S0.12: a name that is asked for is one that can be in a certificate, asked for once more it is the same."""
    try:
        name = asked(text)
    except ValueError:
        return
    assert is_dns_name(name) or as_address(name) is not None
    assert asked(name) == name


@given(st.text(max_size=400))
def test_words_of_a_peer(text: str) -> None:
    """X.14: what a peer sent is shown short, printable, in ASCII."""
    said = shown(text)
    assert said.removesuffix("…").isascii()
    assert said.isprintable()
    assert len(said) <= LIMITS.text_chars + 1


def test_addresses_have_no_zone() -> None:
    """S0.12: a zone names an interface here, and nobody there."""
    assert as_address("fe80::1%eth0") is None

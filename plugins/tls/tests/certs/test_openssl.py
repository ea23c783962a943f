"""What the commands make, as other programs see it."""

from __future__ import annotations

import os
import re
import ssl
import subprocess

import pytest
from plugins.tls.tests.certs.desk import PASSPHRASE, Desk, needs_openssl, openssl, shake

from hauberk_tls.certs import _making, _pem, _sealing

ALGORITHMS = ["p256", "ed25519"]


def made(desk: Desk, algorithm: str = "p256") -> Desk:
    """Make a CA, a server and a client."""
    desk.ca("--algorithm", algorithm)
    desk.ok(
        "issue", "files", "--san", "localhost", "--san", "127.0.0.1", "--san", "spiffe://x/y", "--algorithm", algorithm
    )
    desk.ok("issue", "--client", "laptop", "--san", "ann@example.org", "--algorithm", algorithm)
    return desk


@needs_openssl
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_openssl_verifies_the_chain(desk: Desk, algorithm: str) -> None:
    """S0.11, S0.17, S4.6: openssl verify takes both for their purpose and names, strictly, and for no other."""
    places = made(desk, algorithm).places
    trust = [
        "-x509_strict",
        "-check_ss_sig",
        "-crl_check_all",
        "-CAfile",
        places.ca_certificate,
        "-CRLfile",
        places.crl,
    ]
    server, client = desk.folder("files").certificate, desk.folder("laptop", "client").certificate
    openssl("verify", *trust, "-purpose", "sslserver", "-verify_hostname", "files", server)
    openssl("verify", *trust, "-purpose", "sslserver", "-verify_ip", "127.0.0.1", server)
    openssl("verify", *trust, "-purpose", "sslclient", "-verify_email", "ann@example.org", client)
    for wrong in (
        ["-purpose", "sslclient", server],
        ["-purpose", "sslserver", client],
        ["-verify_hostname", "other", server],
    ):
        with pytest.raises(AssertionError, match=r"(unsuitable|unsupported) certificate purpose|hostname mismatch"):
            openssl("verify", *trust, *wrong)


@needs_openssl
def test_certificates_are_of_version_3_with_what_rfc_5280_asks(desk: Desk) -> None:
    """S0.12, S0.17, V6: version 3, SAN, EKU, key usage, key identifiers, basic constraints, and who is critical."""
    made(desk)
    text = openssl("x509", "-noout", "-text", "-in", desk.folder("files").certificate)
    assert "Version: 3 (0x2)" in text
    assert "Subject: CN = files" in text or "Subject: CN=files" in text
    assert re.search(r"Basic Constraints: critical\s+CA:FALSE", text)
    assert re.search(r"X509v3 Key Usage: critical\s+Digital Signature\n", text)
    assert re.search(r"Extended Key Usage: *\s+TLS Web Server Authentication\n", text)
    assert re.search(
        r"Subject Alternative Name: *\s+DNS:files, DNS:localhost, IP Address:127.0.0.1, URI:spiffe://x/y", text
    )
    assert "Subject Key Identifier" in text
    assert "Authority Key Identifier" in text
    assert "TLS Web Client Authentication\n" in openssl(
        "x509", "-noout", "-text", "-in", desk.folder("laptop", "client").certificate
    )
    ca = openssl("x509", "-noout", "-text", "-in", desk.places.ca_certificate)
    assert re.search(r"Basic Constraints: critical\s+CA:TRUE, pathlen:0", ca)
    assert re.search(r"X509v3 Key Usage: critical\s+Certificate Sign, CRL Sign\n", ca)
    assert "Version: 3 (0x2)" in ca
    assert "Authority Key Identifier" in ca


@needs_openssl
def test_path_length_is_what_was_asked_for(desk: Desk) -> None:
    """S0.17: --path-length says how many CAs may stand below."""
    desk.ca("--path-length", "1")
    assert "CA:TRUE, pathlen:1" in openssl("x509", "-noout", "-text", "-in", desk.places.ca_certificate)


@needs_openssl
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_openssl_reads_the_keys(desk: Desk, passphrase: str, algorithm: str) -> None:
    """S0.15, S0.17: the CA's key opens with its passphrase and no other; that of a pair is PKCS#8, and fits."""
    desk.ok("init", "--algorithm", algorithm, "--passphrase-file", passphrase)
    desk.ok("issue", "files", "--algorithm", algorithm, "--passphrase-file", passphrase)
    ca = openssl("pkey", "-in", desk.places.ca_key, "-passin", f"file:{passphrase}", "-pubout")
    assert ca == openssl("x509", "-in", desk.places.ca_certificate, "-noout", "-pubkey")
    with pytest.raises(AssertionError):
        openssl("pkey", "-in", desk.places.ca_key, "-passin", "pass:another passphrase")
    pair = desk.folder("files").pair
    assert openssl("pkey", "-in", pair, "-pubout") == openssl("x509", "-in", pair, "-noout", "-pubkey")
    assert b"-----BEGIN PRIVATE KEY-----" in pair.read_bytes()


@needs_openssl
def test_passphrase_is_stretched(desk: Desk, passphrase: str) -> None:
    """X.9, S0.17: the key of the CA is under AES-256 and 600,000 rounds of PBKDF2-HMAC-SHA256."""
    desk.ok("init", "--passphrase-file", passphrase)
    body = subprocess.run(
        ["openssl", "asn1parse", "-in", str(desk.places.ca_key)], capture_output=True, text=True, check=True
    ).stdout
    assert ":PBES2" in body
    assert ":PBKDF2" in body
    assert ":hmacWithSHA256" in body
    assert ":aes-256-cbc" in body
    assert f":{600_000:06X}" in body
    assert PASSPHRASE.encode() not in desk.places.ca_key.read_bytes()


def test_salt_is_new_each_time() -> None:
    """X.9: one key under one passphrase is never written in the same way twice, and opens each time."""
    key = _making.new_key("p256")
    both = {_sealing.seal(_pem.key_der(key), b"passphrase", random=os.urandom) for _ in range(2)}
    assert len(both) == 2
    assert {_pem.key_der(_pem.key(data, "x", b"passphrase")) for data in both} == {_pem.key_der(key)}


@needs_openssl
def test_openssl_takes_the_list(desk: Desk) -> None:
    """S0.19: openssl verifies the list, finds its number, the serial and the reason, and refuses what is in it."""
    places = made(desk).places
    desk.ok("revoke", "laptop", "--reason", "key-compromise")
    text = openssl("crl", "-in", places.crl, "-CAfile", places.ca_certificate, "-noout", "-text")
    assert "verify OK" in text
    assert re.search(r"CRL Number: *\s+2\n", text)
    assert f"Serial Number: {desk.serial('laptop', 'client'):040X}" in text
    assert "Key Compromise" in text
    trust = ["-x509_strict", "-crl_check", "-CAfile", places.ca_certificate, "-CRLfile", places.crl]
    with pytest.raises(AssertionError, match="certificate revoked"):
        openssl("verify", *trust, desk.folder("laptop", "client").certificate)
    openssl("verify", *trust, desk.folder("files").certificate)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_python_makes_the_handshake(desk: Desk, algorithm: str) -> None:
    """S0.11, S0.14, S0.19: both sides verify each other with VERIFY_X509_STRICT and VERIFY_CRL_CHECK_LEAF."""
    made(desk, algorithm)
    server = desk.context(ssl.Purpose.CLIENT_AUTH, "files")
    for name in ("files", "localhost", "127.0.0.1"):
        shake(desk.context(ssl.Purpose.SERVER_AUTH, "laptop"), server, name)
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        shake(desk.context(ssl.Purpose.SERVER_AUTH, "laptop"), server, "other")


def test_python_refuses_who_is_revoked(desk: Desk) -> None:
    """S0.19: a client that was revoked is refused by a server that has the new list, and not by one that has none."""
    made(desk).ok("revoke", "laptop")
    client = desk.context(ssl.Purpose.SERVER_AUTH, "laptop")
    with pytest.raises(ssl.SSLCertVerificationError, match="certificate revoked"):
        shake(client, desk.context(ssl.Purpose.CLIENT_AUTH, "files"), "files")
    shake(client, desk.context(ssl.Purpose.CLIENT_AUTH, "files", crl=False), "files")


def test_a_server_is_no_client(desk: Desk) -> None:
    """S4.6: the certificate of a server is refused where a client must show one."""
    made(desk)
    client = desk.context(ssl.Purpose.SERVER_AUTH)
    client.load_cert_chain(desk.folder("files").pair)
    with pytest.raises(ssl.SSLError, match="certificate purpose"):
        shake(client, desk.context(ssl.Purpose.CLIENT_AUTH, "files"), "files")

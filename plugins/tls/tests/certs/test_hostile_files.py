"""Certificates, requests, lists and keys from elsewhere, with one byte changed: understood, or refused in our words."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from plugins.tls.tests.certs.desk import NOW, Desk

from hauberk.refusals import ConfigError
from hauberk_tls.certs import _authority, _checking, _pem
from hauberk_tls.certs._checking import Asked


def pem(label: str, der: bytes) -> bytes:
    return f"-----BEGIN {label}-----\n{base64.encodebytes(der).decode()}-----END {label}-----\n".encode()


def changed(der: bytes, signature: bytes) -> Iterator[bytes]:
    """Yield what differs in one byte, and what is cut off.

    Left out is how many bits at the end of the signature do not count: nothing covers it, and it changes nothing.
    """
    for place in set(range(len(der))) - {len(der) - len(signature) - 1}:
        for bits in (0x01, 0x80, 0xFF):
            yield der[:place] + bytes([der[place] ^ bits]) + der[place + 1 :]
    yield from (der[:place] for place in range(0, len(der), 7))


def tried(label: str, found: Any, path: Path, use: Callable[[Path], Any]) -> int:
    """Use each changed file; return how many were not refused."""
    told, count = [], 0
    for count, one in enumerate(changed(found.public_bytes(Encoding.DER), found.signature), 1):  # noqa: B007 - the last
        path.write_bytes(pem(label, one))
        try:
            use(path)
        except ConfigError as error:
            told.append(str(error))
    assert [text for text in told if not text.replace("\n", "").isprintable()] == []
    return count - len(told)


@pytest.fixture
def made(desk: Desk) -> Desk:
    desk.ca().ok("issue", "files", "--san", "127.0.0.1", "--san", "ann@example.org")
    desk.ok("revoke", "files", "--reason", "key-compromise")
    desk.ok("issue", "--client", "waits", "--csr")
    return desk


def test_changed_certificate(made: Desk, tmp_path: Path) -> None:
    """S4.5, S4.6: a changed certificate is damaged, or not of the CA; nothing breaks, and nothing warns by itself."""
    found = x509.load_pem_x509_certificate(made.folder("files").certificate.read_bytes())
    asked = Asked(NOW)

    def check(path: Path) -> None:
        codes = [one.code for one in _checking.foreign(path, made.places.ca_certificate, asked)]
        assert {"damaged", "chain"} & set(codes), path.read_bytes()

    assert tried("CERTIFICATE", found, tmp_path / "x", check) > 1000


def test_changed_request(made: Desk, tmp_path: Path) -> None:
    """S0.17: no changed request is taken for one that its key has signed."""
    found = x509.load_pem_x509_csr(made.folder("waits", "client").request.read_bytes())
    assert tried("CERTIFICATE REQUEST", found, tmp_path / "x", _pem.request) == 0


def test_changed_list(made: Desk, tmp_path: Path) -> None:
    """S0.19: no changed list is taken for one that the CA has signed."""
    ca = _pem.certificates(made.places.ca_certificate)[0]

    def check(path: Path) -> None:
        if not _authority.list_faults(_pem.crl(path), ca, None):
            raise AssertionError(path.read_bytes())

    assert tried("X509 CRL", _pem.crl(made.places.crl), tmp_path / "x", check) > 100

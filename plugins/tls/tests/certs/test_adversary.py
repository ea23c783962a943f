"""What somebody tried against the CA who had read its documents: each test is a promise that was broken once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from plugins.tls.tests.certs.desk import Desk
from plugins.tls.tests.maker import DAY, NOW, SERVER, Ca, Issued, new_key, pem, put, san, subject, usage

from hauberk_tls.certs import _index, _pem


def signed(issuer: x509.Certificate, key: Any, public: Any, name: str, *more: x509.ExtensionType) -> x509.Certificate:
    """Return the certificate of a server, signed by whoever wants to."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject(name))
        .issuer_name(issuer.subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - DAY)
        .not_valid_after(NOW + 200 * DAY)
        .add_extension(x509.SubjectAlternativeName([san(name)]), critical=False)
        .add_extension(x509.ExtendedKeyUsage([SERVER]), critical=False)
    )
    for one in more or (x509.BasicConstraints(ca=False, path_length=None),):
        builder = builder.add_extension(one, critical=True)
    return builder.sign(key, hashes.SHA256())


# --- a copy of the index ---


def revoked(desk: Desk) -> tuple[bytes, x509.CertificateRevocationList]:
    """Revoke a client; return the index of before, and the list."""
    desk.ca().ok("issue", "--client", "laptop")
    copy = desk.places.index.read_bytes()
    desk.ok("revoke", "laptop", "--reason", "key-compromise")
    return copy, _pem.crl(desk.places.crl)


def test_a_copy_of_the_index_takes_no_revocation_back(desk: Desk) -> None:
    """S0.19: with the index of before, the key gets no certificate, and the list keeps what it revokes."""
    copy, before = revoked(desk)
    desk.places.index.write_bytes(copy)
    done = desk.run("check")
    assert done.status == 1
    assert "does not know as revoked" in done.text
    assert desk.run("renew", "laptop").status == 2
    assert _pem.crl(desk.places.crl) == before
    desk.ok("issue", "files")
    desk.ok("crl")
    after = _pem.crl(desk.places.crl)
    assert {one.serial_number for one in before} == {one.serial_number for one in after}
    assert _index.number_of(after) > _index.number_of(before)
    assert desk.run("renew", "laptop").status == 2
    desk.ok("renew", "laptop", "--new-key")
    assert desk.ok("check").status == 0


def test_numbers_of_lists_only_grow(desk: Desk) -> None:
    """S0.19: the number of a list is not given again, though the index forgot it."""
    copy = desk.ca().places.index.read_bytes()
    desk.ok("crl")
    desk.ok("crl")
    desk.places.index.write_bytes(copy)
    desk.ok("crl")
    assert _index.number_of(_pem.crl(desk.places.crl)) == 4


def test_an_index_from_before_a_certificate_is_refused(desk: Desk) -> None:
    """S0.19: where the list revokes what the index does not know, nobody could say which key that was."""
    copy = desk.ca().places.index.read_bytes()
    desk.ok("issue", "--client", "laptop")
    desk.ok("revoke", "laptop")
    before = desk.places.crl.read_bytes()
    desk.places.index.write_bytes(copy)
    for args in (("issue", "files"), ("renew", "laptop"), ("crl",), ("revoke", "laptop")):
        done = desk.run(*args)
        assert (done.status, "older than the revocation list" in done.err) == (2, True), args
    assert desk.places.crl.read_bytes() == before


def test_a_list_that_somebody_else_signed_says_nothing(desk: Desk) -> None:
    """S0.19: who can put a list beside the index, and has no key of the CA, revokes nothing by it."""
    desk.ca().ok("issue", "files")
    other = Ca(_pem.certificates(desk.places.ca_certificate)[0].subject.rfc4514_string().removeprefix("CN="))
    mine = _pem.certificates(desk.folder("files").certificate)[0]
    put(desk.places.crl, other.crl(Issued(mine, other.key)), 0o644)
    desk.ok("crl")
    assert list(_pem.crl(desk.places.crl)) == []
    assert desk.ok("check").status == 0


# --- who signed ---


def test_what_is_installed_is_of_the_ca(desk: Desk, tmp_path: Path) -> None:
    """S0.17: each link of what is installed is held: some certificate of the right CA at its end is none."""
    home = Desk(tmp_path / "elsewhere").ca()
    home.ok("issue", "other")
    for folder in (desk.base, desk.places.ca):
        folder.mkdir(mode=0o700)
    for name in ("ca.pem", "crl.pem"):
        put(desk.places.ca / name, (home.places.ca / name).read_bytes(), 0o644)
    desk.ok("issue", "files", "--csr")
    public = x509.load_pem_x509_csr(desk.folder("files").request.read_bytes()).public_key()
    evil = Ca("Evil CA")
    made = signed(evil.certificate, evil.key, public, "files")
    file = put(tmp_path / "cert.pem", pem(made) + home.folder("other").certificate.read_bytes(), 0o644)
    assert desk.run("install", "files", str(file)).status == 2


def test_a_leaf_signs_nobody(desk: Desk, tmp_path: Path) -> None:
    """S4.5: a client that signs a certificate with its own key is no CA, though its own is of the right one."""
    desk.ca().ok("issue", "--client", "laptop")
    data = desk.folder("laptop", "client").pair.read_bytes()
    laptop, key = x509.load_pem_x509_certificates(data)[0], serialization.load_pem_private_key(data, None)
    made = signed(laptop, key, new_key().public_key(), "bank.example")
    file = put(tmp_path / "cert.pem", pem(made) + pem(laptop), 0o644)
    done = desk.run("check", str(file), "--ca", str(desk.places.ca_certificate), placed=False)
    assert done.status == 1
    assert "is not signed by the CA" in done.text


@pytest.mark.parametrize(
    ("more", "good"),
    [
        ((x509.BasicConstraints(ca=True, path_length=None), usage(ca=True)), True),
        ((x509.BasicConstraints(ca=True, path_length=None), usage(ca=False)), False),
        ((x509.BasicConstraints(ca=False, path_length=None), usage(ca=True)), False),
        ((usage(ca=True),), False),
    ],
)
def test_a_ca_says_that_it_is_one(more: tuple[x509.ExtensionType, ...], good: bool) -> None:
    """S4.5: who signs others is a CA by its basic constraints, and by its key usage where it has one."""
    root, key = Ca("Root"), new_key()
    middle = signed(root.certificate, root.key, key.public_key(), "middle.example", *more)
    made = signed(middle, key, new_key().public_key(), "bank.example")
    assert _pem.chained([made, middle], root.certificate) is good


@pytest.mark.parametrize(("path_length", "good"), [(None, True), (1, True), (0, False)])
def test_a_ca_signs_as_deep_as_it_may(path_length: int | None, good: bool) -> None:
    """S4.5: a CA whose path length is 0 vouches for no certificate of a CA below it."""
    root = Ca("Root", path_length=path_length)
    below = Ca("Below", parent=root)
    assert _pem.chained([below.issue("x.example").certificate, below.certificate], root.certificate) is good


def test_check_sees_what_is_beside_the_list(desk: Desk) -> None:
    """S0.19: a certificate in the file of the list would be trusted by whoever gives that to OpenSSL."""
    put(desk.ca().places.crl, desk.places.crl.read_bytes() + Ca("Evil CA").pem, 0o644)
    done = desk.run("check")
    assert done.status == 1
    assert "something else beside" in done.text


@pytest.mark.parametrize("name", ["uri:uid:0", "uri:UID:0", "uri:host:laptop", "dns:Anonymous", "hauberk-doctor"])
def test_no_certificate_has_a_name_that_hauberk_gives_away(name: str, desk: Desk) -> None:
    """S0.16, S2.6: who showed it would be refused, or would be somebody else: it is not made."""
    desk.ca()
    done = desk.run("issue", "--client", "laptop", "--san", name)
    assert (done.status, "gives away itself" in done.err) == (2, True)
    assert desk.run("issue", "--client", "anonymous").status == 2

"""A CA elsewhere: the key stays where it was made, and the CA signs what was typed where it is."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.x509.oid import NameOID
from plugins.tls.tests.certs.desk import Desk, needs_openssl, openssl

from hauberk_tls.certs import _pem
from hauberk_tls.certs._holding import held


@pytest.fixture
def ca(tmp_path: Path) -> Desk:
    """Return where the CA is."""
    return Desk(tmp_path / "elsewhere").ca()


@pytest.fixture
def host(desk: Desk, ca: Desk) -> Desk:
    """Return where the server is, with what peers have of the CA."""
    desk.places.ca.mkdir(mode=0o700, parents=True)
    desk.base.chmod(0o700)
    for path in (ca.places.ca_certificate, ca.places.crl):
        shutil.copy(path, desk.places.ca)
    return desk


def written(path: Path, key: object, *names: str, common: str = "files") -> str:
    """Write a request that somebody made by hand."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])
    )
    if names:
        found = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
        builder = builder.add_extension(found, critical=False)
    made = builder.sign(key, hashes.SHA256())  # type: ignore[arg-type]
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return str(path)


def test_request_goes_and_certificate_comes(host: Desk, ca: Desk) -> None:
    """S0.17: --csr, --from-csr and install: the key never leaves its host, and the pair is as if the CA were here."""
    folder = host.folder("files")
    assert host.ok("issue", "files", "--san", "localhost", "--csr").out.startswith("asked: server files")
    assert sorted(path.name for path in folder.path.iterdir()) == ["request-key.pem", "request.pem"]
    assert (folder.request_key.stat().st_mode & 0o777, folder.request.stat().st_mode & 0o777) == (0o600, 0o644)
    ca.ok("issue", "files", "--san", "localhost", "--from-csr", str(folder.request))
    answer = ca.folder("files")
    assert [path.name for path in answer.path.iterdir()] == ["cert.pem"]
    host.ok("install", "files", str(answer.certificate))
    assert sorted(path.name for path in folder.path.iterdir()) == ["cert.pem", "pair.pem"]
    assert host.ok("check").out == "all is well\n"
    assert ca.ok("check").out.endswith("all is well\n")
    assert b"PRIVATE KEY" not in b"".join(data for name, data in ca.tree().items() if name != "ca/key.pem")


@needs_openssl
def test_openssl_takes_the_request(host: Desk) -> None:
    """S0.17: the request is one that any CA can read, signed by its key."""
    host.ok("issue", "files", "--san", "localhost", "--csr")
    text = openssl("req", "-in", host.folder("files").request, "-noout", "-text", "-verify")
    assert "DNS:files, DNS:localhost" in text
    assert "TLS Web Server Authentication" in text


def test_what_is_not_typed_is_not_signed(ca: Desk, tmp_path: Path) -> None:
    """S0.17: a request that asks for more names than were typed, or another NAME, is refused; the names are shown."""
    key = ec.generate_private_key(ec.SECP256R1())
    for request in (
        written(tmp_path / "a", key, "files", "bank.example"),
        written(tmp_path / "b", key, "files", "\x1b]0;bank.example\x07"),
        written(tmp_path / "c", key, common="bank.example"),
    ):
        done = ca.run("issue", "files", "--from-csr", request)
        assert done.status == 2
        assert "bank.example" in done.err
        assert "\x1b" not in done.err
    assert not ca.folder("files").path.exists()
    ca.ok("issue", "files", "--san", "bank.example", "--from-csr", str(tmp_path / "a"))


def test_names_are_those_that_were_typed(ca: Desk, tmp_path: Path) -> None:
    """S0.17: a request without names gets the names that were typed, and the purpose that was typed."""
    request = written(tmp_path / "a", ec.generate_private_key(ec.SECP384R1()))
    ca.ok("issue", "--client", "files", "--san", "localhost", "--from-csr", request)
    found = held(ca.folder("files", "client"))
    assert found is not None
    facts = _pem.facts(found.leaf, "")
    assert (list(map(str, facts.names)), sorted(facts.kinds)) == (["dns:files", "dns:localhost"], ["client"])


@pytest.mark.parametrize("kind", ["rsa1024", "dsa", "p192"])
def test_weak_key_is_not_signed(ca: Desk, tmp_path: Path, kind: str) -> None:
    """S0.17, X.9: RSA under 2048 bits, DSA and small curves are refused."""
    if kind == "rsa1024":
        key: object = rsa.generate_private_key(65537, 1024)  # noqa: S505 - that is what is refused
    else:
        key = dsa.generate_private_key(2048) if kind == "dsa" else ec.generate_private_key(ec.SECP192R1())
    done = ca.run("issue", "files", "--from-csr", written(tmp_path / "a", key))
    assert done.status == 2
    assert "no type that is signed here" in done.err


def test_request_that_its_key_did_not_sign_is_refused(ca: Desk, tmp_path: Path) -> None:
    """S0.17: whoever asks must have the key."""
    path = tmp_path / "a"
    written(path, ec.generate_private_key(ec.SECP256R1()))
    request = x509.load_pem_x509_csr(path.read_bytes()).public_bytes(serialization.Encoding.DER)
    changed = request.replace(b"files", b"filed")
    path.write_bytes(x509.load_der_x509_csr(changed).public_bytes(serialization.Encoding.PEM))
    assert "not signed by its key" in ca.run("issue", "filed", "--from-csr", str(path)).err


@pytest.mark.parametrize(
    "data", [b"", b"x", b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n"]
)
def test_no_request_is_refused(ca: Desk, tmp_path: Path, data: bytes) -> None:
    """S0.17: a file that holds something else is refused with its name."""
    (tmp_path / "a").write_bytes(data)
    done = ca.run("issue", "files", "--from-csr", str(tmp_path / "a"))
    assert (done.status, "holds no request" in done.err) == (2, True)


def test_what_waits_is_kept(host: Desk) -> None:
    """S0.17: a key whose certificate is under way is not replaced by another request."""
    host.ok("issue", "files", "--csr")
    before = host.tree()
    assert host.ok("issue", "files", "--csr").out.startswith("kept: server files")
    assert host.tree() == before
    assert "waits for the answer" in host.run("issue", "files").err


def test_only_the_answer_is_installed(host: Desk, ca: Desk, tmp_path: Path) -> None:
    """S0.17, S4.6: a certificate of another key, NAME, purpose or CA is not installed, and nothing changes."""
    host.ok("issue", "files", "--csr")
    request = str(host.folder("files").request)
    stranger = Desk(tmp_path / "stranger").ca()
    stranger.ok("issue", "files", "--from-csr", request)
    ca.ok("issue", "other", "files-2")
    ca.ok("issue", "--client", "files", "--from-csr", request)
    ca.ok("issue", "files")
    before = host.tree()
    for answer, text in (
        (stranger.folder("files").certificate, "not signed by the CA"),
        (ca.folder("other").certificate, "no certificate of the server 'files'"),
        (ca.folder("files", "client").certificate, "no certificate of the server 'files'"),
        (ca.folder("files").certificate, "there is no key"),
    ):
        done = host.run("install", "files", str(answer))
        assert (done.status, text in done.err) == (2, True), done
    assert host.tree() == before


def test_renewal_elsewhere(host: Desk, ca: Desk) -> None:
    """S0.18: where only the CA is, a renewal needs no request for the same key, and one for a new key."""
    host.ok("issue", "files", "--csr")
    ca.ok("issue", "files", "--from-csr", str(host.folder("files").request))
    host.ok("install", "files", str(ca.folder("files").certificate))
    first = host.folder("files").pair.read_bytes()
    ca.ok("renew", "files")
    host.ok("install", "files", str(ca.folder("files").certificate))
    second = host.folder("files").pair.read_bytes()
    assert second != first
    assert second[:200] == first[:200]
    host.ok("renew", "files", "--new-key", "--csr")
    assert host.folder("files").pair.read_bytes() == second
    assert ca.run("issue", "files", "--from-csr", str(host.folder("files").request)).status == 2
    assert "is elsewhere" in ca.run("renew", "files", "--new-key").err
    ca.ok("renew", "files", "--from-csr", str(host.folder("files").request))
    host.ok("install", "files", str(ca.folder("files").certificate))
    assert host.folder("files").pair.read_bytes()[:200] != first[:200]
    assert host.ok("check").out == "all is well\n"


def test_without_the_key_of_the_ca_a_hint_says_how(host: Desk) -> None:
    """S0.17: where the CA's key is not, `issue` says how to ask for a signature."""
    done = host.run("issue", "files")
    assert (done.status, "--csr" in done.err) == (2, True)

"""The same matrix with ``openssl`` at the other end of a real socket."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import pytest
from plugins.tls.tests.conftest import CALLED, CALLER, Opener, Yard
from plugins.tls.tests.maker import CLIENT, DAY, NOW, Ca, Issued, put, self_signed
from plugins.tls.tests.shaking import ALPN, End, Party, Told

OPENSSL: Final = shutil.which("openssl")
SECONDS: Final = 10.0
pytestmark = pytest.mark.skipif(OPENSSL is None, reason="openssl is not installed")
FAR: Final = Ca("Another CA")


@contextmanager
def running(*args: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run ``openssl`` and end it."""
    with subprocess.Popen(
        [str(OPENSSL), *args], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as child:
        try:
            yield child
        finally:
            child.kill()


@contextmanager
def server(*args: str) -> Iterator[int]:
    """Run ``openssl s_server`` on a free port and return the port."""
    with running("s_server", "-accept", "127.0.0.1:0", *args) as child:
        assert child.stdout is not None
        for line in child.stdout:
            if found := re.match(rb"ACCEPT .*:(\d+)", line):
                threading.Thread(target=child.stdout.read, daemon=True).start()
                yield int(found[1])
                return
        raise AssertionError("openssl s_server does not listen")


def pump(sock: socket.socket, end: End, *, reading: bool = False) -> None:
    """Shake hands over a socket; then, if it is asked, read once."""
    sock.settimeout(SECONDS)
    before = len(end.got)
    while end.error is None and (not end.done or (reading and len(end.got) == before)):
        end.step(reading=reading)
        if data := end.out.read():
            sock.sendall(data)
        if end.error is not None or (end.done and (not reading or len(end.got) > before)):
            return
        try:
            data = sock.recv(65536)
        except OSError as error:
            end.error = error
            return
        if not data:
            end.into.write_eof()
            end.step(reading=reading)
            return
        end.into.write(data)


async def dial(party: Party, port: int, *, speak: bool = True, target: str = "") -> Told:
    connection = await party.admit("client", target=target or f"tls://files.example:{port}")
    mine = party.end(connection)
    with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as sock:
        pump(sock, mine)

        def round_trip() -> None:
            mine.tls.write(b"ping\n")
            sock.sendall(mine.out.read())
            pump(sock, mine, reading=True)

        return party.judged(connection, mine, mine, round_trip if speak else lambda: None)


def shown(yard: Yard, issued: Issued) -> list[str]:
    chain, key = yard.pair(issued)
    return ["-cert", str(chain), "-key", str(key), "-cert_chain", str(chain)]


def ca(yard: Yard) -> list[str]:
    return ["-CAfile", str(yard.folder / "ca.pem")]


SERVERS: dict[str, tuple[str, Callable[[Yard], Issued], list[str]]] = {
    "good": ("", lambda y: y.server, []),
    "ChaCha20": ("", lambda y: y.server, ["-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"]),
    "weak suite": ("weak_cipher", lambda y: y.server, ["-ciphersuites", "TLS_AES_128_GCM_SHA256"]),
    "TLS 1.2": ("old_version", lambda y: y.server, ["-tls1_2"]),
    "wrong CA": ("untrusted", lambda y: FAR.issue("files.example"), []),
    "self-signed": ("self_signed", lambda y: self_signed("files.example"), []),
    "wrong name": ("name_mismatch", lambda y: y.ca.issue("other.example"), []),
    "CN only": ("name_mismatch", lambda y: y.ca.issue(common="files.example"), []),
    "expired": ("expired", lambda y: y.ca.issue("files.example", since=NOW - 9 * DAY, until=NOW - DAY), []),
    "not yet valid": ("not_yet_valid", lambda y: y.ca.issue("files.example", since=NOW + DAY), []),
    "no EKU": ("wrong_purpose", lambda y: y.ca.issue("files.example", purposes=None), []),
    "client-only EKU": ("wrong_purpose", lambda y: y.ca.issue("files.example", purposes=[CLIENT]), []),
    "another protocol": ("no_alpn", lambda y: y.server, ["-alpn", "h2"]),
}


@pytest.mark.parametrize("case", SERVERS)
async def test_a_server_of_openssl(case: str, yard: Yard, opened: Opener) -> None:
    """S0.9, S0.10, S0.11, S0.12, S0.13, S4.6, A81: the same servers are refused, whoever runs them."""
    code, make, args = SERVERS[case]
    caller = await opened(CALLER)
    alpn = [] if "-alpn" in args else ["-alpn", ALPN]
    with server(*shown(yard, make(yard)), *alpn, *args) as port:
        told = await dial(caller, port, speak=False)
    assert told.code == (f"tls.{code}" if code else ""), told.message


async def test_a_server_of_openssl_that_wants_a_certificate(yard: Yard, opened: Opener) -> None:
    """S0.14, V8: with a certificate there is an answer; without one the first read says which alert came."""
    caller, stranger = await opened(CALLER), await opened('[tls]\nca = "ca.pem"\n')
    args = [*shown(yard, yard.server), *ca(yard), "-alpn", ALPN, "-Verify", "1", "-verify_return_error", "-rev"]
    with server(*args) as port:
        told = await dial(caller, port)
        assert (told.code, told.end.got) == ("", b"gnip\n")
        told = await dial(stranger, port)
        assert told.end.done
        assert told.code == "tls.refused_by_peer"
        assert "certificate_required" in told.message


async def test_a_session_of_openssl_is_resumed(yard: Yard, opened: Opener) -> None:
    """S4.26: a server of OpenSSL gives tickets that are used."""
    caller = await opened(CALLER)
    with server(*shown(yard, yard.server), "-alpn", ALPN, "-rev") as port:
        found = [(await dial(caller, port)).end.tls.session_reused for _ in range(3)]
    assert found == [False, True, True]


CLIENTS: dict[str, tuple[str, Callable[[Yard], Issued] | None, list[str]]] = {
    "good": ("", lambda y: y.host, []),
    "no certificate": ("no_client_certificate", None, []),
    "wrong CA": ("untrusted", lambda y: FAR.issue("urn:hauberk:host", purposes=[CLIENT]), []),
    "self-signed": ("self_signed", lambda y: self_signed("urn:hauberk:host", purposes=[CLIENT]), []),
    "expired": (
        "expired",
        lambda y: y.ca.issue("urn:hauberk:host", purposes=[CLIENT], since=NOW - 9 * DAY, until=NOW - DAY),
        [],
    ),
    "no EKU": ("wrong_purpose", lambda y: y.ca.issue("urn:hauberk:host", purposes=None), []),
    "TLS 1.2": ("old_version", lambda y: y.host, ["-tls1_2"]),
    "weak suite": ("weak_cipher", lambda y: y.host, ["-ciphersuites", "TLS_AES_128_GCM_SHA256"]),
    "another protocol": ("no_alpn", lambda y: y.host, ["-alpn", "h2"]),
    "no signature of ours": ("handshake_failed", lambda y: y.host, ["-sigalgs", "RSA-PSS+SHA256"]),
}


@pytest.mark.parametrize("case", CLIENTS)
async def test_a_client_of_openssl(case: str, yard: Yard, opened: Opener) -> None:
    """S0.9, S0.10, S0.14, S4.6, A81: the same clients are refused, whoever runs them."""
    code, make, args = CLIENTS[case]
    called = await opened(CALLED)
    alpn = [] if "-alpn" in args else ["-alpn", ALPN]
    certificate = [] if make is None else shown(yard, make(yard))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(SECONDS)
        port = listener.getsockname()[1]
        with running(
            "s_client", "-connect", f"127.0.0.1:{port}", "-servername", "files.example", "-verify_hostname",
            "files.example", "-verify_return_error", *ca(yard), *certificate, *alpn, *args,
        ):  # fmt: skip
            sock, _ = listener.accept()
            with sock:
                connection = await called.admit("server")
                mine = called.end(connection)
                pump(sock, mine)
                told = called.judged(connection, mine, mine, lambda: None)
    assert told.code == (f"tls.{code}" if code else ""), told.message
    if not code:
        assert told.principal.id == "urn:hauberk:host"


async def test_a_revoked_client_of_openssl(yard: Yard, opened: Opener) -> None:
    """S0.19: a list made here refuses a client of OpenSSL."""
    put(yard.folder / "crl.pem", yard.ca.crl(yard.host), 0o644)
    called = await opened(f'{CALLED}crl = "crl.pem"\n')
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(SECONDS)
        args = ["-connect", f"127.0.0.1:{listener.getsockname()[1]}", "-alpn", ALPN, *shown(yard, yard.host)]
        with running("s_client", *args):
            sock, _ = listener.accept()
            with sock:
                connection = await called.admit("server")
                mine = called.end(connection)
                pump(sock, mine)
                assert called.judged(connection, mine, mine, lambda: None).code == "tls.revoked"

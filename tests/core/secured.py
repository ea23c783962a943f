"""TLS for tests of the core, without the plugin: an authority, two certificates, and a `hauberk.connection.Tls`.

The keys are for tests, and open nothing.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any, Final

from tests.core.harness import ring

from hauberk.carriers.address import ALPN
from hauberk.connection import Connection, Peer, Role
from hauberk.principal import Principal
from hauberk.refusals import IDENTITY, Refused

CA: Final = """\
-----BEGIN CERTIFICATE-----
MIIBizCCATGgAwIBAgIUVTQ8X5wznexBA3S8B0mLpOQq6jwwCgYIKoZIzj0EAwIw
EjEQMA4GA1UEAwwHVGVzdCBDQTAgFw0yMDAxMDEwMDAwMDBaGA8yMTIwMDEwMTAw
MDAwMFowEjEQMA4GA1UEAwwHVGVzdCBDQTBZMBMGByqGSM49AgEGCCqGSM49AwEH
A0IABB7q4KfdFHWwbLsqOjb8vB+1uVBagq5c3ViuX3a+7XOU0vgiiz1J/rnXlD4y
kt/EKnK/GGWT+gSG1MlvMb1tQVmjYzBhMA8GA1UdEwEB/wQFMAMBAf8wDgYDVR0P
AQH/BAQDAgEGMB0GA1UdDgQWBBSOSGSPWZjY4yD8PlHglZqUPeqcEjAfBgNVHSME
GDAWgBSOSGSPWZjY4yD8PlHglZqUPeqcEjAKBggqhkjOPQQDAgNIADBFAiAvl2pt
9/v/tVQsXYCaz0esJqflWHSTdDmnij9J7ngKPQIhAKnQVLWP1JVSzxhm0AIRc21g
DcmWBVB1rH1t4lJj9Rmz
-----END CERTIFICATE-----
"""
"""Signed both; good until 2120."""
SERVER: Final = """\
-----BEGIN CERTIFICATE-----
MIIBvjCCAWOgAwIBAgIUeWFCXIHAx8EP0Qzj/+3xWVUmJT8wCgYIKoZIzj0EAwIw
EjEQMA4GA1UEAwwHVGVzdCBDQTAgFw0yMDAxMDEwMDAwMDBaGA8yMTIwMDEwMTAw
MDAwMFowFDESMBAGA1UEAwwJbG9jYWxob3N0MFkwEwYHKoZIzj0CAQYIKoZIzj0D
AQcDQgAEsCosHFTrpmnBzWVw+LZJczmFomtEuPTY/QPY6YiZYi2Vi2K2cNAhKy1N
FYlyqmn2gErFN12x8/AmGoxB8yKikKOBkjCBjzAMBgNVHRMBAf8EAjAAMA4GA1Ud
DwEB/wQEAwIHgDAdBgNVHQ4EFgQUDfOiPNFsKTt60GFKHmKYn45h1p8wHwYDVR0j
BBgwFoAUjkhkj1mY2OMg/D5R4JWalD3qnBIwGgYDVR0RBBMwEYIJbG9jYWxob3N0
hwR/AAABMBMGA1UdJQQMMAoGCCsGAQUFBwMBMAoGCCqGSM49BAMCA0kAMEYCIQCe
j+49YzRFMs+1YjkO4t2Et3jve/g/yDREmFCy0CJ3KwIhAK5hwQKFTNtpdhejcHP1
MmWLYyR7/JC25ibgsIlceopc
-----END CERTIFICATE-----
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg4R61OHCfcp06jjR2
miUx4tnkYHKNM1zWDxlnCW1KgxuhRANCAASwKiwcVOumacHNZXD4tklzOYWia0S4
9Nj9A9jpiJliLZWLYrZw0CErLU0ViXKqafaASsU3XbHz8CYajEHzIqKQ
-----END PRIVATE KEY-----
"""
"""For ``localhost`` and 127.0.0.1."""
CLIENT: Final = """\
-----BEGIN CERTIFICATE-----
MIIBwDCCAWegAwIBAgIUR3Cc0RAXGqwkgx519pf/pYzRopgwCgYIKoZIzj0EAwIw
EjEQMA4GA1UEAwwHVGVzdCBDQTAgFw0yMDAxMDEwMDAwMDBaGA8yMTIwMDEwMTAw
MDAwMFowGTEXMBUGA1UEAwwOY2xpZW50LmV4YW1wbGUwWTATBgcqhkjOPQIBBggq
hkjOPQMBBwNCAATIHQziYqIkFawUkKU02qk371YMJVipgesqEcuKX3R//Y6cpE+C
46r7OKnC/448b2V5tC2wTahYM3+qYtssJqqmo4GRMIGOMAwGA1UdEwEB/wQCMAAw
DgYDVR0PAQH/BAQDAgeAMB0GA1UdDgQWBBQ7ZSzeZAnEfeQ03B7riMtmE9FCIzAf
BgNVHSMEGDAWgBSOSGSPWZjY4yD8PlHglZqUPeqcEjAZBgNVHREEEjAQgg5jbGll
bnQuZXhhbXBsZTATBgNVHSUEDDAKBggrBgEFBQcDAjAKBggqhkjOPQQDAgNHADBE
AiAiAY6YhEdutNqetfxXCopz2F68x3ToEZv4lBdNmOoguQIgLIaXbl2BZC4/PNCY
jznFOtlDdRkyKeOFougBZJ20Cc8=
-----END CERTIFICATE-----
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgTyGSb5tEKrufNdq6
ORemrjWXj71TWyXvHRsgPL/Zg5yhRANCAATIHQziYqIkFawUkKU02qk371YMJVip
gesqEcuKX3R//Y6cpE+C46r7OKnC/448b2V5tC2wTahYM3+qYtssJqqm
-----END PRIVATE KEY-----
"""
_NOT_TLS: Final = {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"}


def context(folder: Path, role: Role, *, alpn: str | None = ALPN, mtls: bool = True, trusting: bool = True) -> Any:
    """Return a context that shows a certificate of its role, and trusts the authority."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT if role == "client" else ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    if trusting:
        made.load_verify_locations(cadata=CA)
    if role == "server" and mtls:
        made.verify_mode = ssl.CERT_REQUIRED
    if role == "server" or mtls:
        path = folder / f"{role}.pem"
        path.touch(0o600)
        path.write_text(SERVER if role == "server" else CLIENT)
        made.load_cert_chain(path)
    if alpn is not None:
        made.set_alpn_protocols([alpn])
    return made


class Secured:
    """How a connection is secured, as a plugin says it."""

    def __init__(self, made: ssl.SSLContext, *, seconds: float = 10.0, insecure: bool = False) -> None:
        self.context = made
        self.server_name: str | None = None
        self.handshake_seconds = seconds
        self.insecure_fallback = insecure
        self.established_with: list[str | None] = []

    def refusal(self, error: Exception) -> Refused:
        return Refused(f"tls.{_reason(error)}", "the handshake failed", plugin="tls", jsonrpc=IDENTITY)

    def renewed(self) -> Secured:
        return self

    def established(self, tls: ssl.SSLObject) -> None:
        self.established_with.append(tls.version())


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return "untrusted"
    if isinstance(error, ssl.SSLError) and error.reason in _NOT_TLS:
        return "not_tls"
    if isinstance(error, ssl.SSLError) and "ALERT" in str(error.reason):
        return "refused_by_peer"
    return "handshake_timeout" if isinstance(error, TimeoutError) else "cut_off"


def securing(secured: Secured, peers: list[Peer] | None = None) -> Any:
    """Return a plugin that secures each connection so, and checks that the peer has TLS, or may do without."""

    def check(peer: Peer | None) -> Principal | None:
        assert peer is not None
        if peers is not None:
            peers.append(peer)
        if peer.tls is None:
            if secured.insecure_fallback:
                return None
            raise Refused("tls.not_tls", "no TLS", plugin="tls", jsonrpc=IDENTITY)
        return Principal(id="localhost", kind="server", method="tls")

    def secure(connection: Connection) -> None:
        if connection.carrier in {"tls", "https"}:
            connection.tls = secured
            connection.verify.append(check)

    return ring("tls", on_connect=secure)

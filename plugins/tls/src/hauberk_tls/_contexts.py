"""TLS as the requirements have it, not as the library defaults it.

The rules:

1. TLS 1.3 and nothing else (S0.9). The suites are checked after the handshake (`hauberk_tls._peer`); where the
   interpreter can set them, they are set as well (S0.10, V9).
2. A server is always verified, its name included; the common name never stands in for subjectAltName (V7).
3. ``VERIFY_X509_STRICT``: what RFC 5280 asks of certificates is asked. ``VERIFY_X509_PARTIAL_CHAIN``: an authority that
   was named is trusted, whether or not it signed itself; without it, an intermediate in ``ca`` would mean its root.
4. With ``crl``, each certificate of a chain needs a list of its authority.
5. No variable of the environment has a say (A81): the contexts are made from nothing, the system's trust store is where
   the library was built to have it, the security level and every option are set here. What a file that ``OPENSSL_CONF``
   names says of groups and signatures cannot be undone, so that is refused in production (`hauberk_tls._store`).
6. Keys and lists are given to OpenSSL as the bytes that were checked, never by the name of a file that can be another
   by then.
"""

from __future__ import annotations

import contextlib
import os
import ssl
import tempfile
from collections.abc import Iterator
from typing import Final

from hauberk.refusals import ConfigError
from hauberk_tls._options import Clients, Options
from hauberk_tls._own import Own
from hauberk_tls._tickets import ClientContext, ServerContext
from hauberk_tls._trust import Trust

SUITES: Final = ("TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")
_LEVEL: Final = "DEFAULT:@SECLEVEL=2"
"""112 bits: no RSA under 2048, no SHA-1 signature. OpenSSL takes the level from the list of older suites."""
_FLAGS: Final = (
    ssl.VERIFY_X509_TRUSTED_FIRST
    | ssl.VERIFY_X509_STRICT
    | getattr(ssl, "VERIFY_X509_PARTIAL_CHAIN", ssl.VerifyFlags(0x80000))
)
_OPTIONS: Final = (
    ssl.OP_NO_COMPRESSION
    | ssl.OP_NO_RENEGOTIATION
    | ssl.OP_NO_SSLv2
    | ssl.OP_NO_SSLv3
    | ssl.OP_ENABLE_MIDDLEBOX_COMPAT
    | getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", ssl.Options(0x80))
)
"""Every option of a context, and no other: what a configuration of OpenSSL added is gone."""
_CLIENTS: Final[dict[Clients, ssl.VerifyMode]] = {
    "none": ssl.CERT_NONE,
    "optional": ssl.CERT_OPTIONAL,
    "required": ssl.CERT_REQUIRED,
}


def for_client(options: Options, own: Own, trust: Trust, alpn: str) -> ClientContext:
    """Return a context to call servers with.

    Raises:
        ConfigError: The material cannot be used.
    """
    context = ClientContext(ssl.PROTOCOL_TLS_CLIENT)
    context.keeps = options.session_tickets
    _harden(context, options, alpn)
    context.check_hostname = True
    context.hostname_checks_common_name = False
    context.verify_mode = ssl.CERT_REQUIRED
    _judge_by(context, trust)
    if own.chain:
        show(context, own)
    return context


def for_server(options: Options, own: Own, trust: Trust, alpn: str) -> ServerContext:
    """Return a context to be called with.

    Raises:
        ConfigError: The material cannot be used.
    """
    context = ServerContext(ssl.PROTOCOL_TLS_SERVER)
    _harden(context, options, alpn)
    context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    context.num_tickets = 2 if options.session_tickets else 0
    context.verify_mode = _CLIENTS[options.clients]
    if context.verify_mode != ssl.CERT_NONE:
        _judge_by(context, trust)
    show(context, own)
    return context


def _harden(context: ssl.SSLContext, options: Options, alpn: str) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.maximum_version = ssl.TLSVersion.TLSv1_3
    context.options = _OPTIONS  # whatever stood there
    if not options.session_tickets:
        context.options |= ssl.OP_NO_TICKET
    context.set_ciphers(_LEVEL)
    if (limit := getattr(context, "set_ciphersuites", None)) is not None:
        limit(":".join(SUITES))
    context.verify_flags |= _FLAGS
    context.set_alpn_protocols([alpn])


def _judge_by(context: ssl.SSLContext, trust: Trust) -> None:
    try:
        if trust.authorities is None:
            _judge_by_system(context)
        else:
            context.load_verify_locations(cadata=trust.authorities)
        if trust.crl:
            with _as_file(trust.crl) as path:
                context.load_verify_locations(cafile=path)
            context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN
    except ssl.SSLError as error:
        raise ConfigError(f"[tls] ca or crl cannot be used ({error.reason})", hint="give PEM files") from None


def _judge_by_system(context: ssl.SSLContext) -> None:
    paths = ssl.get_default_verify_paths()
    file = paths.openssl_cafile if os.path.isfile(paths.openssl_cafile) else None  # noqa: PTH113 - may be no path at all
    folder = paths.openssl_capath if os.path.isdir(paths.openssl_capath) else None  # noqa: PTH112 - as above
    if file is None and folder is None:
        raise ConfigError(
            f"the system has no trust store in {paths.openssl_cafile!r} or {paths.openssl_capath!r}",
            hint="name the authorities that you trust in [tls] ca",
        )
    context.load_verify_locations(file, folder)


def show(context: ssl.SSLContext, own: Own) -> None:
    """Let a context show a certificate.

    Raises:
        ConfigError: OpenSSL does not take it.
    """
    try:
        with _as_file(own.chain) as chain, _as_file(own.key) as key:
            context.load_cert_chain(chain, key, lambda: own.passphrase or b"")
    except (ssl.SSLError, ValueError) as error:
        reason = getattr(error, "reason", None) or type(error).__name__
        raise ConfigError(
            f"[tls] certificate and key cannot be used ({reason})", hint="make others (hauberk certs issue)"
        ) from None


@contextlib.contextmanager
def _as_file(data: bytes) -> Iterator[str]:
    """Give bytes a name for as long as OpenSSL reads them: it takes no bytes.

    On Linux they stay in memory. Elsewhere they are a file of mode 0600 in a directory of mode 0700; of a key that is
    what stands in its own file, encrypted where that is.
    """
    if hasattr(os, "memfd_create") and os.path.isdir("/proc/self/fd"):  # noqa: PTH112 - a place, no path of ours
        fd = os.memfd_create("hauberk-tls", os.MFD_CLOEXEC)
        try:
            with os.fdopen(os.dup(fd), "wb") as stream:
                stream.write(data)
            yield f"/proc/self/fd/{fd}"
        finally:
            os.close(fd)
        return
    with tempfile.TemporaryDirectory(prefix="hauberk-") as folder:
        path = os.path.join(folder, "pem")  # noqa: PTH118 - a name for OpenSSL
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
            stream.write(data)
        yield path

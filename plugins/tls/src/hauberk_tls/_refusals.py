"""What each failure is called, and what to do about it: one code, one text and one hint each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from hauberk.refusals import IDENTITY, Refused
from hauberk_tls._limits import shown


class Reason(NamedTuple):
    """One way to fail."""

    text: str
    """``{who}`` is the peer, as ``the server tls://files.example:8443``."""
    hint: str


REASONS: Final[Mapping[str, Reason]] = {
    "tls.untrusted": Reason(
        "the certificate of {who} was not signed by an authority that is trusted here",
        "put the authority of the other side into the file that [tls] ca names, if you know it",
    ),
    "tls.self_signed": Reason(
        "the certificate of {who} was signed by nobody but itself",
        "let an authority sign it (hauberk certs issue), and name that in [tls] ca",
    ),
    "tls.name_mismatch": Reason(
        "the certificate of {who} is for another name",
        "dial the name that the certificate has, set [tls] server_name to it, or issue one with this name",
    ),
    "tls.cn_mismatch": Reason(
        "the common name in the certificate of {who} is not its name",
        "issue one whose common name is in its subjectAltName, or set [tls] require_common_name = false",
    ),
    "tls.expired": Reason("the certificate of {who} has expired", "renew it (hauberk certs renew), or set the clock"),
    "tls.not_yet_valid": Reason("the certificate of {who} is not valid yet", "compare the clocks of the two machines"),
    "tls.wrong_purpose": Reason(
        "the certificate of {who} is not for this purpose",
        "issue one whose extendedKeyUsage has serverAuth for a server, clientAuth for a client",
    ),
    "tls.revoked": Reason("the certificate of {who} was revoked", "issue another one, with a new key"),
    "tls.chain_too_long": Reason(
        "the chain of certificates of {who} is too long",
        "let it send fewer intermediates, or raise [tls] max_chain",
    ),
    "tls.name_constraint": Reason(
        "the certificate of {who} has a name that its authority may not sign",
        "let an authority sign it that may, or change the authority's name constraints",
    ),
    "tls.bad_certificate": Reason(
        "the certificate of {who} cannot be used", "issue another one (hauberk certs issue makes one that can)"
    ),
    "tls.no_client_certificate": Reason(
        "{who} showed no certificate", "give the client [tls] certificate and key (hauberk certs issue --client)"
    ),
    "tls.old_version": Reason(
        "{who} does not speak TLS 1.3", "bring the other side up to TLS 1.3; nothing older is spoken"
    ),
    "tls.weak_cipher": Reason(
        "{who} speaks no cipher suite that is allowed here",
        "let it offer TLS_AES_256_GCM_SHA384 or TLS_CHACHA20_POLY1305_SHA256",
    ),
    "tls.no_alpn": Reason(
        "{who} does not say that it speaks this protocol (ALPN)",
        "see that the address is one of hauberk serve, and that nothing between ends TLS",
    ),
    "tls.not_tls": Reason("{who} does not speak TLS", "see that address and port are right"),
    "tls.handshake_timeout": Reason(
        "{who} did not finish the handshake in time", "see whether it is reachable, or raise [tls] handshake_seconds"
    ),
    "tls.cut_off": Reason(
        "{who} closed the connection during the handshake", "the log of the other side says why, if it is its refusal"
    ),
    "tls.refused_by_peer": Reason(
        "{who} refused the handshake", "the log of the other side says why; it may not know our certificate"
    ),
    "tls.handshake_failed": Reason("the handshake with {who} failed", "the log of the other side may say more"),
    "tls.crl_unusable": Reason(
        "the revocation list for {who} cannot be used",
        "put a list of each authority of the chain that has not expired into the file that [tls] crl names",
    ),
    "tls.ca_unusable": Reason(
        "the authorities that are trusted cannot be read any more", "repair the file that [tls] ca names"
    ),
    "tls.key_pinned_otherwise": Reason(
        "the key of {who} is none of those that are pinned",
        "find out why it changed; if that is right, put the new key into [tls] pinned_keys",
    ),
    "tls.unconfigured": Reason("there is no certificate for {who} to see", "name [tls] certificate, key and ca"),
    "tls.plaintext": Reason("{who} is to be reached without TLS", "give its address as https://, or as tls://"),
    "tls.bad_name": Reason("{who} has no name that a certificate can have", "set [tls] server_name"),
}
"""By their codes."""


def refused(code: str, who: str, detail: object = "", **details: Any) -> Refused:
    """Return a refusal.

    Args:
        code: One of `REASONS`.
        who: The peer.
        detail: What is known besides; what comes from the peer is shortened.
        details: For the event.
    """
    text, hint = REASONS[code]
    said = text.format(who=who)
    if detail:
        said = f"{said}: {shown(detail)}"
    return Refused(code, said, plugin="tls", hint=hint, jsonrpc=IDENTITY, public=True, details=details)

"""From what a handshake raised to what it is called.

A certificate that OpenSSL did not verify has a number (``verify_code``, X509_V_ERR_…), an alert of the peer and
everything else a reason in words. Where Python has no word for it (it knows those of the OpenSSL that it was written
for), the text of OpenSSL is read: it is the same words in small letters.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from typing import Final

from hauberk.refusals import Refused
from hauberk_tls._refusals import refused

_BY_NUMBER: Final[Mapping[str, tuple[int, ...]]] = {
    "tls.untrusted": (2, 19, 20, 21, 27, 28),
    "tls.self_signed": (18,),
    "tls.crl_unusable": (3, 5, 8, 11, 12, 15, 16, 33, 35, 36, 44, 54),
    "tls.not_yet_valid": (9,),
    "tls.expired": (10,),
    "tls.chain_too_long": (22, 25),
    "tls.revoked": (23,),
    "tls.wrong_purpose": (26,),
    "tls.name_constraint": (47, 48, 49, 51, 52, 53),
    "tls.name_mismatch": (62, 63, 64),
}
"""X509_V_ERR_… of ``openssl/x509_vfy.h``, stable since OpenSSL 1.1; whatever is not here is ``tls.bad_certificate``."""
VERIFY: Final[Mapping[int, str]] = {number: reason for reason, all_ in _BY_NUMBER.items() for number in all_}

_BY_WORD: Final[Mapping[str, tuple[str, ...]]] = {
    "tls.no_client_certificate": ("PEER_DID_NOT_RETURN_A_CERTIFICATE",),
    "tls.old_version": (
        "UNSUPPORTED_PROTOCOL",
        "TLSV1_ALERT_PROTOCOL_VERSION",
        "VERSION_TOO_LOW",
        "NO_PROTOCOLS_AVAILABLE",
        "INAPPROPRIATE_FALLBACK",
    ),
    "tls.weak_cipher": ("NO_SHARED_CIPHER", "WRONG_CIPHER_RETURNED", "UNKNOWN_CIPHER_RETURNED", "NO_CIPHERS_AVAILABLE"),
    "tls.no_alpn": ("TLSV1_ALERT_NO_APPLICATION_PROTOCOL", "NO_APPLICATION_PROTOCOL"),
    "tls.not_tls": (
        "WRONG_VERSION_NUMBER",
        "HTTP_REQUEST",
        "HTTPS_PROXY_REQUEST",
        "UNKNOWN_PROTOCOL",
        "PACKET_LENGTH_TOO_LONG",
        "RECORD_TOO_SMALL",
        "BAD_RECORD_TYPE",
        "RECORD_LAYER_FAILURE",
    ),
    "tls.bad_certificate": (
        "EE_KEY_TOO_SMALL",
        "CA_KEY_TOO_SMALL",
        "CA_MD_TOO_WEAK",
    ),
    "tls.cut_off": ("UNEXPECTED_EOF_WHILE_READING",),
}
WORDS: Final[Mapping[str, str]] = {word: reason for reason, all_ in _BY_WORD.items() for word in all_}
_CUT: Final = (ssl.SSLEOFError, ssl.SSLZeroReturnError)
_ALERT: Final = "_ALERT_"


def failure(error: BaseException, who: str) -> Refused:
    """Return what a handshake that raised this is called; ``who`` is the peer."""
    if isinstance(error, Refused):
        return error
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = VERIFY.get(error.verify_code, "tls.bad_certificate")
        return refused(reason, who, error.verify_message, verify_code=error.verify_code)
    if isinstance(error, ssl.SSLError) and not isinstance(error, _CUT):
        return _of_words(_words(error), who)
    if isinstance(error, TimeoutError):
        return refused("tls.handshake_timeout", who)
    cut = isinstance(error, (OSError, EOFError))
    return refused("tls.cut_off" if cut else "tls.handshake_failed", who, type(error).__name__)


def _words(error: ssl.SSLError) -> str:
    if (reason := getattr(error, "reason", None)) is not None:
        return str(reason)
    found = re.search(r"\] (.*) \(_ssl", str(error))
    return found[1].upper().replace(" ", "_") if found else type(error).__name__


def _of_words(words: str, who: str) -> Refused:
    if (reason := WORDS.get(words)) is not None:
        return refused(reason, who, reason_code=words)
    if _ALERT in words:
        alert = words.partition(_ALERT)[2].lower()
        return refused("tls.refused_by_peer", who, f"its alert is {alert}", alert=alert)
    return refused("tls.handshake_failed", who, words.lower().replace("_", " "), reason_code=words)

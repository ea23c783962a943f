"""Which of tlsfuzzer's scripts for TLS 1.3 are used, how, and what of what they say is known.

The list is of one revision of tlsfuzzer (`tests.tls_scan.tools.COMMIT`), and of OpenSSL 3.0. ``openssl s_server`` does
in each listed conversation what we do: what stands here is how OpenSSL is, or how it is asked to be.
"""

from __future__ import annotations

import ssl
from typing import Final

from tests.tls_scan.fuzzer import Known, Script

_WHICH_ALERT: Final = (
    "ended with another alert of the same meaning: OpenSSL takes what is empty or too long for malformed"
)
_ONLY: Final = "TLS 1.2 is wanted, and TLS 1.3 is all there is"
_OLDER: Final = r"Unexpected message from peer: Alert\(fatal, protocol_version\)"
_MALFORMED: Final = 'does not match received "decode_error"'
_ILLEGAL: Final = 'does not match received "illegal_parameter"|Alert\\(fatal, illegal_parameter\\)'
_REFUSED: Final = r"Unexpected message from peer: Alert\(fatal, handshake_failure\)"
_SHAKEN: Final = r"Unexpected message from peer: Handshake\(server_hello\)"
_CLOSED: Final = "Unexpected closure from peer|Alert\\(fatal, decode_error\\)|" + _MALFORMED

_REQUESTED: Final = (
    Known(
        "check sigalgs in cert request|verify extensions in CertificateRequest",
        "Unexpected signature algorithms|Expected extension not matched for type signature_algorithms",
        "the signatures that OpenSSL offers are others than tlslite-ng's",
        goes_on=True,
    ),
)
_GROUPS: Final = "x25519,secp256r1,x448,secp521r1,secp384r1,ffdhe2048,ffdhe3072,ffdhe4096,ffdhe6144,ffdhe8192"
_PQ: Final = "its OpenSSL has ML-KEM, which the script knows with a further package only"
_NEW_OPENSSL: Final = ssl.OPENSSL_VERSION_INFO[:2] >= (3, 5)

SCRIPTS: Final = (
    Script("conversation"),
    Script("conversation", kind="ec"),
    Script("conversation", kind="ed25519"),
    Script("0rtt-garbage", known=(Known(r".*downgrade to TLS 1\.2.*", _OLDER, _ONLY, strict=True),)),
    Script("ccs"),
    Script("connection-abort", long=True),
    Script("count-tickets", ("-t", "2")),
    Script("crfg-curves", known=(Known("empty x(25519|448) key share", _MALFORMED, _WHICH_ALERT),)),
    Script("dhe-shared-secret-padding", long=True),
    Script("ecdhe-curves"),
    Script(
        "ecdsa-support",
        kind="ec",
        known=(
            Known(
                r"Test with ecdsa_(brainpoolP\w+|secp384r1|secp521r1)_sha\d+",
                _REFUSED,
                "the key of the server is on P-256, and no other is wanted of it",
            ),
        ),
    ),
    Script("eddsa", kind="ed25519", known=(Known("ed448 only", _REFUSED, "the key of the server is Ed25519"),)),
    Script("empty-alert"),
    Script(
        "ffdhe-groups",
        long=True,
        known=(
            Known(r"ffdhe\d+ - empty key share entry in key_share ext", _MALFORMED, _WHICH_ALERT),
            Known(
                r"ffdhe\d+ - duplicated key share entry",
                _SHAKEN,
                "a server may look for two shares of one group (RFC 8446, 4.2.8), and OpenSSL does not: it takes one",
                goes_on=True,
            ),
        ),
    ),
    Script("ffdhe-sanity"),
    Script("finished", known=(Known("padding - cipher .*", _ILLEGAL, _WHICH_ALERT),)),
    Script("finished-plaintext"),
    Script("hrr"),
    Script("invalid-ciphers"),
    Script("keyshare-omitted"),
    Script(
        "keyupdate",
        known=(
            Known("large KeyUpdate message", _ILLEGAL, _WHICH_ALERT),
            Known(
                "app data split, conversation with KeyUpdate msg",
                "Timeout when waiting for peer message",
                "new keys are due before the next data (RFC 8446, 4.6.3), and OpenSSL sends them no sooner",
                goes_on=True,
            ),
        ),
    ),
    Script("large-number-of-extensions", ("--supgroup",), long=True),
    Script(
        "legacy-version",
        known=(Known(r"version \(3, 0\)", 'does not match received "handshake_failure"', _WHICH_ALERT),),
    ),
    Script(
        "multiple-ccs-messages",
        known=(
            Known(".*multiple CCS.*|second CCS before client finished", _CLOSED, _WHICH_ALERT),
            Known(
                "sanity with one CCS message",
                _CLOSED,
                "stricter: OpenSSL takes this message after its own hello, where RFC 8446 (D.4) has a client send it, "
                "and not right behind a first hello without early data",
            ),
        ),
    ),
    Script("no-unknown-groups", ("--groups", _GROUPS), unasked=_PQ if _NEW_OPENSSL else ""),
    Script("nociphers"),
    Script("obsolete-curves", ("-a", "handshake_failure", "--relaxed"), long=True),
    Script("pkcs-signature"),
    Script(
        "record-layer-limits",
        long=True,
        known=(
            Known(r"max size payload \(2\*\*14\) of Finished msg, .*", _ILLEGAL, _WHICH_ALERT),
            Known(
                r"max size of Finished msg, with \d+ bytes of record layer padding \w+",
                "Timeout when waiting for peer message",
                "OpenSSL holds the content of a record against its limit, and not the padding of zeros behind it; the "
                "record was authentic, and its length is within what a record may have",
                goes_on=True,
            ),
            Known(
                r"too big plaintext, size: 2\*\*14 - 8, with an additional 9 bytes of padding, cipher \w+",
                r"Unexpected message from peer: ApplicationData",
                "as above: 8 bytes under the limit, and 9 zeros behind them",
                goes_on=True,
            ),
        ),
    ),
    Script("record-padding"),
    Script("rsa-signatures"),
    Script("serverhello-random", ("--repeat", "4")),
    Script(
        "session-resumption",
        known=(
            Known(
                "session resumption - PSK_ONLY",
                "Server did not send extension",
                "stricter: each key is a new one",
                strict=True,
            ),
            Known(r"sanity - TLS 1\.2|use TLS 1\.2 ticket in TLS 1\.3", _OLDER, _ONLY, strict=True),
        ),
    ),
    Script(
        "shuffled-extentions",
        known=(
            Known(
                "HRR reversed order .*",
                _SHAKEN,
                "a client is to keep the order of its extensions in its second hello, and no server has to see to it: "
                "both hellos are part of what Finished proves",
                goes_on=True,
            ),
        ),
    ),
    Script("signature-algorithms"),
    Script(
        "symetric-ciphers",
        known=(Known(".*AES_128_CCM.*", _REFUSED, "CCM is not offered, and not wanted", strict=True),),
    ),
    Script("unencrypted-alert"),
    Script("unrecognised-groups"),
    Script(
        "version-negotiation",
        known=(Known(r"fallback from .*|TLS 1\.\d in client hello .*", _OLDER, _ONLY, strict=True),),
    ),
    Script(
        "version-negotiation",
        ("-d",),
        known=(Known(r"fallback from .*|TLS 1\.\d in .*", _OLDER, _ONLY, strict=True),),
        long=True,
    ),
    Script("zero-content-type"),
    Script("zero-length-data"),
    # Certificates of clients: what they sign with is not what they show, or is broken.
    Script("certificate-request", client="rsa", clients="optional", known=_REQUESTED, all=False),
    Script("certificate-verify", client="rsa", clients="required", known=_REQUESTED),
    Script("ecdsa-in-certificate-verify", client="ec", clients="required", known=_REQUESTED, long=True),
    Script("eddsa-in-certificate-verify", client="ed25519", clients="required", known=_REQUESTED, long=True),
    # What is let loose on `hauberk serve`, and is not asked.
    Script("certificate-compression", unasked="certificates are sent as they are; the script wants them compressed"),
    Script("client-certificate-compression", client="rsa", unasked="no certificate is taken compressed", long=True),
    Script("ecdhe-brainpool-curves", unasked="no Brainpool curve is offered; the script wants them"),
    Script("keyupdate-from-server", unasked="it wants a server that changes its keys by itself"),
    Script("lengths", unasked="it wants back what it sends", long=True),
    Script("non-support", unasked="it wants a server without TLS 1.3"),
    Script("post-handshake-auth", client="rsa", unasked="nobody is asked for a certificate after the handshake"),
    Script("psk_dhe_ke", unasked="it wants a key that both ends know beforehand"),
    Script("psk_ke", unasked="it wants a key that both ends know beforehand"),
    Script(
        "rsapss-signatures", unasked="it wants a certificate with an RSA-PSS key, which `hauberk certs` makes none of"
    ),
)
"""In this order; what is missing needs more than a server: ``minerva`` measures times, and the others want keys on
Brainpool curves or of ML-DSA, or ML-KEM, which OpenSSL has since 3.5."""


def rows() -> list[str]:
    """Return what is known, and what is not asked, as the rows of a table."""
    found = []
    for script in SCRIPTS:
        name = " ".join((script.name, *script.arguments)) if script.name == "version-negotiation" else script.name
        for entry in script.known:
            names = entry.names.replace("|", r"\|")
            ending = "goes on" if entry.goes_on else "ends it"
            found.append(f"| `{name}` | `{names}` | {ending} | {entry.reason} |")
    return found


def loose_rows() -> list[str]:
    """Return which scripts are not asked, as the rows of a table."""
    return [f"| `{script.name}` | {script.unasked} |" for script in SCRIPTS if script.unasked and script.unasked != _PQ]

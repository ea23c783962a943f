"""Every bound of this package, with its unit."""

from __future__ import annotations

from typing import Final, NamedTuple


class Limits(NamedTuple):
    """What is not exceeded."""

    bundle_bytes: int = 4 * 1024 * 1024
    """A file of authorities."""
    chain_bytes: int = 256 * 1024
    """A file with a certificate and its intermediates."""
    key_bytes: int = 64 * 1024
    """A file with a private key."""
    passphrase_bytes: int = 4096
    """A file with a passphrase."""
    crl_bytes: int = 16 * 1024 * 1024
    """A file of revocation lists."""
    endpoints: int = 128
    """Contexts of one set of options: one for each server that is called, by address and name."""
    authorities: int = 256
    """Authorities of chains that were verified, remembered for those who resume a session."""
    session_seconds: float = 7200.0
    """How long after a full handshake a session can be resumed: so long a context is used, and its tickets count."""
    tickets: int = 2
    """Session tickets that are kept for one endpoint; each is used once (RFC 8446 appendix C.4)."""
    identity_chars: int = 1024
    """The name of a peer, as its certificate has it."""
    names: int = 16
    """Names of a certificate that are shown; all of them are compared."""
    text_chars: int = 200
    """Text of a peer's certificate or alert in an error or an event."""
    warning_seconds: float = 86400.0
    """How often the same certificate is said to expire soon."""


LIMITS: Final = Limits()


def shown(text: object) -> str:
    """Return what a peer sent as an error or an event may hold it: short, printable, on one line."""
    head = str(text)[: LIMITS.text_chars + 1]
    plain = "".join(c if c.isascii() and c.isprintable() else ascii(c)[1:-1] for c in head)
    return plain if len(plain) <= LIMITS.text_chars else f"{plain[: LIMITS.text_chars]}…"

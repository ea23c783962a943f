"""The bounds and defaults of certificates, each with its unit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds and defaults."""

    ca_days: int = 3650
    """How long a CA lasts (days)."""
    leaf_days: int = 365
    """How long a certificate lasts (days)."""
    crl_days: int = 365
    """How long a revocation list counts (days)."""
    most_days: int = 7300
    """No lifetime is longer (days)."""
    warn_days: int = 30
    """From when on `check` warns of an end (days before it)."""
    backdate: int = 300
    """How long before it is made a certificate begins to count, for peers whose clocks are slow (seconds)."""
    path_length: int = 0
    """How many CAs may stand between the CA and a certificate."""
    name_chars: int = 64
    """RFC 5280 appendix A.1, ``ub-common-name``: a NAME is the common name too (characters)."""
    dns_chars: int = 253
    """RFC 1035 section 2.3.4, without the root (characters)."""
    san_chars: int = 512
    """A URI or an address (characters)."""
    sans: int = 100
    """The names of one certificate."""
    names: int = 1000
    """The names of one command."""
    pem_bytes: int = 256 * 1024
    """A file with a key or certificates (bytes)."""
    index_bytes: int = 16 * 1024 * 1024
    """The index of a CA, and its revocation list (bytes)."""
    chain: int = 10
    """The certificates of one file."""
    passphrase_chars: int = 12
    """A new passphrase has at least as many (characters)."""
    passphrase_bytes: int = 1024
    """OpenSSL reads no longer one (bytes)."""
    rounds: int = 600_000
    """PBKDF2-HMAC-SHA256 of a passphrase."""
    serial_digits: int = 8
    """As many digits of a serial number name it, where no other begins so."""
    lock_seconds: float = 30.0
    """How long a command waits for another (seconds)."""
    shown_chars: int = 128
    """What is shown of a text from a file (characters)."""


LIMITS: Final = Limits()

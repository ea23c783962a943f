"""Who we are: the files ``certificate`` and ``key``, read once and by the rules of `hauberk.files` (X.9, S0.15)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from hauberk import files
from hauberk.refusals import ConfigError
from hauberk_tls._limits import LIMITS
from hauberk_tls._options import Options
from hauberk_tls._stamps import Stamp, stamps

Private = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


class Own(NamedTuple):
    """Our certificate and its key."""

    stamps: tuple[Stamp, ...]
    chain: bytes = b""
    """PEM, our own certificate first; empty where there is none."""
    key: bytes = b""
    """PEM, as it is in its file."""
    passphrase: bytes | None = None
    not_before: float = 0.0
    """Seconds since 1970."""
    not_after: float = 0.0
    """Seconds since 1970."""

    def __repr__(self) -> str:
        return f"<Own of {len(self.chain)} bytes>"


def stamps_of(options: Options) -> tuple[Stamp, ...]:
    """Return what tells whether the files changed."""
    return stamps((options.certificate, options.key, options.passphrase_file))


def read(options: Options, environment: Mapping[str, str]) -> Own:
    """Read the files.

    Args:
        options: Where they are.
        environment: Holds the passphrase, where ``passphrase_env`` says so.

    Raises:
        ConfigError: One is missing, loose, not what it should be, or the two do not belong together.
    """
    seen = stamps_of(options)
    if options.certificate is None or options.key is None:
        return Own(seen)
    chain = files.read_trusted(options.certificate, max_bytes=LIMITS.chain_bytes)
    try:
        leaf = x509.load_pem_x509_certificates(chain)[0]
        key_of_leaf = leaf.public_key()
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigError(
            f"[tls] certificate: {str(options.certificate)!r} holds no certificate that can be read",
            hint="give a PEM file with the certificate first, then its intermediates",
        ) from None
    pem = files.read_private(options.key, max_bytes=LIMITS.key_bytes)
    passphrase = _passphrase(options, environment)
    key = _key(pem, passphrase, options.key)
    if _spki(key.public_key()) != _spki(key_of_leaf):
        raise ConfigError(
            f"[tls] key: {str(options.key)!r} is not the key of the certificate in {str(options.certificate)!r}",
            hint="name the two files that were made together",
        )
    dates = (leaf.not_valid_before_utc.timestamp(), leaf.not_valid_after_utc.timestamp())
    return Own(seen, chain, pem, passphrase, *dates)


def fault(own: Own, now: float, path: Path | None) -> ConfigError | None:
    """Say what is wrong with the dates of our certificate."""
    if not own.chain or own.not_before <= now <= own.not_after:
        return None
    what = "has expired" if now > own.not_after else "is not valid yet"
    at = own.not_after if now > own.not_after else own.not_before
    return ConfigError(
        f"[tls] certificate: {str(path)!r} {what} ({datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%SZ})",
        hint="renew it (hauberk certs renew), or set the clock",
    )


def _passphrase(options: Options, environment: Mapping[str, str]) -> bytes | None:
    if options.passphrase_file is not None:
        data = files.read_private(options.passphrase_file, max_bytes=LIMITS.passphrase_bytes)
        return _line(data, f"[tls] passphrase_file: {str(options.passphrase_file)!r}")
    if options.passphrase_env is None:
        return None
    value = environment.get(options.passphrase_env, "")
    return _line(value.encode(), f"[tls] passphrase_env: {options.passphrase_env!r}")


def _line(data: bytes, where: str) -> bytes:
    line = data.removesuffix(b"\n").removesuffix(b"\r")
    if not line or b"\n" in line:
        raise ConfigError(f"{where} is {'empty' if not line else 'not one line'}", hint="write the passphrase, alone")
    return line


def _key(
    pem: bytes, passphrase: bytes | None, path: Path
) -> rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey:
    try:
        key = serialization.load_pem_private_key(pem, passphrase)
    except TypeError:  # it is encrypted and there is no passphrase, or the other way round
        if passphrase is None:
            what, hint = "is encrypted", "name passphrase_file"
        else:
            what, hint = "is not encrypted, and there is a passphrase", "encrypt it, or take the passphrase out"
    except (ValueError, UnsupportedAlgorithm):
        what = "holds no private key that can be read" if passphrase is None else "cannot be decrypted or read"
        hint = "give a PEM file (PKCS#8, PKCS#1 or SEC1) and, where it is encrypted, its passphrase"
    else:
        if isinstance(key, Private):
            return key
        what, hint = f"is of a kind that is not used here ({type(key).__name__})", "make an EC, Ed25519 or RSA key"
    raise ConfigError(f"[tls] key: {str(path)!r} {what}", hint=hint)


def _spki(key: object) -> bytes:
    der: bytes = key.public_bytes(  # type: ignore[attr-defined]  # each kind of public key has it
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return der

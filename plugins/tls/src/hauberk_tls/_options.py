"""What ``[tls]`` may hold.

A server can have a table of its own, ``[server.NAME.tls]``; what protects gives way to no such table. ``ca`` and
``crl`` say who is trusted for it, and each takes the place of the general one: another authority has another list. The
``revoked_keys`` of both tables are refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, Literal

from msgspec import Meta

from hauberk import config
from hauberk.config import Narrow
from hauberk.refusals import ConfigError
from hauberk_tls._names import asked

Clients = Literal["required", "optional", "none"]
_PIN: Final = r"^sha256:[0-9a-f]{64}$"


def _common(general: list[str], specific: list[str]) -> list[str]:
    """Return the pins that both tables allow; a table without any says nothing."""
    if not general or not specific:
        return general or specific
    if not (both := [pin for pin in general if pin in specific]):
        raise ValueError("no key is in both lists")
    return both


Pin = Annotated[str, Meta(pattern=_PIN)]


class Options(config.Options, frozen=True, kw_only=True):
    """``[tls]``."""

    ca: Path | None = None
    """Who is trusted: a PEM file. Without it, the servers that the system trusts, and no clients."""
    certificate: Path | None = None
    """Who we are: a PEM file with our certificate, then its intermediates."""
    key: Path | None = None
    """The private key of ``certificate``: PEM (PKCS#8, PKCS#1 or SEC1; RSA, EC or Ed25519), mode 0600 or 0400."""
    passphrase_file: Path | None = None
    """The passphrase of ``key``: a private file of one line."""
    passphrase_env: Annotated[str, Meta(min_length=1)] | None = None
    """The variable with the passphrase of ``key``; refused in production."""
    client_certificates: Annotated[Clients, Narrow.strictest("required", "optional", "none")] | None = None
    """Of those who call a server behind this guard; ``required`` where nothing is said."""
    server_name: Annotated[str, Meta(min_length=1, max_length=253)] | None = None
    """What a server that we call has to be named in its certificate; without it, the host of its address."""
    require_common_name: Annotated[bool, Narrow.OR] | None = None
    """Whether the common name of a server must be its name too, besides subjectAltName; true with a ``ca``."""
    require_purpose: Annotated[bool, Narrow.OR] = True
    """Whether a peer's certificate must say what it is for; without, one that says nothing is for everything."""
    crl: Path | None = None
    """Who is trusted no longer: a PEM file with a list of each authority; of a server, in place of the general one."""
    revoked_keys: Annotated[tuple[Pin, ...], Narrow.UNION] = ()
    """Public keys that are trusted no longer, anywhere in a chain: ``sha256:`` of the SubjectPublicKeyInfo."""
    pinned_keys: Annotated[tuple[Pin, ...], Narrow.by(_common)] = ()
    """Public keys of which a peer's own must be one."""
    max_chain: Annotated[int, Meta(ge=1, le=10), Narrow.MIN] = 5
    """How many certificates a chain may have, the peer's own and the authority's included."""
    handshake_seconds: Annotated[float, Meta(gt=0, le=120), Narrow.MIN] = 10.0
    """What a handshake may take."""
    session_tickets: Annotated[bool, Narrow.AND] = True
    """Whether a later connection may resume a session (S4.26)."""
    allow_insecure_fallback: Annotated[bool, Narrow.AND] = False
    """Whether a server that offers no TLS is spoken to without; refused in production (S0.4)."""
    expiry_warning_days: Annotated[int, Meta(ge=0, le=3650), Narrow.MAX] = 30
    """How long before its end our certificate is said to expire soon."""

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            missing = "key" if self.key is None else "certificate"
            raise ValueError(f"certificate and key belong together, and {missing} is missing")
        if self.key is None and (self.passphrase_file or self.passphrase_env):
            raise ValueError("a passphrase is for a key, and there is none")
        if self.passphrase_file is not None and self.passphrase_env is not None:
            raise ValueError("passphrase_file and passphrase_env are two sources of one passphrase, give one")
        if self.client_certificates in ("required", "optional") and self.ca is None:
            raise ValueError(
                f"client_certificates = {self.client_certificates!r} needs ca: nobody is trusted to sign them"
            )
        if self.crl is not None and self.ca is None:
            raise ValueError("crl needs ca: it is the list of an authority that is named here")
        if self.server_name is not None:
            asked(self.server_name)

    @property
    def clients(self) -> Clients:
        """What holds for those who call a server behind this guard."""
        return self.client_certificates or "required"

    @property
    def common_name(self) -> bool:
        """Whether a common name is compared."""
        return self.ca is not None if self.require_common_name is None else self.require_common_name

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file that is named."""
        named: tuple[Any, ...] = (self.ca, self.crl, self.certificate, self.key, self.passphrase_file)
        return tuple(path for path in named if path is not None)


def check_profile(guard: Any, plugin: Any) -> None:
    """Check that no table asks for what production does not have.

    Raises:
        ConfigError: One does.
    """
    settings: config.Config = guard.config
    if not settings.production:
        return
    for server in (None, *settings.servers_of("tls")):
        options: Options = guard.options_for(plugin, server)
        place = "[tls]" if server is None else f"[server.{server}.tls]"
        if options.allow_insecure_fallback:
            raise ConfigError(
                f"{place} allow_insecure_fallback: there is none in production", hint="take it out: TLS or nothing"
            )
        if options.passphrase_env is not None:
            raise ConfigError(
                f"{place} passphrase_env: an environment is seen by more than its process",
                hint="write passphrase_file, a file of mode 0600",
            )

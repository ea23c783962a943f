"""What is checked once a handshake is done, and before any message: also where a session was resumed.

The rules:

1. OpenSSL verifies a chain in a full handshake and never again; nothing of what it found then is taken on trust here
   when a session is resumed. So the dates, the purpose, the names, the keys and the revocation lists are looked at
   anew for each connection.
2. What it does not look at is looked at here alone: the suite (V9), the protocol (A81), that there is an
   extendedKeyUsage at all, the common name beside subjectAltName (S0.12), the length of the chain, pinned keys.
3. The length of a chain, and the keys of its authorities, are known in a full handshake only. A resumed session comes
   from one made with these very options (a context that changes lets no older ticket in).
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Final

import msgspec
from cryptography import x509

from hauberk.carriers.address import ALPN as JSONL
from hauberk.connection import Carrier, Peer, Role
from hauberk.principal import Principal
from hauberk_tls import _identity
from hauberk_tls._chain import chain_of, excluded, length, odd_key
from hauberk_tls._contexts import SUITES
from hauberk_tls._facts import Facts, facts, key_hashes
from hauberk_tls._limits import LIMITS
from hauberk_tls._lists import Lists
from hauberk_tls._names import is_common_name, matches
from hauberk_tls._options import Options
from hauberk_tls._refusals import refused

ALPN: Final[dict[Carrier, str]] = {"tls": JSONL, "https": "http/1.1"}
"""The protocol of each carrier."""
_PURPOSE: Final[dict[Role, str]] = {"client": "1.3.6.1.5.5.7.3.1", "server": "1.3.6.1.5.5.7.3.2"}
"""What a peer's certificate has to be for, by our own role: serverAuth, clientAuth."""
VERSION: Final = "TLSv1.3"


class Check(msgspec.Struct, frozen=True):
    """What one peer is held to; it is called by the carrier."""

    role: Role
    carrier: Carrier
    name: str | None
    """Beside a client: what the server is to be named, as `hauberk_tls._names.asked` returns it."""
    options: Options
    lists: Lists
    who: str
    now: Callable[[], float]
    insecure: bool = False
    """Whether the server may speak without TLS: the fallback of the development profile."""

    def __call__(self, peer: Peer | None) -> Principal | None:
        """Check a peer and say who it is.

        Raises:
            Refused: It is not let in.
        """
        if peer is None or peer.tls is None:
            if self.insecure:
                return None
            raise refused("tls.not_tls", self.who)
        tls = peer.tls
        self.channel(tls)
        der = tls.getpeercert(binary_form=True)
        if der is None:
            if self.role == "client" or self.options.clients == "required":
                raise refused("tls.no_client_certificate" if self.role == "server" else "tls.untrusted", self.who)
            return None
        if self.role == "server" and self.options.clients == "none":
            return None  # it was not asked for, and nobody has verified it
        found = self.read(der)
        self.certificate(found)
        chain = None if tls.session_reused else self.chain(tls)
        self.keys(found, chain)
        self.lists.learn(chain or ())
        self.revocation(found)
        if self.role == "server":
            return _identity.client(found, self.who, common_name=self.options.common_name)
        return self.server(found)

    def channel(self, tls: ssl.SSLObject) -> None:
        """Check what was agreed on."""
        version = tls.version()
        if version is None:  # it has ended meanwhile, by an alert that the reader of the connection got
            raise refused("tls.cut_off", self.who)
        if version != VERSION:
            raise refused("tls.old_version", self.who, f"it agreed on {version}")
        suite = (tls.cipher() or ("",))[0]
        if suite not in SUITES:
            raise refused("tls.weak_cipher", self.who, f"it agreed on {suite}")
        protocol = tls.selected_alpn_protocol()
        if protocol != ALPN[self.carrier] and not (self.carrier == "https" and protocol is None):
            raise refused("tls.no_alpn", self.who)

    def read(self, der: bytes) -> Facts:
        """Read a certificate."""
        try:
            return facts(der)
        except ValueError as error:
            raise refused("tls.bad_certificate", self.who, error) from None

    def certificate(self, found: Facts) -> None:
        """Check the dates, and what it is for."""
        now = self.now()
        if now > found.not_after:
            raise refused("tls.expired", self.who)
        if now < found.not_before:
            raise refused("tls.not_yet_valid", self.who)
        if found.purposes is None:
            if self.options.require_purpose:
                raise refused("tls.wrong_purpose", self.who, "it says nothing of its purpose (extendedKeyUsage)")
        elif _PURPOSE[self.role] not in found.purposes:
            raise refused("tls.wrong_purpose", self.who)
        if found.authority:
            raise refused("tls.bad_certificate", self.who, "it is one of an authority")

    def server(self, found: Facts) -> Principal:
        """Check the names of a server."""
        name = self.name
        named = ", ".join((*found.dns, *map(str, found.addresses))[: LIMITS.names]) or "no name at all"
        if name is None or not matches(name, found.dns, found.addresses):
            raise refused("tls.name_mismatch", self.who, f"it is for {named}, and not for {name!r}")
        if self.options.common_name:
            common = found.common_names
            if len(common) != 1 or not is_common_name(name, common[0]):
                raise refused("tls.cn_mismatch", self.who, f"it is {', '.join(map(repr, common)) or 'missing'}")
        return Principal(id=name, kind="server", method="tls")

    def chain(self, tls: ssl.SSLObject) -> list[x509.Certificate]:
        """Check the chain of a full handshake, and return it, from the peer to the authority."""
        try:
            found = chain_of(tls)
            outside = found is not None and self.name is not None and excluded(found, self.name)
        except ValueError as error:
            raise refused("tls.bad_certificate", self.who, error) from None
        if found is None:
            raise refused("tls.handshake_failed", self.who, "its chain of certificates is not known")
        if (count := length(found)) > (most := self.options.max_chain):
            raise refused("tls.chain_too_long", self.who, f"{count} certificates, and {most} are allowed")
        if kind := odd_key(found):
            raise refused(
                "tls.bad_certificate", self.who, f"its chain has a key of a kind that is not used here ({kind})"
            )
        if outside:
            raise refused("tls.name_constraint", self.who, f"an authority of its chain may not sign for {self.name!r}")
        return found

    def keys(self, found: Facts, chain: list[x509.Certificate] | None) -> None:
        """Check the keys of the chain, or of the peer alone."""
        options = self.options
        if options.revoked_keys:
            keys = frozenset[str]().union(*map(key_hashes, chain or (found.certificate,)))
            if not keys.isdisjoint(options.revoked_keys):
                raise refused("tls.revoked", self.who, "its key is one of [tls] revoked_keys")
        if options.pinned_keys and key_hashes(found.certificate).isdisjoint(options.pinned_keys):
            raise refused("tls.key_pinned_otherwise", self.who, f"its key is {found.key}", key=found.key)

    def revocation(self, found: Facts) -> None:
        """Look a certificate up in the lists of its authority."""
        if not self.lists:
            return
        mine = self.lists.of(found.certificate)
        now = self.now()
        if not any(one.next_update_utc is None or one.next_update_utc.timestamp() >= now for one in mine):
            raise refused("tls.crl_unusable", self.who, "its authority has no list that is in force")
        if any(one.get_revoked_certificate_by_serial_number(found.serial) is not None for one in mine):
            raise refused("tls.revoked", self.who, f"serial number {found.serial:x}")

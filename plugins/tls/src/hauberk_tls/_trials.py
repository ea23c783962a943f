"""What a probe tries: one peer that is wrong in one way, and the code that must stop it.

Two kinds. Of what no authority matters to (the version, who is trusted, whether there is a certificate), the very
contexts that are in use are tried. What only a certificate of a trusted authority can show is tried with contexts that
are made by the same functions, from the same options, for an authority made on the spot.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from hauberk.connection import Peer, Role
from hauberk.refusals import Refused
from hauberk_tls import _contexts
from hauberk_tls._facts import facts
from hauberk_tls._failures import failure
from hauberk_tls._lists import Lists
from hauberk_tls._options import Options
from hauberk_tls._own import Own
from hauberk_tls._peer import ALPN, Check
from hauberk_tls._rotation import Kept
from hauberk_tls._stage import CLIENT, FUTURE, NAME, PAST, UNTIL, WILDCARD, Authority, End, Shown, other, shake
from hauberk_tls._trust import Trust

WHO: Final = "the doctor"
_LATE: Final = UNTIL.timestamp() + 86400.0


class Trial(NamedTuple):
    """One thing that is tried."""

    name: str
    control: str
    code: str
    """What must stop it; empty of what must pass."""
    run: Callable[[Kept, Authority], str]
    """Return the code that stopped it, or nothing."""
    applies: Callable[[Kept], bool] = lambda _: True


def _options(kept: Kept, **changed: Any) -> Options:
    """Return options without what names somebody: a name, keys, lists."""
    bare = {"server_name": None, "pinned_keys": (), "revoked_keys": (), "crl": None, **changed}
    return msgspec.structs.replace(kept.options, **bare)


def _check(role: Role, options: Options, trust: Trust, now: Callable[[], float]) -> Check:
    return Check(
        role=role, carrier="tls", name=NAME, options=options, lists=Lists(trust.lists, trust.named), who=WHO, now=now
    )


def _met(context: ssl.SSLContext, peer: ssl.SSLContext, check: Check) -> str:
    """Shake hands and check; return the code that stopped it, or nothing."""
    client = check.role == "client"
    mine, theirs = End(context, server=not client), End(peer, server=client)
    shake(*((mine, theirs) if client else (theirs, mine)))
    try:
        if mine.error is not None:
            raise failure(mine.error, WHO)
        check(Peer("tls", "", tls=mine.tls))
    except Refused as error:
        return error.code
    return ""


def _staged(
    kept: Kept, authority: Authority, shown: Shown, *, trust: Trust | None = None, role: Role = "client", **changed: Any
) -> str:
    """Try a peer that shows a certificate of the doctor's authority."""
    options, trusted = _options(kept, **changed), trust or authority.trust
    make = _contexts.for_client if role == "client" else _contexts.for_server
    own = Own(()) if role == "client" else authority.good.own
    context = make(options, own, trusted, ALPN["tls"])
    return _met(context, other(role, shown), _check(role, options, trusted, kept.now))


def _in_use(kept: Kept, role: Role, peer: ssl.SSLContext) -> str:
    """Try a peer against the context that is in use."""
    generation = kept.begin(WHO)
    alpn = ALPN["tls"]
    context = generation.client(f"tls://{NAME}", alpn) if role == "client" else generation.server(alpn)
    return _met(context, peer, _check(role, _options(kept), generation.trust, kept.now))


def _old_version(kept: Kept, authority: Authority) -> str:
    peer = other("client", authority.good)
    peer.maximum_version = ssl.TLSVersion.TLSv1_2
    return _in_use(kept, "client", peer)


def _old_client(kept: Kept, authority: Authority) -> str:
    peer = other("server", authority.good)
    peer.maximum_version = ssl.TLSVersion.TLSv1_2
    return _in_use(kept, "server", peer)


class _Suited:
    """A connection that agreed on a suite that nobody should."""

    @staticmethod
    def version() -> str:
        return "TLSv1.3"

    @staticmethod
    def cipher() -> tuple[str, str, int]:
        return ("TLS_AES_128_CCM_8_SHA256", "TLSv1.3", 128)

    @staticmethod
    def selected_alpn_protocol() -> str:
        return ALPN["tls"]


def _weak_suite(kept: Kept, authority: Authority) -> str:
    check = _check("client", _options(kept), authority.trust, kept.now)
    try:
        check.channel(_Suited())  # type: ignore[arg-type]  # as much of one as is asked
    except Refused as error:
        return error.code
    return ""


def _no_alpn(kept: Kept, authority: Authority) -> str:
    peer = other("client", authority.good)
    peer.set_alpn_protocols(["hauberk-doctor"])
    options = _options(kept)
    context = _contexts.for_client(options, Own(()), authority.trust, ALPN["tls"])
    return _met(context, peer, _check("client", options, authority.trust, kept.now))


def _expired(kept: Kept, authority: Authority) -> str:
    """Try one that has expired; then one that expires while its session lasts, where OpenSSL looks no more."""
    code = _staged(kept, authority, authority.issue(until=PAST))
    if code != "tls.expired":
        return code
    der = ssl.PEM_cert_to_DER_cert(authority.good.own.chain.decode())
    try:
        _check("client", _options(kept), authority.trust, lambda: _LATE).certificate(facts(der))
    except Refused as error:
        return error.code
    return ""


def _weak_key(kept: Kept, authority: Authority) -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 - that is what must be refused
    return _staged(kept, authority, authority.issue(key=key))


def _excluded_name(kept: Kept, _: Authority) -> str:
    """Try a wildcard that covers a name which its authority may not sign."""
    authority = Authority(excluded=NAME)
    return _staged(kept, authority, authority.issue(x509.DNSName(WILDCARD)))


def _client(kept: Kept, authority: Authority, name: x509.GeneralName | None, **changed: Any) -> str:
    """Try a client of this name."""
    return _staged(kept, authority, authority.issue(name, purpose=CLIENT, **changed), role="server")


def _calls(kept: Kept) -> bool:
    return kept.options.clients != "none" and kept.generation.trust.authorities is not None and _called(kept)


def _called(kept: Kept) -> bool:
    return bool(kept.generation.own.chain)


TRIALS: Final = (
    Trial("accepts_good_server", "a server that is as it must be is spoken to", "",
          lambda k, a: _staged(k, a, a.good)),
    Trial("refuses_old_version", "a server that speaks TLS 1.2 is refused", "tls.old_version", _old_version),
    Trial("refuses_untrusted_server", "a server of an unknown authority is refused", "tls.untrusted",
          lambda k, a: _in_use(k, "client", other("client", a.good))),
    Trial("refuses_weak_suite", "a suite that is not one of two is refused", "tls.weak_cipher", _weak_suite),
    Trial("refuses_other_protocol", "a server that does not agree on the protocol is refused", "tls.no_alpn", _no_alpn),
    Trial("refuses_wrong_name", "a server of another name is refused", "tls.name_mismatch",
          lambda k, a: _staged(k, a, a.issue(x509.DNSName("other.example")))),
    Trial("refuses_wrong_common_name", "a server of another common name is refused", "tls.cn_mismatch",
          lambda k, a: _staged(k, a, a.issue(common="other.example")), lambda k: k.options.common_name),
    Trial("refuses_expired", "a certificate that has expired is refused", "tls.expired", _expired),
    Trial("refuses_not_yet_valid", "a certificate that is not valid yet is refused", "tls.not_yet_valid",
          lambda k, a: _staged(k, a, a.issue(since=FUTURE))),
    Trial("refuses_wrong_purpose", "a certificate of a client is none of a server", "tls.wrong_purpose",
          lambda k, a: _staged(k, a, a.issue(purpose=CLIENT))),
    Trial("refuses_no_purpose", "a certificate that is for nothing is refused", "tls.wrong_purpose",
          lambda k, a: _staged(k, a, a.issue(purpose=None)), lambda k: k.options.require_purpose),
    Trial("refuses_long_chain", "a chain that is longer than it may be is refused", "tls.chain_too_long",
          lambda k, a: _staged(k, a, a.good, max_chain=1)),
    Trial("refuses_irregular", "a certificate that RFC 5280 does not allow is refused", "tls.bad_certificate",
          lambda k, a: _staged(k, a, a.issue(irregular=True))),
    Trial("refuses_weak_key", "a key of less than 112 bits of security is refused", "tls.bad_certificate", _weak_key),
    Trial("refuses_excluded_name", "a wildcard reaches no name that its authority may not sign", "tls.name_constraint",
          _excluded_name),
    Trial("refuses_revoked", "a certificate that is on a list is refused", "tls.revoked",
          lambda k, a: _staged(k, a, a.good, trust=a.lists(a.good)), lambda k: k.options.crl is not None),
    Trial("refuses_revoked_key", "a key that was revoked is refused", "tls.revoked",
          lambda k, a: _staged(k, a, a.good, revoked_keys=(a.good.pin,)), lambda k: bool(k.options.revoked_keys)),
    Trial("refuses_other_key", "a key that is not pinned is refused", "tls.key_pinned_otherwise",
          lambda k, a: _staged(k, a, a.good, pinned_keys=k.options.pinned_keys), lambda k: bool(k.options.pinned_keys)),
    Trial("refuses_old_client", "a client that speaks TLS 1.2 is refused", "tls.old_version", _old_client, _called),
    Trial("refuses_unknown_client", "a client of an unknown authority is refused", "tls.untrusted",
          lambda k, a: _in_use(k, "server", other("server", a.issue(purpose=CLIENT))), _calls),
    Trial("refuses_no_client_certificate", "a client without a certificate is refused", "tls.no_client_certificate",
          lambda k, _: _in_use(k, "server", other("server", None)),
          lambda k: _calls(k) and k.options.clients == "required"),
    Trial("accepts_good_client", "a client that is as it must be is let in", "",
          lambda k, a: _client(k, a, x509.DNSName(NAME)), _calls),
    Trial("refuses_nameless_client", "a client whose certificate names nobody is refused", "tls.bad_certificate",
          lambda k, a: _client(k, a, None), _calls),
    Trial("refuses_reserved_client", "a client with a name that hauberk gives away is refused", "tls.bad_certificate",
          lambda k, a: _client(k, a, x509.UniformResourceIdentifier("uid:0")), _calls),
    Trial("refuses_common_name_of_client", "a client of another common name is refused", "tls.cn_mismatch",
          lambda k, a: _client(k, a, x509.DNSName(NAME), common="other.example"),
          lambda k: _calls(k) and k.options.common_name),
    Trial("refuses_purpose_of_client", "a certificate of a server is none of a client", "tls.wrong_purpose",
          lambda k, a: _staged(k, a, a.good, role="server"), _calls),
)  # fmt: skip
"""What is tried, where it applies."""

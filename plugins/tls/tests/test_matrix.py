"""Each way in which a handshake can fail has its own code, text and event; what is right passes."""

from __future__ import annotations

import ssl
from collections.abc import Callable

import pytest
from cryptography import x509
from plugins.tls.tests.conftest import CALLED, CALLER, Opener, Yard
from plugins.tls.tests.maker import CLIENT, DAY, NOW, SERVER, Ca, Issued, self_signed
from plugins.tls.tests.shaking import Party, Told

from hauberk.connection import Role

Make = Callable[[Yard], Issued]
FAR = Ca("Another CA")


def intermediate(yard: Yard, **more: object) -> Ca:
    return Ca("Intermediate", parent=yard.ca, **more)  # type: ignore[arg-type]


def too_long(yard: Yard, *names: str, purposes: list[x509.ObjectIdentifier]) -> Issued:
    above = yard.ca
    for number in range(4):
        above = Ca(f"Intermediate {number}", parent=above)
    return above.issue(*names, purposes=purposes)


def constrained(yard: Yard, *names: str, purposes: list[x509.ObjectIdentifier]) -> Issued:
    permitted = x509.NameConstraints(permitted_subtrees=[x509.DNSName("other.example")], excluded_subtrees=None)
    return intermediate(yard, constraints=permitted).issue(*names, purposes=purposes)


def under(yard: Yard, *names: str) -> Issued:
    """Below an authority that may not sign for the name that is asked, and hides it in another."""
    excluded = x509.NameConstraints(permitted_subtrees=None, excluded_subtrees=[x509.DNSName("example")])
    return intermediate(yard, constraints=excluded).issue(*names)


def flat(yard: Yard, *names: str, purposes: list[x509.ObjectIdentifier]) -> Issued:
    """Below an authority that may have no authority below it."""
    return Ca("Low", parent=intermediate(yard, path_length=0)).issue(*names, purposes=purposes)


SERVERS: dict[str, tuple[str, Make]] = {
    "good": ("", lambda y: y.server),
    "intermediate": ("", lambda y: intermediate(y).issue("files.example")),
    "wildcard": ("", lambda y: y.ca.issue("*.files.example", "files.example", common="files.example")),
    "case": ("", lambda y: y.ca.issue("FILES.example", common="Files.Example")),
    "wrong CA": ("untrusted", lambda y: FAR.issue("files.example")),
    "wrong CA of the same name": ("untrusted", lambda y: Ca().issue("files.example")),
    "self-signed": ("self_signed", lambda y: self_signed("files.example")),
    "wrong name": ("name_mismatch", lambda y: y.ca.issue("other.example")),
    "CN only": ("name_mismatch", lambda y: y.ca.issue(common="files.example")),
    "CN is another": ("cn_mismatch", lambda y: y.ca.issue("files.example", common="other.example")),
    "no CN": ("cn_mismatch", lambda y: y.ca.issue("files.example", common=None)),
    "wildcard of one label too few": ("name_mismatch", lambda y: y.ca.issue("*.files.example", common="files.example")),
    "wildcard over a top-level domain": ("name_mismatch", lambda y: y.ca.issue("*.example", common="files.example")),
    "expired": ("expired", lambda y: y.ca.issue("files.example", since=NOW - 9 * DAY, until=NOW - DAY)),
    "not yet valid": ("not_yet_valid", lambda y: y.ca.issue("files.example", since=NOW + DAY)),
    "no EKU": ("wrong_purpose", lambda y: y.ca.issue("files.example", purposes=None)),
    "client-only EKU": ("wrong_purpose", lambda y: y.ca.issue("files.example", purposes=[CLIENT])),
    "chain too long": ("chain_too_long", lambda y: too_long(y, "files.example", purposes=[SERVER])),
    "path length": ("chain_too_long", lambda y: flat(y, "files.example", purposes=[SERVER])),
    "name constraint": ("name_constraint", lambda y: constrained(y, "files.example", purposes=[SERVER])),
    "name constraint under a wildcard": ("name_constraint", lambda y: under(y, "*.files.example", "files.example")),
    "an authority": ("bad_certificate", lambda y: y.ca.issue("files.example", authority=True)),
}


def was(told: Told, party: Party, code: str) -> None:
    """Check what came of a connection, its text and its event."""
    assert told.code == (f"tls.{code}" if code else "")
    if code:
        assert told.message
        assert told.hint
        assert told.message.isprintable()
        assert len(told.message) < 500


async def recorded(party: Party, code: str) -> None:
    await party.guard.close()
    [event] = party.events(code)
    assert (event.category, event.action, event.plugin, event.server) == ("connection", "blocked", "tls", "files")


@pytest.mark.parametrize("case", SERVERS)
async def test_servers(case: str, yard: Yard, opened: Opener) -> None:
    """S0.11, S0.12, S0.13, S4.6, A82, A83, V7: of servers the good ones are spoken to, each other has its own code."""
    code, make = SERVERS[case]
    caller = await opened(CALLER)
    told = await caller.meet(yard.plain("server", make(yard)))
    was(told, caller, code)
    if code:
        await recorded(caller, told.code)
        assert "tls://files.example:8443" in told.message
    else:
        assert (told.principal.id, told.principal.kind, told.principal.method) == ("files.example", "server", "tls")


NAMES: dict[str, tuple[str, str, tuple[str, ...], str]] = {
    "IP": ("", "tls://192.0.2.1:8443", ("192.0.2.1",), "192.0.2.1"),
    "IPv6": ("", "tls://[2001:db8:0::1]:8443", ("2001:db8::1",), "2001:db8::1"),
    "another IP": ("name_mismatch", "tls://192.0.2.1:8443", ("192.0.2.2",), "192.0.2.2"),
    "IP as a DNS name": ("name_mismatch", "tls://192.0.2.1:8443", ("files.example",), "192.0.2.1"),
    "CN is another IP": ("cn_mismatch", "tls://192.0.2.1:8443", ("192.0.2.1",), "192.0.2.2"),
    "IDNA": ("", "tls://bücher.example:8443", ("xn--bcher-kva.example",), "xn--bcher-kva.example"),
    "IDNA in the CN": ("", "tls://xn--bcher-kva.example:8443", ("xn--bcher-kva.example",), "bücher.example"),
    "another IDNA": ("name_mismatch", "tls://bücher.example:8443", ("bucher.example",), "bucher.example"),
    "wildcard": ("", "tls://a.files.example:8443", ("*.files.example",), "*.files.example"),
    "wildcard over two labels": (
        "name_mismatch",
        "tls://a.b.files.example:1",
        ("*.files.example",),
        "a.b.files.example",
    ),
    "part of a label": ("name_mismatch", "tls://a1.files.example:8443", ("a*.files.example",), "a1.files.example"),
}


@pytest.mark.parametrize("case", NAMES)
async def test_names(case: str, yard: Yard, opened: Opener) -> None:
    """S0.12, S4.6, A82: addresses, wildcards and names in other letters are compared by the same rules, CN and SAN."""
    code, target, names, common = NAMES[case]
    caller = await opened(CALLER)
    told = await caller.meet(yard.plain("server", yard.ca.issue(*names, common=common)), target=target)
    was(told, caller, code)


@pytest.mark.parametrize("name", ["faß.example", "a\u200db.example", "", "files..example", "*.example", "10.1"])
async def test_names_that_are_none(name: str, yard: Yard, opened: Opener) -> None:
    """S0.12: a name that is none, or two by the two standards of IDNA, is asked of nobody."""
    from hauberk.refusals import Refused

    caller = await opened(CALLER)
    with pytest.raises(Refused) as refused:
        await caller.admit("client", target=f"tls://{name}:8443")
    assert refused.value.code == "tls.bad_name"


CLIENTS: dict[str, tuple[str, Make | None]] = {
    "good": ("", lambda y: y.host),
    "intermediate": ("", lambda y: intermediate(y).issue("urn:hauberk:host", purposes=[CLIENT])),
    "no certificate": ("no_client_certificate", None),
    "wrong CA": ("untrusted", lambda y: FAR.issue("urn:hauberk:host", purposes=[CLIENT])),
    "self-signed": ("self_signed", lambda y: self_signed("urn:hauberk:host", purposes=[CLIENT])),
    "expired": (
        "expired",
        lambda y: y.ca.issue("urn:hauberk:host", purposes=[CLIENT], since=NOW - 9 * DAY, until=NOW - DAY),
    ),
    "not yet valid": ("not_yet_valid", lambda y: y.ca.issue("urn:hauberk:host", purposes=[CLIENT], since=NOW + DAY)),
    "no EKU": ("wrong_purpose", lambda y: y.ca.issue("urn:hauberk:host", purposes=None)),
    "server-only EKU": ("wrong_purpose", lambda y: y.ca.issue("urn:hauberk:host", purposes=[SERVER])),
    "no name": ("bad_certificate", lambda y: y.ca.issue(common="host", purposes=[CLIENT])),
    "only an address": ("bad_certificate", lambda y: y.ca.issue("192.0.2.1", purposes=[CLIENT])),
    "CN is another": ("cn_mismatch", lambda y: y.ca.issue("host.example", common="root.example", purposes=[CLIENT])),
    "the doctor's name": ("bad_certificate", lambda y: y.ca.issue("hauberk-doctor", purposes=[CLIENT])),
    "a pattern": ("bad_certificate", lambda y: y.ca.issue("*.example.com", purposes=[CLIENT])),
    "an authority": ("bad_certificate", lambda y: y.ca.issue("host.example", purposes=[CLIENT], authority=True)),
    "the host's name": ("bad_certificate", lambda y: y.ca.issue("host://default", purposes=[CLIENT])),
    "chain too long": ("chain_too_long", lambda y: too_long(y, "host.example", purposes=[CLIENT])),
    "name constraint": ("name_constraint", lambda y: constrained(y, "host.example", purposes=[CLIENT])),
}


@pytest.mark.parametrize("case", CLIENTS)
async def test_clients(case: str, yard: Yard, opened: Opener) -> None:
    """S0.14, S4.4, S4.6, A83: a client without a good certificate is refused, each with its own code."""
    code, make = CLIENTS[case]
    called = await opened(CALLED)
    issued = None if make is None else make(yard)
    told = await called.meet(yard.plain("client", issued), "server")
    was(told, called, code)
    if code:
        await recorded(called, told.code)
        assert called.events(told.code)[0].details["peer"] == "203.0.113.7:51234"
        assert told.principal.id == "anonymous"


IDENTITIES = {
    "uri": (("urn:hauberk:one", "two.example", "three@mail.example"), "two.example", "urn:hauberk:one"),
    "dns": (("two.example", "three@mail.example"), "two.example", "two.example"),
    "mail": (("three@mail.example",), "three@mail.example", "three@mail.example"),
    "no CN": (("two.example",), None, "two.example"),
}


@pytest.mark.parametrize("case", IDENTITIES)
async def test_who_a_client_is(case: str, yard: Yard, opened: Opener) -> None:
    """S0.16, S2.6: the connection's principal is what the certificate names, and nothing that was said."""
    names, common, id = IDENTITIES[case]
    called = await opened(CALLED)
    told = await called.meet(yard.plain("client", yard.ca.issue(*names, common=common, purposes=[CLIENT])), "server")
    assert told.code == ""
    assert (told.principal.id, told.principal.kind, told.principal.method) == (id, "service", "mtls")


@pytest.mark.parametrize(
    ("issued", "code"),
    [("none", ""), ("bad", "untrusted"), ("good", "")],
)
async def test_optional(issued: str, code: str, yard: Yard, opened: Opener) -> None:
    """S4.4: where certificates are optional, none is nobody, a good one somebody, and a bad one refused."""
    called = await opened(f'{CALLED}client_certificates = "optional"\n')
    shown = {"none": None, "bad": FAR.issue("urn:hauberk:host", purposes=[CLIENT]), "good": yard.host}[issued]
    told = await called.meet(yard.plain("client", shown), "server")
    was(told, called, code)
    assert told.principal.id == ("urn:hauberk:host" if issued == "good" else "anonymous")


async def test_none(yard: Yard, opened: Opener) -> None:
    """S4.4: where no certificates are asked for, nobody is anybody."""
    called = await opened('[tls]\ncertificate = "server.pem"\nkey = "server.key"\nclient_certificates = "none"\n')
    told = await called.meet(yard.plain("client", yard.host), "server")
    assert (told.code, told.principal.id) == ("", "anonymous")


@pytest.mark.parametrize("role", ["client", "server"])
async def test_older_versions(role: Role, yard: Yard, opened: Opener) -> None:
    """S0.9, A81: who speaks TLS 1.2 and no better is refused, on either side."""
    party = await opened(CALLER if role == "client" else CALLED)
    other = yard.plain("server", yard.server) if role == "client" else yard.plain("client", yard.host)
    other.maximum_version = ssl.TLSVersion.TLSv1_2
    told = await party.meet(other, role)
    was(told, party, "old_version")
    await recorded(party, "tls.old_version")


@pytest.mark.parametrize("role", ["client", "server"])
@pytest.mark.parametrize("alpn", [None, "h2"])
async def test_another_protocol(role: Role, alpn: str | None, yard: Yard, opened: Opener) -> None:
    """S4.6, A81: a peer that does not agree on the protocol is refused, on either side."""
    party = await opened(CALLER if role == "client" else CALLED)
    issued = yard.server if role == "client" else yard.host
    told = await party.meet(yard.plain("server" if role == "client" else "client", issued, alpn=alpn), role)
    was(told, party, "no_alpn")


async def test_https_needs_no_alpn(yard: Yard, opened: Opener) -> None:
    """S0.8: a server of HTTPS that knows nothing of ALPN is spoken to; one that does has to choose HTTP/1.1."""
    caller = await opened(CALLER)
    for alpn in (None, "http/1.1"):
        other = yard.plain("server", yard.server, alpn=alpn)
        told = await caller.meet(other, target="https://files.example/mcp", carrier="https")
        assert told.code == ""


class Suited:
    """A connection whose suite is another than the one that was agreed on."""

    def __init__(self, tls: ssl.SSLObject) -> None:
        self.tls = tls

    def cipher(self) -> tuple[str, str, int]:
        return ("TLS_AES_128_GCM_SHA256", "TLSv1.3", 128)

    def __getattr__(self, name: str) -> object:
        return getattr(self.tls, name)


async def test_weak_suites(yard: Yard, opened: Opener) -> None:
    """S0.10, V9: another suite than the two is refused once the handshake is done."""
    from hauberk.connection import Peer
    from hauberk.refusals import Refused

    caller = await opened(CALLER)
    told = await caller.meet(yard.plain("server", yard.server))
    with pytest.raises(Refused) as refused:
        told.connection.proved(Peer("tls", "", tls=Suited(told.end.tls)))  # type: ignore[arg-type]  # as one
    assert refused.value.code == "tls.weak_cipher"


@pytest.mark.parametrize("role", ["client", "server"])
async def test_no_tls_at_all(role: Role, yard: Yard, opened: Opener) -> None:
    """A81: a peer that speaks no TLS is told apart from one that speaks it badly."""
    party = await opened(CALLER if role == "client" else CALLED)
    connection = await party.admit(role)
    end = party.end(connection)
    end.step()
    end.into.write(b'{"jsonrpc":"2.0","id":1,"method":"ping"}\n' if role == "server" else b"HTTP/1.1 400 Bad\r\n\r\n")
    end.step()
    assert end.error is not None
    assert connection.tls is not None
    refusal = connection.tls.refusal(end.error)
    assert refusal.code == "tls.not_tls"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (TimeoutError(), "handshake_timeout"),
        (EOFError(), "cut_off"),
        (ConnectionResetError(), "cut_off"),
        (ssl.SSLEOFError(), "cut_off"),
        (ssl.SSLZeroReturnError(), "cut_off"),
        (ValueError(), "handshake_failed"),
        (ssl.SSLError(), "handshake_failed"),
    ],
)
async def test_handshakes_that_end(error: Exception, code: str, yard: Yard, opened: Opener) -> None:
    """S4.6: a peer that is slow, and one that goes, are told apart from one that is refused."""
    caller = await opened(CALLER)
    connection = await caller.admit("client")
    assert connection.tls is not None
    assert connection.tls.refusal(error).code == f"tls.{code}"


async def test_the_refusal_of_a_server(yard: Yard, opened: Opener) -> None:
    """S0.14, V8: a client finishes its handshake before it is refused; the alert at its first read is named."""
    caller = await opened('[tls]\nca = "ca.pem"\n')
    told = await caller.meet(yard.plain("server", yard.server, ca=yard.folder / "ca.pem"))
    assert told.end.done
    was(told, caller, "refused_by_peer")
    assert "certificate_required" in told.message
    stranger = FAR.issue("urn:hauberk:host", purposes=[CLIENT])
    stranger.write(yard.folder, "stranger")
    caller = await opened('[tls]\nca = "ca.pem"\ncertificate = "stranger.pem"\nkey = "stranger.key"\n')
    told = await caller.meet(yard.plain("server", yard.server, ca=yard.folder / "ca.pem"))
    was(told, caller, "refused_by_peer")
    assert "unknown_ca" in told.message


@pytest.mark.parametrize("role", ["client", "server"])
async def test_revoked_by_a_list(role: Role, yard: Yard, opened: Opener) -> None:
    """S0.19, A84: a certificate on the list of its authority is refused; another of that authority is not."""
    from plugins.tls.tests.maker import put

    bad = yard.ca.issue("files.example") if role == "client" else yard.ca.issue("urn:x:y", purposes=[CLIENT])
    put(yard.folder / "crl.pem", yard.ca.crl(bad), 0o644)
    party = await opened(f'{CALLER if role == "client" else CALLED}crl = "crl.pem"\n')
    theirs: Role = "server" if role == "client" else "client"
    was(await party.meet(yard.plain(theirs, bad), role), party, "revoked")
    was(await party.meet(yard.plain(theirs, yard.server if role == "client" else yard.host), role), party, "")


async def test_revoked_intermediate(yard: Yard, opened: Opener) -> None:
    """S0.19: an authority below another is looked up too."""
    from plugins.tls.tests.maker import put

    low = intermediate(yard)
    leaf = low.issue("files.example")
    put(yard.folder / "crl.pem", yard.ca.crl() + low.crl(), 0o644)
    caller = await opened(f'{CALLER}crl = "crl.pem"\n')
    was(await caller.meet(yard.plain("server", leaf)), caller, "")
    put(yard.folder / "crl.pem", yard.ca.crl(Issued(low.certificate, low.key)) + low.crl(), 0o644)
    was(await caller.meet(yard.plain("server", leaf)), caller, "revoked")


@pytest.mark.parametrize("fault", ["of another", "expired", "of the future", "forged"])
async def test_lists_that_tell_nothing(fault: str, yard: Yard, opened: Opener) -> None:
    """S0.19: where no list of the authority is in force, nobody is let in."""
    from plugins.tls.tests.maker import put

    lists: dict[str, Callable[[], bytes]] = {
        "of another": FAR.crl,
        "expired": lambda: yard.ca.crl(since=NOW - 9 * DAY, until=NOW - DAY),
        "of the future": lambda: yard.ca.crl(since=NOW + DAY),
        "forged": lambda: Ca().crl(),
    }
    put(yard.folder / "crl.pem", lists[fault](), 0o644)
    caller = await opened(f'{CALLER}crl = "crl.pem"\n')
    was(await caller.meet(yard.plain("server", yard.server)), caller, "crl_unusable")


async def test_revoked_keys(yard: Yard, opened: Opener) -> None:
    """S0.19: a key that is revoked is refused wherever it is in the chain."""
    low = intermediate(yard)
    leaf = low.issue("files.example")
    for pin in (leaf.pin, Issued(low.certificate, low.key).pin, Issued(yard.ca.certificate, yard.ca.key).pin):
        caller = await opened(f'{CALLER}revoked_keys = ["{pin}"]\n')
        was(await caller.meet(yard.plain("server", leaf)), caller, "revoked")
    caller = await opened(f'{CALLER}revoked_keys = ["{yard.host.pin}"]\n')
    was(await caller.meet(yard.plain("server", leaf)), caller, "")


async def test_pinned_keys(yard: Yard, opened: Opener) -> None:
    """S0.19: where keys are pinned, no other is spoken to, whoever signed it."""
    caller = await opened(f'{CALLER}pinned_keys = ["{yard.server.pin}"]\n')
    was(await caller.meet(yard.plain("server", yard.server)), caller, "")
    other = yard.ca.issue("files.example")
    told = await caller.meet(yard.plain("server", other))
    was(told, caller, "key_pinned_otherwise")
    assert other.pin in told.message


async def test_weak_keys(yard: Yard, opened: Opener) -> None:
    """S4.6: a key of 1,024 bits is refused."""
    from cryptography.hazmat.primitives.asymmetric import rsa

    caller = await opened(CALLER)
    weak = yard.ca.issue("files.example", key=rsa.generate_private_key(65537, 1024))  # noqa: S505 - so it is
    other = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    other.set_ciphers("DEFAULT:@SECLEVEL=0")
    other.set_alpn_protocols(["hauberk.jsonl/1"])
    other.load_cert_chain(*yard.pair(weak))
    was(await caller.meet(other), caller, "bad_certificate")

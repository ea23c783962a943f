"""What somebody tried who had read the documents and wanted in: each test is a promise that was broken once."""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from plugins.tls.tests.conftest import CALLED, CALLER, Opener, Yard
from plugins.tls.tests.maker import CLIENT, DAY, NOW, SERVER, Ca, Issued, new_key, put
from plugins.tls.tests.shaking import End, shake
from plugins.tls.tests.test_resuming import both

from hauberk.config import Config
from hauberk.connection import Role
from hauberk.guard import Guard
from hauberk.policy import GuardView
from hauberk.refusals import ConfigError, Refused
from hauberk_tls import Tls, _trust
from hauberk_tls._facts import facts
from hauberk_tls._lists import Lists
from hauberk_tls._options import Options
from hauberk_tls._peer import Check
from hauberk_tls._spki import spki_of

ROOT = Path(__file__).parents[3]
HOUR = dt.timedelta(hours=1)


def delta(ca: Ca) -> bytes:
    """Return a list that says only what changed since another: nothing."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(ca.certificate.subject)
        .last_update(NOW - DAY)
        .next_update(NOW + 30 * DAY)
        .add_extension(x509.CRLNumber(2), critical=False)
        .add_extension(x509.DeltaCRLIndicator(1), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca.key.public_key()), critical=False)
    )
    return builder.sign(ca.key, hashes.SHA256()).public_bytes(Encoding.PEM)


# --- the file of lists ---


@pytest.mark.parametrize("more", ["certificate", "key", "delta"])
def test_a_file_of_lists_holds_whole_lists_and_nothing_else(more: str, yard: Yard) -> None:
    """S0.19, V7: a certificate beside the lists would be one more authority; a delta would hide what is revoked."""
    evil = Ca("Evil CA")
    added = {"certificate": evil.pem + evil.crl(), "key": yard.host.key_pem(), "delta": delta(yard.ca)}[more]
    path = put(yard.folder / "crl.pem", yard.ca.crl() + added, 0o644)
    with pytest.raises(ConfigError):
        _trust.lists_of(path)


@pytest.mark.parametrize("role", ["client", "server"])
async def test_a_file_of_lists_trusts_nobody(
    role: Role, yard: Yard, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S0.19, V7: OpenSSL gets the lists that were read and never the file, whatever else is in that."""
    monkeypatch.setattr(_trust, "_BLOCK", _trust._BEGIN)
    evil = Ca("Evil CA")
    put(yard.folder / "crl.pem", yard.ca.crl() + evil.pem + evil.crl(), 0o644)
    mine = await opened(f'{CALLER if role == "client" else CALLED}crl = "crl.pem"\n')
    name, purpose = ("files.example", SERVER) if role == "client" else ("urn:hauberk:host", CLIENT)
    other: Role = "server" if role == "client" else "client"
    told = await mine.meet(yard.plain(other, evil.issue(name, purposes=[purpose])), role)
    assert told.code in {"tls.untrusted", "tls.crl_unusable"}


async def test_a_delta_takes_no_lists_place(yard: Yard, opened: Opener) -> None:
    """S0.19: with a delta in the place of the list that revokes it, a server is refused still."""
    revoked = yard.ca.issue("files.example")
    put(yard.folder / "crl.pem", yard.ca.crl(revoked), 0o644)
    caller = await opened(f'{CALLER}crl = "crl.pem"\n')
    assert (await caller.meet(yard.plain("server", revoked))).code == "tls.revoked"
    put(yard.folder / "crl.pem", delta(yard.ca), 0o644)
    with pytest.raises(Refused) as refused:
        await caller.meet(yard.plain("server", revoked))
    assert refused.value.code == "tls.crl_unusable"


async def test_a_list_that_nobody_signed_counts_for_nothing(yard: Yard, opened: Opener) -> None:
    """S0.19, A84: in a resumed session a list is one of the authority by its signature, and not by its name."""
    forged = Ca(yard.ca.name).crl(until=NOW + 300 * DAY)
    put(yard.folder / "crl.pem", yard.ca.crl(until=NOW + HOUR) + forged, 0o644)
    caller, called = await opened(CALLER), await opened(f'{CALLED}crl = "crl.pem"\n')
    assert (await both(caller, called))[1].code == ""
    called.clock.turn(5400)
    _, theirs = await both(caller, called)
    assert theirs.end.tls.session_reused
    assert theirs.code == "tls.crl_unusable"


async def test_the_list_of_an_intermediate_counts_when_resumed(yard: Yard, opened: Opener) -> None:
    """S0.19, S4.26: an authority that is not in ``ca`` is known by the full handshake, and its list is found again."""
    sub = Ca("Sub CA", parent=yard.ca)
    sub.issue("urn:hauberk:host", purposes=[CLIENT]).write(yard.folder, "host")
    put(yard.folder / "crl.pem", yard.ca.crl() + sub.crl(), 0o644)
    caller, called = await opened(CALLER), await opened(f'{CALLED}crl = "crl.pem"\n')
    for resumed in (False, True):
        _, theirs = await both(caller, called)
        assert (theirs.code, theirs.end.tls.session_reused) == ("", resumed)


# --- who it is ---


@pytest.mark.parametrize(
    "name",
    [
        x509.UniformResourceIdentifier("boss.example"),
        x509.UniformResourceIdentifier("boss@lab.example"),
        x509.RFC822Name("boss.example"),
        x509.RFC822Name._init_without_validation("boss@one@lab.example"),
        x509.RFC822Name._init_without_validation("urn:boss@lab.example"),
        x509.RFC822Name._init_without_validation("boss@"),
        x509.RFC822Name._init_without_validation("@lab.example"),
        x509.DNSName("boss@lab.example"),
        x509.DNSName("urn:boss"),
        x509.DNSName("10.1"),
        x509.UniformResourceIdentifier("uid:0"),
        x509.UniformResourceIdentifier("UID:0"),
        x509.UniformResourceIdentifier("Host:lab"),
        x509.DNSName("ANONYMOUS"),
        x509.DNSName("Hauberk-Doctor"),
    ],
    ids=str,
)
async def test_a_name_is_what_its_kind_says(name: x509.GeneralName, yard: Yard, opened: Opener) -> None:
    """S0.16, S2.6: a name that is of another kind than it says, or one of hauberk's own, is nobody's.

    The principal is the bare text: an authority that may sign for no DNS name could write one as a URI.
    """
    called = await opened(CALLED)
    told = await called.meet(yard.plain("client", named(yard.ca, name)), "server")
    assert told.code == "tls.bad_certificate"


@pytest.mark.parametrize(
    "name",
    [
        x509.UniformResourceIdentifier("urn:hauberk:host"),
        x509.UniformResourceIdentifier("spiffe://lab.example/host"),
        x509.RFC822Name("ann.b+c@lab.example"),
        x509.DNSName("Boss.example"),
        x509.DNSName("laptop"),
    ],
    ids=str,
)
async def test_a_name_that_is_one(name: x509.GeneralName, yard: Yard, opened: Opener) -> None:
    """S0.16, S2.6: a name of each kind is the identity, as it stands."""
    called = await opened(CALLED)
    told = await called.meet(yard.plain("client", named(yard.ca, name)), "server")
    assert (told.code, told.principal.id) == ("", name.value)


def named(ca: Ca, name: x509.GeneralName) -> Issued:
    """Return the certificate of a client with this very name."""
    made = ca.issue(common=None, purposes=[CLIENT])
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(ca.certificate.subject)
        .public_key(made.key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - DAY)
        .not_valid_after(NOW + DAY)
        .add_extension(x509.SubjectAlternativeName([name]), critical=True)
    )
    for one in made.certificate.extensions:
        builder = builder.add_extension(one.value, one.critical)
    return Issued(builder.sign(ca.key, hashes.SHA256()), made.key)


@pytest.mark.parametrize("which", ["as it stands", "as it is usual"])
@pytest.mark.parametrize("option", ["revoked_keys", "pinned_keys"])
def test_a_key_in_another_encoding(which: str, option: str) -> None:
    """S0.19, V7: a key is known by the hash of what stands in the certificate, and by the usual one."""
    key = new_key()
    made = Ca().issue("files.example", key=key).certificate
    usual = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    short = compressed(key)
    der = made.public_bytes(Encoding.DER)
    assert spki_of(made.tbs_certificate_bytes) == usual
    other = x509.load_der_x509_certificate(rewritten(der, usual, short))
    assert spki_of(other.tbs_certificate_bytes) == short
    pin = f"sha256:{hashlib.sha256(short if which == 'as it stands' else usual).hexdigest()}"
    check = checking(**{option: (pin,)})
    found = facts(other.public_bytes(Encoding.DER))
    if option == "pinned_keys":
        check.keys(found, None)
        return
    with pytest.raises(Refused) as refused:
        check.keys(found, None)
    assert refused.value.code == "tls.revoked"


def compressed(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return the SubjectPublicKeyInfo of a key with a compressed point."""
    point = key.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    algorithm = bytes.fromhex("301306072a8648ce3d020106082a8648ce3d030107")
    bits = b"\x03" + bytes([len(point) + 1, 0]) + point
    return b"\x30" + bytes([len(algorithm) + len(bits)]) + algorithm + bits


def rewritten(der: bytes, old: bytes, new: bytes) -> bytes:
    """Return a certificate with another key in it; its signature holds no longer, which is not looked at here."""
    whole, tbs = int.from_bytes(der[2:4]), int.from_bytes(der[6:8])
    less = len(old) - len(new)
    head = der[:2] + (whole - less).to_bytes(2) + der[4:6] + (tbs - less).to_bytes(2)
    return head + der[8:].replace(old, new)


def checking(**changed: Any) -> Check:
    return Check(
        role="client",
        carrier="tls",
        name="files.example",
        options=Options(ca=Path("ca.pem"), **changed),
        lists=Lists(),
        who="somebody",
        now=NOW.timestamp,
    )


# --- sessions ---


@pytest.mark.parametrize("slow", ["client", "server"])
async def test_a_session_ends_after_two_hours(slow: str, yard: Yard, opened: Opener) -> None:
    """S4.26, A84: however often a session is resumed, after two hours each side for itself asks for a full handshake.

    A chain is verified in a full handshake only: who connected once an hour would never be verified again.
    """
    caller, called = await opened(CALLER), await opened(CALLED)
    resumed = []
    for _ in range(4):
        mine, _ = await both(caller, called)
        resumed.append(mine.end.tls.session_reused)
        (caller if slow == "server" else called).clock.turn(3000)
    assert resumed == [False, True, True, False]


async def test_a_clock_that_is_turned_back_ends_sessions(yard: Yard, opened: Opener) -> None:
    """S4.26: a session lives no longer because the clock went back."""
    caller, called = await opened(CALLER), await opened(CALLED)
    await both(caller, called)
    called.clock.turn(-60)
    mine, _ = await both(caller, called)
    assert not mine.end.tls.session_reused


# --- one session, several connections ---


def revoke(yard: Yard) -> None:
    put(yard.folder / "crl.pem", yard.ca.crl(yard.server), 0o644)


def disown(yard: Yard) -> None:
    new = Ca("New CA")
    put(yard.folder / "ca.pem", new.pem, 0o644)
    put(yard.folder / "crl.pem", new.crl(), 0o644)


@pytest.mark.parametrize(("harm", "code"), [(revoke, "tls.revoked"), (disown, "tls.untrusted")])
async def test_another_connection_of_a_session_sees_the_files(
    harm: Callable[[Yard], None], code: str, yard: Yard, opened: Opener
) -> None:
    """S0.18, S0.19, A84: whoever opens several connections for one session asks for each, and gets what holds now."""
    put(yard.folder / "crl.pem", yard.ca.crl(), 0o644)
    caller = await opened(f'{CALLER}crl = "crl.pem"\n')
    connection = await caller.admit("client", target="https://files.example/mcp", carrier="https")
    harm(yard)
    before = connection.tls
    assert before is not None
    after = before.renewed()
    assert after.context is not before.context
    connection.tls = after
    mine, theirs = caller.end(connection), _answering(yard)
    shake(mine, theirs, reading=False)
    assert caller.judged(connection, mine, theirs, lambda: None).code == code


async def test_a_connection_is_held_against_the_lists_of_its_handshake(yard: Yard, opened: Opener) -> None:
    """S0.19, A84: the checks of a session go by the lists that the connection in question was made with."""
    put(yard.folder / "crl.pem", yard.ca.crl(), 0o644)
    caller = await opened(f'{CALLER}crl = "crl.pem"\n')
    connection = await caller.admit("client", target="https://files.example/mcp", carrier="https")
    put(yard.folder / "crl.pem", yard.ca.crl(until=NOW + HOUR), 0o644)
    caller.clock.turn(5400)
    assert connection.tls is not None
    connection.tls = connection.tls.renewed()
    mine, theirs = caller.end(connection), _answering(yard)
    shake(mine, theirs, reading=False)
    assert caller.judged(connection, mine, theirs, lambda: None).code == "tls.crl_unusable"


async def test_another_connection_of_a_session_needs_the_files(yard: Yard, opened: Opener) -> None:
    """S0.18, A84: while it is not known who is trusted, a session that is there gets no other connection either."""
    caller = await opened(CALLER)
    connection = await caller.admit("client", target="https://files.example/mcp", carrier="https")
    (yard.folder / "ca.pem").unlink()
    assert connection.tls is not None
    with pytest.raises(Refused) as refused:
        connection.tls.renewed()
    assert refused.value.code == "tls.ca_unusable"


def _answering(yard: Yard) -> End:
    return End(yard.plain("server", yard.server, alpn="http/1.1"), server=True)


# --- a reload, and the environment ---


def made(yard: Yard, profile: str) -> Tls:
    """Return a plugin of a policy that is not open yet."""
    config = Config.from_toml(f'profile = "{profile}"\n{CALLED}', base=yard.folder)
    view = GuardView(Guard(Config.default()), config)
    return Tls(view.options_for(Tls), view)


def expire(yard: Yard) -> None:
    yard.ca.issue("files.example", since=NOW - 9 * DAY, until=NOW - DAY).write(yard.folder, "server")


def loosen(yard: Yard) -> None:
    (yard.folder / "server.key").chmod(0o666)


def unlink(yard: Yard) -> None:
    (yard.folder / "ca.pem").unlink()


@pytest.mark.parametrize("profile", ["development", "production"])
@pytest.mark.parametrize("harm", [loosen, unlink])
def test_a_reload_looks_at_the_files_as_a_start_does(profile: str, harm: Callable[[Yard], None], yard: Yard) -> None:
    """S0.18, X.9: what was taken over from the policy before is read and judged anew; that one goes on as it was."""
    old = made(yard, profile)
    old.open()
    [kept] = old.store._kept.values()
    before = kept.generation
    harm(yard)
    new = made(yard, profile)
    new.adopt(old)
    with pytest.raises(ConfigError):
        new.open()
    assert kept.generation is before


def test_a_reload_into_production_is_judged_by_its_rules(yard: Yard) -> None:
    """S0.13, S0.18: an expired certificate of ours that development let pass stops the reload into production."""
    expire(yard)
    old = made(yard, "development")
    old.open()
    new = made(yard, "production")
    new.adopt(old)
    with pytest.raises(ConfigError, match="expired"):
        new.open()
    back = made(yard, "development")
    back.adopt(old)
    back.open()
    assert list(back.store._kept.values()) == list(old.store._kept.values())


@pytest.mark.parametrize("name", ["OPENSSL_CONF", "OPENSSL_CONF_INCLUDE", "OPENSSL_MODULES", "OPENSSL_ENGINES"])
def test_production_refuses_what_openssl_reads_by_itself(
    name: str, yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A81, X.5: a variable by which OpenSSL changes each context, or loads code, stops a start in production."""
    monkeypatch.setenv(name, "/nowhere")
    made(yard, "development").open()
    with pytest.raises(ConfigError, match=name):
        made(yard, "production").open()


OPTIONS = """
from pathlib import Path
from hauberk_tls import _contexts
from hauberk_tls._options import Options
from hauberk_tls._own import Own
from plugins.tls.tests.test_layers import CA, TRUST
print(int(_contexts.for_client(Options(ca=Path("ca.pem")), Own(()), TRUST, "x").options))
one = CA.issue("a.example")
print(int(_contexts.for_server(Options(ca=Path("ca.pem")), Own((), one.chain, one.key_pem()), TRUST, "x").options))
"""


def test_options_are_those_that_are_set_here(tmp_path: Path) -> None:
    """A81, X.5: in development too, OPENSSL_CONF adds no option, as that of resuming without a new exchange of keys."""
    path = tmp_path / "openssl.cnf"
    path.write_text(
        "openssl_conf = c\n[c]\nssl_conf = s\n[s]\nsystem_default = d\n[d]\n"
        "Options = AllowNoDHEKEX,UnsafeLegacyRenegotiation,PrioritizeChaCha\n"
    )
    said = [
        subprocess.run(
            [sys.executable, "-c", OPTIONS], capture_output=True, text=True, timeout=30, env=env, cwd=ROOT, check=True
        ).stdout
        for env in (dict(os.environ), {**os.environ, "OPENSSL_CONF": str(path)})
    ]
    assert said[0] == said[1]

"""What a configuration may ask for, and what is refused when it is loaded."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import PrivateFormat
from plugins.tls.tests.conftest import CALLED, CALLER, Opener, Yard
from plugins.tls.tests.maker import DAY, NOW, Key, put

from hauberk.config import Config
from hauberk.guard import Guard
from hauberk.policy import GuardView
from hauberk.refusals import ConfigError, HauberkError, PluginError, Refused
from hauberk.testing._loading import unnamed
from hauberk_tls import Tls

PIN = "sha256:" + "0" * 64
OTHER = "sha256:" + "1" * 64


def made(toml: str, folder: Path) -> Guard:
    config = Config.from_toml(f'core.state_dir = "{folder}/state"\n{toml}', base=folder)
    return Guard.load(config, disable=() if config.production else unnamed(config))


BAD = {
    'certificate = "host.pem"': "key is missing",
    'key = "host.key"': "certificate is missing",
    'passphrase_file = "p"': "a passphrase is for a key",
    'client_certificates = "required"': "needs ca",
    'client_certificates = "optional"': "needs ca",
    'crl = "crl.pem"': "crl needs ca",
    'client_certificates = "sometimes"': "'required', 'optional' or 'none'",
    'revoked_keys = ["sha1:00"]': "revoked_keys",
    "max_chain = 0": "max_chain",
    "handshake_seconds = 0.0": "handshake_seconds",
    "handshake_seconds = 1e9": "handshake_seconds",
    'passphrase = "secret"': "unknown key",
    'tls_version = "1.2"': "unknown key",
    "verify_peer = false": "unknown key",
}


@pytest.mark.parametrize("line", BAD)
def test_what_makes_no_sense(line: str, tmp_path: Path) -> None:
    """S0.6, S4.2, S4.4: half a pair, clients without an authority, a literal passphrase and the like are errors."""
    with pytest.raises(ConfigError, match="tls") as error:
        made(f"[tls]\n{line}\n", tmp_path)
    assert BAD[line] in str(error.value)


def test_two_sources_of_a_passphrase(yard: Yard) -> None:
    """S4.2: a passphrase has one source."""
    with pytest.raises(ConfigError, match="two sources"):
        made(f'{CALLER}passphrase_file = "p"\npassphrase_env = "P"\n', yard.folder)


def test_no_mode_audit(yard: Yard) -> None:
    """X.5: there is no TLS that only observes."""
    with pytest.raises(PluginError, match="cannot run in mode 'audit'"):
        made(f'{CALLER}mode = "audit"\n', yard.folder)


@pytest.mark.parametrize(
    ("line", "text"),
    [("allow_insecure_fallback = true", "none in production"), ('passphrase_env = "P"', "more than its process")],
)
@pytest.mark.parametrize("place", ["[tls]", "[server.files.tls]"])
def test_production(line: str, text: str, place: str, yard: Yard) -> None:
    """S0.3, S0.4, X.5: in production nothing falls back, and no passphrase is in the environment."""
    pair = 'certificate = "host.pem"\nkey = "host.key"\n'
    table = "" if place == "[tls]" else f"{place}\n{pair}"
    config = Config.from_toml(f'profile = "production"\n{CALLER}{table}{line}\n', base=yard.folder)
    view = GuardView(Guard(Config.default()), config)
    with pytest.raises(ConfigError, match=text) as error:
        Tls(view.options_for(Tls), view)
    assert place in str(error.value)
    Tls(Tls.Options(), GuardView(Guard(Config.default()), Config.from_toml(f"{CALLER}{line}\n", base=yard.folder)))


NARROW = {
    "max_chain": ("3", "4", 3),
    "handshake_seconds": ("5.0", "9.0", 5.0),
    "session_tickets": ("false", "true", False),
    "require_common_name": ("true", "false", True),
    "allow_insecure_fallback": ("false", "true", False),
    "revoked_keys": (f'["{PIN}"]', f'["{OTHER}"]', (PIN, OTHER)),
    "pinned_keys": (f'["{PIN}"]', f'["{PIN}", "{OTHER}"]', (PIN,)),
}


@pytest.mark.parametrize("key", NARROW)
def test_a_server_narrows(key: str) -> None:
    """X.5: the table of one server makes nothing looser."""
    general, specific, stands = NARROW[key]
    config = Config.from_toml(f"[tls]\n{key} = {general}\n[server.files.tls]\n{key} = {specific}\n")
    assert getattr(config.options("tls", Tls.Options, "files"), key) == stands


def test_pins_that_have_nothing_in_common() -> None:
    """S0.19: a server whose pins are none of the general ones is an error, and no pin at all is no way round."""
    with pytest.raises(ConfigError, match="no key is in both"):
        Config.from_toml(f'[tls]\npinned_keys = ["{PIN}"]\n[server.files.tls]\npinned_keys = ["{OTHER}"]\n').options(
            "tls", Tls.Options, "files"
        )
    config = Config.from_toml(f'[tls]\npinned_keys = ["{PIN}"]\n[server.files.tls]\npinned_keys = []\n')
    assert config.options("tls", Tls.Options, "files").pinned_keys == (PIN,)


FORMS: dict[str, tuple[Key, PrivateFormat]] = {
    "EC PKCS#8": (ec.generate_private_key(ec.SECP256R1()), PrivateFormat.PKCS8),
    "EC SEC1": (ec.generate_private_key(ec.SECP384R1()), PrivateFormat.TraditionalOpenSSL),
    "RSA PKCS#8": (rsa.generate_private_key(65537, 2048), PrivateFormat.PKCS8),
    "RSA PKCS#1": (rsa.generate_private_key(65537, 2048), PrivateFormat.TraditionalOpenSSL),
    "Ed25519": (ed25519.Ed25519PrivateKey.generate(), PrivateFormat.PKCS8),
}


@pytest.mark.parametrize("sealed", [False, True])
@pytest.mark.parametrize("form", FORMS)
async def test_forms_of_keys(form: str, sealed: bool, yard: Yard, opened: Opener) -> None:
    """S0.15, V6: each form of a key is loaded, with a passphrase and without, and shakes hands."""
    key, encoding = FORMS[form]
    passphrase = b"correct horse" if sealed else None
    issued = yard.ca.issue("files.example", key=key)
    put(yard.folder / "server.pem", issued.chain, 0o644)
    put(yard.folder / "server.key", issued.key_pem(encoding, passphrase))
    put(yard.folder / "passphrase", b"correct horse\n")
    called = await opened(CALLED + ('passphrase_file = "passphrase"\n' if sealed else ""))
    told = await called.meet(yard.plain("client", yard.host), "server")
    assert told.code == ""


async def test_a_passphrase_in_the_environment(yard: Yard, opened: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    """S0.15: in development a passphrase may come from a variable that the configuration names."""
    put(yard.folder / "server.key", yard.server.key_pem(passphrase=b"correct horse"))
    monkeypatch.setenv("TLS_PASSPHRASE", "correct horse")
    called = await opened(f'{CALLED}passphrase_env = "TLS_PASSPHRASE"\n')
    assert (await called.meet(yard.plain("client", yard.host), "server")).code == ""
    monkeypatch.delenv("TLS_PASSPHRASE")
    with pytest.raises(HauberkError, match="is empty"):
        await opened(f'{CALLED}passphrase_env = "TLS_PASSPHRASE"\n')


def other_key(yard: Yard) -> None:
    put(yard.folder / "server.key", yard.host.key_pem())


def sealed_key(yard: Yard) -> None:
    put(yard.folder / "server.key", yard.server.key_pem(passphrase=b"correct horse"))


def linked(yard: Yard) -> None:
    (yard.folder / "server.key").rename(yard.folder / "real.key")
    (yard.folder / "server.key").symlink_to(yard.folder / "real.key")


def dsa_key(yard: Yard) -> None:
    from cryptography.hazmat.primitives.asymmetric import ed448

    key = ed448.Ed448PrivateKey.generate()
    put(yard.folder / "server.pem", yard.ca.issue("files.example", key=key).chain, 0o644)  # type: ignore[arg-type]
    put(yard.folder / "server.key", yard.ca.issue("files.example", key=key).key_pem())  # type: ignore[arg-type]


FILES = {
    "key of another": (other_key, "is not the key of the certificate"),
    "key without its passphrase": (sealed_key, "is encrypted"),
    "key that others may read": (lambda y: (y.folder / "server.key").chmod(0o640), "lets others in"),
    "key by a link": (linked, "symbolic link"),
    "kind of key": (dsa_key, "of a kind that is not used here"),
    "no key": (lambda y: (y.folder / "server.key").unlink(), "no such file"),
    "no certificate": (lambda y: (y.folder / "server.pem").unlink(), "no such file"),
    "certificate that others may change": (lambda y: (y.folder / "server.pem").chmod(0o666), "lets others change it"),
    "no authority": (lambda y: (y.folder / "ca.pem").unlink(), "no such file"),
    "authority that is none": (lambda y: put(y.folder / "ca.pem", b"hello", 0o644), "holds no certificates"),
    "authority that others may change": (lambda y: (y.folder / "ca.pem").chmod(0o666), "lets others change it"),
    "certificate that is none": (lambda y: put(y.folder / "server.pem", b"hello", 0o644), "holds no certificate"),
    "key that is none": (lambda y: put(y.folder / "server.key", b"hello"), "holds no private key"),
}


@pytest.mark.parametrize("case", FILES)
async def test_files(case: str, yard: Yard, opened: Opener) -> None:
    """S0.3, S4.6, X.9: what is missing, loose, a link, of another, or nothing at all stops the start, and is named."""
    harm, text = FILES[case]
    harm(yard)
    with pytest.raises(HauberkError, match=text):
        await opened(CALLED)


async def test_a_list_that_is_none(yard: Yard, opened: Opener) -> None:
    """S0.19: a revocation list that is named and missing, or is none, stops the start."""
    with pytest.raises(HauberkError, match="no such file"):
        await opened(f'{CALLED}crl = "crl.pem"\n')
    put(yard.folder / "crl.pem", yard.ca.pem, 0o644)
    with pytest.raises(HauberkError, match="holds no revocation list"):
        await opened(f'{CALLED}crl = "crl.pem"\n')


def test_our_own_certificate_has_expired(yard: Yard) -> None:
    """S0.13: in production our own certificate that is not valid stops the start; in development it is an event."""
    from hauberk.event import Event
    from hauberk_tls._options import Options
    from hauberk_tls._rotation import Kept

    yard.ca.issue("files.example", since=NOW - 9 * DAY, until=NOW - DAY).write(yard.folder, "server")
    options = Options(ca=yard.folder / "ca.pem", certificate=yard.folder / "server.pem", key=yard.folder / "server.key")
    events: list[Event] = []
    with pytest.raises(ConfigError, match="has expired"):
        Kept(options, environment=dict, production=True, now=NOW.timestamp, emit=events.append)
    kept = Kept(options, environment=dict, production=False, now=NOW.timestamp, emit=events.append)
    kept.begin("somebody")
    assert [event.code for event in events] == ["tls.expires_soon"]
    assert events[0].details["seconds"] < 0


def test_listeners_need_a_certificate(yard: Yard) -> None:
    """S4.4: a server that listens by TLS without a certificate, or without an authority for clients, is an error."""
    import asyncio

    listener = '[server.files]\ncommand = "true"\n[server.files.listen]\naddress = "tls://127.0.0.1:0"\n'
    pair = 'certificate = "server.pem"\nkey = "server.key"\n'
    for tls, text in (
        ('ca = "ca.pem"\n', "has no certificate"),
        (pair, "nobody is trusted to sign them"),
        (f'{pair}client_certificates = "none"\n', ""),
        (f'ca = "ca.pem"\n{pair}', ""),
    ):
        guard = made(f"{listener}[tls]\n{tls}", yard.folder)
        if text:
            with pytest.raises(HauberkError, match=text):
                asyncio.run(guard.open())
        else:
            asyncio.run(guard.open())


async def test_called_without_a_certificate(yard: Yard, opened: Opener) -> None:
    """S4.4: who is called, and has nothing to show, refuses the connection."""
    caller = await opened('[tls]\nca = "ca.pem"\n')
    with pytest.raises(Refused) as refused:
        await caller.admit("server")
    assert refused.value.code == "tls.unconfigured"


async def test_nothing_of_the_environment(yard: Yard, opened: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    """A81, X.5: no variable names an authority, turns a check off, or gets the keys of a session written."""
    log = yard.folder / "keys.log"
    for name, value in {
        "SSL_CERT_FILE": str(yard.folder / "ca.pem"),
        "SSL_CERT_DIR": str(yard.folder),
        "SSLKEYLOGFILE": str(log),
        "PYTHONHTTPSVERIFY": "0",
        "REQUESTS_CA_BUNDLE": str(yard.folder / "ca.pem"),
    }.items():
        monkeypatch.setenv(name, value)
    caller = await opened("[tls]\nrequire_common_name = false\n")
    told = await caller.meet(yard.plain("server", yard.server))
    assert told.code == "tls.untrusted"
    caller = await opened(CALLER)
    told = await caller.meet(yard.plain("server", yard.server))
    assert told.code == ""
    assert not log.exists()
    assert told.end.tls.context.keylog_filename is None


def test_no_memory_file_is_left() -> None:
    """X.9: what is given to OpenSSL is gone once it was read."""
    from hauberk_tls._contexts import _as_file

    with _as_file(b"secret") as path:
        assert Path(path).read_bytes() == b"secret"
    assert not os.path.lexists(path)


async def test_without_memory_files(yard: Yard, opened: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    """X.9: where the system has no files in memory, private ones are made and removed."""
    import tempfile

    monkeypatch.delattr(os, "memfd_create", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(yard.folder))
    called = await opened(CALLED)
    assert (await called.meet(yard.plain("client", yard.host), "server")).code == ""
    assert not list(yard.folder.glob("hauberk-*"))


def test_a_key_is_shown_nowhere(yard: Yard) -> None:
    """X.14: neither key nor passphrase is in what an error or a log may show of the material."""
    from hauberk_tls import _own
    from hauberk_tls._options import Options

    options = Options(certificate=yard.folder / "host.pem", key=yard.folder / "host.key")
    own = _own.read(options, {})
    assert "PRIVATE" not in f"{own!r} {own}"


async def test_client_only(yard: Yard, opened: Opener) -> None:
    """S0.11: with an authority alone servers are verified, and shown nothing."""
    caller = await opened('[tls]\nca = "ca.pem"\n')
    told = await caller.meet(yard.plain("server", yard.server))
    assert told.code == ""

"""What the plugin shows of itself: each probe holds, and fails once its control is gone."""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from plugins.tls.tests.conftest import CALLED, Yard
from plugins.tls.tests.maker import put

from hauberk import doctor
from hauberk.config import Config
from hauberk.guard import Guard
from hauberk.principal import Principal
from hauberk.testing._loading import unnamed
from hauberk_tls import _contexts, _identity, _peer
from hauberk_tls._facts import Facts
from hauberk_tls._peer import Check
from hauberk_tls._trials import TRIALS

Patch = pytest.MonkeyPatch


def everything(yard: Yard) -> str:
    """Return a table by which every probe applies."""
    put(yard.folder / "crl.pem", yard.ca.crl(), 0o644)
    pin = "sha256:" + "0" * 64
    return f'{CALLED}crl = "crl.pem"\nrevoked_keys = ["{pin}"]\npinned_keys = ["{pin}"]\n'


async def found(folder: Path, table: str) -> dict[str, str]:
    config = Config.from_toml(f'core.state_dir = "{folder}/state"\n{table}', base=folder)
    report = await doctor.run(Guard.load(config, disable=unnamed(config)))
    return {one.name.removeprefix("tls."): one.state for one in report.findings if one.plugin == "tls"}


async def test_every_probe_holds(yard: Yard) -> None:
    """X.1: with everything configured there is a probe for each control, and each holds."""
    states = await found(yard.folder, everything(yard))
    assert states == dict.fromkeys((trial.name for trial in TRIALS), "ok")


@pytest.mark.parametrize("table", ["[tls]\n", '[tls]\nca = "ca.pem"\n', CALLED])
async def test_probes_hold_whatever_the_table(table: str, yard: Yard) -> None:
    """X.1: what each table promises is tried, and holds; with the system's trust store too."""
    paths = ssl.get_default_verify_paths()
    if "ca" not in table and not any(map(os.path.exists, (paths.openssl_cafile, paths.openssl_capath))):
        pytest.skip("the system has no trust store")
    states = await found(yard.folder, table)
    assert set(states.values()) == {"ok"}
    assert len(states) >= 10


async def test_a_table_of_one_server_is_tried(yard: Yard, monkeypatch: Patch) -> None:
    """X.1: a server with a table of its own is tried by that."""
    table = '[tls]\nca = "ca.pem"\nrequire_common_name = false\n[server.files.tls]\nrequire_common_name = true\n'
    assert (await found(yard.folder, table))["refuses_wrong_common_name"] == "ok"
    monkeypatch.setattr(_peer, "is_common_name", lambda name, common: True)
    assert (await found(yard.folder, table))["refuses_wrong_common_name"] == "faulty"


async def test_probes_are_fast(yard: Yard) -> None:
    """X.1: a host in production starts only when they are done: all of them take less than a second."""
    began = time.perf_counter()
    await found(yard.folder, everything(yard))
    assert time.perf_counter() - began < 2


def no_check(name: str) -> Callable[[Patch], None]:
    return lambda patch: patch.setattr(Check, name, lambda self, *args: None)


def weaker(change: Callable[[ssl.SSLContext], None], *makers: str) -> Callable[[Patch], None]:
    """Return what makes contexts weaker once they are made."""

    def apply(patch: Patch) -> None:
        for name in makers:
            make = getattr(_contexts, name)

            def made(*args: object, make: Callable[..., ssl.SSLContext] = make) -> ssl.SSLContext:
                context = make(*args)
                change(context)
                return context

            patch.setattr(_contexts, name, made)

    return apply


def anybody(context: ssl.SSLContext) -> None:
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE


def no_name(context: ssl.SSLContext) -> None:
    context.check_hostname = False


def optional(context: ssl.SSLContext) -> None:
    context.verify_mode = ssl.CERT_OPTIONAL


def older(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2


def both(*ways: Callable[[Patch], None]) -> Callable[[Patch], None]:
    def apply(patch: Patch) -> None:
        for way in ways:
            way(patch)

    return apply


def without_server_check(patch: Patch) -> None:
    patch.setattr(_peer, "matches", lambda *args: True)


def anybody_by_name(patch: Patch) -> None:
    def client(found: Facts, who: str, *, common_name: bool) -> Principal:
        return Principal(id=(*found.common_names, "root")[0], method="mtls")

    patch.setattr(_identity, "client", client)


CLIENT_OFF = weaker(anybody, "for_client")
SERVER_OFF = weaker(anybody, "for_server")
GONE: dict[str, Callable[[Patch], None]] = {
    "refuses_old_version": both(weaker(older, "for_client"), no_check("channel")),
    "refuses_untrusted_server": CLIENT_OFF,
    "refuses_weak_suite": no_check("channel"),
    "refuses_other_protocol": no_check("channel"),
    "refuses_wrong_name": both(weaker(no_name, "for_client"), without_server_check),
    "refuses_wrong_common_name": lambda patch: patch.setattr(_peer, "is_common_name", lambda *args: True),
    "refuses_expired": no_check("certificate"),
    "refuses_not_yet_valid": both(CLIENT_OFF, no_check("certificate"), no_check("chain")),
    "refuses_wrong_purpose": both(CLIENT_OFF, no_check("certificate"), no_check("chain")),
    "refuses_no_purpose": no_check("certificate"),
    "refuses_long_chain": lambda patch: patch.setattr(_peer, "length", lambda chain: 0),
    "refuses_irregular": lambda patch: patch.setattr(_contexts, "_FLAGS", _contexts._FLAGS & ~ssl.VERIFY_X509_STRICT),
    "refuses_weak_key": lambda patch: patch.setattr(_contexts, "_LEVEL", "DEFAULT:@SECLEVEL=0"),
    "refuses_excluded_name": lambda patch: patch.setattr(_peer, "excluded", lambda chain, name: False),
    "refuses_revoked": both(CLIENT_OFF, no_check("revocation"), no_check("chain")),
    "refuses_revoked_key": no_check("keys"),
    "refuses_other_key": no_check("keys"),
    "refuses_old_client": both(weaker(older, "for_server"), no_check("channel")),
    "refuses_unknown_client": SERVER_OFF,
    "refuses_no_client_certificate": both(weaker(optional, "for_server"), lambda patch: patch.setattr(
        Check, "__call__", lambda self, peer: None)),
    "refuses_nameless_client": anybody_by_name,
    "refuses_reserved_client": lambda patch: patch.setattr(_identity, "is_reserved", lambda name: False),
    "refuses_common_name_of_client": anybody_by_name,
    "refuses_purpose_of_client": both(SERVER_OFF, no_check("certificate"), no_check("chain")),
}  # fmt: skip
"""What takes each control away, every layer of it."""


@pytest.mark.parametrize("name", GONE)
async def test_a_control_that_is_gone_is_found(name: str, yard: Yard, monkeypatch: Patch) -> None:
    """X.1: with a control taken away, its probe says so."""
    table = everything(yard)
    GONE[name](monkeypatch)
    assert (await found(yard.folder, table))[name] == "faulty"


async def test_a_guard_that_refuses_everybody_is_found(yard: Yard, monkeypatch: Patch) -> None:
    """X.1: to refuse whoever comes is no protection: a good server has to get through."""
    monkeypatch.setattr(_peer, "matches", lambda *args: False)
    assert (await found(yard.folder, everything(yard)))["accepts_good_server"] == "faulty"


async def test_a_guard_that_refuses_every_client_is_found(yard: Yard, monkeypatch: Patch) -> None:
    """X.1: a good client has to get through, or what refuses the bad ones shows nothing."""
    monkeypatch.setattr(_identity, "is_reserved", lambda name: True)
    assert (await found(yard.folder, everything(yard)))["accepts_good_client"] == "faulty"


def test_every_trial_can_fail() -> None:
    """X.1: there is a way to break each control, and it is tried."""
    assert {trial.name for trial in TRIALS} == {*GONE, "accepts_good_server", "accepts_good_client"}

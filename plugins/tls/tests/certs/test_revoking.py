"""Who is trusted no longer: the index first, then the list."""

from __future__ import annotations

import datetime as dt
import json

import pytest
from plugins.tls.tests.certs.desk import NOW, Desk, set_clock

from hauberk_tls.certs import _index, _pem
from hauberk_tls.certs._index import Index, number_of


def index(desk: Desk) -> Index:
    ca = _pem.facts(_pem.certificates(desk.places.ca_certificate)[0], "").fingerprint
    return _index.read(desk.places, ca)


def listed(desk: Desk) -> set[int]:
    return {one.serial_number for one in _pem.crl(desk.places.crl)}


def number(desk: Desk) -> int:
    return number_of(_pem.crl(desk.places.crl))


def test_a_name_means_all_its_certificates(desk: Desk) -> None:
    """S0.19: a certificate that was renewed is as good as its successor, so a NAME revokes both."""
    desk.ca().ok("issue", "files", "time")
    first = desk.serial("files")
    desk.ok("renew", "files", "--new-key")
    assert desk.ok("revoke", "files").out.count("revoked: server files") == 2
    assert listed(desk) == {first, desk.serial("files")}


@pytest.mark.parametrize("form", ["{:x}", "{:X}", "0x{:x}", "colons", "short"])
def test_a_serial_number_means_one(desk: Desk, form: str) -> None:
    """S0.19: a serial number is taken as openssl and `list` write it, or as much of it as is in the table."""
    desk.ca().ok("issue", "files")
    first = desk.serial("files")
    desk.ok("renew", "files")
    digits = f"{first:040x}"
    text = {"colons": ":".join(digits[i : i + 2] for i in range(0, 40, 2)), "short": f"{first:x}"[:16]}.get(form)
    desk.ok("revoke", text or form.format(first))
    assert listed(desk) == {first}


@pytest.mark.parametrize("text", ["nobody", "12345678", "1234567", "zz", "", "\x1b[2J", "0x"])
def test_what_was_not_signed_is_not_revoked(desk: Desk, text: str) -> None:
    """S0.19: a word that means no certificate of this CA is an error, and nothing is revoked."""
    desk.ca().ok("issue", "files")
    done = desk.run("revoke", text)
    assert (done.status, "has signed no certificate" in done.err, "\x1b" in done.err) == (2, True, False)
    done = desk.run("revoke", "files", text)
    assert (done.status, listed(desk), number(desk)) == (2, set(), 1)


def test_numbers_of_lists_only_grow(desk: Desk) -> None:
    """S0.19: each list has a higher number, also where the last one was lost."""
    desk.ca().ok("issue", "files", "time")
    desk.ok("revoke", "files")
    assert number(desk) == 2
    desk.places.crl.unlink()
    desk.ok("revoke", "time")
    assert number(desk) == 3
    desk.ok("crl", "--days", "9")
    assert (number(desk), index(desk).crl_number, index(desk).crl_days) == (4, 4, 9)


def test_revoked_twice_is_revoked_once(desk: Desk) -> None:
    """S0.19: time and reason of a revocation stay; the second time says so and succeeds."""
    desk.ca().ok("issue", "files")
    desk.ok("revoke", "files", "--reason", "key-compromise")
    before = desk.tree()
    assert "revoked already" in desk.ok("revoke", "files", "--reason", "superseded").out
    assert desk.tree() == before


def test_revoked_key_gets_no_other_certificate(desk: Desk) -> None:
    """S0.19: after a revocation `renew` wants a new key, but for what was only replaced."""
    desk.ca().ok("issue", "files", "time")
    old = desk.serial("time")
    desk.ok("renew", "time")
    desk.ok("revoke", f"{old:x}", "--reason", "superseded")
    desk.ok("renew", "time")
    desk.ok("revoke", "files")
    before = desk.tree()
    done = desk.run("renew", "files")
    assert (done.status, "--new-key" in done.err) == (2, True)
    assert desk.tree() == before
    desk.ok("renew", "files", "--new-key")
    assert "all is well" in desk.ok("check").out


def test_list_is_made_anew_when_it_grows_old(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """S0.19: whoever opens the CA gets a fresh list once half of its time is over, so a yearly round is enough."""
    set_clock(monkeypatch, NOW)
    desk.ca("--crl-days", "100").ok("issue", "files")
    set_clock(monkeypatch, NOW + dt.timedelta(days=49))
    desk.ok("renew", "files")
    assert number(desk) == 1
    set_clock(monkeypatch, NOW + dt.timedelta(days=51))
    desk.ok("renew", "files")
    assert number(desk) == 2
    assert _pem.crl(desk.places.crl).next_update_utc == NOW + dt.timedelta(days=151)


def test_expired_names_are_told(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """S0.19: a NAME whose certificates have all expired is told, not revoked in silence."""
    set_clock(monkeypatch, NOW)
    desk.ca().ok("issue", "files")
    set_clock(monkeypatch, NOW + dt.timedelta(days=366))
    done = desk.run("revoke", "files")
    assert (done.status, "has expired" in done.err) == (2, True)


def test_list_all_shows_what_was_revoked(desk: Desk) -> None:
    """S4.5: `list --all` shows everything that was signed, with time and reason of a revocation."""
    desk.ca().ok("issue", "files")
    desk.ok("revoke", "files", "--reason", "cessation-of-operation")
    desk.ok("renew", "files", "--new-key")
    found = json.loads(desk.ok("list", "--all", "--json").out)
    assert [(one["name"], one["status"], one["reason"]) for one in found] == [
        ("files", "revoked", "cessation-of-operation"),
        ("files", "valid", ""),
    ]
    assert found[0]["revoked"] is not None

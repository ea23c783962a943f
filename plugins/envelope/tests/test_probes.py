"""What the plugin shows of itself: each probe holds, and fails once its control is gone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from plugins.envelope.tests.guards import DAY, START, Yard

from hauberk import doctor
from hauberk.message import Frame
from hauberk.testing._clock import Clock
from hauberk.testing._loading import load
from hauberk_envelope._identity import Identity
from hauberk_envelope._probes import TRIALS
from hauberk_envelope._trust import Rules, Trust
from hauberk_envelope.session import _agreement, _direction
from hauberk_envelope.session._agreement import Party
from hauberk_envelope.session._direction import Receiving
from hauberk_envelope.session._link import Link
from hauberk_envelope.session._session import Session

Patch = pytest.MonkeyPatch


async def states(yard: Yard, toml: str, now: float = START) -> dict[str, str]:
    guard = load(toml, yard.folder / "doctor", (), Clock(now), base=yard.folder)
    report = await doctor.run(guard)
    return {one.name.removeprefix("envelope."): one.state for one in report.findings if one.plugin == "envelope"}


@pytest.fixture
def yard(tmp_path: Path) -> Yard:
    return Yard(tmp_path)


@pytest.mark.parametrize("more", ["", '[server.files.envelope]\nsign = "message"\n'])
async def test_every_probe_holds(yard: Yard, more: str) -> None:
    """X.1: there is a probe for each control, and each holds, whatever the table."""
    for toml in (yard.toml("vault"), yard.toml("vault", sign="message", rekey_messages=1)):
        assert await states(yard, toml + more) == dict.fromkeys(TRIALS, "ok")


async def test_without_keys(yard: Yard, monkeypatch: Patch) -> None:
    """Where there are no keys every connection would be refused, which is told before anybody connects."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(yard.folder / "none"))
    assert await states(yard, "[envelope]\n") == {"has_keys": "faulty"}


async def test_a_key_that_does_not_count(yard: Yard) -> None:
    """A guard whose own key has expired is told before anybody calls."""
    found = await states(yard, yard.toml("vault"), START + 400 * DAY)
    assert [name for name, state in found.items() if state != "ok"] == ["has_keys"]


def _nothing_sealed(patch: Patch) -> None:
    patch.setattr(Link, "send", lambda *_: None)
    patch.setattr(Link, "receive", lambda *_: None)


def _plain_taken(patch: Patch) -> None:
    patch.setattr(Link, "_receive_plain", lambda *_: None)


def _plain_taken_in_a_session(patch: Patch) -> None:
    receive = Link.receive

    def lenient(self: Link, frame: Frame, *rest: Any) -> Frame | None:
        return None if b"/seal" not in frame.data else receive(self, frame, *rest)

    patch.setattr(Link, "receive", lenient)


def _no_tag(patch: Patch) -> None:
    class Cipher:
        def __init__(self, key: bytes) -> None:
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM

            self._real = AESGCM(key)
            self.kept: bytes = b""

        def encrypt(self, nonce: bytes, data: bytes, bound: bytes) -> bytes:
            return data + bytes(16)

        def decrypt(self, nonce: bytes, data: bytes, bound: bytes) -> bytes:
            return bytes(data)[:-16]

    patch.setattr(_direction, "AESGCM", Cipher)


def _no_order(patch: Patch) -> None:
    take = Receiving.open

    def lenient(self: Receiving, header: bytes, head: bytes, ciphertext: bytes) -> Any:
        self.count = _direction.HEAD.unpack(head)[2]
        return take(self, header, head, ciphertext)

    patch.setattr(Receiving, "open", lenient)


def _no_end(patch: Patch) -> None:
    patch.setattr(Session, "end", lambda *_: None)


def _anybody(patch: Patch) -> None:
    everybody: dict[str, Any] = {}
    made = Identity.generate.__func__  # type: ignore[attr-defined]

    def generate(cls: Any, agent: str, /, **more: Any) -> Identity:
        identity: Identity = made(cls, agent, **more)
        everybody[identity.key_id] = identity.public
        return identity

    patch.setattr(Identity, "generate", classmethod(generate))
    patch.setattr(Trust, "find", lambda self, key_id, now: everybody[key_id])


def _all_may(patch: Patch) -> None:
    patch.setattr(Rules, "may", lambda *_: True)


def _any_time(patch: Patch) -> None:
    read = _agreement._read_payload

    def lenient(payload: bytes, party: Party, who: str, now: float) -> Any:
        return read(payload, party._replace(max_age=1e9), who, now)

    patch.setattr(_agreement, "_read_payload", lenient)


GONE: dict[str, tuple[Callable[[Patch], None], set[str]]] = {
    "the seal": (
        _nothing_sealed,
        {"seals", "refuses_plain", "refuses_before_agreement", "refuses_forged", "refuses_repeated", "ends_sessions"},
    ),
    "plain before a session": (_plain_taken, {"refuses_plain"}),
    "plain in a session": (_plain_taken_in_a_session, {"refuses_plain", "ends_sessions"}),
    "the tag": (_no_tag, {"refuses_forged"}),
    "the order": (_no_order, {"refuses_repeated"}),
    "the end": (_no_end, {"ends_sessions"}),
    "trust": (_anybody, {"refuses_untrusted"}),
    "who may": (_all_may, {"refuses_not_allowed"}),
    "the time": (_any_time, {"refuses_stale"}),
}


@pytest.mark.parametrize("gone", GONE)
async def test_a_control_that_is_gone_is_found(gone: str, yard: Yard, monkeypatch: Patch) -> None:
    """X.1: each control that is taken out is missed by a probe of its own."""
    take_out, missed = GONE[gone]
    take_out(monkeypatch)
    found = await states(yard, yard.toml("vault"))
    wrong = {name for name, state in found.items() if state != "ok"}
    assert missed <= wrong
    assert wrong <= missed | {"seals"}

"""Files that are replaced are used by the next connection, without a restart; what cannot be used is not."""

from __future__ import annotations

import json

import pytest
from plugins.tls.tests.conftest import CALLED, CALLER, Opener, Yard
from plugins.tls.tests.maker import DAY, NOW, Ca, put
from plugins.tls.tests.test_resuming import both

from hauberk.refusals import Refused


async def test_a_new_certificate(yard: Yard, opened: Opener) -> None:
    """S0.18, A84: the next connection shows the new certificate; the old one drains, and no old ticket resumes."""
    caller, called = await opened(CALLER), await opened(CALLED)
    before, _ = await both(caller, called)
    first = before.end.tls.getpeercert(binary_form=True)
    new = yard.ca.issue("files.example")
    new.write(yard.folder, "server")
    after, theirs = await both(caller, called)
    assert after.end.tls.getpeercert(binary_form=True) == new.der != first
    assert not theirs.end.tls.session_reused
    before.end.tls.write(b"still here")
    before.other.into.write(before.end.out.read())
    before.other.step()
    assert before.other.got == b"still here"
    await called.guard.close()
    assert [event.details["part"] for event in called.events("tls.rotated")] == ["certificate"]


async def test_a_certificate_that_cannot_be_used(yard: Yard, opened: Opener) -> None:
    """S0.18: one that cannot be used leaves the one before in force, with one event for the change."""
    caller, called = await opened(CALLER), await opened(CALLED)
    good = yard.folder.joinpath("server.pem").read_bytes()
    put(yard.folder / "server.pem", yard.ca.issue("files.example").chain, 0o644)
    for _ in range(3):
        mine, _ = await both(caller, called)
        assert mine.code == ""
        assert mine.end.tls.getpeercert(binary_form=True) == yard.server.der
    put(yard.folder / "server.pem", good, 0o644)
    await both(caller, called)
    await called.guard.close()
    assert len(called.events("tls.rotation_failed")) == 1
    assert "not the key of the certificate" in called.events("tls.rotation_failed")[0].details["reason"]


async def test_a_key_that_is_loose(yard: Yard, opened: Opener) -> None:
    """X.9, S0.18: a key that others may read by now is not taken up."""
    called = await opened(CALLED)
    put(yard.folder / "server.key", yard.server.key_pem(), 0o644)
    await called.admit("server")
    await called.guard.close()
    assert len(called.events("tls.rotation_failed")) == 1


async def test_a_new_authority(yard: Yard, opened: Opener) -> None:
    """S0.18, A84: from the next connection on the new authority is trusted, and the old one no longer."""
    caller, called = await opened(CALLER), await opened(CALLED)
    await both(caller, called)
    put(yard.folder / "ca.pem", Ca("New CA").pem, 0o644)
    mine, _ = await both(caller, called)
    assert mine.code == "tls.untrusted"
    assert not mine.end.tls.session_reused


async def test_a_client_that_is_revoked(yard: Yard, opened: Opener) -> None:
    """S0.19, A84: a client whose certificate is put on the list is refused at its next connection, ticket or not."""
    put(yard.folder / "crl.pem", yard.ca.crl(), 0o644)
    caller, called = await opened(CALLER), await opened(f'{CALLED}crl = "crl.pem"\n')
    await both(caller, called)
    put(yard.folder / "crl.pem", yard.ca.crl(yard.host), 0o644)
    _, theirs = await both(caller, called)
    assert theirs.code == "tls.revoked"


@pytest.mark.parametrize(("name", "code"), [("ca", "tls.ca_unusable"), ("crl", "tls.crl_unusable")])
@pytest.mark.parametrize("harm", ["gone", "empty", "loose"])
async def test_nobody_is_trusted_by_a_file_that_cannot_be_read(
    name: str, code: str, harm: str, yard: Yard, opened: Opener
) -> None:
    """S0.18, S0.19: once it is not known who is trusted, nobody is, until it is known again."""
    put(yard.folder / "crl.pem", yard.ca.crl(), 0o644)
    called = await opened(f'{CALLED}crl = "crl.pem"\n')
    path = yard.folder / f"{name}.pem"
    good = path.read_bytes()
    if harm == "gone":
        path.unlink()
    else:
        put(path, b"" if harm == "empty" else good, 0o644 if harm == "empty" else 0o666)
    for _ in range(2):
        with pytest.raises(Refused) as refused:
            await called.admit("server")
        assert refused.value.code == code
    put(path, good, 0o644)
    await called.admit("server")
    await called.guard.close()
    assert len(called.events("tls.rotation_failed")) == 1
    assert len(called.events("tls.rotated")) == 1


async def test_an_expired_certificate_is_not_taken_up_in_production(yard: Yard, opened: Opener) -> None:
    """S0.13, S0.18: what is not valid any more takes no other's place."""
    from hauberk.event import Event
    from hauberk_tls._options import Options
    from hauberk_tls._rotation import Kept

    events: list[Event] = []
    options = Options(ca=yard.folder / "ca.pem", certificate=yard.folder / "server.pem", key=yard.folder / "server.key")
    kept = Kept(options, environment=dict, production=True, now=NOW.timestamp, emit=events.append)
    first = kept.generation
    yard.ca.issue("files.example", since=NOW - 9 * DAY, until=NOW - DAY).write(yard.folder, "server")
    assert kept.begin("somebody") is first
    assert [event.code for event in events] == ["tls.rotation_failed"]


async def test_contexts_are_made_once(yard: Yard, opened: Opener) -> None:
    """S0.18: while the files are what they were, so are the contexts."""
    called = await opened(CALLED)
    one, two = [await called.admit("server") for _ in range(2)]
    assert one.tls is not None
    assert two.tls is not None
    assert one.tls.context is two.tls.context


async def test_a_reload_keeps_the_contexts(yard: Yard, opened: Opener) -> None:
    """S0.18: a policy that changes something else leaves the contexts, and so the tickets, as they were."""
    from hauberk import plugins
    from hauberk.config import Config

    others = json.dumps([name for name in plugins.installed() if name != "tls"])
    text = f'core.state_dir = "{yard.folder}/state"\nplugins.disable = {others}\n'
    caller = await opened(text + CALLER)
    called = await opened(CALLED)
    await both(caller, called)
    before = caller.plugin
    changed = Config.from_toml(f"{text}core.request_timeout = 9.0\n{CALLER}", base=yard.folder)
    await caller.guard.reload(changed)
    assert caller.plugin is not before
    mine, _ = await both(caller, called)
    assert mine.end.tls.session_reused


async def test_it_is_said_that_a_certificate_ends(yard: Yard, opened: Opener) -> None:
    """S0.17, S0.18: our own certificate that ends soon is an event, once a day."""
    yard.ca.issue("files.example", until=NOW + 20 * DAY).write(yard.folder, "server")
    called = await opened(CALLED)
    for _ in range(3):
        await called.admit("server")
    called.clock.turn(86400)
    await called.admit("server")
    await called.guard.close()
    events = called.events("tls.expires_soon")
    assert [event.severity for event in events] == ["warning", "warning"]
    quiet = await opened(f"{CALLED}expiry_warning_days = 5\n")
    await quiet.admit("server")
    await quiet.guard.close()
    assert quiet.events("tls.expires_soon") == []

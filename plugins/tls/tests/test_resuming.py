"""A later connection is shorter, is checked all the same, and never uses what another identity was given."""

from __future__ import annotations

import datetime as dt
import ssl
from typing import Any

import pytest
from plugins.tls.tests.conftest import CALLED, CALLER, Opener, Yard
from plugins.tls.tests.maker import CLIENT, DAY, NOW, put
from plugins.tls.tests.shaking import End, Party, Told, shake


async def both(caller: Party, called: Party, **more: Any) -> tuple[Told, Told]:
    """Let a guarded client and a guarded server meet; return what each says."""
    ours = await caller.admit("client", **more)
    theirs = await called.admit("server")
    client, server = caller.end(ours), called.end(theirs)
    shake(client, server, reading=False)
    told = called.judged(theirs, server, client, lambda: None)
    return caller.judged(ours, client, server, lambda: shake(client, server)), told


async def test_a_session_is_resumed(yard: Yard, opened: Opener) -> None:
    """S4.26, S0.16: the second handshake is resumed, with mTLS, and both ends know who the other is."""
    caller, called = await opened(CALLER), await opened(CALLED)
    for resumed in (False, True, True):
        mine, theirs = await both(caller, called)
        assert (mine.code, theirs.code) == ("", "")
        assert mine.end.tls.session_reused is theirs.end.tls.session_reused is resumed
        assert (mine.principal.id, theirs.principal.id) == ("files.example", "urn:hauberk:host")


async def test_a_ticket_is_used_once(yard: Yard, opened: Opener) -> None:
    """S4.26: of connections that begin at once, no two show the same ticket."""
    caller, called = await opened(CALLER), await opened(CALLED)
    await both(caller, called)
    ours = [await caller.admit("client") for _ in range(3)]
    ends = [caller.end(one) for one in ours]
    used = [end.tls.session is not None for end in ends]
    assert used == [True, False, False]


async def test_tickets_are_off(yard: Yard, opened: Opener) -> None:
    """S4.26: without tickets every handshake is a full one."""
    for caller_says, called_says in (("false", "true"), ("true", "false")):
        caller = await opened(f"{CALLER}session_tickets = {caller_says}\n")
        called = await opened(f"{CALLED}session_tickets = {called_says}\n")
        for _ in range(2):
            mine, _ = await both(caller, called)
            assert not mine.end.tls.session_reused


async def test_no_ticket_without_an_answer(yard: Yard, opened: Opener) -> None:
    """S4.26, S0.14: what a peer gave is kept once it has answered, and not before."""
    caller, called = await opened(CALLER), await opened(CALLED)
    ours, theirs = await caller.admit("client"), await called.admit("server")
    client, server = caller.end(ours), called.end(theirs)
    shake(client, server)
    assert client.tls.session is not None
    assert client.tls.session.has_ticket
    mine, _ = await both(caller, called)
    assert not mine.end.tls.session_reused


async def test_another_endpoint_gets_no_ticket(yard: Yard, opened: Opener) -> None:
    """S4.26: what one endpoint gave is shown to no other, not to another port and not under another name."""
    both_names = yard.ca.issue("files.example", "other.example")
    both_names.write(yard.folder, "server")
    caller, called = await opened(CALLER), await opened(CALLED)
    await both(caller, called)
    for target in ("tls://files.example:8444", "tls://other.example:8443"):
        connection = await caller.admit("client", target=target)
        assert caller.end(connection).tls.session is None
    caller = await opened(f'{CALLER}[server.second.tls]\nserver_name = "other.example"\n')
    await both(caller, called)
    assert caller.end(await caller.admit("client", server="second")).tls.session is None
    assert caller.end(await caller.admit("client")).tls.session is not None


async def test_another_identity_gets_no_ticket(yard: Yard, opened: Opener) -> None:
    """S4.26: servers that are called with another certificate share no session."""
    yard.ca.issue("urn:hauberk:second", purposes=[CLIENT]).write(yard.folder, "second")
    caller = await opened(f'{CALLER}[server.second.tls]\ncertificate = "second.pem"\nkey = "second.key"\n')
    called = await opened(CALLED)
    await both(caller, called)
    mine, theirs = await both(caller, called, server="second")
    assert not mine.end.tls.session_reused
    assert theirs.principal.id == "urn:hauberk:second"


async def test_contexts_are_bounded(yard: Yard, opened: Opener) -> None:
    """X.6, S4.26: however many endpoints are called, so many contexts are kept, the last ones."""
    from hauberk_tls._limits import LIMITS

    caller = await opened(CALLER)
    connections = [
        await caller.admit("client", target=f"tls://files.example:{port}") for port in range(1, LIMITS.endpoints + 20)
    ]
    [kept] = caller.plugin.store._kept.values()
    assert len(kept.generation._clients) == LIMITS.endpoints
    again = await caller.admit("client", target=connections[-1].target)
    assert again.tls is not None
    assert connections[-1].tls is not None
    assert again.tls.context is connections[-1].tls.context


@pytest.mark.parametrize("side", ["client", "server"])
async def test_a_resumed_session_is_checked_again(side: str, yard: Yard, opened: Opener) -> None:
    """S0.13, A84: a certificate that has expired since is refused in a resumed session, where OpenSSL looks no more."""
    soon = NOW + dt.timedelta(hours=1)
    yard.ca.issue("files.example", until=soon if side == "server" else NOW + 9 * DAY).write(yard.folder, "server")
    yard.ca.issue("urn:x:y", purposes=[CLIENT], until=soon if side == "client" else NOW + 9 * DAY).write(
        yard.folder, "host"
    )
    caller, called = await opened(CALLER), await opened(CALLED)
    await both(caller, called)
    for party in (caller, called):
        party.clock.turn(5400)
    mine, theirs = await both(caller, called)
    assert mine.end.tls.session_reused
    assert (mine.code if side == "server" else theirs.code) == "tls.expired"


async def test_a_list_that_expires(yard: Yard, opened: Opener) -> None:
    """S0.19, A84: a revocation list that has expired since lets nobody in, in a resumed session either."""
    put(yard.folder / "crl.pem", yard.ca.crl(until=NOW + dt.timedelta(hours=1)), 0o644)
    caller, called = await opened(CALLER), await opened(f'{CALLED}crl = "crl.pem"\n')
    await both(caller, called)
    called.clock.turn(5400)
    _, theirs = await both(caller, called)
    assert theirs.end.tls.session_reused
    assert theirs.code == "tls.crl_unusable"


async def test_the_standard_library_takes_the_context(yard: Yard, opened: Opener) -> None:
    """S4.26: the session is given by the context itself, to whoever begins a connection with it."""
    caller, called = await opened(CALLER), await opened(CALLED)
    mine, _ = await both(caller, called)
    context = mine.connection.tls.context  # type: ignore[union-attr]  # it has one
    assert isinstance(context, ssl.SSLContext)
    end = End(context, server=False, name="files.example")
    assert end.tls.session is not None

"""Which refusals count against somebody, and that those which are nobody's misdeed never do."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec
import pytest
from plugins.bulkhead.tests.conftest import Opened
from plugins.bulkhead.tests.test_isolation import FEW, by, trip

from hauberk.event import Event
from hauberk_bulkhead._isolation import Blame, Culprit
from hauberk_bulkhead._misdeeds import is_own
from hauberk_bulkhead._options import Isolating

PAGES: Final = Path(__file__).parents[3] / "docs" / "refusals"
CODES: Final = sorted(page.stem for page in PAGES.glob("*.md") if not page.stem.startswith("core."))
CORE: Final = sorted(page.stem for page in PAGES.glob("core.*.md"))
BOTH: Final = {
    **dict.fromkeys(("envelope.forged", "envelope.malformed", "envelope.plain"), "not sealed by who it says"),
    "envelope.out_of_order": "a message was dropped, doubled or held back",
    "envelope.key_revoked": "somebody uses a key that was taken away",
    **dict.fromkeys(("envelope.wrong_name", "envelope.wrong_sender"), "speaks in another's name"),
    **dict.fromkeys(("envelope.wrong_recipient", "envelope.wrong_server"), "what was meant for another"),
    "replay.detected": "the message came before",
}
OF_PRINCIPALS: Final = {
    **BOTH,
    "envelope.stale": "an old request for a session, sent again",
    "envelope.untrusted": "a key that nobody trusts; toward a server it may be our own directory that lacks it",
    "envelope.not_allowed": "asks for what nobody wrote down; toward a server it may be our own rule",
    "ratelimit.exceeded": "asks too much: his own limit",
}
OF_SERVERS: Final = {
    **BOTH,
    **dict.fromkeys(
        (f"tls.{one}" for one in ("bad_certificate", "chain_too_long", "cn_mismatch", "name_constraint")), "not real"
    ),
    **dict.fromkeys((f"tls.{one}" for one in ("name_mismatch", "self_signed", "untrusted", "wrong_purpose")), "posing"),
    **dict.fromkeys(("tls.revoked", "tls.key_pinned_otherwise"), "a key that was taken away, or never given"),
    **dict.fromkeys(("tls.not_tls", "tls.old_version", "tls.weak_cipher"), "a step back to what is weaker"),
    "core.peer_changed": "another server in place of the first",
}
NOT_BY_DEFAULT: Final = {
    **dict.fromkeys((f"envelope.key_{one}" for one in ("expired", "not_yet_valid", "too_old")), "a rotation, a clock"),
    **dict.fromkeys(("envelope.unsupported", "envelope.unsigned"), "another version or setting"),
    "envelope.too_large": "as may be of what we send",
    "envelope.no_agreement": "as of a server that is down",
    **dict.fromkeys(("replay.too_old", "replay.expired", "replay.from_the_future"), "clocks and slow networks"),
    "ratelimit.host": "a URL that is unclear",
    "ratelimit.insufficient_credits": "a price above what is left, which no haste brings about",
    **dict.fromkeys(("tls.expired", "tls.not_yet_valid"), "a rotation, a clock"),
    **dict.fromkeys(("tls.cut_off", "tls.handshake_failed", "tls.handshake_timeout"), "the network"),
    **dict.fromkeys(("tls.no_alpn", "tls.no_client_certificate"), "another setting"),
}
OWN: Final = {
    **dict.fromkeys(("ratelimit.store_down", "replay.store_down", "bulkhead.store_down"), "our store is down"),
    **dict.fromkeys(("replay.full", "replay.not_remembered"), "our memory's bounds, which others reach; a restart"),
    **dict.fromkeys(("envelope.carrier", "envelope.no_keys", "envelope.no_peer"), "our keys and tables"),
    **dict.fromkeys(("envelope.no_session", "envelope.session_over", "envelope.refused"), "follows of a refusal"),
    **dict.fromkeys(("tls.bad_name", "tls.ca_unusable", "tls.crl_unusable", "tls.plaintext"), "our files and tables"),
    **dict.fromkeys(("tls.unconfigured", "tls.refused_by_peer"), "our certificate"),
    **dict.fromkeys(("sieve.people_stale", "sieve.schema_unusable", "pins.unreadable"), "our files"),
    **dict.fromkeys(("bulkhead.full", "bulkhead.late", "bulkhead.open", "bulkhead.overloaded"), "by others' load"),
    **dict.fromkeys(("bulkhead.memory", "bulkhead.too_many_connections"), "by others' load"),
    **dict.fromkeys(("bulkhead.suspended", "sieve.suspended"), "it would never end"),
}
ELSEWHERE: Final = ("sieve.", "pins.", "bulkhead.")
"""What a policy refuses is counted where an operator names it: a denied call is a mistake more often than an attack."""
WILD: Final = Isolating(of_principals=("envelope.*", "replay.*", "ratelimit.*", "tls.*", "sieve.*", "core.*"))


def blamed(code: str, role: str, options: Isolating | None = None) -> Culprit | None:
    details = {"role": role, "own": True}
    event = Event(code, action="blocked", server="files", principal="eve", details=details)
    return Blame(options or Isolating()).of(event, {})


@pytest.mark.parametrize("code", CODES)
def test_every_refusal_is_counted_or_not_for_a_reason(code: str) -> None:
    """Each refusal of each plugin stands in one of the lists above, and is counted as it says there (S0.39)."""
    listed = [code in OF_PRINCIPALS or code in OF_SERVERS, code in NOT_BY_DEFAULT, code in OWN]
    assert sum(listed) == 1 or (not any(listed) and code.startswith(ELSEWHERE))
    in_front = code in OF_PRINCIPALS or code in OF_SERVERS
    assert blamed(code, "server") == (Culprit("principal", "eve") if in_front else None)
    assert blamed(code, "client") == (Culprit("server", "files") if code in OF_SERVERS else None)
    assert is_own(code) == (code in OWN)


@pytest.mark.parametrize("code", CORE)
def test_core_refusals_count_where_they_are_named(code: str) -> None:
    """Of the core's refusals only a server that is another one counts by itself."""
    assert blamed(code, "client") == (Culprit("server", "files") if code == "core.peer_changed" else None)


@pytest.mark.parametrize("code", sorted([*OWN, "core.hook_failed", "core.unrecorded", "core.server_gone"]))
@pytest.mark.parametrize("role", ["client", "server"])
def test_what_is_the_guards_own_doing_is_never_counted(code: str, role: str) -> None:
    """Not by ``word.*`` either; to name it is a mistake that is told."""
    assert blamed(code, role, WILD) is None
    for key in ("of_principals", "of_servers"):
        with pytest.raises(msgspec.ValidationError, match="own doing"):
            msgspec.convert({key: [code]}, Isolating)


async def test_outage_of_a_store_suspends_nobody(guarded: Opened) -> None:
    """Who asks while the store of the limits or of the replay memory is down is as welcome after it (S0.39)."""
    async with guarded(FEW, role="server") as rig:
        rig.connection.principal = by("victim")
        for code in ("ratelimit.store_down", "replay.store_down", "replay.full", "replay.not_remembered"):
            await trip(rig, code, times=20)
        await rig.call("a", id=1)
        assert len(rig.reached) == 1


@pytest.mark.parametrize("details", [{}, {"own": False}, {"own": 1}])
async def test_limit_that_others_use_up_suspends_nobody(guarded: Opened, details: dict[str, object]) -> None:
    """Where a limit is shared, who meets its end is not who used it up: only his own limit counts against him."""
    async with guarded(f'{FEW}of_principals = ["ratelimit.*"]\n', role="server") as rig:
        rig.connection.principal = by("victim")
        await trip(rig, times=20, details=details)
        await trip(rig, "ratelimit.insufficient_credits", times=20, details=details)
        await rig.call("a", id=1)
        assert len(rig.reached) == 1


async def test_limits_beside_a_client_suspend_nobody(guarded: Opened) -> None:
    """The host's own agent that asks one tool too often keeps all its other tools and servers."""
    async with guarded(FEW, role="client") as rig:
        await trip(rig, times=20)
        await rig.call("a", id=1)
        assert len(rig.reached) == 1

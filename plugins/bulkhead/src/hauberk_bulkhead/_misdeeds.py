"""Which refusals say that somebody misbehaves, which say nothing of him, and why. Pure.

The rules:

1. Counted by default is what nobody sends by accident: what is forged, sent again, out of order, in another's name.
2. What is late, expired, of another version or simply too much says as much of clocks, rotations, networks and
   operators as of whoever sent it. It is refused, and counted only where an operator names it.
3. What the guard, its files or its stores cannot do is nobody's misdeed. It is never counted, whatever is named: an
   outage would suspend everybody who asks meanwhile.
4. A limit, or credits, that are used up count where they are the caller's own, and not where others use them up too
   (``details["own"]``).
"""

from __future__ import annotations

from typing import Final

from hauberk.event import Event

EXCEEDED: Final = "ratelimit.exceeded"
SENT: Final = (
    *(f"envelope.{reason}" for reason in ("forged", "malformed", "plain", "out_of_order", "stale")),
    *(f"envelope.{reason}" for reason in ("untrusted", "key_revoked", "not_allowed")),
    *(f"envelope.{reason}" for reason in ("wrong_name", "wrong_recipient", "wrong_sender", "wrong_server")),
    "replay.detected",
    EXCEEDED,
)
"""What somebody who calls a server sent to it. Beside a client none of this is the host's own doing."""
SERVED: Final = (
    *(f"envelope.{reason}" for reason in ("forged", "malformed", "plain", "out_of_order", "key_revoked")),
    *(f"envelope.{reason}" for reason in ("wrong_name", "wrong_recipient", "wrong_sender", "wrong_server")),
    "replay.detected",
    *(f"tls.{reason}" for reason in ("bad_certificate", "chain_too_long", "cn_mismatch", "key_pinned_otherwise")),
    *(f"tls.{reason}" for reason in ("name_constraint", "name_mismatch", "not_tls", "old_version", "revoked")),
    *(f"tls.{reason}" for reason in ("self_signed", "untrusted", "weak_cipher", "wrong_purpose")),
    "core.peer_changed",
)
"""What a server that is called showed or sent; in front of a server, whoever connected."""
_USED_UP: Final = frozenset({EXCEEDED, "ratelimit.insufficient_credits"})
_DOWN: Final = ".store_down"
_OWN: Final = frozenset(
    {
        # ours to repair: keys, files, tables, what we may not send
        *(
            f"envelope.{reason}"
            for reason in ("carrier", "no_keys", "no_peer", "no_session", "refused", "session_over")
        ),
        *(f"tls.{reason}" for reason in ("bad_name", "ca_unusable", "crl_unusable", "plaintext", "refused_by_peer")),
        *("tls.unconfigured", "sieve.people_stale", "sieve.schema_unusable", "pins.unreadable", "core.no_tls"),
        *("core.not_a_socket", "core.secret"),
        # of the memory's bounds and beginnings, which others bring about, or a restart
        *("replay.full", "replay.not_remembered"),
        # load, and what follows of the doings of others
        *(f"bulkhead.{reason}" for reason in ("full", "late", "memory", "open", "overloaded", "too_many_connections")),
        *("core.busy", "core.too_many_connections", "core.deadline", "core.draining"),
        # it would never end
        *("bulkhead.suspended", "sieve.suspended"),
        # of plugins, and of the guard's own work
        *(f"core.{reason}" for reason in ("hook_answer", "hook_failed", "internal", "unjudged", "unrecorded")),
        *(f"core.{reason}" for reason in ("not_restored", "not_started", "unapproved", "closed", "refused")),
        # of the network, and of whoever is at the far end of it
        *(f"core.{reason}" for reason in ("connection_lost", "server_gone", "silent", "timed_out", "unanswered")),
        *(f"core.{reason}" for reason in ("unreachable", "peer_error", "refused_by_peer", "discover_refused")),
    }
)


def is_own(code: str) -> bool:
    """Whether a refusal is the guard's own doing, or that of others: never counted."""
    return code in _OWN or code.endswith(_DOWN)


def is_misdeed(event: Event) -> bool:
    """Whether a refusal can be laid to anybody at all."""
    if event.code in _USED_UP:
        return event.details.get("own") is True
    return not is_own(event.code)

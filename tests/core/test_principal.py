"""What tells one identity from another."""

from __future__ import annotations

from itertools import combinations
from typing import Final

import pytest

from hauberk.bounds import Bounds
from hauberk.embedded import Rounds
from hauberk.exchange import Exchange
from hauberk.principal import ANONYMOUS, Principal

ODD: Final = (None, "", "a", "a\0", "a\0b", "b", "%", "%00", "a%00", "\0")


def test_no_two_identities_have_one_key() -> None:
    """The same id in two tenants, or in none, is two; a NUL in an id or a tenant makes nobody somebody else (A62)."""
    all_ = [Principal(id=id or "", tenant=tenant) for tenant in ODD for id in ODD[1:]]
    for one, other in combinations(all_, 2):
        assert one.key != other.key or one == other, (one, other)
    assert not any(one.key.startswith("\0") for one in all_ if one.id)
    assert Principal(id="alice").key == "alice"


@pytest.mark.parametrize(
    ("principal", "is_anonymous"),
    [(ANONYMOUS, True), (Principal(id="x"), True), (Principal(id="x", kind="user"), False)],
)
def test_who_proved_nothing(principal: Principal, is_anonymous: bool) -> None:
    """Whoever is of no kind is anonymous, whatever he is called."""
    assert principal.is_anonymous is is_anonymous


def test_state_of_another_tenant_is_not_taken() -> None:
    """What was approved for ``alice`` of one tenant is not approved for ``alice`` of another."""
    rounds = Rounds(Bounds())

    def exchange(tenant: str) -> Exchange:
        found = Exchange(1, 1, "tools/call", Principal(id="alice", kind="user", tenant=tenant), 0.0, 1)
        found.digest, found.approved = "d", True
        return found

    class Call:
        digest = "d"

        def __init__(self, exchange: Exchange) -> None:
            self.exchange = exchange

    mine, other = exchange("acme"), exchange("evil")
    rounds.mint("s", mine)
    other.approved = False
    assert rounds.claim("s", Call(other)) == 0  # type: ignore[arg-type]
    assert not other.approved
    assert rounds.claim("s", Call(mine)) == 1  # type: ignore[arg-type]

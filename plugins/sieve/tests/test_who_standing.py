"""What a principal is once the channel's word and the register's are put together."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hauberk.principal import Principal
from hauberk_sieve.access._rules import Pattern
from hauberk_sieve.who._options import People
from hauberk_sieve.who._register import NOBODY, Entry
from hauberk_sieve.who._standing import REASONS, Reason, refusal, stand

TABLE = People(file=Path("/people.toml"))
NAMES = st.frozensets(st.sampled_from(["a", "b", "c", "admin", "superuser", "default"]))
ENTRIES = st.builds(
    Entry,
    NAMES,
    st.none() | NAMES,
    st.none() | st.just((Pattern.parse("files/x"),)),
    st.none() | st.sampled_from(sorted(REASONS)),
)


def ann(groups: frozenset[str] = frozenset(), roles: frozenset[str] = frozenset()) -> Principal:
    return Principal(id="ann", kind="user", groups=groups, roles=roles, method="jwt")


def test_register_adds_to_what_the_channel_proved() -> None:
    """Groups and roles that the channel proved stand, and those of the file are added to them."""
    who = ann(frozenset({"staff"}), frozenset({"reader"}))
    found = stand(Entry(frozenset({"oncall"}), frozenset({"editor"})), who, who, TABLE)
    assert found.groups == found.all_groups == {"staff", "oncall"}
    assert found.roles == found.all_roles == {"reader", "editor"}


@pytest.mark.parametrize(
    ("entry", "role", "expected"),
    [
        (NOBODY, "default", {"default"}),
        (NOBODY, "trial", {"trial"}),
        (NOBODY, "", set()),
        (Entry(groups=frozenset({"staff"})), "trial", {"trial"}),
        (Entry(roles=frozenset()), "trial", set()),
        (Entry(roles=frozenset({"editor"})), "trial", {"editor"}),
    ],
)
def test_newcomer_has_the_default_role(entry: Entry, role: str, expected: set[str]) -> None:
    """Who has no roles in the file has the role that the table names, `trial` for one, and nothing else (S1.9)."""
    table = People(file=Path("/people.toml"), default_role=role)
    assert stand(entry, ann(), ann(), table).roles == expected


@given(ENTRIES, NAMES, NAMES, NAMES, NAMES)
def test_narrowing_is_never_in_vain(
    entry: Entry, groups: frozenset[str], roles: frozenset[str], fewer: frozenset[str], less: frozenset[str]
) -> None:
    """The register gives a principal that was narrowed nothing that lets it do more, and spares it no deny rule."""
    proved = ann(groups, roles)
    narrow = proved.narrow(groups=fewer, roles=less)
    found, whole = stand(entry, narrow, proved, TABLE), stand(entry, proved, proved, TABLE)
    assert found.refused == whole.refused
    assert (found.all_groups, found.all_roles) == (whole.all_groups, whole.all_roles)
    if narrow != proved:
        assert (found.groups, found.roles, found.grants) == (narrow.groups, narrow.roles, None)
    assert found.groups <= found.all_groups
    assert found.roles <= found.all_roles


@given(ENTRIES, NAMES, st.text(max_size=12))
def test_no_role_is_above_a_suspension(entry: Entry, roles: frozenset[str], role: str) -> None:
    """Whatever a role is called, whoever has it and is not active is refused (S1.7)."""
    who = ann(roles=roles | {role, "superuser", "admin", "root"})
    found = stand(entry, who, who, TABLE)
    assert (found.refused is None) == (entry.reason is None)


@pytest.mark.parametrize("reason", REASONS)
def test_refusal_says_where_help_is(reason: Reason) -> None:
    """Each reason has a code and a hint, and the hint is the operator's page where one is named (S1.3)."""
    assert refusal(reason, "").code == f"sieve.{reason}"
    assert refusal(reason, "").hint
    assert refusal(reason, "https://example.org/help#{reason}").hint == f"see https://example.org/help#{reason}"
    deny, refused = refusal(reason, "").deny(), refusal(reason, "").refused()
    assert (deny.code, deny.rule, deny.hint) == (refused.code, refused.rule, refused.hint)
    assert deny.reason == refused.message
    assert not deny.public
    assert not refused.public

"""Who is speaking, as the channel proved it."""

from __future__ import annotations

import msgspec


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """An identity that a channel proved; never a name that a message claims.

    ``method`` says how it was proved (``"local"``, ``"mtls"``, ``"peercred"``, ``"jwt"``, …); ``kind`` is ``"host"``,
    ``"user"``, ``"service"``, ``"server"`` or ``"anonymous"``.
    """

    id: str
    kind: str = "anonymous"
    groups: frozenset[str] = frozenset()
    roles: frozenset[str] = frozenset()
    tenant: str | None = None
    method: str | None = None

    @property
    def key(self) -> str:
        """Return what tells this identity from every other one: its tenant and its id.

        Without a tenant it is the id. With one it is the tenant, a NUL and the id. What could be mistaken for that (an
        empty tenant, an id with a NUL, as a token may hold them) stands behind percent signs, with which no tenant is
        written: so no key begins with a NUL. Those who proved nothing (`is_anonymous`) are not told apart.
        """
        if self.tenant is None:
            return self.id if "\0" not in self.id else f"%%\0{self.id}"
        return f"{self.tenant.replace('%', '%25').replace(chr(0), '%00') or '%'}\0{self.id}"

    @property
    def is_anonymous(self) -> bool:
        """Whether nothing was proved."""
        return self.kind == "anonymous" or self.id == ANONYMOUS.id

    @property
    def claims(self) -> dict[str, list[str]]:
        """Return the groups and roles, as events have them; what there is none of is left out."""
        named = {"groups": sorted(self.groups), "roles": sorted(self.roles)}
        return {name: values for name, values in named.items() if values}

    def narrow(self, *, groups: frozenset[str] | None = None, roles: frozenset[str] | None = None) -> Principal:
        """Return this identity with fewer groups or roles; one that it does not have is never added."""
        return msgspec.structs.replace(
            self,
            groups=self.groups if groups is None else self.groups & groups,
            roles=self.roles if roles is None else self.roles & roles,
        )

    def narrows(self, other: Principal) -> bool:
        """Whether this identity is ``other`` or a narrower view of it."""
        return (
            self.id == other.id
            and self.tenant == other.tenant
            and self.kind == other.kind
            and self.method == other.method
            and self.groups <= other.groups
            and self.roles <= other.roles
        )


ANONYMOUS = Principal(id="anonymous")
"""A peer that proved nothing."""
DOCTOR = Principal(id="hauberk-doctor", kind="host", method="local")
"""Who sends probes (`hauberk.probe`); their server has the same name."""

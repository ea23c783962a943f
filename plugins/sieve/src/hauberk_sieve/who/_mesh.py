"""The mesh of people: who they are in the operator's own file, and whether they may do anything at all."""

from __future__ import annotations

from hauberk.principal import Principal
from hauberk_sieve._mesh import Mesh
from hauberk_sieve.who._standing import Standing


class Who(Mesh):
    """People: status, groups, roles and grants of each principal (S1.7-S1.10)."""

    word = "who"

    def standing(self, principal: Principal, server: str = "", *, proved: Principal | None = None) -> Standing:
        """Return how a principal stands now.

        Args:
            principal: Who asks; ``message.principal`` of a request, ``message.exchange.principal`` of a result.
            server: The server that is asked, for a table of people of its own.
            proved: What the channel proved (``message.original.principal``), where ``principal`` may be narrower.
        """
        groups, roles = principal.groups, principal.roles
        whole = principal if proved is None else proved
        return Standing(id=principal.id, groups=groups, roles=roles, all_groups=whole.groups, all_roles=whole.roles)

"""The pages on people and on tools that call tools do what they say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from hauberk.principal import ANONYMOUS, Principal

DOCS = Path(__file__).parents[3] / "docs"


def blocks(name: str) -> list[str]:
    return re.findall(r"(?s)```toml\n(.*?)```", (DOCS / name).read_text("utf-8"))


def code(answer: Any) -> str:
    return str(answer["error"]["data"]["code"]) if "error" in answer else "passed"


ANN, BOB = "ann@example.org", "bob@example.org"
ADMIN = Principal(id="root@example.org", method="mtls", roles=frozenset({"admin"}), groups=frozenset({"second-factor"}))


@pytest.mark.parametrize(
    ("principal", "server", "tool", "passes"),
    [
        (ANONYMOUS, "docs", "search", True),
        (ANONYMOUS, "docs", "read", False),
        (Principal(id="eve", method="jwt"), "docs", "read", True),
        (Principal(id="eve", method="jwt"), "tickets", "list", False),
        (Principal(id=ANN, method="jwt"), "tickets", "list", True),
        (Principal(id=ANN, method="jwt"), "tickets", "drop_all", False),
        (Principal(id=ANN, method="jwt"), "vault", "read_hint", True),
        (Principal(id=ANN, method="jwt"), "vault", "read", False),
        (Principal(id=ANN, method="jwt", tenant="acme"), "docs", "search", False),
        (Principal(id=BOB, method="jwt"), "docs", "search", False),
        (ADMIN, "vault", "read", True),
        (ADMIN, "vault", "drop_all", False),
        (Principal(id=ADMIN.id, method="jwt", roles=ADMIN.roles, groups=ADMIN.groups), "vault", "read", False),
        (Principal(id=ADMIN.id, method="mtls", roles=ADMIN.roles), "vault", "read", False),
    ],
)
async def test_page_of_people_is_right(
    link: Any, tmp_path: Path, principal: Principal, server: str, tool: str, passes: bool
) -> None:
    """The four levels of the page let through whom they say, and suspend whom they say (S0.43)."""
    policy, people = blocks("people.md")
    file = tmp_path / "people.toml"
    file.write_text(people)
    file.chmod(0o600)
    linked = await link(policy.replace('"people.toml"', f'"{file}"'), server, role="server")
    linked.session.connection.principal = principal
    assert (code(linked.call(tool)) == "passed") == passes


@pytest.mark.parametrize(
    ("tool", "arguments", "expected"),
    [
        ("run", {"tool": "read"}, "passed"),
        ("run", {"tool": "delete_all"}, "sieve.inner_denied"),
        ("call", {"tool": "read_issue", "module": "github"}, "passed"),
        ("call", {"tool": "write_issue", "module": "github"}, "sieve.inner_denied"),
        ("batch", {"commands": [{"tool": "a", "id": "1"}, {"tool": "b", "id": "2", "depends_on": ["1"]}]}, "passed"),
        ("batch", {"commands": [{"tool": "a"}, {"tool": "delete_b"}]}, "sieve.inner_denied"),
        ("batch", {"commands": [{"tool": "a"}] * 11}, "sieve.inner_malformed"),
        ("run", {"tool": "batch"}, "sieve.inner_malformed"),
    ],
)
async def test_page_of_meta_tools_is_right(link: Any, tool: str, arguments: Any, expected: str) -> None:
    """The configuration of the page judges inner calls as the page says."""
    (policy,) = blocks("meta-tools.md")
    linked = await link(policy, "gateway")
    assert code(linked.ask("tools/call", {"name": tool, "arguments": arguments})) == expected


async def test_page_of_meta_tools_sifts_results(link: Any) -> None:
    """The configuration of the page takes tools that may not be called out of a result."""
    linked = await link(blocks("meta-tools.md")[0], "gateway")
    linked.call("get_module_schema")
    got = linked.answer({"structuredContent": {"modules": [{"tools": [{"name": "read"}, {"name": "delete_x"}]}]}})
    assert got["result"]["structuredContent"] == {"modules": [{"tools": [{"name": "read"}]}]}

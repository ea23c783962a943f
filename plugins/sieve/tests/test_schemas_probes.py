"""What the mesh of schemas shows of itself, and what its page shows."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hauberk import doctor
from hauberk.guard import Guard
from hauberk_sieve.schemas import Schemas

if TYPE_CHECKING:
    from plugins.sieve.tests.conftest import Connect

Load = Callable[[str], Guard]
PAGE = (Path(__file__).parents[3] / "docs" / "schemas.md").read_text("utf-8")

TELLS = ("tells_header_schema", "tells_unusable_schema")
CALLS = ("refuses_bad_arguments", "refuses_unusable_schema")
RESULT = ("refuses_bad_result",)
ALLOW = '[sieve]\ndefault = "allow"\n'


async def states(guard: Guard) -> dict[str, str]:
    report = await doctor.run(guard)
    found = {one.name.removeprefix("sieve."): one.state for one in report.findings if one.plugin == "sieve"}
    return {name: state for name, state in found.items() if name in {*TELLS, *CALLS, *RESULT}}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", TELLS),
        (ALLOW, (*TELLS, *CALLS, *RESULT)),
        ('[sieve]\nallow = ["files/*"]', TELLS),
        (f'{ALLOW}[sieve.schemas]\narguments = "alert"', (*TELLS, *RESULT)),
        (f'{ALLOW}[sieve.schemas]\nresults = "alert"', (*TELLS, *CALLS)),
        (f'{ALLOW}[sieve.schemas]\narguments = "off"\nresults = "off"', ()),
    ],
)
async def test_probes_hold_for_what_the_table_promises(load: Load, text: str, names: tuple[str, ...]) -> None:
    """What the table promises of schemas is tried and holds, and nothing else is tried."""
    assert await states(load(text)) == dict.fromkeys(names, "ok")


async def test_check_that_is_gone_is_found(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its judging switched off, and with its looking, the probes get through (X.1)."""
    monkeypatch.setattr(Schemas, "judge", lambda self, call, connection: None)
    found = await states(load(ALLOW))
    assert found == dict.fromkeys((*TELLS, *RESULT), "ok") | dict.fromkeys(CALLS, "not_stopped")
    monkeypatch.setattr(Schemas, "look", lambda self, message, connection: None)
    assert "ok" not in (await states(load(ALLOW))).values()


async def test_table_of_the_page_is_one(link: Connect) -> None:
    """The table on the page of schemas holds as the page says: a tool that was not listed is refused."""
    (table,) = re.findall(r"(?s)```toml\n(.*?)```", PAGE)
    between = await link(table)
    got = between.call("read")
    assert got is not None
    assert got["error"]["data"]["code"] == "sieve.schema_unknown"
    tool = {"name": "read", "inputSchema": {"properties": {"path": {"minLength": 1}}}}
    between.listed({"tools": [tool]}, 2)
    got = between.ask("tools/call", {"name": "read", "arguments": {"path": ""}}, 3)
    assert got is not None
    assert got["error"]["data"]["rule"] in PAGE

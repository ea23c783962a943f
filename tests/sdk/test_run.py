"""The SDK's client through ``hauberk run``, in every mode, to a server of the SDK that speaks both eras."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from mcp import MCPError
from tests.sdk.everything import MODERN
from tests.sdk.guarded_run import GuardedRun, unguarded
from tests.sdk.kit import MODES, PROGRAM, Told, client, within
from tests.sdk.test_equal import tour


@pytest.mark.timeout(300)
@pytest.mark.parametrize("mode", MODES)
async def test_same_results_as_without(mode: str, tmp_path: Path) -> None:
    """Through ``hauberk run`` the whole tour gives what it gives without, on the wire of 2026-07-28 too."""
    command = [PROGRAM.command, *PROGRAM.args]
    run = GuardedRun(tmp_path, server="s", deny=["nothing"])
    async with client(unguarded(command), mode, told := Told()) as bare:
        expected = await within(tour(bare, told, "child"), 20)
    async with client(run.params(command), mode, told := Told()) as c:
        assert c.protocol_version == (MODERN if mode != "legacy" else "2025-11-25")
        assert await within(tour(c, told, "child"), 20) == expected
    run.verify()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("mode", MODES)
async def test_a_denied_tool(mode: str, tmp_path: Path) -> None:
    """A denied tool is gone from every page of the list, and refused when it is called all the same."""
    run = GuardedRun(tmp_path, server="s", deny=["echo", "st*"])
    async with client(run.params([sys.executable, *PROGRAM.args]), mode) as c:
        names, cursor = [], None
        while True:
            page = await within(c.list_tools(cursor=cursor), 20)
            names += [tool.name for tool in page.tools]
            if (cursor := page.next_cursor) is None:
                break
        assert {"echo", "steps"}.isdisjoint(names)
        assert {"contents", "wait"} <= set(names)
        for name in ("echo", "steps"):
            with pytest.raises(MCPError) as caught:
                await within(c.call_tool(name))
            assert caught.value.error.data["code"] == "sieve.denied"
    run.verify()

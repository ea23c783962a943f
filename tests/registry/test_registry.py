"""Servers from their registries, unchanged, through ``hauberk run``: the same results as without the guard.

Needs the npm and PyPI registries. What is installed from PyPI stays in pytest's cache folder.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from mcp import Client, MCPError
from tests.sdk.guarded_run import GuardedRun, unguarded
from tests.sdk.kit import exact, plain, within

pytestmark = [pytest.mark.registry, pytest.mark.timeout(300)]
MODES: Final = ("auto", "legacy")
_SECONDS: Final = 60.0
_DENIED: Final = ("write_file", "edit_file", "move_file")


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """Return a folder with something in it, whose times do not change when it is read."""
    folder = (tmp_path / "notes").resolve()
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "a.txt").write_text("first\nsecond\u2028still the second\nthird é \U0001f600\n")
    (folder / "deep" / "b.json").write_text(json.dumps({"n": 2**53 + 1}))
    (folder / "deep" / "er" / "pixel.png").write_bytes(bytes.fromhex("89504e470d0a1a0a"))
    read, written = time.time() - 60, time.time() - 3600
    for path in [*folder.rglob("*"), folder]:
        os.utime(path, (read, written))
    return folder


def _calls(notes: Path) -> dict[str, list[dict[str, Any]]]:
    """Return calls of each tool of the server: some that work, some that fail."""
    a, deep, none = str(notes / "a.txt"), str(notes / "deep"), str(notes / "none")
    return {
        "read_file": [{"path": a}, {"path": none}, {"path": "/etc/passwd"}],
        "read_text_file": [{"path": a}, {"path": a, "head": 2}, {"path": a, "tail": 1}],
        "read_media_file": [{"path": str(notes / "deep" / "er" / "pixel.png")}],
        "read_multiple_files": [{"paths": [a, none, str(notes / "deep" / "b.json")]}],
        "create_directory": [{"path": deep}],
        "list_directory": [{"path": str(notes)}, {"path": none}],
        "list_directory_with_sizes": [{"path": str(notes), "sortBy": "size"}],
        "directory_tree": [{"path": str(notes)}],
        "search_files": [{"path": str(notes), "pattern": "**/*.json"}, {"path": str(notes), "pattern": "*", "x": 1}],
        "get_file_info": [{"path": a}, {"path": deep}],
        "list_allowed_directories": [{}],
    }


async def _answer(client: Client, tool: str, arguments: dict[str, Any]) -> Any:
    """Return the result of a call, or its error, as JSON values."""
    try:
        return plain(await within(client.call_tool(tool, arguments), _SECONDS))
    except MCPError as error:
        return {"error": plain(error.error)}


async def _is_unfit(client: Client, tool: str, arguments: dict[str, Any]) -> bool:
    """Whether a call is refused for arguments that the tool's schema does not allow."""
    answer = await _answer(client, tool, arguments)
    found: bool = answer["error"]["data"]["code"] == "sieve.arguments"
    return found


async def _hello(client: Client) -> list[Any]:
    info, capabilities = client.server_info, client.server_capabilities
    return [client.protocol_version, client.instructions, info and plain(info), plain(capabilities)]


@asynccontextmanager
async def _both(command: list[str], run: GuardedRun, mode: str) -> AsyncIterator[tuple[Client, Client]]:
    """Give a client to the server alone, and one to the same server behind the guard."""
    async with (
        Client(unguarded(command), mode=mode, read_timeout_seconds=_SECONDS) as bare,
        Client(run.params(command), mode=mode, read_timeout_seconds=_SECONDS) as guarded,
    ):
        yield bare, guarded


@pytest.mark.parametrize("mode", MODES)
async def test_server_filesystem(mode: str, npx: str, notes: Path, tmp_path: Path) -> None:
    """``@modelcontextprotocol/server-filesystem``: each allowed tool gives the same, each denied one is refused."""
    run = GuardedRun(tmp_path, server="files", deny=_DENIED)
    command = [npx, "-y", "@modelcontextprotocol/server-filesystem", str(notes)]
    async with _both(command, run, mode) as (bare, guarded):
        assert exact(await _hello(guarded)) == exact(await _hello(bare))
        listed = plain(await bare.list_tools())
        assert {tool["name"] for tool in listed["tools"]} >= set(_DENIED)
        listed["tools"] = [tool for tool in listed["tools"] if tool["name"] not in _DENIED]
        assert exact(plain(await guarded.list_tools())) == exact(listed)
        calls = _calls(notes)
        for name in (tool["name"] for tool in listed["tools"]):
            for arguments in calls.get(name, [{}]):
                expected = await _answer(bare, name, arguments)
                assert exact(await _answer(guarded, name, arguments)) == exact(expected), name
        assert await _is_unfit(guarded, "read_text_file", {"path": 7})
        for name in _DENIED:
            with pytest.raises(MCPError) as caught:
                await within(guarded.call_tool(name, {"path": str(notes / "new"), "content": "x"}), _SECONDS)
            assert caught.value.error.data["code"] == "sieve.denied"
    assert not (notes / "new").exists()
    run.verify()
    assert run.codes.count("sieve.denied") == len(_DENIED)


_TIMES: Final[dict[str, list[dict[str, Any]]]] = {
    "get_current_time": [{"timezone": "Asia/Kathmandu"}, {"timezone": "Nowhere"}],
    "convert_time": [
        {"source_timezone": "UTC", "time": "10:30", "target_timezone": "Asia/Tokyo"},
        {"source_timezone": "UTC", "time": "25:00", "target_timezone": "Asia/Tokyo"},
    ],
}


@pytest.mark.parametrize("mode", MODES)
async def test_server_time(mode: str, server_time: str, tmp_path: Path) -> None:
    """``mcp-server-time``: each allowed tool gives the same as without the guard."""
    run = GuardedRun(tmp_path, server="time", deny=[])
    async with _both([server_time], run, mode) as (bare, guarded):
        assert exact(await _hello(guarded)) == exact(await _hello(bare))
        listed = plain(await bare.list_tools())
        assert exact(plain(await guarded.list_tools())) == exact(listed)
        assert {tool["name"] for tool in listed["tools"]} == set(_TIMES)
        for name, calls in _TIMES.items():
            for arguments in calls:
                assert await _same_second(bare, guarded, name, arguments), (name, arguments)
        assert await _is_unfit(guarded, "get_current_time", {})
    run.verify()


async def _same_second(bare: Client, guarded: Client, name: str, arguments: dict[str, Any]) -> bool:
    """Whether the guarded server says what the bare one says just before and just after."""
    for _ in range(20):
        before, got, after = [exact(await _answer(c, name, arguments)) for c in (bare, guarded, bare)]
        if before == after:
            return got == before
    raise AssertionError("each call took more than a second")


@pytest.mark.parametrize("mode", MODES)
async def test_server_time_denied(mode: str, server_time: str, tmp_path: Path) -> None:
    """``mcp-server-time``: a denied tool is gone from the list and refused when it is called."""
    run = GuardedRun(tmp_path, server="time", deny=["get_*"])
    async with Client(run.params([server_time]), mode=mode, read_timeout_seconds=_SECONDS) as guarded:
        assert [tool.name for tool in (await guarded.list_tools()).tools] == ["convert_time"]
        with pytest.raises(MCPError) as caught:
            await guarded.call_tool("get_current_time", {"timezone": "UTC"})
        assert caught.value.error.data["code"] == "sieve.denied"
        result = await guarded.call_tool("convert_time", _TIMES["convert_time"][0])
        assert not result.is_error
    run.verify()
    assert run.codes.count("sieve.denied") == 1

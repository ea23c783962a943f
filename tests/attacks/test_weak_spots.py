"""What tools of this kind were found to get wrong, each on the whole: sieve and pins together, before one server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.attacks.guarding import accept

from hauberk.testing import HostileServer, Rig, guard_from

OPEN = '[sieve]\ndefault = "allow"\n'
PINNED = OPEN + "[pins]\n"


@asynccontextmanager
async def opened(folder: Path, server: HostileServer, toml: str = PINNED) -> AsyncIterator[Rig]:
    """Give a guard whose state, and ``hauberk.lock``, stay for the next one."""
    (folder / "hauberk.toml").write_text(f'core.state_dir = "{folder}/state"\n{toml}')
    text = toml.replace("[pins]\n", f'[pins]\nlock = "{folder}/hauberk.lock"\n')
    async with guard_from(text, server=server, folder=folder) as rig:
        yield rig


async def shown(rig: Rig) -> list[str]:
    """Let the client list; return the names that it gets."""
    reply = await rig.request("tools/list")
    assert reply is not None
    return [tool["name"] for tool in reply["result"]["tools"]]


async def trusted(folder: Path) -> None:
    """Show the tools ``read`` and ``write`` once, and trust them."""
    async with opened(folder, HostileServer()) as rig:
        assert await shown(rig) == []
    accept(folder)


async def test_rename_does_not_reach_the_server(tmp_path: Path) -> None:
    """A name that nobody pinned is not forwarded for the server to handle: a rename does not defeat the pin (A38)."""
    await trusted(tmp_path)
    server = HostileServer()
    server.rename("write", "write_all")
    async with opened(tmp_path, server) as rig:
        await rig.call("write_all")
        rig.assert_refused("pins.unpinned")
        assert await shown(rig) == ["read"]
        await rig.call("write_all")
        rig.assert_refused("pins.unpinned")
    assert server.called() == []


async def test_change_is_no_news_that_wears_off(tmp_path: Path) -> None:
    """What was seen changed is so at each look, after a restart too, and nothing of it is stored as trusted (A38)."""
    await trusted(tmp_path)
    for _ in range(2):
        server = HostileServer()
        server.tools["write"].description = "Writes elsewhere."
        async with opened(tmp_path, server) as rig:
            for _ in range(2):
                assert await shown(rig) == ["read"]
                await rig.call("write")
                rig.assert_refused("pins.changed")
        assert server.called() == []


async def test_denial_is_no_missing_tool(tmp_path: Path) -> None:
    """A call that a policy denies is told as that, with the rule, and is in the log; the server's own word is not."""
    server = HostileServer()
    async with opened(tmp_path, server, '[sieve]\ndefault = "allow"\ndeny = ["*/write"]\n') as rig:
        denied, missing = await rig.call("write"), await rig.call("nothing")
        assert denied is not None
        assert missing is not None
        assert denied["error"]["data"]["code"] == "sieve.denied"
        assert denied["error"]["data"]["rule"] == "*/write"
        assert "not found" not in str(denied)
        assert "data" not in missing["error"]
        (event,) = rig.recorder.of("sieve.denied")
        assert (event.tool, event.rule) == ("write", "*/write")


async def test_allow_list_does_not_ignore_the_deny_list(tmp_path: Path) -> None:
    """A tool on both lists is denied: hidden and refused."""
    server = HostileServer()
    async with opened(tmp_path, server, '[sieve]\nallow = ["*/write", "*/read"]\ndeny = ["*/write"]\n') as rig:
        assert await shown(rig) == ["read"]
        await rig.call("write")
        rig.assert_refused("sieve.denied")
    assert server.called() == []

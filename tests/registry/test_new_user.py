"""A new user on a machine with nothing on it, from the installation to production, by the pages alone.

Commands, configurations, and what is said of them, are those of the pages. Only the place is another: where a page says
``/home/you`` it is the home of this test, and hosts are looked for among the children of this process.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from mcp import Client, MCPError, StdioServerParameters
from tests.prose import DOCS, ROOT, blocks, like, section, steps
from tests.sdk.kit import within

pytestmark = [pytest.mark.registry, pytest.mark.timeout(600)]
TUTORIAL, GUARD = DOCS / "tutorial.md", DOCS / "guard-a-server.md"
PRODUCTION, RELOAD = DOCS / "from-development-to-production.md", DOCS / "reload.md"
LISTENING: Final = "2026-07-28"
"""The protocol's revision from which on a client is told of other tools only where it listens for it."""
HOME: Final = "/home/you"
LOGS: Final = ".local/state/hauberk/audit"
CONFIGURATION: Final = ".config/hauberk/hauberk.toml"
SECRET: Final = "of-no-use-to-you"
PATIENCE: Final = 180.0
"""Seconds for one command or answer; whoever waits longer has found a hang. The first start of a server installs it."""
OFFERED: Final = {"read_text_file", "read_media_file", "list_directory", "write_file"}
"""Some of the tools of the server of files."""
TIMES: Final = {"get_current_time", "convert_time"}
STRANGE: Final = "VIRTUAL_ENV|PYTHON|XDG_|HAUBERK"
"""Variables that a fresh machine has not."""
REACHING: Final = (".npmrc", ".config/pip/pip.conf", ".pip/pip.conf")
"""Files that say how this machine gets at its registries; a user has them before anything else."""


class User:
    """A home with notes in it and nothing else, and a shell."""

    def __init__(self, home: Path, programs: dict[str, str], kept: Path) -> None:
        self.home = home
        own = home / "bin"
        for folder in (own, home / "notes", kept / "npm"):
            folder.mkdir(exist_ok=True)
        for name, program in programs.items():
            (own / name).write_text(f"#!/bin/sh\nexec '{program}' \"$@\"\n", encoding="utf-8")
            (own / name).chmod(0o700)
        (home / ".npm").symlink_to(kept / "npm")
        for name in REACHING:
            if (found := Path.home() / name).exists():
                (home / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(found, home / name)
        (home / "notes" / "milk.txt").write_text("buy milk", encoding="utf-8")
        node = Path(programs["npx"]).parent
        self.env = {name: value for name, value in os.environ.items() if not re.match(STRANGE, name)} | {
            "HOME": str(home),
            "PATH": os.pathsep.join((f"{home}/hauberk-tutorial/bin", str(own), str(node), os.defpath)),
            "PIP_CACHE_DIR": str(kept / "pip"),
            "XDG_CONFIG_HOME": f"{home}/.config",
            "XDG_STATE_HOME": f"{home}/.local/state",
        }

    def do(self, line: str, *, status: int = 0, where: Path | None = None) -> str:
        """Run a line of a shell, which must end so; return all that it says."""
        done = subprocess.run(
            ["/bin/sh", "-ec", line],
            cwd=where or self.home,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        said = done.stdout.replace(str(self.home), HOME)
        assert done.returncode == status, (line, done.returncode, said)
        return said

    def write(self, name: str, text: str) -> None:
        """Save a file of a page, which nobody else can change."""
        file = self.home / name.removeprefix("~/")
        file.write_text(text.replace(HOME, str(self.home)), encoding="utf-8")
        file.chmod(0o600)

    def follow(self, page: Path, heading: str) -> list[str]:
        """Do what a page says under a heading, and see what it shows; return what each command said."""
        said = []
        for step in steps(page, heading):
            if step.file:
                self.write(step.file, step.text)
                continue
            said.append(self.do(step.text))
            assert like(step.shown, said[-1]), (step.text, said[-1])
        assert said, heading
        return said

    def read(self, name: str) -> str:
        return (self.home / name).read_text(encoding="utf-8")

    async def logged(self, count: int = 1, /, **fields: Any) -> dict[str, Any]:
        """Wait until the logs have so many events with such fields and details; return both of the last."""
        async with asyncio.timeout(PATIENCE):
            while True:
                found = [event for event in map(flat, self.entries()) if fields.items() <= event.items()]
                if len(found) >= count:
                    return found[-1]
                await asyncio.sleep(0)

    def entries(self) -> Iterator[dict[str, Any]]:
        """Yield what the logs hold by now: a line that is being written is left out."""
        for log in (self.home / LOGS).glob("*.jsonl"):
            whole, _, _ = log.read_text(encoding="utf-8").rpartition("\n")
            yield from map(json.loads, whole.splitlines())


def flat(event: dict[str, Any]) -> dict[str, Any]:
    """Return an event with its details among its fields; where both have a name, the event's own stays."""
    return {**event.get("details", {}), **event}


class Desk:
    """A client with all its servers, as the user sees it."""

    def __init__(self, user: User) -> None:
        self.user = user
        self.servers: dict[str, Client] = {}
        self.offered: set[str] = set()
        self._told: dict[str, asyncio.Event] = {}

    async def start(self, stack: AsyncExitStack, name: str, entry: dict[str, Any]) -> None:
        """Start a server as its entry says, with the environment of the user and that of the entry."""
        told = self._told[name] = asyncio.Event()

        async def handle(message: Any) -> None:
            if getattr(message, "method", None) == "notifications/tools/list_changed":
                told.set()

        env = self.user.env | entry.get("env", {})
        params = StdioServerParameters(command=entry["command"], args=entry["args"], env=env, cwd=self.user.home)
        client = Client(params, message_handler=handle, read_timeout_seconds=PATIENCE)
        self.servers[name] = await within(stack.enter_async_context(client), PATIENCE)

    def allowed(self, *more: str) -> set[str]:
        """Return which of the tools that the server of files offers the page's rules allow, and these."""
        rules = {name for name in self.offered if name.startswith(("read_", "list_"))}
        return rules - {"read_media_file"} | set(more)

    async def tools(self, server: str) -> set[str]:
        return {tool.name for tool in (await self.servers[server].list_tools()).tools}

    async def call(self, server: str, tool: str, **arguments: Any) -> str:
        result = await self.servers[server].call_tool(tool, arguments)
        assert not result.is_error, result
        return str(getattr(result.content[0], "text", ""))

    async def refused(self, server: str, tool: str, **arguments: Any) -> dict[str, Any]:
        """Return what the client is told of a call that is refused."""
        with pytest.raises(MCPError) as caught:
            await self.servers[server].call_tool(tool, arguments)
        data: dict[str, Any] = caught.value.error.data
        assert caught.value.error.message == f"{data['code']}: tool {tool!r} of server {server!r} is not allowed"
        return data

    def hang_up(self) -> None:
        """Let all hosts read the configuration again, with the command of the pages."""
        line = inline(GUARD, "pkill")
        assert line == inline(RELOAD, "pkill")
        self.user.do(line.replace("pkill", f"pkill -P {os.getpid()}", 1))

    async def reload(self) -> None:
        """Let all hosts read the configuration again, and wait until it is in force and the client is told of it."""
        for told in self._told.values():
            told.clear()
        self.hang_up()
        version = "sha256:" + hashlib.sha256((self.user.home / CONFIGURATION).read_bytes()).hexdigest()
        await self.user.logged(len(self.servers), code="policy.changed", new_version=version)
        for name, told in self._told.items():
            if self.servers[name].protocol_version < LISTENING:
                await within(told.wait(), PATIENCE)


def inline(page: Path, beginning: str) -> str:
    """Return the one command that a page gives within a sentence."""
    found = set(re.findall(rf"`({beginning} [^`]+)`", page.read_text(encoding="utf-8")))
    assert len(found) == 1, (page.name, found)
    return " ".join(found.pop().split())


@asynccontextmanager
async def desk(user: User) -> AsyncIterator[Desk]:
    """Give the client with the servers of its file, connected."""
    one = Desk(user)
    async with AsyncExitStack() as stack:
        for name, entry in json.loads(user.read("mcp.json"))["mcpServers"].items():
            await one.start(stack, name, entry)
        yield one


@pytest.fixture
def user(tmp_path: Path, npx: str, server_time: str, kept: Path) -> User:
    pkill = shutil.which("pkill")
    if pkill is None:
        pytest.skip("pkill is not installed: hosts cannot be found as the pages say")
    home = tmp_path.resolve() / "home"
    home.mkdir(mode=0o700)
    return User(home, {"python3": sys.executable, "npx": npx, "mcp-server-time": server_time, "pkill": pkill}, kept)


async def test_new_user(user: User) -> None:
    """By the pages alone: install, wrap, see what is on, be refused, learn why, allow, reload, prove; production."""
    install(user)
    user.follow(GUARD, "Let the client start hauberk")
    user.follow(GUARD, "See what is on")
    wrapped = user.read("mcp.json")
    async with desk(user) as client:
        await sees_everything(client)
        await tries_rules(client)
        await is_refused(client)
        await allows(client)
        await makes_a_mistake(client)
    proves_the_log(user)
    goes_back(user, wrapped)
    prepares_production(user)
    async with desk(user) as other:
        other.offered = client.offered
        await works_in_production(other)
    leaves_production(user)


def install(user: User) -> None:
    """Install what the tutorial says, in a clone; what is used from then on is that and nothing else."""
    (lines,) = blocks(TUTORIAL, "sh")
    user.do(lines, where=ROOT)
    assert user.do("command -v hauberk") == f"{HOME}/hauberk-tutorial/bin/hauberk\n"


async def sees_everything(client: Desk) -> None:
    """See that a first configuration hides and refuses nothing."""
    client.offered = await client.tools("files")
    assert client.offered > OFFERED
    assert await client.tools("time") == TIMES
    assert "milk.txt" in await client.call("files", "list_directory", path=f"{client.user.home}/notes")
    assert '"timezone": "UTC"' in await client.call("time", "get_current_time", timezone="UTC")


async def tries_rules(client: Desk) -> None:
    """Try rules: everything works, and the log says what they would refuse."""
    user, heading = client.user, "Try rules without refusing"
    (step,) = steps(GUARD, heading)
    user.write(step.file, step.text)
    await client.reload()
    await client.call("files", "write_file", path=f"{user.home}/notes/tried.txt", content="x")
    assert "`core.would_refuse`" in section(GUARD, heading)
    event = await user.logged(code="core.would_refuse", tool="write_file")
    assert event["details"]["code"] == "sieve.denied"
    assert "NOT STOPPED     sieve.refuses_denied_call" in user.do("hauberk doctor", status=1)


async def is_refused(client: Desk) -> None:
    """Have a call refused, of a tool that is hidden, before the server learns of it; read the reason."""
    user = client.user
    user.follow(GUARD, "Allow what you use")
    await client.reload()
    assert await client.tools("files") == client.allowed()
    assert await client.tools("time") == TIMES
    assert (await client.refused("files", "read_media_file", path="x"))["rule"] == "files/read_media_file"
    told = await client.refused("files", "write_file", path=f"{user.home}/notes/new.txt", content="x")
    assert not (user.home / "notes" / "new.txt").exists()
    assert told["plugin"] == "sieve"
    page = " ".join(section(GUARD, "When something is refused").split())
    for said in (told["code"], told["rule"], told["hint"]):
        assert f"`{said}`" in page
    (code_page,) = set(re.findall(rf"\[`{told['code']}`\]\(([^)]+)\)", page))
    assert (DOCS / code_page).read_text(encoding="utf-8").partition("\n")[2].startswith(f"# `{told['code']}`\n")
    event = await user.logged(code="sieve.denied", tool="write_file")
    assert (event["rule"], event["server"]) == (told["rule"], "files")


async def allows(client: Desk) -> None:
    """Do what the hint says, reload: the client stays, is told, sees the tool, and may call it."""
    user = client.user
    found, checked, explained = user.follow(GUARD, "When something is refused")
    assert '"tool":"write_file"' in found
    assert checked.startswith(f"ok: {HOME}/{CONFIGURATION}, profile development")
    assert "passes: files/write_file" in explained
    await client.reload()
    assert await client.tools("files") == client.allowed("write_file")
    await client.call("files", "write_file", path=f"{user.home}/notes/new.txt", content="bread")
    assert user.read("notes/new.txt") == "bread"
    await user.logged(code="policy.changed", diff=["+ sieve.allow: files/write_file"])


async def makes_a_mistake(client: Desk) -> None:
    """Reload a file that is wrong: what was in force stays so, and the reason is in the log."""
    user = client.user
    sound = user.read(CONFIGURATION)
    user.write(CONFIGURATION, sound.replace("allow =", "alow ="))
    assert "[sieve] alow: unknown key" in user.do("hauberk config check", status=2)
    client.hang_up()
    event = await user.logged(code="policy.rejected")
    assert "[sieve] alow: unknown key" in event["reason"]
    assert await client.tools("files") == client.allowed("write_file")
    user.write(CONFIGURATION, sound)


def proves_the_log(user: User) -> None:
    """Prove the logs of two hosts and of the doctor beside them; change one byte, and it is named."""
    (said,) = user.follow(GUARD, "Prove what was recorded")
    assert re.match(r"whole: \d+ entries in 3 logs", said)
    log = user.home / LOGS / "audit.jsonl"
    written = log.read_bytes()
    assert SECRET.encode() not in written
    named = b'"tool":"write_file"'
    at = written.index(named) + named.index(b"w")
    log.write_bytes(written[:at] + b"W" + written[at + 1 :])
    number = written.count(b"\n", 0, at) + 1
    said = user.do("hauberk audit verify", status=1)
    assert said.startswith(f"{HOME}/{LOGS}/audit.jsonl:{number}: "), said
    assert f"entry {number}" in said
    assert "\nbroken: 1 break; " in said
    log.write_bytes(written)
    assert user.do("hauberk audit verify").startswith("whole: ")


def goes_back(user: User, wrapped: str) -> None:
    """Take hauberk out again: each byte of the client's file is as before, and no copy of a secret was elsewhere."""
    (own,) = blocks(GUARD, "json")
    before = own.replace(HOME, str(user.home))
    assert SECRET in wrapped
    assert wrapped != before
    user.follow(GUARD, "The way back")
    assert user.read("mcp.json") == before
    assert user.read("mcp.json.hauberk-1.bak") == before
    assert SECRET not in user.read(CONFIGURATION)


def prepares_production(user: User) -> None:
    """Go from development to production as the page says, until the doctor says that all is live."""
    for heading in ("1. Say what runs", "3. Make what production does not make"):
        user.follow(PRODUCTION, heading)
    *_, verified, checked, live = user.follow(PRODUCTION, "4. Switch the profile")
    assert verified == f"ok: {HOME}/hauberk-plugins.lock\n"
    assert checked.startswith(f"ok: {HOME}/hauberk.toml, profile production")
    assert re.search(r"\nlive: (\d+) of \1 controls; ", live)
    wrap = inline(PRODUCTION, "hauberk wrap").replace("FILE", "mcp.json")
    assert user.do(wrap).startswith("files  wrapped\ntime   wrapped\n")
    assert f'"--config", "{user.home}/hauberk.toml"' in user.read("mcp.json")
    assert "nothing to do" in user.do(wrap)


async def works_in_production(client: Desk) -> None:
    """See that in production what is allowed works, and nothing else is there."""
    user = client.user
    assert await client.tools("files") == client.allowed("read_media_file")
    assert await client.call("files", "read_text_file", path=f"{user.home}/notes/milk.txt") == "buy milk"
    told = await client.refused("files", "write_file", path=f"{user.home}/notes/late.txt", content="x")
    assert told["rule"] == "default = deny"
    assert await client.tools("time") == set()
    assert (await client.refused("time", "get_current_time", timezone="UTC"))["code"] == "sieve.denied"
    assert not (user.home / "notes" / "late.txt").exists()


def leaves_production(user: User) -> None:
    """Prove the log of production, and see that without the lock nothing starts; then take hauberk out."""
    assert user.do(inline(PRODUCTION, "hauberk audit verify")).startswith("whole: ")
    (user.home / "hauberk-plugins.lock").unlink()
    (entry, *_) = json.loads(user.read("mcp.json"))["mcpServers"].values()
    said = user.do(" ".join([entry["command"], *entry["args"]]), status=125)
    assert said.startswith(f"hauberk: there is no lock '{HOME}/hauberk-plugins.lock'\nhint: hauberk plugins lock ")
    (own,) = blocks(GUARD, "json")
    user.do(inline(PRODUCTION, "hauberk unwrap").replace("FILE", "mcp.json"))
    assert user.read("mcp.json") == own.replace(HOME, str(user.home))

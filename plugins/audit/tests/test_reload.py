"""The log over a reload: one file, one chain, and nothing that happened is missing from it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from plugins.audit.tests.conftest import Load
from plugins.audit.tests.test_plugin import codes, plugin_of

from hauberk import keys
from hauberk.config import Config
from hauberk.event import Event
from hauberk.guard import Guard
from hauberk.policy import Policy
from hauberk.refusals import ConfigError
from hauberk_audit.verifying._verify import verify


def config(state: Path, text: str = "") -> Config:
    return Config.from_toml(f'[core]\nstate_dir = "{state}"\n{text}', base=state)


def files(state: Path) -> list[str]:
    return sorted(path.name for path in (state / "audit").iterdir())


async def retired() -> None:
    """Wait until the old policies have been let go of."""
    if tasks := [task for task in asyncio.all_tasks() if task.get_name() == "hauberk-retire"]:
        await asyncio.wait(tasks)


@pytest.mark.parametrize(
    "texts", [("", ""), ("required = true", ""), ("", 'durability = "group"'), ('durability = "event"', "")]
)
async def test_one_chain_over_reloads(load: Load, state: Path, texts: tuple[str, str]) -> None:
    """However its options change, a log that stays where it is goes on in its file, and each event is in it once."""
    before, after = (f"[audit]\n{text}\n" for text in texts)
    async with load(f"---{before}") as guard:
        first = plugin_of(guard)
        for number in range(10):
            guard.emit(Event(code=f"a.n{number}"))
            await guard.reload(config(state, f"{(after, before)[number % 2]}# {number}\n"))
        assert plugin_of(guard) is not first
        await retired()
        guard.emit(Event(code="a.last"))
    found = codes(state / "audit" / "audit.jsonl")
    assert files(state) == ["audit.jsonl", "audit.jsonl.chain"]
    assert verify([state / "audit"], keys.load_key(state / "audit.key")).status == 0
    assert sorted(code for code in found if code.startswith("a.")) == ["a.last", *(f"a.n{n}" for n in range(10))]
    assert found.count("policy.changed") == 10
    assert found.count("policy.loaded") == 11
    assert found[-1] == "core.stopped"


async def test_strictest_wish_holds_while_two_share_the_log(load: Load, state: Path) -> None:
    """While an old and a new policy write to one log it is synced if either wants that, afterwards if the new one."""
    async with load("---[audit]\ndurability = 'group'\n") as guard:
        writer = plugin_of(guard)._writer
        assert writer is not None
        guard.policy.users.enter()
        old = guard.policy
        await guard.reload(config(state, "[audit]\n"))
        assert plugin_of(guard)._writer is writer
        assert writer.log.sync
        old.users.leave()
        await retired()
        assert not writer.log.sync


async def test_reload_that_fails_leaves_the_log_as_it_was(load: Load, state: Path) -> None:
    """A new policy that took the log over and is rejected lets go of it; the old one writes on (S3.21)."""
    guard = load("---[audit]\n")
    async with guard:
        writer = plugin_of(guard)._writer
        assert writer is not None
        guard.made = _failing(guard)
        with pytest.raises(ConfigError):
            await guard.reload(config(state, "[audit]\ndurability = 'group'\n"))
        assert (writer._users, writer.log.sync) == (["interval"], False)
        guard.emit(Event(code="a.after"))
    found = codes(state / "audit" / "audit.jsonl")
    assert found[-3:] == ["policy.rejected", "a.after", "core.stopped"]


def _failing(guard: Guard) -> Callable[[Config], Policy]:
    """Return what makes policies whose log fails once it has taken over the one that runs."""
    made = guard.made

    def make(found: Config) -> Policy:
        policy = made(found)
        plugin, adopt = policy.loaded["audit"].plugin, policy.loaded["audit"].plugin.adopt

        def take_over(old: object) -> None:
            adopt(old)
            raise ConfigError("no")

        plugin.adopt = take_over
        return policy

    return make


async def test_new_path_is_a_new_log(load: Load, state: Path) -> None:
    """A log that is moved ends with the change of the policy, and the new one begins with the policy that moved it."""
    async with load("---[audit]\n") as guard:
        await guard.reload(config(state, f'[audit]\npath = "{state}/other/mine.jsonl"\n'))
    assert codes(state / "audit" / "audit.jsonl")[-1] == "policy.changed"
    assert codes(state / "other" / "mine.jsonl") == ["audit.chain_started", "policy.loaded", "core.stopped"]


async def test_log_that_goes_says_so(load: Load, state: Path) -> None:
    """A policy that switches the log off is the last thing in it."""
    async with load("---[audit]\n") as guard:
        await guard.reload(config(state, "[audit]\nmode = 'off'\n"))
        guard.emit(Event(code="a.unseen"))
    assert codes(state / "audit" / "audit.jsonl")[-1] == "policy.changed"

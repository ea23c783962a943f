"""The pages and the README: what they show is read, and does what they say."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import msgspec
import pytest
from plugins.replay.tests.conftest import said
from tests.redis_server import RedisServer, begun

from hauberk import shared
from hauberk.config import Config
from hauberk.refusals import ConfigError, Refused
from hauberk_replay import Replay, SharedNonces, Window
from hauberk_replay._counters import SESSIONS, WIDTH
from hauberk_replay._options import check_memory
from hauberk_replay._refusals import _REFUSALS

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "replay.md").read_text(encoding="utf-8")
STORE = (ROOT / "docs" / "shared-store.md").read_text(encoding="utf-8")
README = (ROOT / "plugins" / "replay" / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("text", [PAGE, STORE, README], ids=["page", "store", "readme"])
def test_tables_are_read(text: str) -> None:
    """Each table of the pages is one that the plugin reads, in production too."""
    found = re.findall(r"(?s)```toml\n(.*?)```", text)
    assert found
    for toml in found:
        table = tomllib.loads(toml)["replay"]
        config = Config.from_toml(f'profile = "production"\n[replay]\nmemory = "{table["memory"]}"\n')
        check_memory(msgspec.convert(table, Replay.Options), config)


def test_addresses_are_read() -> None:
    """Each kind of address that the page has is one, and what it says of production holds."""
    kinds = re.findall(r"(?m)^\| `(\w+)://", STORE)
    assert kinds == ["redis", "rediss", "unix"]
    for kind in (*kinds, "valkey", "valkeys"):
        address = f"{kind}://{'' if kind == 'unix' else 'store.example'}/1"
        shared.check_uri(address, production=kind not in ("redis", "valkey"))
    with pytest.raises(ConfigError):
        shared.check_uri("redis://store.example", production=True)


def test_the_program_of_the_page_runs() -> None:
    """The example without a host accepts its message once."""
    (code,) = re.findall(r"(?s)```python\n(.*?)```", PAGE)
    scope: dict[str, object] = {}
    exec(code, scope)  # noqa: S102 - what the page shows
    last = code.strip().splitlines()[-1]
    exec(last.replace("twelve bytes", "other nonces"), scope)  # noqa: S102
    with pytest.raises(Refused, match="came before"):
        exec(last, scope)  # noqa: S102


def test_each_code_is_on_the_page() -> None:
    """The page names each refusal and each event of the plugin, and the bounds as the code has them."""
    for code in (*_REFUSALS, "replay.store_lost", "replay.store_found"):
        assert f"`{code}`" in PAGE + STORE, code
    assert f"{WIDTH:,} behind" in PAGE
    assert f"{SESSIONS:,} sessions" in PAGE


async def test_the_user_of_the_page_may_do_what_is_needed() -> None:
    """The rules of access that the page gives to the store's user are enough, and no more keys than ours are open."""
    (rules,) = re.findall(r"`(\+@connection.*?)`", STORE)
    with RedisServer() as server:
        answer = server.ask("ACL", "SETUSER", "hauberk", "on", ">canary", "~hauberk:*", *rules.split())
        assert answer == b"+OK\r\n"
        begun(server)
        nonces = SharedNonces(f"unix://hauberk:canary@{server.path}", Window(), 100, timeout=5)
        await nonces.open()
        assert [await said(nonces, b"n") for _ in range(2)] == ["taken", "replay.detected"]
        with pytest.raises(shared.StoreRefused) as caught:
            await nonces._store.command("SET", "other", "x")
        assert caught.value.code == "NOPERM"
        await nonces.close()

"""Published servers over each carrier: offered by ``hauberk serve``, reached in process and by ``hauberk connect``.

A guard stands at both ends, and the session is the same as with the server alone.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Literal

import pytest
from mcp import Client, StdioServerParameters
from tests.core import secured
from tests.registry.servers import EVERYTHING, TIME, Place, Published
from tests.registry.session import Record, session
from tests.sdk.guarded_run import environment
from tests.serving import Serving, serving

from hauberk import plugins
from hauberk.guard import Guard

pytestmark = [pytest.mark.registry, pytest.mark.timeout(300)]
Carrier = Literal["unix", "tls"]
End = Literal["in process", "connect"]
_PATIENCE: Final = 90.0
_TLS: Final = '[tls]\nca = "ca.pem"\ncertificate = "{who}.pem"\nkey = "{who}.key"\n'


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a private folder with a short name: a socket's path has at most 107 bytes."""
    path = Path(tempfile.mkdtemp(prefix="hauberk-", dir="/tmp"))
    yield path
    shutil.rmtree(path)


def _configured(folder: Path, who: str, text: str) -> Path:
    """Write a configuration with the plugin tls and nothing else, and what it names."""
    certificate, key = getattr(secured, who.upper()).split("-----BEGIN PRIVATE", 1)
    for name, content in (
        ("ca.pem", secured.CA),
        (f"{who}.pem", certificate),
        (f"{who}.key", "-----BEGIN PRIVATE" + key),
    ):
        path = folder / name
        path.touch(0o600)
        path.write_text(content, encoding="utf-8")
    others = json.dumps(sorted(set(plugins.installed()) - {"tls"}))
    path = folder / f"{who}.toml"
    path.write_text(f"{text}\n{_TLS.format(who=who)}\n[plugins]\ndisable = {others}\n", encoding="utf-8")
    return path


@asynccontextmanager
async def _reached(folder: Path, served: Serving, carrier: Carrier, end: End) -> AsyncIterator[Any]:
    """Give what a client connects to."""
    (address,) = re.findall(rf"({carrier}://\S+)", served.stderr())
    address = address.rstrip(",.").replace("127.0.0.1", "localhost")
    config = _configured(folder, "client", "")
    if end == "connect":
        words = ["-m", "hauberk", "connect", "--config", str(config), "--server", "published", address]
        yield StdioServerParameters(command=sys.executable, args=words, env=environment())
        return
    async with Guard.load(config) as guard:
        yield guard.wrap(address, server="published")


async def _held(where: Any, mode: str, published: Published, place: Place) -> Record:
    async with Client(where, mode=mode, read_timeout_seconds=_PATIENCE) as client:
        return await session(client, published, place)


@pytest.mark.parametrize("mode", ["legacy", "auto"])
@pytest.mark.parametrize("published", [EVERYTHING, TIME], ids=lambda one: one.name)
async def test_the_same_over_each_carrier(
    published: Published, installed: Callable[[Published], str], tmp_path: Path, folder: Path, mode: str
) -> None:
    """Over a Unix socket and over TLS with certificates on both sides a session is what it is without a guard."""
    place = Place(tmp_path, "")
    command = [installed(published), *published.args(place)]
    alone = StdioServerParameters(command=command[0], args=command[1:])
    bare = await _held(alone, mode, published, place)
    config = _configured(folder, "server", "")
    listen = [f"unix://{folder / 'run' / 'x.sock'}", "tls://127.0.0.1:0"]
    options = ["--config", str(config), "--server", "published"]
    with serving(folder, command, options=options, listen=listen, env=environment()) as served:
        for carrier in ("unix", "tls"):
            for end in ("in process", "connect"):
                async with _reached(folder, served, carrier, end) as where:
                    record = await _held(where, mode, published, place)
                differing = {key: (bare.get(key), record.get(key)) for key in {**bare, **record}}
                assert {key: two for key, two in differing.items() if two[0] != two[1]} == {}, (carrier, end)
        assert served.stop() == 0

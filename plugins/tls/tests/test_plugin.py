"""When the plugin runs, and what it leaves alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from plugins.tls.tests.conftest import CALLER, Opener, Yard
from plugins.tls.tests.shaking import Party

from hauberk.config import Config
from hauberk.connection import Carrier
from hauberk.guard import Guard
from hauberk.refusals import ConfigError, Refused


def standing(toml: str, folder: Path) -> tuple[bool, str]:
    config = Config.from_toml(f'core.state_dir = "{folder}/state"\n{toml}', base=folder)
    [one] = [one for one in Guard.load(config).roster if one.name == "tls"]
    return one.active, one.why


def test_idle_without_a_table(tmp_path: Path) -> None:
    """S0.1, S0.5: where nothing asks for TLS, the plugin does nothing at all."""
    active, why = standing("", tmp_path)
    assert not active
    assert why == "features.mcp_tls_enabled is false, and there is no table [tls]"


@pytest.mark.parametrize(
    "toml", ["[features]\nmcp_tls_enabled = true\n", "[tls]\n", '[server.files.tls]\nserver_name = "files.example"\n']
)
def test_switched_on(toml: str, tmp_path: Path) -> None:
    """S0.1, S0.2: the feature flag, or a table, switches it on."""
    assert standing(toml, tmp_path) == (True, "")


@pytest.mark.parametrize("carrier", ["pipe", "memory", "unix", "http"])
async def test_what_is_left_alone(carrier: Carrier, opened: Opener) -> None:
    """S0.5, S0.8: a child, a server in the process, a Unix socket and, without the flag, HTTP stay as they are."""
    caller = await opened(CALLER)
    connection = await caller.admit("client", carrier=carrier, target="x")
    assert connection.tls is None
    assert connection.verify == []


def test_http_in_production(tmp_path: Path) -> None:
    """S0.3, S0.8: in production nothing is reached in clear, flag or no flag."""
    from hauberk.connection import Connection
    from hauberk.policy import GuardView
    from hauberk_tls import Tls

    for profile, refuses in (("development", False), ("production", True)):
        config = Config.from_toml(f'profile = "{profile}"\n[tls]\n', base=tmp_path)
        plugin = Tls(Tls.Options(), GuardView(Guard(Config.default()), config))
        connection = Connection(id="1", host="h", server="files", role="client", carrier="http", target="http://x/")
        if refuses:
            with pytest.raises(Refused, match="without TLS"):
                plugin.on_connect(connection)
        else:
            plugin.on_connect(connection)


async def test_http_with_the_flag(opened: Opener) -> None:
    """S0.8: with features.mcp_tls_enabled nothing is reached in clear."""
    caller = await opened(f"features.mcp_tls_enabled = true\n{CALLER}")
    with pytest.raises(Refused) as refused:
        await caller.admit("client", carrier="http", target="http://files.example/mcp")
    assert refused.value.code == "tls.plaintext"


async def test_a_peer_without_tls(yard: Yard, opened: Opener) -> None:
    """S0.4, S0.5: a carrier that comes without TLS is refused; in development a fallback can be allowed."""
    from hauberk.connection import Peer

    for line, passes in (("", False), ("allow_insecure_fallback = true\n", True)):
        caller = await opened(CALLER + line)
        connection = await caller.admit("client")
        assert connection.tls is not None
        assert connection.tls.insecure_fallback is passes
        if passes:
            connection.proved(Peer("tls", ""))
            assert connection.principal.id == "anonymous"
            continue
        for peer in (Peer("tls", ""), None):
            with pytest.raises(Refused) as refused:
                connection.proved(peer)
            assert refused.value.code == "tls.not_tls"


async def test_servers_never_fall_back(yard: Yard, opened: Opener) -> None:
    """S0.4: who is called has no fallback, whatever is allowed."""
    called = await opened(
        '[tls]\nca = "ca.pem"\ncertificate = "server.pem"\nkey = "server.key"\nallow_insecure_fallback = true\n'
    )
    connection = await called.admit("server")
    assert connection.tls is not None
    assert not connection.tls.insecure_fallback


def test_loading_it_loads_no_cryptography() -> None:
    """S0.42: a host that has the plugin installed and asks for no TLS imports neither ssl nor cryptography."""
    code = "import sys, hauberk_tls; print([n for n in ('ssl', '_ssl', 'cryptography') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout == "[]\n"


async def test_words_of_a_peer_are_bounded(yard: Yard, opened: Opener) -> None:
    """X.14: what a certificate says reaches an error short, printable and on one line."""
    from plugins.tls.tests.maker import CLIENT

    called: Party = await opened(CALLER.replace("host.", "server."))
    name = "x\n\x1b[31m" + "y" * 50
    told = await called.meet(yard.plain("client", yard.ca.issue("a.example", common=name, purposes=[CLIENT])), "server")
    assert told.code == "tls.cn_mismatch"
    assert told.message.isprintable()
    assert "\x1b" not in told.message


async def test_names_for_servers(yard: Yard, opened: Opener) -> None:
    """S0.12: the name that is asked for is the one of the table, else the host of the address."""
    caller = await opened(f'{CALLER}[server.second.tls]\nserver_name = "Second.Example."\n')
    one, two = await caller.admit("client"), await caller.admit("client", server="second")
    assert one.tls is not None
    assert two.tls is not None
    assert (one.tls.server_name, two.tls.server_name) == ("files.example", "second.example")
    assert one.tls.handshake_seconds == 10.0


def test_a_name_that_cannot_be(tmp_path: Path) -> None:
    """S0.12: a server_name that no certificate can have is an error when it is loaded."""
    from hauberk_tls import Tls

    config = Config.from_toml('[tls]\nserver_name = "a b"\n', base=tmp_path)
    with pytest.raises(ConfigError, match="no DNS name"):
        config.options("tls", Tls.Options)

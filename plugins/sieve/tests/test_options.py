"""The table ``[sieve]``."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from hauberk.config import Config
from hauberk.guard import Guard
from hauberk.refusals import ConfigError
from hauberk_sieve import Sieve
from hauberk_sieve._options import Options
from hauberk_sieve.access._rule import Entry


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ('[sieve]\nallow = ["files/a", "files/[ab]"]', "allow[1]"),
        ('[sieve]\ndeny = [""]', "deny[0]"),
        ('[sieve]\ndeny = ["execute_shell"]', "deny[0]"),
        ('[sieve]\ndeny = ["files/read\\u200d"]', "deny[0]"),
        ('[sieve]\ndeny = [{ server = "a/b", tool = "" }]', "deny[0]"),
        ('[sieve]\ndeny = [{ server = "a/b", tool = "x{y}" }]', "deny[0]"),
        ('[server.files.sieve]\ndeny = ["files/read?"]', "deny[0]"),
    ],
)
def test_malformed_pattern_stops_the_start(load: Callable[[str], Guard], table: str, key: str) -> None:
    """A malformed pattern, in the table of a server too, is a load error that names its place (S3.36)."""
    with pytest.raises(ConfigError) as error:
        load(table)
    assert key in error.value.message


def test_malformed_pattern_of_this_host_stops_its_start(only_sieve: None) -> None:
    """The tables of the host that starts are checked as the others are."""
    config = Config.from_toml('[host.desk.sieve]\nallow = ["/read"]', host="desk")
    with pytest.raises(ConfigError, match=r"allow\[0\]"):
        Guard.load(config)


@pytest.mark.parametrize(
    "table",
    [
        '[sieve]\ndefault = "ask"',
        '[sieve]\nallow = "files/*"',
        "[sieve]\nallow = [1]",
        '[sieve]\nallow = [{ server = "a" }]',
        '[sieve]\nallow = [{ server = "a", tool = "b", hash = "c" }]',
        '[sieve]\nalow = ["files/*"]',
    ],
)
def test_impossible_option_stops_the_start(load: Callable[[str], Guard], table: str) -> None:
    """A key or a value that the table cannot have is a load error."""
    with pytest.raises(ConfigError, match="sieve"):
        load(table)


def test_table_without_default_denies() -> None:
    """Who writes a table and no default gets ``deny``."""
    assert Config.from_toml('[sieve]\nallow = ["files/*"]').options("sieve", Options).otherwise == "deny"


def test_without_a_table_everything_is_allowed(load: Callable[[str], Guard]) -> None:
    """Without any table the sieve runs, and allows."""
    guard = load("")
    sieve = guard.loaded["sieve"].plugin
    assert isinstance(sieve, Sieve)
    assert sieve.meshes["access"].rules["files"].decide("files", "tool", "x").allowed


def test_more_specific_table_narrows_only() -> None:
    """A server's table adds to deny and makes the default stricter; it takes nothing back."""
    text = """
        [sieve]
        default = "deny"
        deny = ["*/rm"]
        allow = ["files/*"]
        [server.files.sieve]
        default = "allow"
        deny = ["files/write"]
        allow = ["files/read"]
    """
    options = Config.from_toml(text).options("sieve", Options, "files")
    assert options == Options(default="deny", deny=("*/rm", "files/write"), allow=("files/read",))


def test_table_pattern_is_typed() -> None:
    """A pattern may be a table, for a server with a ``/`` in its name."""
    text = '[sieve]\nallow = [{ server = "org/server", tool = "read_*" }]'
    options = Config.from_toml(text).options("sieve", Options)
    assert options.allow == (Entry(server="org/server", tool="read_*"),)
    assert options.rules().decide("org/server", "tool", "read_a").allowed
    assert not options.rules().decide("org", "tool", "server/read_a").allowed

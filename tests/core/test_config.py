"""One TOML file in, typed options out: errors that help, merging that never widens, secrets that are not shown."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
import platformdirs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hauberk import files
from hauberk.config import MASK, SECRET, Config, Narrow, Options, ServerOptions
from hauberk.refusals import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


# A machine that is busy with other things is no failure.
CALM = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
ENV = "is a string, or true to pass on what the environment of hauberk holds"


class Window(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    count: Annotated[int, Narrow.MIN] = 100
    label: str = ""
    name: str


class Sieve(Options, frozen=True):
    default: Annotated[Literal["deny", "allow"], Narrow.strictest("deny", "allow")] = "allow"
    allow: tuple[str, ...] = ()
    deny: Annotated[tuple[str, ...], Narrow.UNION] = ()
    calls: Annotated[int, msgspec.Meta(ge=1), Narrow.MIN] | None = None
    delay: Annotated[float, msgspec.Meta(ge=0), Narrow.MAX] = 0.0
    strict: Annotated[bool, Narrow.OR] = False
    open: Annotated[bool, Narrow.AND] = True
    ages: Annotated[dt.timedelta, Narrow.MIN] | None = None
    limits: Annotated[dict[str, int], Narrow.MIN] = msgspec.field(default_factory=dict)
    groups: Annotated[dict[str, list[str]], Narrow.UNION] = msgspec.field(default_factory=dict)
    may: Annotated[dict[str, list[str]], Narrow.COMMON] = msgspec.field(default_factory=dict)
    let_in: Annotated[tuple[str, ...], Narrow.COMMON] = ()
    windows: dict[str, Window] = msgspec.field(default_factory=dict)
    plain: dict[str, int] = msgspec.field(default_factory=dict)
    extra: Annotated[dict[str, Any], Narrow.UNION] = msgspec.field(default_factory=dict)
    either: str | list[str] = ""
    names: frozenset[str] = frozenset()
    rate: Annotated[str, Narrow.by(lambda a, b: min(a, b, key=int))] = "100"


class Audit(Options, frozen=True):
    path: Path = Path("audit.jsonl")
    token: Annotated[str, SECRET] = ""
    pins: Annotated[list[str], SECRET] = msgspec.field(default_factory=list)
    key_file: Path | None = None
    api_key: str = ""
    store: str = ""
    stores: dict[str, str] = msgspec.field(default_factory=dict)


class Vault(Options, frozen=True):
    root: Path
    size: int = 1

    def __post_init__(self) -> None:
        if self.size == 13:
            raise ValueError("a size of 13 holds nothing")


KNOWN: Mapping[str, type[Options]] = {"sieve": Sieve, "audit": Audit, "vault": Vault}


def read(text: str, **arguments: Any) -> Config:
    config = Config.from_toml(text, **{"name": "h.toml", "base": Path("/etc/hauberk"), **arguments})
    config.check(KNOWN)
    return config


def sieve(text: str, server: str | None = None, **arguments: Any) -> Sieve:
    return read(text, **arguments).options("sieve", Sieve, server)


def as_toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {as_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(as_toml, value)) + "]"
    if isinstance(value, float):
        return str(value) if "." in str(value) or not math.isfinite(value) else f"{value:.1f}"
    return json.dumps(value).replace("\x7f", "\\u007f")


def outcome(use: Callable[[], object]) -> object:
    try:
        return use()
    except ConfigError as error:
        return error


def refusal(text: str, **arguments: Any) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        read(text, **arguments)
    return caught.value


# What is refused, and how it is said


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("[sieve]\nallow = 3", "[sieve] allow: expected array of strings, got 3", None),
        ("[sieve]\nallow = ['a', 3]", "[sieve] allow[1]: expected string, got 3", None),
        ("[sieve]\nallow = 'a'", "[sieve] allow: expected array of strings, got 'a'", None),
        ("[sieve]\ncalls = 0", "[sieve] calls: expected integer >= 1, got 0", None),
        ("[sieve]\ncalls = true", "[sieve] calls: expected integer >= 1, got true", None),
        ("[sieve]\ncalls = 1.5", "[sieve] calls: expected integer >= 1, got 1.5", None),
        ("[sieve]\ndelay = '1'", "[sieve] delay: expected number >= 0, got '1'", None),
        ("[sieve]\nstrict = 'yes'", "[sieve] strict: expected boolean, got 'yes'", None),
        ("[sieve]\nstrict = [1]", "[sieve] strict: expected boolean, got an array", None),
        ("[sieve]\nmode = 'on'", "[sieve] mode: expected 'enforce', 'audit' or 'off', got 'on'", None),
        ("[sieve]\neither = ['a', 1]", "[sieve] either[1]: expected 'str', got 'int'", None),
        ("[sieve]\neither = 1", "[sieve] either: expected string or array of strings, got 1", None),
        ("[server.s]\nenv = {A = false}", f"[server.s]: env.A {ENV}", None),
        ("[sieve]\nages = 'soon'", "[sieve] ages: expected timedelta, got 'soon'", None),
        ("[sieve]\nplain = 2020-01-01", "[sieve] plain: expected table, got a date or time", None),
        ("[sieve.plain]\n'a b' = 'x'", "[sieve] plain.\"a b\": expected integer, got 'x'", None),
        (
            "[server.s.sieve.windows.w]\ncount = 'x'",
            "[server.s.sieve] windows.w.count: expected integer, got 'x'",
            None,
        ),
        ("[sieve.windows.w]\ncount = 3", "[sieve] windows.w.name: required, and missing", None),
        (
            "[host.default.server.s.sieve]\nopen = 1",
            "[host.default.server.s.sieve] open: expected boolean, got 1",
            None,
        ),
        ("[host.other.sieve]\nopen = 1", "[host.other.sieve] open: expected boolean, got 1", None),
        ("[vault]\nsize = 1", "[vault] root: required, and missing", None),
        ("[vault]\nroot = 'x'\nsize = 13", "[vault]: a size of 13 holds nothing", None),
        ("[audit]\npath = 3", "[audit] path: expected path, got 3", None),
        ("[audit]\npath = ''", "[audit] path: expected path, got ''", None),
        ("[audit]\npath = '~nobody-here/x'", "path '~nobody-here/x': there is no such user, or it has no home", None),
        (
            "profile = 'productoin'",
            "profile: expected 'development' or 'production', got 'productoin'",
            "did you mean 'production'?",
        ),
        ("profile = 3", "profile: expected 'development' or 'production', got 3", None),
        ("core = 3", "core: expected a table, got an integer", None),
        ("[server]\nfiles = 'x'", "server.files: expected a table, got a string", None),
        ("[core]\nrefuse_as = 'x'", "[core] refuse_as: expected 'error' or 'result', got 'x'", None),
        ("[core.bounds]\nline_bytes = 3", "[core] bounds.line_bytes: expected integer >= 1024, got 3", None),
        ("[[core.methods]]\nname = 'x'", "[core] methods[0].sender: required, and missing", None),
        ("[plugins]\nrequire = ['a']\ndisable = ['a']", "[plugins]: 'a' is both required and disabled", None),
        ("[plugins]\nrequire = ['a', 'a']", "[plugins]: a name is required twice", None),
        ("[server.s]\ncommand = 3", "[server.s] command: expected string, got 3", None),
        ("[server.s]\ncommand = ''", "[server.s]: command and url must not be empty", None),
        (
            "[server.s]\nurl = 'u'\nargs = ['x']",
            "[server.s]: args, env and cwd are for a command, not for a url or a socket",
            None,
        ),
        (
            "[server.s]\ncommand = 'c'\nheaders = {A = 'x'}",
            "[server.s]: headers are for a url, not for a command",
            None,
        ),
        ('[server.s]\nargs = ["a\\u0000"]', "[server.s]: a NUL cannot be passed to a program", None),
        ("[server.s.env]\n'A=B' = 'x'", "[server.s]: env has a name that no environment can hold: 'A=B'", None),
        (
            "[sieve]\noverride = true",
            "[sieve] override: there is no more general table that this one could widen",
            None,
        ),
        ("[server.s.sieve]\noverride = 1", "[server.s.sieve] override: expected true or false, got 1", None),
    ],
)
def test_wrong_value(text: str, message: str, hint: str | None) -> None:
    """A wrong value is an error that names file, key and value and what was expected."""
    error = refusal(text)
    assert (error.message, error.hint) == (f"h.toml: {message}", hint)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("command = 'c'\nurl = 'u'", "give one"),
        ("command = 'c'\nsocket = '/x.sock'", "give one"),
        ("socket = '/x.sock'\nargs = ['x']", "are for a command"),
        ("command = 'c'\ntransport = 'tcp'", "is for a server that is dialled"),
        ("url = 'tls://h:1'\ntransport = 'stdio'", "is for a command"),
        ("url = 'tls://h:1'\ntransport = 'unix'", "needs a socket"),
        ("url = 'tls://h:1'\ntransport = 'unix-with-tcp-fallback'", "needs a socket"),
        ("url = 'http://h'\ntransport = 'https'", "begins with https://"),
        ("url = 'https://h'\ntransport = 'tcp'", "begins with tls://"),
        ("socket = '/x.sock'\ntransport = 'unix-with-tcp-fallback'", "begins with tls://"),
        ("socket = '/x.sock'\nurl = 'https://h'", "begins with tls://"),
        ("url = 'tls://h:1'\n[server.s.listen]", "served by its own side"),
        ("command = 'c'\nlisten = {connections = 0}", "connections"),
        ("command = 'c'\nlisten = {uids = [-1]}", "uids"),
    ],
)
def test_server_is_reached_in_one_way(table: str, words: str) -> None:
    """S4.2, S4.7: what contradicts itself, or could never be, in how a server is reached is an error."""
    assert words in refusal(f"[server.s]\n{table}").message


@pytest.mark.parametrize(
    ("text", "place", "hint"),
    [
        ("[sieve]\nalow = []", "[sieve] alow: unknown key, expected one of: ages, allow, ", "did you mean 'allow'?"),
        ("[server.s.sieve]\ndenny = []", "[server.s.sieve] denny: unknown key", "did you mean 'deny'?"),
        ("[sieve.windows.w]\ncuont = 1", "[sieve] windows.w.cuont: unknown key", "did you mean 'count'?"),
        ("[sieve]\nzzz = 1", "[sieve] zzz: unknown key", None),
        ("[core]\nrefuse = 1", "[core] refuse: unknown key", "did you mean 'refuse_as'?"),
        ("[core.bounds]\ndedline = 1", "[core] bounds.dedline: unknown key", "did you mean 'deadline'?"),
        ("[features]\nmcp_tls = true", "[features] mcp_tls: unknown key", "did you mean 'mcp_tls_enabled'?"),
        ("profil = 'production'", "profil: unknown key", "did you mean 'profile'?"),
        ("[server.s]\ncomand = 'x'", "[server.s] comand: unknown key", "did you mean 'command'?"),
        ("[server.s.core]\nrefuse_as = 'error'", "[server.s] core: unknown key", None),
        ("[host.h]\ncommand = 'x'", "[host.h] command: unknown key", None),
        ("[host.h.server.s]\ncommand = 'x'", "[host.h.server.s] command: unknown key", None),
        ("['no word']\na = 1", '"no word": unknown key', None),
    ],
)
def test_unknown_key(text: str, place: str, hint: str | None) -> None:
    """A key that nothing reads is an error, with what was expected and the nearest known key (X.2)."""
    error = refusal(text)
    assert error.message.startswith(f"h.toml: {place}")
    assert error.hint == hint


@pytest.mark.parametrize("header", ["{}", "server.s.{}", "host.h.{}", "host.h.server.s.{}"])
@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("ratelimit", "pip install hauberk-ratelimit, or remove the table"),
        ("seive", "did you mean 'sieve'?"),
        ("wholly_other", "install the package that brings it, or remove the table"),
    ],
)
def test_plugin_not_installed(header: str, word: str, hint: str) -> None:
    """A table of a plugin that is not installed is an error; only packages of this project are named (X.2)."""
    place = header.format(word)
    error = refusal(f"[{place}]\na = 1")
    assert error.message == f"h.toml: [{place}]: plugin {word!r} is not installed (installed: audit, sieve, vault)"
    assert error.hint == hint


def test_check_of_a_plugin_that_was_not_imported() -> None:
    """The tables of an installed plugin that is turned off are left alone."""
    config = Config.from_toml("[sieve]\nanything = 1")
    config.check({"sieve": None})
    assert "sieve" not in config.show({"sieve": None})


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("[security]\nzero_trust_mode = true", "profile = 'production'"),
        ("[security]\ntls_enabled = true", "mcp_tls_enabled"),
        ("[security.signing]\nalgorithm = 'Ed25519'", "[envelope]"),
        ("[security.replay_protection]\nenabled = true", "[replay]"),
        ("[security.rate_limiting]\nenabled = true", "[ratelimit]"),
        ("[security.something]\nenabled = true", "[features]"),
        ("[mcp_servers.x]\ncommand = 'x'", "[server.NAME]"),
        ("[mcpServers.x]\ncommand = 'x'", "hauberk run --"),
        ("[agent_security]\nsigning_enabled = true", "agent_security_enabled"),
        ("[agent_security.rate_limiting]\nmax_messages_per_sec = 5.0", "agent_rate_limit_enabled"),
        ("[mcp]\nallow = []", "[sieve]"),
        ("[sandbox.rate_limits]\nenabled = true", "[ratelimit]"),
        ("required_plugins = ['sieve']", "[plugins] require"),
        ("[profiles.production]\na = 1", "profile = 'production'"),
        ("[audit]\nenabled = true", "mode = 'off'"),
        ("[audit]\nlog_dir = '/x'", "[audit] path"),
        ("[audit.alerts]\nenabled = true", "on_audit"),
        ("[server.s]\ntls_cert = 'x'", "[tls]"),
        ("[server.s]\nrequire_client_cert = true", "[tls]"),
        ("[server.s.environment]\nA = 'b'", "env = {"),
    ],
)
def test_other_spellings(text: str, hint: str) -> None:
    """The spellings of the designs that hauberk comes from are refused with what to write here (S0.6, X.2)."""
    assert hint in str(refusal(text).hint)


@pytest.mark.parametrize(
    ("data", "message", "hint"),
    [
        ("a = 1\na = 2\n", "line 2, column 6: cannot overwrite a value", "a key or table is set once"),
        ("[sieve]\n[sieve]\n", "line 2, column 7: cannot declare ('sieve',) twice", "a key or table is set once"),
        ("[sieve\n", "line 1, column 7: expected ']' at the end of a table declaration", None),
        ("\ufeff[sieve]\n", "line 1, column 1: invalid statement", "save the file without a byte order mark"),
    ],
)
def test_not_toml(data: str, message: str, hint: str | None) -> None:
    """What is not TOML, duplicate keys included, is an error with line and column (X.2)."""
    error = refusal(data)
    assert (error.message, error.hint) == (f"h.toml: {message}", hint)


@pytest.mark.parametrize(
    "text", ["a = " + "[" * 20_000, "a." * 3000 + "a = 1", "a = " + "[" * 40 + "]" * 40, "a = " + "9" * 5000]
)
def test_hostile_text(text: str) -> None:
    """Text that is made to break a parser is an error like any other."""
    assert refusal(text).message.startswith("h.toml: ")


values: st.SearchStrategy[Any] = st.recursive(
    st.integers(-(2**70), 2**70) | st.text(max_size=5) | st.booleans() | st.floats(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "name", "count", "é"]), inner, max_size=2)
    ),
    max_leaves=6,
)
paths = st.sampled_from(
    ["profile", "core", "plugins", "features", "server", "host", "server.s", "host.h", "server.s.env", "core.bounds"]
    + [f"{level}.{name}" for level in ("sieve", "server.s.sieve", "host.h.sieve") for name in Sieve.__struct_fields__]
)


@CALM
@given(entries=st.dictionaries(paths, values, max_size=4))
def test_any_value(entries: dict[str, Any]) -> None:
    """Whatever stands where, the answer is options or a ConfigError, and never another exception."""
    text = "".join(f"{path} = {as_toml(value)}\n" for path, value in entries.items())
    assert isinstance(outcome(lambda: sieve(text, "s")), (Sieve, ConfigError))


@CALM
@given(data=st.binary(max_size=40) | st.text(alphabet="[]=.\"'{}\n a1#\\", max_size=40).map(str.encode))
def test_any_bytes(data: bytes) -> None:
    """Whatever bytes the file holds, the answer is a configuration or a ConfigError."""

    def use() -> Config:
        config = Config(data, name="h.toml", host="default", base=None)
        config.check(KNOWN)
        return config

    assert isinstance(outcome(use), (Config, ConfigError))


@pytest.mark.parametrize("number", ["nan", "inf", "-inf", "+nan"])
@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("[core.bounds]\ndeadline = {}", "[core.bounds] deadline"),
        ("[sieve]\ndelay = {}", "[sieve] delay"),
        ("[core]\nrequest_timeout = {}", "[core] request_timeout"),
        ("x = [1.0, {}]", '[x] "1"'),
    ],
)
def test_infinite(number: str, text: str, place: str) -> None:
    """A bound is a finite number: one that is not bounds nothing."""
    error = refusal(text.format(number))
    assert error.message.startswith(f"h.toml: {place}: expected a finite number, got")


@pytest.mark.parametrize("name", ["", "a/b", "*", "a?", "[a]", " a", "a ", "a\\nb", "x" * 129])
def test_names(name: str) -> None:
    """A name that a pattern cannot tell is no name of a server or a host."""
    for table in ("server", "host", "host.h.server"):
        assert "cannot name a" in refusal(f'[{table}."{name}"]').message
    assert read('[server."My server (1)"]').servers == ("My server (1)",)


# Merging

LEVELS = ("sieve", "server.s.sieve", "host.default.sieve", "host.default.server.s.sieve")


def test_most_specific_first() -> None:
    """Each level stands over the more general ones, and only for its server and its host."""
    text = "".join(f"[{level}]\nallow = ['{level}']\n" for level in LEVELS)
    for count in range(1, 5):
        part = "".join(f"[{level}]\nallow = ['{level}']\n" for level in LEVELS[:count])
        assert sieve(part, "s").allow == (LEVELS[count - 1],)
    assert sieve(text).allow == ("host.default.sieve",)
    assert sieve(text, "other").allow == ("host.default.sieve",)
    other = text + "[host.other.vault]\nroot = '/'\n"
    assert sieve(other, "s", host="other").allow == ("server.s.sieve",)


def test_tables_merge_by_key() -> None:
    """A table adds its keys to the more general one, at any depth, and a required key may stand in any level."""
    options = sieve(
        "[sieve.windows.w]\nname = 'n'\nlabel = 'general'\n[sieve.plain]\na = 1\nb = 2\n"
        "[server.s.sieve.windows.w]\nlabel = 'specific'\n[server.s.sieve.windows.v]\nname = 'v'\n"
        "[server.s.sieve.plain]\nb = 3\n",
        "s",
    )
    assert options.windows == {"w": Window(name="n", label="specific"), "v": Window(name="v")}
    assert options.plain == {"a": 1, "b": 3}


@pytest.mark.parametrize("swap", [False, True])
def test_narrow(swap: bool) -> None:
    """Options marked narrow are united, or the stricter stands, whichever table holds it."""
    loose = (
        "deny = ['a']\ncalls = 9\ndelay = 1\nstrict = false\nopen = true\ndefault = 'allow'\nmode = 'audit'\n"
        "ages = 'PT48H'\nrate = '9'"
    )
    tight = (
        "deny = ['b']\ncalls = 2\ndelay = 5\nstrict = true\nopen = false\ndefault = 'deny'\nmode = 'enforce'\n"
        "ages = 'P1D'\nrate = '7'"
    )
    tables = (
        "limits = {a = 9, b = 2}\ngroups = {g = ['a']}\nwindows.w = {name = 'n', count = 9}",
        "limits = {a = 3, c = 1}\ngroups = {g = ['b'], h = ['c']}\nwindows.w = {name = 'n', count = 4}",
    )
    who = (
        "may = {a = ['x', 'y'], b = ['x']}\nlet_in = ['a', 'b']",
        "may = {a = ['y', 'z'], c = ['x']}\nlet_in = ['b', 'c']",
    )
    parts = (f"{loose}\n{who[0]}\n{tables[0]}", f"{tight}\n{who[1]}\n{tables[1]}")
    general, specific = reversed(parts) if swap else parts
    options = sieve(f"[sieve]\n{general}\n[server.s.sieve]\n{specific}\n", "s")
    assert set(options.deny) == {"a", "b"}
    assert (options.calls, options.delay, options.rate) == (2, 5, "7")
    assert (options.strict, options.open, options.default, options.mode) == (True, False, "deny", "enforce")
    assert options.ages == dt.timedelta(days=1)
    assert options.limits == {"a": 3, "b": 2, "c": 1}
    assert {name: set(members) for name, members in options.groups.items()} == {"g": {"a", "b"}, "h": {"c"}}
    assert options.windows["w"].count == 4
    assert (options.may, options.let_in) == ({"a": ["y"]}, ("b",))


def test_default_is_no_level() -> None:
    """A table may set a narrow option above its default: nobody else set it."""
    assert sieve("[server.s.sieve]\nmode = 'audit'\nopen = true\ndelay = 0\n", "s").mode == "audit"


table = st.fixed_dictionaries(
    {},
    optional={
        "deny": st.lists(st.sampled_from("abcdef"), max_size=4),
        "calls": st.integers(1, 50),
        "delay": st.integers(0, 50),
        "strict": st.booleans(),
        "open": st.booleans(),
        "mode": st.sampled_from(["enforce", "audit", "off"]),
        "limits": st.dictionaries(st.sampled_from("xyz"), st.integers(0, 9)),
        "let_in": st.lists(st.sampled_from("abc"), unique=True),
        "may": st.dictionaries(st.sampled_from("xyz"), st.lists(st.sampled_from("abc"), unique=True)),
    },
)


def written(level: str, values: Mapping[str, Any]) -> str:
    return f"[{level}]\n" + "".join(f"{key} = {as_toml(item)}\n" for key, item in values.items())


@CALM
@given(tables=st.fixed_dictionaries(dict.fromkeys(LEVELS, table)))
def test_narrow_never_widens(tables: dict[str, dict[str, Any]]) -> None:
    """Whatever stands in which level, the merged options are at least as strict as each of the tables."""
    options = sieve("".join(written(level, values) for level, values in tables.items()), "s")
    order = ("enforce", "audit", "off")
    for values in tables.values():
        assert set(values.get("deny", ())) <= set(options.deny)
        assert (options.calls or 0) <= values.get("calls", 50)
        assert options.delay >= values.get("delay", 0)
        assert options.strict >= values.get("strict", False)
        assert options.open <= values.get("open", True)
        assert order.index(options.mode) <= order.index(values.get("mode", "off"))
        assert all(options.limits[name] <= limit for name, limit in values.get("limits", {}).items())
        assert set(options.let_in) <= set(values.get("let_in", "abc"))
        who = values.get("may", dict.fromkeys("xyz", "abc"))
        assert all(set(options.may[name]) <= set(who.get(name, ())) for name in options.may)
    assert set(options.deny) == {item for values in tables.values() for item in values.get("deny", ())}


@CALM
@given(first=table, second=table)
def test_order_does_not_matter(first: dict[str, Any], second: dict[str, Any]) -> None:
    """Two tables of narrow options give the same, whichever is the more specific."""
    one = sieve(written("sieve", first) + written("server.s.sieve", second), "s")
    two = sieve(written("sieve", second) + written("server.s.sieve", first), "s")
    for name in ("calls", "delay", "strict", "open", "mode", "limits"):
        assert getattr(one, name) == getattr(two, name)
    assert set(one.deny) == set(two.deny)
    assert set(one.let_in) == set(two.let_in)
    assert {name: set(two.may[name]) for name in two.may} == {name: set(one.may[name]) for name in one.may}


def test_override() -> None:
    """In development a table may widen, by saying so; what is still more specific narrows again."""
    text = (
        "[sieve]\ndeny = ['a']\ncalls = 2\nlimits = {x = 1}\nlet_in = ['a']\nmay = {a = ['x']}\n"
        "[server.s.sieve]\noverride = true\ndeny = ['b']\ncalls = 9\nlimits = {x = 5}\n"
        "let_in = ['b']\nmay = {b = ['x']}\n"
    )
    assert (sieve(text, "s").let_in, sieve(text, "s").may) == (("b",), {"a": ["x"], "b": ["x"]})
    assert sieve(text, "s").deny == ("b",)
    assert (sieve(text, "s").calls, sieve(text, "s").limits, sieve(text).calls) == (9, {"x": 5}, 2)
    narrowed = text + "[host.default.server.s.sieve]\ndeny = ['c']\ncalls = 12\n"
    assert sieve(narrowed, "s").deny == ("b", "c")
    assert sieve(narrowed, "s").calls == 9


@pytest.mark.parametrize("place", ["server.s.sieve", "host.default.sieve", "host.other.server.s.sieve"])
def test_override_in_production(place: str) -> None:
    """In production no table widens another, not even one of another host (X.5)."""
    error = refusal(f"profile = 'production'\n[sieve]\ncalls = 1\n[{place}]\noverride = true\ncalls = 9\n")
    assert error.message == f"h.toml: [{place}] override: no table widens another in production"
    assert sieve("profile = 'production'\n[server.s.sieve]\noverride = false\ncalls = 9\n", "s").calls == 9


@pytest.mark.parametrize(
    ("general", "specific"), [("rate = '5'", "rate = 'many'"), ("extra = {a = 1}", "extra = {a = 2}")]
)
def test_incomparable(general: str, specific: str) -> None:
    """Where nobody can tell what is stricter, that is an error and not a guess."""
    error = refusal(f"[sieve]\n{general}\n[server.s.sieve]\n{specific}\n")
    assert error.message.startswith("h.toml: [server.s.sieve]: cannot be compared with a more general table")
    assert sieve("[sieve]\nextra = {a = 1}\n[server.s.sieve]\nextra = {a = 1, b = 2}", "s").extra == {"a": 1, "b": 2}


def test_cache() -> None:
    """Options are merged once, and names that an outsider makes up do not fill the cache (X.6)."""
    config = read("[sieve]\ncalls = 1\n[server.s.sieve]\ncalls = 2\n")
    first = config.options("sieve", Sieve)
    assert config.options("sieve", Sieve, "s") is config.options("sieve", Sieve, "s")
    assert all(config.options("sieve", Sieve, f"made-up-{n}") is first for n in range(100))
    assert len(config._cache) == 2


def test_cache_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache has a bound (X.6)."""
    monkeypatch.setattr("hauberk.config._CACHED", 2)
    config = Config.from_toml("")
    for word in "abcde":
        assert config.options(word, Sieve) == Sieve()
        assert len(config._cache) <= 2


def test_has_table() -> None:
    """A table for one server or for this host is a table; one of another host is not."""
    text = "[server.s.sieve]\n[host.h.audit]\n"
    assert read(text).has_table("sieve")
    assert not read(text).has_table("audit")
    assert read(text, host="h").has_table("audit")
    assert not read(text).has_table("vault")


# The file


@pytest.fixture
def place(tmp_path: Path) -> Path:
    tmp_path.chmod(0o700)
    path = tmp_path / "hauberk.toml"
    path.write_bytes(b"[sieve]\ndeny = ['x']\n[audit]\npath = 'log/audit.jsonl'\n")
    path.chmod(0o600)
    return path


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(platformdirs, "user_config_path", lambda *_, **__: tmp_path / "config")
    monkeypatch.setattr(platformdirs, "user_state_path", lambda *_, **__: tmp_path / "state")
    return tmp_path


def test_version_is_of_the_bytes(place: Path) -> None:
    """The version is the SHA-256 of exactly the bytes that were read, from one read."""
    config = Config.read(place)
    assert config.version == f"sha256:{hashlib.sha256(place.read_bytes()).hexdigest()}"
    place.write_bytes(b"")
    assert config.options("sieve", Sieve).deny == ("x",)


def test_read_once(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is opened once."""
    opened: list[Any] = []
    real = os.open

    def note(path: Any, *args: Any, **kwargs: Any) -> int:
        opened.append(path)
        return real(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", note)
    Config.read(place)
    assert opened == [place.parent, place.name]


def test_relative_paths(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative paths start at the file's directory, never at the working directory."""
    monkeypatch.chdir("/")
    config = Config.read(place)
    assert config.options("audit", Audit).path == place.parent / "log/audit.jsonl"
    assert config.resolve(Path("policy.py")) == place.parent / "policy.py"
    assert config.resolve(Path("/a/b")) == Path("/a/b")
    assert config.resolve(Path("~/b")) == Path("~/b").expanduser()
    monkeypatch.chdir(place.parent)
    assert Config.read(Path("hauberk.toml")).base == place.parent
    with pytest.raises(ConfigError, match="relative"):
        Config.from_toml("").resolve(Path("x"))


def test_server_paths() -> None:
    """A server's directory, and a command that is a relative path, start at the file's directory too."""
    server = read("[server.s]\ncommand = './run'\ncwd = 'work'\n[server.t]\ncommand = 'npx'\n").server
    assert server("s") == ServerOptions(command="/etc/hauberk/run", cwd=Path("/etc/hauberk/work"))
    assert server("t") == ServerOptions(command="npx")
    assert server("u") is None


def test_never_the_working_directory(user: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file in the working directory is not read: a cloned repository brings no policy."""
    (user / "clone").mkdir()
    (user / "clone" / "hauberk.toml").write_text("[sieve]\ncalls = 1")
    monkeypatch.chdir(user / "clone")
    config = Config.read(None)
    assert config.name == "built-in defaults"
    assert not config.has_table("sieve")


def test_users_own_file(user: Path) -> None:
    """Without a name, the user's own file is read."""
    (user / "config").mkdir(mode=0o700)
    (user / "config" / "hauberk.toml").write_text("[sieve]\ncalls = 1")
    config = Config.read(None)
    assert (config.path, config.options("sieve", Sieve).calls) == (user / "config" / "hauberk.toml", 1)


@pytest.mark.parametrize("kind", ["config", "state"])
def test_relative_user_directory(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that makes the user's directories relative would move them into a clone: it is refused."""
    monkeypatch.setattr(platformdirs, f"user_{kind}_path", lambda *_, **__: Path("x"))
    with pytest.raises(ConfigError, match=f"the user's {kind} directory 'x' is not absolute"):
        _ = Config.read(None) if kind == "config" else Config.default().state_dir


def test_missing_file(user: Path) -> None:
    """A file that is named must be there; the user's own may be missing, but not unreadable or a dangling link."""
    with pytest.raises(ConfigError, match="no such file"):
        Config.read(user / "none.toml")
    assert Config.read(None).profile == "development"
    (user / "config").write_text("no directory")
    with pytest.raises(ConfigError, match="not a directory"):
        Config.read(None)
    (user / "config").unlink()
    (user / "config").mkdir(mode=0o700)
    (user / "config" / "hauberk.toml").symlink_to(user / "none")
    with pytest.raises(ConfigError, match="symbolic link"):
        Config.read(None)


def test_default() -> None:
    """Without any file: development, nothing configured, nothing switched on (S0.1)."""
    config = Config.default(host="ide")
    assert (config.host, config.profile, config.servers, config.warnings, config.path) == (
        "ide",
        "development",
        (),
        (),
        None,
    )
    assert config.version == f"sha256:{hashlib.sha256(b'').hexdigest()}"
    assert config.features == type(config.features)()
    assert not any(msgspec.structs.astuple(config.features))


@pytest.mark.parametrize("flags", range(8))
def test_features(flags: int) -> None:
    """Each switch sets itself and no other (S0.2)."""
    names = ("mcp_tls_enabled", "agent_security_enabled", "agent_rate_limit_enabled")
    wanted = tuple(bool(flags & 1 << bit) for bit in range(3))
    text = "[features]\n" + "".join(f"{name} = true\n" for name, on in zip(names, wanted, strict=True) if on)
    assert msgspec.structs.astuple(read(text).features) == wanted


def test_state_dir(user: Path) -> None:
    """State lies in the user's state directory, or where the file says."""
    assert Config.default().state_dir == user / "state"
    assert read("[core]\nstate_dir = 'state'\n").state_dir == Path("/etc/hauberk/state")


# Production


def loosened(path: Path) -> None:
    path.chmod(0o666)


def foreign(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def status(fd: int) -> os.stat_result:
        info = os.fstat(fd)
        return os.stat_result((*info[:4], 4711, *info[5:]))

    monkeypatch.setattr(files, "_status", status)


@pytest.mark.parametrize("harm", ["mode", "directory", "owner"])
def test_file_that_others_can_change(harm: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that others can change is refused in production, and a warning in development (X.5)."""
    if harm == "owner":
        foreign(place, monkeypatch)
    else:
        loosened(place if harm == "mode" else place.parent)
        place.parent.chmod(place.parent.stat().st_mode | 0o700)
    config = Config.read(place)
    assert len(config.warnings) == 1
    assert "cannot use" in config.warnings[0]
    place.write_text("profile = 'production'\n")
    with pytest.raises(ConfigError) as caught:
        Config.read(place)
    assert caught.value.hint


@pytest.mark.parametrize("profile", ["development", "production"])
def test_link_and_fifo(profile: str, place: Path) -> None:
    """A link or a FIFO is no configuration, in any profile."""
    place.write_text(f"profile = '{profile}'\n")
    (place.parent / "link").symlink_to(place)
    os.mkfifo(place.parent / "fifo")
    for name in ("link", "fifo"):
        with pytest.raises(ConfigError, match=r"symbolic link|no regular file"):
            Config.read(place.parent / name)


def test_no_flag_turns_a_plugin_off() -> None:
    """In production the command line turns no plugin off; the file may (X.5)."""
    text = "[plugins]\ndisable = ['vault']\n"
    assert read(text).disabled(["sieve"]) == {"sieve", "vault"}
    config = read("profile = 'production'\n" + text)
    assert config.disabled() == {"vault"}
    for flag in ("sieve", "vault"):
        with pytest.raises(ConfigError, match=f"plugin '{flag}' cannot be turned off by a flag in production"):
            config.disabled([flag])


def test_environment_changes_nothing(place: Path) -> None:
    """No variable of the environment changes the profile, a control or the file that is read (X.5)."""
    place.write_text("profile = 'production'\n[sieve]\ndeny = ['x']\n")
    program = (
        "import json, sys; from pathlib import Path; from hauberk.config import Config\n"
        "c = Config.read(Path(sys.argv[1]))\n"
        "print(json.dumps([c.profile, c.version, c.plugins.disable, c.core.bounds.deadline, str(c.path)]))"
    )
    names = [
        "PROFILE",
        "ENV",
        "MODE",
        "CONFIG",
        "DISABLE",
        "PLUGINS",
        "PLUGINS_DISABLE",
        "DEBUG",
        "INSECURE",
        "CORE_BOUNDS_DEADLINE",
    ]
    evil = {f"HAUBERK_{name}": "development" for name in names} | {"DEVELOPMENT": "1", "NODE_ENV": "development"}

    def run(environment: Mapping[str, str]) -> str:
        base = {"PYTHONPATH": os.pathsep.join(sys.path), "HOME": str(place.parent)}
        return subprocess.run(
            [sys.executable, "-c", program, str(place)],
            env={**base, **environment},
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    assert run(evil) == run({})
    assert '"production"' in run(evil)


def test_profile_default() -> None:
    """A caller may be stricter than the file is silent; the file has the last word."""
    assert read("", profile_default="production").production
    assert not read("profile = 'development'", profile_default="production").production


def test_mistyped_host() -> None:
    """A host that the file does not name is an error where it names hosts: its rules would be left out (X.5)."""
    text = "[host.editor.sieve]\ncalls = 1\n"
    error = refusal(text, host="editr")
    assert error.message == "h.toml: there is no table [host.editr] (hosts: editor)"
    assert error.hint == "did you mean 'editor'?"
    assert read(text, host="editor").host == "editor"
    assert read(text).host == "default"
    assert read("", host="anything").host == "anything"


# Children


def test_child_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A child gets six names, what the file says and what the command line names, and nothing else."""
    for name in ("HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER", "PASSED", "NAMED", "HIDDEN"):
        monkeypatch.setenv(name, name.lower())
    monkeypatch.setenv("USER", "() { :; }")
    monkeypatch.delenv("TERM")
    config = read("[server.s]\ncommand = 'c'\nenv = {TOKEN = 'v', PASSED = true, PATH = '/own', ABSENT = true}\n")
    own = {"HOME": "home", "LOGNAME": "logname", "SHELL": "shell"}
    assert config.child_env("s") == {**own, "PATH": "/own", "TOKEN": "v", "PASSED": "passed"}
    assert config.child_env("t", names=["NAMED"]) == {**own, "PATH": "path", "NAMED": "named"}
    assert config.child_env(None) == {**own, "PATH": "path"}


# Showing

CANARY = "c4nary"
SECRETS = f"""
[server.s]
command = "run"
args = ["--api-key", "{CANARY}", "--token={CANARY}", "https://u:{CANARY}@h/p?k={CANARY}", "PASSWORD={CANARY} run",
        "Authorization: Bearer {CANARY}", "{CANARY}{CANARY}{CANARY}{CANARY}", "/srv/notes", "pkg@1.2"]
env = {{TOKEN = "{CANARY}", PASSED = true}}
[server.u]
url = "https://u:{CANARY}@h/p?k={CANARY}#{CANARY}"
headers = {{Authorization = "Bearer {CANARY}", X-Other = "{CANARY}"}}
[server.s.audit]
token = "{CANARY}"
[audit]
token = "{CANARY}"
pins = ["{CANARY}"]
api_key = "{CANARY}"
key_file = "shown.key"
store = "redis://:{CANARY}/x@h:1/0?password={CANARY}"
[audit.stores]
webhook = "{CANARY}"
main = "redis://u:{CANARY}@h"
"""


def canaries(value: object) -> list[str]:
    return [text for text in (repr(value), str(value), f"{value}") if CANARY in text]


def test_show_hides_secrets() -> None:
    """No secret is in what is shown: environment, headers, arguments, URLs, marked options (X.14)."""
    shown = read(SECRETS).show({**KNOWN, "vault": Options})
    assert CANARY not in json.dumps(shown)
    assert shown["server"]["s"]["env"] == {"TOKEN": MASK, "PASSED": True}
    assert shown["server"]["s"]["args"][:3] == ["--api-key", MASK, f"--token={MASK}"]
    assert shown["server"]["s"]["args"][-2:] == ["/srv/notes", "pkg@1.2"]
    assert shown["server"]["u"]["headers"] == {"Authorization": MASK, "X-Other": MASK}
    assert shown["server"]["u"]["url"] == f"https://{MASK}@h/p?{MASK}"
    assert shown["audit"]["key_file"] == "/etc/hauberk/shown.key"
    assert shown["audit"]["store"] == f"redis://{MASK}@h:1/0?{MASK}"


def test_nothing_prints_secrets() -> None:
    """Options, servers and configurations can stand in a traceback or a log (X.14)."""
    config = read(SECRETS)
    for value in (config, config.server("s"), config.server("u"), config.options("audit", Audit, "s")):
        assert canaries(value) == []
    for value in (config.server("s"), config.options("audit", Audit)):
        assert CANARY not in repr(value.__rich_repr__())  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "text",
    [
        "[server.s.env]\nTOKEN = 40404",
        "[server.s]\nenv = {TOKEN = ['40404']}",
        "[server.u]\nurl = 'u'\nheaders = {A = 40404}",
        "[server.u]\nurl = 'u'\nheaders = {A = \"40404\\n\"}",
        "[server.u]\nurl = 'u'\nheaders = {'A B' = '40404'}",
        "[server.s]\nurl = ['https://u:40404@h']",
        "[audit]\ntoken = 40404",
        "[audit]\npins = [40404]",
        "[audit]\npins = '40404'",
        "[audit]\napi_key = 40404",
        "[audit]\nunknown = '40404'",
        "[sieve]\ncalls = 'redis://u:40404@h'",
        "unknown = '40404'",
        "x = '40404",
        "x = '40404'\nx = '40404'",
        "[audit.pins]\na = '40404'",
    ],
)
def test_errors_hide_secrets(text: str) -> None:
    """An error about a value that may be a secret does not show it, nor does its cause (X.14)."""
    error = refusal(text)
    assert "40404" not in f"{error} {error!r} {error.__cause__!r}"


def test_show_is_what_is_in_force() -> None:
    """What is shown is the merged options, as plain data, server by server."""
    config = read(
        "[sieve]\ncalls = 5\nnames = ['b', 'a']\n"
        "[server.s]\ncommand = 'c'\n[server.s.sieve]\ncalls = 2\n[server.t]\ncommand = 'd'\n"
    )
    shown = config.show({"sieve": Sieve})
    assert (shown["sieve"]["calls"], shown["server"]["s"]["sieve"]["calls"]) == (5, 2)
    assert "sieve" not in shown["server"]["t"]
    assert (shown["file"], shown["profile"], shown["version"]) == ("h.toml", "development", config.version)
    assert shown["sieve"]["names"] == ["a", "b"]
    assert shown["core"]["bounds"]["deadline"] == 2.0
    assert json.loads(json.dumps(shown)) == shown

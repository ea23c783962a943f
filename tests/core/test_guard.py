"""A guard starts with exactly the plugins that its configuration asks for, or it does not start."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.core.harness import Port, Recorder, call_params, make_rig, request, rig, ring
from tests.core.house import House, empty_house, locked, source

from hauberk import opening
from hauberk.config import Config, Options
from hauberk.connection import Connection, Peer
from hauberk.event import Event
from hauberk.guard import Guard
from hauberk.hookspecs import hookimpl
from hauberk.layers import Layer
from hauberk.message import Message
from hauberk.principal import ANONYMOUS, Principal
from hauberk.refusals import ConfigError, PluginError, Refused
from hauberk.verdict import Allow


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    """Return a house with nothing installed."""
    return empty_house(tmp_path, monkeypatch)


def load(toml: str = "", base: Path | None = None, **more: Any) -> Guard:
    return Guard.load(Config.from_toml(toml, base=base), **more)


def fails(toml: str, kind: type[ConfigError | PluginError], base: Path | None = None, **more: Any) -> str:
    """Return the text of the error that stops the start; it has a hint."""
    with pytest.raises(kind) as error:
        load(toml, base, **more)
    assert error.value.hint or "expected" in error.value.message
    return error.value.message


def stands(guard: Guard) -> dict[str, str]:
    """Return each installed plugin with its mode, or why it does not run."""
    return {one.name: one.mode or one.why for one in guard.roster}


# --- which plugins run ---


def test_what_runs_and_why_not(house: House) -> None:
    """A plugin runs if it has a table, is required, or says safe_default; the roster says why another is idle."""
    for name in ("table", "required", "alone", "off", "audited", "flagged"):
        house.install(name, source(name))
    house.install("safe", source("safe", "safe_default = Options()"))
    guard = load(
        "[plugins]\nrequire = ['required']\ndisable = ['flagged']\n[table]\n[off]\nmode='off'\n[audited]\nmode='audit'"
    )
    assert stands(guard) == {
        "table": "enforce",
        "required": "enforce",
        "safe": "enforce",
        "audited": "audit",
        "alone": "no table [alone] in the configuration",
        "off": "mode = 'off'",
        "flagged": "disabled by plugins.disable or -p no:",
    }
    assert set(guard.loaded) == {"table", "required", "safe", "audited"}
    (one,) = [one for one in guard.roster if one.name == "table"]
    assert (one.distribution, one.version, one.layers) == ("hauberk-table", "1.2", {"on_tool_call": "POLICY"})


def test_plugin_gets_its_options_and_the_guard(house: House) -> None:
    """A plugin is made with its merged options and the guard; for a server of its own it asks the guard."""
    house.install("p", source("p"))
    guard = load("[p]\nlimit = 5\n[server.files.p]\nlimit = 9")
    plugin = guard.loaded["p"].plugin
    assert (plugin.options.limit, plugin.guard.guard) == (5, guard)
    assert guard.options_for(plugin, "files").limit == 9
    assert guard.options_for(plugin, "other").limit == 5


def test_flag_takes_a_plugin_out_in_development(house: House) -> None:
    """``-p no:NAME`` leaves a plugin out, and the roster says so."""
    house.install("p", source("p"))
    assert stands(load("[p]", disable=["p"])) == {"p": "disabled by plugins.disable or -p no:"}


def test_flag_takes_nothing_out_in_production(house: House) -> None:
    """No flag turns a control off in production (X.5)."""
    house.install("p", source("p"))
    text = fails("profile='production'\n[plugins]\nrequire=['p']", ConfigError, disable=["p"])
    assert "'p' cannot be turned off by a flag in production" in text


def test_required_and_missing_stops_the_start(house: House) -> None:
    """A required plugin that is not installed stops the start; the error names it and what there is (X.4, A70)."""
    house.install("other", source("other"))
    assert fails("[plugins]\nrequire=['sieve']", PluginError) == "plugin 'sieve' is not installed (installed: other)"


def test_hint_names_no_package_of_strangers() -> None:
    """For a plugin of the project the hint is what to install; a mistyped word may be anybody's."""
    for name, hint in (("sieve", "pip install hauberk-sieve, or"), ("sieev", "install the package that brings it, or")):
        with pytest.raises(PluginError) as error:
            load(f"[plugins]\nrequire=['{name}']", discover=False)
        assert error.value.hint is not None
        assert error.value.hint.startswith(hint)


def test_required_and_disabled_stops_the_start(house: House) -> None:
    """A plugin is not required and disabled at once, by the file or by a flag (A70)."""
    house.install("p", source("p"))
    with pytest.raises(ConfigError, match="'p' is both required and disabled"):
        load("[plugins]\nrequire=['p']\ndisable=['p']")
    assert fails("[plugins]\nrequire=['p']", ConfigError, disable=["p"]) == "plugin 'p' is required and disabled"


def test_required_and_off_stops_the_start(house: House) -> None:
    """A required plugin with mode off does not run, so the start stops (X.4)."""
    house.install("p", source("p"))
    text = fails("[plugins]\nrequire=['p']\n[p]\nmode='off'", PluginError)
    assert text == "plugin 'p' is required and does not run"


@pytest.mark.parametrize("required", [True, False])
def test_plugin_that_does_not_import_stops_the_start(house: House, required: bool) -> None:
    """A package that is installed and broken stops the start, though nothing asks for it; pip put it there (A70)."""
    house.install("p", "import nowhere_at_all")
    assert "'p' of 'hauberk-p' does not import" in fails("[plugins]\nrequire=['p']" * required, PluginError)
    assert stands(load("", disable=["p"])) == {"p": "disabled by plugins.disable or -p no:"}


@pytest.mark.parametrize(
    ("toml", "named"),
    [
        ("[siev]\ndefault='deny'", "siev"),
        ("[p]\nlimitt = 3", "limitt"),
        ("[p]\nlimit = 'three'", "limit"),
        ("[p]\nmode = 'permissive'", "mode"),
        ("[server.files.p]\nlimitt = 3", "limitt"),
        ("[host.other.p]\nlimitt = 3", "limitt"),
        ("[plugins]\nrequired = ['p']", "required"),
        ("plugin = 1", "plugin"),
    ],
)
def test_what_nothing_reads_stops_the_start(house: House, toml: str, named: str) -> None:
    """An unknown table, option, type or value stops the start and is named (X.2, A70)."""
    house.install("p", source("p"))
    assert named in fails(toml, ConfigError)


def test_plugin_that_cannot_start_stops_the_start(house: House) -> None:
    """A plugin whose constructor raises stops the start; its own ConfigError is told as it is."""
    for name, error in (("a", "OSError('no disk')"), ("b", "hauberk.ConfigError('b: mine', hint='h')")):
        text = source(name).replace("self.options, self.guard = options, guard", f"raise {error}")
        house.install(name, text)
    assert fails("[a]", PluginError, disable=["b"]) == "plugin 'a' cannot start (OSError: no disk)"
    assert fails("[b]", ConfigError, disable=["a"]) == "b: mine"


def test_options_of_a_hook_stop_the_start(house: House) -> None:
    """An installed plugin that breaks the contract of hooks stops the start (V11, V12)."""
    house.install("p", source("p", hook="def on_tool_cal(self, call): return None").replace("@hauberk.hookimpl", ""))
    assert "implements no hook" in fails("[p]", PluginError)


# --- modes ---


def test_sealer_in_mode_audit_stops_the_start(house: House) -> None:
    """A plugin in SEAL is enforced or off, nothing between."""
    text = source("p", hook="def on_send(self, message): return None").replace("Layer.POLICY", "Layer.SEAL")
    house.install("p", text)
    assert fails("[p]\nmode='audit'", PluginError) == "plugin 'p' cannot run in mode 'audit'"


@pytest.mark.parametrize(("general", "special"), [("audit", "enforce"), ("off", "enforce"), ("off", "audit")])
def test_mode_is_one_for_all_servers(house: House, general: str, special: str) -> None:
    """A server's table that says another mode is an error: hooks are frozen once, it would do nothing (X.2)."""
    house.install("p", source("p"))
    text = fails(f"[p]\nmode='{general}'\n[server.files.p]\nmode='{special}'", ConfigError)
    assert text == f"plugin 'p' has mode '{special}' for server 'files' and '{general}' for others"


def test_mode_of_an_object_is_checked() -> None:
    """An object handed in by a program says enforce or audit; a mistyped mode is an error."""
    with pytest.raises(PluginError, match="has mode 'Audit'"):
        Guard(Config.from_toml(""), [ring("p", on_send=None, mode="Audit")])
    assert (
        Guard.load(Config.from_toml(""), objects=[ring("p", on_send=None, mode="audit")], discover=False)
        .loaded["p"]
        .mode
        == "audit"
    )


# --- production ---


PRODUCTION = "profile = 'production'\n"


def test_production_runs_exactly_what_is_required(house: House) -> None:
    """In production what runs is what is required: one extra stops the start, whatever turned it on."""
    house.install("p", source("p"))
    house.install("extra", source("extra"))
    require = PRODUCTION + "[plugins]\nrequire=['p']\n"
    base = locked(Config.from_toml(require, base=house.folder)).base
    assert set(load(require, base).loaded) == {"p"}
    assert fails(require + "[extra]", PluginError) == "plugin 'extra' runs and is not in plugins.require"
    text = fails(require, PluginError, base, objects=[ring("byhand", on_send=None)])
    assert text == "plugin 'byhand' runs and is not in plugins.require"


def test_production_imports_only_what_is_required(house: House) -> None:
    """In production what is installed and not required is not even imported, and the roster says so (A71)."""
    house.install("p", source("p"))
    house.install("safe", source("safe", "safe_default = Options()"))
    module = house.install("later", "raise SystemExit('imported')")
    guard = Guard.load(locked(Config.from_toml(PRODUCTION + "[plugins]\nrequire=['p']\n", base=house.folder)))
    assert stands(guard) == {"p": "enforce", "safe": "not in plugins.require", "later": "not in plugins.require"}
    assert module not in sys.modules


def test_object_may_be_what_is_required() -> None:
    """A plugin that a program makes itself counts as there."""
    guard = load(PRODUCTION + "[plugins]\nrequire=['mine']", objects=[ring("mine", on_send=None)], discover=False)
    assert set(guard.loaded) == {"mine"}


async def test_production_denies_what_nobody_allowed() -> None:
    """Without an Allow a call passes in development, and is denied in production (V15)."""
    for toml, passes in (("", True), (PRODUCTION, False)):
        async with rig(ring("p", on_tool_call=None), toml=toml) as r:
            await r.call()
            assert bool(r.reached) is passes
            assert r.codes == ([] if passes else ["core.unjudged"])


async def test_production_without_any_plugin_denies_every_call() -> None:
    """No plugin at all is nobody who allows (X.4)."""
    async with rig(toml=PRODUCTION, record=False) as r:
        await r.call()
        assert (r.reached, r.codes) == ([], ["core.unjudged"])


# --- feature flags ---


@pytest.mark.parametrize(
    ("flag", "name"),
    [
        ("mcp_tls_enabled", "tls"),
        ("agent_security_enabled", "envelope"),
        ("agent_security_enabled", "replay"),
        ("agent_rate_limit_enabled", "ratelimit"),
    ],
)
def test_feature_flag_is_never_dark(house: House, flag: str, name: str) -> None:
    """A flag runs its plugin, or the start stops: not installed, disabled or off is an error (S0.1, X.1)."""
    for other in {"envelope", "replay"} - {name} if flag == "agent_security_enabled" else set():
        house.install(other, source(other))
    on = f"[features]\n{flag} = true\n"
    assert fails(on, PluginError) == f"features.{flag} needs plugin {name!r}, which is not installed"
    house.install(name, source(name))
    assert stands(load(on))[name] == "enforce"
    assert "is disabled" in fails(on, ConfigError, disable=[name])
    assert "does not run" in fails(on + f"[{name}]\nmode = 'off'", PluginError)
    assert stands(load())[name] == f"features.{flag} is false, and there is no table [{name}]"


# --- order ---


def test_listed_order_is_required_then_by_name_then_auth(house: House) -> None:
    """Required plugins come first in their order, the others by name; auth is last, so that inwards it is first."""
    for name in ("auth", "zeta", "mid", "alpha"):
        house.install(name, source(name))
    tables = "".join(f"[{name}]\n" for name in ("auth", "zeta", "mid", "alpha"))
    assert list(load(tables).loaded) == ["alpha", "mid", "zeta", "auth"]
    assert list(load("[plugins]\nrequire=['auth', 'mid']\n" + tables).loaded) == ["mid", "alpha", "zeta", "auth"]


# --- what belongs together ---


@pytest.mark.parametrize("hook", ["on_send", "on_receive"])
def test_replay_needs_a_seal(hook: str) -> None:
    """Replay without a sealer would check a proof that nobody makes, so it is an error."""
    replay = ring("replay", Layer.REPLAY, **{hook: None})
    with pytest.raises(PluginError, match="REPLAY runs without one in SEAL"):
        Guard(Config.from_toml(""), [replay])
    assert Guard(Config.from_toml(""), [replay, ring("envelope", Layer.SEAL, on_send=None)]).chains.replays


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("loads", [True, False])
def test_approver_that_is_none_stops_the_start(there: bool, loads: bool) -> None:
    """A name in core.approvers that is no active plugin, or one that approves nothing, is an error (X.2)."""
    config = Config.from_toml("[core]\napprovers=['person']")
    objects = [ring("person" if there else "other", on_send=None)]
    with pytest.raises(ConfigError, match=r"core\.approvers names 'person', which is no active plugin that approves"):
        _ = Guard.load(config, objects=objects, discover=False) if loads else Guard(config, objects)


def test_approver_without_any_plugin_stops_the_start() -> None:
    """A configuration that names an approver, and no plugin at all, does not start."""
    with pytest.raises(ConfigError, match=r"core\.approvers names 'person'"):
        load("[core]\napprovers=['person']", discover=False)


# --- policy.py ---


def local_policy(folder: Path, toml: str = "") -> Path:
    """Write a policy.py and the configuration that names it."""
    folder.chmod(0o700)
    (folder / "policy.py").write_text(source("policy"))
    (folder / "hauberk.toml").write_text(toml + "[plugins]\npolicy = 'policy.py'\n")
    for file in folder.iterdir():
        file.chmod(0o600)
    return folder / "hauberk.toml"


async def test_policy_file_runs_and_its_hash_is_recorded(tmp_path: Path) -> None:
    """A policy.py that the configuration names runs as ``policy``; the start records its hash (A73)."""
    guard = Guard.load(local_policy(tmp_path), objects=[recorder := Recorder()], discover=False)
    assert stands(guard) == {"policy": "enforce"}
    async with guard:
        pass
    (started,) = recorder.of("core.started")
    assert started.details == {
        "policy": guard.config.version,
        "policy_file": guard.loaded["policy"].version,
        "profile": "development",
        "plugins": ["policy", "recorder"],
    }


def test_policy_file_and_an_installed_policy_are_two_of_one_name(tmp_path: Path, house: House) -> None:
    """A package named policy and a policy.py do not silently take each other's place."""
    house.install("policy", source("policy"))
    with pytest.raises(PluginError, match="'policy' is there twice, in 'hauberk-policy' and as"):
        Guard.load(local_policy(tmp_path))


def test_unsafe_policy_file_stops_the_start(tmp_path: Path) -> None:
    """A policy.py that others may write stops the start, in development too (A73)."""
    config = local_policy(tmp_path)
    (tmp_path / "policy.py").chmod(0o666)
    with pytest.raises(ConfigError, match=r"policy\.py"):
        Guard.load(config, discover=False)


# --- life ---


class Lives:
    """Plugins that say when they are opened and closed."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def plugin(self, name: str, *, opens: BaseException | None = None, closes: BaseException | None = None) -> Any:
        async def open_() -> None:
            await asyncio.sleep(0)
            if opens is not None:
                raise opens
            self.said.append(f"+{name}")

        async def close() -> None:
            self.said.append(f"-{name}")
            if closes is not None:
                raise closes

        return ring(name, on_send=None, open=open_, close=close)


def guard_of(*plugins: Any) -> Guard:
    return Guard(Config.from_toml(""), plugins)


async def test_plugins_open_in_order_and_close_in_reverse() -> None:
    """Plugins open in listed order and close in the reverse."""
    lives = Lives()
    async with guard_of(lives.plugin("a"), lives.plugin("b")):
        assert lives.said == ["+a", "+b"]
    assert lives.said == ["+a", "+b", "-b", "-a"]


@pytest.mark.parametrize("error", [OSError("no disk"), SystemExit("no"), asyncio.CancelledError()])
async def test_plugin_that_cannot_open_stops_the_start(error: BaseException) -> None:
    """A plugin that cannot open stops the host; those before it are closed again, those after never open (X.4)."""
    lives = Lives()
    guard = guard_of(lives.plugin("a"), lives.plugin("b", opens=error), lives.plugin("c"))
    with pytest.raises(type(error) if isinstance(error, asyncio.CancelledError) else PluginError) as raised:
        async with guard:
            pytest.fail("the host must not start")
    assert lives.said == ["+a", "-a"]
    if isinstance(error, OSError):
        assert (
            str(raised.value) == "plugin 'b' cannot open (OSError: no disk)\nhint: the host does not start without it"
        )
    with pytest.raises(type(error) if isinstance(error, asyncio.CancelledError) else PluginError):
        await guard.connect("files", "client")
    assert lives.said == ["+a", "-a"] * 2


async def test_first_connection_opens_the_guard() -> None:
    """A guard that nobody entered opens with its first connection: no message meets a plugin that is not open."""
    lives = Lives()
    guard = guard_of(lives.plugin("a"))
    for _ in range(2):
        await guard.connect("files", "client")
    assert lives.said == ["+a"]
    await guard.close()
    assert lives.said == ["+a", "-a"]


async def test_guard_may_be_opened_again() -> None:
    """After a start that failed, or an end, the guard opens and closes as if for the first time."""
    lives, errors = Lives(), [OSError("not yet")]

    async def open_() -> None:
        if errors:
            raise errors.pop()

    guard = guard_of(ring("late", on_send=None, open=open_), lives.plugin("a"))
    with pytest.raises(PluginError):
        await guard.__aenter__()
    for _ in range(2):
        async with guard:
            assert (await guard.connect("files", "client")).server == "files"
    assert lives.said == ["+a", "-a"] * 2


async def test_plugins_are_opened_once_for_many() -> None:
    """Hosts that enter the guard at the same time open each plugin once; the last to leave closes it."""
    lives = Lives()
    guard = guard_of(lives.plugin("a"))

    async def host(leave: asyncio.Event) -> None:
        async with guard:
            assert lives.said == ["+a"]
            await leave.wait()

    leaves = [asyncio.Event() for _ in range(3)]
    tasks = [asyncio.create_task(host(leave)) for leave in leaves]
    for leave, task in zip(leaves, tasks, strict=True):
        await asyncio.sleep(0)
        assert "-a" not in lives.said
        leave.set()
        await task
    assert lives.said == ["+a", "-a"]


async def test_plugin_that_fails_to_close_keeps_no_other_open() -> None:
    """Every plugin is closed, whatever another raises while it closes; then the error is raised."""
    lives = Lives()
    with pytest.raises(OSError, match="no disk"):
        async with guard_of(lives.plugin("a"), lives.plugin("b", closes=OSError("no disk"))):
            pass
    assert lives.said == ["+a", "+b", "-b", "-a"]


async def test_plugin_that_never_closes_keeps_no_other_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plugin whose close does not end is given up after a while, and the others are closed."""

    async def never() -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(opening, "_PATIENCE", 0.01)
    lives = Lives()
    stuck = lives.plugin("b")
    stuck.close = never
    with pytest.raises(TimeoutError):
        async with guard_of(lives.plugin("a"), stuck):
            pass
    assert lives.said == ["+a", "+b", "-a"]


async def test_closing_ends_sessions_and_nothing_passes_afterwards() -> None:
    """When the guard closes, its sessions end, requests in flight end as closed, and no later message passes."""
    outcomes: list[str] = []
    plugin = ring("p", on_tool_call=lambda call, _: call.exchange.defer(outcomes.append))
    made = make_rig([plugin])
    async with made.guard:
        await made.start()
        await made.call()
    assert outcomes == ["closed"]
    assert made.session.closed
    made.post(made.from_client, request("tools/call", call_params("ls"), id=2))
    made.post(made.from_server, {"jsonrpc": "2.0", "id": 1, "result": {"content": []}})
    await made.settle()
    assert [message["id"] for message in made.reached] == [1]
    assert made.replies == []


# --- connections ---


async def test_on_connect_runs_from_the_wire_to_the_host() -> None:
    """on_connect runs in the order of the layers, from WIRE to CONTENT, and in reverse listed order in one."""
    order: list[str] = []
    layers = [("c", Layer.CONTENT), ("w", Layer.WIRE), ("p1", Layer.POLICY), ("p2", Layer.POLICY), ("s", Layer.SEAL)]
    plugins = [ring(name, layer, on_connect=lambda _, name=name: order.append(name)) for name, layer in layers]
    async with rig(*plugins):
        assert order == ["w", "s", "p2", "p1", "c"]


async def test_on_connect_prepares_the_connection() -> None:
    """on_connect sets headers and leaves checks; the last identity that a check proves is the connection's."""
    alice = Principal(id="alice", kind="user", method="mtls")
    shown = Peer("unix", "/run/x.sock")

    def on_connect(connection: Connection) -> None:
        connection.headers["X-Tenant"] = "t"
        connection.verify += [lambda peer: alice if peer == shown else None, lambda _: None]
        connection.note(Event(code="p.prepared"))

    async with rig(ring("p", on_connect=on_connect), role="server") as r:
        assert (r.connection.headers, r.connection.principal) == ({"X-Tenant": "t"}, ANONYMOUS)
        r.connection.proved(shown)
        assert r.connection.principal == alice
        await r.settle()
        (event,) = r.recorder.of("p.prepared")
        assert (event.server, event.exchange) == ("files", r.connection.id)
        assert r.recorder.codes.count("core.connected") == 1


@pytest.mark.parametrize(
    ("check", "code"),
    [
        (lambda _: 1 / 0, "core.hook_failed"),
        (lambda _: sys.exit(0), "core.hook_failed"),
        (lambda _: "alice", "core.hook_answer"),
    ],
)
async def test_check_of_a_peer_that_cannot_tell_refuses(check: Any, code: str) -> None:
    """A check that raises, or answers what is no identity, refuses the connection, on whatever carrier (X.3)."""
    async with rig(ring("p", on_connect=lambda connection: connection.verify.append(check)), role="server") as r:
        with pytest.raises(Refused) as refused:
            r.connection.proved(Peer("unix", "/run/x.sock"))
        assert refused.value.code == code
        assert r.connection.principal == ANONYMOUS


async def test_refused_connection_is_recorded() -> None:
    """A connection that a plugin refuses is not made; the refusal names it and is recorded."""

    def no(_: Connection) -> None:
        raise Refused("p.no", "unknown peer", rule="r")

    made = make_rig([ring("p", on_connect=no)])
    async with made.guard:
        with pytest.raises(Refused, match="unknown peer") as refused:
            await made.start()
        assert refused.value.plugin == "p"
        await asyncio.sleep(0)
        (event,) = made.recorder.of("p.no")
        assert (event.category, event.action, event.server, event.plugin) == ("connection", "blocked", "files", "p")
        assert "core.connected" not in made.recorder.codes


async def test_sessions_of_one_guard_are_apart() -> None:
    """Two sessions of one guard have tables of their own: an id in flight in one is free in the other."""
    made = make_rig([ring("p", on_tool_call=Allow())])
    async with made.guard:
        await made.start()
        near, far = Port(), Port()
        other = made.guard.session(await made.guard.connect("mail", "client"), near, far)
        await made.call()
        other.receive(other.inn, b'{"jsonrpc":"2.0","id":1,"result":{"content":[]}}')
        assert (near.raw, made.replies) == ([], [])
        await made.answer()
        assert len(made.replies) == 1


Nothing = Options


async def test_sinks_open_first() -> None:
    """What a plugin says while it opens is recorded, although the sink is listed after it."""
    opened: list[str] = []

    class Early:
        name = "early"
        Options = Nothing

        async def open(self) -> None:
            opened.append("early")

        @hookimpl
        def on_send(self, message: Message) -> None:
            """Look."""

    class Late:
        name = "late"
        Options = Nothing

        async def open(self) -> None:
            opened.append("late")

        @hookimpl
        def on_audit(self, event: Event) -> None:
            """Record."""

    async with Guard(Config.default(), [Early(), Late()]):
        assert opened == ["late", "early"]


@pytest.mark.parametrize("flag", ["mcp_tls_enabled", "agent_security_enabled", "agent_rate_limit_enabled"])
def test_flag_is_not_false_in_production(flag: str) -> None:
    """In production no feature flag says false; what runs is what is required (S0.3)."""
    text = fails(f"{PRODUCTION}[features]\n{flag} = false", ConfigError)
    assert text == f"<inline>: [features] {flag}: cannot be false in production"
    load(f"[features]\n{flag} = false", discover=False)


def test_feature_is_whole_in_production(house: House) -> None:
    """In production a feature is on for all of its plugins or for none: no sealing without replay defence (S0.3)."""
    house.install("envelope", source("envelope"))
    toml = PRODUCTION + "[plugins]\nrequire=['envelope']\n"
    missing = "features.agent_security_enabled needs plugin 'replay', which is not installed"
    assert fails(toml, PluginError, house.folder) == missing
    house.install("replay", source("replay"))
    assert fails(toml, PluginError, house.folder) == "plugin 'replay' runs and is not in plugins.require"
    both = Config.from_toml(toml.replace("'envelope'", "'envelope', 'replay'"), base=house.folder)
    assert set(Guard.load(locked(both)).loaded) == {"envelope", "replay"}
    assert set(load("[plugins]\nrequire=['envelope']\n").loaded) == {"envelope"}


async def test_what_is_deferred_to_the_end_of_a_connection_runs_once() -> None:
    """It runs when the session closes, whatever another function raises; at once where the connection is over."""
    ended: list[str] = []

    def connect(connection: Any) -> None:
        connection.defer(lambda: ended.append("first"))
        connection.defer(lambda: 1 // 0)
        connection.defer(lambda: ended.append("last"))

    async with rig(ring(on_connect=connect)) as opened:
        assert ended == []
        await opened.session.close()
        await opened.session.close()
        opened.connection.end()
        assert ended == ["first", "last"]
        opened.connection.defer(lambda: ended.append("late"))
    assert ended == ["first", "last", "late"]


async def test_connection_that_is_refused_is_over() -> None:
    """What one plugin deferred runs when another one refuses the connection."""
    ended: list[str] = []

    def refuse(connection: Any) -> None:
        connection.defer(lambda: ended.append("gone"))
        raise Refused("ring.no", "no")

    made = make_rig([ring(on_connect=refuse)])
    async with made.guard:
        with pytest.raises(Refused):
            await made.guard.connect("files", "server")
    assert ended == ["gone"]
